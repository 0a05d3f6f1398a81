/* The answer to an exchange: head and body are gathered in the wire and go out together before the loop
 * sleeps. */
#include "server.h"

#include <stdlib.h>
#include <sys/socket.h>

static void add_status(struct text *out, int minor, int status, struct span reason) {
    char *to = text_reserve(out, 16);
    memcpy(to, minor == 0 ? "HTTP/1.0 " : "HTTP/1.1 ", 9);
    to[9] = (char)('0' + status / 100 % 10);
    to[10] = (char)('0' + status / 10 % 10);
    to[11] = (char)('0' + status % 10);
    to[12] = ' ';
    out->size += 13;
    text_add(out, reason.size > 0 ? reason : span_of(http_status_text(status)));
    text_add(out, SPAN("\r\n"));
}

static void add_number_field(struct text *out, struct span name, uint64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    head_add_field(out, name, (struct span){digits + at, sizeof digits - at});
}

/* How the body will end for the reader, and whether the connection goes on after it. */
static void add_framing(struct http_exchange *exchange, struct text *out, int status, int64_t length_bytes) {
    struct connection *connection = exchange->connection;
    bool head_only = span_is(exchange->head.method, "HEAD");
    bool none = status / 100 == 1 || status == 204 || status == 304;
    exchange->bodiless = none || head_only;
    exchange->left = exchange->bodiless ? -1 : length_bytes;
    if (!none && length_bytes >= 0) {
        add_number_field(out, SPAN("Content-Length"), (uint64_t)length_bytes);
    } else if (!none && exchange->head.minor > 0 && (length_bytes == HTTP_CHUNKED || !head_only)) {
        exchange->chunked = !exchange->bodiless;
        text_add(out, SPAN("Transfer-Encoding: chunked\r\n"));
    } else if (!exchange->bodiless) {
        connection->close_after = true; /* HTTP/1.0 knows no chunks */
    }
    if (!exchange->head.keep_alive || connection->server->closing) connection->close_after = true;
    /* Who waits for our 100 and gets this instead may send its body or not: only a new connection is sure. */
    if (exchange->head.expect_continue && !exchange->continued && !connection->body.whole)
        connection->close_after = true;
    if (connection->close_after) {
        text_add(out, SPAN("Connection: close\r\n"));
    } else if (exchange->head.minor == 0) {
        text_add(out, SPAN("Connection: keep-alive\r\n"));
    }
    text_add(out, SPAN("\r\n"));
}

void http_respond_head(struct http_exchange *exchange, const struct http_head *head) {
    if (!exchange->connection) return;
    exchange->begun = true;
    struct text *out = wire_out(&exchange->connection->wire);
    add_status(out, exchange->head.minor, head->status, head->reason);
    bool dated = false;
    for (size_t i = 0; i < head->field_count; i++) {
        struct span name = head->fields[i].name;
        if (head_is_framing(name)) continue;
        dated |= name.size == 4 && span_is_nocase(name, "date");
        head_add_field(out, name, head->fields[i].value);
    }
    if (!dated) head_add_field(out, SPAN("Date"), span_of(hub_date(exchange->connection->wire.hub)));
    add_framing(exchange, out, head->status, head->length_bytes);
}

void http_respond_interim(struct http_exchange *exchange, const struct http_head *head) {
    if (!exchange->connection || exchange->begun || exchange->head.minor == 0) return;
    if (head->status == 100) {
        if (exchange->continued) return;
        exchange->continued = true;
    }
    struct text *out = wire_out(&exchange->connection->wire);
    add_status(out, 1, head->status, head->reason);
    for (size_t i = 0; i < head->field_count; i++)
        if (!head_is_framing(head->fields[i].name))
            head_add_field(out, head->fields[i].name, head->fields[i].value);
    text_add(out, SPAN("\r\n"));
}

void http_respond_begin(struct http_exchange *exchange, int status, const char *const *fields,
                        int64_t length_bytes) {
    struct http_field pairs[64];
    struct http_head head = {.status = status, .fields = pairs, .length_bytes = length_bytes};
    for (; fields && fields[0] && head.field_count < COUNT(pairs); fields += 2)
        pairs[head.field_count++] = (struct http_field){span_of(fields[0]), span_of(fields[1])};
    http_respond_head(exchange, &head);
}

bool http_respond_write(struct http_exchange *exchange, struct span bytes) {
    struct connection *connection = exchange->connection;
    if (!connection || exchange->bodiless || bytes.size == 0) return true;
    if (exchange->left >= 0) {
        if (bytes.size > (uint64_t)exchange->left) bytes.size = (size_t)exchange->left;
        exchange->left -= (int64_t)bytes.size;
    }
    if (!exchange->chunked) return wire_write(&connection->wire, bytes);
    body_add_chunk_size(wire_out(&connection->wire), bytes.size);
    wire_write(&connection->wire, bytes);
    return wire_write(&connection->wire, SPAN("\r\n"));
}

void http_respond_on_drained(struct http_exchange *exchange,
                             void (*drained)(struct http_exchange *exchange)) {
    exchange->drained = drained;
}

void http_respond_end_trailers(struct http_exchange *exchange, const struct http_field *fields,
                               size_t count) {
    struct connection *connection = exchange->connection;
    if (!connection) {
        exchange_free(exchange);
        return;
    }
    if (exchange->left > 0) { /* less than was promised: the client must see that it is not whole */
        http_respond_abort(exchange);
        return;
    }
    if (exchange->chunked) {
        struct text *out = wire_out(&connection->wire);
        text_add(out, SPAN("0\r\n"));
        for (size_t i = 0; i < count; i++)
            if (!head_is_framing(fields[i].name)) head_add_field(out, fields[i].name, fields[i].value);
        text_add(out, SPAN("\r\n"));
    }
    exchange_free(exchange);
    connection_answered(connection);
}

void http_respond_end(struct http_exchange *exchange) {
    http_respond_end_trailers(exchange, NULL, 0);
}

void http_respond_upgrade(struct http_exchange *exchange, const struct http_head *head) {
    struct connection *connection = exchange->connection;
    if (!connection) return;
    exchange->begun = true;
    exchange->raw = true;
    connection->state = CONNECTION_RAW;
    struct text *out = wire_out(&connection->wire);
    add_status(out, 1, 101, head->reason);
    text_add(out, SPAN("Connection: Upgrade\r\n"));
    for (size_t i = 0; i < head->field_count; i++)
        if (!head_is_framing(head->fields[i].name))
            head_add_field(out, head->fields[i].name, head->fields[i].value);
    text_add(out, SPAN("\r\n"));
}

void http_respond_abort(struct http_exchange *exchange) {
    struct connection *connection = exchange->connection;
    if (connection && exchange->begun && !exchange->chunked) {
        /* Where the end of the connection is the end of the body, only a reset tells that it is not whole. */
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->wire.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    http_exchange_release(exchange);
}

void http_respond(struct http_exchange *exchange, int status, const char *const *fields, struct span body) {
    http_respond_begin(exchange, status, fields, (int64_t)body.size);
    http_respond_write(exchange, body);
    if (exchange->connection && exchange->bodiless) exchange->left = -1;
    http_respond_end(exchange);
}

void http_respond_json(struct http_exchange *exchange, int status, json_t *taken_json) {
    static const char *const fields[] = {"Content-Type", "application/json", NULL};
    scoped_string char *text = json_dumps(taken_json, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(taken_json);
    http_respond(exchange, status, fields, text ? span_of(text) : SPAN("null"));
}

/* {"error": ..., "code": ...} */
static void add_error_body(struct text *body, const struct error *error) {
    scoped_string char *text = error_text(error);
    text_add(body, SPAN("{\"error\":"));
    text_add_json(body, span_of(text));
    text_printf(body, ",\"code\":\"%s\"}\n", error_code_name(error->code));
}

void http_respond_error(struct http_exchange *exchange, struct error *error) {
    static const char *const fields[] = {"Content-Type", "application/json", NULL};
    scoped_text struct text body = {0};
    add_error_body(&body, error);
    int status = exchange->body_status ? exchange->body_status : error_http(error->code);
    error_free(error);
    http_respond(exchange, status, fields, text_span(&body));
}

void answer_simple(struct connection *connection, int status, struct error *error) {
    scoped_text struct text body = {0};
    add_error_body(&body, error);
    error_free(error);
    struct text *out = wire_out(&connection->wire);
    add_status(out, 1, status, (struct span){0});
    text_add(out, SPAN("Content-Type: application/json\r\nConnection: close\r\n"));
    head_add_field(out, SPAN("Date"), span_of(hub_date(connection->wire.hub)));
    add_number_field(out, SPAN("Content-Length"), body.size);
    text_add(out, SPAN("\r\n"));
    text_add(out, text_span(&body));
}
