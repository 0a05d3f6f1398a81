/* calllog: which lines of the log are one call's: those that a container wrote while it worked on one of its
 * inputs. Of a retried one the last run is known. A container that works on several at once does not say
 * which of them wrote: its lines are all theirs.
 *
 * Spans of time are gathered from the call as it is, and anew when a line is later than that. */
#include "calllog.h"

#include "journal.h"
#include "logs.h"

#include <stdlib.h>

#define LATE_MS 100 /* what was written last is read, and so gets its time, a moment after it */

struct span_of_time {
    uint64_t container;
    int64_t from_ms, to_ms;
    char input_id[ID_MAX];
};
struct calllog {
    struct modal *modal;
    char call_id[ID_MAX], app_id[ID_MAX];
    struct span_of_time *spans; /* by container and start */
    size_t count;
    int64_t gathered_ms; /* wall */
};

static int by_start(const void *a, const void *b) {
    const struct span_of_time *one = a, *other = b;
    if (one->container != other->container) return one->container < other->container ? -1 : 1;
    return (one->from_ms > other->from_ms) - (one->from_ms < other->from_ms);
}

/* The last one that began by then. */
static struct span_of_time *span_at(const struct calllog *calllog, uint64_t container, int64_t ms) {
    size_t low = 0, high = calllog->count;
    const struct span_of_time wanted = {.container = container, .from_ms = ms};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_start(&calllog->spans[middle], &wanted) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct span_of_time *span = low > 0 ? &calllog->spans[low - 1] : NULL;
    return span && span->container == container ? span : NULL;
}

/* What the container wrote when it had begun with another call's is that one's. */
static void cut(const struct calllog *calllog, const struct call *call) {
    void *value;
    for (size_t i = 0; map_next(calllog->modal->inputs, &i, NULL, &value);) {
        const struct input *other = value;
        if (other->call == call || !other->worked_by || other->started_at <= 0) continue;
        int64_t began_ms = (int64_t)(other->started_at * 1000);
        struct span_of_time *span = span_at(calllog, other->worked_by, began_ms);
        if (span && span->to_ms >= began_ms && span->to_ms <= began_ms + LATE_MS) span->to_ms = began_ms - 1;
    }
}

static void gather(struct calllog *calllog, const struct call *call) {
    free(calllog->spans);
    calllog->count = 0;
    calllog->spans = mem_array(call->input_count + 1, sizeof *calllog->spans);
    calllog->gathered_ms = clock_wall_ms();
    LIST_EACH(node, &call->inputs) {
        const struct input *input = CONTAINER_OF(node, struct input, node);
        if (!input->worked_by || input->started_at <= 0 || calllog->count == call->input_count) continue;
        struct span_of_time *span = &calllog->spans[calllog->count++];
        bool done = input->state == INPUT_DONE;
        span->container = input->worked_by;
        span->from_ms = (int64_t)(input->started_at * 1000);
        span->to_ms = done ? (int64_t)(input->output_at * 1000) + LATE_MS : INT64_MAX;
        id_set(span->input_id, input->id);
    }
    qsort(calllog->spans, calllog->count, sizeof *calllog->spans, by_start);
    cut(calllog, call);
}

struct error *calllog_new(struct modal *modal, const char *call_id, struct calllog **ret) {
    const struct call *call = call_of(modal, call_id);
    if (!call) return no_object("function call", call_id);
    struct calllog *calllog = *ret = NEW(struct calllog);
    calllog->modal = modal;
    id_set(calllog->call_id, call->id);
    id_set(calllog->app_id, call->app_id);
    gather(calllog, call);
    return NULL;
}

void calllog_free(struct calllog *calllog) {
    if (!calllog) return;
    free(calllog->spans);
    free(calllog);
}

const char *calllog_call_id(const struct calllog *calllog) {
    return calllog->call_id;
}

const char *calllog_app_id(const struct calllog *calllog) {
    return calllog->app_id;
}

bool calllog_has(struct calllog *calllog, const struct logs_line *line, const char **ret_input_id) {
    const struct call *call = line->wall_ms >= calllog->gathered_ms
                                  ? map_get(calllog->modal->calls, span_of(calllog->call_id))
                                  : NULL;
    if (call) gather(calllog, call);
    uint64_t container = 0;
    if (!span_to_u64(span_of(line->container), &container)) return false;
    const struct span_of_time *span = span_at(calllog, container, line->wall_ms);
    if (!span || line->wall_ms > span->to_ms) return false;
    *ret_input_id = span->input_id;
    return true;
}
