/* The shell around nap: events in, actions out to node and tickets.
 *
 * No policy here: each verb of nap is carried out as it stands. nap is never told something from inside its
 * own actions; what callbacks bring up meanwhile is queued. The timer is lazy: it is armed when something is
 * due earlier than it is, and one that comes too early just arms again, so that a busy function costs no
 * timer work per request. */
#include "inside.h"

#include <stdlib.h>

static struct pool_container *container_of(struct pool *pool, const struct nap_action *action) {
    struct pool_container *container = table_get(pool->containers, action->container);
    if (container) return container;
    struct pool_function *function = table_get(pool->by_number, action->pool);
    container = NEW(struct pool_container);
    container->number = action->container;
    container->function = function;
    container->port = function ? function->spec->port : 0;
    table_put(pool->containers, container->number, container);
    return container;
}

static void wake_began(struct pool_container *container, const char *kind) {
    container->wake_began_us = clock_monotonic_us();
    container->wake_kind = kind;
}

static void wake_ended(struct pool_container *container) {
    struct pool_function *function = container->function;
    if (!function || !container->wake_began_us) return;
    function->last_wake_us = clock_monotonic_us() - container->wake_began_us;
    function->last_wake_wall_ms = clock_wall_ms();
    function->last_wake_kind = container->wake_kind;
    container->wake_began_us = 0;
    int64_t took_ms = (function->last_wake_us + 999) / 1000;
    if (strcmp(container->wake_kind, "thaw") !=
        0) /* recent starts count most: an app's start changes with its data */
        function->start_average_ms =
            function->start_average_ms ? (function->start_average_ms * 2 + took_ms) / 3 : took_ms;
    log_info("pool", "%s is awake (%s, %lld.%03lld ms)", function->name, container->wake_kind,
             (long long)(function->last_wake_us / 1000), (long long)(function->last_wake_us % 1000));
    pool_function_awake(function, NULL);
}

static void start(struct pool *pool, const struct nap_action *action) {
    struct pool_container *container = table_get(pool->containers, action->container);
    if (container) { /* a primed one */
        wake_began(container, "primed");
        node_start(pool->node, container->number);
        return;
    }
    container = container_of(pool, action);
    if (!container->function) return; /* nap starts nothing for a pool that is gone */
    wake_began(container, "start");
    log_info("pool", "%s wakes", container->function->name);
    node_create(pool->node, container->number, container->function->spec, container->function->version, true);
}

static void prime(struct pool *pool, const struct nap_action *action) {
    struct pool_container *container = container_of(pool, action);
    if (!container->function) return;
    container->primed = true;
    node_create(pool->node, container->number, container->function->spec, container->function->version,
                false);
}

static void grant(struct pool *pool, const struct nap_action *action) {
    struct pool_ticket *ticket = table_get(pool->tickets, action->ticket);
    if (!ticket) return; /* cancelled: nap hears of it next */
    struct pool_container *container = table_get(pool->containers, action->container);
    ticket->container = action->container;
    ticket->port = container ? container->port : 0;
    ticket->granted_ms = io_now_ms(pool->loop);
    list_append(&pool->deliveries, &ticket->delivery);
    pool_delivery_due(pool);
}

static void refuse(struct pool *pool, const struct nap_action *action) {
    struct pool_ticket *ticket = table_remove(pool->tickets, action->ticket);
    if (!ticket) return;
    ticket->number = 0; /* nap knows it no more */
    ticket->refused = action->reason;
    ticket->retry_ms = action->retry_ms;
    ticket->refusal = pool_refusal_text(ticket->function, action->reason);
    list_remove(&ticket->delivery); /* a grant that was not told yet */
    list_append(&pool->deliveries, &ticket->delivery);
    pool_delivery_due(pool);
}

static void thaw(struct pool *pool, const struct nap_action *action) {
    struct pool_container *container = container_of(pool, action);
    wake_began(container, "thaw");
    node_thaw(pool->node, action->container);
    wake_ended(container);
}

static void carry_out(struct pool *pool, const struct nap_action *action) {
    switch (action->verb) {
    case NAP_START: start(pool, action); return;
    case NAP_PRIME: prime(pool, action); return;
    case NAP_GRANT: grant(pool, action); return;
    case NAP_REFUSE: refuse(pool, action); return;
    case NAP_THAW: thaw(pool, action); return;
    case NAP_FREEZE: node_freeze(pool->node, action->container); return;
    case NAP_RECLAIM: node_reclaim(pool->node, action->container); return;
    case NAP_STOP: node_stop(pool->node, action->container); return;
    case NAP_KILL: node_kill(pool->node, action->container); return;
    }
}

static void arm(struct pool *pool) {
    int64_t due_ms = nap_deadline_ms(pool->nap);
    if (due_ms == NAP_NEVER) {
        if (pool->timer_at_ms != NAP_NEVER) io_timer_stop(pool->timer);
        pool->timer_at_ms = NAP_NEVER;
    } else if (due_ms < pool->timer_at_ms) {
        io_timer_arm(pool->timer, due_ms - io_now_ms(pool->loop));
        pool->timer_at_ms = due_ms;
    }
}

static void step(struct pool *pool, const struct nap_event *event) {
    struct nap_actions todo = nap_step(pool->nap, event, clock_monotonic_ms());
    for (size_t i = 0; i < todo.count; i++) carry_out(pool, &todo.action[i]);
}

void pool_feed(struct pool *pool, const struct nap_event *event) {
    if (pool->stepping) {
        if (pool->queue_count == pool->queue_capacity) {
            pool->queue_capacity = pool->queue_capacity ? pool->queue_capacity * 2 : 16;
            pool->queue = mem_grow(pool->queue, pool->queue_capacity, sizeof *pool->queue);
        }
        pool->queue[pool->queue_count++] = *event;
        return;
    }
    pool->stepping = true;
    step(pool, event);
    for (size_t i = 0; i < pool->queue_count; i++) {
        struct nap_event next = pool->queue[i]; /* a copy: the queue may grow and move meanwhile */
        step(pool, &next);
    }
    pool->queue_count = 0;
    pool->stepping = false;
    arm(pool);
}

/* ---- telling ---- */

static void tell_tickets(struct pool *pool) {
    struct pool **alive = pool->alive;
    while (*alive && !list_empty(&pool->deliveries)) {
        struct pool_ticket *ticket = CONTAINER_OF(pool->deliveries.next, struct pool_ticket, delivery);
        list_remove(&ticket->delivery);
        if (ticket->refused == NAP_REASON_NONE) {
            ticket->events->granted(ticket->owner, ticket);
            continue;
        }
        const struct pool_refusal refusal = {ticket->refused, ticket->retry_ms, ticket->refusal};
        ticket->events->refused(ticket->owner, ticket, &refusal);
        free(ticket->refusal);
        free(ticket);
    }
}

static void tell_waiters(struct pool *pool) {
    struct pool **alive = pool->alive;
    while (*alive && !list_empty(&pool->awaited)) {
        struct wake_waiter *waiter = CONTAINER_OF(pool->awaited.next, struct wake_waiter, entry);
        list_remove(&waiter->entry);
        waiter->done(waiter->owner, waiter->error);
        free(waiter);
    }
}

static bool guests(const struct pool *pool) {
    struct pool_guest_view view;
    size_t i = 0;
    return pool_guest_next(pool, &i, &view);
}

static void deliver(void *owner) {
    struct pool **alive = owner;
    struct pool *pool = *alive;
    if (!pool) {
        free(alive);
        return;
    }
    pool->delivery_due = false;
    tell_tickets(pool);
    if (*alive) tell_waiters(pool);
    if (*alive && !pool->delivery_due && pool->stopped && table_count(pool->containers) == 0 &&
        !guests(pool)) {
        void (*stopped)(void *) = pool->stopped;
        pool->stopped = NULL;
        stopped(pool->stopped_owner);
    }
    if (!*alive) free(alive);
}

void pool_delivery_due(struct pool *pool) {
    if (pool->delivery_due) return;
    pool->delivery_due = true;
    io_defer(pool->loop, deliver, pool->alive);
}

void pool_function_awake(struct pool_function *function, struct error *taken_error) {
    while (!list_empty(&function->waiters)) {
        struct wake_waiter *waiter = CONTAINER_OF(function->waiters.next, struct wake_waiter, entry);
        list_remove(&waiter->entry);
        waiter->error = error_copy(taken_error);
        list_append(&function->pool->awaited, &waiter->entry);
        pool_delivery_due(function->pool);
    }
    error_free(taken_error);
}

/* ---- what node tells ---- */

static void on_created(void *owner, uint64_t number) {
    struct pool *pool = owner;
    struct pool_container *container = table_get(pool->containers, number);
    /* nap hears of it only where it asked for it to wait; else it is on its way to `ready`. */
    if (!container || !container->primed || container->wake_began_us) return;
    pool_feed(pool, &(struct nap_event){.kind = NAP_PRIMED, .container = number});
}

static void on_ready(void *owner, uint64_t number) {
    struct pool *pool = owner;
    struct pool_container *container = table_get(pool->containers, number);
    if (!container) return;
    wake_ended(container);
    pool_feed(pool, &(struct nap_event){.kind = NAP_READY, .container = number});
}

static void on_exited(void *owner, uint64_t number, bool was_ready, const char *text) {
    struct pool *pool = owner;
    struct pool_container *container = table_get(pool->containers, number);
    if (!container) { /* a guest, perhaps the last one that pool_stop_all waits for */
        pool_delivery_due(pool);
        return;
    }
    struct pool_function *function = container->function;
    if (function) {
        free(function->failure);
        function->failure = mem_string(text);
        log_info("pool", "%s: container %llu is gone: %.*s", function->name, (unsigned long long)number,
                 (int)strcspn(text, "\n"), text);
    }
    enum nap_event_kind kind = was_ready ? NAP_EXITED : NAP_START_FAILED;
    pool_feed(pool, &(struct nap_event){.kind = kind, .container = number});
    if (function && !was_ready && !list_empty(&function->waiters))
        pool_function_awake(function,
                            error_new(ERROR_UNAVAILABLE, "%s did not wake: %s", function->name, text));
    table_remove(pool->containers, number);
    free(container);
    pool_delivery_due(pool); /* pool_stop_all may be waiting for the last one */
}

static void on_freeze_failed(void *owner, uint64_t number) {
    pool_feed(owner, &(struct nap_event){.kind = NAP_FREEZE_FAILED, .container = number});
}

static void on_pressure(void *owner) {
    log_warn("pool", "this machine is short of memory: idle containers are stopped");
    pool_feed(owner, &(struct nap_event){.kind = NAP_PRESSURE});
}

void pool_node_events_take(struct pool *pool) {
    static const struct node_events events = {on_created, on_ready, on_exited, on_freeze_failed, on_pressure};
    node_events_set(pool->node, &events, pool);
}
