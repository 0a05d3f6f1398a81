/* One pool: its settings, and what it does about those who wait.
 *
 * serve() is the only place where work is handed out and containers are wanted: grants first, then who is
 * idle for too long leaves, then what is still missing is started. It is called for each pool that was
 * touched, at the end of the step.
 *
 * How many it needs: enough that no container has more than target_inputs, those that wait counted in, then
 * buffer_containers more, and min_containers at least; starting ones count, so that one start serves all who
 * wait. Between target and max_inputs work is granted at once, while the next container starts. A start that
 * nobody waits for any more goes on: who asked a moment ago will likely ask again. */
#include "inside.h"

#include <stdlib.h>

void nap_pool_touch(struct nap_pool *pool) {
    if (pool->touched) return;
    pool->touched = true;
    list_append(&pool->nap->touched, &pool->touched_link);
}

bool nap_pool_backs_off(const struct nap_pool *pool) {
    return pool->retry_at_ms > pool->nap->now_ms;
}

static void arm(struct nap_pool *pool) {
    int64_t due_ms = pool->hold ? pool->set_ms : NAP_NEVER;
    if (pool->retry_at_ms && pool->retry_at_ms < due_ms) due_ms = pool->retry_at_ms;
    if (pool->wake_wanted && pool->wake_until_ms < due_ms) due_ms = pool->wake_until_ms;
    nap_timer_set(pool->nap, &pool->timer, due_ms, pool->number);
}

void nap_pool_due(struct nap_pool *pool) {
    int64_t now_ms = pool->nap->now_ms;
    pool->hold = false;
    if (pool->retry_at_ms <= now_ms) pool->retry_at_ms = 0;
    if (pool->wake_until_ms <= now_ms) pool->wake_wanted = false;
    nap_pool_touch(pool);
}

void nap_pool_failed(struct nap_pool *pool) {
    const struct nap_config *config = &pool->nap->config;
    int64_t wait_ms = config->backoff_first_ms;
    for (uint32_t i = 0; i < pool->failures && wait_ms < config->backoff_max_ms; i++) wait_ms *= 2;
    if (wait_ms > config->backoff_max_ms) wait_ms = config->backoff_max_ms;
    pool->failures++;
    pool->wake_wanted = false;
    pool->retry_at_ms = pool->nap->now_ms + wait_ms;
    nap_pool_touch(pool);
}

/* ---- settings ---- */

static struct nap_limits limits_of(const struct core_function *function) {
    struct nap_limits limits = {
        .max_containers = function->max_containers ? function->max_containers : 1,
        .min_containers = function->min_containers,
        .buffer_containers = function->buffer_containers,
        .max_inputs = function->max_inputs ? function->max_inputs : 1,
        .target_inputs = function->target_inputs,
        .queue_max = function->queue_max,
        .doze_after_ms = function->doze_after_ms,
        .scaledown_window_ms = function->scaledown_window_ms,
        .startup_timeout_ms = function->startup_timeout_ms,
        .timeout_ms = function->timeout_ms,
        .stop_grace_ms = function->stop_grace_ms,
        .pin = function->pin,
        .prime = function->prime,
    };
    if (limits.target_inputs == 0 || limits.target_inputs > limits.max_inputs)
        limits.target_inputs = limits.max_inputs;
    return limits;
}

static struct nap_pool *pool_new(struct nap *nap, uint64_t number) {
    struct nap_pool *pool = NEW(struct nap_pool);
    pool->nap = nap;
    pool->number = number;
    pool->timer.kind = NAP_TIMER_POOL;
    list_init(&pool->queue);
    list_init(&pool->containers);
    list_init(&pool->touched_link);
    list_init(&pool->group_link);
    list_init(&pool->live_link);
    list_init(&pool->hungry_link);
    table_put(nap->pools, number, pool);
    return pool;
}

void nap_pool_set(struct nap *nap, const struct nap_event *event) {
    struct nap_pool *pool = table_get(nap->pools, event->pool);
    if (!pool) pool = pool_new(nap, event->pool);
    LIST_EACH(node, &pool->containers) nap_container_out(CONTAINER_OF(node, struct nap_container, link));
    pool->limits = limits_of(event->function);
    pool->version = event->version;
    pool->removed = false;
    pool->hold = true;
    pool->set_ms = nap->now_ms;
    pool->sleeping = false;
    pool->prime_failed = false;
    pool->failures = 0;
    pool->retry_at_ms = 0;
    LIST_EACH(node, &pool->containers) nap_container_in(CONTAINER_OF(node, struct nap_container, link));
    nap_group_join(pool, event->function->group);
    LIST_EACH(node, &pool->containers) {
        struct nap_container *container = CONTAINER_OF(node, struct nap_container, link);
        bool outdated = !nap_container_fresh(container) && container->working == 0;
        bool unwanted = container == pool->primed && !pool->limits.prime;
        if (outdated || unwanted) nap_container_stop(container, NAP_REASON_NONE);
    }
    nap_pool_touch(pool);
}

static void stop_all(struct nap_pool *pool, enum nap_reason reason) {
    nap_ticket_refuse_waiting(pool, reason);
    pool->wake_wanted = false;
    LIST_EACH(node, &pool->containers)
    nap_container_stop(CONTAINER_OF(node, struct nap_container, link), reason);
    nap_pool_touch(pool);
}

void nap_pool_remove(struct nap_pool *pool) {
    stop_all(pool, NAP_REASON_REMOVED);
    LIST_EACH(node, &pool->containers) nap_container_out(CONTAINER_OF(node, struct nap_container, link));
    pool->removed = true;
    pool->hold = pool->stopped = false; /* set again before its last container is gone, it is a new one */
    pool->retry_at_ms = 0;
    LIST_EACH(node, &pool->containers) nap_container_in(CONTAINER_OF(node, struct nap_container, link));
}

void nap_pool_free(struct nap_pool *pool) {
    nap_group_join(pool, NULL);
    nap_heap_remove(&pool->timer.node);
    nap_heap_remove(&pool->sleeper);
    list_remove(&pool->touched_link);
    nap_heap_done(&pool->below);
    nap_heap_done(&pool->above);
    nap_heap_done(&pool->dozing);
    nap_heap_done(&pool->idle);
    table_remove(pool->nap->pools, pool->number);
    free(pool);
}

/* ---- serving ---- */

static uint32_t needed(const struct nap_pool *pool) {
    const struct nap_limits *limits = &pool->limits;
    if (pool->removed || pool->stopped || (pool->sleeping && pool->waiting == 0)) return 0;
    uint64_t load = (uint64_t)pool->waiting + pool->work_here;
    uint64_t count = (load + limits->target_inputs - 1) / limits->target_inputs;
    if (count > 0) count += limits->buffer_containers;
    if (count == 0 && pool->wake_wanted) count = 1;
    if (count < limits->min_containers && !pool->sleeping) count = limits->min_containers;
    return count < limits->max_containers ? (uint32_t)count : limits->max_containers;
}

/* Packed tightly, so that the others can doze: the fullest below the target, then the last one frozen, then
 * above the target the emptiest. */
static struct nap_container *with_slot(struct nap_pool *pool) {
    struct heap_node *top = nap_heap_top(&pool->below);
    if (!top) top = nap_heap_top(&pool->dozing);
    if (!top) top = nap_heap_top(&pool->above);
    return top ? CONTAINER_OF(top, struct nap_container, slot) : NULL;
}

static void grant(struct nap_pool *pool) {
    while (pool->waiting > 0 && !nap_group_yields(pool)) {
        struct nap_ticket *oldest = CONTAINER_OF(pool->queue.next, struct nap_ticket, link);
        struct nap_container *container = oldest->unripe ? NULL : with_slot(pool);
        if (!container) return;
        if (container->state == NAP_DOZING) nap_container_thaw(container);
        nap_ticket_grant(oldest, container);
        nap_group_turn(pool);
    }
}

static void stop_starting(struct nap_pool *pool) {
    if (pool->count[NAP_STARTING] == 0) return;
    LIST_EACH(node, &pool->containers) {
        struct nap_container *container = CONTAINER_OF(node, struct nap_container, link);
        if (container->state == NAP_STARTING) nap_container_stop(container, NAP_REASON_NONE);
    }
}

static void retire(struct nap_pool *pool) {
    bool leaves = nap_group_yields(pool) || (pool->sleeping && pool->waiting == 0);
    if (leaves) stop_starting(pool);
    for (struct heap_node *top; (top = nap_heap_top(&pool->idle));) {
        struct nap_container *container = CONTAINER_OF(top, struct nap_container, idle);
        int64_t end_ms = nap_later(container->idle_since_ms, pool->limits.scaledown_window_ms);
        bool expired = end_ms <= pool->nap->now_ms && pool->up > needed(pool);
        if (!leaves && !expired && pool->up <= pool->limits.max_containers) return;
        nap_container_stop(container, NAP_REASON_NONE);
    }
}

static uint32_t missing(const struct nap_pool *pool) {
    uint32_t want = needed(pool);
    if (pool->hold && pool->waiting == 0 && !pool->wake_wanted) return 0;
    if (want <= pool->up || pool->current >= pool->limits.max_containers || nap_pool_backs_off(pool))
        return 0;
    if (pool->group && (nap_group_yields(pool) || nap_group_others_live(pool) || pool->outdated > 0))
        return 0;
    uint32_t room = pool->limits.max_containers - pool->current, most = pool->nap->config.starting_max;
    if (most > 0) { /* starts slow each other down, and short work is done by those that are up first */
        uint32_t starting = pool->count[NAP_STARTING];
        uint32_t more = starting < most ? most - starting : 0;
        if (more < room) room = more;
    }
    return want - pool->up < room ? want - pool->up : room;
}

static void start(struct nap_pool *pool) {
    uint32_t starts = missing(pool);
    bool had_one = false;
    while (starts > 0 && nap_share_room(pool)) {
        nap_container_start(pool);
        starts--;
        had_one = true;
        if (pool->wants > 0) break; /* others are in line */
    }
    nap_share_want(pool, starts, had_one);
}

/* Idle ones of a pool with more than it needs have an end and may be evicted; where that changes, they are
 * indexed anew. */
static void mark_spare(struct nap_pool *pool) {
    bool spare = pool->up > needed(pool);
    if (spare == pool->spare) return;
    pool->spare = spare;
    LIST_EACH(node, &pool->containers) {
        struct nap_container *container = CONTAINER_OF(node, struct nap_container, link);
        if (!nap_container_idle(container)) continue;
        nap_container_out(container);
        nap_container_in(container);
    }
}

/* `touched` stays until the end: one pass sees to all that it changes itself. */
void nap_pool_serve(struct nap_pool *pool) {
    if (pool->removed && list_empty(&pool->containers)) {
        nap_share_want(pool, 0, false);
        nap_pool_free(pool);
        return;
    }
    grant(pool);
    retire(pool);
    if (pool->up == 0 && nap_pool_backs_off(pool)) nap_ticket_refuse_waiting(pool, NAP_REASON_BACKOFF);
    start(pool);
    nap_group_turn(pool);
    mark_spare(pool);
    nap_share_sleeper(pool);
    arm(pool);
    pool->touched = false;
}

/* ---- the user's verbs ---- */

static void wake(struct nap_pool *pool) {
    pool->stopped = pool->sleeping = pool->prime_failed = false;
    pool->failures = 0;
    pool->retry_at_ms = 0;
    struct heap_node *dozing = nap_heap_top(&pool->dozing);
    if (pool->below.count == 0 && pool->above.count == 0 && pool->work_here == 0 && dozing) {
        nap_container_thaw(CONTAINER_OF(dozing, struct nap_container, slot));
    } else if (pool->up == 0) {
        pool->wake_wanted = true;
        pool->wake_turn = pool->nap->next_turn++;
        pool->wake_until_ms = nap_later(pool->nap->now_ms, pool->limits.startup_timeout_ms);
    }
}

void nap_pool_user(struct nap_pool *pool, enum nap_event_kind verb) {
    nap_pool_touch(pool);
    if (verb == NAP_USER_WAKE) {
        wake(pool);
    } else if (verb == NAP_USER_SLEEP) {
        pool->sleeping = true;
        pool->wake_wanted = false;
    } else if (verb == NAP_USER_STOP) {
        pool->stopped = true;
        stop_all(pool, NAP_REASON_STOPPED);
    } else {
        LIST_EACH(node, &pool->containers) {
            struct nap_container *container = CONTAINER_OF(node, struct nap_container, link);
            if (container->state == NAP_AWAKE && container->working == 0) nap_container_freeze(container);
        }
    }
}
