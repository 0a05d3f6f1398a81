/* A client's connection: bytes become requests, one at a time, in order.
 *
 *   head --whole--> exchange --answered--> head            (keep-alive; pipelined requests wait in `pending`)
 *                      |  `--body unread--> discard --whole--> head
 *                      `--101--> raw            `--too much--> linger --end or 2 s--> closed
 * Bytes are parsed where they were read; only what can't be used yet is copied. While an exchange doesn't ask
 * for its body no more than one read of it is held here. Ends: the client closes, a timeout, a broken head
 * (answered, then linger), the server closes. */
#include "server.h"

#include <stdlib.h>
#include <sys/socket.h>

#define DISCARD_MAX (256 * 1024)
#define PENDING_READ 16384

static void process(struct connection *connection);

/* Who sends request after request and reads no answer: the next one waits until some of the last are out. */
static bool held_back(const struct connection *connection) {
    return wire_backlog(&connection->wire) > WIRE_BACKLOG_BYTES;
}

static bool body_wanted(const struct connection *connection) {
    return connection->exchange && connection->exchange->reading && !connection->exchange->paused;
}

static size_t appetite(struct wire *wire) {
    const struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    switch (connection->state) {
    case CONNECTION_HEAD: return held_back(connection) ? 0 : HUB_SCRATCH_BYTES;
    case CONNECTION_DISCARD:
    case CONNECTION_LINGER: return HUB_SCRATCH_BYTES;
    case CONNECTION_EXCHANGE:
        if (!connection->body.whole && body_wanted(connection)) return HUB_SCRATCH_BYTES;
        /* A read tells that the client is gone, or brings its next request, of which one piece may wait here.
         */
        return connection->body.whole && connection->pending.size == 0 ? PENDING_READ : 0;
    case CONNECTION_RAW: return body_wanted(connection) ? HUB_SCRATCH_BYTES : 0;
    }
    return 0;
}

/* Who leaves wants no answer. Behind an upgrade the last bytes count, so they are read first. */
static bool hangup_ends(struct wire *wire) {
    return CONTAINER_OF(wire, struct connection, wire)->state != CONNECTION_RAW;
}

/* Takes a head off the front of *bytes and tells of the request. False: more bytes are needed, or all is
 * over. */
static bool take_head(struct connection *connection, struct span *bytes) {
    struct http_server *server = connection->server;
    while (connection->scan.checked == 0 && bytes->size >= 2 && memcmp(bytes->data, "\r\n", 2) == 0) {
        bytes->data += 2; /* an empty line before a request is let through: RFC 9112, 2.2 */
        bytes->size -= 2;
    }
    if (bytes->size == 0 || !server) return false;
    if (server->closing && !connection->last) {
        connection_cut(connection);
        return false;
    }
    size_t size = 0;
    const char *why = NULL;
    /* Not beyond the limit: what is wrong behind it must not count, however the bytes come in. */
    size_t limit = server->limits.head_bytes;
    struct span within = {bytes->data, bytes->size < limit ? bytes->size : limit};
    enum head_state state = head_scan(&connection->scan, within, &size, &why);
    if (state == HEAD_MORE && bytes->size > limit) {
        connection_refuse(connection, 431,
                          error_new(ERROR_RESOURCE_EXHAUSTED, "the head is longer than %zu bytes", limit));
        return false;
    }
    if (state == HEAD_BROKEN) {
        connection_refuse(connection, 400, error_new(ERROR_INVALID_ARGUMENT, "%s", why));
        return false;
    }
    if (state == HEAD_MORE) {
        if (connection->wire.read_wait.kind != WAIT_HEAD)
            hub_wait_start(connection->wire.hub, &connection->wire.read_wait, WAIT_HEAD);
        return false;
    }
    struct error *error = NULL;
    struct http_exchange *exchange =
        exchange_new(connection, (struct span){bytes->data, size}, connection->scan.lines, &error);
    if (!exchange) {
        int status = error->code == ERROR_INVALID_ARGUMENT      ? 400
                     : error->code == ERROR_OUT_OF_RANGE        ? 505
                     : error->code == ERROR_RESOURCE_EXHAUSTED  ? 431
                     : error->code == ERROR_FAILED_PRECONDITION ? 417
                                                                : 501;
        connection_refuse(connection, status, error);
        return false;
    }
    bytes->data += size;
    bytes->size -= size;
    connection->scan = (struct head_scan){0};
    connection->exchange = exchange;
    connection->asked = true;
    connection->last = false;
    connection->state = CONNECTION_EXCHANGE;
    body_start(&connection->body, exchange->head.length_bytes);
    hub_wait_stop(&connection->wire.read_wait);
    if (connection->wire.misplaced) {
        connection->close_after = true;
        answer_misplaced(exchange);
    } else {
        server->on_request(server->owner, exchange);
    }
    return true;
}

/* One step of a body. False: no more can be done now. */
static bool take_body(struct connection *connection, struct span *bytes) {
    struct span piece = {0};
    struct http_exchange *exchange = connection->exchange;
    switch (body_take(&connection->body, bytes, &piece)) {
    case BODY_MORE: return false;
    case BODY_PIECE:
        if (exchange) {
            exchange_piece(exchange, piece);
        } else {
            connection->discarded += piece.size;
            if (connection->discarded > DISCARD_MAX) connection->close_after = true;
        }
        return true;
    case BODY_WHOLE:
        if (exchange) {
            exchange_body_end(exchange, NULL);
        } else {
            connection->state = connection->close_after ? CONNECTION_LINGER : CONNECTION_HEAD;
        }
        return true;
    case BODY_BROKEN: break;
    }
    if (exchange && !exchange->begun) {
        /* What was promised as a body is none; nothing behind it can be trusted, so the answer is given here.
         */
        struct error *error = error_new(ERROR_INVALID_ARGUMENT, "the chunks of the body are broken");
        connection->exchange = NULL;
        connection_refuse(connection, 400, error);
        exchange_gone(exchange);
    } else {
        connection_cut(connection);
    }
    return false;
}

/* One step. False: bytes are needed, or somebody who takes them. */
static bool step(struct connection *connection, struct span *bytes) {
    struct http_exchange *exchange = connection->exchange;
    switch (connection->state) {
    case CONNECTION_HEAD:
        if (connection->close_after) connection->state = CONNECTION_LINGER;
        if (!connection->close_after && held_back(connection)) {
            connection->wire.stopped = true; /* `drained` tells when to go on */
            return false;
        }
        return connection->close_after || take_head(connection, bytes);
    case CONNECTION_EXCHANGE:
        if (!exchange || !body_wanted(connection) || exchange->body_told) return false;
        if (!exchange->overlong) return take_body(connection, bytes);
        exchange_overlong(exchange);
        return true;
    case CONNECTION_DISCARD:
        if (connection->close_after) connection->state = CONNECTION_LINGER;
        return connection->close_after || take_body(connection, bytes);
    case CONNECTION_RAW:
        if (bytes->size == 0 || !body_wanted(connection)) return false;
        struct span all = *bytes;
        *bytes = (struct span){0};
        exchange_piece(exchange, all);
        return true;
    case CONNECTION_LINGER: *bytes = (struct span){0}; return false;
    }
    return false;
}

/* What is waited for from the client now. */
static void set_wait(struct connection *connection) {
    enum hub_wait kind = WAIT_NONE;
    switch (connection->state) {
    case CONNECTION_HEAD:
        if (held_back(connection)) break; /* the wait for its reading counts */
        kind = connection->pending.size > 0 || connection->scan.checked > 0 ? WAIT_HEAD : WAIT_IDLE;
        break;
    case CONNECTION_EXCHANGE:
        kind = body_wanted(connection) && !connection->body.whole ? WAIT_BODY : WAIT_NONE;
        break;
    case CONNECTION_DISCARD: kind = WAIT_BODY; break;
    case CONNECTION_RAW: break;
    case CONNECTION_LINGER: kind = WAIT_LINGER; break;
    }
    struct hub_waiter *waiter = &connection->wire.read_wait;
    /* While a body comes the wait begins anew with each byte; empty lines between requests prolong nothing.
     */
    bool from_its_start = kind != WAIT_BODY;
    if (kind == WAIT_NONE ? waiter->kind != WAIT_NONE : !(from_its_start && waiter->kind == kind))
        hub_wait_start(connection->wire.hub, waiter, kind);
}

/* Uses what it can of `bytes`; returns what is left. */
static struct span use(struct connection *connection, struct span bytes) {
    connection->processing = true;
    while (!connection->wire.closed && step(connection, &bytes)) continue;
    connection->processing = false;
    if (connection->wire.closed) return (struct span){0};
    if (connection->state == CONNECTION_LINGER && !connection->shut) wire_finish(&connection->wire);
    return bytes;
}

static void on_bytes(struct wire *wire, struct span bytes) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    if (connection->pending.size > 0) {
        text_add(&connection->pending, bytes);
        process(connection);
        return;
    }
    struct span left = use(connection, bytes);
    if (wire->closed) return;
    if (left.size > 0) text_add(&connection->pending, left);
    set_wait(connection);
}

static void process(struct connection *connection) {
    size_t before = connection->pending.size;
    struct span left = use(connection, text_span(&connection->pending));
    if (connection->wire.closed) return;
    text_remove_front(&connection->pending, before - left.size);
    if (connection->pending.size == 0) text_done(&connection->pending);
    set_wait(connection);
    if (appetite(&connection->wire) > 0) wire_want(&connection->wire);
}

void connection_process(struct connection *connection) {
    if (!connection->processing)
        wire_resume(&connection->wire); /* else the loop in `use` goes on by itself */
}

static void on_resume(struct wire *wire) {
    process(CONTAINER_OF(wire, struct connection, wire));
}

static void on_ended(struct wire *wire, struct error *error) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    error_free(error); /* the request that it ends is told `gone`; why a client left helps nobody */
    struct http_exchange *exchange = connection->exchange;
    if (exchange && connection->state == CONNECTION_RAW && exchange->reading && !exchange->body_told) {
        connection->exchange = NULL;
        exchange->connection = NULL;
        exchange->is_gone = true;
        connection_cut(connection);
        exchange_body_end(exchange, NULL);
        return;
    }
    connection_cut(connection);
}

static void on_drained(struct wire *wire) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    if (connection->state == CONNECTION_LINGER) {
        /* Our last byte is out. When all that the client sent was read a close is clean; otherwise wait for
         * its end. */
        if (connection->shut) return;
        connection->shut = true;
        wire_shut(wire);
        if (connection->body.whole && connection->pending.size == 0 && connection->discarded == 0) {
            connection_cut(connection);
        } else {
            text_done(&connection->pending);
            wire_want(wire);
            hub_wait_start(wire->hub, &wire->read_wait, WAIT_LINGER);
        }
    } else if (connection->exchange && connection->exchange->drained) {
        connection->exchange->drained(connection->exchange);
    } else if (connection->state == CONNECTION_HEAD) {
        connection_process(connection);
    }
}

static void on_freed(struct wire *wire) {
    struct connection *connection = CONTAINER_OF(wire, struct connection, wire);
    text_done(&connection->pending);
    body_done(&connection->body);
    free(connection);
}

static void on_expired(struct hub_waiter *waiter, enum hub_wait kind) {
    struct connection *connection =
        CONTAINER_OF(CONTAINER_OF(waiter, struct wire, read_wait), struct connection, wire);
    struct http_exchange *exchange = connection->exchange;
    if (kind == WAIT_HEAD && connection->pending.size > 0) {
        connection_refuse(connection, 408,
                          error_new(ERROR_DEADLINE_EXCEEDED, "the head did not come in time"));
    } else if (kind == WAIT_BODY && exchange && exchange->reading && !exchange->body_told &&
               !exchange->begun) {
        connection->close_after = true;
        exchange_body_end(exchange, error_new(ERROR_DEADLINE_EXCEEDED, "nothing of the body came for %d s",
                                              (int)(connection->wire.hub->wait_ms[WAIT_BODY] / 1000)));
    } else {
        wire_shut(&connection->wire);
        connection_cut(connection);
    }
}

static const struct wire_events events = {
    .appetite = appetite,
    .hangup_ends = hangup_ends,
    .bytes = on_bytes,
    .ended = on_ended,
    .resume = on_resume,
    .drained = on_drained,
    .freed = on_freed,
};

void connection_open(struct http_server *server, int fd, SSL *ssl, void *tag, const char *peer) {
    struct connection *connection = NEW(struct connection);
    struct error *error = wire_open(&connection->wire, server->hub, fd, ssl, &events);
    if (error) {
        error_free(error);
        free(connection);
        return;
    }
    connection->wire.read_wait.expired = on_expired;
    connection->server = server;
    connection->tag = tag;
    connection->body.whole = true;
    snprintf(connection->peer, sizeof connection->peer, "%s", peer);
    list_append(&server->connections, &connection->node);
    server->connection_count++;
    hub_wait_start(server->hub, &connection->wire.read_wait, WAIT_HEAD);
}

bool connection_holds(struct connection *connection, size_t bytes) {
    struct http_server *server = connection->server;
    if (!server) return true;
    connection->held += bytes;
    server->held_bytes += bytes;
    return server->held_bytes <= server->limits.held_bytes;
}

static void hold_nothing(struct connection *connection) {
    if (connection->server) connection->server->held_bytes -= connection->held;
    connection->held = 0;
}

void connection_cut(struct connection *connection) {
    if (connection->wire.closed) return;
    hold_nothing(connection);
    struct http_exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    wire_close(&connection->wire);
    server_connection_gone(connection);
    if (exchange) exchange_gone(exchange);
}

void connection_refuse(struct connection *connection, int status, struct error *error) {
    connection->close_after = true;
    connection->discarded = 1;
    answer_simple(connection, status, error);
    connection->state = CONNECTION_LINGER;
    wire_finish(&connection->wire);
    hub_wait_start(connection->wire.hub, &connection->wire.read_wait, WAIT_LINGER);
}

void connection_answered(struct connection *connection) {
    struct http_server *server = connection->server;
    connection->exchange = NULL;
    hold_nothing(connection);
    if (!server || server->closing) connection->close_after = true;
    if (connection->state == CONNECTION_RAW) {
        connection->close_after = true;
        connection->body.whole = true;
    }
    connection->discarded = 0;
    connection->state = connection->body.whole ? CONNECTION_HEAD : CONNECTION_DISCARD;
    if (connection->close_after) {
        connection->state = CONNECTION_LINGER;
        wire_finish(&connection->wire);
    }
    if (connection->processing) return; /* the loop that told of the request goes on */
    if (connection->pending.size > 0 || connection->state != CONNECTION_HEAD) {
        connection_process(connection);
    } else {
        set_wait(connection);
    }
}
