/* What the client sends, given to whoever asked for it. Bytes that nobody reads yet wait in `pending`; the
 * stream's window is given back as they are read, so that no more than one window of them is ever held.
 * Messages that are being gathered are read: they are bounded by their own limit. Everything held is counted
 * in the server.
 *
 * Ends: the client's end (told once all before it was read), an error (then the rest is thrown away), or the
 * call's own end. */
#include "inside.h"

#include <assert.h>

static bool reads(const struct grpc_call *call) {
    return (call->reading == READ_ONE || call->reading == READ_MANY) && !call->paused && !call->cancelled;
}

/* Nobody will want what comes. */
static bool discards(const struct grpc_call *call) {
    return call->closing || call->cancelled || call->overfull || call->reading == READ_TOLD;
}

static void count(struct grpc_call *call) {
    size_t now_bytes = call->pending.size + call->reader.body.size;
    call->server->held_bytes += now_bytes - call->held_bytes;
    call->held_bytes = now_bytes;
}

void read_drop(struct grpc_call *call) {
    text_done(&call->pending);
    message_done(&call->reader);
    count(call);
}

static void tell_error(struct grpc_call *call, struct error *error) {
    bool one = call->reading == READ_ONE;
    call->reading = READ_TOLD;
    read_drop(call);
    if (one) {
        call->done(call, (struct span){0}, error);
    } else {
        call->on_end(call, error);
    }
}

static void keep_one(struct grpc_call *call, struct span message) {
    struct text *body = &call->reader.body;
    if (message.data != body->data) text_add(body, message);
    if (!body->data) text_reserve(body, 1);
    call->reader.delivered = false; /* kept until the client's end is known */
    call->have_one = true;
}

/* Gives what it can of the bytes; returns what is left. The call may be over when this returns. */
static struct span use(struct grpc_call *call, struct span bytes) {
    while (bytes.size > 0 && reads(call)) {
        struct span message;
        struct error *error = NULL;
        enum message_state state = MESSAGE_BROKEN;
        if (call->have_one) {
            error = error_new(ERROR_UNIMPLEMENTED, "the method takes one message, and the request has more");
        } else {
            state = message_take(&call->reader, &bytes, &message, &error);
        }
        if (state == MESSAGE_MORE) break;
        if (state == MESSAGE_BROKEN) {
            tell_error(call, error);
        } else if (call->reading == READ_ONE) {
            keep_one(call, message);
        } else {
            call->on_message(call, message);
        }
    }
    return discards(call) ? (struct span){0} : bytes;
}

static void use_end(struct grpc_call *call) {
    if (!message_between(&call->reader)) {
        tell_error(call, error_new(ERROR_INTERNAL, "the request ends in the middle of a message"));
    } else if (call->reading == READ_MANY) {
        call->reading = READ_TOLD;
        read_drop(call);
        call->on_end(call, NULL);
    } else if (!call->have_one) {
        tell_error(call,
                   error_new(ERROR_UNIMPLEMENTED, "the method takes one message, and the request has none"));
    } else {
        call->reading = READ_TOLD;
        struct text message = call->reader.body;
        call->reader.body = (struct text){0};
        count(call);
        call->done(call, text_span(&message), NULL);
        text_done(&message);
    }
}

static void give_back(struct grpc_call *call, size_t bytes) {
    if (!call->conn || bytes == 0) return;
    nghttp2_session_consume_stream(call->conn->session, call->stream, bytes);
    conn_mark(call->conn);
}

static void tell_overfull(struct grpc_call *call) {
    tell_error(call,
               error_new(ERROR_UNAVAILABLE,
                         "the server holds %zu MiB of requests that were not read yet, which is its limit: "
                         "try again later",
                         call->server->limits.held_bytes >> 20));
}

void read_bytes(struct grpc_call *call, struct span bytes) {
    size_t size = bytes.size;
    if (discards(call)) {
        call->discarded_bytes += size;
        give_back(call, size);
        if (call->all_sent && call->discarded_bytes > DISCARD_BYTES) answer_reset(call, NGHTTP2_NO_ERROR);
        return;
    }
    if (call->pending.size == 0) bytes = use(call, bytes);
    if (bytes.size > 0) text_add(&call->pending, bytes);
    give_back(call, size - bytes.size);
    count(call);
    if (call->server->held_bytes <= call->server->limits.held_bytes || call->held_bytes == 0) return;
    call->overfull = true;
    read_drop(call);
    if (reads(call)) tell_overfull(call);
}

void read_resume(struct grpc_call *call) {
    if (!reads(call)) return;
    if (call->overfull) {
        tell_overfull(call);
        return;
    }
    if (call->pending.size > 0) {
        struct text had = call->pending; /* who is told may drop it */
        call->pending = (struct text){0};
        struct span left = use(call, text_span(&had));
        give_back(call, had.size - left.size);
        if (left.size > 0) {
            text_remove_front(&had, had.size - left.size);
            call->pending = had;
        } else {
            text_done(&had);
        }
        count(call);
    }
    if (call->input_ended && call->pending.size == 0 && reads(call)) use_end(call);
}

void call_input_ended(struct grpc_call *call) {
    call->input_ended = true;
    if (call->pending.size == 0 && reads(call)) use_end(call);
}

/* What came already, and the end, are told in the next round. */
static void wake(struct grpc_call *call) {
    if (call->pending.size == 0 && !call->input_ended && !call->overfull) return;
    call->resuming = true;
    call_todo(call);
}

static void begin(struct grpc_call *call, enum reading reading) {
    assert(call->reading == READ_NOT); /* a request is read once */
    call->reading = reading;
    if (!call->cancelled) {
        wake(call);
    } else if (!call->on_cancelled) {
        call_release_later(call); /* nobody was told: it is over as if it had waited already */
    }
}

void grpc_call_read_one(struct grpc_call *call,
                        void (*done)(struct grpc_call *call, struct span message, struct error *error)) {
    call->done = done;
    begin(call, READ_ONE);
}

void grpc_call_read(struct grpc_call *call, void (*on_message)(struct grpc_call *call, struct span message),
                    void (*on_end)(struct grpc_call *call, struct error *error)) {
    call->on_message = on_message;
    call->on_end = on_end;
    begin(call, READ_MANY);
}

void grpc_call_pause(struct grpc_call *call, bool paused) {
    if (call->paused == paused) return;
    call->paused = paused;
    if (!paused) wake(call);
}
