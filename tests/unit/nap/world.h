/* The world of the day tests: what happens when, and what nap has to say to it.
 *
 * A moment is one event; its answer is the actions in order, e.g. "thaw 1, grant 7 in 1". Time only moves
 * from moment to moment, and a deadline that was announced must be in the table as TIMER at its very tick, or
 * the day fails. */
#pragma once
#include "nap.h"
#include "test.h"

#define SAID_SIZE 512

/* clang-format off */
enum { SET = NAP_POOL_SET, REMOVE = NAP_POOL_REMOVED, WORK = NAP_WORK_ARRIVED, RIPE = NAP_WORK_RIPE,
       CANCEL = NAP_WORK_CANCELLED, DONE = NAP_WORK_DONE, CREATED = NAP_PRIMED,
       READY = NAP_READY, FAIL = NAP_START_FAILED, EXIT = NAP_EXITED,
       UNFREEZABLE = NAP_FREEZE_FAILED, LEAVES = NAP_LEAVES, ADOPT = NAP_ADOPTED,
       PRESSURE = NAP_PRESSURE, WAKE = NAP_USER_WAKE,
       DOZE = NAP_USER_DOZE, SLEEP = NAP_USER_SLEEP, STOP = NAP_USER_STOP, TIMER = NAP_TIMER,
       RESUME = NAP_TIMER + 1 };
/* clang-format on */

struct moment {
    int64_t at_ms;
    int event;
    uint64_t pool, number; /* of the ticket or container */
    const char *todo;
    int64_t more; /* SET: version; WORK: deadline_ms, 0: never, below 0: how long it lingers; ADOPT:
                     1 is dozing; RESUME: container */
};

struct world {
    struct nap *nap;
    struct core_function *functions[4]; /* of pools 1, 2, 3 */
    int64_t now_ms;
};

static struct world world_new(const struct nap_config *config) {
    struct world world = {.nap = nap_new(config)};
    for (size_t i = 1; i < COUNT(world.functions); i++) {
        struct core_function *function = world.functions[i] = core_function_new("app", "function");
        function->max_inputs = 2;
        function->queue_max = 10;
        function->doze_after_ms = 100;
        function->scaledown_window_ms = 600;
        function->startup_timeout_ms = 1000;
        function->timeout_ms = 5000;
        function->stop_grace_ms = 50;
    }
    return world;
}

static void world_done(struct world *world) {
    nap_free(world->nap);
    for (size_t i = 1; i < COUNT(world->functions); i++) core_function_free(world->functions[i]);
}

static void say(const struct nap_actions *todo, char said[SAID_SIZE]) {
    static const char *const verbs[] = {"start",   "prime", "grant", "refuse", "freeze",
                                        "reclaim", "thaw",  "stop",  "kill"};
    size_t at = 0;
    said[0] = '\0';
    for (size_t i = 0; i < todo->count && at < SAID_SIZE; i++) {
        const struct nap_action *action = &todo->action[i];
        const char *comma = i ? ", " : "";
        int size = 0;
        if (action->verb == NAP_GRANT)
            size = snprintf(said + at, SAID_SIZE - at, "%sgrant %d in %d", comma, (int)action->ticket,
                            (int)action->container);
        else if (action->verb == NAP_REFUSE && action->retry_ms)
            size = snprintf(said + at, SAID_SIZE - at, "%srefuse %d: %s, %d ms", comma, (int)action->ticket,
                            nap_reason_text(action->reason), (int)action->retry_ms);
        else if (action->verb == NAP_REFUSE)
            size = snprintf(said + at, SAID_SIZE - at, "%srefuse %d: %s", comma, (int)action->ticket,
                            nap_reason_text(action->reason));
        else
            size = snprintf(said + at, SAID_SIZE - at, "%s%s %d", comma, verbs[action->verb],
                            (int)action->container);
        at += (size_t)size;
    }
}

static void live_moment(struct world *world, const struct moment *moment) {
    struct nap_event event = {
        .kind = moment->event == RESUME ? NAP_WORK_ARRIVED : (enum nap_event_kind)moment->event,
        .pool = moment->pool,
        .ticket = moment->number,
        .container = moment->number,
        .function = moment->event == SET ? world->functions[moment->pool] : NULL,
        .version = moment->event == SET && moment->more ? (uint64_t)moment->more : 1,
        .deadline_ms = moment->event == WORK && moment->more > 0 ? moment->more : NAP_NEVER,
        .ripe_ms = moment->event == WORK && moment->more < 0 ? moment->at_ms - moment->more : 0,
        .started_ms = moment->at_ms,
        .resumed = moment->event == RESUME ? (uint64_t)moment->more : 0,
        .dozing = moment->more == 1,
    };
    char said[SAID_SIZE];
    int64_t due_ms = nap_deadline_ms(world->nap);
    if (moment->event == TIMER && *moment->todo && due_ms != moment->at_ms)
        fail_msg("the timer of %d ms is due at %d ms", (int)moment->at_ms, (int)due_ms);
    if (due_ms < moment->at_ms)
        fail_msg("before %d ms there is a deadline at %d ms", (int)moment->at_ms, (int)due_ms);
    struct nap_actions todo = nap_step(world->nap, &event, moment->at_ms);
    say(&todo, said);
    if (strcmp(said, moment->todo) != 0)
        fail_msg("at %d ms: '%s' instead of '%s'", (int)moment->at_ms, said, moment->todo);
    world->now_ms = moment->at_ms;
}

static void live(struct world *world, const struct moment *day, size_t moments) {
    for (size_t m = 0; m < moments; m++) live_moment(world, &day[m]);
}

#define DAY(WORLD, ...)                                    \
    do {                                                   \
        static const struct moment day_[] = {__VA_ARGS__}; \
        live(WORLD, day_, COUNT(day_));                    \
    } while (0)

static const struct nap_config plain = {.containers_max = 10, .reclaim_after_ms = 200};

static struct nap_pool_view view(const struct world *world, uint64_t pool) {
    struct nap_pool_view view = {0};
    assert_true(nap_pool_view(world->nap, pool, world->now_ms, &view));
    return view;
}
