/* What the files of api share: the object behind the handle, and each route's handler.
 *
 * A handler takes the exchange and answers it, now or later. What waits for somebody else (a commit, a wake)
 * is an object of its own in a list of `api`; it forgets its exchange when the client goes, and its api when
 * that is freed. */
#pragma once
#include "api.h"
#include "http.h"

#define API_BODY_MAX (1024 * 1024) /* a manifest with its variables, with room */
#define API_DEPLOYS_MAX 64
#define API_STREAMS_MAX 64 /* events and followed logs, together */

struct api {
    struct io_loop *loop;
    struct pool *pool;
    struct store *store;
    struct image_store *images;
    struct identity *identity;
    char *version, *state_dir, *runtime_dir, *logs_dir, *gateway, *domain, *tls_name, *modal_url;
    char *modal, *modal_socket; /* where Modal's clients ask; NULL: nowhere */
    void (*publish)(void *owner, const char *app, const char *function, uint16_t port,
                    void (*done)(void *owner, struct error *error), void *done_owner);
    void *publish_owner;
    struct http_server *server;
    char *token;             /* NULL: no TCP address yet */
    struct list token_files; /* in runtime_dir, to be taken away at the end */
    struct list deploys;     /* the first is at work */
    struct list preparing;   /* deploys whose images are being brought */
    struct list image_works;
    struct list wakes;
    struct list listeners; /* of events */
    struct list followers; /* of logs */
    size_t streams;        /* listeners and followers */
    struct io_timer *events_timer;
    struct text events_last; /* what listeners know */
};

/* ---- token.c ---- */
must_check struct error *token_prepare(struct api *api); /* reads or makes it */
must_check struct error *token_publish(struct api *api, const char *address, uint16_t port);
bool token_allows(const struct api *api, const struct http_exchange *exchange);
void token_done(struct api *api);

/* ---- body.c ---- */
/* Of PUT /v1/apps. The app may be there beside an error: the caller frees it. */
must_check struct error *body_parse(struct span body, struct core_app **ret_app);

/* ---- query.c ---- */
/* The value of that name in what stands behind '?', decoded; NULL where absent. */
const char *query_find(struct arena *arena, struct span query, const char *name);
/* Decoded; NULL where absent. Lives as long as the exchange. */
const char *query_value(struct http_exchange *exchange, const char *name);
must_check struct error *query_u64(struct http_exchange *exchange, const char *name, uint64_t absent,
                                   uint64_t *ret);

/* ---- lines.c: an answer with lines of progress before it ---- */
struct lines {
    struct http_exchange *exchange; /* NULL: the client is gone, or all was answered */
    bool wanted, begun, choked;
    size_t missed;
    void (*drained)(struct http_exchange *exchange); /* calls lines_drained */
};
void lines_init(struct lines *lines, struct http_exchange *exchange, bool wanted);
void lines_say(struct lines *lines, struct span text);
void lines_drained(struct lines *lines);
void lines_answer(struct lines *lines, json_t *taken_json); /* the end */
void lines_refuse(struct lines *lines, struct error *taken_error);

/* ---- later.c: an answer that waits for somebody's word ---- */
struct later;
struct later *
later_new(struct http_exchange *exchange); /* its owner and its `gone` are later's from now on */
/* Once, always. With an error the json is dropped. */
void later_answer(struct later *later, struct error *taken_error, json_t *taken_json);

/* ---- ps.c ---- */
json_t *ps_all(struct api *api);
json_t *ps_app(struct api *api, const char *app); /* {"app", "functions": [...]} */
bool app_known(struct api *api, const char *app);
char *function_url(struct api *api, const struct pool_function *function, bool published);
char *port_url(const struct api *api, uint16_t port); /* of a published port. Owned */

/* ---- handlers ---- */
void deploy_handle(struct api *api, struct http_exchange *exchange);
void remove_handle(struct api *api, struct http_exchange *exchange, const char *app);
void deploys_forget(struct api *api);
/* `rest`: behind /v1/images/, empty for that itself. False: no such route. */
bool images_handle(struct api *api, struct http_exchange *exchange, struct span rest);
void images_begin(struct api *api); /* what apps are made from is needed */
void images_forget(struct api *api);
/* `rest`: behind /v1/tokens/, empty for that itself. False: no such route. */
bool tokens_handle(struct api *api, struct http_exchange *exchange, struct span rest);
bool publish_handle(struct api *api, struct http_exchange *exchange, const char *app,
                    const char *verb); /* false: another verb */
void verb_handle(struct api *api, struct http_exchange *exchange, const char *app, const char *verb);
void wakes_forget(struct api *api);
void logs_handle(struct api *api, struct http_exchange *exchange);
void logs_forget(struct api *api);
void events_handle(struct api *api, struct http_exchange *exchange);
void events_forget(struct api *api);
void metrics_handle(struct api *api, struct http_exchange *exchange);
