/* The head of a request: which method, until when, packed how. What is no gRPC is told so in HTTP, what is
 * gRPC and cannot be served by a status; only what is left becomes a call of the owner's. Source:
 * PROTOCOL-HTTP2.md, "Requests"; RFC 9110, 15.5.6 (405) and 15.5.16 (415). */
#include "codec.h"
#include "inside.h"

#define FIELD_COST 32 /* of each field beside its bytes: RFC 9113, 6.5.2 */

void head_field(struct grpc_call *call, struct span name, struct span value) {
    struct arena *arena = call->arena;
    call->field_bytes += name.size + value.size + FIELD_COST;
    if (call->field_bytes > call->server->limits.metadata_bytes) {
        call->fields_overlong =
            true; /* refused when it is whole: what was told by then must be decoded anyhow */
        return;
    }
    struct span *pseudo = span_is(name, ":path")        ? &call->path
                          : span_is(name, ":method")    ? &call->http_method
                          : span_is(name, ":authority") ? &call->authority
                                                        : NULL;
    if (pseudo) {
        *pseudo = (struct span){arena_string(arena, value), value.size};
    } else if (name.size > 0 && name.data[0] != ':') {
        field_add(arena, &call->fields, name, value);
    }
}

/* "/package.Service/Method" */
static bool split_path(struct grpc_call *call) {
    struct span rest = call->path;
    if (rest.size < 2 || rest.data[0] != '/') return false;
    rest.data++;
    rest.size--;
    call->service = span_cut(&rest, '/');
    call->method = rest;
    return call->service.size > 0 && rest.data && rest.size > 0 && !memchr(rest.data, '/', rest.size);
}

static bool is_grpc(struct span content_type) {
    if (!span_starts(content_type, "application/grpc")) return false;
    size_t size = sizeof "application/grpc" - 1;
    return content_type.size == size || content_type.data[size] == '+' || content_type.data[size] == ';';
}

static bool lists(struct span list, const char *element) {
    while (list.data)
        if (span_is(span_trim(span_cut(&list, ',')), element)) return true;
    return false;
}

/* False: it was refused. */
static bool check(struct grpc_call *call) {
    const struct field_list *fields = &call->fields;
    struct span encoding = field_get(fields, SPAN("grpc-encoding"));
    struct span timeout = field_get(fields, SPAN("grpc-timeout"));
    call->accepts_gzip = lists(field_get(fields, SPAN("grpc-accept-encoding")), "gzip");
    call->reader.gzip = span_is(encoding, "gzip");
    if (!call->fields_overlong && !span_is(call->http_method, "POST")) {
        answer_plain(call, 405, "A gRPC call is a POST.\n");
    } else if (!call->fields_overlong && !is_grpc(field_get(fields, SPAN("content-type")))) {
        answer_plain(call, 415, "This port speaks gRPC: content-type is application/grpc.\n");
    } else if (call->fields_overlong) {
        answer_refuse(call, ERROR_RESOURCE_EXHAUSTED, "the metadata of the call is larger than %zu bytes",
                      call->server->limits.metadata_bytes);
    } else if (!split_path(call)) {
        answer_refuse(call, ERROR_UNIMPLEMENTED,
                      "'" SPAN_FORMAT "' is no path of a method: /package.Service/Method",
                      SPAN_ARGS(call->path));
    } else if (encoding.size > 0 && !call->reader.gzip && !span_is(encoding, "identity")) {
        call->told_accept = true;
        answer_refuse(call, ERROR_UNIMPLEMENTED,
                      "grpc-encoding '" SPAN_FORMAT "' is not known here: identity and gzip",
                      SPAN_ARGS(encoding));
    } else if (timeout.data) {
        int64_t left_ms = 0;
        if (codec_timeout(timeout, &left_ms)) {
            call->deadline_ms = io_now_ms(call->server->io) + left_ms;
            return true;
        }
        answer_refuse(call, ERROR_INVALID_ARGUMENT,
                      "grpc-timeout '" SPAN_FORMAT "' is none: digits and H M S m u or n",
                      SPAN_ARGS(timeout));
    } else {
        return true;
    }
    return false;
}

void head_complete(struct grpc_call *call) {
    struct grpc_server *server = call->server;
    if (!check(call)) return;
    call->references++; /* the owner's */
    call->ended = false;
    server->call_count++;
    due_set(&server->dues, &call->due, call->deadline_ms);
    server->on_call(server->owner, call);
}

struct span grpc_call_metadata(const struct grpc_call *call, const char *name) {
    struct span value = field_get(&call->fields, span_of(name));
    if (!value.data || !span_ends(span_of(name), "-bin")) return value;
    scoped_text struct text bytes = {0};
    struct span first = span_cut(&value, ','); /* several may have been joined by commas */
    if (!codec_unbase64(span_trim(first), &bytes)) return (struct span){0};
    return (struct span){arena_string(call->arena, text_span(&bytes)), bytes.size};
}

bool grpc_call_metadata_at(const struct grpc_call *call, size_t i, struct span *ret_name,
                           struct span *ret_value) {
    const struct field *field = call->fields.first;
    for (; field && i > 0; i--) field = field->next;
    if (!field) return false;
    *ret_name = field->name;
    *ret_value = field->value;
    return true;
}
