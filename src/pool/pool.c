/* The running configuration: which apps there are, under which names and ports their functions answer.
 *
 * A pool_function object stays the same while its name exists, so that what waits for it survives a change.
 * What a container was made from is told by a number, core_function_shape: equal number, same container. That
 * holds across restarts of the daemon too, and is how adopted containers are recognised. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

/* May be early: nap ignores that, and the feed arms it anew. */
static void on_timer(void *owner) {
    struct pool *pool = owner;
    pool->timer_at_ms = NAP_NEVER;
    pool_feed(pool, &(struct nap_event){.kind = NAP_TIMER});
}

struct pool *pool_new(const struct pool_options *options) {
    struct pool *pool = NEW(struct pool);
    pool->loop = options->loop;
    pool->node = options->node;
    pool->nap = nap_new(&options->nap);
    pool->user = mem_string(options->user);
    pool->apps = map_new();
    pool->by_name = map_new();
    pool->by_label = map_new();
    pool->by_publish = table_new();
    pool->by_number = table_new();
    pool->tickets = table_new();
    pool->containers = table_new();
    pool->timer = io_timer_new(pool->loop, on_timer, pool);
    pool->timer_at_ms = NAP_NEVER;
    list_init(&pool->deliveries);
    list_init(&pool->awaited);
    pool->alive = NEW(struct pool *);
    *pool->alive = pool;
    pool_node_events_take(pool);
    return pool;
}

static void function_free(struct pool_function *function) {
    free(function->name);
    free(function->label);
    free(function->failure);
    free(function);
}

void pool_free(struct pool *pool) {
    if (!pool) return;
    void *value;
    for (size_t i = 0; i < pool->function_count; i++) function_free(pool->sorted[i]);
    for (size_t i = 0; map_next(pool->apps, &i, NULL, &value);) core_app_free(value);
    for (size_t i = 0; table_next(pool->containers, &i, NULL, &value);) free(value);
    map_free(pool->apps);
    map_free(pool->by_name);
    map_free(pool->by_label);
    table_free(pool->by_publish);
    table_free(pool->by_number);
    table_free(pool->tickets);
    table_free(pool->containers);
    io_timer_free(pool->timer);
    nap_free(pool->nap);
    *pool->alive = NULL;
    if (!pool->delivery_due) free(pool->alive); /* else the delivery still to come frees it */
    free(pool->sorted);
    free(pool->queue);
    free(pool->user);
    free(pool);
}

/* ---- looking whether a change fits ---- */

static struct error *names_check(struct pool *pool, const struct core_function *function) {
    scoped_string char *label = core_function_label(function, pool->user);
    const struct pool_function *other = map_get(pool->by_label, span_of(label));
    if (other &&
        (strcmp(other->spec->app, function->app) != 0 || strcmp(other->spec->name, function->name) != 0))
        return error_new(ERROR_ALREADY_EXISTS,
                         "function %s: the host name %s is that of %s already; give it another `label`",
                         function->name, label, other->name);
    other = function->publish ? table_get(pool->by_publish, function->publish) : NULL;
    if (other && strcmp(other->spec->app, function->app) != 0)
        return error_new(ERROR_ALREADY_EXISTS,
                         "function %s: port %u is published for %s already; choose another `publish`",
                         function->name, function->publish, other->name);
    if (function->publish && !other && pool->publish_check)
        TRY(pool->publish_check(pool->publish_check_owner, function->publish), "function %s: publish",
            function->name);
    return NULL;
}

static struct error *twice_check(const struct core_app *app) {
    for (size_t i = 0; i < app->function_count; i++)
        for (size_t j = 0; j < i; j++)
            if (app->functions[i]->publish && app->functions[i]->publish == app->functions[j]->publish)
                return error_new(ERROR_INVALID_ARGUMENT, "functions %s and %s both publish port %u",
                                 app->functions[j]->name, app->functions[i]->name,
                                 app->functions[i]->publish);
    return NULL;
}

struct error *pool_app_check(struct pool *pool, const struct core_app *app) {
    TRY(core_app_check(app), "app %s", app->name);
    TRY(twice_check(app), "app %s", app->name);
    for (size_t i = 0; i < app->function_count; i++) {
        TRY(names_check(pool, app->functions[i]), "app %s", app->name);
        TRY(node_function_check(pool->node, app->functions[i]), "app %s", app->name);
    }
    return NULL;
}

/* ---- changing it ---- */

static int by_name(const void *a, const void *b) {
    const struct pool_function *left = *(struct pool_function *const *)a,
                               *right = *(struct pool_function *const *)b;
    int order = strcmp(left->spec->app, right->spec->app);
    return order ? order : strcmp(left->spec->name, right->spec->name);
}

static void index_again(struct pool *pool) {
    map_free(pool->by_label);
    table_free(pool->by_publish);
    free(pool->sorted);
    pool->by_label = map_new();
    pool->by_publish = table_new();
    pool->function_count = 0;
    pool->sorted = mem_array(map_count(pool->by_name) + 1, sizeof *pool->sorted);
    void *value;
    for (size_t i = 0; map_next(pool->by_name, &i, NULL, &value);) {
        struct pool_function *function = value;
        pool->sorted[pool->function_count++] = function;
        map_put(pool->by_label, span_of(function->label), function);
        if (function->spec->publish) table_put(pool->by_publish, function->spec->publish, function);
    }
    qsort(pool->sorted, pool->function_count, sizeof *pool->sorted, by_name);
    if (pool->publish_changed) pool->publish_changed(pool->publish_owner);
}

/* Tickets at work and containers on their way out outlive their function: they forget it. */
static void function_remove(struct pool *pool, struct pool_function *function) {
    pool_function_awake(function, error_new(ERROR_NOT_FOUND, "%s was removed", function->name));
    pool_feed(pool, &(struct nap_event){.kind = NAP_POOL_REMOVED, .pool = function->number});
    void *value;
    for (size_t i = 0; table_next(pool->tickets, &i, NULL, &value);) {
        struct pool_ticket *ticket = value;
        if (ticket->function == function) ticket->function = NULL;
    }
    for (size_t i = 0; table_next(pool->containers, &i, NULL, &value);) {
        struct pool_container *container = value;
        if (container->function == function) container->function = NULL;
    }
    map_remove(pool->by_name, span_of(function->name));
    table_remove(pool->by_number, function->number);
    function_free(function);
}

static void function_set(struct pool *pool, const struct core_function *spec) {
    scoped_string char *name = mem_printf("%s.%s", spec->app, spec->name);
    struct pool_function *function = map_get(pool->by_name, span_of(name));
    if (!function) {
        function = NEW(struct pool_function);
        function->pool = pool;
        function->number = ++pool->next_function;
        function->name = mem_string(name);
        function->last_wake_us = -1;
        list_init(&function->waiters);
        map_put(pool->by_name, span_of(name), function);
        table_put(pool->by_number, function->number, function);
    }
    function->spec = spec;
    function->version = core_function_shape(spec);
    free(function->label);
    function->label = core_function_label(spec, pool->user);
    pool_feed(pool, &(struct nap_event){.kind = NAP_POOL_SET,
                                        .pool = function->number,
                                        .function = spec,
                                        .version = function->version});
}

/* Functions that `app` (NULL: none) no longer has leave. */
static void functions_leave(struct pool *pool, const struct core_app *old, const struct core_app *app) {
    for (size_t i = 0; old && i < old->function_count; i++) {
        if (app && core_app_find(app, old->functions[i]->name)) continue;
        function_remove(pool, pool_function_find(pool, old->name, old->functions[i]->name));
    }
}

struct error *pool_app_set(struct pool *pool, const struct core_app *app) {
    TRY_PLAIN(pool_app_check(pool, app));
    struct core_app *copy = core_app_copy(app);
    scoped(core_app) struct core_app *old = map_put(pool->apps, span_of(copy->name), copy);
    functions_leave(pool, old, copy);
    for (size_t i = 0; i < copy->function_count; i++) function_set(pool, copy->functions[i]);
    index_again(pool);
    return NULL;
}

struct error *pool_app_remove(struct pool *pool, const char *name) {
    scoped(core_app) struct core_app *old = map_remove(pool->apps, span_of(name));
    if (!old) return error_new(ERROR_NOT_FOUND, "there is no app '%s'", name);
    functions_leave(pool, old, NULL);
    index_again(pool);
    return NULL;
}

void pool_on_publish_changed(struct pool *pool, void (*changed)(void *owner), void *owner) {
    pool->publish_changed = changed;
    pool->publish_owner = owner;
}

void pool_on_publish_check(struct pool *pool, struct error *(*check)(void *owner, uint16_t port),
                           void *owner) {
    pool->publish_check = check;
    pool->publish_check_owner = owner;
}

/* ---- what the last daemon left, and the end ---- */

static void on_found(void *owner, const struct node_found *found) {
    struct pool *pool = owner;
    struct pool_function *function = pool_function_find(pool, found->app, found->function);
    struct pool_container *container = NEW(struct pool_container);
    container->number = found->container;
    container->function = function;
    container->port = function ? function->spec->port : 0;
    table_put(pool->containers, container->number, container);
    if (!function || !found->ready) {
        log_info("pool", "container %llu of %s.%s is not needed any more and is ended",
                 (unsigned long long)found->container, found->app, found->function);
        node_kill(pool->node, found->container);
        return;
    }
    log_info("pool", "%s: container %llu goes on", function->name, (unsigned long long)found->container);
    pool_feed(pool, &(struct nap_event){
                        .kind = NAP_ADOPTED,
                        .pool = function->number,
                        .container = found->container,
                        .version = found->version,
                        .dozing = found->frozen,
                        .started_ms = io_now_ms(pool->loop),
                    });
}

struct error *pool_adopt(struct pool *pool) {
    return node_adopt(pool->node, on_found, pool);
}

void pool_stop_all(struct pool *pool, void (*done)(void *owner), void *owner) {
    pool->stopped = done;
    pool->stopped_owner = owner;
    for (size_t i = 0; i < pool->function_count; i++)
        pool_feed(pool, &(struct nap_event){.kind = NAP_USER_STOP, .pool = pool->sorted[i]->number});
    node_lone_kill_all(pool->node);
    pool_delivery_due(pool);
}

bool pool_guest_next(const struct pool *pool, size_t *i, struct pool_guest_view *ret_view) {
    struct node_lone_view lone;
    if (!node_lone_next(pool->node, i, &lone)) return false;
    *ret_view = (struct pool_guest_view){.app = lone.app, .name = lone.function, .ready = lone.ready};
    snprintf(ret_view->id, sizeof ret_view->id, "%llu", (unsigned long long)lone.container);
    ret_view->pid = node_pid(pool->node, lone.container);
    ret_view->memory_bytes = node_memory_bytes(pool->node, lone.container);
    return true;
}

void pool_kill_all(struct pool *pool) {
    node_lone_kill_all(pool->node);
    uint64_t number;
    for (size_t i = 0; table_next(pool->containers, &i, &number, NULL);) node_kill(pool->node, number);
}
