/* dataout: chunks that a container says: a generator's values, a web function's answer.
 *
 * What is over 2 MiB its runner puts into a blob and tells the blob's id. A client fetches that itself; a web
 * request wants bytes, so the blobs of one call are read by a worker before any of its chunks goes on. A
 * container waits for the answer before it says more, so their order stays. */
#include "inside.h"

#include <stdlib.h>

#define BLOB_BYTES_MAX (64 << 20) /* of one message to a browser */

struct said { /* one FunctionCallPutDataOut whose blobs are read */
    struct io_work work;
    struct rpc *rpc;
    const Modal__FunctionCallPutDataRequest *request;
    char call_id[ID_MAX];
    struct text *bytes; /* one for each chunk; empty: it came with the chunk */
};

static void pass_on(struct rpc *rpc, const Modal__FunctionCallPutDataRequest *request, struct call *call,
                    const struct text *bytes) {
    bool choked = false;
    /* Those before were said to another daemon. */
    if (call->restored && call->out.count == 0 && request->n_data_chunks > 0 &&
        request->data_chunks[0]->index > 1)
        stream_lost(&call->out, request->data_chunks[0]->index - 1);
    for (size_t i = 0; i < request->n_data_chunks; i++) {
        const Modal__DataChunk *chunk = request->data_chunks[i];
        struct span data = {(const char *)chunk->data.data, chunk->data.len};
        if (bytes && bytes[i].size > 0) data = text_span(&bytes[i]);
        if (call->on_out) {
            call->out.count++;
            choked = !call->on_out(call->owner, data) || choked;
        } else if (!call->scheduled) { /* whose values nobody reads */
            stream_add(&call->out, data, chunk->data_blob_id, (int)chunk->data_format);
        }
    }
    bool works = call->done_count < call->input_count;
    if (choked || (!call->on_out && works && !call_out_room(call)))
        rpc_hold(rpc, &call->choked, NULL, 0, NULL);
    else
        rpc_answer_empty(rpc);
    if (call->on_out_end) call->on_out_end(call->owner);
}

static void read_blobs(struct io_work *work) {
    struct said *said = CONTAINER_OF(work, struct said, work);
    for (size_t i = 0; i < said->request->n_data_chunks && !work->error; i++) {
        const char *id = said->request->data_chunks[i]->data_blob_id;
        if (!id || !*id) continue;
        const char *digest = blob_digest(id);
        work->error = digest
                          ? store_blob_get(said->rpc->modal->store, digest, BLOB_BYTES_MAX, &said->bytes[i])
                          : no_object("blob", id);
    }
}

static void blobs_read(struct io_work *work) {
    struct said *said = CONTAINER_OF(work, struct said, work);
    struct rpc *rpc = said->rpc;
    struct call *call = map_get(rpc->modal->calls, span_of(said->call_id));
    if (work->error)
        rpc_fail(rpc, error_wrap(work->error, "what the function said"));
    else if (!call)
        rpc_fail(rpc, no_object("function call", said->call_id));
    else
        pass_on(rpc, said->request, call, said->bytes);
    for (size_t i = 0; i < said->request->n_data_chunks; i++) text_done(&said->bytes[i]);
    free(said->bytes);
    free(said);
}

static bool has_blobs(const Modal__FunctionCallPutDataRequest *request) {
    for (size_t i = 0; i < request->n_data_chunks; i++)
        if (request->data_chunks[i]->data_blob_id && *request->data_chunks[i]->data_blob_id) return true;
    return false;
}

/* One that lost its input with another daemon, and was cancelled, may still talk. */
static bool may_say(const struct task *task, const struct call *call) {
    if (!task || !task->function || task->function != call->function) return false;
    if (!call->restored || list_empty(&call->inputs)) return true;
    return CONTAINER_OF(call->inputs.next, struct input, node)->task == task;
}

static void put_data_out(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallPutDataRequest *request = message;
    struct call *call =
        request->function_call_id ? map_get(rpc->modal->calls, span_of(request->function_call_id)) : NULL;
    if (!call || !may_say(rpc->task, call)) {
        rpc_fail(rpc, no_object("function call", request->function_call_id));
        return;
    }
    if (!call->on_out || !has_blobs(request)) {
        pass_on(rpc, request, call, NULL);
        return;
    }
    struct said *said = NEW(struct said);
    *said = (struct said){.work = {.work = read_blobs, .done = blobs_read}, .rpc = rpc, .request = request};
    id_set(said->call_id, call->id);
    said->bytes = mem_array(request->n_data_chunks, sizeof *said->bytes);
    io_work_start(rpc->modal->loop, &said->work);
}

const struct rpc_method dataout_methods[] = {
    {"FunctionCallPutDataOut", &modal__function_call_put_data_request__descriptor, put_data_out,
     RPC_TASK_ONLY},
    {0},
};
