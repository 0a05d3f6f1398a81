/* A request and what its handler asks of it. Head, fields and spans live in one allocation with the exchange,
 * so that a waiting request costs its own size and no more. It outlives its connection until its handler ends
 * it. */
#include "server.h"

#include <stdlib.h>

struct http_exchange *exchange_new(struct connection *connection, struct span head, size_t lines,
                                   struct error **ret_error) {
    size_t room = lines < HEAD_FIELDS_MAX ? lines : HEAD_FIELDS_MAX;
    size_t peer_size = strlen(connection->peer) + 1;
    size_t fields_size = room * sizeof(struct http_field);
    struct http_exchange *exchange = malloc(sizeof *exchange + fields_size + head.size + peer_size);
    if (!exchange) {
        *ret_error = error_new(ERROR_RESOURCE_EXHAUSTED, "no memory for the request");
        return NULL;
    }
    memset(exchange, 0, sizeof *exchange);
    char *bytes = (char *)exchange + sizeof *exchange + fields_size;
    memcpy(bytes, head.data, head.size);
    *ret_error = head_parse_request((struct span){bytes, head.size}, exchange->fields, room, &exchange->head);
    if (*ret_error) {
        free(exchange);
        return NULL;
    }
    exchange->head_bytes = head.size;
    exchange->peer = bytes + head.size;
    exchange->secure = connection->wire.ssl != NULL;
    memcpy(exchange->peer, connection->peer, peer_size);
    exchange->connection = connection;
    exchange->io = connection->server->io;
    exchange->tag = connection->tag;
    exchange->left = -1;
    return exchange;
}

void exchange_free(struct http_exchange *exchange) {
    arena_free(exchange->arena);
    text_done(&exchange->collected);
    free(exchange->trailers);
    free(exchange);
}

void exchange_gone(struct http_exchange *exchange) {
    exchange->connection = NULL;
    exchange->is_gone = true;
    if (exchange->gone) {
        exchange->gone(exchange);
    } else if (exchange->reading && !exchange->body_told) {
        exchange_free(exchange);
    }
}

static void tell_all(struct http_exchange *exchange, struct error *error) {
    void (*done)(struct http_exchange *, struct span, struct error *) = exchange->done;
    exchange->body_told = true;
    exchange->reading = false;
    done(exchange, error ? (struct span){0} : text_span(&exchange->collected), error);
}

void exchange_overlong(struct http_exchange *exchange) {
    exchange->body_status = 413;
    tell_all(exchange,
             error_new(ERROR_RESOURCE_EXHAUSTED, "the body is longer than %zu bytes", exchange->limit_bytes));
}

void exchange_piece(struct http_exchange *exchange, struct span bytes) {
    if (!exchange->done) {
        exchange->data(exchange, bytes);
        return;
    }
    if (bytes.size > exchange->limit_bytes - exchange->collected.size) {
        exchange_overlong(exchange);
        return;
    }
    if (connection_holds(exchange->connection, bytes.size)) {
        text_add(&exchange->collected, bytes);
        return;
    }
    exchange->body_status = 503;
    tell_all(exchange, error_new(ERROR_UNAVAILABLE,
                                 "the server holds %zu MiB of requests that it did not answer yet: try again "
                                 "later",
                                 exchange->connection->server->limits.held_bytes >> 20));
}

void exchange_body_end(struct http_exchange *exchange, struct error *error) {
    if (!error && exchange->connection && exchange->connection->body.trailer.size > 2) {
        const struct text *trailer = &exchange->connection->body.trailer;
        exchange->trailers = mem_new(HEAD_FIELDS_MAX * sizeof *exchange->trailers);
        error = head_parse_trailers(text_span(trailer), exchange->trailers, HEAD_FIELDS_MAX,
                                    &exchange->trailer_count);
    }
    if (error) {
        exchange->body_status = error->code == ERROR_DEADLINE_EXCEEDED ? 408 : 400;
        if (exchange->connection)
            exchange->connection->close_after = true; /* where its next request begins is not known */
    }
    if (exchange->done) {
        tell_all(exchange, error);
        return;
    }
    exchange->body_told = true;
    exchange->reading = false;
    exchange->end(exchange, error);
}

static void start_reading(struct http_exchange *exchange) {
    struct connection *connection = exchange->connection;
    exchange->reading = true;
    if (!connection) return; /* gone: no callback comes */
    if (exchange->head.expect_continue && !exchange->continued && !exchange->overlong && !exchange->begun &&
        connection->pending.size == 0 && !connection->body.whole) {
        exchange->continued = true;
        wire_write(&connection->wire, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    connection_process(connection);
}

void http_exchange_read_all(struct http_exchange *exchange, size_t limit_bytes,
                            void (*done)(struct http_exchange *exchange, struct span body,
                                         struct error *error)) {
    exchange->done = done;
    exchange->limit_bytes = limit_bytes;
    exchange->overlong =
        exchange->head.length_bytes > 0 && (uint64_t)exchange->head.length_bytes > limit_bytes;
    start_reading(exchange);
}

void http_exchange_read(struct http_exchange *exchange,
                        void (*data)(struct http_exchange *exchange, struct span bytes),
                        void (*end)(struct http_exchange *exchange, struct error *error)) {
    exchange->data = data;
    exchange->end = end;
    exchange->done = NULL;
    exchange->body_told = false; /* an upgraded one reads a second time */
    start_reading(exchange);
}

void http_exchange_pause(struct http_exchange *exchange, bool paused) {
    if (exchange->paused == paused) return;
    exchange->paused = paused;
    if (!paused && exchange->connection) connection_process(exchange->connection);
}

void http_exchange_release(struct http_exchange *exchange) {
    struct connection *connection = exchange->connection;
    exchange_free(exchange);
    if (!connection) return;
    connection->exchange = NULL;
    connection_cut(connection);
}

struct span http_exchange_method(const struct http_exchange *exchange) {
    return exchange->head.method;
}
struct span http_exchange_target(const struct http_exchange *exchange) {
    return exchange->head.target;
}

/* An absolute target keeps its path and query. */
static struct span from_path(struct span target) {
    if (target.size == 0 || target.data[0] == '/' || target.data[0] == '*') return target;
    const char *slashes = memchr(target.data, '/', target.size);
    size_t at = (size_t)(slashes - target.data) + 2;
    while (at < target.size && target.data[at] != '/' && target.data[at] != '?') at++;
    return at < target.size ? (struct span){target.data + at, target.size - at} : SPAN("/");
}

struct span http_exchange_path(const struct http_exchange *exchange) {
    struct span rest = from_path(exchange->head.target);
    struct span path = span_cut(&rest, '?');
    return path.size > 0 ? path : SPAN("/");
}

struct span http_exchange_query(const struct http_exchange *exchange) {
    struct span rest = from_path(exchange->head.target);
    span_cut(&rest, '?');
    return rest.data ? rest : SPAN("");
}

struct span http_exchange_header(const struct http_exchange *exchange, const char *name) {
    return http_head_field(&exchange->head, name);
}

bool http_exchange_header_at(const struct http_exchange *exchange, size_t i, struct span *ret_name,
                             struct span *ret_value) {
    if (i >= exchange->head.field_count) return false;
    *ret_name = exchange->head.fields[i].name;
    *ret_value = exchange->head.fields[i].value;
    return true;
}

const struct http_head *http_exchange_head(const struct http_exchange *exchange) {
    return &exchange->head;
}
struct span http_exchange_host(const struct http_exchange *exchange) {
    return head_host(&exchange->head);
}
int64_t http_exchange_length(const struct http_exchange *exchange) {
    return exchange->head.length_bytes;
}
const char *http_exchange_peer(const struct http_exchange *exchange) {
    return exchange->peer;
}
bool http_exchange_secure(const struct http_exchange *exchange) {
    return exchange->secure;
}
void *http_exchange_tag(const struct http_exchange *exchange) {
    return exchange->tag;
}
struct io_loop *http_exchange_loop(const struct http_exchange *exchange) {
    return exchange->io;
}
void http_exchange_owner_set(struct http_exchange *exchange, void *owner) {
    exchange->owner = owner;
}
void *http_exchange_owner(const struct http_exchange *exchange) {
    return exchange->owner;
}

struct arena *http_exchange_arena(struct http_exchange *exchange) {
    if (!exchange->arena) exchange->arena = arena_new();
    return exchange->arena;
}

void http_exchange_on_gone(struct http_exchange *exchange, void (*gone)(struct http_exchange *exchange)) {
    exchange->gone = gone;
}

const struct http_field *http_exchange_trailers(const struct http_exchange *exchange, size_t *ret_count) {
    *ret_count = exchange->trailer_count;
    return exchange->trailers;
}

bool http_exchange_body_pending(const struct http_exchange *exchange) {
    return exchange->connection && !exchange->connection->body.whole;
}
