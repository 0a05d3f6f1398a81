/* Which header fields go on. Fields of one connection (RFC 9110, 7.6.1) and those that Connection names end
 * here; framing is http's. Who the client is and what it asked for is told in X-Forwarded-*: a client on this
 * machine may have told it before us (a proxy in front), any other is not believed, nor one that writes these
 * names with underscores, which some apps read as dashes. */
#include "inside.h"

static bool ends_here(struct span name) {
    switch (name.size) {
    case 2: return span_is_nocase(name, "te");
    case 7: return span_is_nocase(name, "upgrade");
    case 10: return span_is_nocase(name, "connection") || span_is_nocase(name, "keep-alive");
    case 14: return span_is_nocase(name, "content-length") || span_is_nocase(name, "http2-settings");
    case 16: return span_is_nocase(name, "proxy-connection");
    case 17: return span_is_nocase(name, "transfer-encoding");
    case 18: return span_is_nocase(name, "proxy-authenticate");
    case 19: return span_is_nocase(name, "proxy-authorization");
    default: return false;
    }
}

/* "X-Forwarded-For", ...: its letter, '_' where it is written with underscores; 0 for all other names. */
static char forwarded(struct span name) {
    static const char prefix[] = "x-forwarded-";
    bool underscores = false;
    if (name.size < 15 || name.size > 17 || (name.data[0] | 32) != 'x') return 0;
    for (size_t i = 1; i < sizeof prefix - 1; i++) {
        char c = name.data[i];
        underscores |= c == '_';
        if (prefix[i] == '-' ? c != '-' && c != '_' : (c | 32) != prefix[i]) return 0;
    }
    struct span rest = {name.data + sizeof prefix - 1, name.size - (sizeof prefix - 1)};
    char letter = span_is_nocase(rest, "for")     ? 'f'
                  : span_is_nocase(rest, "proto") ? 'p'
                  : span_is_nocase(rest, "host")  ? 'h'
                                                  : 0;
    return letter && underscores ? '_' : letter;
}

static bool is_connection(struct span name) {
    return name.size == 10 && span_is_nocase(name, "connection");
}

/* Connection may name more fields that end here; mostly it says keep-alive, close or upgrade. */
static bool connection_names_more(const struct http_head *head) {
    for (size_t i = 0; i < head->field_count; i++) {
        struct span value = head->fields[i].value;
        if (!is_connection(head->fields[i].name) || value.size == 0) continue;
        if (!span_is_nocase(value, "keep-alive") && !span_is_nocase(value, "close") &&
            !span_is_nocase(value, "upgrade"))
            return true;
    }
    return false;
}

static bool connection_names(const struct http_head *head, struct span name) {
    for (size_t i = 0; i < head->field_count; i++) {
        struct span rest = is_connection(head->fields[i].name) ? head->fields[i].value : (struct span){0};
        while (rest.data)
            if (span_equal_nocase(span_trim(span_cut(&rest, ',')), name)) return true;
    }
    return false;
}

static bool is_local(const char *peer) {
    return strncmp(peer, "127.", 4) == 0 || strncmp(peer, "[::1]", 5) == 0 ||
           strncmp(peer, "[::ffff:127.", 12) == 0 || strcmp(peer, "unix") == 0;
}

/* "1.2.3.4:5" and "[::1]:5" without port and brackets. */
static struct span ip_of(const char *peer) {
    const char *colon = strrchr(peer, ':');
    struct span ip = colon ? (struct span){peer, (size_t)(colon - peer)} : span_of(peer);
    if (ip.size > 2 && ip.data[0] == '[') ip = (struct span){ip.data + 1, ip.size - 2};
    return ip;
}

static struct span joined(struct http_exchange *exchange, struct span list, struct span more) {
    if (list.size == 0) return more;
    return span_of(arena_printf(http_exchange_arena(exchange), SPAN_FORMAT ", " SPAN_FORMAT, SPAN_ARGS(list),
                                SPAN_ARGS(more)));
}

static void add(struct http_field *fields, size_t *count, struct span name, struct span value) {
    if (*count < FIELDS_MAX) fields[(*count)++] = (struct http_field){name, value};
}

size_t fields_upstream(struct http_exchange *exchange, struct http_field fields[FIELDS_MAX]) {
    const struct http_head *head = http_exchange_head(exchange);
    const char *peer = http_exchange_peer(exchange);
    bool local = is_local(peer);
    struct span host = http_exchange_host(exchange);
    bool more = connection_names_more(head);
    struct span proto = http_exchange_secure(exchange) ? SPAN("https") : SPAN("http"), outer_host = host,
                before = {0};
    size_t count = 0;
    add(fields, &count, SPAN("Host"), host);
    for (size_t i = 0; i < head->field_count; i++) {
        struct span name = head->fields[i].name, value = head->fields[i].value;
        if (name.size == 4 && span_is_nocase(name, "host")) continue;
        if (gateway_keeps(name, value)) continue;
        switch (forwarded(name)) {
        case '_': continue;
        case 'f': before = joined(exchange, before, value); continue;
        case 'p':
            if (local) proto = value;
            continue;
        case 'h':
            if (local) outer_host = value;
            continue;
        default: break;
        }
        if (ends_here(name)) {
            bool trailers = span_is_nocase(name, "te") && http_head_lists(head, "te", "trailers");
            bool upgrade = head->upgrade && span_is_nocase(name, "upgrade");
            if (trailers) value = SPAN("trailers");
            if (!trailers && !upgrade) continue;
        } else if (more && connection_names(head, name)) {
            continue;
        }
        add(fields, &count, name, value);
    }
    add(fields, &count, SPAN("X-Forwarded-For"), joined(exchange, local ? before : SPAN(""), ip_of(peer)));
    add(fields, &count, SPAN("X-Forwarded-Proto"), proto);
    add(fields, &count, SPAN("X-Forwarded-Host"), outer_host);
    return count;
}

bool gateway_secure(const struct http_exchange *exchange) {
    if (http_exchange_secure(exchange)) return true;
    return is_local(http_exchange_peer(exchange)) &&
           span_is_nocase(http_exchange_header(exchange, "x-forwarded-proto"), "https");
}

size_t fields_downstream(const struct http_head *head, struct http_field fields[FIELDS_MAX]) {
    bool more = connection_names_more(head);
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        struct span name = head->fields[i].name;
        if (ends_here(name) && !(head->status == 101 && span_is_nocase(name, "upgrade"))) continue;
        if (more && connection_names(head, name) && !span_is_nocase(name, "upgrade")) continue;
        add(fields, &count, name, head->fields[i].value);
    }
    return count;
}
