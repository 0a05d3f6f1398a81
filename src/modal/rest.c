/* rest: when calls leave memory, and when the store.
 *
 * done, its client has all --GOES_AFTER_MS--> gone: so long its answer may be asked for anew
 * done, nobody asked for REST_AFTER_MS --> at rest: in the store only, read again when somebody asks
 * at rest for KEPT_S, or RESTED_MAX others since --> gone
 *
 * A call with work before it stays in memory: how much that may be is bounded where it comes in. */
#include "rest.h"

#include "journal.h"

#include <stdlib.h>

#define EVERY_MS 10000
#define GOES_AFTER_MS 10000
#define REST_AFTER_MS 60000
#define READS_ON_MS 3600000 /* who goes through a generator's values may take its time for each */
#define COLLECTED_MAX 4096
#define KEPT_S (7 * 86400) /* as Modal keeps results */
#define RESTED_MAX 1000000
#define SWEEP_MAX 20000 /* that go in one sweep; after so many more the next one comes at once */
#define SWEEP_ON_MS 1000
#define PORTION 1000 /* looked at in one round of the loop */

struct rest {
    struct modal *modal;
    struct io_timer *looks;
    struct list collected; /* calls that go in a moment, by time */
    size_t collected_count;
    /* A sweep under way: */
    struct io_timer *sweeps;
    size_t since;               /* that went to rest since the last one */
    struct text keys;           /* of those that rest, the oldest SWEEP_MAX, each ended by a NUL */
    char last[JOURNAL_KEY_MAX]; /* that was looked at */
    size_t count, portion;
};

static bool somebody_is_there(const struct call *call) {
    return !list_empty(&call->waiters) || !list_empty(&call->out.readers);
}

static void goes(struct call *call) {
    call->modal->rest->collected_count -= call->collected;
    journal_forget(call);
    call_free(call);
}

void call_unwanted(struct call *call) {
    struct rest *rest = call->modal->rest;
    call->unwanted = call->kept;
    if (!call->kept || call->collected || call->done_count < call->input_count) return;
    call->collected = true;
    call->asked_ms = clock_monotonic_ms();
    list_append(&rest->collected, &call->node);
    if (++rest->collected_count <= COLLECTED_MAX) return;
    struct call *oldest = CONTAINER_OF(rest->collected.next, struct call, node);
    if (!somebody_is_there(oldest) && !oldest->out.read_on) goes(oldest);
}

void call_wanted_again(struct call *call) {
    call->unwanted = false;
    call->modal->rest->collected_count -= call->collected;
    call->collected = false;
    list_remove(&call->node);
}

static int64_t patience_ms(const struct call *call) {
    if (call->out.read_on) return READS_ON_MS;
    if (call->collected) return GOES_AFTER_MS;
    if (!list_empty(&call->out.chunks)) return READS_ON_MS;
    return REST_AFTER_MS;
}

static void look(struct call *call, int64_t now_ms) {
    if (call->kept && call->unsure) {
        journal_again(call);
        return;
    }
    if (!call->kept || somebody_is_there(call) || call->done_count < call->input_count) return;
    if (now_ms - call->asked_ms < patience_ms(call)) return;
    if (call->collected)
        goes(call);
    else if (call->rested_at > 0)
        call_free(call);
    else { /* it goes with the next look: what is read again was written then */
        journal_rest(call);
        call->modal->rest->since++;
    }
}

static void on_time(void *owner) {
    struct rest *rest = owner;
    struct modal *modal = rest->modal;
    int64_t now_ms = clock_monotonic_ms();
    size_t count = 0;
    struct call **calls = mem_array(map_count(modal->calls) + 1, sizeof(struct call *));
    void *value;
    for (size_t i = 0; map_next(modal->calls, &i, NULL, &value);) calls[count++] = value;
    for (size_t i = 0; i < count; i++) look(calls[i], now_ms);
    free(calls);
    if (rest->since >= SWEEP_MAX) rested_sweep(modal);
    if (map_count(modal->calls) > 0) io_timer_arm(rest->looks, EVERY_MS);
}

void rest_due(struct modal *modal) {
    struct rest *rest = modal->rest;
    if (!io_timer_armed(rest->looks)) io_timer_arm(rest->looks, EVERY_MS);
}

/* ---- those that rested long enough ---- */

static void forget_rested(struct modal *modal, const char *key) {
    const char *slash = strchr(key, '/');
    if (!slash) return;
    struct call *call = map_get(modal->calls, span_of(slash + 1));
    journal_forget_rested(modal, key);
    if (!call)
        journal_forget_id(modal, slash + 1);
    else if (call->rested_at > 0) /* else it is at work again */
        goes(call);
}

static void sweep_ends(struct rest *rest) {
    char before[JOURNAL_KEY_MAX]; /* the first key that is young enough */
    snprintf(before, sizeof before, JOURNAL_TIME, (unsigned long long)(now_s() - KEPT_S));
    size_t too_many = rest->count > RESTED_MAX ? rest->count - RESTED_MAX : 0, n = 0;
    for (size_t i = 0; i < rest->keys.size; i += strlen(rest->keys.data + i) + 1, n++) {
        if (strcmp(rest->keys.data + i, before) >= 0 && n >= too_many) break;
        forget_rested(rest->modal, rest->keys.data + i);
    }
    bool more = n >= SWEEP_MAX && !journal_fails(rest->modal);
    if (more) io_timer_arm(rest->sweeps, SWEEP_ON_MS);
    text_done(&rest->keys);
    rest->count = 0;
    *rest->last = '\0';
}

static bool on_rested(void *owner, const char *key, struct span value) {
    (void)value;
    struct rest *rest = owner;
    if (rest->count++ < SWEEP_MAX) text_add(&rest->keys, (struct span){key, strlen(key) + 1});
    snprintf(rest->last, sizeof rest->last, "%s", key);
    rest->portion++;
    return true;
}

static void sweep_on(void *owner) {
    struct rest *rest = owner;
    rest->portion = rest->since = 0;
    scoped(error) struct error *error = store_records_read(
        rest->modal->store,
        &(struct store_range){.kind = JOURNAL_DONE, .after = rest->last, .limit = PORTION, .keys_only = true},
        on_rested, rest);
    if (error) {
        scoped_string char *text = error_text(error);
        log_error("modal", "old results stay: %s", text);
    }
    if (!error && rest->portion == PORTION)
        io_timer_arm(rest->sweeps, 0);
    else
        sweep_ends(rest);
}

void rested_sweep(struct modal *modal) {
    if (!io_timer_armed(modal->rest->sweeps)) io_timer_arm(modal->rest->sweeps, 0);
}

void rest_open(struct modal *modal) {
    struct rest *rest = modal->rest = NEW(struct rest);
    rest->modal = modal;
    list_init(&rest->collected);
    rest->looks = io_timer_new(modal->loop, on_time, rest);
    rest->sweeps = io_timer_new(modal->loop, sweep_on, rest);
}

void rest_close(struct modal *modal) {
    struct rest *rest = take(modal->rest);
    io_timer_free(rest->looks);
    io_timer_free(rest->sweeps);
    text_done(&rest->keys);
    free(rest);
}
