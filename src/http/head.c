/* From the bytes of a head to spans. llhttp in strict mode reads it; this file refuses beforehand what llhttp
 * lets through and what two readers could take in two ways: a line that ends in a bare LF, a CR inside a
 * line, folded lines, a field without name, more than one Host, Transfer-Encoding other than one `chunked`.
 * Smuggling lives from such differences, so nothing is repaired. */
#include "head.h"

#include <llhttp.h>

enum head_state head_scan(struct head_scan *scan, struct span bytes, size_t *ret_size, const char **ret_why) {
    while (scan->checked < bytes.size) {
        const char *line = bytes.data + scan->checked;
        const char *end = memchr(line, '\n', bytes.size - scan->checked);
        if (!end) return HEAD_MORE;
        size_t size = (size_t)(end - line);
        if (size == 0 || line[size - 1] != '\r') {
            *ret_why = "a line ends in a bare LF";
            return HEAD_BROKEN;
        }
        if (size > 1 && memchr(line, '\r', size - 1)) {
            *ret_why = "a CR stands inside a line";
            return HEAD_BROKEN;
        }
        if (scan->lines > 0 && (line[0] == ' ' || line[0] == '\t')) {
            *ret_why = "a header line is folded";
            return HEAD_BROKEN;
        }
        scan->checked += size + 1;
        scan->lines++;
        if (size == 1) {
            *ret_size = scan->checked;
            return HEAD_WHOLE;
        }
    }
    return HEAD_MORE;
}

struct reader {
    struct http_head *head;
    struct http_field *fields;
    size_t room, count;
    bool full;
    bool bodiless; /* an answer to HEAD */
};

/* llhttp may give one span in several calls; they touch each other, since the whole head lies in one piece.
 */
static void extend(struct span *span, const char *at, size_t size) {
    if (span->data && span->data + span->size == at) {
        span->size += size;
    } else if (size > 0 || !span->data) {
        *span = (struct span){at, size};
    }
}

static int on_method(llhttp_t *parser, const char *at, size_t size) {
    extend(&((struct reader *)parser->data)->head->method, at, size);
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t size) {
    extend(&((struct reader *)parser->data)->head->target, at, size);
    return 0;
}

static int on_status(llhttp_t *parser, const char *at, size_t size) {
    extend(&((struct reader *)parser->data)->head->reason, at, size);
    return 0;
}

static int on_name(llhttp_t *parser, const char *at, size_t size) {
    struct reader *reader = parser->data;
    struct http_field *last = reader->count > 0 ? &reader->fields[reader->count - 1] : NULL;
    if (last && !last->value.data && last->name.data + last->name.size == at) {
        last->name.size += size;
        return 0;
    }
    if (reader->count == reader->room) {
        reader->full = true;
        return -1;
    }
    reader->fields[reader->count++] = (struct http_field){{at, size}, {NULL, 0}};
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t size) {
    struct reader *reader = parser->data;
    if (reader->count > 0) extend(&reader->fields[reader->count - 1].value, at, size);
    return 0;
}

static int on_whole(llhttp_t *parser) {
    struct reader *reader = parser->data;
    struct http_head *head = reader->head;
    head->minor = parser->http_minor;
    head->status = parser->status_code;
    head->upgrade = parser->upgrade;
    if (reader->bodiless) parser->flags |= F_SKIPBODY;
    head->keep_alive = llhttp_should_keep_alive(parser);
    if (parser->http_major != 1 || parser->http_minor > 1) head->minor = -1;
    if (parser->flags & F_CHUNKED) {
        head->length_bytes = HTTP_CHUNKED;
    } else if (parser->flags & F_CONTENT_LENGTH) {
        head->length_bytes = parser->content_length > INT64_MAX ? -3 : (int64_t)parser->content_length;
    } else {
        head->length_bytes = reader->bodiless || llhttp_message_needs_eof(parser) ? HTTP_UNTIL_CLOSE : 0;
    }
    parser->upgrade = 0;
    return HPE_PAUSED; /* bodies are read by body.c */
}

static const llhttp_settings_t settings = {
    .on_method = on_method,
    .on_url = on_url,
    .on_status = on_status,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_whole,
};

static struct error *parse(struct span whole, llhttp_type_t type, struct reader *reader) {
    llhttp_t parser;
    llhttp_init(&parser, type, &settings);
    parser.data = reader;
    llhttp_errno_t outcome = llhttp_execute(&parser, whole.data, whole.size);
    if (reader->full) return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %zu header fields", reader->room);
    bool preface = span_is(reader->head->method, "PRI"); /* of HTTP/2 */
    if (outcome == HPE_INVALID_VERSION || outcome == HPE_PAUSED_H2_UPGRADE || preface)
        return error_new(ERROR_OUT_OF_RANGE, "HTTP/1.1 and HTTP/1.0 are spoken here");
    if (outcome == HPE_INVALID_METHOD) return error_new(ERROR_UNIMPLEMENTED, "unknown method");
    if (outcome != HPE_PAUSED)
        return error_new(ERROR_INVALID_ARGUMENT, "%s",
                         parser.reason ? parser.reason : llhttp_errno_name(outcome));
    struct http_head *head = reader->head;
    if (head->minor < 0) return error_new(ERROR_OUT_OF_RANGE, "HTTP/1.1 and HTTP/1.0 are spoken here");
    if (head->length_bytes < HTTP_UNTIL_CLOSE)
        return error_new(ERROR_INVALID_ARGUMENT, "Content-Length is too large");
    head->fields = reader->fields;
    head->field_count = reader->count;
    for (size_t i = 0; i < reader->count; i++) {
        struct http_field *field = &reader->fields[i];
        if (field->name.size == 0) return error_new(ERROR_INVALID_ARGUMENT, "a header line has no name");
        field->value = span_trim(field->value);
        if (head_is_framing(field->name) && span_is_nocase(field->name, "transfer-encoding") &&
            !span_is_nocase(field->value, "chunked"))
            return error_new(ERROR_UNIMPLEMENTED, "Transfer-Encoding other than chunked");
    }
    return NULL;
}

static bool is_host_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-._~:[]%!$&'()*+,;=", c);
}

static struct error *check_target(const struct http_head *head) {
    struct span target = head->target;
    if (span_is(head->method, "CONNECT"))
        return error_new(ERROR_UNIMPLEMENTED, "CONNECT: this is no forward proxy");
    if (memchr(target.data, '#', target.size))
        return error_new(ERROR_INVALID_ARGUMENT, "the target has a fragment");
    if (target.size > 0 && target.data[0] == '/') return NULL;
    if (span_is(target, "*") && span_is(head->method, "OPTIONS")) return NULL;
    if (span_starts(target, "http://") || span_starts(target, "https://")) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "the target is no path");
}

static struct error *check_host(const struct http_head *head) {
    const struct http_field *host = NULL;
    for (size_t i = 0; i < head->field_count; i++) {
        if (!span_is_nocase(head->fields[i].name, "host")) continue;
        if (host) return error_new(ERROR_INVALID_ARGUMENT, "more than one Host");
        host = &head->fields[i];
    }
    if (!host && head->minor > 0) return error_new(ERROR_INVALID_ARGUMENT, "no Host");
    struct span name = head_host(head);
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] == '\0' || !is_host_char(name.data[i]))
            return error_new(ERROR_INVALID_ARGUMENT, "Host has a character that no host name has");
    return NULL;
}

struct error *head_parse_request(struct span whole, struct http_field *fields, size_t room,
                                 struct http_head *ret_head) {
    *ret_head = (struct http_head){0};
    struct reader reader = {.head = ret_head, .fields = fields, .room = room};
    TRY_PLAIN(parse(whole, HTTP_REQUEST, &reader));
    TRY_PLAIN(check_target(ret_head));
    TRY_PLAIN(check_host(ret_head));
    if (ret_head->length_bytes == HTTP_CHUNKED && ret_head->minor == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "Transfer-Encoding in HTTP/1.0");
    struct span expect = http_head_field(ret_head, "expect");
    if (expect.data && !span_is_nocase(expect, "100-continue"))
        return error_new(ERROR_FAILED_PRECONDITION, "Expect other than 100-continue");
    ret_head->expect_continue = expect.data && ret_head->minor > 0 && ret_head->length_bytes != 0;
    return NULL;
}

struct error *head_parse_answer(struct span whole, struct span method, struct http_field *fields, size_t room,
                                struct http_head *ret_head) {
    *ret_head = (struct http_head){0};
    bool bodiless = span_is(method, "HEAD");
    struct reader reader = {.head = ret_head, .fields = fields, .room = room, .bodiless = bodiless};
    TRY_PLAIN(parse(whole, HTTP_RESPONSE, &reader));
    if (ret_head->status < 100 || ret_head->status > 999)
        return error_new(ERROR_INVALID_ARGUMENT, "%d is no status", ret_head->status);
    return NULL;
}

struct error *head_parse_trailers(struct span whole, struct http_field *fields, size_t room,
                                  size_t *ret_count) {
    *ret_count = 0;
    scoped_text struct text text = {0};
    text_add_string(&text, "GET / HTTP/1.1\r\n");
    size_t before = text.size;
    text_add(&text, whole);
    struct http_head head = {0};
    struct reader reader = {.head = &head, .fields = fields, .room = room};
    TRY(parse(text_span(&text), HTTP_REQUEST, &reader), "trailers");
    for (size_t i = 0; i < reader.count; i++) { /* from the copy back to the caller's bytes */
        fields[i].name.data = whole.data + (fields[i].name.data - text.data) - before;
        if (fields[i].value.data)
            fields[i].value.data = whole.data + (fields[i].value.data - text.data) - before;
    }
    *ret_count = reader.count;
    return NULL;
}

/* By length first: this is asked for each field of each message. */
bool head_is_framing(struct span name) {
    switch (name.size) {
    case 10: return span_is_nocase(name, "connection") || span_is_nocase(name, "keep-alive");
    case 14: return span_is_nocase(name, "content-length");
    case 16: return span_is_nocase(name, "proxy-connection");
    case 17: return span_is_nocase(name, "transfer-encoding");
    default: return false;
    }
}

void head_add_field(struct text *out, struct span name, struct span value) {
    char *to = text_reserve(out, name.size + value.size + 4);
    memcpy(to, name.data, name.size);
    to += name.size;
    memcpy(to, ": ", 2);
    if (value.size > 0) memcpy(to + 2, value.data, value.size);
    memcpy(to + 2 + value.size, "\r\n", 2);
    out->size += name.size + value.size + 4;
}

struct span http_head_field(const struct http_head *head, const char *name) {
    struct span wanted = span_of(name);
    for (size_t i = 0; i < head->field_count; i++)
        if (head->fields[i].name.size == wanted.size && span_equal_nocase(head->fields[i].name, wanted)) {
            struct span value = head->fields[i].value;
            return value.data ? value : SPAN("");
        }
    return (struct span){0};
}

bool http_head_lists(const struct http_head *head, const char *name, const char *element) {
    for (size_t i = 0; i < head->field_count; i++) {
        if (!span_is_nocase(head->fields[i].name, name)) continue;
        struct span rest = head->fields[i].value;
        while (rest.data)
            if (span_is_nocase(span_trim(span_cut(&rest, ',')), element)) return true;
    }
    return false;
}

struct span head_host(const struct http_head *head) {
    struct span target = head->target;
    if (target.size == 0 || target.data[0] == '/' || target.data[0] == '*')
        return http_head_field(head, "host");
    size_t scheme = span_starts(target, "https://") ? 8 : 7;
    struct span authority = {target.data + scheme, 0};
    while (authority.size < target.size - scheme && !memchr("/?", authority.data[authority.size], 2))
        authority.size++;
    return authority;
}
