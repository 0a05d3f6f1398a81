/* What must be true after each step, and when all has come to rest. */
#include "sim.h"

static enum nap_state state_of(const struct sim *sim, const struct sim_pool *pool) {
    if (pool->count[NAP_AWAKE]) return NAP_AWAKE;
    if (pool->count[NAP_STARTING]) return NAP_STARTING;
    if (pool->count[NAP_DOZING]) return NAP_DOZING;
    if (backs_off(sim, pool)) return NAP_FAILED;
    if (pool->live) return NAP_STOPPING;
    return pool->count[NAP_PRIMED_STATE] ? NAP_PRIMED_STATE : NAP_ASLEEP;
}

static void check_view(struct sim *sim, const struct sim_pool *pool) {
    struct nap_pool_view view;
    bool there = nap_pool_view(sim->nap, pool->number, sim->seen_ms, &view);
    ALWAYS(sim, there == !pool->removed, "a removed pool is seen no more, all others are");
    if (!there) return;
    ALWAYS(sim, view.waiting == pool->waiting, "no ticket is lost: as many wait as came and were not told");
    ALWAYS(sim, view.working == pool->working,
           "no slot is lost: as many work as were granted and did not end");
    ALWAYS(sim, view.containers == pool->live, "no container is lost");
    ALWAYS(sim, view.state == state_of(sim, pool),
           "the state of the pool is that of its liveliest container");
    ALWAYS(sim, view.stopped == pool->stopped, "what the user stopped is stopped until woken by the user");
    int64_t retry_ms = view.state == NAP_FAILED ? pool->retry_at_ms - sim->seen_ms : 0;
    ALWAYS(sim, view.retry_ms == retry_ms, "how long it backs off still is told");
}

static void check_container(struct sim *sim, const struct sim_container *container) {
    const struct sim_pool *pool = container->pool;
    uint32_t working;
    enum nap_state state = nap_container_state(sim->nap, container->number, &working);
    bool leaves = yields(sim, pool) || (pool->sleeping && pool->waiting == 0);
    ALWAYS(sim, state == container->state && working == container->working, "nap and the world agree on it");
    ALWAYS(sim, container->working == 0 || state == NAP_AWAKE || state == NAP_STOPPING,
           "only the awake work");
    if (state == NAP_STOPPING) return;
    ALWAYS(sim, !pool->removed && !pool->stopped, "of what was removed or stopped everything stops");
    ALWAYS(sim, fresh(container) || container->working > 0, "an old version leaves when it is idle");
    if (state == NAP_PRIMED_STATE) {
        ALWAYS(sim, fresh(container) && pool->function->prime, "what is primed could start as it is");
        return;
    }
    ALWAYS(sim, !leaves || state == NAP_AWAKE, "who yields or sleeps keeps nothing but what works");
    ALWAYS(sim, !leaves || container->working > 0, "who yields or sleeps keeps nothing but what works");
    if (!fresh(container)) return;
    ALWAYS(sim, pool->up <= pool->function->max_containers || !idle(container),
           "what is idle and over max_containers leaves");
    bool has_slot =
        state == NAP_DOZING || (state == NAP_AWAKE && container->working < pool->function->max_inputs);
    ALWAYS(sim, !has_slot || pool->waiting == 0 || yields(sim, pool) || lingers(pool),
           "nobody who is ripe waits beside a free slot");
}

static void check_pool(struct sim *sim, const struct sim_pool *pool) {
    check_view(sim, pool);
    LIST_EACH(node, &pool->containers) check_container(sim, CONTAINER_OF(node, struct sim_container, link));
    ALWAYS(sim, !pool->removed || pool->count[NAP_STOPPING] > 0, "a removed pool with nothing left is gone");
    if (pool->stopped || pool->removed) ALWAYS(sim, pool->waiting == 0, "nobody waits for what was stopped");
    if (backs_off(sim, pool) && pool->up == 0)
        ALWAYS(sim, pool->waiting == 0, "while it backs off nobody waits for it");
    if (sim->event.kind == NAP_USER_DOZE && sim->event.pool == pool->number) {
        LIST_EACH(node, &pool->containers) {
            const struct sim_container *container = CONTAINER_OF(node, struct sim_container, link);
            ALWAYS(sim, !idle(container) || container->state == NAP_DOZING,
                   "asked to doze, what is idle dozes");
        }
    }
}

/* Who wants a start and had to be left without one is in line now. */
static void stand_in_line(struct sim *sim) {
    for (size_t i = 0; i < POOLS_MAX; i++) {
        struct sim_pool *pool = &sim->pools[i];
        if (!pool->exists) continue;
        if (missing(sim, pool) == 0)
            pool->in_line_since = 0;
        else if (pool->in_line_since == 0)
            pool->in_line_since = sim->line_turn;
    }
}

static void check_node(struct sim *sim) {
    uint64_t wants = 0, evictables = 0;
    bool late = sim->seen_ms >= model_due_ms(sim); /* what the timer brings is still to come */
    for (size_t i = 0; i < POOLS_MAX; i++) {
        const struct sim_pool *pool = &sim->pools[i];
        if (!pool->exists) continue;
        wants += late ? 0 : missing(sim, pool);
        LIST_EACH(node, &pool->containers)
        evictables += evictable(CONTAINER_OF(node, struct sim_container, link));
    }
    stand_in_line(sim);
    if (wants > 0) {
        ALWAYS(sim, node_live(sim) >= containers_max(sim),
               "nothing that is needed and may start stays unstarted");
        ALWAYS(sim, wants <= node_stopping(sim) || evictables == 0,
               "who is idle makes room for who is needed");
    }
    uint32_t primed = node_primed(sim);
    ALWAYS(sim, primed <= sim->mood.config.primed_max, "primed_max holds");
    for (size_t i = 0; i < POOLS_MAX && !late; i++) {
        const struct sim_pool *pool = &sim->pools[i];
        if (!could_prime(sim, pool)) continue;
        ALWAYS(sim, primed == sim->mood.config.primed_max, "who could be primed is, while there is a place");
        for (size_t other = 0; other < POOLS_MAX; other++)
            ALWAYS(sim,
                   !sim->pools[other].exists || sim->pools[other].count[NAP_PRIMED_STATE] == 0 ||
                       sim->pools[other].last_used_ms >= pool->last_used_ms,
                   "the places of the primed go to those used last");
    }
}

static void check_pressure(struct sim *sim, const struct nap_actions *todo) {
    ALWAYS(sim, sim->pressed <= (sim->evictables + 3) / 4, "pressure takes a quarter, not more");
    ALWAYS(sim, sim->evictables == 0 || todo->count > 0, "pressure takes something where something can go");
}

static void check_time(struct sim *sim, const struct nap_event *event, const struct nap_actions *todo) {
    int64_t due_ms = nap_deadline_ms(sim->nap), expected_ms = model_due_ms(sim);
    ALWAYS(sim, due_ms <= expected_ms, "nothing is overslept");
    ALWAYS(sim, due_ms >= expected_ms, "nobody is woken for nothing");
    if (event->kind != NAP_TIMER || due_ms > sim->seen_ms || todo->count > 0) {
        sim->still = 0;
        return;
    }
    ALWAYS(sim, ++sim->still < 3, "a timer that is due brings something about");
}

void truths_after(struct sim *sim, const struct nap_event *event, const struct nap_actions *todo) {
    ALWAYS(sim, sim->refusal_due == NAP_REASON_NONE, "who is to be refused at once is");
    ALWAYS(sim, !sim->thawed, "who was thawed for work gets it");
    ALWAYS(sim, todo->count < 4000, "a step ends");
    if (sim->dying) ALWAYS(sim, list_empty(&sim->dying->work), "work that lost its container is told");
    for (size_t i = 0; i < POOLS_MAX; i++)
        if (sim->pools[i].exists) check_pool(sim, &sim->pools[i]);
    check_node(sim);
    check_pressure(sim, todo);
    check_time(sim, event, todo);
}

/* The evening: no new work, no accidents, all that was begun has ended. */
void truths_at_rest(struct sim *sim) {
    for (size_t i = 0; i < POOLS_MAX; i++) {
        const struct sim_pool *pool = &sim->pools[i];
        if (!pool->exists) continue;
        ALWAYS(sim, pool->working == 0, "in the end all work is done");
        ALWAYS(sim, pool->count[NAP_STARTING] + pool->count[NAP_STOPPING] == 0,
               "in the end nothing is on its way");
        ALWAYS(sim,
               pool->waiting == 0 || yields(sim, pool) || others_live(sim, pool) ||
                   node_live(sim) >= containers_max(sim),
               "in the end who still waits is kept out by somebody who may stay");
        ALWAYS(sim, pool->up <= needed(pool) || pool->function->scaledown_window_ms == NAP_NEVER,
               "in the end there is no more than is kept");
    }
}
