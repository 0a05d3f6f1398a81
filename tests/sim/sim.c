/* sim_nap: lives of many pools, one a seed, until a truth does not hold or all seeds were lived.
 *
 *   sim_nap [--from SEED] [--seeds N] [--steps N]    N lives; ends with the first that breaks
 *   sim_nap --seed N [--steps N]                     one life, told line by line
 *
 * The same seed is the same life. A life is a day of --steps events, an evening in which all comes to rest,
 * and a night in which everything is removed. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define STEPS 5000
#define SEEDS 400
#define EVENING_STEPS 200000

static const char *event_name(enum nap_event_kind kind) {
    static const char *const names[] = {
        "set",       "remove",       "work",       "ripe",          "cancel", "done",    "primed",
        "ready",     "start failed", "exited",     "freeze failed", "leaves", "adopted", "pressure",
        "user wake", "user doze",    "user sleep", "user stop",     "timer"};
    return names[kind];
}

static void tell_event(const struct sim *sim, const struct nap_event *event) {
    printf("%6llu %10lld ms  %s", (unsigned long long)sim->step, (long long)sim->seen_ms,
           event_name(event->kind));
    if (event->pool) printf(" pool %llu", (unsigned long long)event->pool);
    if (event->ticket) printf(" ticket %llu", (unsigned long long)event->ticket);
    if (event->container) printf(" container %llu", (unsigned long long)event->container);
    if (event->kind == NAP_WORK_ARRIVED && event->deadline_ms != NAP_NEVER)
        printf(" until %lld", (long long)event->deadline_ms);
    if (event->ripe_ms) printf(" ripe at %lld", (long long)event->ripe_ms);
    if (event->kind == NAP_ADOPTED)
        printf(" version %llu %s", (unsigned long long)event->version, event->dozing ? "dozing" : "awake");
    if (event->kind != NAP_POOL_SET) return;
    const struct core_function *f = event->function;
    printf(" version %llu containers %u..%u (buffer %u) inputs %u/%u queue %u doze %lld end %lld start %lld "
           "timeout %lld "
           "grace %lld %s%s%s",
           (unsigned long long)event->version, f->min_containers, f->max_containers, f->buffer_containers,
           f->target_inputs, f->max_inputs, f->queue_max,
           (long long)(f->doze_after_ms == NAP_NEVER ? -1 : f->doze_after_ms),
           (long long)(f->scaledown_window_ms == NAP_NEVER ? -1 : f->scaledown_window_ms),
           (long long)f->startup_timeout_ms, (long long)f->timeout_ms, (long long)f->stop_grace_ms,
           f->group ? f->group : "", f->pin ? " pin" : "", f->prime ? " prime" : "");
}

void sim_tell(const struct sim *sim, const struct nap_event *event, const struct nap_actions *todo) {
    static const char *const verbs[] = {"start",   "prime", "grant", "refuse", "freeze",
                                        "reclaim", "thaw",  "stop",  "kill"};
    tell_event(sim, event);
    printf(todo->count ? "  ->  " : "\n");
    for (size_t i = 0; i < todo->count; i++) {
        const struct nap_action *action = &todo->action[i];
        const char *end = i + 1 < todo->count ? ", " : "\n";
        if (action->verb == NAP_REFUSE)
            printf("refuse %llu: %s%s", (unsigned long long)action->ticket, nap_reason_text(action->reason),
                   end);
        else if (action->verb == NAP_GRANT)
            printf("grant %llu in %llu%s", (unsigned long long)action->ticket,
                   (unsigned long long)action->container, end);
        else if (action->verb == NAP_START || action->verb == NAP_PRIME)
            printf("%s %llu of %llu%s", verbs[action->verb], (unsigned long long)action->container,
                   (unsigned long long)action->pool, end);
        else
            printf("%s %llu%s", verbs[action->verb], (unsigned long long)action->container, end);
    }
}

void sim_fail(const struct sim *sim, const char *truth, const char *what) {
    fflush(stdout);
    fprintf(stderr,
            "sim: seed %llu, step %llu (%s): broken: %s\n  %s\n  ./dev sim --seed %llu tells how it came to "
            "this\n",
            (unsigned long long)sim->seed, (unsigned long long)sim->step, event_name(sim->event.kind), what,
            truth, (unsigned long long)sim->seed);
    exit(1);
}

static void until_rest(struct sim *sim) {
    for (int steps = 0; world_step(sim); steps++)
        ALWAYS(sim, steps < EVENING_STEPS, "without new work all comes to rest");
}

static void evening(struct sim *sim) {
    sim->quiet = true;
    until_rest(sim);
    truths_at_rest(sim);
    for (uint64_t number = 1; number < sim->next_ticket; number++) /* kept out by those who may stay */
        if (table_get(sim->tickets, number))
            world_feed(sim, &(struct nap_event){.kind = NAP_WORK_CANCELLED, .ticket = number});
    until_rest(sim);
    ALWAYS(sim, table_count(sim->tickets) == 0, "in the end every ticket has ended");
}

static void night(struct sim *sim) {
    for (uint64_t number = 1; number <= POOLS_MAX; number++)
        if (model_pool(sim, number))
            world_feed(sim, &(struct nap_event){.kind = NAP_POOL_REMOVED, .pool = number});
    until_rest(sim);
    ALWAYS(sim, table_count(sim->containers) == 0, "nothing is left of what was removed");
    ALWAYS(sim, nap_deadline_ms(sim->nap) == NAP_NEVER, "nothing is waited for any more");
}

struct tally {
    uint64_t steps, grants, refusals, starts, freezes, evictions, hours;
};

static void live(uint64_t seed, uint64_t steps, bool told, struct tally *tally) {
    struct sim *sim = NEW(struct sim);
    sim->seed = sim->dice.state = seed;
    sim->told = told;
    mood_draw(&sim->mood, &sim->dice);
    world_begin(sim);
    while (sim->step < steps && world_step(sim)) continue;
    tally->hours += (uint64_t)sim->now_ms / 3600000;
    evening(sim);
    night(sim);
    tally->steps += sim->step;
    tally->grants += sim->grants;
    tally->refusals += sim->refusals;
    tally->starts += sim->starts;
    tally->freezes += sim->freezes;
    tally->evictions += sim->evictions;
    world_end(sim);
    free(sim);
}

static uint64_t number_after(int argc, char **argv, const char *name, uint64_t otherwise) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) != 0) continue;
        uint64_t value;
        if (i + 1 < argc && span_to_u64(span_of(argv[i + 1]), &value)) return value;
        fprintf(stderr, "sim: %s wants a number\n", name);
        exit(2);
    }
    return otherwise;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"--seed", "--from", "--seeds", "--steps"};
    for (int i = 1; i < argc; i += 2) {
        bool known = false;
        for (size_t n = 0; n < COUNT(names); n++) known |= strcmp(argv[i], names[n]) == 0;
        if (known) continue;
        fprintf(stderr, "usage: sim_nap [--seed N | --from N --seeds N] [--steps N]; not '%s'\n", argv[i]);
        return 2;
    }
    uint64_t seed = number_after(argc, argv, "--seed", 0), steps = number_after(argc, argv, "--steps", STEPS);
    uint64_t first = seed ? seed : number_after(argc, argv, "--from", 1);
    uint64_t count = seed ? 1 : number_after(argc, argv, "--seeds", SEEDS);
    struct tally tally = {0};
    int64_t began_ms = clock_monotonic_ms();
    for (uint64_t i = 0; i < count; i++) live(first + i, steps, seed != 0, &tally);
    int64_t took_ms = clock_monotonic_ms() - began_ms;
    printf(
        "%llu lives, %llu hours, %llu events in %lld.%lld s: %llu grants, %llu refusals, %llu starts, %llu "
        "freezes, %llu evictions; all truths held\n",
        (unsigned long long)count, (unsigned long long)tally.hours, (unsigned long long)tally.steps,
        (long long)took_ms / 1000, (long long)took_ms % 1000 / 100, (unsigned long long)tally.grants,
        (unsigned long long)tally.refusals, (unsigned long long)tally.starts,
        (unsigned long long)tally.freezes, (unsigned long long)tally.evictions);
    return 0;
}
