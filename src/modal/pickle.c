/* pickle: the few opcodes that an ASGI scope needs, protocol 3. What it makes is ((scope,), {}): the
 * arguments of a web function.
 *
 * Source of the format: Python's pickletools. A scope: asgi.readthedocs.io, "HTTP & WebSocket ASGI Message
 * Format". */
#include "inside.h"

#include <ctype.h>

static void add_size(struct text *out, size_t size) {
    for (unsigned shift = 0; shift < 32; shift += 8) text_add_char(out, (char)(size >> shift));
}

static void add_string(struct text *out, struct span utf8) {
    text_add_char(out, 'X');
    add_size(out, utf8.size);
    text_add(out, utf8);
}

static void add_bytes(struct text *out, struct span bytes) {
    text_add_char(out, 'B');
    add_size(out, bytes.size);
    text_add(out, bytes);
}

static void add_int(struct text *out, uint32_t value) {
    text_add_char(out, 'J');
    add_size(out, value);
}

static void add_pair(struct text *out, const char *key, struct span value) {
    add_string(out, span_of(key));
    add_string(out, value);
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A Python str must be UTF-8; what is none becomes U+FFFD. */
static void add_path(struct text *out, struct span encoded) {
    scoped_text struct text raw = {0}, clean = {0};
    for (size_t i = 0; i < encoded.size; i++) {
        bool escape = encoded.data[i] == '%' && i + 2 < encoded.size && hex_value(encoded.data[i + 1]) >= 0 &&
                      hex_value(encoded.data[i + 2]) >= 0;
        if (escape) {
            text_add_char(&raw, (char)(hex_value(encoded.data[i + 1]) * 16 + hex_value(encoded.data[i + 2])));
            i += 2;
        } else {
            text_add_char(&raw, encoded.data[i]);
        }
    }
    struct span bytes = text_span(&raw);
    for (size_t i = 0; i < bytes.size;) {
        size_t size = utf8_size((struct span){bytes.data + i, bytes.size - i});
        text_add(&clean, size ? (struct span){bytes.data + i, size} : SPAN("\xef\xbf\xbd"));
        i += size ? size : 1;
    }
    add_string(out, text_span(&clean));
}

static void add_headers(struct text *out, const struct http_exchange *exchange) {
    struct span name, value;
    text_add(out, SPAN("]("));
    for (size_t i = 0; http_exchange_header_at(exchange, i, &name, &value); i++) {
        if (gateway_keeps(name, value)) continue;
        scoped_text struct text lower = {0};
        for (size_t c = 0; c < name.size; c++)
            text_add_char(&lower, (char)tolower((unsigned char)name.data[c]));
        text_add_char(out, '(');
        add_bytes(out, text_span(&lower));
        add_bytes(out, value);
        text_add_char(out, 't');
    }
    text_add_char(out, 'e');
}

static void add_client(struct text *out, const char *peer) {
    const char *colon = strrchr(peer, ':');
    uint64_t port = 0;
    struct span host = {peer, colon ? (size_t)(colon - peer) : strlen(peer)};
    if (colon) (void)span_to_u64(span_of(colon + 1), &port);
    if (host.size > 1 && host.data[0] == '[') host = (struct span){host.data + 1, host.size - 2};
    text_add_char(out, '(');
    add_string(out, host);
    add_int(out, (uint32_t)port);
    text_add_char(out, 't');
}

static void add_subprotocols(struct text *out, const struct http_exchange *exchange) {
    struct span rest = http_exchange_header(exchange, "sec-websocket-protocol");
    text_add(out, SPAN("]("));
    while (rest.data) {
        struct span one = span_trim(span_cut(&rest, ','));
        if (one.size > 0) add_string(out, one);
    }
    text_add_char(out, 'e');
}

void pickle_scope(struct text *out, struct http_exchange *exchange, bool websocket, const char *scheme) {
    text_add(out, SPAN("\x80\x03((}("));
    add_pair(out, "type", span_of(websocket ? "websocket" : "http"));
    add_pair(out, "http_version", SPAN("1.1"));
    add_pair(out, "scheme", span_of(scheme));
    if (!websocket) add_pair(out, "method", http_exchange_method(exchange));
    add_string(out, SPAN("path"));
    add_path(out, http_exchange_path(exchange));
    add_string(out, SPAN("query_string"));
    struct span query = http_exchange_query(exchange);
    add_bytes(out, query.data ? query : SPAN(""));
    add_string(out, SPAN("headers"));
    add_headers(out, exchange);
    add_string(out, SPAN("client"));
    add_client(out, http_exchange_peer(exchange));
    if (websocket) {
        add_string(out, SPAN("subprotocols"));
        add_subprotocols(out, exchange);
    } else {
        add_string(out, SPAN("extensions"));
        text_add(out, SPAN("}("));
        add_string(out, SPAN("http.response.trailers"));
        text_add(out, SPAN("}u"));
    }
    text_add(out, SPAN("ut}t."));
}
