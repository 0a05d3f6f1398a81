/* restore: calls that another daemon began, or that rest in the store.
 *
 * At the start those that are open come back: an input whose container lives on is at work there again, with
 * its slot; any other that has no output yet waits anew. One that rests comes back when somebody asks for
 * it. A client's request that was answered, or was about to be, is answered with the same when it comes
 * again. */
#include "callgraph.h"
#include "journal.h"
#include "rest.h"

#include <stdlib.h>

struct reading {
    struct call *call;
    struct arena *arena;              /* of the answers */
    Modal__FunctionMapResponse *told; /* to who made it */
    char *once;                       /* of the request whose inputs come now */
    struct arena *put_arena;
    Modal__FunctionPutInputsResponse put;
    struct input **by_seq; /* all, as they come: in order */
    size_t count, capacity;
};

/* ---- one call ---- */

static void add_told(struct arena *arena, Modal__FunctionPutInputsResponseItem ***items, size_t *count,
                     const struct input *input) {
    *items = mem_grow(*items, *count + 1, sizeof **items);
    (*items)[(*count)++] = call_input_told(input, arena);
}

/* A client brings inputs by one request after the other: only the last can come again. */
static void put_begin(struct reading *reading) {
    arena_free(reading->put_arena);
    reading->put_arena = arena_new();
    free(reading->put.inputs);
    modal__function_put_inputs_response__init(&reading->put);
    free(take(reading->once));
}

static void on_input(struct reading *reading, uint32_t seq, struct span value) {
    Modal__InputRecord *record = modal__input_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record || !record->id) {
        if (record) modal__input_record__free_unpacked(record, NULL);
        return;
    }
    struct call *call = reading->call;
    call->seq = seq;
    struct input *input =
        call_add(call, record->idx, (struct span){(const char *)record->input.data, record->input.len});
    id_restore(call->modal->inputs, input->id, record->id, input);
    if (reading->count == reading->capacity) {
        reading->capacity = reading->capacity ? 2 * reading->capacity : 16;
        reading->by_seq = mem_grow(reading->by_seq, reading->capacity, sizeof(struct input *));
    }
    reading->by_seq[reading->count++] = input;
    bool other = reading->once && (!record->once || strcmp(record->once, reading->once) != 0);
    if (other) put_begin(reading);
    input->piped = !record->once;
    input_noted(input);
    if (record->once && !reading->once) reading->once = mem_string(record->once);
    if (record->once)
        add_told(reading->put_arena, &reading->put.inputs, &reading->put.n_inputs, input);
    else
        add_told(reading->arena, &reading->told->pipelined_inputs, &reading->told->n_pipelined_inputs, input);
    modal__input_record__free_unpacked(record, NULL);
}

static void on_run(struct input *input, struct span value) {
    Modal__RunRecord *record = modal__run_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record) return;
    if (record->container) input->worked_by = record->container;
    if (input->state == INPUT_DONE) {
        modal__run_record__free_unpacked(record, NULL);
        return;
    }
    input->container = record->container;
    input->poll = record->poll;
    input->retry_count = record->retry_count;
    input->losses = record->losses;
    input->due_at = record->due_at;
    input->started_at = record->started_at;
    modal__run_record__free_unpacked(record, NULL);
}

static void on_output(struct input *input, struct span value) {
    Modal__OutputRecord *record = modal__output_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record) return;
    input->state = INPUT_DONE;
    input_result_set(input, (struct span){(const char *)record->result.data, record->result.len});
    input_result_noted(input);
    input->result_format = record->format;
    input->status = record->status;
    input->started_at = record->started_at;
    input->output_at = record->output_at;
    input->retry_count = record->retry_count;
    input->output_number = record->number;
    modal__output_record__free_unpacked(record, NULL);
}

static int by_seq(const void *key, const void *element) {
    uint32_t seq = *(const uint32_t *)key, other = (*(struct input *const *)element)->seq;
    return seq < other ? -1 : seq > other;
}

static void on_kin(struct call *root, const char *call_id, struct span value) {
    Modal__KinRecord *record = modal__kin_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record) return;
    callgraph_child_restored(root, call_id, record);
    modal__kin_record__free_unpacked(record, NULL);
}

/* ID/PSEQ: inputs come before outputs and runs. */
static bool on_part(void *owner, const char *key, struct span value) {
    struct reading *reading = owner;
    const char *part = strchr(key, '/');
    if (part && part[1] == 'k') on_kin(reading->call, part + 2, value);
    if (part && part[1] == 'k') return true;
    char *end = NULL;
    unsigned long seq = part && part[1] ? strtoul(part + 2, &end, 16) : 0;
    if (!end || *end) return true;
    if (part[1] == 'i') {
        on_input(reading, (uint32_t)seq, value);
        return true;
    }
    uint32_t number = (uint32_t)seq;
    struct input **found =
        reading->count ? bsearch(&number, reading->by_seq, reading->count, sizeof(struct input *), by_seq)
                       : NULL;
    if (found && part[1] == 'o') on_output(*found, value);
    if (found && part[1] == 'r') on_run(*found, value);
    return true;
}

static int by_number(const void *a, const void *b) {
    uint64_t left = (*(struct input *const *)a)->output_number,
             right = (*(struct input *const *)b)->output_number;
    return left < right ? -1 : left > right;
}

static void outputs_in_order(struct call *call, struct input **inputs, size_t count) {
    if (count > 0) qsort(inputs, count, sizeof(struct input *), by_number);
    call->input_count += call->gone;
    call->done_count = call->gone;
    if (call->outputs_made < call->gone) call->outputs_made = call->gone;
    for (size_t i = 0; i < count; i++) {
        struct input *input = inputs[i];
        if (input->state != INPUT_DONE) continue;
        list_append(&call->outputs, &input->done);
        call->done_count++;
        stream_generator_done(call, input);
        if (input->output_number > call->outputs_made) call->outputs_made = input->output_number;
    }
}

static struct call *call_made(struct modal *modal, const char *id, const Modal__CallRecord *record) {
    struct call *call = call_new(modal, function_of(modal, record->function_id), (int)record->type);
    id_restore(modal->calls, call->id, id, call);
    id_set(call->function_id, record->function_id);
    id_set(call->app_id, record->app_id);
    call_invocation_set(call, (int)record->invocation);
    call->created_at = record->created_at;
    call->gone = record->gone;
    call->outputs_made = record->number;
    call->once = mem_string(record->once);
    id_set(call->root_id, record->root);
    call->rested_at = record->rested_at;
    call->kept = call->restored = true;
    return call;
}

static struct error *read_call(struct modal *modal, const char *id, struct call **ret) {
    scoped_text struct text bytes = {0};
    bool found = false;
    *ret = NULL;
    TRY_PLAIN(store_record_get(modal->store, JOURNAL_CALLS, id, &bytes, &found));
    Modal__CallRecord *record =
        found ? modal__call_record__unpack(NULL, bytes.size, (const uint8_t *)bytes.data) : NULL;
    if (!record) return NULL;
    scoped(arena) struct arena *arena = arena_new();
    struct reading reading = {.call = call_made(modal, id, record), .arena = arena};
    modal__call_record__free_unpacked(record, NULL);
    put_begin(&reading);
    reading.told = call_told(reading.call, arena);
    scoped_string char *prefix = mem_printf("%s/", id);
    struct error *error = store_records_read(
        modal->store, &(struct store_range){.kind = JOURNAL_CALLS, .prefix = prefix}, on_part, &reading);
    if (reading.once && *reading.once) rpc_reply_restore(modal, reading.once, &reading.put);
    put_begin(&reading);
    arena_free(reading.put_arena);
    if (reading.call->once) rpc_reply_restore(modal, reading.call->once, reading.told);
    free(reading.told->pipelined_inputs);
    outputs_in_order(reading.call, reading.by_seq, reading.count);
    free(reading.by_seq);
    callgraph_restored(reading.call);
    *ret = reading.call;
    rest_due(modal);
    return error;
}

struct call *call_of(struct modal *modal, const char *id) {
    struct call *call = id ? map_get(modal->calls, span_of(id)) : NULL;
    if (call || !id || strncmp(id, "fc-", 3) != 0 || strchr(id, '/') || strlen(id) >= ID_MAX) return call;
    scoped(error) struct error *error = read_call(modal, id, &call);
    if (!error) return call;
    scoped_string char *text = error_text(error);
    log_error("modal", "the call %s can't be read: %s", id, text);
    return call;
}

/* ---- all that are open ---- */

static void on_bound(void *owner, const char *key, struct span value) {
    (void)key;
    Modal__BoundRecord *record = modal__bound_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record) return;
    function_bound_restore(owner, record);
    modal__bound_record__free_unpacked(record, NULL);
}

static void bound_to_pool(struct modal *modal) {
    void *value, *function;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) {
        struct app *app = value;
        bool bound = false;
        for (size_t j = 0; map_next(app->functions, &j, NULL, &function);)
            bound = bound || ((struct function *)function)->base;
        scoped(error) struct error *error = bound && app->in_pool ? app_to_pool(app) : NULL;
        if (!error) continue;
        scoped_string char *text = error_text(error);
        log_error("modal", "functions with parameters of the app %s are not served: %s", app->name, text);
    }
}

static bool on_open(void *owner, const char *key, struct span value) {
    (void)value;
    struct text *ids = owner;
    text_add(ids, (struct span){key, strlen(key) + 1});
    return true;
}

struct error *calls_load(struct modal *modal) {
    TRY_PLAIN(store_records_load(modal->store, JOURNAL_BOUND, on_bound, modal));
    bound_to_pool(modal);
    scoped_text struct text ids = {0};
    TRY_PLAIN(store_records_read(modal->store, &(struct store_range){.kind = JOURNAL_OPEN, .keys_only = true},
                                 on_open, &ids));
    size_t inputs = 0, outputs = 0;
    for (size_t i = 0; i < ids.size; i += strlen(ids.data + i) + 1) {
        struct call *call = NULL;
        TRY_PLAIN(read_call(modal, ids.data + i, &call));
        if (!call) continue;
        inputs += call->input_count - call->done_count;
        outputs += call->done_count - call->gone;
    }
    if (inputs + outputs > 0)
        log_info("modal", "of the daemon before, %zu inputs are to be worked on and %zu results to be told",
                 inputs, outputs);
    return NULL;
}

static void resume(struct input *input) {
    struct call *call = input->call;
    struct task *task = input->container ? task_of_container(call->modal, input->container) : NULL;
    uint64_t container = input->container;
    input->container = 0;
    if (!call->function || !function_definition(call->function)) {
        input_fail(input,
                   MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_TERMINATED,
                   "its app ended with the daemon that ran it");
    } else if (task && task->function == call->function) {
        input_resume(input, task);
    } else if (container) { /* gone with that daemon */
        input->task = NULL;
        input->resumed = true;
        input->state = INPUT_RUNNING;
        input_lost(input, "catnap ended while it worked, and so did its container");
    } else if (input->due_at > 0) {
        input_retry_at(input, input->due_at);
    } else {
        input_enqueue(input);
    }
}

static int by_age(const void *a, const void *b) {
    const struct call *left = *(struct call *const *)a, *right = *(struct call *const *)b;
    if (left->created_at != right->created_at) return left->created_at < right->created_at ? -1 : 1;
    return strcmp(left->id, right->id);
}

/* First what is at work, so that its slots are not given to others. */
static void resume_all(struct call *const *calls, size_t count, bool at_work) {
    for (size_t i = 0; i < count; i++) LIST_EACH(node, &calls[i]->inputs) {
            struct input *input = CONTAINER_OF(node, struct input, node);
            bool here = input->container && task_of_container(calls[i]->modal, input->container);
            if (input->state == INPUT_QUEUED && list_empty(&input->queue) && !input->retry && here == at_work)
                resume(input);
        }
}

void calls_resume(struct modal *modal) {
    size_t count = 0;
    struct call **calls = mem_array(map_count(modal->calls) + 1, sizeof(struct call *));
    void *value;
    for (size_t i = 0; map_next(modal->calls, &i, NULL, &value);) {
        struct call *call = value;
        if (call->restored) calls[count++] = call;
    }
    qsort(calls, count, sizeof(struct call *), by_age);
    resume_all(calls, count, true);
    resume_all(calls, count, false);
    free(calls);
}
