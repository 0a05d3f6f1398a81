/* What stands behind the '?': percent-encoding undone, numbers read. */
#include "inside.h"

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(struct arena *arena, struct span encoded) {
    char *out = arena_alloc(arena, encoded.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < encoded.size; i++) {
        char c = encoded.data[i];
        bool escaped = c == '%' && i + 2 < encoded.size && hex_value(encoded.data[i + 1]) >= 0 &&
                       hex_value(encoded.data[i + 2]) >= 0;
        if (escaped) {
            c = (char)(hex_value(encoded.data[i + 1]) * 16 + hex_value(encoded.data[i + 2]));
            i += 2;
        }
        out[size++] = c == '+' && !escaped ? ' ' : c;
    }
    out[size] = 0;
    return out;
}

const char *query_find(struct arena *arena, struct span query, const char *name) {
    while (query.data) {
        struct span value = span_cut(&query, '&'), key = span_cut(&value, '=');
        if (span_is(key, name)) return decode(arena, value.data ? value : SPAN(""));
    }
    return NULL;
}

const char *query_value(struct http_exchange *exchange, const char *name) {
    return query_find(http_exchange_arena(exchange), http_exchange_query(exchange), name);
}

struct error *query_u64(struct http_exchange *exchange, const char *name, uint64_t absent, uint64_t *ret) {
    const char *value = query_value(exchange, name);
    *ret = absent;
    if (!value || span_to_u64(span_of(value), ret)) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "%s: '%.40s' is no whole number", name, value);
}
