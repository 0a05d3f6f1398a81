/* The world: a clock that jumps from one thing to the next, a heap of what is to come, and the one door to
 * nap.
 *
 * Clients, user and accidents keep themselves going, each with the mean of the mood. nap's timer rings at its
 * tick, or late where the mood says so; then other things may come in between. In the evening only what was
 * begun goes on. */
#include "sim.h"

#include <stdlib.h>

/* ---- what is to come: a binary heap, least time first, then in order of making ---- */

static bool before(const struct world_entry *a, const struct world_entry *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void world_later(struct sim *sim, int64_t wait_ms, enum world_kind kind, uint64_t number) {
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity ? sim->heap_capacity * 2 : 64;
        sim->heap = mem_grow(sim->heap, sim->heap_capacity, sizeof *sim->heap);
    }
    struct world_entry entry = {sim->now_ms + wait_ms, sim->next_order++, kind, number};
    size_t at = sim->heap_count++;
    while (at > 0 && before(&entry, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = entry;
}

static struct world_entry take_first(struct sim *sim) {
    struct world_entry first = sim->heap[0], last = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (size_t child = 1; child < sim->heap_count; child = at * 2 + 1) {
        if (child + 1 < sim->heap_count && before(&sim->heap[child + 1], &sim->heap[child])) child++;
        if (!before(&sim->heap[child], &last)) break;
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return first;
}

/* ---- the door ---- */

static size_t count_evictable(const struct sim *sim) {
    size_t count = 0;
    for (size_t i = 0; i < POOLS_MAX; i++) {
        if (!sim->pools[i].exists) continue;
        LIST_EACH(node, &sim->pools[i].containers)
        count += evictable(CONTAINER_OF(node, struct sim_container, link));
    }
    return count;
}

static void forget_the_gone(struct sim *sim) {
    free(sim->dying);
    sim->dying = NULL;
    for (size_t i = 0; i < POOLS_MAX; i++) {
        struct sim_pool *pool = &sim->pools[i];
        if (pool->exists && pool->removed && list_empty(&pool->containers)) pool->exists = false;
    }
}

void world_feed(struct sim *sim, const struct nap_event *event) {
    int64_t told_ms = sim->now_ms;
    if (dice_chance(&sim->dice, sim->mood.backwards_permille)) told_ms -= dice_between(&sim->dice, 0, 5000);
    if (told_ms > sim->seen_ms) sim->seen_ms = told_ms;
    sim->step++;
    sim->event = *event;
    sim->refusal_due = NAP_REASON_NONE;
    sim->failed = NULL;
    if (event->kind != NAP_TIMER) sim->late = model_due_ms(sim) <= sim->seen_ms;
    if (!sim->late) sim->line_turn++;
    sim->pressed = 0;
    sim->evictables = event->kind == NAP_PRESSURE ? count_evictable(sim) : 0;
    model_event(sim, event);
    struct nap_actions todo = nap_step(sim->nap, event, told_ms);
    if (sim->told) sim_tell(sim, event, &todo);
    for (size_t i = 0; i < todo.count; i++) model_action(sim, &todo.action[i]);
    forget_the_gone(sim);
    truths_after(sim, event, &todo);
    for (size_t i = 0; i < todo.count; i++) node_act(sim, &todo.action[i]);
}

/* ---- what comes ---- */

/* Clients of a pool that refuses them anyway mostly stay away, so that lives are not made of refusals. */
static bool stay_away(struct sim *sim, uint64_t number) {
    const struct sim_pool *pool = model_pool(sim, number);
    bool open = pool && !pool->removed && !pool->stopped && (pool->up > 0 || !backs_off(sim, pool)) &&
                pool->waiting < pool->function->queue_max;
    return !open && !dice_chance(&sim->dice, 100);
}

static void arrive(struct sim *sim, uint64_t number) {
    const struct mood *mood = &sim->mood;
    if (stay_away(sim, number)) return;
    int64_t count = dice_chance(&sim->dice, mood->burst_permille) ? dice_between(&sim->dice, 2, 30) : 1;
    for (int64_t i = 0; i < count; i++) {
        struct nap_event event = {
            .kind = NAP_WORK_ARRIVED, .pool = number, .ticket = sim->next_ticket++, .deadline_ms = NAP_NEVER};
        if (dice_chance(&sim->dice, mood->deadline_permille))
            event.deadline_ms = sim->now_ms + dice_wait(&sim->dice, mood->start_ms + mood->work_ms + 1);
        bool lingers = dice_chance(&sim->dice, mood->linger_permille);
        if (lingers) event.ripe_ms = sim->now_ms + dice_wait(&sim->dice, mood->start_ms + 5) - 2;
        world_feed(sim, &event);
        if (lingers && dice_chance(&sim->dice, 500))
            world_later(sim, dice_wait(&sim->dice, mood->start_ms), WORLD_RIPE, event.ticket);
        if (dice_chance(&sim->dice, mood->cancel_permille))
            world_later(sim, dice_wait(&sim->dice, mood->start_ms + mood->work_ms), WORLD_CANCEL,
                        event.ticket);
    }
}

static void redeploy(struct sim *sim, uint64_t number) {
    const struct sim_pool *pool = &sim->pools[number - 1];
    scoped(core_function) struct core_function *function = core_function_new("app", "function");
    mood_limits(&sim->mood, &sim->dice, function);
    bool again = pool->exists && dice_chance(&sim->dice, 400); /* other limits, the same containers */
    bool back = pool->exists && dice_chance(&sim->dice, 200);  /* the version before: a rollback */
    uint64_t version = again ? pool->version : back ? pool->version - 1 : sim->next_version++;
    world_feed(sim, &(struct nap_event){
                        .kind = NAP_POOL_SET, .pool = number, .function = function, .version = version});
}

static void user(struct sim *sim, uint64_t number) {
    static const enum nap_event_kind verbs[] = {NAP_USER_WAKE, NAP_USER_DOZE, NAP_USER_SLEEP, NAP_USER_STOP};
    bool stopped = sim->pools[number - 1].stopped && !dice_chance(&sim->dice, 100);
    enum nap_event_kind verb = stopped ? NAP_USER_WAKE : verbs[dice_roll(&sim->dice) % COUNT(verbs)];
    world_feed(sim, &(struct nap_event){.kind = verb, .pool = number});
    if (verb == NAP_USER_STOP) world_later(sim, dice_wait(&sim->dice, 5000), WORLD_USER, number);
}

static void again(struct sim *sim, enum world_kind kind, int64_t mean_ms, uint64_t number) {
    if (mean_ms > 0 && !sim->quiet) world_later(sim, dice_wait(&sim->dice, mean_ms), kind, number);
}

static uint64_t any_pool(struct sim *sim) {
    return (uint64_t)dice_between(&sim->dice, 1, sim->mood.pools);
}

/* Of the clients, the user and the machine: these keep themselves going. */
static void happen(struct sim *sim, const struct world_entry *entry) {
    const struct mood *mood = &sim->mood;
    switch (entry->kind) {
    case WORLD_ARRIVE:
        arrive(sim, entry->number);
        again(sim, WORLD_ARRIVE, mood->arrival_ms, entry->number);
        break;
    case WORLD_PRESSURE:
        world_feed(sim, &(struct nap_event){.kind = NAP_PRESSURE});
        again(sim, WORLD_PRESSURE, mood->pressure_ms, 0);
        break;
    case WORLD_JUMP: /* the machine was suspended */
        sim->now_ms += dice_between(&sim->dice, 0, 4 * 3600 * 1000);
        again(sim, WORLD_JUMP, mood->jump_ms, 0);
        break;
    case WORLD_RESTART:
        node_adopt_all(sim);
        again(sim, WORLD_RESTART, mood->restart_ms, 0);
        break;
    case WORLD_USER:
        user(sim, entry->number ? entry->number : any_pool(sim));
        if (entry->number == 0) again(sim, WORLD_USER, mood->user_ms, 0);
        break;
    case WORLD_REDEPLOY:
        redeploy(sim, any_pool(sim));
        again(sim, WORLD_REDEPLOY, mood->redeploy_ms, 0);
        break;
    case WORLD_REMOVE:
        world_feed(sim, &(struct nap_event){.kind = NAP_POOL_REMOVED, .pool = any_pool(sim)});
        again(sim, WORLD_REMOVE, mood->remove_ms, 0);
        break;
    case WORLD_EARLY_TIMER:
        world_feed(sim, &(struct nap_event){.kind = NAP_TIMER});
        again(sim, WORLD_EARLY_TIMER, mood->early_timer_ms, 0);
        break;
    default: break;
    }
}

static void come_back(struct sim *sim, const struct world_entry *entry) {
    static const enum nap_event_kind kinds[] = {
        [WORLD_DONE] = NAP_WORK_DONE, [WORLD_CANCEL] = NAP_WORK_CANCELLED,
        [WORLD_RIPE] = NAP_WORK_RIPE, [WORLD_CREATED] = NAP_PRIMED,
        [WORLD_READY] = NAP_READY,    [WORLD_FAILED] = NAP_START_FAILED,
        [WORLD_EXITED] = NAP_EXITED,  [WORLD_FREEZE_FAILED] = NAP_FREEZE_FAILED,
        [WORLD_LEAVES] = NAP_LEAVES};
    bool of_ticket = entry->kind == WORLD_DONE || entry->kind == WORLD_CANCEL || entry->kind == WORLD_RIPE;
    bool there = table_get(of_ticket ? sim->tickets : sim->containers, entry->number);
    if (!there && !dice_chance(&sim->dice, sim->mood.echo_permille)) return;
    world_feed(sim, &(struct nap_event){.kind = kinds[entry->kind],
                                        .ticket = of_ticket ? entry->number : 0,
                                        .container = of_ticket ? 0 : entry->number});
}

bool world_step(struct sim *sim) {
    int64_t due_ms = nap_deadline_ms(sim->nap);
    bool waits = sim->heap_count > 0;
    if (!waits && due_ms == NAP_NEVER) return false;
    bool late = waits && due_ms != NAP_NEVER && dice_chance(&sim->dice, sim->mood.timer_late_permille) &&
                sim->heap[0].at_ms < due_ms + 50;
    bool timer_first = !waits || due_ms < sim->heap[0].at_ms ||
                       (due_ms == sim->heap[0].at_ms && dice_chance(&sim->dice, 500));
    if (timer_first && !late) {
        if (due_ms > sim->now_ms) sim->now_ms = due_ms;
        world_feed(sim, &(struct nap_event){.kind = NAP_TIMER});
        return true;
    }
    struct world_entry entry = take_first(sim);
    if (entry.at_ms > sim->now_ms) sim->now_ms = entry.at_ms;
    if (entry.kind == WORLD_ARRIVE || entry.kind >= WORLD_PRESSURE) {
        if (!sim->quiet) happen(sim, &entry);
    } else if (!sim->quiet || entry.kind != WORLD_FAILED) {
        come_back(sim, &entry);
    } else { /* a failure that was to come before the evening began */
        entry.kind = WORLD_READY;
        come_back(sim, &entry);
    }
    return true;
}

void world_nap(struct sim *sim) {
    sim->nap = nap_new(&sim->mood.config);
    sim->seen_ms = INT64_MIN;
    sim->tickets = table_new();
    sim->containers = table_new();
}

void world_begin(struct sim *sim) {
    const struct mood *mood = &sim->mood;
    sim->now_ms = 1000;
    sim->next_ticket = sim->next_version = sim->next_turn = 1;
    world_nap(sim);
    for (uint64_t number = 1; number <= mood->pools; number++) {
        if (!dice_chance(&sim->dice, 50)) redeploy(sim, number);
        again(sim, WORLD_ARRIVE, mood->arrival_ms, number);
    }
    again(sim, WORLD_PRESSURE, mood->pressure_ms, 0);
    again(sim, WORLD_JUMP, mood->jump_ms, 0);
    again(sim, WORLD_RESTART, mood->restart_ms, 0);
    again(sim, WORLD_USER, mood->user_ms, 0);
    again(sim, WORLD_REDEPLOY, mood->redeploy_ms, 0);
    again(sim, WORLD_REMOVE, mood->remove_ms, 0);
    again(sim, WORLD_EARLY_TIMER, mood->early_timer_ms, 0);
}

void world_forget(struct sim *sim) {
    void *value;
    for (size_t i = 0; table_next(sim->tickets, &i, NULL, &value);) free(value);
    for (size_t i = 0; table_next(sim->containers, &i, NULL, &value);) free(value);
    table_free(sim->tickets);
    table_free(sim->containers);
    nap_free(sim->nap);
}

void world_end(struct sim *sim) {
    world_forget(sim);
    for (size_t i = 0; i < POOLS_MAX; i++) core_function_free(sim->pools[i].function);
    free(sim->heap);
}
