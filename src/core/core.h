/* core: the nouns. An app has functions; a function has an image, a command or a runner, limits, volumes.
 *
 * Plain structs, their defaults, their validation and their JSON form, whose keys are the manifest's
 * (the store's journal and the API speak it). No I/O.
 * Where names come from: Modal's for apps, functions and limits; OCI's for images. */
#pragma once
#include "base.h"

#define CORE_NAME_MAX \
    64 /* names of apps, functions, volumes: [a-z0-9][a-z0-9-_.]*, as they become host names and paths */

struct core_volume_mount {
    char *path;   /* absolute, inside the container */
    char *volume; /* name, or an absolute directory of this machine */
    bool read_only;
    char *sub_path; /* the directory of the volume that is mounted, "a/b"; NULL: its root */
};
struct core_env {
    char *name;
    char *value;
};

struct core_command { /* of those that come later, into a container that runs; all of it borrowed */
    const char *const *argv;
    const char *const *env; /* NAME=VALUE, beside the container's own; NULL: none */
    const char *workdir;    /* NULL: the container's own */
    bool terminal;
    uint16_t rows, columns; /* of the terminal; 0: not known */
    bool stderr_to_stdout;
};

enum core_readiness {
    CORE_READY_PORT,
    CORE_READY_NOTIFY,
    CORE_READY_SOCKET, /* LISTEN_FDS */
    CORE_READY_RUNNER, /* whoever prepares its containers says so (node_ready) */
};
enum core_network {
    CORE_NETWORK_NONE,
    CORE_NETWORK_OUTBOUND,
    CORE_NETWORK_IF_THERE, /* outbound, or, where this machine has no way out, none: nobody asked for it by
                              name */
};

struct core_function {
    char *app; /* owned copies all through */
    char *name;
    char *image;          /* "host", an absolute directory, or a registry's name */
    char *overlay;        /* directories on top of the image, top first, ':' between them; NULL: none */
    char **command;       /* NULL-terminated */
    struct core_env *env; /* env_count */
    size_t env_count;
    char *workdir; /* NULL: / */
    char *user;    /* "UID[:GID]" or a name; NULL: 0 */
    struct core_volume_mount *volumes;
    size_t volume_count;
    uint16_t port;    /* the command listens here */
    uint16_t publish; /* the gateway's own port for it; 0: by host name only */
    char *example;    /* how to try it: a command line, "{url}" stands for its URL; NULL: curl URL */
    char *label;      /* host name instead of USER--APP-FUNC; NULL: that */
    bool proxy_auth;  /* the gateway lets in who brings a proxy's token, and nobody else */
    enum core_readiness readiness;
    enum core_network network;
    bool writable_rootfs;
    char *gpu;             /* "any", "T4", ...:COUNT; NULL: none */
    uint64_t memory_bytes; /* limit; 0: none */
    uint32_t cpu_milli;    /* limit; 0: none */
    uint32_t pids_max;     /* 0: 4096 */
    bool runner;           /* a room above prepares each of its containers: node_runner */
    int stop_signal;       /* asks it to end; SIGTERM */
    int doze_signal; /* sent a moment before the freezer, so that the app can give memory back; 0: none */

    uint32_t max_containers;     /* 1 */
    uint32_t min_containers;     /* 0 */
    uint32_t buffer_containers;  /* so many more than the work needs, while there is work; 0 */
    uint32_t max_inputs;         /* concurrent requests a container; 1 */
    uint32_t target_inputs;      /* scale out above it; 0: max_inputs */
    uint32_t queue_max;          /* `queue`: waiting tickets; beyond: refused. 1000 */
    int64_t doze_after_ms;       /* from the last work to the freezer; CORE_NEVER: not at all */
    int64_t scaledown_window_ms; /* from the last work to the end */
    int64_t startup_timeout_ms;
    int64_t timeout_ms;    /* of one request, from its grant; no CORE_NEVER, like startup_timeout */
    int64_t stop_grace_ms; /* from SIGTERM to SIGKILL */
    char *group;           /* functions of one group exclude one another; NULL: none */
    bool pin;              /* never stopped for another's sake */
    bool prime;            /* may be kept created but not started */
};
#define CORE_NEVER INT64_MAX

struct core_app {
    char *name;
    struct core_function **functions;
    size_t function_count;
    uint64_t version; /* grows with each change */
};

struct core_function *core_function_new(const char *app, const char *name); /* with the defaults */
void core_function_free(struct core_function *function);
DEFINE_SCOPED(core_function)
struct core_function *core_function_copy(const struct core_function *function);
void core_function_env_add(struct core_function *function, const char *name, const char *value);
void core_function_volume_add(struct core_function *function, const char *path, const char *volume,
                              bool read_only);
/* Of the last one that was added. */
void core_function_volume_sub_path(struct core_function *function, const char *sub_path);
/* INVALID_ARGUMENT with the field's name as it stands in a manifest, what is wrong and what would be right.
 */
must_check struct error *core_function_check(const struct core_function *function);
/* Whether running containers of `a` may go on serving as `b` (only limits and timers differ). */
bool core_function_same_container(const struct core_function *a, const struct core_function *b);

/* The same as a number: equal for functions whose containers are alike, also in another life of the daemon.
 */
uint64_t core_function_shape(const struct core_function *function);

struct core_app *core_app_new(const char *name);
void core_app_free(struct core_app *app);
DEFINE_SCOPED(core_app)
struct core_app *core_app_copy(const struct core_app *app);
void core_app_add(struct core_app *app, struct core_function *taken_function);
struct core_function *core_app_find(const struct core_app *app,
                                    const char *function); /* borrowed, NULL: none */
must_check struct error *core_app_check(const struct core_app *app);
json_t *core_app_to_json(const struct core_app *app); /* new reference */
/* Checks types only: core_app_check says the rest. Unknown keys are ignored: they are a newer daemon's. */
must_check struct error *core_app_from_json(const json_t *json, struct core_app **ret_app);

must_check struct error *core_name_check(const char *what, const char *name);
/* "10s", "2m", "1h30m", "250ms", "never", or a bare number of seconds. */
must_check struct error *core_duration_parse(const char *string, int64_t *ret_ms);
/* "512", "512M", "2GiB", "1.5G". Powers of 1024. */
must_check struct error *core_size_parse(const char *string, uint64_t *ret_bytes);
/* The host label of a function: "USER--APP-FUNC", lower case, what is no letter or digit becomes '-', at most
 * 63 characters (longer: cut, and a hash ends it). Owned by the caller. */
char *core_function_label(const struct core_function *function, const char *user);
