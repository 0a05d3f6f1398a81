/* POST /v1/apps/APP/{wake,doze,sleep,stop}[?function=F]: handed to the pool; a wake is answered when all that
 * it woke are awake.
 *
 * `?wait=0` answers a wake at once. The wait has no deadline of its own: each start has its startup_timeout,
 * and its end, good or bad, is told. */
#include "inside.h"

#include <stdlib.h>

struct wake {
    struct list node;
    struct api *api;                /* NULL: freed meanwhile */
    struct http_exchange *exchange; /* NULL: the client is gone */
    char *app;
    size_t waited_for;
    struct error *error; /* the first one */
};

static const struct {
    const char *name;
    enum pool_verb verb;
} verbs[] = {{"wake", POOL_WAKE}, {"doze", POOL_DOZE}, {"sleep", POOL_SLEEP}, {"stop", POOL_STOP}};

static void on_gone(struct http_exchange *exchange) {
    struct wake *wake = http_exchange_owner(exchange);
    wake->exchange = NULL;
    http_exchange_release(exchange);
}

static void finish(struct wake *wake) {
    struct http_exchange *exchange = take(wake->exchange);
    if (exchange && wake->error)
        http_respond_error(exchange, take(wake->error));
    else if (exchange)
        http_respond_json(exchange, 200, ps_app(wake->api, wake->app));
    list_remove(&wake->node);
    error_free(wake->error);
    free(wake->app);
    free(wake);
}

static void on_awake(void *owner, struct error *error) {
    struct wake *wake = owner;
    if (wake->error)
        error_free(error);
    else
        wake->error = error;
    if (--wake->waited_for == 0) finish(wake);
}

static void wait_awake(struct api *api, struct http_exchange *exchange, const char *app,
                       const char *function_or_null) {
    struct wake *wake = NEW(struct wake);
    *wake = (struct wake){.api = api, .exchange = exchange, .app = mem_string(app), .waited_for = 1};
    list_append(&api->wakes, &wake->node);
    http_exchange_owner_set(exchange, wake);
    http_exchange_on_gone(exchange, on_gone);
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(api->pool, &i));) {
        const struct core_function *spec = pool_function_spec(function);
        if (strcmp(spec->app, app) != 0 || (function_or_null && strcmp(spec->name, function_or_null) != 0))
            continue;
        wake->waited_for++;
        pool_function_when_awake(function, on_awake, wake);
    }
    on_awake(wake, NULL); /* our own one */
}

void verb_handle(struct api *api, struct http_exchange *exchange, const char *app, const char *name) {
    const char *function = query_value(exchange, "function"), *wait = query_value(exchange, "wait");
    size_t i = 0;
    while (i < COUNT(verbs) && strcmp(verbs[i].name, name) != 0) i++;
    struct error *error = NULL;
    if (i == COUNT(verbs))
        error = error_new(ERROR_NOT_FOUND, "'%.40s' is no verb of an app; wake, doze, sleep or stop", name);
    else if (!app_known(api, app))
        error = error_new(ERROR_NOT_FOUND, "there is no app '%.80s'; `catnap ps` lists those there are", app);
    else if (function && !pool_function_find(api->pool, app, function))
        error = error_new(ERROR_NOT_FOUND, "the app '%s' has no function '%.80s'", app, function);
    else
        error = pool_app_command(api->pool, app, function, verbs[i].verb);
    if (error)
        http_respond_error(exchange, error);
    else if (verbs[i].verb == POOL_WAKE && !(wait && strcmp(wait, "0") == 0))
        wait_awake(api, exchange, app, function);
    else
        http_respond_json(exchange, 200, ps_app(api, app));
}

void wakes_forget(struct api *api) {
    LIST_EACH_SAFE(node, next, &api->wakes) {
        CONTAINER_OF(node, struct wake, node)->api = NULL;
        list_remove(node);
    }
}
