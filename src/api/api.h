/* api: what the command line and the dashboard ask of the daemon: JSON over HTTP, on a Unix socket or on TCP
 * with a token.
 *
 * Knows the routes and who may ask. A Unix socket (mode 0600) is enough by itself; over TCP each request
 * brings `Authorization: Bearer TOKEN`, the loopback included: every user of the machine can reach that.
 *
 *   GET    /v1/version
 *   GET    /v1/ps       GET /v1/events (a line of ps at each change)       GET /metrics
 *   PUT    /v1/apps {yaml, file_name, env}        DELETE /v1/apps/APP
 *   POST   /v1/apps/APP/{wake,doze,sleep,stop}[?function=F]
 *   POST   /v1/apps/APP/{publish?function=F&port=N,unpublish?function=F}
 *   GET    /v1/logs?app=A&function=F&since=MS&last=N&follow=1
 *   GET    /v1/images   POST /v1/images/{pull,import,build,alias,remove,prune} {...}
 *   GET    /v1/tokens   POST /v1/tokens {name}   DELETE /v1/tokens/ID
 *
 * PUT /v1/apps?lines=1 and the images' POST answer with lines {"line": ...} while they work, the answer last.
 */
#pragma once
#include "identity.h"
#include "pool.h"
#include "store.h"

struct api;
struct api_options {
    struct io_loop *loop;
    struct pool *pool;
    struct store *store;
    struct image_store *images;
    struct identity *identity; /* whose tokens it makes and revokes; NULL: none */
    /* Puts a function that no manifest describes on a port of the gateway's, or (0) takes it off; `done`
     * comes once, also after api_free, and owns the error. NULL: there are no such functions. */
    void (*publish)(void *owner, const char *app, const char *function, uint16_t port,
                    void (*done)(void *owner, struct error *error), void *done_owner);
    void *publish_owner;
    const char *version;
    const char *state_dir; /* `api-token` lies in it, 0600; made at the first TCP address */
    const char
        *runtime_dir;     /* NULL, or where the user's own command line looks for the token of an address */
    const char *logs_dir; /* of the logs room */
    const char *gateway;  /* ADDR:PORT that the gateway listens on; for the urls */
    const char *domain;   /* "localhost": functions are at LABEL.DOMAIN */
    const char *tls_name; /* a name that the gateway's certificate is good for; NULL: it has none */
};
struct api *api_new(const struct api_options *options); /* strings are copied */
/* ADDR:PORT, or a path of a Unix socket. May be called several times. */
must_check struct error *api_listen(struct api *api, const char *address, uint16_t *ret_port);
/* Where Modal's clients ask, for `catnap login`: ADDR:PORT (NULL: not by TCP) and the path of a socket;
 * `tls_name`: a name that its certificate is good for, NULL: it has none. */
void api_modal_set(struct api *api, const char *address, const char *socket, const char *tls_name);
void api_free(struct api *api); /* cuts what is being answered; before the pool and the store */
DEFINE_SCOPED(api)

/* What PUT /v1/apps does, for the daemon's own `--up`: parsed, checked, committed, then in the pool; then
 * `done`. */
void api_app_put(struct api *api, struct span yaml, const char *file_name,
                 const char *(*variable)(void *owner, const char *name),
                 void *variable_owner, /* for the call */
                 void (*done)(void *owner, struct error *error), void *owner);
char *api_function_url(struct api *api, const char *app,
                       const char *function); /* the first one; NULL: none. Owned by the caller */
