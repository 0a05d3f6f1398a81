/* What the client gets: head, messages, status. Messages are gathered in the call and handed to nghttp2 as
 * the client's windows and the socket allow; who sends is told when to stop and when to go on.
 *
 *   (nothing sent) --error or empty--> one head with the status in it ("trailers-only")
 *   head --> messages --> trailers with the status
 * Source: PROTOCOL-HTTP2.md, "Responses". */
#include "codec.h"
#include "inside.h"

#include <assert.h>

#define GZIP_MAX_BYTES (1024 * 1024) /* more would keep the loop from everybody else for too long */

static bool live(const struct grpc_call *call) {
    return call->conn && !call->cancelled && !call->closing;
}

struct head { /* of an answer, or its trailers, being made; lives in the call's arena */
    nghttp2_nv *fields;
    size_t count, capacity;
};

static struct head head_of(struct grpc_call *call, size_t more) {
    struct head head = {.capacity = more + 6};
    head.fields = arena_alloc(call->arena, head.capacity * sizeof *head.fields);
    return head;
}

static void add(struct head *head, struct span name, struct span value) {
    assert(head->count < head->capacity);
    head->fields[head->count++] =
        (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.data,
                     .namelen = name.size,
                     .value = (uint8_t *)(uintptr_t)value.data,
                     .valuelen = value.size,
                     .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static void add_all(struct head *head, const struct field_list *list) {
    for (const struct field *field = list->first; field; field = field->next)
        add(head, field->name, field->value);
}

static void add_status(struct grpc_call *call, struct head *head) {
    const char *number = arena_printf(call->arena, "%d", (int)call->status);
    add(head, SPAN("grpc-status"), span_of(number));
    if (call->status_text.size > 0) add(head, SPAN("grpc-message"), text_span(&call->status_text));
    add_all(head, &call->trailers);
}

static bool may_gzip(const struct grpc_call *call) {
    return call->accepts_gzip && call->conn->gzip_from_bytes > 0;
}

static struct head response(struct grpc_call *call) {
    struct head head = head_of(call, call->headers.count + call->trailers.count);
    add(&head, SPAN(":status"), SPAN("200"));
    add(&head, SPAN("content-type"), SPAN("application/grpc"));
    if (call->told_accept) add(&head, SPAN("grpc-accept-encoding"), SPAN("identity,gzip"));
    return head;
}

static ssize_t on_read(nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *owner) {
    (void)session;
    (void)stream;
    (void)buffer;
    (void)owner;
    return answer_take(source->ptr, length, flags);
}

static void submit(struct grpc_call *call, const struct head *head, bool whole) {
    call->begun = true;
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = on_read};
    int failed = nghttp2_submit_response(call->conn->session, call->stream, head->fields, head->count,
                                         whole ? NULL : &provider);
    if (failed) log_warn("grpc", "an answer could not be made: %s", nghttp2_strerror(failed));
    conn_mark(call->conn);
}

static void begin(struct grpc_call *call) {
    if (call->begun) return;
    struct head head = response(call);
    if (may_gzip(call)) add(&head, SPAN("grpc-encoding"), SPAN("gzip"));
    add_all(&head, &call->headers);
    submit(call, &head, false);
}

/* There is more to take, or an end. */
static void wake(struct grpc_call *call) {
    if (call->deferred) nghttp2_session_resume_data(call->conn->session, call->stream);
    call->deferred = false;
    conn_mark(call->conn);
}

static void put(struct grpc_call *call, struct span message) {
    assert(message.size <= UINT32_MAX);
    begin(call);
    size_t from = call->conn->gzip_from_bytes;
    bool packed = may_gzip(call) && message.size >= from && message.size <= GZIP_MAX_BYTES;
    message_add(&call->out, message, packed);
    wake(call);
}

void answer_status(struct grpc_call *call, enum error_code code, struct span text) {
    call->closing = true;
    call->status = code;
    codec_message(text, STATUS_TEXT_BYTES, &call->status_text);
    if (call->begun) {
        wake(call);
        return;
    }
    struct head head = response(call);
    add_all(&head, &call->headers);
    add_status(call, &head);
    submit(call, &head, true);
}

void answer_refuse(struct grpc_call *call, enum error_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    answer_status(call, code, span_of(text));
}

void answer_plain(struct grpc_call *call, int http_status, const char *text) {
    struct head head = head_of(call, 0);
    add(&head, SPAN(":status"), span_of(arena_printf(call->arena, "%d", http_status)));
    add(&head, SPAN("content-type"), SPAN("text/plain; charset=utf-8"));
    if (http_status == 405) add(&head, SPAN("allow"), SPAN("POST"));
    text_add_string(&call->out, text);
    call->plain = call->closing = true;
    submit(call, &head, span_is(call->http_method, "HEAD"));
}

void answer_reset(struct grpc_call *call, uint32_t http2_code) {
    call->closing = true;
    if (!call->conn) return;
    nghttp2_submit_rst_stream(call->conn->session, NGHTTP2_FLAG_NONE, call->stream, http2_code);
    conn_mark(call->conn);
}

ssize_t answer_take(struct grpc_call *call, size_t length, uint32_t *flags) {
    size_t left = call->out.size - call->sent;
    if (left == 0 && !call->closing) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t taken = left < length ? left : length;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!call->closing || taken < left) return (ssize_t)taken;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (call->plain) return (ssize_t)taken;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    struct head trailers = head_of(call, call->trailers.count);
    add_status(call, &trailers);
    int failed = nghttp2_submit_trailer(call->conn->session, call->stream, trailers.fields, trailers.count);
    return failed ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : (ssize_t)taken;
}

void answer_put(struct grpc_call *call, const uint8_t *head, size_t length) {
    struct text *out = line_out(&call->conn->line);
    text_reserve(out, length + 9);
    text_add(out, (struct span){(const char *)head, 9});
    text_add(out, (struct span){call->out.data + call->sent, length});
    call->sent += length;
    if (call->sent == call->out.size) {
        text_done(&call->out);
        call->sent = 0;
    } else if (call->sent > call->out.size / 2) {
        text_remove_front(&call->out, call->sent);
        call->sent = 0;
    }
    if (call->stopped && call->out.size - call->sent < SEND_BYTES / 2) call_todo(call);
}

static void add_field(struct grpc_call *call, struct field_list *list, const char *name, struct span value) {
    scoped_text struct text lower = {0}, encoded = {0};
    for (const char *c = name; *c; c++) text_add_char(&lower, *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c);
    assert(nghttp2_check_header_name((const uint8_t *)lower.data,
                                     lower.size)); /* a fixed word of the caller's */
    if (span_ends(text_span(&lower), "-bin")) {
        codec_base64(value, &encoded);
    } else {
        codec_value(span_trim(value), &encoded);
    }
    field_add(call->arena, list, text_span(&lower), text_span(&encoded));
}

void grpc_call_header_add(struct grpc_call *call, const char *name, struct span value) {
    assert(!call->ended);
    if (live(call) && !call->begun) add_field(call, &call->headers, name, value);
}

void grpc_call_trailer_add(struct grpc_call *call, const char *name, struct span value) {
    assert(!call->ended);
    if (live(call)) add_field(call, &call->trailers, name, value);
}

void grpc_call_begin(struct grpc_call *call) {
    assert(!call->ended);
    if (live(call)) begin(call);
}

bool grpc_call_send(struct grpc_call *call, struct span message) {
    assert(!call->ended);
    if (!live(call)) return true; /* nobody will ever take it; who cares is told by `on_cancelled` */
    put(call, message);
    call->stopped = call->out.size - call->sent > SEND_BYTES;
    return !call->stopped;
}

void grpc_call_on_drained(struct grpc_call *call, void (*drained)(struct grpc_call *call)) {
    call->drained = drained;
}

void grpc_call_answer(struct grpc_call *call, struct span message) {
    assert(!call->ended);
    if (live(call)) {
        put(call, message);
        answer_status(call, 0, (struct span){0});
    }
    call_finish(call);
}

void grpc_call_end(struct grpc_call *call, struct error *error) {
    assert(!call->ended);
    if (live(call)) {
        scoped_string char *text = error ? error_text(error) : NULL;
        answer_status(call, error ? error->code : 0, span_of(text));
    }
    error_free(error);
    call_finish(call);
}

void grpc_call_release(struct grpc_call *call) {
    assert(!call->ended);
    if (live(call)) answer_reset(call, NGHTTP2_CANCEL);
    call_finish(call);
}
