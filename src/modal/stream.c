/* stream: chunks of a call by index: what its container says (a generator's values, a web function's answer)
 * and what is said to it. A reader says how far it has come, and goes on there when it opens the stream anew.
 * What was said to a daemon that is gone is lost with it: who had not read it is told so. */
#include "journal.h"
#include "spool.h"

#include <stdlib.h>

#define BYTES_MAX ((size_t)1 << 30)  /* of a stream, most of it on the disk; beyond, who writes waits */
#define CRAMPED_BYTES_MAX (16 << 20) /* where the disk has no room */
#define CHUNKS_MAX 200000
#define BLOB_BYTES (2 << 20) /* a value in a blob has more; counted as so many */

#define RESULT_DATA 5 /* GenericResult's field */

void stream_init(struct stream *stream, struct modal *modal) {
    stream->modal = modal;
    list_init(&stream->chunks);
    list_init(&stream->readers);
}

/* ---- chunks, in memory or on the disk ---- */

static void held(const struct stream *stream, const struct chunk *chunk, bool more) {
    if (!stream->modal) return;
    if (more)
        stream->modal->held_bytes += chunk->data.size;
    else
        stream->modal->held_bytes -= chunk->data.size;
}

static void chunk_free(struct stream *stream, struct chunk *chunk) {
    stream->bytes -= chunk->size;
    if (chunk->index > stream->given) stream->unread -= chunk->size;
    if (chunk->data.size == 0) spool_drop(stream->spool, chunk->offset, chunk->size);
    held(stream, chunk, false);
    list_remove(&chunk->node);
    text_done(&chunk->data);
    free(chunk);
}

void stream_done(struct stream *stream) {
    while (!list_empty(&stream->chunks))
        chunk_free(stream, CONTAINER_OF(stream->chunks.next, struct chunk, node));
    spool_free(take(stream->spool));
}

static void to_disk(struct stream *stream, struct chunk *chunk) {
    scoped(error) struct error *error =
        stream->spool ? NULL : spool_new(stream->modal->state_dir, &stream->spool);
    if (!error) error = spool_add(stream->spool, text_span(&chunk->data), &chunk->offset);
    if (error && !stream->cramped) {
        scoped_string char *text = error_text(error);
        log_error("modal", "values of generators have no room on the disk: %s", text);
    }
    stream->cramped = error;
    if (error) return;
    held(stream, chunk, false);
    text_done(&chunk->data);
}

static struct error *chunk_read(const struct stream *stream, const struct chunk *chunk, struct text *room,
                                struct span *ret) {
    *ret = text_span(&chunk->data);
    if (chunk->data.size > 0) return NULL;
    TRY(spool_get(stream->spool, chunk->offset, chunk->size, room), "a value of a generator");
    *ret = text_span(room);
    return NULL;
}

static size_t bytes_max(const struct stream *stream) {
    return stream->cramped ? CRAMPED_BYTES_MAX : BYTES_MAX;
}

static bool is_full(const struct stream *stream) {
    if (list_empty(&stream->chunks)) return false;
    const struct chunk *first = CONTAINER_OF(stream->chunks.next, struct chunk, node);
    return stream->bytes > bytes_max(stream) || stream->count - first->index >= CHUNKS_MAX;
}

/* It was read, and so was much behind it: no reader who was cut off comes back for it. */
static bool is_old(const struct stream *stream, const struct chunk *chunk) {
    if (chunk->index > stream->given) return false;
    return stream->bytes - stream->unread > bytes_max(stream) / 4 ||
           stream->given - chunk->index > CHUNKS_MAX / 4;
}

/* ---- readers ---- */

struct reader { /* of a stream; in the call's arena */
    struct call *call;
    struct stream *stream;
    uint64_t last; /* index that it has */
    bool choked;
};

static bool lost_some(struct rpc *rpc) {
    const struct reader *reader = rpc->owner;
    if (reader->last >= reader->stream->lost) return false;
    rpc_fail(rpc, error_new(ERROR_DATA_LOSS,
                            reader->stream->given >= reader->stream->lost
                                ? "the first %llu values of this generator were read, and are not kept"
                                : "catnap was ended while this generator ran, with %llu values of it",
                            (unsigned long long)reader->stream->lost));
    return true;
}

/* Values that were read long ago go. */
bool call_out_room(struct call *call) {
    struct stream *stream = &call->out;
    uint64_t lost = stream->lost;
    while (is_full(stream)) {
        struct chunk *first = CONTAINER_OF(stream->chunks.next, struct chunk, node);
        if (!is_old(stream, first)) break;
        stream->lost = first->index;
        chunk_free(stream, first);
    }
    if (stream->lost > lost)
        LIST_EACH_SAFE(node, next, &stream->readers)(void) lost_some(CONTAINER_OF(node, struct rpc, node));
    return !is_full(stream);
}

static void on_reader_drained(struct grpc_call *call);

static struct list *first_after(const struct stream *stream, uint64_t last) {
    struct list *node = stream->chunks.prev; /* who reads is near the end, mostly */
    while (node != &stream->chunks && CONTAINER_OF(node, struct chunk, node)->index > last) node = node->prev;
    return node->next;
}

static struct error *reader_send(struct rpc *rpc, struct chunk *chunk) {
    struct reader *reader = rpc->owner;
    struct stream *stream = reader->stream;
    scoped_text struct text room = {0};
    struct span bytes;
    TRY_PLAIN(chunk_read(stream, chunk, &room, &bytes));
    reader->choked = !grpc_call_send(rpc->call, bytes);
    reader->last = chunk->index;
    if (chunk->index > stream->given) {
        stream->given = chunk->index;
        stream->unread -= chunk->size;
    }
    if (stream->once) chunk_free(stream, chunk);
    return NULL;
}

static void reader_feed(struct rpc *rpc) {
    struct reader *reader = rpc->owner;
    struct stream *stream = reader->stream;
    struct list *node = reader->choked ? &stream->chunks : first_after(stream, reader->last);
    while (node != &stream->chunks && !reader->choked) {
        struct chunk *chunk = CONTAINER_OF(node, struct chunk, node);
        node = node->next;
        struct error *error = reader_send(rpc, chunk);
        if (!error) continue;
        rpc_fail(rpc, error);
        return;
    }
    if (reader->choked) grpc_call_on_drained(rpc->call, on_reader_drained);
    if (stream == &reader->call->in && reader->call->on_in_taken)
        reader->call->on_in_taken(reader->call->owner);
}

static void feed(struct rpc *rpc) {
    const struct reader *reader = rpc->owner;
    struct call *call = reader->stream == &reader->call->out ? reader->call : NULL;
    reader_feed(rpc);
    if (call && !call->on_out && call_out_room(call)) call_out_drained(call);
}

static void on_reader_drained(struct grpc_call *call) {
    struct rpc *rpc = grpc_call_owner(call);
    struct reader *reader = rpc->owner;
    reader->choked = false;
    feed(rpc);
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
    chunk->size = chunk->data.size + (message.has_data ? 0 : BLOB_BYTES);
    stream->bytes += chunk->size;
    stream->unread += chunk->size;
    held(stream, chunk, true);
    list_append(&stream->chunks, &chunk->node);
    LIST_EACH_SAFE(node, next, &stream->readers) reader_feed(CONTAINER_OF(node, struct rpc, node));
    if (!stream->modal || stream->once || !message.has_data) return;
    if (held_is_full(stream->modal)) to_disk(stream, chunk);
}

static void stream_over(struct rpc *rpc) {
    const struct reader *reader = rpc->owner;
    reader->stream->read_on = true;
    rpc_end(rpc); /* the client opens it again from where it is */
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
    if (!lost_some(rpc)) feed(rpc);
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
