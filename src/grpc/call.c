/* One call: its facts and its ends.
 *
 *   asked --read, send--> answered by its owner --all sent--> closed
 *     |                        `--the client still sends--> waited for a little, then reset
 *     `--cancelled by the client, its deadline, its connection--> on_cancelled --its owner's end--> gone
 * References: the owner's from on_call to its end, the stream's from its first frame to its close. */
#include "inside.h"

#include <assert.h>

static void on_due(struct due *due);

struct grpc_call *call_open(struct conn *conn, int32_t stream) {
    struct grpc_call *call = NEW(struct grpc_call);
    struct grpc_server *server = conn->server;
    server_ref(server);
    call->server = server;
    call->conn = conn;
    call->stream = stream;
    call->references = 1;
    call->arena = arena_new();
    call->tag = conn->tag;
    call->peer = arena_string(call->arena, span_of(conn->peer));
    call->number = conn->number;
    call->secure = conn->secure;
    call->deadline_ms = GRPC_NEVER;
    call->ended = true; /* until it has an owner */
    call->due.fire = on_due;
    call->reader.limit_bytes = server->limits.message_bytes;
    list_init(&call->todo);
    list_append(&conn->calls, &call->node);
    conn_call_opened(conn);
    return call;
}

void call_ref(struct grpc_call *call) {
    call->references++;
}

void call_unref(struct grpc_call *call) {
    if (--call->references > 0) return;
    assert(!call->conn);
    read_drop(call);
    text_done(&call->out);
    text_done(&call->status_text);
    arena_free(call->arena);
    server_unref(call->server);
    free(call);
}

void call_finish(struct grpc_call *call) {
    assert(!call->ended); /* a call is ended once */
    call->ended = true;
    call->reading = READ_TOLD;
    call->server->call_count--;
    read_drop(call);
    call_unref(call);
}

static void cancel(struct grpc_call *call, enum error_code why) {
    if (call->ended || call->cancelled) return;
    call->cancelled = why;
    bool waits = call->reading == READ_ONE || call->reading == READ_MANY;
    read_drop(call);
    if (call->on_cancelled) {
        call->on_cancelled(call);
    } else if (waits) {
        call_finish(call);
    } else if (call->stopped && call->drained) {
        call->stopped = false;
        call->drained(call); /* so that who waits for it goes on, to the end */
    }
}

void call_stream_closed(struct grpc_call *call, enum error_code why) {
    struct conn *conn = call->conn;
    due_clear(&call->server->dues, &call->due);
    list_remove(&call->node);
    list_remove(&call->todo);
    call->conn = NULL;
    call_ref(call);
    conn_call_gone(conn);
    cancel(call, why);
    call_unref(call);
    call_unref(call); /* the stream's */
}

static void on_due(struct due *due) {
    struct grpc_call *call = CONTAINER_OF(due, struct grpc_call, due);
    call_ref(call);
    if (call->closing) {
        answer_reset(call, call->all_sent ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    } else {
        if (call->sent < call->out.size) {
            answer_reset(call, NGHTTP2_CANCEL); /* in the middle of a message: no status can follow */
        } else {
            answer_status(call, ERROR_DEADLINE_EXCEEDED, SPAN("the deadline of the call passed"));
        }
        cancel(call, ERROR_DEADLINE_EXCEEDED);
    }
    call_unref(call);
}

void call_linger(struct grpc_call *call) {
    if (call->discarded_bytes > DISCARD_BYTES) {
        answer_reset(call, NGHTTP2_NO_ERROR);
    } else {
        due_set(&call->server->dues, &call->due, io_now_ms(call->server->io) + LINGER_MS);
    }
}

void call_todo(struct grpc_call *call) {
    if (!call->conn) return;
    if (list_empty(&call->todo)) list_append(&call->conn->todo, &call->todo);
    conn_mark(call->conn);
}

void call_tell(struct grpc_call *call) {
    if (call->resuming) {
        call->resuming = false;
        read_resume(call);
    }
    bool room = call->out.size - call->sent < SEND_BYTES / 2;
    if (!call->stopped || !room || call->ended || call->cancelled) return;
    call->stopped = false;
    if (call->drained) call->drained(call);
}

void field_add(struct arena *arena, struct field_list *list, struct span name, struct span value) {
    struct field *field = arena_alloc(arena, sizeof *field);
    field->name = (struct span){arena_string(arena, name), name.size};
    field->value = (struct span){arena_string(arena, value), value.size};
    if (list->last) {
        list->last->next = field;
    } else {
        list->first = field;
    }
    list->last = field;
    list->count++;
}

struct span field_get(const struct field_list *list, struct span name) {
    for (const struct field *field = list->first; field; field = field->next)
        if (span_equal(field->name, name)) return field->value;
    return (struct span){0};
}

static void on_late_release(void *owner) {
    struct grpc_call *call = owner;
    if (!call->ended) call_finish(call);
    call_unref(call);
}

void call_release_later(struct grpc_call *call) {
    call_ref(call);
    io_defer(call->server->io, on_late_release, call);
}

void grpc_call_on_cancelled(struct grpc_call *call, void (*cancelled)(struct grpc_call *call)) {
    call->on_cancelled = cancelled;
}
enum error_code grpc_call_cancelled(const struct grpc_call *call) {
    return call->cancelled;
}
struct span grpc_call_path(const struct grpc_call *call) {
    return call->path;
}
struct span grpc_call_service(const struct grpc_call *call) {
    return call->service;
}
struct span grpc_call_method(const struct grpc_call *call) {
    return call->method;
}
struct span grpc_call_authority(const struct grpc_call *call) {
    return call->authority;
}
int64_t grpc_call_deadline_ms(const struct grpc_call *call) {
    return call->deadline_ms;
}
int64_t grpc_call_left_ms(const struct grpc_call *call) {
    if (call->deadline_ms == GRPC_NEVER) return GRPC_NEVER;
    int64_t left_ms = call->deadline_ms - clock_monotonic_ms();
    return left_ms > 0 ? left_ms : 0;
}
void *grpc_call_tag(const struct grpc_call *call) {
    return call->tag;
}
const char *grpc_call_peer(const struct grpc_call *call) {
    return call->peer;
}
uint64_t grpc_call_connection(const struct grpc_call *call) {
    return call->number;
}
bool grpc_call_secure(const struct grpc_call *call) {
    return call->secure;
}
struct io_loop *grpc_call_loop(const struct grpc_call *call) {
    return call->server->io;
}
struct arena *grpc_call_arena(struct grpc_call *call) {
    return call->arena;
}
void grpc_call_owner_set(struct grpc_call *call, void *owner) {
    call->owner = owner;
}
void *grpc_call_owner(const struct grpc_call *call) {
    return call->owner;
}
