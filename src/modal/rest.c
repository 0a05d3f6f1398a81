/* rest: when calls leave memory, and when the store.
 *
 * done, its client has all --GOES_AFTER_MS--> gone: so long its answer may be asked for anew
 * done, nobody asked for REST_AFTER_MS --> at rest: in the store only, read again when somebody asks
 * at rest for KEPT_S --> gone
 *
 * A call with work before it stays in memory: how much that may be is bounded where it comes in. */
#include "rest.h"

#include "journal.h"

#include <stdlib.h>

#define EVERY_MS 10000
#define GOES_AFTER_MS 10000
#define REST_AFTER_MS 60000
#define REST_OF_GRAPH_MS 3600000 /* who called whom is known in memory only */
#define COLLECTED_MAX 4096
#define KEPT_S (7 * 86400) /* as Modal keeps results */
#define SWEEP_MAX 20000    /* calls in one sweep */

static bool somebody_is_there(const struct call *call) {
    return !list_empty(&call->waiters) || !list_empty(&call->out.readers);
}

static void goes(struct call *call) {
    call->modal->collected_count -= call->collected;
    journal_forget(call);
    call_free(call);
}

void call_unwanted(struct call *call) {
    struct modal *modal = call->modal;
    call->unwanted = call->kept;
    if (!call->kept || call->collected || call->done_count < call->input_count) return;
    call->collected = true;
    call->asked_ms = clock_monotonic_ms();
    list_append(&modal->collected, &call->node);
    if (++modal->collected_count <= COLLECTED_MAX) return;
    struct call *oldest = CONTAINER_OF(modal->collected.next, struct call, node);
    if (!somebody_is_there(oldest)) goes(oldest);
}

void call_wanted_again(struct call *call) {
    call->unwanted = false;
    call->modal->collected_count -= call->collected;
    call->collected = false;
    list_remove(&call->node);
}

static void look(struct call *call, int64_t now_ms) {
    if (!call->kept || somebody_is_there(call) || call->done_count < call->input_count) return;
    if (call->collected && now_ms - call->asked_ms >= GOES_AFTER_MS) {
        goes(call);
    } else if (!call->collected &&
               now_ms - call->asked_ms >= (call->kin ? REST_OF_GRAPH_MS : REST_AFTER_MS)) {
        journal_rest(call);
        call_free(call);
    }
}

static void on_time(void *owner) {
    struct modal *modal = owner;
    int64_t now_ms = clock_monotonic_ms();
    size_t count = 0;
    struct call **calls = mem_array(map_count(modal->calls) + 1, sizeof(struct call *));
    void *value;
    for (size_t i = 0; map_next(modal->calls, &i, NULL, &value);) calls[count++] = value;
    for (size_t i = 0; i < count; i++) look(calls[i], now_ms);
    free(calls);
    if (map_count(modal->calls) > 0) io_timer_arm(modal->resting, EVERY_MS);
}

void rest_due(struct modal *modal) {
    if (!io_timer_armed(modal->resting)) io_timer_arm(modal->resting, EVERY_MS);
}

void rest_open(struct modal *modal) {
    list_init(&modal->collected);
    modal->resting = io_timer_new(modal->loop, on_time, modal);
}

void rest_close(struct modal *modal) {
    io_timer_free(modal->resting);
}

/* ---- those that rested long enough ---- */

struct old {
    struct modal *modal;
    char before[JOURNAL_KEY_MAX]; /* the first key that may stay */
    struct text keys;             /* each ended by a NUL */
};

static bool on_rested(void *owner, const char *key, struct span value) {
    (void)value;
    struct old *old = owner;
    if (strcmp(key, old->before) >= 0) return false;
    text_add(&old->keys, (struct span){key, strlen(key) + 1});
    return true;
}

void rested_sweep(struct modal *modal) {
    struct old old = {.modal = modal};
    double before_s = now_s() - KEPT_S;
    snprintf(old.before, sizeof old.before, JOURNAL_TIME, (unsigned long long)(before_s > 0 ? before_s : 0));
    scoped(error) struct error *error = store_records_read(
        modal->store, &(struct store_range){.kind = JOURNAL_DONE, .limit = SWEEP_MAX, .keys_only = true},
        on_rested, &old);
    if (error) {
        scoped_string char *text = error_text(error);
        log_error("modal", "old results stay: %s", text);
    }
    for (size_t i = 0; i < old.keys.size; i += strlen(old.keys.data + i) + 1) {
        const char *key = old.keys.data + i, *slash = strchr(key, '/');
        if (!slash) continue;
        struct call *call = map_get(modal->calls, span_of(slash + 1));
        journal_forget_rested(modal, key);
        if (!call)
            journal_forget_id(modal, slash + 1);
        else if (call->rested_at == 0)
            continue; /* at work again */
        else
            goes(call);
    }
    text_done(&old.keys);
}
