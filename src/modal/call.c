/* call: work asked of a function: its inputs, and their outputs as they come.
 *
 * Outputs of a map are given in the order in which they were done, each once: the client says by
 * `last_entry_id` how far it has come, and what lies before that is forgotten. Those of other calls stay
 * until the call is. A call that nobody asks for any more is forgotten after CALL_KEPT_S. */
#include "inside.h"

#include "callgraph.h"

#include <stdio.h>
#include <stdlib.h>

#define OUTPUTS_AT_ONCE 49
#define OUTPUTS_BYTES (8 << 20)
#define HOLD_MAX_MS 300000
#define INPUT_BYTES_MAX (16 << 20)

static bool status_good(int status) {
    return status == MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS;
}

struct call *call_new(struct function *function, int type) {
    struct modal *modal = function->app->modal;
    struct call *call = NEW(struct call);
    scoped_string char *id = random_id("fc");
    id_set(call->id, id);
    call->modal = modal;
    call->function = function;
    call->type = type;
    call->created_at = now_s();
    list_init(&call->inputs);
    list_init(&call->outputs);
    list_init(&call->waiters);
    list_init(&call->in.chunks);
    list_init(&call->in.readers);
    list_init(&call->out.chunks);
    list_init(&call->out.readers);
    list_init(&call->node);
    list_init(&call->choked);
    map_put(modal->calls, span_of(call->id), call);
    return call;
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
    map_remove(call->modal->calls, span_of(call->id));
    free(call);
}

struct input *call_add(struct call *call, int32_t idx, struct span bytes) {
    struct input *input = NEW(struct input);
    scoped_string char *id = random_id("in");
    id_set(input->id, id);
    input->call = call;
    input->idx = idx;
    text_add(&input->bytes, bytes);
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
        input_fail(input,
                   MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_TERMINATED,
                   why);
    }
}

/* ---- streams of chunks ---- */

static void chunk_free(struct stream *stream, struct chunk *chunk) {
    stream->bytes -= chunk->data.size;
    list_remove(&chunk->node);
    text_done(&chunk->data);
    free(chunk);
}

void stream_done(struct stream *stream) {
    while (!list_empty(&stream->chunks))
        chunk_free(stream, CONTAINER_OF(stream->chunks.next, struct chunk, node));
}

struct reader { /* of a stream; in the call's arena */
    struct call *call;
    struct stream *stream;
    uint64_t last; /* index that it has */
    bool choked;
};

static void reader_feed(struct rpc *rpc);

static void on_reader_drained(struct grpc_call *call) {
    struct rpc *rpc = grpc_call_owner(call);
    struct reader *reader = rpc->owner;
    reader->choked = false;
    reader_feed(rpc);
}

static void reader_feed(struct rpc *rpc) {
    struct reader *reader = rpc->owner;
    struct stream *stream = reader->stream;
    LIST_EACH_SAFE(node, next, &stream->chunks) {
        struct chunk *chunk = CONTAINER_OF(node, struct chunk, node);
        if (reader->choked) break;
        if (chunk->index <= reader->last) continue;
        reader->choked = !grpc_call_send(rpc->call, text_span(&chunk->data));
        reader->last = chunk->index;
        if (stream->once) chunk_free(stream, chunk);
    }
    if (reader->choked) grpc_call_on_drained(rpc->call, on_reader_drained);
    if (stream == &reader->call->in && reader->call->on_in_taken)
        reader->call->on_in_taken(reader->call->owner);
}

void stream_add(struct call *call, struct stream *stream, struct span data, const char *blob_id, int format) {
    struct chunk *chunk = NEW(struct chunk);
    Modal__DataChunk message = MODAL__DATA_CHUNK__INIT;
    message.has_data_format = message.has_index = true;
    message.data_blob_id = (char *)blob_id;
    message.has_data = !blob_id || !*blob_id; /* one of both: a later one on the wire would hide the other */
    message.data_format = (Modal__DataFormat)format;
    message.data.data = (uint8_t *)data.data;
    message.data.len = data.size;
    message.index = chunk->index = ++stream->count;
    chunk->data = message_pack(&message);
    stream->bytes += chunk->data.size;
    list_append(&stream->chunks, &chunk->node);
    (void)call;
    LIST_EACH_SAFE(node, next, &stream->readers) reader_feed(CONTAINER_OF(node, struct rpc, node));
}

static void stream_over(struct rpc *rpc) {
    rpc_end(rpc); /* the client opens it again from where it is */
}

static void stream_read(struct rpc *rpc, const Modal__FunctionCallGetDataRequest *request, bool in,
                        double hold_ms) {
    struct call *call =
        request->function_call_id ? map_get(rpc->modal->calls, span_of(request->function_call_id)) : NULL;
    /* What goes in is for the container that works on it. */
    if (!call || (in && rpc->task && rpc->task->function != call->function)) {
        rpc_fail(rpc, no_object("function call", request->function_call_id));
        return;
    }
    struct stream *stream = in ? &call->in : &call->out;
    struct reader *reader = arena_alloc(rpc_arena(rpc), sizeof *reader);
    *reader = (struct reader){.call = call, .stream = stream, .last = request->last_index};
    rpc_hold(rpc, &stream->readers, reader, hold_ms, stream_over);
    reader_feed(rpc);
}

static void get_data_in(struct rpc *rpc, const void *message) {
    stream_read(rpc, message, true, 0);
}

static void get_data_out(struct rpc *rpc, const void *message) {
    stream_read(rpc, message, false, 55000);
}

void call_out_drained(struct call *call) {
    while (!list_empty(&call->choked)) rpc_answer_empty(CONTAINER_OF(call->choked.next, struct rpc, node));
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

static Modal__FunctionPutInputsResponseItem **add_inputs(struct rpc *rpc, struct call *call,
                                                         Modal__FunctionPutInputsItem **items, size_t count) {
    struct arena *arena = rpc_arena(rpc);
    Modal__FunctionPutInputsResponseItem **made = arena_alloc(arena, (count + 1) * sizeof *made);
    for (size_t i = 0; i < count; i++) {
        Modal__FunctionInput empty = MODAL__FUNCTION_INPUT__INIT;
        scoped_text struct text bytes = message_pack(items[i]->input ? items[i]->input : &empty);
        struct input *input = call_add(call, items[i]->idx, text_span(&bytes));
        input_enqueue(input);
        made[i] = arena_alloc(arena, sizeof **made);
        modal__function_put_inputs_response_item__init(made[i]);
        made[i]->has_idx = true;
        made[i]->idx = items[i]->idx;
        made[i]->input_id = arena_text(arena, input->id);
        made[i]->input_jwt = made[i]->input_id;
    }
    return made;
}

static void map(struct rpc *rpc, const void *message) {
    const Modal__FunctionMapRequest *request = message;
    struct function *function = NULL;
    struct error *error = function_for(rpc, request->function_id, &function);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct call *call = call_new(function, (int)request->function_call_type);
    callgraph_made(call, rpc->task, request->parent_input_id);
    Modal__FunctionMapResponse answer = MODAL__FUNCTION_MAP_RESPONSE__INIT;
    answer.function_call_id = arena_text(rpc_arena(rpc), call->id);
    answer.n_pipelined_inputs = request->n_pipelined_inputs;
    answer.pipelined_inputs = add_inputs(rpc, call, request->pipelined_inputs, request->n_pipelined_inputs);
    answer.retry_policy = (Modal__FunctionRetryPolicy *)function_retries(function);
    answer.function_call_jwt = answer.function_call_id;
    answer.has_sync_client_retries_enabled = true;
    answer.has_max_inputs_outstanding = true;
    answer.max_inputs_outstanding = 1000;
    rpc_answer(rpc, &answer);
}

static struct call *asked_call(struct rpc *rpc, const char *id) {
    struct call *call = id ? map_get(rpc->modal->calls, span_of(id)) : NULL;
    if (!call) rpc_fail(rpc, no_object("function call", id));
    return call;
}

static void put_inputs(struct rpc *rpc, const void *message) {
    const Modal__FunctionPutInputsRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    if (call->function->queued > 100000) {
        rpc_fail(rpc,
                 error_new(ERROR_RESOURCE_EXHAUSTED, "100000 inputs wait already; these are taken later"));
        return;
    }
    Modal__FunctionPutInputsResponse answer = MODAL__FUNCTION_PUT_INPUTS_RESPONSE__INIT;
    answer.n_inputs = request->n_inputs;
    answer.inputs = add_inputs(rpc, call, request->inputs, request->n_inputs);
    rpc_answer(rpc, &answer);
}

/* ---- asking for what came of it ---- */

struct asked { /* in the call's arena */
    struct call *call;
    uint64_t after;
    bool clear;
};

static uint64_t entry_of(const char *entry) {
    uint64_t number = 0;
    struct span rest = span_of(entry);
    (void)span_to_u64(entry ? span_cut(&rest, '-') : (struct span){0}, &number);
    return number;
}

static Modal__FunctionGetOutputsItem *output_item(const struct input *input, struct arena *arena) {
    Modal__FunctionGetOutputsItem *item = arena_alloc(arena, sizeof *item);
    modal__function_get_outputs_item__init(item);
    ProtobufCAllocator allocator = arena_allocator(arena);
    item->result =
        modal__generic_result__unpack(&allocator, input->result.size, (const uint8_t *)input->result.data);
    item->has_idx = item->has_data_format = item->has_input_started_at = item->has_output_created_at = true;
    item->has_retry_count = true;
    item->idx = input->idx;
    item->input_id = arena_text(arena, input->id);
    if (input->worked_by)
        item->task_id = arena_printf(arena, "ta-%llu", (unsigned long long)input->worked_by);
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
    bool all_good = true;
    LIST_EACH(node, &call->outputs) {
        const struct input *input = CONTAINER_OF(node, struct input, done);
        if (input->output_number <= asked->after) continue;
        if (answer.n_outputs == OUTPUTS_AT_ONCE || bytes > OUTPUTS_BYTES) break;
        answer.outputs[answer.n_outputs++] = output_item(input, arena);
        last = input->output_number;
        bytes += input->result.size;
        all_good = all_good && status_good(input->status);
    }
    answer.last_entry_id = arena_printf(arena, "%llu-0", (unsigned long long)last);
    answer.has_num_unfinished_inputs = true;
    answer.num_unfinished_inputs = (int32_t)(call->input_count - call->done_count);
    bool over = asked->clear && answer.n_outputs > 0 && all_good && call->done_count == call->input_count &&
                call->type == MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_UNARY;
    rpc_answer(rpc, &answer);
    if (over && list_empty(&call->waiters) && list_empty(&call->out.readers)) call_free(call);
}

/* A map's outputs before `last` have reached its client. */
static void forget_given(struct call *call, uint64_t last) {
    if (call->type != MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_MAP) return;
    LIST_EACH_SAFE(node, next, &call->outputs) {
        struct input *input = CONTAINER_OF(node, struct input, done);
        if (input->output_number > last) break;
        text_done(&input->bytes);
    }
}

static void outputs_expired(struct rpc *rpc) {
    answer_outputs(rpc, rpc->owner);
}

static bool has_more(const struct call *call, uint64_t after) {
    return call->outputs_made > after;
}

static void get_outputs(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetOutputsRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    struct asked *asked = arena_alloc(rpc_arena(rpc), sizeof *asked);
    *asked = (struct asked){call, entry_of(request->last_entry_id), request->clear_on_success};
    forget_given(call, asked->after);
    double hold_ms = request->timeout * 1000.0;
    if (hold_ms > HOLD_MAX_MS) hold_ms = HOLD_MAX_MS;
    if (has_more(call, asked->after) || hold_ms <= 0) {
        answer_outputs(rpc, asked);
        return;
    }
    rpc_hold(rpc, &call->waiters, asked, hold_ms, outputs_expired);
}

void call_output_made(struct call *call) {
    LIST_EACH_SAFE(node, next, &call->waiters) {
        struct rpc *rpc = CONTAINER_OF(node, struct rpc, node);
        const struct asked *asked = rpc->owner;
        if (has_more(call, asked->after)) answer_outputs(rpc, asked);
        if (next == &call->waiters) break;
    }
}

static void cancel(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallCancelRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    call_cancel(call, request->terminate_containers, "the call was cancelled");
    rpc_answer_empty(rpc);
}

static void from_id(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallFromIdRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    Modal__FunctionCallHandleMetadata metadata = MODAL__FUNCTION_CALL_HANDLE_METADATA__INIT;
    metadata.app_id = call->function->app->id;
    metadata.function_id = call->function->id;
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
    {"FunctionCallGetDataIn", &modal__function_call_get_data_request__descriptor, get_data_in, RPC_TASK},
    {"FunctionCallGetDataOut", &modal__function_call_get_data_request__descriptor, get_data_out, RPC_TASK},
    {0},
};
