/* GET /metrics, in the text format of Prometheus. */
#include "inside.h"

#include <stdlib.h>

struct metric {
    const char *name, *help;
    double (*value)(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers);
};

static double waiting(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers) {
    (void)memory_bytes, (void)containers;
    return view->waiting;
}
static double working(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers) {
    (void)memory_bytes, (void)containers;
    return view->working;
}
static double memory(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers) {
    (void)view, (void)containers;
    return (double)memory_bytes;
}
static double count(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers) {
    (void)view, (void)memory_bytes;
    return (double)containers;
}
static double awake(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers) {
    (void)memory_bytes, (void)containers;
    return view->state == NAP_AWAKE;
}
static double last_wake(const struct pool_function_view *view, uint64_t memory_bytes, size_t containers) {
    (void)memory_bytes, (void)containers;
    return view->last_wake_us < 0 ? 0 : (double)view->last_wake_us / 1e6;
}

static const struct metric metrics[] = {
    {"catnap_requests_waiting", "Requests without a slot.", waiting},
    {"catnap_requests_working", "Requests in a container.", working},
    {"catnap_containers", "Containers, the dozing and the primed ones included.", count},
    {"catnap_memory_bytes", "Memory of all containers.", memory},
    {"catnap_awake", "1 while awake.", awake},
    {"catnap_last_wake_seconds", "How long the last wake took.", last_wake},
};

static void add_function(struct text *out, const struct metric *metric, struct pool_function *function) {
    const struct core_function *spec = pool_function_spec(function);
    struct pool_function_view view;
    pool_function_view(function, &view);
    size_t capacity = (size_t)spec->max_containers * 2 + 8;
    struct pool_container_view *views = mem_array(capacity, sizeof *views);
    size_t containers = pool_container_views(function, views, capacity);
    uint64_t memory_bytes = 0;
    for (size_t i = 0; i < containers; i++) memory_bytes += views[i].memory_bytes;
    free(views);
    text_printf(out, "%s{app=\"%s\",function=\"%s\"} %.17g\n", metric->name, spec->app, spec->name,
                metric->value(&view, memory_bytes, containers));
}

void metrics_handle(struct api *api, struct http_exchange *exchange) {
    static const char *const fields[] = {"Content-Type", "text/plain; version=0.0.4", NULL};
    scoped_text struct text out = {0};
    struct pool_function *function;
    for (size_t m = 0; m < COUNT(metrics); m++) {
        text_printf(&out, "# HELP %s %s\n# TYPE %s gauge\n", metrics[m].name, metrics[m].help,
                    metrics[m].name);
        for (size_t i = 0; (function = pool_function_next(api->pool, &i));)
            add_function(&out, &metrics[m], function);
    }
    http_respond(exchange, 200, fields, text_span(&out));
}
