/* What the fake node and its processes make of an action: latency, failures, stubbornness. All of it comes
 * back as an entry of the world's heap, and may come too late for the container that it is about. */
#include "sim.h"

#include <stdlib.h>

static void will_come_up(struct sim *sim, uint64_t number, enum world_kind good) {
    const struct mood *mood = &sim->mood;
    int64_t took_ms = sim->quiet ? 0 : dice_wait(&sim->dice, mood->start_ms);
    if (!sim->quiet && dice_chance(&sim->dice, mood->start_fails_permille))
        world_later(sim, took_ms, WORLD_FAILED, number);
    else if (sim->quiet || !dice_chance(&sim->dice, mood->start_hangs_permille))
        world_later(sim, took_ms, good, number);
    if (good == WORLD_READY && mood->crash_ms > 0 && !sim->quiet)
        world_later(sim, took_ms + dice_wait(&sim->dice, mood->crash_ms), WORLD_EXITED, number);
}

static void will_end(struct sim *sim, uint64_t number, bool killed) {
    struct sim_container *container = table_get(sim->containers, number);
    if (!container) return;
    if (killed && dice_chance(&sim->dice, 900)) container->stubborn = false;
    if (container->stubborn || container->will_end) return;
    container->will_end = true;
    world_later(sim, dice_wait(&sim->dice, killed ? 2 : sim->mood.exit_ms), WORLD_EXITED, number);
}

static void will_work(struct sim *sim, uint64_t ticket) {
    const struct mood *mood = &sim->mood;
    int64_t took_ms = dice_wait(&sim->dice, mood->work_ms);
    const struct sim_ticket *known = table_get(sim->tickets, ticket);
    if (known && known->container && !sim->quiet && dice_chance(&sim->dice, mood->leaves_permille))
        world_later(sim, dice_wait(&sim->dice, mood->work_ms), WORLD_LEAVES, known->container->number);
    if (dice_chance(&sim->dice, mood->endless_permille)) return; /* until its timeout */
    bool cancelled = dice_chance(&sim->dice, mood->cancel_permille / 4);
    world_later(sim, took_ms, cancelled ? WORLD_CANCEL : WORLD_DONE, ticket);
}

void node_act(struct sim *sim, const struct nap_action *action) {
    switch (action->verb) {
    case NAP_START:
        will_come_up(sim, action->container, WORLD_READY);
        if (dice_chance(&sim->dice, sim->mood.stubborn_permille)) {
            struct sim_container *container = table_get(sim->containers, action->container);
            container->stubborn = true;
        }
        return;
    case NAP_PRIME: will_come_up(sim, action->container, WORLD_CREATED); return;
    case NAP_GRANT: will_work(sim, action->ticket); return;
    case NAP_FREEZE:
        if (!sim->quiet && dice_chance(&sim->dice, sim->mood.freeze_fails_permille))
            world_later(sim, dice_between(&sim->dice, 0, 5), WORLD_FREEZE_FAILED, action->container);
        return;
    case NAP_STOP: will_end(sim, action->container, false); return;
    case NAP_KILL: will_end(sim, action->container, true); return;
    case NAP_REFUSE:
    case NAP_RECLAIM:
    case NAP_THAW: return;
    }
}

/* The daemon was killed and comes again: tickets went with their connections, what was on its way up or down
 * is gone, and what served is found again, perhaps for a pool that was removed meanwhile. */
void node_adopt_all(struct sim *sim) {
    struct {
        uint64_t pool, number, version;
        int64_t used_ms;
        bool dozing;
    } found[POOLS_MAX * 64];
    size_t count = 0;
    void *value;
    for (size_t i = 0; table_next(sim->containers, &i, NULL, &value);) {
        struct sim_container *container = value;
        bool serves = container->state == NAP_AWAKE || container->state == NAP_DOZING;
        if (serves && count < COUNT(found) && !dice_chance(&sim->dice, 50)) {
            found[count].pool = container->pool->number;
            found[count].number = container->number;
            found[count].version = container->version;
            found[count].used_ms = container->idle_since_ms - 100 + dice_between(&sim->dice, 0, 200);
            found[count++].dozing = container->state == NAP_DOZING;
        }
    }
    world_forget(sim);
    world_nap(sim);
    bool comes_back[POOLS_MAX];
    for (size_t i = 0; i < POOLS_MAX; i++) {
        struct sim_pool *pool = &sim->pools[i];
        comes_back[i] = pool->exists && !pool->removed && !dice_chance(&sim->dice, 50);
        pool->exists = false;
    }
    for (size_t i = 0; i < POOLS_MAX; i++) {
        if (!comes_back[i]) continue;
        scoped(core_function) struct core_function *function = core_function_copy(sim->pools[i].function);
        world_feed(sim, &(struct nap_event){.kind = NAP_POOL_SET,
                                            .pool = i + 1,
                                            .function = function,
                                            .version = sim->pools[i].version});
    }
    for (size_t i = 0; i < count; i++) {
        struct nap_event event = {.kind = NAP_ADOPTED,
                                  .pool = found[i].pool,
                                  .container = found[i].number,
                                  .version = found[i].version,
                                  .started_ms = found[i].used_ms,
                                  .dozing = found[i].dozing};
        if (dice_chance(&sim->dice, 30)) /* the user is faster */
            world_feed(sim, &(struct nap_event){.kind = NAP_USER_STOP, .pool = event.pool});
        world_feed(sim, &event);
        if (dice_chance(&sim->dice, 50)) world_feed(sim, &event); /* told twice, meant once */
        if (sim->mood.crash_ms > 0 && !sim->quiet)
            world_later(sim, dice_wait(&sim->dice, sim->mood.crash_ms), WORLD_EXITED, found[i].number);
    }
}
