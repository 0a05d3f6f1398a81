/* What an event means, by the words of nap.h: tickets arrive and end, containers come up and go, the user
 * says something. What nap decides about it is not in here (action.c). */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct sim_pool *model_pool(struct sim *sim, uint64_t number) {
    if (number == 0 || number > POOLS_MAX) return NULL;
    struct sim_pool *pool = &sim->pools[number - 1];
    return pool->exists ? pool : NULL;
}

/* The buffer of a pool is used as long as there is work. */
static void kept_until_now(struct sim *sim, struct sim_pool *pool) {
    if (pool->function->buffer_containers == 0 || pool->waiting + pool->working > 0) return;
    LIST_EACH(node, &pool->containers) {
        struct sim_container *container = CONTAINER_OF(node, struct sim_container, link);
        if (idle(container)) container->idle_since_ms = sim->seen_ms;
    }
}

void model_ticket_over(struct sim *sim, struct sim_ticket *ticket, bool done) {
    struct sim_pool *pool = ticket->pool;
    struct sim_container *container = ticket->container;
    list_remove(&ticket->link);
    table_remove(sim->tickets, ticket->number);
    free(ticket);
    if (!container) {
        pool->waiting--;
        kept_until_now(sim, pool);
        return;
    }
    pool->working--;
    pool->last_used_ms = sim->seen_ms;
    if (--container->working == 0) container->idle_since_ms = sim->seen_ms;
    if (done && !container->served) {
        container->served = true;
        pool->failures = 0;
    }
    kept_until_now(sim, pool);
    recount(pool);
}

void model_container_free(struct sim *sim, struct sim_container *container) {
    struct sim_pool *pool = container->pool;
    list_remove(&container->link);
    table_remove(sim->containers, container->number);
    free(container);
    recount(pool);
}

/* ---- pools ---- */

static int group_of(const struct core_function *function) {
    return function->group ? function->group[strlen(function->group) - 1] - '0' : -1;
}

static void on_set(struct sim *sim, const struct nap_event *event) {
    struct sim_pool *pool = &sim->pools[event->pool - 1];
    if (!pool->exists) {
        core_function_free(pool->function);
        *pool = (struct sim_pool){.exists = true, .number = event->pool};
        list_init(&pool->queue);
        list_init(&pool->containers);
    } else {
        core_function_free(pool->function);
    }
    pool->function = core_function_copy(event->function);
    pool->version = event->version;
    pool->group = group_of(pool->function);
    pool->removed = pool->sleeping = pool->prime_failed = false;
    pool->hold = true;
    pool->set_ms = sim->seen_ms;
    pool->failures = 0;
    pool->retry_at_ms = 0;
    recount(pool);
}

/* All that is at work in it is told this when it ends, unless it was done before. */
static void will_end_by(struct sim_pool *pool, enum nap_reason reason) {
    pool->wake_wanted = false;
    LIST_EACH(node, &pool->containers)
    CONTAINER_OF(node, struct sim_container, link)->ended_by = reason;
}

static void on_removed(struct sim_pool *pool) {
    will_end_by(pool, NAP_REASON_REMOVED);
    pool->removed = true;
    pool->hold = pool->stopped = false;
    pool->retry_at_ms = 0;
    recount(pool);
}

static bool has_free_slot(const struct sim_pool *pool) {
    LIST_EACH(node, &pool->containers) {
        const struct sim_container *container = CONTAINER_OF(node, struct sim_container, link);
        if (fresh(container) && container->state == NAP_AWAKE &&
            container->working < pool->function->max_inputs)
            return true;
    }
    return false;
}

static void on_wake(struct sim *sim, struct sim_pool *pool) {
    pool->stopped = pool->sleeping = pool->prime_failed = false;
    pool->failures = 0;
    pool->retry_at_ms = 0;
    bool thaws = !has_free_slot(pool) && pool->work_here == 0 && pool->count[NAP_DOZING] > 0;
    if (thaws || pool->up > 0) return;
    pool->wake_wanted = true;
    pool->wake_turn = sim->next_turn++;
    pool->wake_until_ms = later(sim->seen_ms, pool->function->startup_timeout_ms);
}

static void on_user(struct sim *sim, struct sim_pool *pool, enum nap_event_kind verb) {
    if (verb == NAP_USER_WAKE) on_wake(sim, pool);
    if (verb == NAP_USER_SLEEP) {
        pool->sleeping = true;
        pool->wake_wanted = false;
    }
    if (verb == NAP_USER_STOP) {
        pool->stopped = true;
        will_end_by(pool, NAP_REASON_STOPPED);
    }
}

/* ---- tickets ---- */

static enum nap_reason refusal_at_once(const struct sim *sim, const struct sim_pool *pool) {
    if (!pool || pool->removed) return NAP_REASON_REMOVED;
    if (pool->stopped) return NAP_REASON_STOPPED;
    if (pool->up == 0 && backs_off(sim, pool)) return NAP_REASON_BACKOFF;
    return pool->waiting >= pool->function->queue_max ? NAP_REASON_QUEUE_FULL : NAP_REASON_NONE;
}

static void on_arrived(struct sim *sim, const struct nap_event *event) {
    struct sim_pool *pool = model_pool(sim, event->pool);
    sim->refusal_due = refusal_at_once(sim, pool);
    if (sim->refusal_due) return;
    struct sim_ticket *ticket = NEW(struct sim_ticket);
    ticket->pool = pool;
    ticket->number = event->ticket;
    ticket->turn = sim->next_turn++;
    ticket->due_ms = event->deadline_ms;
    ticket->ripe_ms = event->ripe_ms > sim->seen_ms ? event->ripe_ms : 0;
    list_append(&pool->queue, &ticket->link);
    table_put(sim->tickets, ticket->number, ticket);
    pool->waiting++;
    pool->sleeping = false;
}

/* ---- containers ---- */

/* It did not come up, or was of no use for a moment and fell over. */
static bool stillborn(const struct sim *sim, const struct sim_container *container) {
    int64_t moment_ms = sim->mood.config.backoff_first_ms > 0 ? sim->mood.config.backoff_first_ms : 1000;
    if (container->state == NAP_STARTING) return true;
    if (container->state != NAP_AWAKE && container->state != NAP_DOZING) return false;
    return !container->served && sim->seen_ms - container->ready_ms < moment_ms;
}

void model_failed(struct sim *sim, struct sim_pool *pool, enum nap_reason how) {
    const struct nap_config *config = &sim->mood.config;
    int64_t most_ms = config->backoff_max_ms > 0 ? config->backoff_max_ms : 60000;
    int64_t wait_ms = config->backoff_first_ms > 0 ? config->backoff_first_ms : 1000;
    for (uint32_t i = 0; i < pool->failures && wait_ms < most_ms; i++) wait_ms *= 2;
    pool->failures++;
    pool->wake_wanted = false;
    pool->retry_at_ms = sim->seen_ms + (wait_ms < most_ms ? wait_ms : most_ms);
    sim->failed = pool;
    sim->failed_how = how;
}

static void on_gone(struct sim *sim, struct sim_container *container) {
    struct sim_pool *pool = container->pool;
    bool failed = stillborn(sim, container) && fresh(container);
    if (container->state == NAP_PRIMED_STATE) pool->prime_failed = true;
    sim->dying = container;
    list_remove(&container->link);
    table_remove(sim->containers, container->number);
    recount(pool);
    if (failed)
        model_failed(sim, pool, NAP_REASON_START_FAILED);
    else if (container->ready_ms)
        pool->failures = 0;
}

static void on_container(struct sim *sim, const struct nap_event *event) {
    struct sim_container *container = table_get(sim->containers, event->container);
    if (!container) return; /* of one that is gone: means nothing any more */
    struct sim_pool *pool = container->pool;
    enum nap_state state = container->state;
    if (event->kind == NAP_PRIMED && state == NAP_PRIMED_STATE) container->created = true;
    if (event->kind == NAP_READY && state == NAP_STARTING) {
        container->state = NAP_AWAKE;
        container->ready_ms = container->idle_since_ms = sim->seen_ms;
        pool->retry_at_ms = 0;
        pool->wake_wanted = false;
    }
    if (event->kind == NAP_FREEZE_FAILED && state == NAP_DOZING) {
        container->state = NAP_AWAKE;
        container->restless = true;
    }
    if (event->kind == NAP_LEAVES) container->leaves = true;
    recount(pool);
    if (event->kind == NAP_EXITED || event->kind == NAP_START_FAILED) on_gone(sim, container);
}

static void on_adopted(struct sim *sim, const struct nap_event *event) {
    struct sim_pool *pool = model_pool(sim, event->pool);
    if (!pool || pool->removed || table_get(sim->containers, event->container)) return;
    struct sim_container *container = NEW(struct sim_container);
    container->pool = pool;
    container->number = event->container;
    container->version = event->version;
    container->state = event->dozing ? NAP_DOZING : NAP_AWAKE;
    container->since_ms = container->ready_ms = sim->seen_ms;
    container->idle_since_ms = event->started_ms < sim->seen_ms ? event->started_ms : sim->seen_ms;
    container->started = container->served = true;
    list_init(&container->work);
    list_append(&pool->containers, &container->link);
    table_put(sim->containers, container->number, container);
    if (pool->last_used_ms < container->idle_since_ms) pool->last_used_ms = container->idle_since_ms;
    recount(pool);
}

static void on_timer(struct sim *sim) {
    for (size_t i = 0; i < POOLS_MAX; i++) {
        struct sim_pool *pool = &sim->pools[i];
        if (!pool->exists) continue;
        pool->hold = false;
        if (pool->retry_at_ms <= sim->seen_ms) pool->retry_at_ms = 0;
        if (pool->wake_until_ms <= sim->seen_ms) pool->wake_wanted = false;
        LIST_EACH(node, &pool->queue) {
            struct sim_ticket *ticket = CONTAINER_OF(node, struct sim_ticket, link);
            if (ticket->ripe_ms <= sim->seen_ms) ticket->ripe_ms = 0;
        }
    }
}

void model_event(struct sim *sim, const struct nap_event *event) {
    struct sim_pool *pool = model_pool(sim, event->pool);
    struct sim_ticket *ticket = table_get(sim->tickets, event->ticket);
    bool known = pool && !pool->removed;
    switch (event->kind) {
    case NAP_POOL_SET: on_set(sim, event); break;
    case NAP_POOL_REMOVED:
        if (known) on_removed(pool);
        break;
    case NAP_WORK_ARRIVED: on_arrived(sim, event); break;
    case NAP_WORK_RIPE:
        if (ticket) ticket->ripe_ms = 0;
        break;
    case NAP_WORK_CANCELLED:
    case NAP_WORK_DONE:
        if (ticket) model_ticket_over(sim, ticket, event->kind == NAP_WORK_DONE);
        break;
    case NAP_PRIMED:
    case NAP_READY:
    case NAP_START_FAILED:
    case NAP_EXITED:
    case NAP_LEAVES:
    case NAP_FREEZE_FAILED: on_container(sim, event); break;
    case NAP_ADOPTED: on_adopted(sim, event); break;
    case NAP_USER_WAKE:
    case NAP_USER_DOZE:
    case NAP_USER_SLEEP:
    case NAP_USER_STOP:
        if (known) on_user(sim, pool, event->kind);
        break;
    case NAP_PRESSURE: break;
    case NAP_TIMER: on_timer(sim); break;
    }
}
