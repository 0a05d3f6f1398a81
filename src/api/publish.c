/* POST /v1/apps/APP/{publish?function=F&port=N, unpublish?function=F}: a web function on a port of its own,
 * or not any more.
 *
 * For functions of which catnap has no manifest: who deployed them by a protocol has no word for it there.
 * The room that knows them does it (api_options.publish). */
#include "inside.h"

#include <stdlib.h>

struct publishing {
    struct later *later;
    char *app, *function;
    uint16_t port;
    char *url;
};

static void on_done(void *owner, struct error *error) {
    struct publishing *publishing = owner;
    json_t *json = json_pack("{s:s, s:s}", "app", publishing->app, "function", publishing->function);
    if (publishing->port) {
        json_object_set_new(json, "publish", json_integer(publishing->port));
        json_object_set_new(json, "url", json_string(publishing->url));
    } else {
        json_object_set_new(json, "unpublished", json_true());
    }
    later_answer(publishing->later, error, json);
    free(publishing->app), free(publishing->function), free(publishing->url);
    free(publishing);
}

static struct error *port_of(struct http_exchange *exchange, uint16_t *ret_port) {
    const char *text = query_value(exchange, "port");
    uint64_t port = 0;
    if (!text || !span_to_u64(span_of(text), &port) || port < 1 || port > UINT16_MAX)
        return error_new(ERROR_INVALID_ARGUMENT, "'%.40s' is no port from 1 to 65535", text ? text : "");
    *ret_port = (uint16_t)port;
    return NULL;
}

static struct error *check(struct api *api, const char *app, const char *function, uint16_t port) {
    const struct pool_function *found = function ? pool_function_find(api->pool, app, function) : NULL;
    if (!function) /* the command line tries it as APP.FUNCTION next */
        return error_new(ERROR_NOT_FOUND,
                         "there is no function '%.80s'; it is APP.FUNCTION, as `catnap ps` has them", app);
    if (found && !pool_function_spec(found)->runner)
        return error_new(
            ERROR_FAILED_PRECONDITION,
            "%s.%s is from a catnap.yaml: `publish` is a key of that, and `catnap up` makes it so", app,
            function);
    if (!api->publish)
        return error_new(ERROR_UNIMPLEMENTED, "this daemon serves no apps but those of a catnap.yaml");
    if (port && !api->gateway) return error_new(ERROR_FAILED_PRECONDITION, "this daemon has no gateway");
    return NULL;
}

bool publish_handle(struct api *api, struct http_exchange *exchange, const char *app, const char *verb) {
    bool wanted = strcmp(verb, "publish") == 0;
    if (!wanted && strcmp(verb, "unpublish") != 0) return false;
    const char *function = query_value(exchange, "function");
    uint16_t port = 0;
    struct error *error = wanted ? port_of(exchange, &port) : NULL;
    if (!error) error = check(api, app, function, port);
    if (error) {
        http_respond_error(exchange, error);
        return true;
    }
    struct publishing *publishing = NEW(struct publishing);
    *publishing = (struct publishing){.later = later_new(exchange),
                                      .app = mem_string(app),
                                      .function = mem_string(function),
                                      .port = port,
                                      .url = port ? port_url(api, port) : NULL};
    api->publish(api->publish_owner, app, function, port, on_done, publishing);
    return true;
}
