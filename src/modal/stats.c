/* stats: how often a function was called and how its calls and containers ended, over the last seven days.
 *
 * Counted in slices of five minutes, of which only those are kept in which something happened: at most 48 KB
 * for a function that is never at rest, nothing for one that is. In memory: they begin anew with the daemon,
 * and an answer says since when it knows. How many containers lived at a moment comes from how many live now,
 * and what began and ended since. */
#include "stats.h"

#include "deployment.h"
#include "sandbox.h"

#include <stdlib.h>

#define SLICE_S 300
#define SLICES_MAX (7 * 24 * 3600 / SLICE_S)

struct slice {
    uint32_t at; /* slices since 1970 */
    uint32_t counts[STATS_KINDS];
};
struct stats {
    struct slice *slices; /* oldest first */
    size_t count;
};

static uint32_t slice_now(void) {
    return (uint32_t)(clock_wall_ms() / 1000 / SLICE_S);
}

void stats_note(struct stats **stats, enum stats_kind kind) {
    if (!*stats) *stats = NEW(struct stats);
    struct stats *one = *stats;
    const uint32_t now = slice_now();
    if (one->count == 0 ||
        one->slices[one->count - 1].at < now) { /* a clock that jumped back adds to the last */
        size_t old = 0;
        while (old < one->count &&
               (one->slices[old].at + SLICES_MAX <= now || one->count - old >= SLICES_MAX))
            old++;
        if (old > 0) memmove(one->slices, one->slices + old, (one->count - old) * sizeof *one->slices);
        one->count -= old;
        one->slices = mem_grow(one->slices, one->count + 1, sizeof *one->slices);
        one->slices[one->count++] = (struct slice){.at = now};
    }
    one->slices[one->count - 1].counts[kind]++;
}

void stats_free(struct stats *stats) {
    if (!stats) return;
    free(stats->slices);
    free(stats);
}

/* ---- what happens ---- */

static struct stats **of(struct function *function) {
    return function->base ? &function->base->stats : &function->stats;
}

void stats_call_done(struct function *function, bool succeeded) {
    if (function) stats_note(of(function), succeeded ? STATS_SUCCEEDED : STATS_FAILED);
}

void stats_task_begun(struct task *task) {
    if (task->function && !task->greeted && !task->builds) stats_note(of(task->function), STATS_BEGUN);
    task->greeted = true;
}

/* One that failed before it was ready began and broke at once; one that was only primed was nothing. */
void stats_task_ended(struct task *task, const char *text) {
    const bool by_us = strncmp(text, NODE_ENDED_IT, strlen(NODE_ENDED_IT)) == 0;
    const bool broken = task->exception || (!by_us && strcmp(text, "it exited with code 0") != 0 &&
                                            strncmp(text, "it exited with code 0;", 22) != 0);
    if (!task->function || task->builds || (!task->greeted && !broken)) return;
    stats_task_begun(task);
    stats_note(of(task->function), STATS_ENDED);
    if (broken) stats_note(of(task->function), STATS_BROKEN);
}

/* ---- asked ---- */

struct range {
    uint32_t from, to; /* slices; `to` is in it */
};
struct sums {
    uint64_t counts[STATS_KINDS];
    int64_t begun_later, ended_later; /* after its begin, to now */
    int64_t begun_after, ended_after; /* after its end, to now */
};

static void sum_up(const struct stats *stats, struct range range, struct sums *sums) {
    for (size_t i = 0; stats && i < stats->count; i++) {
        const struct slice *slice = &stats->slices[i];
        if (slice->at < range.from) continue;
        sums->begun_later += slice->counts[STATS_BEGUN];
        sums->ended_later += slice->counts[STATS_ENDED];
        if (slice->at > range.to) {
            sums->begun_after += slice->counts[STATS_BEGUN];
            sums->ended_after += slice->counts[STATS_ENDED];
            continue;
        }
        for (int kind = 0; kind < STATS_KINDS; kind++) sums->counts[kind] += slice->counts[kind];
    }
}

static uint64_t at_least_0(int64_t number) {
    return number > 0 ? (uint64_t)number : 0;
}

/* Those that were there at its begin, and those that came. */
static uint64_t active(const struct sums *sums, int64_t now) {
    return at_least_0(now - sums->begun_later + sums->ended_later) + sums->counts[STATS_BEGUN];
}

static int64_t containers_now(const struct function *function) {
    int64_t count = 0;
    void *value;
    for (size_t i = 0; table_next(function->app->modal->tasks, &i, NULL, &value);) {
        const struct task *task = value;
        const struct function *of = task->function;
        count += of && task->greeted && (of == function || of->base == function);
    }
    return count;
}

static Modal__AppFunctionCounts *counts_new(struct arena *arena) {
    Modal__AppFunctionCounts *counts = arena_alloc(arena, sizeof *counts);
    modal__app_function_counts__init(counts);
    counts->calls = arena_alloc(arena, sizeof *counts->calls);
    modal__app_call_counts__init(counts->calls);
    counts->containers = arena_alloc(arena, sizeof *counts->containers);
    modal__app_container_counts__init(counts->containers);
    counts->calls->has_total = counts->calls->has_succeeded = counts->calls->has_failed = true;
    counts->containers->has_container_errors = counts->containers->has_container_active_count = true;
    return counts;
}

static void counts_add(Modal__AppFunctionCounts *counts, const Modal__AppFunctionCounts *more) {
    counts->calls->total += more->calls->total;
    counts->calls->succeeded += more->calls->succeeded;
    counts->calls->failed += more->calls->failed;
    counts->containers->container_errors += more->containers->container_errors;
    counts->containers->container_active_count += more->containers->container_active_count;
}

static Modal__AppFunctionCounts *function_counts(const struct function *function, struct range range,
                                                 struct arena *arena) {
    struct sums sums = {0};
    Modal__AppFunctionCounts *counts = counts_new(arena);
    sum_up(function->stats, range, &sums);
    counts->calls->succeeded = sums.counts[STATS_SUCCEEDED];
    counts->calls->failed = sums.counts[STATS_FAILED];
    counts->calls->total = counts->calls->succeeded + counts->calls->failed;
    counts->containers->container_errors = sums.counts[STATS_BROKEN];
    counts->containers->container_active_count = active(&sums, containers_now(function));
    return counts;
}

static void functions_fill(const struct app *app, struct range range, struct arena *arena,
                           Modal__AppFunctionStatsGroup *group) {
    const char *name;
    void *value;
    group->total = counts_new(arena);
    group->by_name = arena_alloc(arena, (map_count(app->layout) + 1) * sizeof *group->by_name);
    for (size_t i = 0; map_next(app->layout, &i, &name, &value);) {
        const struct function *function = value;
        Modal__AppFunctionStatsGroupByNameEntry *entry = arena_alloc(arena, sizeof *entry);
        modal__app_function_stats_group_by_name_entry__init(entry);
        Modal__AppFunctionStats *stats = entry->value = arena_alloc(arena, sizeof *stats);
        modal__app_function_stats__init(stats);
        entry->key = (char *)name;
        stats->object_id = (char *)function->id;
        stats->counts = function_counts(function, range, arena);
        counts_add(group->total, stats->counts);
        group->by_name[group->n_by_name++] = entry;
    }
}

static void sandboxes_fill(const struct app *app, struct range range, Modal__AppSandboxCounts *counts) {
    struct sums sums = {0};
    int64_t now = 0;
    void *value;
    for (size_t i = 0; map_next(app->modal->sandboxes, &i, NULL, &value);) {
        const struct sandbox *sandbox = value;
        now += sandbox->app == app && sandbox->started_at > 0 && sandbox->finished_at == 0;
    }
    sum_up(app->sandbox_stats, range, &sums);
    counts->has_total = counts->has_finished = counts->has_live = true;
    counts->total = active(&sums, now);
    counts->finished = sums.counts[STATS_ENDED];
    counts->live = at_least_0(now - sums.begun_after + sums.ended_after);
}

static uint64_t deployments_in(const struct app *app, double since, double until) {
    uint64_t count = 0;
    for (size_t i = 0; i < app->deployment_count; i++)
        count += app->deployments[i]->deployed_at >= since && app->deployments[i]->deployed_at < until;
    return count;
}

static void app_stats(struct rpc *rpc, const void *message) {
    const Modal__AppGetTimeRangeStatsRequest *request = message;
    struct modal *modal = rpc->modal;
    const struct app *app = app_of(modal, request->app_id);
    const int64_t now = clock_wall_ms() / 1000;
    int64_t since = request->since ? request->since->seconds : now - 3600;
    int64_t until = request->until ? request->until->seconds : now;
    if (!app || since >= until) {
        rpc_fail(rpc, app ? error_new(ERROR_INVALID_ARGUMENT, "the time asked for ends before it begins")
                          : no_object("app", request->app_id));
        return;
    }
    if (since < (int64_t)modal->born_at) since = (int64_t)modal->born_at; /* before, nobody counted */
    if (since < now - SLICES_MAX * SLICE_S) since = now - SLICES_MAX * SLICE_S;
    if (until > now + 1) until = now + 1;
    if (until < since) until = since;
    struct range range = {(uint32_t)(since / SLICE_S), (uint32_t)((until - 1) / SLICE_S)};
    Modal__AppGetTimeRangeStatsResponse answer = MODAL__APP_GET_TIME_RANGE_STATS_RESPONSE__INIT;
    Modal__Timestamp from = MODAL__TIMESTAMP__INIT, to = MODAL__TIMESTAMP__INIT;
    Modal__AppFunctionStatsGroup functions = MODAL__APP_FUNCTION_STATS_GROUP__INIT;
    Modal__AppSandboxCounts sandboxes = MODAL__APP_SANDBOX_COUNTS__INIT;
    Modal__AppLifecycle lifecycle;
    from.has_seconds = to.has_seconds = answer.has_deployment_count = true;
    from.seconds = (int64_t)range.from * SLICE_S; /* what was counted, which is a little more */
    to.seconds = ((int64_t)range.to + 1) * SLICE_S;
    if (from.seconds < (int64_t)modal->born_at) from.seconds = (int64_t)modal->born_at;
    if (to.seconds > now + 1) to.seconds = now + 1;
    functions_fill(app, range, rpc_arena(rpc), &functions);
    sandboxes_fill(app, range, &sandboxes);
    app_lifecycle_fill(app, &lifecycle);
    answer.since = &from, answer.until = &to;
    answer.functions = &functions;
    answer.sandboxes = &sandboxes;
    answer.lifecycle = &lifecycle;
    answer.deployment_count = deployments_in(app, (double)since, (double)until);
    rpc_answer(rpc, &answer);
}

const struct rpc_method stats_methods[] = {
    {"AppGetTimeRangeStats", &modal__app_get_time_range_stats_request__descriptor, app_stats, 0},
    {0},
};
