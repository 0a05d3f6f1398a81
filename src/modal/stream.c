/* stream: chunks of a call by index: what its container says (a generator's values, a web function's answer)
 * and what is said to it. A reader says how far it has come, and goes on there when it opens the stream anew.
 * What was said to a daemon that is gone is lost with it: who had not read it is told so. */
#include "journal.h"

#include <stdlib.h>

#define RESULT_DATA 5 /* GenericResult's field */

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

void stream_add(struct stream *stream, struct span data, const char *blob_id, int format) {
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
    LIST_EACH_SAFE(node, next, &stream->readers) reader_feed(CONTAINER_OF(node, struct rpc, node));
}

static void stream_over(struct rpc *rpc) {
    const struct reader *reader = rpc->owner;
    reader->stream->read_on = true;
    rpc_end(rpc); /* the client opens it again from where it is */
}

static bool lost_some(struct rpc *rpc) {
    const struct reader *reader = rpc->owner;
    if (reader->last >= reader->stream->lost) return false;
    rpc_fail(rpc, error_new(ERROR_DATA_LOSS,
                            "catnap was ended while this generator ran, with values that it had said"));
    return true;
}

void stream_lost(struct stream *stream, uint64_t count) {
    stream->count = stream->lost = count;
    LIST_EACH_SAFE(node, next, &stream->readers)(void) lost_some(CONTAINER_OF(node, struct rpc, node));
}

/* A generator of another daemon ended: what it had said and nobody had read is not here any more. */
void stream_generator_done(struct call *call, const struct input *input) {
    if (!call->restored || call->out.count > 0) return;
    if (input->result_format != MODAL__DATA_FORMAT__DATA_FORMAT_GENERATOR_DONE) return;
    struct span result = text_span(&input->result), data = wire_field(result, RESULT_DATA);
    Modal__GeneratorDone *end =
        data.data ? modal__generator_done__unpack(NULL, data.size, (const uint8_t *)data.data) : NULL;
    if (!end) return;
    stream_lost(&call->out, end->items_total);
    modal__generator_done__free_unpacked(end, NULL);
}

static void stream_read(struct rpc *rpc, const Modal__FunctionCallGetDataRequest *request, bool in,
                        double hold_ms) {
    struct call *call = call_of(rpc->modal, request->function_call_id);
    /* What goes in is for the container that works on it. */
    if (!call || (in && rpc->task && (!call->function || rpc->task->function != call->function))) {
        rpc_fail(rpc, no_object("function call", request->function_call_id));
        return;
    }
    struct stream *stream = in ? &call->in : &call->out;
    struct reader *reader = arena_alloc(rpc_arena(rpc), sizeof *reader);
    *reader = (struct reader){.call = call, .stream = stream, .last = request->last_index};
    call->asked_ms = clock_monotonic_ms();
    stream->read_on = false;
    rpc_hold(rpc, &stream->readers, reader, hold_ms, stream_over);
    if (!lost_some(rpc)) reader_feed(rpc);
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

const struct rpc_method stream_methods[] = {
    {"FunctionCallGetDataIn", &modal__function_call_get_data_request__descriptor, get_data_in, RPC_TASK},
    {"FunctionCallGetDataOut", &modal__function_call_get_data_request__descriptor, get_data_out, RPC_TASK},
    {0},
};
