/* Facts about the model, each derived anew from what containers and tickets are: nothing in here is kept in
 * step by hand. The words are those of nap.h. */
#include "sim.h"

bool fresh(const struct sim_container *container) {
    const struct sim_pool *pool = container->pool;
    return container->version == pool->version && !pool->removed && !container->leaves;
}

bool idle(const struct sim_container *container) {
    return container->state == NAP_DOZING || (container->state == NAP_AWAKE && container->working == 0);
}

bool lingers(const struct sim_pool *pool) {
    if (list_empty(&pool->queue)) return false;
    return CONTAINER_OF(pool->queue.next, struct sim_ticket, link)->ripe_ms != 0;
}

bool backs_off(const struct sim *sim, const struct sim_pool *pool) {
    return pool->retry_at_ms > sim->seen_ms;
}

int64_t later(int64_t from_ms, int64_t after_ms) {
    return after_ms == NAP_NEVER ? NAP_NEVER : from_ms + after_ms;
}

uint32_t target_of(const struct sim_pool *pool) {
    const struct core_function *limits = pool->function;
    return limits->target_inputs ? limits->target_inputs : limits->max_inputs;
}

void recount(struct sim_pool *pool) {
    pool->live = pool->current = pool->outdated = pool->up = pool->work_here = 0;
    for (int i = 0; i <= NAP_FAILED; i++) pool->count[i] = 0;
    LIST_EACH(node, &pool->containers) {
        const struct sim_container *container = CONTAINER_OF(node, struct sim_container, link);
        pool->count[container->state]++;
        pool->live += container->started;
        if (!fresh(container)) {
            pool->outdated += container->started;
            continue;
        }
        pool->current += container->started;
        pool->up += container->state >= NAP_STARTING && container->state <= NAP_DOZING;
        pool->work_here += container->working;
    }
}

uint32_t needed(const struct sim_pool *pool) {
    if (pool->removed || pool->stopped || (pool->sleeping && pool->waiting == 0)) return 0;
    uint32_t count = (pool->waiting + pool->work_here + target_of(pool) - 1) / target_of(pool);
    if (count > 0) count += pool->function->buffer_containers;
    if (count == 0 && pool->wake_wanted) count = 1;
    if (count < pool->function->min_containers && !pool->sleeping) count = pool->function->min_containers;
    return count < pool->function->max_containers ? count : pool->function->max_containers;
}

bool spare(const struct sim_pool *pool) {
    return pool->up > needed(pool);
}

/* ---- groups ---- */

static uint64_t turn_of(const struct sim_pool *pool) {
    uint64_t turn = pool->wake_wanted ? pool->wake_turn : UINT64_MAX;
    if (pool->waiting > 0) {
        const struct sim_ticket *oldest = CONTAINER_OF(pool->queue.next, struct sim_ticket, link);
        if (oldest->turn < turn) turn = oldest->turn;
    }
    return turn;
}

static bool of_its_group(const struct sim_pool *pool, const struct sim_pool *other) {
    return other != pool && other->exists && other->group == pool->group;
}

bool yields(const struct sim *sim, const struct sim_pool *pool) {
    if (pool->group < 0 || (pool->function->pin && pool->live > 0)) return false;
    uint64_t turn = turn_of(pool);
    for (size_t i = 0; i < POOLS_MAX; i++)
        if (of_its_group(pool, &sim->pools[i]) && turn_of(&sim->pools[i]) < turn) return true;
    return false;
}

bool others_live(const struct sim *sim, const struct sim_pool *pool) {
    for (size_t i = 0; pool->group >= 0 && i < POOLS_MAX; i++)
        if (of_its_group(pool, &sim->pools[i]) && sim->pools[i].live > 0) return true;
    return false;
}

/* ---- starts ---- */

uint32_t missing(const struct sim *sim, const struct sim_pool *pool) {
    if (!pool->exists || (pool->hold && pool->waiting == 0 && !pool->wake_wanted)) return 0;
    uint32_t want = needed(pool), most = pool->function->max_containers;
    if (want <= pool->up || pool->current >= most || backs_off(sim, pool)) return 0;
    if (pool->group >= 0 && (yields(sim, pool) || others_live(sim, pool) || pool->outdated > 0)) return 0;
    uint32_t count = want - pool->up < most - pool->current ? want - pool->up : most - pool->current;
    uint32_t at_once = sim->mood.config.starting_max, starting = pool->count[NAP_STARTING];
    if (at_once == 0) return count;
    if (starting >= at_once) return 0;
    return count < at_once - starting ? count : at_once - starting;
}

bool could_prime(const struct sim *sim, const struct sim_pool *pool) {
    return pool->exists && !pool->removed && !pool->stopped && !pool->hold && !pool->prime_failed &&
           pool->function->prime && sim->mood.config.primed_max > 0 && list_empty(&pool->containers) &&
           !backs_off(sim, pool);
}

bool evictable(const struct sim_container *container) {
    return idle(container) && fresh(container) && spare(container->pool) && !container->pool->function->pin;
}

/* ---- the node ---- */

uint32_t containers_max(const struct sim *sim) {
    return sim->mood.config.containers_max ? sim->mood.config.containers_max : 1000;
}

uint32_t node_live(const struct sim *sim) {
    uint32_t count = 0;
    for (size_t i = 0; i < POOLS_MAX; i++) count += sim->pools[i].exists ? sim->pools[i].live : 0;
    return count;
}

uint32_t node_stopping(const struct sim *sim) {
    uint32_t count = 0;
    for (size_t i = 0; i < POOLS_MAX; i++) {
        if (!sim->pools[i].exists || sim->pools[i].count[NAP_STOPPING] == 0) continue;
        LIST_EACH(node, &sim->pools[i].containers) {
            const struct sim_container *container = CONTAINER_OF(node, struct sim_container, link);
            count += container->started && container->state == NAP_STOPPING;
        }
    }
    return count;
}

uint32_t node_primed(const struct sim *sim) {
    uint32_t count = 0;
    for (size_t i = 0; i < POOLS_MAX; i++)
        count += sim->pools[i].exists ? sim->pools[i].count[NAP_PRIMED_STATE] : 0;
    return count;
}

uint64_t node_wants(const struct sim *sim) {
    uint64_t wants = 0;
    for (size_t i = 0; i < POOLS_MAX; i++) wants += missing(sim, &sim->pools[i]);
    return wants;
}

/* ---- when something is due ---- */

static int64_t earlier(int64_t a_ms, int64_t b_ms) {
    return a_ms < b_ms ? a_ms : b_ms;
}

int64_t container_due_ms(const struct sim *sim, const struct sim_container *container) {
    const struct sim_pool *pool = container->pool;
    const struct core_function *limits = pool->function;
    int64_t end_ms = spare(pool) ? later(container->idle_since_ms, limits->scaledown_window_ms) : NAP_NEVER;
    switch (container->state) {
    case NAP_PRIMED_STATE:
        return container->created ? NAP_NEVER : later(container->since_ms, limits->startup_timeout_ms);
    case NAP_STARTING: return later(container->since_ms, limits->startup_timeout_ms);
    case NAP_STOPPING: return container->kill_at_ms;
    case NAP_AWAKE:
        if (container->working > 0) return NAP_NEVER;
        if (container->restless) return end_ms;
        return earlier(end_ms, later(container->idle_since_ms, limits->doze_after_ms));
    case NAP_DOZING:
        if (container->reclaimed) return end_ms;
        return earlier(end_ms, later(container->since_ms, sim->mood.config.reclaim_after_ms));
    case NAP_ASLEEP:
    case NAP_FAILED: break;
    }
    return NAP_NEVER;
}

static int64_t pool_due_ms(const struct sim *sim, const struct sim_pool *pool) {
    int64_t due_ms = pool->hold ? pool->set_ms : NAP_NEVER;
    if (pool->retry_at_ms) due_ms = earlier(due_ms, pool->retry_at_ms);
    if (pool->wake_wanted) due_ms = earlier(due_ms, pool->wake_until_ms);
    LIST_EACH(node, &pool->queue) {
        const struct sim_ticket *ticket = CONTAINER_OF(node, struct sim_ticket, link);
        due_ms = earlier(due_ms, ticket->due_ms);
        if (ticket->ripe_ms) due_ms = earlier(due_ms, ticket->ripe_ms);
    }
    LIST_EACH(node, &pool->containers) {
        const struct sim_container *container = CONTAINER_OF(node, struct sim_container, link);
        due_ms = earlier(due_ms, container_due_ms(sim, container));
        LIST_EACH(work, &container->work)
        due_ms = earlier(due_ms, CONTAINER_OF(work, struct sim_ticket, link)->due_ms);
    }
    return due_ms;
}

int64_t model_due_ms(const struct sim *sim) {
    int64_t due_ms = NAP_NEVER;
    for (size_t i = 0; i < POOLS_MAX; i++)
        if (sim->pools[i].exists) due_ms = earlier(due_ms, pool_due_ms(sim, &sim->pools[i]));
    return due_ms;
}
