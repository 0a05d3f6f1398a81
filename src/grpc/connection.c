/* The life of a client's connection.
 *
 *   greeting --SETTINGS--> open --server closes, idle--> leaving --last call--> linger --its end or 2 s-->
 * closed
 *       `--no HTTP/2, or too slow--> closed, or told in words
 * While calls are open and nothing was heard for keepalive_ms a PING goes out; without any sign after that
 * the connection is cut and its calls are told. Everything that is to be sent is gathered and goes out once a
 * round. */
#include "inside.h"

#include <stdlib.h>

#define PUSHES 8 /* times 256 KiB in one round, then it is the others' turn */
#define CLOSE_LINGER_MS 2000
/* From a connection's last answer to our GOAWAY. grpclib, which Modal's client stands on, forgets answers
 * that it got and did not look at yet when GOAWAY comes right behind them. */
#define FAREWELL_MS 200
#define STUCK_FRAMES 10000      /* that many unsent with a full socket: no more is read */
#define ROUND_KEEPALIVE_MS 1000 /* connections that are silent are looked at together */

static const char preface[] = NGHTTP2_CLIENT_MAGIC;

static void set_keepalive(struct connection *connection, int64_t at_ms) {
    if (connection->keepalive_ms >= 10 * ROUND_KEEPALIVE_MS && at_ms != GRPC_NEVER)
        at_ms += ROUND_KEEPALIVE_MS - at_ms % ROUND_KEEPALIVE_MS;
    due_set(&connection->server->dues, &connection->due, at_ms);
}

static void keep_alive(struct connection *connection) {
    const struct grpc_limits *limits = &connection->server->limits;
    int64_t now_ms = io_now_ms(connection->server->io);
    if (connection->keepalive_ms == GRPC_NEVER) return;
    if (connection->pinged_ms > 0 && now_ms - connection->pinged_ms >= limits->keepalive_timeout_ms) {
        log_debug("grpc", "%s: no sign of life for %lld ms", connection->peer,
                  (long long)(now_ms - connection->heard_ms));
        connection_cut(connection);
        return;
    }
    int64_t next_ms = connection->heard_ms + connection->keepalive_ms;
    if (connection->pinged_ms > 0) {
        next_ms = connection->pinged_ms + limits->keepalive_timeout_ms;
    } else if (next_ms <= now_ms) {
        nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL);
        connection_mark(connection);
        connection->pinged_ms = now_ms;
        next_ms = now_ms + limits->keepalive_timeout_ms;
    }
    set_keepalive(connection, next_ms);
}

static void on_due(struct due *due) {
    struct connection *connection = CONTAINER_OF(due, struct connection, due);
    bool open = connection->state == CONNECTION_OPEN || connection->state == CONNECTION_LEAVING;
    if (!open) {
        connection_cut(connection);
    } else if (!list_empty(&connection->calls)) {
        keep_alive(connection);
    } else if (connection->server->closing || connection->server->limits.idle_timeout_ms > 0) {
        connection_leave(connection);
    }
}

void connection_greeted(struct connection *connection) {
    if (connection->state != CONNECTION_GREETING) return;
    connection->state = CONNECTION_OPEN;
    due_clear(&connection->server->dues, &connection->due);
    if (list_empty(&connection->calls)) connection_call_gone(connection);
}

void connection_call_opened(struct connection *connection) {
    if (connection->idle_ms == 0) return; /* it is watched already */
    connection->idle_ms = 0;
    connection->pinged_ms = 0;
    int64_t now_ms = io_now_ms(connection->server->io);
    set_keepalive(connection,
                  connection->keepalive_ms == GRPC_NEVER ? GRPC_NEVER : now_ms + connection->keepalive_ms);
}

void connection_call_gone(struct connection *connection) {
    if (!list_empty(&connection->calls) || connection->wire.closed) return;
    struct grpc_server *server = connection->server;
    if (connection->state == CONNECTION_OPEN) {
        connection->idle_ms = io_now_ms(server->io);
        int64_t patience_ms = server->closing ? FAREWELL_MS : server->limits.idle_timeout_ms;
        due_set(&server->dues, &connection->due,
                patience_ms > 0 ? connection->idle_ms + patience_ms : GRPC_NEVER);
    }
    connection_mark(connection);
}

void connection_mark(struct connection *connection) {
    if (!connection->wire.closed) server_mark(connection->server, &connection->dirty);
}

void connection_part(struct connection *connection) {
    if (!list_empty(&connection->calls)) return;
    int64_t at_ms = connection->idle_ms + FAREWELL_MS;
    if (at_ms > io_now_ms(connection->server->io) && connection->state == CONNECTION_OPEN) {
        due_set(&connection->server->dues, &connection->due, at_ms);
    } else {
        connection_leave(connection);
    }
}

void connection_leave(struct connection *connection) {
    if (connection->state == CONNECTION_GREETING) {
        connection_cut(connection);
    } else if (connection->state == CONNECTION_OPEN) {
        connection->state = CONNECTION_LEAVING;
        nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE, connection->last_stream,
                              NGHTTP2_NO_ERROR, NULL, 0);
        connection_mark(connection);
    }
}

/* Calls that nobody will answer any more. Each is told; what is told may do anything, so the list is read
 * anew. */
static void end_calls(struct connection *connection) {
    while (!list_empty(&connection->calls))
        call_stream_closed(CONTAINER_OF(connection->calls.next, struct grpc_call, node), ERROR_UNAVAILABLE);
}

void connection_linger(struct connection *connection) {
    connection->state = CONNECTION_LINGER;
    wire_read_stop(&connection->wire, false);
    due_set(&connection->server->dues, &connection->due, io_now_ms(connection->server->io) + CLOSE_LINGER_MS);
    connection_mark(connection);
    end_calls(connection);
}

/* As many frames as the wire takes. False: it was cut. */
static bool pull(struct connection *connection) {
    while (wire_backlog(&connection->wire) < WIRE_BACKLOG_BYTES) {
        const uint8_t *frames;
        ssize_t size = nghttp2_session_mem_send(connection->session, &frames);
        if (connection->wire.closed) return false;
        if (size < 0) {
            connection_cut(connection);
            return false;
        }
        if (size == 0) return true;
        text_add(wire_out(&connection->wire), (struct span){(const char *)frames, (size_t)size});
    }
    return true;
}

/* False: it was cut. */
static bool push(struct connection *connection) {
    struct error *error = wire_push(&connection->wire);
    if (!error) return true;
    error_free(error); /* why a client left helps nobody; its calls are told */
    connection_cut(connection);
    return false;
}

static void send_out(struct connection *connection) {
    nghttp2_session *session = connection->session;
    if (connection->state == CONNECTION_LINGER) {
        if (push(connection) && wire_backlog(&connection->wire) == 0) wire_shut(&connection->wire);
        return;
    }
    bool full = false, more = true;
    for (int i = 0; i < PUSHES && !full && more; i++) { /* once at least: the wire may have something left */
        if (!pull(connection) || !push(connection)) return;
        full = wire_backlog(&connection->wire) > 0;
        more = nghttp2_session_want_write(session);
    }
    if (more && !full) connection_mark(connection);
    bool done = !nghttp2_session_want_read(session) ||
                (connection->state == CONNECTION_LEAVING && list_empty(&connection->calls));
    if (done && !more && !full) {
        connection_linger(connection);
    } else {
        wire_read_stop(&connection->wire,
                       full && nghttp2_session_get_outbound_queue_size(session) > STUCK_FRAMES);
    }
}

void connection_settle(struct connection *connection) {
    struct list round;
    list_init(&round);
    while (!list_empty(&connection->todo)) {
        struct list *first = connection->todo.next;
        list_remove(first);
        list_append(&round, first);
    }
    while (!list_empty(&round)) { /* a call that is closed meanwhile leaves the list by itself */
        struct grpc_call *call = CONTAINER_OF(round.next, struct grpc_call, todo);
        list_remove(&call->todo);
        call_ref(call);
        call_tell(call);
        call_unref(call);
    }
    if (!connection->wire.closed) send_out(connection);
}

static void on_bytes(struct wire *wire, struct span bytes) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    connection->heard_ms = io_now_ms(connection->server->io);
    connection->pinged_ms = 0;
    if (connection->state == CONNECTION_LINGER) return;
    for (size_t i = 0; i < bytes.size && connection->preface < sizeof preface - 1; i++) {
        if (bytes.data[i] == preface[connection->preface]) {
            connection->preface++;
        } else {
            refuse_other_protocol(connection, bytes);
            return;
        }
    }
    struct grpc_server *server = connection->server;
    server_ref(server); /* a callback may free it */
    ssize_t used = nghttp2_session_mem_recv(connection->session, (const uint8_t *)bytes.data, bytes.size);
    if (!connection->wire.closed && used < 0 && connection->state != CONNECTION_LINGER) {
        log_debug("grpc", "%s: %s", connection->peer, nghttp2_strerror((int)used));
        connection_cut(connection);
    }
    connection_mark(connection);
    server_unref(server);
}

static void on_ended(struct wire *wire, struct error *error) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    if (error && connection->state == CONNECTION_GREETING)
        log_debug("grpc", "%s: %s", connection->peer, error->message);
    bool plaintext = error && error->code == ERROR_INVALID_ARGUMENT;
    error_free(error);
    if (plaintext) refuse_plaintext(connection);
    connection_cut(connection);
}

static void on_writable(struct wire *wire) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    struct grpc_server *server = connection->server;
    server_ref(server);
    send_out(connection);
    server_unref(server);
}

static void on_freed(struct wire *wire) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    nghttp2_session_del(connection->session);
    server_unref(connection->server);
    free(connection);
}

static const struct wire_events events = {
    .bytes = on_bytes, .ended = on_ended, .writable = on_writable, .freed = on_freed};

void connection_open(struct grpc_server *server, const struct connection_options *options) {
    struct connection *connection = NEW(struct connection);
    list_init(&connection->node);
    list_init(&connection->dirty);
    list_init(&connection->calls);
    list_init(&connection->todo);
    struct span scratch = {server->scratch, SCRATCH_BYTES};
    struct error *error =
        wire_open(&connection->wire, server->uv, options->fd, options->ssl, scratch, &events);
    if (error) {
        log_warn("grpc", "%s", error->message);
        error_free(error);
        free(connection);
        return;
    }
    connection->server = server;
    connection->tag = options->tag;
    connection->keepalive_ms = options->keepalive_ms;
    connection->gzip_from_bytes = options->gzip_from_bytes;
    connection->secure = options->ssl != NULL;
    connection->number = ++server->last_number;
    connection->due.fire = on_due;
    connection->heard_ms = connection->idle_ms = io_now_ms(server->io);
    snprintf(connection->peer, sizeof connection->peer, "%s", options->peer);
    server_ref(server);
    server->connection_count++;
    list_append(&server->connections, &connection->node);
    error = session_open(connection);
    if (error) {
        log_warn("grpc", "%s", error->message);
        error_free(error);
        connection_cut(connection);
        return;
    }
    /* Nothing is sent before the client's first bytes: who speaks HTTP/1.1 shall be able to read the answer.
     */
    due_set(&server->dues, &connection->due, connection->heard_ms + server->limits.greeting_timeout_ms);
}

void connection_cut(struct connection *connection) {
    if (connection->wire.closed) return;
    struct grpc_server *server = connection->server;
    wire_close(&connection->wire);
    list_remove(&connection->dirty);
    list_remove(&connection->node);
    due_clear(&server->dues, &connection->due);
    server_ref(server);
    end_calls(connection);
    server_connection_gone(server);
    server_unref(server);
}
