/* The life of one container, and the indexes in which its pool and its node find it.
 *
 *   gone --start--> starting --ready--> awake --idle--> dozing --idle--> stopping --exited--> gone
 *    |                 ^                  ^-----work------'                  ^
 *    '---prime--> primed                                    any -------------'
 *
 * Every change is out(), change, in(). Whether a change is due is decided elsewhere, but for what its own
 * timer brings. */
#include "inside.h"

#include <stdlib.h>

#define KILL_AGAIN_MS \
    1000 /* a kill that did not take (a process stuck in the kernel) is told again, not forgotten */

bool nap_container_fresh(const struct nap_container *container) {
    const struct nap_pool *pool = container->pool;
    return container->version == pool->version && !pool->removed && !container->leaves;
}

bool nap_container_idle(const struct nap_container *container) {
    return container->state == NAP_DOZING || (container->state == NAP_AWAKE && container->working == 0);
}

/* When its timer is due: a function of what it is. What min_containers or the load keeps has no end of its
 * own. */
static int64_t due_ms(const struct nap_container *container) {
    const struct nap_pool *pool = container->pool;
    const struct nap_limits *limits = &pool->limits;
    int64_t end_ms =
        pool->spare ? nap_later(container->idle_since_ms, limits->scaledown_window_ms) : NAP_NEVER;
    int64_t rest_ms = NAP_NEVER;
    switch (container->state) {
    case NAP_PRIMED_STATE:
        return container->created ? NAP_NEVER : nap_later(container->since_ms, limits->startup_timeout_ms);
    case NAP_STARTING: return nap_later(container->since_ms, limits->startup_timeout_ms);
    case NAP_STOPPING: return container->kill_at_ms;
    case NAP_AWAKE:
        if (container->working > 0) return NAP_NEVER;
        if (!container->restless) rest_ms = nap_later(container->idle_since_ms, limits->doze_after_ms);
        break;
    case NAP_DOZING:
        if (!container->reclaimed)
            rest_ms = nap_later(container->since_ms, pool->nap->config.reclaim_after_ms);
        break;
    case NAP_ASLEEP:
    case NAP_FAILED: return NAP_NEVER;
    }
    return rest_ms < end_ms ? rest_ms : end_ms;
}

void nap_container_out(struct nap_container *container) {
    struct nap_pool *pool = container->pool;
    bool up = container->state >= NAP_STARTING && container->state <= NAP_DOZING;
    pool->count[container->state]--;
    if (nap_container_fresh(container)) {
        pool->up -= up;
        pool->current -= container->started;
        pool->work_here -= container->working;
    } else {
        pool->outdated -= container->started;
    }
    pool->nap->stopping -= container->started && container->state == NAP_STOPPING;
    nap_heap_remove(&container->slot);
    nap_heap_remove(&container->idle);
    nap_heap_remove(&container->evict);
    nap_heap_remove(&container->prime);
    nap_pool_touch(pool);
}

static void in_slots(struct nap_container *container) {
    struct nap_pool *pool = container->pool;
    uint32_t working = container->working;
    if (container->state == NAP_DOZING)
        nap_heap_set(&pool->dozing, &container->slot, -container->since_ms, container->number);
    else if (container->state == NAP_AWAKE && working < pool->limits.target_inputs)
        nap_heap_set(&pool->below, &container->slot, -(int64_t)working, container->number);
    else if (container->state == NAP_AWAKE && working < pool->limits.max_inputs)
        nap_heap_set(&pool->above, &container->slot, working, container->number);
    if (!nap_container_idle(container)) return;
    nap_heap_set(&pool->idle, &container->idle, container->idle_since_ms, container->number);
    if (!pool->spare || pool->limits.pin) return;
    struct heap *evict = container->state == NAP_DOZING ? &pool->nap->evict_dozing : &pool->nap->evict_awake;
    nap_heap_set(evict, &container->evict, container->idle_since_ms, container->number);
}

void nap_container_in(struct nap_container *container) {
    struct nap_pool *pool = container->pool;
    struct nap *nap = pool->nap;
    bool up = container->state >= NAP_STARTING && container->state <= NAP_DOZING;
    pool->count[container->state]++;
    if (nap_container_fresh(container)) {
        pool->up += up;
        pool->current += container->started;
        pool->work_here += container->working;
        in_slots(container);
    } else {
        pool->outdated += container->started;
    }
    nap->stopping += container->started && container->state == NAP_STOPPING;
    if (container->state == NAP_PRIMED_STATE)
        nap_heap_set(&nap->primed, &container->prime, pool->last_used_ms, container->number);
    nap_timer_set(nap, &container->timer, due_ms(container), container->number);
}

static void enter(struct nap_container *container, enum nap_state state) {
    container->state = state;
    container->since_ms = container->pool->nap->now_ms;
}

static struct nap_action *add(struct nap_container *container, enum nap_verb verb) {
    struct nap_action *action = nap_add(container->pool->nap, verb);
    action->pool = container->pool->number;
    action->container = container->number;
    return action;
}

static struct nap_container *container_new(struct nap_pool *pool, uint64_t number) {
    struct nap_container *container = NEW(struct nap_container);
    container->pool = pool;
    container->number = number;
    container->version = pool->version;
    container->timer.kind = NAP_TIMER_CONTAINER;
    list_init(&container->work);
    list_append(&pool->containers, &container->link);
    table_put(pool->nap->containers, number, container);
    return container;
}

static void lives(struct nap_container *container) {
    container->started = true;
    container->pool->nap->live++;
    if (++container->pool->live == 1) nap_group_live(container->pool);
}

void nap_container_start(struct nap_pool *pool) {
    struct nap_container *container = pool->primed;
    if (container)
        nap_container_out(container);
    else
        container = container_new(pool, pool->nap->next_container++);
    pool->primed = NULL;
    pool->prime_failed = false;
    lives(container);
    enter(container, NAP_STARTING);
    nap_container_in(container);
    add(container, NAP_START);
}

void nap_container_prime(struct nap_pool *pool) {
    struct nap_container *container = container_new(pool, pool->nap->next_container++);
    pool->primed = container;
    enter(container, NAP_PRIMED_STATE);
    nap_container_in(container);
    add(container, NAP_PRIME);
    nap_pool_touch(pool);
}

void nap_container_created(struct nap_container *container) {
    if (container->state != NAP_PRIMED_STATE) return; /* asked to start meanwhile, or on its way out */
    nap_container_out(container);
    container->created = true;
    nap_container_in(container);
}

void nap_container_adopt(struct nap_pool *pool, const struct nap_event *event) {
    struct nap *nap = pool->nap;
    if (table_get(nap->containers, event->container)) return;
    struct nap_container *container = container_new(pool, event->container);
    container->version = event->version;
    container->idle_since_ms = event->started_ms < nap->now_ms ? event->started_ms : nap->now_ms;
    container->ready_ms = nap->now_ms;
    container->served = true;
    if (pool->last_used_ms < container->idle_since_ms) pool->last_used_ms = container->idle_since_ms;
    lives(container);
    enter(container, event->dozing ? NAP_DOZING : NAP_AWAKE);
    nap_container_in(container);
    nap_pool_touch(pool);
    if (pool->stopped)
        nap_container_stop(container, NAP_REASON_STOPPED);
    else if (!nap_container_fresh(container))
        nap_container_stop(container, NAP_REASON_NONE);
}

void nap_container_ready(struct nap_container *container) {
    if (container->state != NAP_STARTING) return; /* given up a moment before */
    struct nap_pool *pool = container->pool;
    nap_container_out(container);
    enter(container, NAP_AWAKE);
    container->ready_ms = container->idle_since_ms = pool->nap->now_ms;
    pool->retry_at_ms = 0;
    pool->wake_wanted = false;
    nap_container_in(container);
}

void nap_container_used(struct nap_container *container) {
    if (!nap_container_idle(container)) return;
    nap_container_out(container);
    container->idle_since_ms = container->pool->nap->now_ms;
    nap_container_in(container);
}

void nap_container_thaw(struct nap_container *container) {
    nap_container_out(container);
    enter(container, NAP_AWAKE);
    container->idle_since_ms = container->pool->nap->now_ms;
    nap_container_in(container);
    add(container, NAP_THAW);
}

void nap_container_freeze(struct nap_container *container) {
    nap_container_out(container);
    enter(container, NAP_DOZING);
    container->reclaimed = false;
    nap_container_in(container);
    add(container, NAP_FREEZE);
}

void nap_container_freeze_failed(struct nap_container *container) {
    if (container->state != NAP_DOZING) return; /* thawed meanwhile, or stopping */
    nap_container_out(container);
    enter(container, NAP_AWAKE);
    container->restless = true;
    nap_container_in(container);
}

void nap_container_stop(struct nap_container *container, enum nap_reason ended_by) {
    struct nap_pool *pool = container->pool;
    if (container->state == NAP_STOPPING) {
        if (ended_by != NAP_REASON_NONE) container->ended_by = ended_by;
        return;
    }
    nap_container_out(container);
    if (pool->primed == container) pool->primed = NULL;
    enter(container, NAP_STOPPING);
    container->ended_by = ended_by;
    container->kill_at_ms = nap_later(container->since_ms, pool->limits.stop_grace_ms);
    nap_container_in(container);
    add(container, NAP_STOP);
}

void nap_container_leaves(struct nap_container *container) {
    nap_container_out(container);
    container->leaves = true;
    nap_container_in(container);
    if (container->working == 0) nap_container_stop(container, NAP_REASON_NONE);
}

/* One that ended by itself before it did anything is as good as never started: without this rule,
 * min_containers and an app that listens for a moment and falls over would go round for ever. */
static bool stillborn(const struct nap_container *container) {
    const struct nap *nap = container->pool->nap;
    if (container->state != NAP_AWAKE && container->state != NAP_DOZING)
        return container->state == NAP_STARTING;
    return !container->served && nap->now_ms - container->ready_ms < nap->config.backoff_first_ms;
}

/* Who waits for a pool of which nothing is up any more; else the others serve them. */
static void refuse_stranded(struct nap_pool *pool, enum nap_reason reason) {
    if (pool->up == 0) nap_ticket_refuse_waiting(pool, reason);
}

void nap_container_gone(struct nap_container *container) {
    struct nap_pool *pool = container->pool;
    struct nap *nap = pool->nap;
    enum nap_state was = container->state;
    bool failed = stillborn(container) && nap_container_fresh(container);
    if (failed) nap_pool_failed(pool); /* before anybody is told: they are told for how long, too */
    nap_container_out(container);
    container->state = NAP_STOPPING; /* so that nobody wants anything of it, while its tickets leave */
    nap_container_in(container);
    while (!list_empty(&container->work)) {
        struct nap_ticket *ticket = CONTAINER_OF(container->work.next, struct nap_ticket, link);
        nap_ticket_refuse(ticket, container->ended_by ? container->ended_by : NAP_REASON_CONTAINER_DIED);
    }
    nap_container_out(container);
    if (was == NAP_PRIMED_STATE) pool->prime_failed = true;
    if (pool->primed == container) pool->primed = NULL;
    nap_heap_remove(&container->timer.node);
    list_remove(&container->link);
    table_remove(nap->containers, container->number);
    if (container->started) {
        nap->live--;
        if (--pool->live == 0) nap_group_live(pool);
    }
    if (failed)
        refuse_stranded(pool, NAP_REASON_START_FAILED);
    else if (container->ready_ms)
        pool->failures = 0;
    free(container);
}

/* The timer was taken off before; what is still to come is set again by in(). */
void nap_container_due(struct nap_container *container) {
    struct nap_pool *pool = container->pool;
    int64_t now_ms = pool->nap->now_ms;
    switch (container->state) {
    case NAP_PRIMED_STATE:
        pool->prime_failed = true;
        nap_container_stop(container, NAP_REASON_NONE);
        return;
    case NAP_STARTING:
        nap_container_stop(container, NAP_REASON_NONE);
        nap_pool_failed(pool);
        refuse_stranded(pool, NAP_REASON_START_TIMEOUT);
        return;
    case NAP_STOPPING: {
        int64_t grace_ms = pool->limits.stop_grace_ms;
        nap_container_out(container);
        container->kill_at_ms = nap_later(now_ms, grace_ms > KILL_AGAIN_MS ? grace_ms : KILL_AGAIN_MS);
        nap_container_in(container);
        add(container, NAP_KILL);
        return;
    }
    case NAP_AWAKE:
    case NAP_DOZING: break;
    case NAP_ASLEEP:
    case NAP_FAILED: return;
    }
    nap_pool_touch(pool); /* its end is the pool's to decide: who was used last stays longest */
    if (pool->spare && now_ms >= nap_later(container->idle_since_ms, pool->limits.scaledown_window_ms))
        return;
    if (container->state == NAP_AWAKE && container->working == 0) {
        nap_container_freeze(container);
    } else if (container->state == NAP_DOZING) {
        nap_container_out(container);
        container->reclaimed = true;
        nap_container_in(container);
        add(container, NAP_RECLAIM);
    }
}
