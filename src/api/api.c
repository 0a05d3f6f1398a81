/* The door: listening, who may ask, which handler answers. */
#include "api.h"

#include "inside.h"

#include <stdlib.h>

/* ---- routes ---- */

static struct error *no_route(struct http_exchange *exchange) {
    return error_new(ERROR_NOT_FOUND,
                     "there is no " SPAN_FORMAT " " SPAN_FORMAT " here; see docs/cli.md for the api",
                     SPAN_ARGS(http_exchange_method(exchange)), SPAN_ARGS(http_exchange_path(exchange)));
}

static void answer_version(struct api *api, struct http_exchange *exchange) {
    http_respond_json(exchange, 200,
                      json_pack("{s:s, s:i, s:s, s:s, s:s*, s:s*, s:s*}", "version", api->version, "pid",
                                (int)getpid(), "state", api->state_dir, "gateway", api->gateway, "modal",
                                api->modal, "modal_socket", api->modal_socket, "modal_url", api->modal_url));
}

/* /v1/apps/APP and /v1/apps/APP/VERB */
static void route_app(struct api *api, struct http_exchange *exchange, struct span rest) {
    struct arena *arena = http_exchange_arena(exchange);
    struct span method = http_exchange_method(exchange);
    const char *app = arena_string(arena, span_cut(&rest, '/'));
    bool named = *app != 0;
    if (named && !rest.data && span_is(method, "DELETE")) {
        remove_handle(api, exchange, app);
    } else if (named && rest.data && span_is(method, "POST") && !memchr(rest.data, '/', rest.size)) {
        const char *verb = arena_string(arena, rest);
        if (!publish_handle(api, exchange, app, verb)) verb_handle(api, exchange, app, verb);
    } else {
        http_respond_error(exchange, no_route(exchange));
    }
}

/* Routes with more below them: PREFIX, PREFIX/REST. False: not one of those. */
static bool route_below(struct api *api, struct http_exchange *exchange, struct span path) {
    static const struct {
        const char *prefix;
        bool (*handle)(struct api *api, struct http_exchange *exchange, struct span rest);
    } routes[] = {{"/v1/images", images_handle}, {"/v1/tokens", tokens_handle}};
    for (size_t i = 0; i < COUNT(routes); i++) {
        size_t size = strlen(routes[i].prefix);
        if (!span_starts(path, routes[i].prefix) || (path.size > size && path.data[size] != '/')) continue;
        struct span rest = {path.data + size, path.size - size};
        if (rest.size > 0) rest = (struct span){rest.data + 1, rest.size - 1};
        if (!routes[i].handle(api, exchange, rest)) http_respond_error(exchange, no_route(exchange));
        return true;
    }
    return false;
}

static void route(struct api *api, struct http_exchange *exchange) {
    static const struct {
        const char *method, *path;
        void (*handle)(struct api *api, struct http_exchange *exchange);
    } routes[] = {
        {"GET", "/v1/version", answer_version}, {"PUT", "/v1/apps", deploy_handle},
        {"GET", "/v1/logs", logs_handle},       {"GET", "/v1/events", events_handle},
        {"GET", "/metrics", metrics_handle},
    };
    struct span method = http_exchange_method(exchange), path = http_exchange_path(exchange);
    for (size_t i = 0; i < COUNT(routes); i++) {
        if (!span_is(path, routes[i].path)) continue;
        if (span_is(method, routes[i].method)) {
            routes[i].handle(api, exchange);
            return;
        }
        const char *const fields[] = {"Allow", routes[i].method, "Content-Type", "application/json", NULL};
        http_respond(exchange, 405, fields,
                     SPAN("{\"error\":\"this path has another method\",\"code\":\"UNIMPLEMENTED\"}\n"));
        return;
    }
    const struct span apps = SPAN("/v1/apps/");
    if (route_below(api, exchange, path)) return;
    if (span_is(path, "/v1/ps") && span_is(method, "GET"))
        http_respond_json(exchange, 200, ps_all(api));
    else if (span_starts(path, apps.data))
        route_app(api, exchange, (struct span){path.data + apps.size, path.size - apps.size});
    else
        http_respond_error(exchange, no_route(exchange));
}

static void on_request(void *owner, struct http_exchange *exchange) {
    struct api *api = owner;
    if (token_allows(api, exchange)) {
        route(api, exchange);
        return;
    }
    static const char *const fields[] = {"WWW-Authenticate", "Bearer", "Content-Type", "application/json",
                                         NULL};
    http_respond(exchange, 401, fields,
                 SPAN("{\"error\":\"over TCP the api wants its token: it stands in api-token in the state "
                      "directory; the command "
                      "line takes it from CATNAP_API_TOKEN\",\"code\":\"UNAUTHENTICATED\"}\n"));
}

/* ---- from birth to death ---- */

struct api *api_new(const struct api_options *options) {
    struct api *api = NEW(struct api);
    *api = (struct api){
        .loop = options->loop,
        .pool = options->pool,
        .store = options->store,
        .images = options->images,
        .identity = options->identity,
        .publish = options->publish,
        .publish_owner = options->publish_owner,
        .version = mem_string(options->version ? options->version : "unknown"),
        .state_dir = mem_string(options->state_dir),
        .runtime_dir = mem_string(options->runtime_dir),
        .logs_dir = mem_string(options->logs_dir),
        .gateway = mem_string(options->gateway),
        .domain = mem_string(options->domain ? options->domain : "localhost"),
        .tls_name = mem_string(options->tls_name),
    };
    struct list *const lists[] = {&api->token_files, &api->deploys,   &api->wakes,      &api->listeners,
                                  &api->followers,   &api->preparing, &api->image_works};
    for (size_t i = 0; i < COUNT(lists); i++) list_init(lists[i]);
    images_begin(api);
    api->server = http_server_new(
        &(struct http_server_options){.loop = api->loop, .on_request = on_request, .owner = api});
    return api;
}

struct error *api_listen(struct api *api, const char *address, uint16_t *ret_port) {
    uint16_t port = 0;
    if (ret_port) *ret_port = 0;
    if (strchr(address, '/')) {
        scoped_string char *directory = mem_string_n(address, (size_t)(strrchr(address, '/') - address));
        if (*directory) TRY_PLAIN(dir_make(directory, 0700));
        return http_server_listen(api->server, address, NULL, &port);
    }
    TRY_PLAIN(token_prepare(api));
    TRY_PLAIN(http_server_listen(api->server, address, api, &port)); /* the tag: a token is asked for */
    if (ret_port) *ret_port = port;
    return token_publish(api, address, port);
}

void api_modal_set(struct api *api, const char *address, const char *socket, const char *tls_name) {
    free(api->modal), free(api->modal_socket), free(api->modal_url);
    const char *colon = address && tls_name ? strrchr(address, ':') : NULL;
    api->modal_url = colon ? mem_printf("https://%s%s", tls_name, colon) : NULL;
    api->modal = mem_string(address);
    api->modal_socket = mem_string(socket);
}

void api_free(struct api *api) {
    if (!api) return;
    /* Streams first: they look at the pool whenever the server lets them go. */
    events_forget(api);
    logs_forget(api);
    images_forget(api);
    http_server_free(api->server);
    deploys_forget(api);
    wakes_forget(api);
    token_done(api);
    text_done(&api->events_last);
    char *const strings[] = {api->version,      api->state_dir, api->runtime_dir, api->logs_dir,
                             api->gateway,      api->domain,    api->token,       api->modal,
                             api->modal_socket, api->tls_name,  api->modal_url};
    for (size_t i = 0; i < COUNT(strings); i++) free(strings[i]);
    free(api);
}

char *api_function_url(struct api *api, const char *app, const char *function) {
    const struct pool_function *found = pool_function_find(api->pool, app, function);
    if (!found) return NULL;
    return function_url(api, found, pool_function_spec(found)->publish != 0);
}
