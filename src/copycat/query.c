/* URLs: what is escaped in them, and the part behind the question mark. */
#include "accounts.h"

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

struct span url_decoded(struct http_exchange *exchange, struct span text, bool plus_is_blank) {
    char *out = arena_string(http_exchange_arena(exchange), text);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        int high = c == '%' && i + 2 < text.size ? digit(text.data[i + 1]) : -1;
        int low = high >= 0 ? digit(text.data[i + 2]) : -1;
        if (low >= 0) {
            out[size++] = (char)(high << 4 | low);
            i += 2;
        } else {
            out[size++] = c == '+' && plus_is_blank ? ' ' : c;
        }
    }
    return (struct span){out, size};
}

struct span query_value(struct http_exchange *exchange, const char *name) {
    struct span rest = http_exchange_query(exchange);
    while (rest.data && rest.size > 0) {
        struct span value = span_cut(&rest, '&'), key = span_cut(&value, '=');
        if (span_is(key, name)) return url_decoded(exchange, value.data ? value : SPAN(""), true);
    }
    return (struct span){0};
}
