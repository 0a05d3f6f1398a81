/* What nap may say, and what follows from it. Each action is held against the rules of nap.h at the moment in
 * which it is said; the state that it is held against is the model's, not nap's. */
#include "sim.h"

#include <stdlib.h>

static struct sim_container *container_of(struct sim *sim, const struct nap_action *action) {
    struct sim_container *container = table_get(sim->containers, action->container);
    ALWAYS(sim, container, "nap speaks of a container that is not there");
    ALWAYS(sim, container->pool->number == action->pool, "the container belongs to the pool it names");
    return container;
}

static void enter(struct sim *sim, struct sim_container *container, enum nap_state state) {
    container->state = state;
    container->since_ms = sim->seen_ms;
    recount(container->pool);
}

/* ---- starts ---- */

static struct sim_container *come_up(struct sim *sim, struct sim_pool *pool, uint64_t number) {
    ALWAYS(sim, !table_get(sim->containers, number), "a number is given to one container only");
    struct sim_container *container = NEW(struct sim_container);
    container->pool = pool;
    container->number = number;
    container->version = pool->version;
    list_init(&container->work);
    list_append(&pool->containers, &container->link);
    table_put(sim->containers, number, container);
    return container;
}

/* One start each in turn: nobody starts before one that is longer in line and may start, too. */
static void check_line(struct sim *sim, struct sim_pool *pool) {
    uint64_t turn = pool->in_line_since ? pool->in_line_since : UINT64_MAX;
    for (size_t i = 0; i < POOLS_MAX && !sim->late; i++) {
        const struct sim_pool *other = &sim->pools[i];
        if (other == pool || !other->exists || !other->in_line_since || missing(sim, other) == 0) continue;
        ALWAYS(sim, other->in_line_since >= turn, "places on the node go round");
    }
    if (pool->in_line_since) pool->in_line_since = sim->line_turn;
}

static void on_start(struct sim *sim, const struct nap_action *action) {
    struct sim_pool *pool = model_pool(sim, action->pool);
    ALWAYS(sim, pool && !pool->removed && !pool->stopped, "nothing starts that was removed or stopped");
    ALWAYS(sim, !backs_off(sim, pool), "nothing starts before its backoff is over");
    ALWAYS(sim, pool->up < needed(pool), "one start serves many waiters: no more starts than the load needs");
    ALWAYS(sim, pool->current < pool->function->max_containers, "max_containers holds");
    ALWAYS(sim, node_live(sim) < containers_max(sim), "the node's limit of containers holds");
    ALWAYS(sim, !yields(sim, pool), "who yields to another of its group starts nothing");
    ALWAYS(sim, !others_live(sim, pool), "groups exclude one another");
    ALWAYS(sim, pool->group < 0 || pool->outdated == 0,
           "versions of a function in a group exclude one another");
    check_line(sim, pool);
    struct sim_container *container = table_get(sim->containers, action->container);
    if (container) {
        ALWAYS(sim, container->pool == pool && container->state == NAP_PRIMED_STATE,
               "only a primed one starts");
        ALWAYS(sim, fresh(container), "a primed one of another version does not start");
    } else {
        ALWAYS(sim, pool->count[NAP_PRIMED_STATE] == 0, "the primed one starts first");
        container = come_up(sim, pool, action->container);
    }
    container->started = true;
    pool->prime_failed = false;
    sim->starts++;
    enter(sim, container, NAP_STARTING);
}

static void on_prime(struct sim *sim, const struct nap_action *action) {
    struct sim_pool *pool = model_pool(sim, action->pool);
    ALWAYS(sim, pool && could_prime(sim, pool), "only who sleeps, asks for it and did not fail is primed");
    ALWAYS(sim, node_primed(sim) < sim->mood.config.primed_max, "primed_max holds");
    for (size_t i = 0; i < POOLS_MAX; i++) {
        const struct sim_pool *other = &sim->pools[i];
        bool could = could_prime(sim, other) && other->retry_at_ms == 0; /* else its timer is still to come */
        ALWAYS(sim, !could || other->last_used_ms <= pool->last_used_ms, "who was used last is primed first");
    }
    enter(sim, come_up(sim, pool, action->container), NAP_PRIMED_STATE);
}

/* ---- work ---- */

/* Packed tightly: the fullest below the target, then the last one frozen, then above the target the emptiest.
 */
static void check_place(struct sim *sim, const struct sim_container *chosen) {
    const struct sim_pool *pool = chosen->pool;
    uint32_t target = target_of(pool);
    LIST_EACH(node, &pool->containers) {
        const struct sim_container *other = CONTAINER_OF(node, struct sim_container, link);
        if (other == chosen || !fresh(other) || other->state != NAP_AWAKE) continue;
        if (chosen == sim->thawed || chosen->state == NAP_DOZING)
            ALWAYS(sim, other->working >= target, "nobody is thawed while one below the target is awake");
        else if (chosen->working < target)
            ALWAYS(sim, other->working >= target || other->working <= chosen->working,
                   "work goes to the fullest below the target");
        else
            ALWAYS(sim, other->working >= chosen->working, "above the target work goes to the emptiest");
    }
}

static void on_grant(struct sim *sim, const struct nap_action *action) {
    struct sim_container *container = container_of(sim, action);
    struct sim_pool *pool = container->pool;
    struct sim_ticket *ticket = table_get(sim->tickets, action->ticket);
    ALWAYS(sim, ticket && !ticket->container, "only a waiting ticket is granted, and once");
    ALWAYS(sim, ticket->pool == pool, "a ticket is granted in a container of its own pool");
    ALWAYS(sim, ticket->ripe_ms == 0, "who lingers is not granted");
    ALWAYS(sim, pool->queue.next == &ticket->link, "who waits longest is granted first");
    ALWAYS(sim, container->state == NAP_AWAKE, "only the awake work");
    ALWAYS(sim, fresh(container), "an old version takes no new work");
    ALWAYS(sim, container->working < pool->function->max_inputs, "no slot is over-granted");
    ALWAYS(sim, !yields(sim, pool), "who yields to another of its group grants nothing");
    ALWAYS(sim, !sim->thawed || sim->thawed == container, "who was thawed for work gets it");
    check_place(sim, container);
    if (container != sim->thawed && container->working >= target_of(pool))
        ALWAYS(sim, pool->count[NAP_DOZING] == 0, "a thaw is better than a crowd");
    sim->thawed = NULL;
    list_remove(&ticket->link);
    list_append(&container->work, &ticket->link);
    ticket->container = container;
    ticket->due_ms = later(sim->seen_ms, pool->function->timeout_ms);
    pool->waiting--;
    pool->working++;
    pool->last_used_ms = sim->seen_ms;
    container->working++;
    container->restless = false;
    sim->grants++;
    recount(pool);
}

static void check_refusal_of_waiting(struct sim *sim, const struct sim_ticket *ticket,
                                     enum nap_reason reason) {
    const struct sim_pool *pool = ticket->pool;
    const struct nap_event *event = &sim->event;
    bool late = event->kind == NAP_TIMER && ticket->due_ms <= sim->seen_ms;
    switch (reason) {
    case NAP_REASON_START_FAILED:
    case NAP_REASON_START_TIMEOUT:
        ALWAYS(sim, sim->failed == pool && sim->failed_how == reason, "a refusal names what happened");
        ALWAYS(sim, pool->up == 0, "a failed start refuses nobody whom another container may serve");
        return;
    case NAP_REASON_BACKOFF:
        ALWAYS(sim, backs_off(sim, pool) && pool->up == 0, "BACKOFF is said while it backs off");
        return;
    case NAP_REASON_WAITED_TOO_LONG:
        ALWAYS(sim, late, "who waits is refused at its deadline, not before");
        return;
    case NAP_REASON_BUSY_GROUP:
        ALWAYS(sim, late && others_live(sim, pool), "BUSY_GROUP is said where another of the group lives");
        return;
    case NAP_REASON_REMOVED:
        ALWAYS(sim, event->kind == NAP_POOL_REMOVED && pool->number == event->pool, "the app was removed");
        return;
    case NAP_REASON_STOPPED:
        ALWAYS(sim, event->kind == NAP_USER_STOP && pool->number == event->pool, "the app was stopped");
        return;
    default: ALWAYS(sim, false, "this is no reason to refuse who waits");
    }
}

static void on_refuse(struct sim *sim, const struct nap_action *action) {
    const struct nap_event *event = &sim->event;
    struct sim_ticket *ticket = table_get(sim->tickets, action->ticket);
    struct sim_pool *pool = model_pool(sim, ticket ? ticket->pool->number : event->pool);
    bool for_good = action->reason == NAP_REASON_REMOVED || action->reason == NAP_REASON_STOPPED;
    int64_t retry_ms = pool && !for_good && backs_off(sim, pool) ? pool->retry_at_ms - sim->seen_ms : 0;
    sim->refusals++;
    ALWAYS(sim, action->retry_ms == retry_ms, "a refusal tells when another try makes sense");
    if (!ticket) {
        ALWAYS(sim, event->kind == NAP_WORK_ARRIVED && event->ticket == action->ticket,
               "a ticket ends once: this one is gone already");
        ALWAYS(sim, sim->refusal_due == action->reason, "who arrives is refused for the right reason");
        sim->refusal_due = NAP_REASON_NONE;
        return;
    }
    if (!ticket->container) {
        check_refusal_of_waiting(sim, ticket, action->reason);
    } else if (action->reason == NAP_REASON_TIMEOUT) {
        ALWAYS(sim, event->kind == NAP_TIMER && ticket->due_ms <= sim->seen_ms,
               "work ends at its timeout, not before");
    } else {
        ALWAYS(sim, ticket->container == sim->dying, "work is over only when its container ended");
        enum nap_reason why = sim->dying->ended_by ? sim->dying->ended_by : NAP_REASON_CONTAINER_DIED;
        ALWAYS(sim, action->reason == why, "who was at work is told how the container ended");
    }
    model_ticket_over(sim, ticket, false);
}

/* ---- rest ---- */

static void on_freeze(struct sim *sim, const struct nap_action *action) {
    struct sim_container *container = container_of(sim, action);
    const struct core_function *limits = container->pool->function;
    bool asked = sim->event.kind == NAP_USER_DOZE && sim->event.pool == action->pool;
    bool bedtime = sim->event.kind == NAP_TIMER && !container->restless &&
                   later(container->idle_since_ms, limits->doze_after_ms) <= sim->seen_ms;
    ALWAYS(sim, container->state == NAP_AWAKE, "only the awake are frozen");
    ALWAYS(sim, container->working == 0, "nothing with work is frozen");
    ALWAYS(sim, asked || bedtime, "nobody is frozen before doze_after, nor twice against its will");
    container->reclaimed = false;
    sim->freezes++;
    enter(sim, container, NAP_DOZING);
}

static void on_reclaim(struct sim *sim, const struct nap_action *action) {
    struct sim_container *container = container_of(sim, action);
    ALWAYS(sim, container->state == NAP_DOZING && !container->reclaimed,
           "memory is taken once, of the frozen");
    ALWAYS(sim, later(container->since_ms, sim->mood.config.reclaim_after_ms) <= sim->seen_ms,
           "memory is taken after reclaim_after, not before");
    container->reclaimed = true;
}

static void on_thaw(struct sim *sim, const struct nap_action *action) {
    struct sim_container *container = container_of(sim, action);
    bool asked = sim->event.kind == NAP_USER_WAKE && sim->event.pool == action->pool;
    ALWAYS(sim, container->state == NAP_DOZING, "only the frozen are thawed");
    ALWAYS(sim, asked || container->pool->waiting > 0, "a thaw has a reason");
    ALWAYS(sim, asked || !lingers(container->pool), "nobody is thawed for who lingers");
    check_place(sim, container);
    LIST_EACH(node, &container->pool->containers) {
        const struct sim_container *other = CONTAINER_OF(node, struct sim_container, link);
        ALWAYS(sim, other->state != NAP_DOZING || !fresh(other) || other->since_ms <= container->since_ms,
               "the last one frozen is thawed first");
    }
    container->idle_since_ms = sim->seen_ms;
    if (!asked) sim->thawed = container;
    enter(sim, container, NAP_AWAKE);
}

/* Whose place is taken: dozing ones first, the least recently used first. */
static void check_evicted(struct sim *sim, const struct sim_container *container) {
    ALWAYS(sim, evictable(container), "only who is idle, not pinned and not needed is stopped for others");
    sim->pressed += sim->event.kind == NAP_PRESSURE; /* how many: see truths.c */
    ALWAYS(sim,
           sim->event.kind == NAP_PRESSURE ||
               (node_live(sim) >= containers_max(sim) && node_wants(sim) > node_stopping(sim)),
           "one leaves for each place that is wanted, no more");
    sim->evictions++;
    for (size_t i = 0; i < POOLS_MAX; i++) {
        const struct sim_pool *pool = &sim->pools[i];
        if (!pool->exists || pool->up == 0 || !spare(pool)) continue;
        LIST_EACH(node, &pool->containers) {
            const struct sim_container *other = CONTAINER_OF(node, struct sim_container, link);
            if (!evictable(other)) continue;
            if (container->state == NAP_AWAKE)
                ALWAYS(sim, other->state != NAP_DOZING, "the dozing leave first");
            if (container->state == other->state)
                ALWAYS(sim, other->idle_since_ms >= container->idle_since_ms,
                       "the least recently used leave first");
        }
    }
}

static bool displaced(const struct sim *sim, const struct sim_container *container) {
    for (size_t i = 0; i < POOLS_MAX; i++)
        if (could_prime(sim, &sim->pools[i]) && sim->pools[i].last_used_ms > container->pool->last_used_ms)
            return node_primed(sim) >= sim->mood.config.primed_max;
    return false;
}

static void check_stop(struct sim *sim, struct sim_container *container) {
    struct sim_pool *pool = container->pool;
    const struct nap_event *event = &sim->event;
    bool by_user = event->kind == NAP_USER_STOP || event->kind == NAP_POOL_REMOVED;
    if (by_user && event->pool == pool->number) return;
    ALWAYS(sim, container->working == 0, "nothing with work is stopped");
    bool late = event->kind == NAP_TIMER && container_due_ms(sim, container) <= sim->seen_ms;
    if (late && container->state == NAP_PRIMED_STATE) pool->prime_failed = true;
    if (late && container->state == NAP_STARTING && fresh(container))
        model_failed(sim, pool, NAP_REASON_START_TIMEOUT);
    if (!fresh(container) || pool->stopped || (pool->sleeping && pool->waiting == 0)) return;
    if (container->state == NAP_PRIMED_STATE) {
        ALWAYS(sim, late || !pool->function->prime || displaced(sim, container),
               "a primed one goes for a reason");
    } else if (container->state == NAP_STARTING) {
        ALWAYS(sim, late || yields(sim, pool), "a start goes on, also if nobody waits for it any more");
    } else if (!yields(sim, pool) && pool->up <= pool->function->max_containers) {
        bool over = later(container->idle_since_ms, pool->function->scaledown_window_ms) <= sim->seen_ms;
        if (over && spare(pool)) return;
        check_evicted(sim, container);
    }
}

static void on_stop(struct sim *sim, const struct nap_action *action) {
    struct sim_container *container = container_of(sim, action);
    ALWAYS(sim, container->state != NAP_STOPPING, "a stop is said once");
    check_stop(sim, container);
    container->kill_at_ms = later(sim->seen_ms, container->pool->function->stop_grace_ms);
    enter(sim, container, NAP_STOPPING);
}

static void on_kill(struct sim *sim, const struct nap_action *action) {
    if (sim->event.kind == NAP_ADOPTED) {
        const struct sim_pool *pool = model_pool(sim, action->pool);
        ALWAYS(sim, !pool || pool->removed, "only what nobody knows is killed at once");
        return;
    }
    struct sim_container *container = container_of(sim, action);
    int64_t grace_ms = container->pool->function->stop_grace_ms;
    ALWAYS(sim, container->state == NAP_STOPPING, "a kill comes after a stop");
    ALWAYS(sim, container->kill_at_ms <= sim->seen_ms, "a kill comes after the grace, not before");
    container->kill_at_ms = sim->seen_ms + (grace_ms > 1000 ? grace_ms : 1000);
}

void model_action(struct sim *sim, const struct nap_action *action) {
    ALWAYS(sim, !sim->thawed || action->verb == NAP_GRANT, "who was thawed for work gets it at once");
    switch (action->verb) {
    case NAP_START: on_start(sim, action); return;
    case NAP_PRIME: on_prime(sim, action); return;
    case NAP_GRANT: on_grant(sim, action); return;
    case NAP_REFUSE: on_refuse(sim, action); return;
    case NAP_FREEZE: on_freeze(sim, action); return;
    case NAP_RECLAIM: on_reclaim(sim, action); return;
    case NAP_THAW: on_thaw(sim, action); return;
    case NAP_STOP: on_stop(sim, action); return;
    case NAP_KILL: on_kill(sim, action); return;
    }
    ALWAYS(sim, false, "an unknown verb");
}
