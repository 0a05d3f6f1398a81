/* `ps`: what all apps are at, as JSON. Keys are only ever added: scripts read them. */
#include "inside.h"

#include <stdlib.h>

static void set_string(json_t *object, const char *key, const char *value) {
    if (!value) return;
    json_t *string = json_string(value);
    json_object_set_new(object, key, string ? string : json_string("(no UTF-8)"));
}

/* ADDR of ADDR:PORT as a client on this machine says it. */
static struct span client_host(const char *gateway) {
    const char *colon = strrchr(gateway, ':');
    struct span host = {gateway, colon ? (size_t)(colon - gateway) : strlen(gateway)};
    bool everywhere =
        host.size == 0 || span_is(host, "0.0.0.0") || span_is(host, "[::]") || span_is(host, "*");
    return everywhere ? SPAN("127.0.0.1") : host;
}

char *port_url(const struct api *api, uint16_t port) {
    struct span host = client_host(api->gateway);
    if (api->tls_name) return mem_printf("https://%s:%u", api->tls_name, port);
    return mem_printf("http://" SPAN_FORMAT ":%u", SPAN_ARGS(host), port);
}

char *function_url(struct api *api, const struct pool_function *function, bool published) {
    if (!api->gateway) return NULL;
    const struct core_function *spec = pool_function_spec(function);
    const char *colon = strrchr(api->gateway, ':');
    if (published) return port_url(api, spec->publish);
    struct pool_function_view view;
    pool_function_view((struct pool_function *)function, &view);
    if (!view.label || !colon) return NULL;
    bool usual = strcmp(colon, api->tls_name ? ":443" : ":80") == 0;
    return mem_printf("%s://%s.%s%s", api->tls_name ? "https" : "http", view.label, api->domain,
                      usual ? "" : colon);
}

static json_t *urls(struct api *api, const struct pool_function *function) {
    json_t *list = json_array();
    const struct core_function *spec = pool_function_spec(function);
    if (spec->runner && !spec->label) return list; /* its work comes as inputs, not by HTTP */
    for (int published = pool_function_spec(function)->publish != 0; published >= 0; published--) {
        scoped_string char *url = function_url(api, function, published != 0);
        if (url) json_array_append_new(list, json_string(url));
    }
    return list;
}

static json_t *containers(struct pool_function *function, uint32_t max_containers,
                          uint64_t *ret_memory_bytes) {
    /* Those of an older version may still be at work beside the new ones. */
    size_t capacity = (size_t)max_containers * 2 + 8;
    struct pool_container_view *views = mem_array(capacity, sizeof *views);
    size_t count = pool_container_views(function, views, capacity);
    json_t *list = json_array();
    *ret_memory_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        *ret_memory_bytes += views[i].memory_bytes;
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:I, s:I}", "id", views[i].id, "state",
                                              nap_state_name(views[i].state), "pid", views[i].pid,
                                              "memory_bytes", (json_int_t)views[i].memory_bytes, "working",
                                              (json_int_t)views[i].working));
    }
    free(views);
    return list;
}

/* `primed` is how a container is; its function is asleep to whoever looks on from outside. */
static const char *function_state(const struct pool_function_view *view) {
    return nap_state_name(view->state == NAP_PRIMED_STATE ? NAP_ASLEEP : view->state);
}

static json_t *ps_function(struct api *api, struct pool_function *function) {
    const struct core_function *spec = pool_function_spec(function);
    struct pool_function_view view;
    pool_function_view(function, &view);
    uint64_t memory_bytes = 0;
    json_t *list = containers(function, spec->max_containers, &memory_bytes);
    json_t *json =
        json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o}", "function", spec->name, "state",
                  function_state(&view), "urls", urls(api, function), "waiting", (json_int_t)view.waiting,
                  "working", (json_int_t)view.working, "last_wake_ms",
                  view.last_wake_ms < 0 ? json_null() : json_integer(view.last_wake_ms), "containers", list);
    json_object_set_new(json, "memory_bytes", json_integer((json_int_t)memory_bytes));
    json_object_set_new(json, "max_inputs", json_integer(spec->max_inputs));
    json_object_set_new(json, "max_containers", json_integer(spec->max_containers));
    json_object_set_new(json, "port", json_integer(spec->port));
    if (spec->publish) json_object_set_new(json, "publish", json_integer(spec->publish));
    set_string(json, "label", view.label);
    set_string(json, "example", spec->example);
    json_object_set_new(json, "stopped", json_boolean(view.stopped));
    if (view.last_wake_us >= 0) json_object_set_new(json, "last_wake_us", json_integer(view.last_wake_us));
    set_string(json, "last_wake_kind", view.last_wake_kind);
    if (view.last_wake_wall_ms > 0)
        json_object_set_new(json, "last_wake_wall_ms", json_integer(view.last_wake_wall_ms));
    if (view.next_run_wall_ms > 0)
        json_object_set_new(json, "next_run_wall_ms", json_integer(view.next_run_wall_ms));
    if (view.estimate_ms > 0) json_object_set_new(json, "estimate_ms", json_integer(view.estimate_ms));
    if (view.state == NAP_STARTING) {
        json_object_set_new(json, "starting_for_ms", json_integer(view.starting_for_ms));
        set_string(json, "stage", view.stage);
    }
    if (view.state == NAP_FAILED) json_object_set_new(json, "retry_ms", json_integer(view.retry_ms));
    set_string(json, "failure", view.failure);
    return json;
}

/* Told as a function of its app: its name is the sandbox's, and it has this one container. */
static json_t *ps_guest(const struct pool_guest_view *view) {
    const char *state = nap_state_name(view->ready ? NAP_AWAKE : NAP_STARTING);
    json_t *container = json_pack("{s:s, s:s, s:i, s:I, s:i}", "id", view->id, "state", state, "pid",
                                  view->pid, "memory_bytes", (json_int_t)view->memory_bytes, "working", 1);
    json_t *json = json_pack("{s:s, s:s, s:[], s:i, s:i, s:n, s:[o], s:I}", "function", view->name, "state",
                             state, "urls", "waiting", 0, "working", 1, "last_wake_ms", "containers",
                             container, "memory_bytes", (json_int_t)view->memory_bytes);
    json_object_update_new(json, json_pack("{s:s, s:i, s:i, s:i, s:b}", "kind", "sandbox", "max_inputs", 1,
                                           "max_containers", 1, "port", 0, "stopped", 0));
    return json;
}

static void add_guests(struct api *api, const char *only, json_t *apps) {
    struct pool_guest_view view;
    for (size_t i = 0; pool_guest_next(api->pool, &i, &view);) {
        json_t *app = NULL, *each;
        if (only && strcmp(only, view.app) != 0) continue;
        for (size_t a = 0; !app && (each = json_array_get(apps, a)); a++)
            if (strcmp(json_string_value(json_object_get(each, "app")), view.app) == 0) app = each;
        if (!app) json_array_append_new(apps, app = json_pack("{s:s, s:[]}", "app", view.app, "functions"));
        json_array_append_new(json_object_get(app, "functions"), ps_guest(&view));
    }
}

static json_t *ps_where(struct api *api, const char *only) {
    json_t *apps = json_array(), *functions = NULL;
    const char *current = "";
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(api->pool, &i));) { /* by app, then name */
        const struct core_function *spec = pool_function_spec(function);
        if (only && strcmp(only, spec->app) != 0) continue;
        if (!functions || strcmp(current, spec->app) != 0) {
            functions = json_array();
            current = spec->app;
            json_array_append_new(apps, json_pack("{s:s, s:o}", "app", spec->app, "functions", functions));
        }
        json_array_append_new(functions, ps_function(api, function));
    }
    add_guests(api, only, apps);
    return apps;
}

json_t *ps_all(struct api *api) {
    return json_pack("{s:o}", "apps", ps_where(api, NULL));
}

json_t *ps_app(struct api *api, const char *app) {
    scoped_json json_t *apps = ps_where(api, app);
    json_t *one = json_array_get(apps, 0);
    return one ? json_incref(one) : json_pack("{s:s, s:[]}", "app", app, "functions");
}

bool app_known(struct api *api, const char *app) {
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(api->pool, &i));)
        if (strcmp(pool_function_spec(function)->app, app) == 0) return true;
    struct pool_guest_view guest;
    for (size_t i = 0; pool_guest_next(api->pool, &i, &guest);)
        if (strcmp(guest.app, app) == 0) return true;
    return false;
}
