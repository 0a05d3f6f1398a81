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

static void set_keepalive(struct conn *conn, int64_t at_ms) {
    if (conn->keepalive_ms >= 10 * ROUND_KEEPALIVE_MS && at_ms != GRPC_NEVER)
        at_ms += ROUND_KEEPALIVE_MS - at_ms % ROUND_KEEPALIVE_MS;
    due_set(&conn->server->dues, &conn->due, at_ms);
}

static void keep_alive(struct conn *conn) {
    const struct grpc_limits *limits = &conn->server->limits;
    int64_t now_ms = io_now_ms(conn->server->io);
    if (conn->keepalive_ms == GRPC_NEVER) return;
    if (conn->pinged_ms > 0 && now_ms - conn->pinged_ms >= limits->keepalive_timeout_ms) {
        log_debug("grpc", "%s: no sign of life for %lld ms", conn->peer,
                  (long long)(now_ms - conn->heard_ms));
        conn_cut(conn);
        return;
    }
    int64_t next_ms = conn->heard_ms + conn->keepalive_ms;
    if (conn->pinged_ms > 0) {
        next_ms = conn->pinged_ms + limits->keepalive_timeout_ms;
    } else if (next_ms <= now_ms) {
        nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
        conn_mark(conn);
        conn->pinged_ms = now_ms;
        next_ms = now_ms + limits->keepalive_timeout_ms;
    }
    set_keepalive(conn, next_ms);
}

static void on_due(struct due *due) {
    struct conn *conn = CONTAINER_OF(due, struct conn, due);
    bool open = conn->state == CONN_OPEN || conn->state == CONN_LEAVING;
    if (!open) {
        conn_cut(conn);
    } else if (!list_empty(&conn->calls)) {
        keep_alive(conn);
    } else if (conn->server->closing || conn->server->limits.idle_timeout_ms > 0) {
        conn_leave(conn);
    }
}

void conn_greeted(struct conn *conn) {
    if (conn->state != CONN_GREETING) return;
    conn->state = CONN_OPEN;
    due_clear(&conn->server->dues, &conn->due);
    if (list_empty(&conn->calls)) conn_call_gone(conn);
}

void conn_call_opened(struct conn *conn) {
    if (conn->idle_ms == 0) return; /* it is watched already */
    conn->idle_ms = 0;
    conn->pinged_ms = 0;
    int64_t now_ms = io_now_ms(conn->server->io);
    set_keepalive(conn, conn->keepalive_ms == GRPC_NEVER ? GRPC_NEVER : now_ms + conn->keepalive_ms);
}

void conn_call_gone(struct conn *conn) {
    if (!list_empty(&conn->calls) || conn->line.closed) return;
    struct grpc_server *server = conn->server;
    if (conn->state == CONN_OPEN) {
        conn->idle_ms = io_now_ms(server->io);
        int64_t patience_ms = server->closing ? FAREWELL_MS : server->limits.idle_timeout_ms;
        due_set(&server->dues, &conn->due, patience_ms > 0 ? conn->idle_ms + patience_ms : GRPC_NEVER);
    }
    conn_mark(conn);
}

void conn_mark(struct conn *conn) {
    if (!conn->line.closed) server_mark(conn->server, &conn->dirty);
}

void conn_part(struct conn *conn) {
    int64_t now_ms = io_now_ms(conn->server->io);
    if (!list_empty(&conn->calls) || conn->state == CONN_LINGER) return;
    if (conn->state ==
        CONN_GREETING) { /* whose first call is on its way shall read GOAWAY, and ask elsewhere */
        due_set(&conn->server->dues, &conn->due, now_ms + FAREWELL_MS);
    } else if (conn->idle_ms + FAREWELL_MS > now_ms) {
        due_set(&conn->server->dues, &conn->due, conn->idle_ms + FAREWELL_MS);
    } else {
        conn_leave(conn);
    }
}

void conn_leave(struct conn *conn) {
    if (conn->state != CONN_OPEN) return;
    conn->state = CONN_LEAVING;
    nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, conn->last_stream, NGHTTP2_NO_ERROR, NULL, 0);
    conn_mark(conn);
}

/* Calls that nobody will answer any more. Each is told; what is told may do anything, so the list is read
 * anew. */
static void end_calls(struct conn *conn) {
    while (!list_empty(&conn->calls))
        call_stream_closed(CONTAINER_OF(conn->calls.next, struct grpc_call, node), ERROR_UNAVAILABLE);
}

void conn_linger(struct conn *conn) {
    conn->state = CONN_LINGER;
    line_read_stop(&conn->line, false);
    due_set(&conn->server->dues, &conn->due, io_now_ms(conn->server->io) + CLOSE_LINGER_MS);
    conn_mark(conn);
    end_calls(conn);
}

/* As many frames as the line takes. False: it was cut. */
static bool pull(struct conn *conn) {
    while (line_backlog(&conn->line) < LINE_BACKLOG_BYTES) {
        const uint8_t *frames;
        ssize_t size = nghttp2_session_mem_send(conn->session, &frames);
        if (conn->line.closed) return false;
        if (size < 0) {
            conn_cut(conn);
            return false;
        }
        if (size == 0) return true;
        text_add(line_out(&conn->line), (struct span){(const char *)frames, (size_t)size});
    }
    return true;
}

/* False: it was cut. */
static bool push(struct conn *conn) {
    struct error *error = line_push(&conn->line);
    if (!error) return true;
    error_free(error); /* why a client left helps nobody; its calls are told */
    conn_cut(conn);
    return false;
}

static void send_out(struct conn *conn) {
    nghttp2_session *session = conn->session;
    if (conn->state == CONN_LINGER) {
        if (push(conn) && line_backlog(&conn->line) == 0) line_shut(&conn->line);
        return;
    }
    bool full = false, more = true;
    for (int i = 0; i < PUSHES && !full && more; i++) { /* once at least: the line may have something left */
        if (!pull(conn) || !push(conn)) return;
        full = line_backlog(&conn->line) > 0;
        more = nghttp2_session_want_write(session);
    }
    if (more && !full) conn_mark(conn);
    bool done =
        !nghttp2_session_want_read(session) || (conn->state == CONN_LEAVING && list_empty(&conn->calls));
    if (done && !more && !full) {
        conn_linger(conn);
    } else {
        line_read_stop(&conn->line, full && nghttp2_session_get_outbound_queue_size(session) > STUCK_FRAMES);
    }
}

void conn_settle(struct conn *conn) {
    struct list round;
    list_init(&round);
    while (!list_empty(&conn->todo)) {
        struct list *first = conn->todo.next;
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
    if (!conn->line.closed) send_out(conn);
}

static void on_bytes(struct line *line, struct span bytes) {
    struct conn *conn = CONTAINER_OF(line, struct conn, line);
    conn->heard_ms = io_now_ms(conn->server->io);
    conn->pinged_ms = 0;
    if (conn->state == CONN_LINGER) return;
    for (size_t i = 0; i < bytes.size && conn->preface < sizeof preface - 1; i++) {
        if (bytes.data[i] == preface[conn->preface]) {
            conn->preface++;
        } else {
            refuse_other_protocol(conn, bytes);
            return;
        }
    }
    struct grpc_server *server = conn->server;
    server_ref(server); /* a callback may free it */
    ssize_t used = nghttp2_session_mem_recv(conn->session, (const uint8_t *)bytes.data, bytes.size);
    if (!conn->line.closed && used < 0 && conn->state != CONN_LINGER) {
        log_debug("grpc", "%s: %s", conn->peer, nghttp2_strerror((int)used));
        conn_cut(conn);
    }
    conn_mark(conn);
    server_unref(server);
}

static void on_ended(struct line *line, struct error *error) {
    struct conn *conn = CONTAINER_OF(line, struct conn, line);
    if (error && conn->state == CONN_GREETING) log_debug("grpc", "%s: %s", conn->peer, error->message);
    bool plaintext = error && error->code == ERROR_INVALID_ARGUMENT;
    error_free(error);
    if (plaintext) refuse_plaintext(conn);
    conn_cut(conn);
}

static void on_writable(struct line *line) {
    struct conn *conn = CONTAINER_OF(line, struct conn, line);
    struct grpc_server *server = conn->server;
    server_ref(server);
    send_out(conn);
    server_unref(server);
}

static void on_freed(struct line *line) {
    struct conn *conn = CONTAINER_OF(line, struct conn, line);
    nghttp2_session_del(conn->session);
    server_unref(conn->server);
    free(conn);
}

static const struct line_events events = {
    .bytes = on_bytes, .ended = on_ended, .writable = on_writable, .freed = on_freed};

void conn_open(struct grpc_server *server, const struct conn_options *options) {
    struct conn *conn = NEW(struct conn);
    list_init(&conn->node);
    list_init(&conn->dirty);
    list_init(&conn->calls);
    list_init(&conn->todo);
    struct span scratch = {server->scratch, SCRATCH_BYTES};
    struct error *error = line_open(&conn->line, server->uv, options->fd, options->ssl, scratch, &events);
    if (error) {
        log_warn("grpc", "%s", error->message);
        error_free(error);
        free(conn);
        return;
    }
    conn->server = server;
    conn->tag = options->tag;
    conn->keepalive_ms = options->keepalive_ms;
    conn->gzip_from_bytes = options->gzip_from_bytes;
    conn->secure = options->ssl != NULL;
    conn->number = ++server->last_number;
    conn->due.fire = on_due;
    conn->heard_ms = conn->idle_ms = io_now_ms(server->io);
    snprintf(conn->peer, sizeof conn->peer, "%s", options->peer);
    server_ref(server);
    server->connection_count++;
    list_append(&server->connections, &conn->node);
    error = session_open(conn);
    if (error) {
        log_warn("grpc", "%s", error->message);
        error_free(error);
        conn_cut(conn);
        return;
    }
    /* Nothing is sent before the client's first bytes: who speaks HTTP/1.1 shall be able to read the answer.
     */
    due_set(&server->dues, &conn->due, conn->heard_ms + server->limits.greeting_timeout_ms);
}

void conn_cut(struct conn *conn) {
    if (conn->line.closed) return;
    struct grpc_server *server = conn->server;
    line_close(&conn->line);
    list_remove(&conn->dirty);
    list_remove(&conn->node);
    due_clear(&server->dues, &conn->due);
    server_ref(server);
    end_calls(conn);
    server_conn_gone(server);
    server_unref(server);
}
