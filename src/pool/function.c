/* Functions as others see them: found by name, host or port; their state in words and numbers; the user's
 * commands. */
#include "inside.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define LABEL_MAX 63 /* of DNS */

struct pool_function *pool_function_find(struct pool *pool, const char *app, const char *function) {
    scoped_string char *name = mem_printf("%s.%s", app, function);
    return map_get(pool->by_name, span_of(name));
}

struct pool_function *pool_function_by_host(struct pool *pool, struct span host) {
    char label[LABEL_MAX];
    size_t size = 0;
    for (; size < host.size && host.data[size] != '.' && host.data[size] != ':'; size++) {
        if (size == LABEL_MAX) return NULL;
        label[size] = (char)tolower((unsigned char)host.data[size]);
    }
    return map_get(pool->by_label, (struct span){label, size});
}

struct pool_function *pool_function_by_publish(struct pool *pool, uint16_t port) {
    return table_get(pool->by_publish, port);
}

const struct core_function *pool_function_spec(const struct pool_function *function) {
    return function->spec;
}

struct pool_function *pool_function_next(struct pool *pool, size_t *i) {
    return *i < pool->function_count ? pool->sorted[(*i)++] : NULL;
}

/* ---- views ---- */

/* The start that is furthest on is the one that the user waits for. */
static void starting_view(const struct pool_function *function, struct pool_function_view *view) {
    int64_t began_us = 0;
    void *value;
    for (size_t i = 0; table_next(function->pool->containers, &i, NULL, &value);) {
        const struct pool_container *container = value;
        if (container->function != function || !container->wake_began_us) continue;
        if (began_us && container->wake_began_us >= began_us) continue;
        began_us = container->wake_began_us;
        view->stage = node_stage(function->pool->node, container->number);
    }
    if (began_us) view->starting_for_ms = (clock_monotonic_us() - began_us) / 1000;
}

void pool_function_next_run_set(struct pool_function *function, int64_t wall_ms) {
    function->next_run_wall_ms = wall_ms;
}

void pool_function_view(struct pool_function *function, struct pool_function_view *ret_view) {
    struct nap_pool_view seen = {0};
    nap_pool_view(function->pool->nap, function->number, clock_monotonic_ms(), &seen);
    *ret_view = (struct pool_function_view){
        .state = seen.state,
        .stopped = seen.stopped,
        .waiting = seen.waiting,
        .working = seen.working,
        .estimate_ms = function->start_average_ms,
        .last_wake_us = function->last_wake_us,
        .last_wake_ms = function->last_wake_us < 0 ? -1 : (function->last_wake_us + 999) / 1000,
        .last_wake_kind = function->last_wake_kind,
        .last_wake_wall_ms = function->last_wake_wall_ms,
        .next_run_wall_ms = function->next_run_wall_ms,
        .retry_ms = seen.retry_ms,
        .label = function->label,
        .failure = seen.state == NAP_FAILED ? function->failure : NULL,
    };
    if (seen.state == NAP_STARTING) starting_view(function, ret_view);
}

size_t pool_container_views(struct pool_function *function, struct pool_container_view *views,
                            size_t capacity) {
    struct pool *pool = function->pool;
    size_t count = 0;
    void *value;
    for (size_t i = 0; count < capacity && table_next(pool->containers, &i, NULL, &value);) {
        const struct pool_container *container = value;
        if (container->function != function) continue;
        struct pool_container_view *view = &views[count++];
        uint32_t working = 0;
        enum nap_state state = nap_container_state(pool->nap, container->number, &working);
        *view = (struct pool_container_view){
            .state = state,
            .pid = node_pid(pool->node, container->number),
            .memory_bytes = node_memory_bytes(pool->node, container->number),
            .working = working,
        };
        snprintf(view->id, sizeof view->id, "%llu", (unsigned long long)container->number);
    }
    return count;
}

void pool_container_kill(struct pool *pool, uint64_t container) {
    node_kill(pool->node, container);
}

void pool_container_leaves(struct pool *pool, uint64_t container) {
    pool_feed(pool, &(struct nap_event){.kind = NAP_LEAVES, .container = container});
}

/* ---- commands ---- */

struct error *pool_app_command(struct pool *pool, const char *app, const char *function_or_null,
                               enum pool_verb verb) {
    static const enum nap_event_kind kinds[] = {
        [POOL_WAKE] = NAP_USER_WAKE,
        [POOL_DOZE] = NAP_USER_DOZE,
        [POOL_SLEEP] = NAP_USER_SLEEP,
        [POOL_STOP] = NAP_USER_STOP,
    };
    const struct core_app *there = map_get(pool->apps, span_of(app));
    if (!there) return error_new(ERROR_NOT_FOUND, "there is no app '%s' (`catnap ps` lists them)", app);
    if (verb == POOL_DOZE) TRY(node_doze_check(pool->node), "apps can't doze here");
    if (function_or_null && !core_app_find(there, function_or_null))
        return error_new(ERROR_NOT_FOUND, "app '%s' has no function '%s' (`catnap ps` lists them)", app,
                         function_or_null);
    for (size_t i = 0; i < there->function_count; i++) {
        const char *name = there->functions[i]->name;
        if (function_or_null && strcmp(name, function_or_null) != 0) continue;
        struct pool_function *function = pool_function_find(pool, app, name);
        pool_feed(pool, &(struct nap_event){.kind = kinds[verb], .pool = function->number});
    }
    return NULL;
}

void pool_function_when_awake(struct pool_function *function, void (*done)(void *owner, struct error *error),
                              void *owner) {
    struct wake_waiter *waiter = NEW(struct wake_waiter);
    waiter->done = done;
    waiter->owner = owner;
    list_append(&function->waiters, &waiter->entry);
    struct nap_pool_view seen = {0};
    nap_pool_view(function->pool->nap, function->number, clock_monotonic_ms(), &seen);
    if (seen.state == NAP_AWAKE)
        pool_function_awake(function, NULL);
    else if (seen.state == NAP_FAILED)
        pool_function_awake(function,
                            error_new(ERROR_UNAVAILABLE, "%s did not wake: %s", function->name,
                                      function->failure ? function->failure : "no reason is known"));
}
