/* Configuration of the daemon: defaults, then the file, then the command line. */
#pragma once
#include "http.h"
#include "nap.h"

struct config_pair {
    char *name, *value;
};
struct config {
    char *state_dir;
    char *run_dir;     /* bundles, sockets; on a tmpfs where there is one */
    char *gateway;     /* ADDR:PORT */
    char *api;         /* ADDR:PORT or a path */
    char *modal;       /* ADDR:PORT for Modal's clients, "off" */
    bool modal_asked;  /* it was asked for: not the default, which gives way to who has the port already */
    char *pythons;     /* directory of relocatable Pythons; NULL: uv is asked */
    bool gpu_fallback; /* gpu_fallback: cpu */
    bool no_auth;      /* Modal's clients need no token */
    char *certificate, *key; /* of the gateway, and of Modal's clients where others can reach that; NULL */
    char *modal_certificate, *modal_key; /* of Modal's clients alone */
    char *user;                          /* of the host labels */
    char *domain;                        /* of the host labels: "localhost" */
    char *runtime;                       /* "crun" */
    char *init_path;                     /* catnap-init */
    char **up;                           /* manifests applied at the start; NULL-terminated */
    size_t up_count;
    uint32_t launchers;
    struct nap_config nap; /* but for the numbers of containers */
    uint64_t log_file_bytes;
    struct http_limits limits;             /* of the gateway; 0 in it: http's own defaults */
    uint64_t body_bytes;                   /* longest request body; 0: no limit */
    int64_t comments_every_ms;             /* see gateway.h; 0: its default */
    struct config_pair *mirrors, *aliases; /* of images: registry to mirror, name to what it means */
    size_t mirror_count, alias_count;
    char *registry_auth;        /* a file of containers-auth.json(5); NULL: skopeo's default */
    uint64_t image_bytes;       /* all layers together; 0: no limit */
    uint64_t image_cache_bytes; /* of them, what nothing needs */
    int64_t image_cache_ms;     /* and for so long */
    int64_t pull_stall_ms;
    bool leave_containers; /* at the end: they go on, for the next daemon to adopt */
    bool line_is_wrong;    /* where config_read failed: by the command line, not by the file or the machine */
};

/* Arguments of `serve`. INVALID_ARGUMENT says what was wrong; *ret_help: asked for help, config stays empty.
 */
must_check struct error *config_read(int argc, char **argv, struct config *ret_config, bool *ret_help);
/* limits.c: keys of the file that are the gateway's limits. *ret_known: it is one of them. */
must_check struct error *config_limit_set(struct config *config, const char *key, const char *value,
                                          bool *ret_known);
/* Only programs of this machine reach it. */
bool config_is_loopback(const char *address);
/* A socket came along under that name ("gateway", "api", "modal"): its address is the one that counts. */
must_check struct error *config_door_set(struct config *config, const char *name, const char *address);
void config_done(struct config *config);
extern const char config_usage[];
