/* call: work asked of a function: its inputs, and their outputs as they come.
 *
 * Outputs of a map are given in the order in which they were done, each once: the client says by
 * `last_entry_id` how far it has come, and what lies before that is forgotten. Those of other calls stay
 * until the call goes (rest.c). Who asked is answered when what was asked is noted (journal.c). */
#include "callgraph.h"
#include "journal.h"
#include "rest.h"

#include <stdlib.h>

#define OUTPUTS_AT_ONCE 49
#define TRACED_MAX 5000 /* as callgraph.c tells of */
#define OUTPUTS_BYTES (8 << 20)
#define HOLD_MAX_MS 300000
#define GATHER_MS 10
#define QUEUED_MAX 100000                   /* inputs of a function */
#define QUEUED_BYTES_MAX (INT64_C(4) << 30) /* and their arguments, which are on the disk */
#define INPUT_BYTES_MAX (16 << 20)

struct call *call_new(struct modal *modal, struct function *function, int type) {
    struct call *call = NEW(struct call);
    scoped_string char *id = random_id("fc");
    id_set(call->id, id);
    call->modal = modal;
    call->function = function;
    if (function) id_set(call->function_id, function->id), id_set(call->app_id, function->app->id);
    call->type = type;
    call->created_at = now_s();
    call->asked_ms = clock_monotonic_ms();
    list_init(&call->inputs);
    list_init(&call->outputs);
    list_init(&call->waiters);
    stream_init(&call->in, NULL);
    stream_init(&call->out, modal);
    list_init(&call->node);
    list_init(&call->choked);
    map_put(modal->calls, span_of(call->id), call);
    return call;
}

void call_invocation_set(struct call *call, int invocation) {
    enum {
        ASYNC = MODAL__FUNCTION_CALL_INVOCATION_TYPE__FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
        ASYNC_LEGACY = MODAL__FUNCTION_CALL_INVOCATION_TYPE__FUNCTION_CALL_INVOCATION_TYPE_ASYNC_LEGACY,
    };
    call->invocation = invocation;
    call->asked_async = invocation == ASYNC || invocation == ASYNC_LEGACY;
}

void call_free(struct call *call) {
    callgraph_gone(call);
    while (!list_empty(&call->inputs)) input_free(CONTAINER_OF(call->inputs.next, struct input, node));
    rpc_held_end(&call->waiters, ERROR_NOT_FOUND, "the call is gone");
    rpc_held_end(&call->in.readers, ERROR_NOT_FOUND, "the call is gone");
    rpc_held_end(&call->out.readers, ERROR_NOT_FOUND, "the call is gone");
    call_out_drained(call);
    stream_done(&call->in);
    stream_done(&call->out);
    list_remove(&call->node);
    map_remove(call->modal->calls, span_of(call->id));
    free(call->once);
    free(call);
}

struct input *call_add(struct call *call, int32_t idx, struct span bytes) {
    struct input *input = NEW(struct input);
    scoped_string char *id = random_id("in");
    id_set(input->id, id);
    input->call = call;
    input->seq = call->seq++;
    input->idx = idx;
    input_bytes_set(input, bytes);
    list_init(&input->queue);
    list_init(&input->done);
    list_init(&input->mates);
    list_append(&call->inputs, &input->node);
    call->input_count++;
    map_put(call->modal->inputs, span_of(input->id), input);
    return input;
}

void call_cancel(struct call *call, bool terminate, const char *why) {
    LIST_EACH_SAFE(node, next, &call->inputs) {
        struct input *input = CONTAINER_OF(node, struct input, node);
        if (input->state == INPUT_DONE) continue;
        struct task *task = input->state == INPUT_RUNNING ? input->task : NULL;
        if (task && !terminate) task_cancel_input(task, input);
        if (task && terminate) pool_container_kill(call->modal->pool, task->container);
        bool is_last = call->on_done != NULL; /* it has one, and may be gone with it */
        input_fail(input,
                   MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_TERMINATED,
                   why);
        if (is_last) return;
    }
}

void calls_function_gone(struct function *function) {
    struct modal *modal = function->app->modal;
    void *value;
    for (size_t i = 0; map_next(modal->calls, &i, NULL, &value);) {
        struct call *call = value;
        if (!call->kept || call->function != function) continue;
        LIST_EACH(node, &call->inputs) input_withdraw(CONTAINER_OF(node, struct input, node));
        call->function = NULL;
        LIST_EACH(node, &call->inputs)
        input_fail(CONTAINER_OF(node, struct input, node),
                   MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_TERMINATED,
                   "its app was stopped");
    }
}

/* ---- asking for work ---- */

static struct error *function_for(struct rpc *rpc, const char *id, struct function **ret) {
    struct function *function = function_of(rpc->modal, id);
    if (!function || !function_definition(function)) return no_object("function", id);
    if (rpc->task && rpc->task->function && rpc->task->function->app != function->app &&
        function->app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED)
        return error_new(ERROR_PERMISSION_DENIED, "the function %s is of another app that is not deployed",
                         id);
    if (function->app->state == MODAL__APP_STATE__APP_STATE_STOPPED)
        return error_new(ERROR_FAILED_PRECONDITION, "the app %s was stopped", function->app->name);
    *ret = function;
    return NULL;
}

static struct error *room_for(const struct function *function) {
    if (function->queued > QUEUED_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%d inputs wait already; these are taken later",
                         QUEUED_MAX);
    if (function->queued_bytes <= QUEUED_BYTES_MAX) return NULL;
    return error_new(ERROR_RESOURCE_EXHAUSTED, "%zu MiB of arguments wait already; these are taken later",
                     function->queued_bytes >> 20);
}

/* A request for work whose answer waits until the work is noted. */
struct keeping { /* in the request's arena */
    const void *answer;
    char call_id[ID_MAX];
    uint32_t from, to; /* inputs that came with it */
    bool made;         /* the call too */
};

static Modal__FunctionPutInputsResponseItem **add_inputs(struct rpc *rpc, struct call *call,
                                                         Modal__FunctionPutInputsItem **items, size_t count,
                                                         const char *once) {
    struct arena *arena = rpc_arena(rpc);
    Modal__FunctionPutInputsResponseItem **made = arena_alloc(arena, (count + 1) * sizeof *made);
    for (size_t i = 0; i < count; i++) {
        Modal__FunctionInput empty = MODAL__FUNCTION_INPUT__INIT;
        scoped_text struct text bytes = message_pack(items[i]->input ? items[i]->input : &empty);
        struct input *input = call_add(call, items[i]->idx, text_span(&bytes));
        input->piped = !once;
        journal_input(input, once);
        made[i] = call_input_told(input, arena);
    }
    return made;
}

/* Who goes away trusts that it is noted: else it is not done either, and its client told so. */
static void withdraw(struct modal *modal, const struct keeping *keeping) {
    struct call *call = map_get(modal->calls, span_of(keeping->call_id));
    if (!call) return;
    LIST_EACH_SAFE(node, next, &call->inputs) {
        struct input *input = CONTAINER_OF(node, struct input, node);
        if (input->seq < keeping->from || input->seq >= keeping->to) continue;
        if (input->state == INPUT_RUNNING && input->task) task_cancel_input(input->task, input);
        call->done_count -= input->state == INPUT_DONE;
        call->input_count--;
        journal_given(call, input);
        input_free(input);
    }
    if (!keeping->made) return;
    journal_forget(call);
    call_free(call);
}

static void inputs_noted(const struct call *call, const struct keeping *keeping) {
    for (struct list *node = call->inputs.prev; node != &call->inputs; node = node->prev) {
        struct input *input = CONTAINER_OF(node, struct input, node);
        if (input->seq < keeping->from) break;
        if (input->seq < keeping->to) input_noted(input);
    }
}

static void on_kept(struct rpc *rpc, struct error *error) {
    const struct keeping *keeping = rpc->owner;
    const struct call *call = map_get(rpc->modal->calls, span_of(keeping->call_id));
    if (call && !error) inputs_noted(call, keeping);
    if (!error || (call && !call->asked_async)) { /* who waits has its result all the same */
        journal_failed(rpc->modal, error);
        rpc_answer(rpc, keeping->answer);
        return;
    }
    withdraw(rpc->modal, keeping);
    rpc_fail(rpc, error_wrap(error, "this call"));
}

/* A container may have it before it is noted; it is given it after, since notes keep their order. */
static void keep(struct rpc *rpc, struct call *call, uint32_t from, bool made, const void *answer) {
    struct keeping *keeping = arena_alloc(rpc_arena(rpc), sizeof *keeping);
    *keeping = (struct keeping){.answer = answer, .from = from, .to = call->seq, .made = made};
    id_set(keeping->call_id, call->id);
    rpc->owner = keeping;
    journal_settle(rpc, on_kept);
    struct list *first = &call->inputs;
    while (first->prev != &call->inputs && CONTAINER_OF(first->prev, struct input, node)->seq >= from)
        first = first->prev;
    for (; first != &call->inputs; first = first->next)
        input_enqueue(CONTAINER_OF(first, struct input, node));
}

Modal__FunctionPutInputsResponseItem *call_input_told(const struct input *input, struct arena *arena) {
    Modal__FunctionPutInputsResponseItem *item = arena_alloc(arena, sizeof *item);
    modal__function_put_inputs_response_item__init(item);
    item->has_idx = true;
    item->idx = input->idx;
    item->input_id = item->input_jwt = arena_text(arena, input->id);
    return item;
}

Modal__FunctionMapResponse *call_told(const struct call *call, struct arena *arena) {
    Modal__FunctionMapResponse *answer = arena_alloc(arena, sizeof *answer);
    modal__function_map_response__init(answer);
    answer->function_call_id = answer->function_call_jwt = arena_text(arena, call->id);
    if (call->function) answer->retry_policy = (Modal__FunctionRetryPolicy *)function_retries(call->function);
    answer->has_sync_client_retries_enabled = answer->has_max_inputs_outstanding = true;
    answer->max_inputs_outstanding = 1000;
    return answer;
}

static void map(struct rpc *rpc, const void *message) {
    const Modal__FunctionMapRequest *request = message;
    struct function *function = NULL;
    struct error *error = function_for(rpc, request->function_id, &function);
    if (!error) error = room_for(function);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct call *call = call_new(rpc->modal, function, (int)request->function_call_type);
    call_invocation_set(call, (int)request->function_call_invocation_type);
    callgraph_made(call, rpc->task, request->parent_input_id);
    journal_call(call, rpc->once);
    Modal__FunctionMapResponse *answer = call_told(call, rpc_arena(rpc));
    answer->n_pipelined_inputs = request->n_pipelined_inputs;
    answer->pipelined_inputs =
        add_inputs(rpc, call, request->pipelined_inputs, request->n_pipelined_inputs, NULL);
    keep(rpc, call, 0, true, answer);
}

static struct call *asked_call(struct rpc *rpc, const char *id) {
    struct call *call = call_of(rpc->modal, id);
    if (call)
        call->asked_ms = clock_monotonic_ms();
    else
        rpc_fail(rpc, no_object("function call", id));
    return call;
}

static void put_inputs(struct rpc *rpc, const void *message) {
    const Modal__FunctionPutInputsRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    if (!call->function) {
        rpc_fail(rpc, error_new(ERROR_FAILED_PRECONDITION, "the app of the call %s was stopped", call->id));
        return;
    }
    struct error *error = room_for(call->function);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    call_wanted_again(call);
    Modal__FunctionPutInputsResponse *answer = arena_alloc(rpc_arena(rpc), sizeof *answer);
    modal__function_put_inputs_response__init(answer);
    uint32_t from = call->seq;
    answer->n_inputs = request->n_inputs;
    answer->inputs = add_inputs(rpc, call, request->inputs, request->n_inputs, rpc->once ? rpc->once : "");
    keep(rpc, call, from, false, answer);
}

/* ---- asking for what came of it ---- */

struct asked { /* in the call's arena */
    struct call *call;
    uint64_t after;
    bool clear;
    bool gathering; /* there is more for it, told in a moment */
};

static uint64_t entry_of(const char *entry) {
    uint64_t number = 0;
    struct span rest = span_of(entry);
    (void)span_to_u64(entry ? span_cut(&rest, '-') : (struct span){0}, &number);
    return number;
}

static Modal__GenericResult *unreadable(struct arena *arena, const struct error *error) {
    Modal__GenericResult *result = arena_alloc(arena, sizeof *result);
    modal__generic_result__init(result);
    result->has_status = true;
    result->status =
        MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_INTERNAL_FAILURE;
    scoped_string char *text = error_text(error);
    log_error("modal", "%s", text);
    result->exception = arena_text(arena, text);
    return result;
}

static Modal__FunctionGetOutputsItem *output_item(const struct input *input, struct arena *arena) {
    Modal__FunctionGetOutputsItem *item = arena_alloc(arena, sizeof *item);
    modal__function_get_outputs_item__init(item);
    ProtobufCAllocator allocator = arena_allocator(arena);
    struct span result;
    scoped(error) struct error *error = input_result(input, arena, &result);
    item->result = error
                       ? unreadable(arena, error)
                       : modal__generic_result__unpack(&allocator, result.size, (const uint8_t *)result.data);
    item->has_idx = item->has_data_format = item->has_input_started_at = item->has_output_created_at = true;
    item->has_retry_count = true;
    item->idx = input->idx;
    item->input_id = arena_text(arena, input->id);
    item->task_id = task_id_of(arena, input->worked_by);
    item->data_format = (Modal__DataFormat)input->result_format;
    item->input_started_at = input->started_at;
    item->output_created_at = input->output_at;
    item->retry_count = input->retry_count;
    return item;
}

static void answer_outputs(struct rpc *rpc, const struct asked *asked) {
    struct call *call = asked->call;
    struct arena *arena = rpc_arena(rpc);
    Modal__FunctionGetOutputsResponse answer = MODAL__FUNCTION_GET_OUTPUTS_RESPONSE__INIT;
    answer.outputs = arena_alloc(arena, OUTPUTS_AT_ONCE * sizeof *answer.outputs);
    uint64_t last = asked->after;
    size_t bytes = 0;
    LIST_EACH(node, &call->outputs) {
        const struct input *input = CONTAINER_OF(node, struct input, done);
        if (input->output_number <= asked->after) continue;
        if (answer.n_outputs == OUTPUTS_AT_ONCE || bytes > OUTPUTS_BYTES) break;
        answer.outputs[answer.n_outputs++] = output_item(input, arena);
        last = input->output_number;
        bytes += input->result_size;
    }
    if (answer.n_outputs > 0) call->told_ms = clock_monotonic_ms();
    answer.last_entry_id = arena_printf(arena, "%llu-0", (unsigned long long)last);
    answer.has_num_unfinished_inputs = true;
    answer.num_unfinished_inputs = (int32_t)(call->input_count - call->done_count);
    /* A map's client clears when it wants no more, with work under way or not. */
    bool map = call->type == MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_MAP;
    if (asked->clear && (map || answer.n_outputs > 0)) call_unwanted(call);
    rpc_answer(rpc, &answer);
}

/* A map's outputs before `last` have reached its client. */
static void forget_given(struct call *call, uint64_t last) {
    if (call->type != MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_MAP || call->asked_async) return;
    bool traced = call->kin && call->input_count <= TRACED_MAX; /* its graph tells of them still */
    uint64_t gone = call->gone;
    LIST_EACH_SAFE(node, next, &call->outputs) {
        struct input *input = CONTAINER_OF(node, struct input, done);
        if (input->output_number > last) break;
        if (traced) { /* not of what was in them */
            list_remove(&input->done);
            input_texts_done(input);
            continue;
        }
        journal_given(call, input);
        call->gone_badly +=
            input->status !=
            MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS;
        input_free(input);
        call->gone++;
    }
    if (call->gone != gone) journal_changed(call);
}

static void outputs_expired(struct rpc *rpc) {
    answer_outputs(rpc, rpc->owner);
}

static bool has_more(const struct call *call, uint64_t after) {
    if (list_empty(&call->outputs)) return false;
    return CONTAINER_OF(call->outputs.prev, struct input, done)->output_number > after;
}

/* For how long a map's outputs wait for those that come next. Each time its client asks, it names all that it
 * still waits for, up to a thousand: an answer for each output would keep it busy with that. The last outputs
 * wait for nothing, nor do those that come slowly. */
static int64_t gather_ms(const struct call *call, uint64_t after) {
    bool map = call->type == MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_MAP;
    if (!map || call->done_count == call->input_count || call->outputs_made - after >= OUTPUTS_AT_ONCE)
        return 0;
    int64_t left = call->told_ms + GATHER_MS - clock_monotonic_ms();
    return left > 0 ? left : 0;
}

static void get_outputs(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetOutputsRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    struct asked *asked = arena_alloc(rpc_arena(rpc), sizeof *asked);
    *asked = (struct asked){call, entry_of(request->last_entry_id), request->clear_on_success, false};
    forget_given(call, asked->after);
    double hold_ms = request->timeout * 1000.0;
    if (hold_ms > HOLD_MAX_MS) hold_ms = HOLD_MAX_MS;
    asked->gathering = has_more(call, asked->after);
    int64_t gather = gather_ms(call, asked->after);
    if (asked->gathering && (double)gather < hold_ms) hold_ms = (double)gather;
    if (hold_ms <= 0) {
        answer_outputs(rpc, asked);
        return;
    }
    rpc_hold(rpc, &call->waiters, asked, hold_ms, outputs_expired);
}

void call_output_made(struct call *call) {
    LIST_EACH_SAFE(node, next, &call->waiters) {
        struct rpc *rpc = CONTAINER_OF(node, struct rpc, node);
        struct asked *asked = rpc->owner;
        int64_t wait_ms = gather_ms(call, asked->after);
        bool more = has_more(call, asked->after), first = more && !asked->gathering;
        asked->gathering = more;
        if (more && wait_ms == 0)
            answer_outputs(rpc, asked);
        else if (first)
            rpc_hold_shorter(rpc, wait_ms);
        if (next == &call->waiters) break;
    }
    if (call->unwanted) call_unwanted(call);
}

static void cancel(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallCancelRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    call_cancel(call, request->terminate_containers, "the call was cancelled");
    journal_settle(rpc, journal_answer);
}

static void from_id(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallFromIdRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    Modal__FunctionCallHandleMetadata metadata = MODAL__FUNCTION_CALL_HANDLE_METADATA__INIT;
    metadata.app_id = call->app_id;
    metadata.function_id = call->function_id;
    Modal__FunctionCallFromIdResponse answer = MODAL__FUNCTION_CALL_FROM_ID_RESPONSE__INIT;
    answer.function_call_id = call->id;
    answer.has_num_inputs = true;
    answer.num_inputs = (int32_t)call->input_count;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

const struct rpc_method call_methods[] = {
    {"FunctionMap", &modal__function_map_request__descriptor, map, RPC_TASK | RPC_ONCE},
    {"FunctionPutInputs", &modal__function_put_inputs_request__descriptor, put_inputs, RPC_TASK | RPC_ONCE},
    {"FunctionGetOutputs", &modal__function_get_outputs_request__descriptor, get_outputs, RPC_TASK},
    {"FunctionCallCancel", &modal__function_call_cancel_request__descriptor, cancel, RPC_TASK},
    {"FunctionCallFromId", &modal__function_call_from_id_request__descriptor, from_id, RPC_TASK},
    {0},
};
