/* Apps come, change and go: parsed, checked, committed, then in the pool, then answered.
 *
 *   prepared (images brought) -> queued -> checked -> committed -> in the pool -> answered
 *                                 '-> refused there: the state is put back as it was, and the refusal is told
 *
 * One at a time, in the order in which they came: a check is still true when its commit is done. Images are
 * brought before that, for many at once. A client that goes away meanwhile takes its deploy back, a later one
 * does not. */
#include "inside.h"

#include "manifest.h"

#include <stdlib.h>

struct deploy {
    struct list node;
    struct api *api;              /* NULL: freed meanwhile */
    struct lines lines;           /* to whom the answer goes */
    struct pool_prepare *prepare; /* NULL: not any more */
    struct core_app *app;         /* NULL: to be removed */
    struct core_app *before;      /* what the pool had; NULL: nothing */
    char *name;
    struct error *error;
    void (*done)(void *owner, struct error *error);
    void *owner;
};

static void begin_next(struct api *api);

static void answer(struct deploy *deploy, struct error *error) {
    json_t *body = NULL;
    if (error) {
        lines_refuse(&deploy->lines, error);
        return;
    }
    body = deploy->app ? ps_app(deploy->api, deploy->name) : json_pack("{s:s}", "app", deploy->name);
    json_object_set_new(body, deploy->app ? (deploy->before ? "changed" : "created") : "removed",
                        json_true());
    lines_answer(&deploy->lines, body);
}

/* The one way out. */
static void finish(struct deploy *deploy, struct error *error) {
    struct api *api = deploy->api;
    list_remove(&deploy->node);
    if (deploy->lines.exchange)
        answer(deploy, error);
    else if (deploy->done)
        deploy->done(deploy->owner, error);
    else
        error_free(error);
    core_app_free(deploy->app);
    core_app_free(deploy->before);
    error_free(deploy->error);
    free(deploy->name);
    free(deploy);
    if (api) begin_next(api);
}

static struct core_app *running(struct api *api, const char *name) {
    struct core_app *app = NULL;
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(api->pool, &i));) {
        const struct core_function *spec = pool_function_spec(function);
        if (strcmp(spec->app, name) != 0) continue;
        if (!app) app = core_app_new(name);
        core_app_add(app, core_function_copy(spec));
    }
    return app;
}

static void on_put_back(void *owner, struct error *error) {
    struct deploy *deploy = owner;
    if (error) {
        scoped_string char *text = error_text(error);
        log_error("api", "%s was refused, and the state could not be put back: %s", deploy->name, text);
        error_free(error);
    }
    finish(deploy, take(deploy->error));
}

static void put_back(struct deploy *deploy, struct error *why) {
    struct api *api = deploy->api;
    deploy->error = why;
    if (!deploy->before) {
        store_app_remove(api->store, deploy->name, on_put_back, deploy);
        return;
    }
    deploy->before->version = store_version_next(api->store);
    store_app_put(api->store, deploy->before, on_put_back, deploy);
}

static void on_committed(void *owner, struct error *error) {
    struct deploy *deploy = owner;
    if (!deploy->api || error) {
        finish(deploy,
               error ? error
                     : error_new(ERROR_CANCELLED,
                                 "catnap is ending; the change is kept and counts from the next start"));
        return;
    }
    if (!deploy->app) {
        finish(deploy, pool_app_remove(deploy->api->pool, deploy->name));
        return;
    }
    error = pool_app_set(deploy->api->pool, deploy->app);
    if (error)
        put_back(deploy, error);
    else
        finish(deploy, NULL);
}

static void begin(void *owner) {
    struct deploy *deploy = owner;
    struct api *api = deploy->api;
    struct error *error = take(deploy->error);
    if (!error && !api) error = error_new(ERROR_CANCELLED, "catnap is ending");
    if (!error && deploy->app) error = pool_app_check(api->pool, deploy->app);
    if (!error && !deploy->app && !app_known(api, deploy->name))
        error = error_new(ERROR_NOT_FOUND, "there is no app '%.80s'; `catnap ps` lists those there are",
                          deploy->name);
    if (error) {
        finish(deploy, error);
        return;
    }
    deploy->before = running(api, deploy->name);
    if (!deploy->app) {
        store_app_remove(api->store, deploy->name, on_committed, deploy);
        return;
    }
    deploy->app->version = store_version_next(api->store);
    store_app_put(api->store, deploy->app, on_committed, deploy);
}

static void begin_next(struct api *api) {
    if (!list_empty(&api->deploys))
        io_defer(api->loop, begin, CONTAINER_OF(api->deploys.next, struct deploy, node));
}

/* Takes app and error; a deploy with an error waits for its turn too, so that answers keep their order. */
static struct deploy *deploy_new(struct api *api, const char *name, struct core_app *app,
                                 struct error *error) {
    struct deploy *deploy = NEW(struct deploy);
    size_t waiting = 0;
    *deploy = (struct deploy){.api = api, .app = app, .error = error, .name = mem_string(name)};
    list_init(&deploy->node);
    LIST_EACH(node, &api->deploys) waiting++;
    LIST_EACH(node, &api->preparing) waiting++;
    if (waiting >= API_DEPLOYS_MAX && !error)
        deploy->error = error_new(ERROR_RESOURCE_EXHAUSTED, "%d changes wait already; try again in a moment",
                                  API_DEPLOYS_MAX);
    return deploy;
}

static void enqueue(struct deploy *deploy) {
    struct api *api = deploy->api;
    bool first = list_empty(&api->deploys);
    list_remove(&deploy->node);
    list_append(&api->deploys, &deploy->node);
    if (first) begin_next(api);
}

static void on_line(void *owner, struct span text) {
    struct deploy *deploy = owner;
    lines_say(&deploy->lines, text);
    if (!deploy->lines.exchange) log_info("api", "%s: " SPAN_FORMAT, deploy->name, SPAN_ARGS(text));
}

static void on_prepared(void *owner, struct error *error) {
    struct deploy *deploy = owner;
    deploy->prepare = NULL;
    if (error) deploy->error = error_wrap(error, "app %s", deploy->name);
    enqueue(deploy);
}

static void prepare(struct deploy *deploy) {
    struct api *api = deploy->api;
    if (deploy->error || !deploy->app) {
        enqueue(deploy);
        return;
    }
    list_append(&api->preparing, &deploy->node);
    deploy->prepare = pool_app_prepare(api->pool, deploy->app, on_line, on_prepared, deploy);
}

/* ---- PUT /v1/apps ---- */

static void on_gone(struct http_exchange *exchange) {
    struct deploy *deploy = http_exchange_owner(exchange);
    deploy->lines.exchange = NULL;
    http_exchange_release(exchange);
    if (!deploy->prepare) return;
    pool_prepare_free(take(deploy->prepare));
    deploy->error = error_new(ERROR_CANCELLED, "the client went away");
    enqueue(deploy);
}

static void on_drained(struct http_exchange *exchange) {
    struct deploy *deploy = http_exchange_owner(exchange);
    lines_drained(&deploy->lines);
}

static void wait_for(struct deploy *deploy, struct http_exchange *exchange) {
    const char *wanted = query_value(exchange, "lines");
    lines_init(&deploy->lines, exchange, wanted && strcmp(wanted, "1") == 0);
    deploy->lines.drained = on_drained;
    http_exchange_owner_set(exchange, deploy);
    http_exchange_on_gone(exchange, on_gone);
    prepare(deploy);
}

static void on_body(struct http_exchange *exchange, struct span body, struct error *error) {
    struct api *api = http_exchange_owner(exchange);
    struct core_app *app = NULL;
    if (!error) error = body_parse(body, &app);
    if (!error) {
        wait_for(deploy_new(api, app->name, app, NULL), exchange);
        return;
    }
    core_app_free(app);
    http_respond_error(exchange, error);
}

void deploy_handle(struct api *api, struct http_exchange *exchange) {
    http_exchange_owner_set(exchange, api);
    http_exchange_read_all(exchange, API_BODY_MAX, on_body);
}

void remove_handle(struct api *api, struct http_exchange *exchange, const char *app) {
    wait_for(deploy_new(api, app, NULL, NULL), exchange);
}

void api_app_put(struct api *api, struct span yaml, const char *file_name,
                 const char *(*variable)(void *owner, const char *name), void *variable_owner,
                 void (*done)(void *owner, struct error *error), void *owner) {
    struct core_app *app = NULL;
    struct error *error = manifest_parse(yaml, file_name, variable, variable_owner, &app);
    struct deploy *deploy = deploy_new(api, app ? app->name : file_name, app, error);
    deploy->done = done;
    deploy->owner = owner;
    prepare(deploy);
}

/* The first one has a callback under way (a commit, or its begin), which finds no api and ends it. */
void deploys_forget(struct api *api) {
    LIST_EACH_SAFE(node, next, &api->preparing) {
        struct deploy *deploy = CONTAINER_OF(node, struct deploy, node);
        pool_prepare_free(take(deploy->prepare));
        deploy->api = NULL;
        deploy->done = NULL;
        finish(deploy, error_new(ERROR_CANCELLED, "catnap is ending"));
    }
    bool first = true;
    LIST_EACH_SAFE(node, next, &api->deploys) {
        struct deploy *deploy = CONTAINER_OF(node, struct deploy, node);
        deploy->api = NULL;
        list_remove(node);
        if (!first) finish(deploy, error_new(ERROR_CANCELLED, "catnap is ending"));
        first = false;
    }
}
