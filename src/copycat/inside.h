/* The copycat room's own: the one context struct of a running server, and what its files offer each other. */
#pragma once
#include "chat.h"
#include "completion.h"
#include "copycat.h"
#include "http.h"
#include "model.h"
#include "remote.h"
#include "settings.h"

#define TABBY_VERSION "0.32.0" /* whose contract this is; clients compare it */
#define BODY_BYTES_MAX (2u << 20)
#define CHAT_BODY_BYTES_MAX (8u << 20)
#define CONTEXT_TOKENS 4096 /* Tabby's default, of each kind of request */
#define KEEP_MB 256         /* of caches of documents, on disk while nothing runs */
#define EXIT_USAGE 2        /* the command line is wrong */
#define EXIT_FAILED 101     /* Tabby's own status for whatever fails at start */

/* ---- cli.c ---- */
struct arguments {
    bool serve;
    const char *model, *chat_model, *host, *device, *chat_device;
    uint16_t port;
    uint32_t parallelism;
    bool no_webserver, prefer_local_file;
};

/* ---- settings from the environment ---- */
struct places {
    char *root;   /* TABBY_ROOT */
    char *models; /* TABBY_MODEL_CACHE_ROOT */
};

enum route {
    ROUTE_HEALTH,
    ROUTE_COMPLETIONS,
    ROUTE_CHAT,
    ROUTE_EVENTS,
    ROUTE_MODELS,
    ROUTE_SETTING,
    ROUTE_INGESTION,
    ROUTE_GRAPHQL,
    ROUTE_METRICS,
    ROUTES
};

struct request_counts {
    uint64_t by_class[6]; /* status / 100 */
    uint64_t statuses_us; /* sum of durations */
};

/* What answers one kind of request: nothing, a model loaded here, or another server. */
struct backend {
    struct settings_model how;        /* from the command line or from config.toml; its texts are borrowed */
    struct model *model;              /* here: what was found ... */
    struct engine *engine;            /* ... and loaded */
    bool shares;                      /* the engine is the other kind's */
    const char *device;               /* as the user named it */
    struct chat_templates *templates; /* of chats here */
    struct remote *remote;            /* another server */
    struct completion_source source;  /* the same, for completions */
};

struct serve {
    struct io_loop *loop;
    const struct arguments *arguments;
    struct places places;
    struct accounts *accounts; /* accounts.h */
    struct http_server *server;
    struct settings *settings;
    struct language *languages; /* more than Tabby's table has */
    struct backend completion, chat;
    struct embeddings *embeddings; /* search.h; NULL: none */
    struct search *search;         /* search.h; NULL: it is off */
    struct recent *recent;         /* recent.h */
    struct window *window;
    uint32_t loading; /* engines that have not told yet how it went */
    struct error *load_error;
    void (*loaded)(struct serve *serve, struct error *error);
    int listen_fd;
    bool inherited; /* listen_fd came by socket activation, and is listening */
    uint16_t port;
    struct io_signal *on_term, *on_interrupt, *on_doze;
    int exit_status;
    int64_t began_ms;
    /* metrics */
    struct request_counts counts[ROUTES];
    uint32_t pending[ROUTES];
    uint64_t gave_back_bytes, doze_signals, client_gone, timeouts;
};

int serve_run(const struct arguments *arguments);
int download_run(const struct arguments *arguments);
void places_read(struct places *places);
void places_done(struct places *places);
/* ---- models.c ---- */
must_check struct error *model_find(const struct places *places, const char *id, enum model_kind kind,
                                    struct model **ret_model);
/* ---- packaged.c ---- */
/* Of a name that `download` could not fetch: the packaged model serves it. Told to the log. */
bool packaged_is_noted(const struct places *places, const char *id, char **ret_directory);
/* Whether a fetch that ended so is made good by the packaged model. Told to the output. */
bool packaged_stands_in(struct error *error, const char *id, char **ret_directory);
must_check struct error *packaged_note(const struct places *places, const char *id, bool stands_in);

/* COPYCAT_DEVICE_FALLBACK: *device becomes "cpu" where what it names is not there. */
must_check struct error *device_check(const char **device);
uint32_t environment_number(const char *variable, uint32_t fallback);

/* ---- backends.c ---- */
must_check struct error *backends_find(struct serve *serve);
/* `loaded` is called once, perhaps at once; the error is owned by it. */
void backends_load(struct serve *serve, void (*loaded)(struct serve *serve, struct error *error));
const char *backend_name(const struct backend *backend); /* as clients are told; of one that is there */
uint64_t backends_give_back(struct serve *serve);        /* bytes of the weights' memory */
void backends_free(struct serve *serve);

/* ---- languages.c ---- */
/* Owned by the caller (languages_free), also when it fails. */
must_check struct error *languages_read(const struct settings *settings, struct language **ret_languages);
void languages_free(struct language *languages);

/* ---- listen.c ---- */
must_check struct error *listen_bind(const char *host, uint16_t port, int *ret_fd, bool *ret_inherited,
                                     uint16_t *ret_port);
must_check struct error *listen_start(int fd);
void notify_ready(void);

/* ---- rest.c ---- */
void rest_on_request(void *owner, struct http_exchange *exchange);
/* These answer, and count the answer. `fields` may be NULL. */
void rest_answer(struct serve *serve, enum route route, struct http_exchange *exchange, int status,
                 const char *content_type, struct span body);
void rest_count(struct serve *serve, enum route route, int status);
bool rest_is_json(struct span content_type);
/* A body that did not come whole: the status, and Tabby's words for it (owned). */
int rest_body_fault(struct error *taken_error, char **ret_text);
bool rest_has_chat(const struct serve *serve);

/* Of JSON that is to be an object: it, or NULL, and then the status and Tabby's words for it (owned). */
json_t *rest_body_json(struct span body, int *ret_status, char **ret_text);

/* ---- one file a route ---- */
void health_answer(struct serve *serve, struct http_exchange *exchange);
void completions_answer(struct serve *serve, struct http_exchange *exchange);
void chats_answer(struct serve *serve, struct http_exchange *exchange);
void ingestion_answer(struct serve *serve, struct http_exchange *exchange);
void metrics_answer(struct serve *serve, struct http_exchange *exchange);
