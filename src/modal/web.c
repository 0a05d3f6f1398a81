/* web: an HTTP request or a WebSocket to a function in a container, as ASGI messages over its runner.
 *
 *   exchange -> input (the scope, pickled) + chunks in (body, frames) -> container -> chunks out (head, body,
 * frames) -> exchange The first chunk is there before the container can fetch the input. Bodies go through as
 * they come, both ways, and a slow end slows the other. A client that leaves is told to the app
 * (http.disconnect); one whose request no container has yet is taken back. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

#define IN_BYTES_MAX (4 << 20)   /* of a body, read ahead of its container */
#define IN_ALL_BYTES (256 << 20) /* of all bodies; beyond, each has IN_BYTES_LEAST */
#define IN_BYTES_LEAST (64 << 10)
#define MESSAGE_BYTES_MAX (16 << 20) /* of a WebSocket */
#define PIECE_MAX (1 << 20)
#define FIELDS_MAX 200
#define STATUS(NAME) MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_##NAME

struct web {
    struct modal *modal;
    struct http_exchange *exchange; /* NULL: the client is gone, or was answered */
    struct call *call;
    struct input *input;
    bool websocket, accepted, begun, bodiless, ended;
    bool full, deaf; /* not read for now: its container takes nothing; its client does not */
    size_t counted;  /* of what was read, in modal->web_bytes */
    uint64_t items;  /* that make the answer whole; 0: not known yet */
    bool trailers;
    struct http_socket_reader *frames;
};

/* After what was read and not taken yet became more, or less. */
static void count(struct web *web, size_t now_bytes) {
    web->modal->web_bytes += now_bytes - web->counted;
    web->counted = now_bytes;
}

static void web_free(struct web *web) {
    count(web, 0);
    http_socket_reader_free(web->frames);
    struct call *call = take(web->call);
    free(web);
    call_free(call);
}

static size_t in_bytes_most(const struct web *web) {
    return web->modal->web_bytes > IN_ALL_BYTES ? IN_BYTES_LEAST : IN_BYTES_MAX;
}

static void listen_or_not(struct web *web) {
    if (web->exchange) http_exchange_pause(web->exchange, web->full || web->deaf);
}

static void add(struct web *web, const Modal__Asgi *message) {
    scoped_text struct text bytes = message_pack(message);
    stream_add(&web->call->in, text_span(&bytes), NULL, MODAL__DATA_FORMAT__DATA_FORMAT_ASGI);
    count(web, web->call->in.bytes);
    web->full = web->full || web->call->in.bytes > in_bytes_most(web);
    if (web->full) listen_or_not(web);
}

static void on_in_taken(void *owner) {
    struct web *web = owner;
    count(web, web->call->in.bytes);
    if (!web->full || web->call->in.bytes > in_bytes_most(web) / 2) return;
    web->full = false;
    listen_or_not(web);
}

/* ---- the client's side ---- */

static void add_body(struct web *web, struct span bytes, bool more) {
    do {
        struct span piece = {bytes.data, bytes.size < PIECE_MAX ? bytes.size : PIECE_MAX};
        bytes = (struct span){bytes.data + piece.size, bytes.size - piece.size};
        Modal__AsgiHttpRequest request = MODAL__ASGI_HTTP_REQUEST__INIT;
        Modal__Asgi message = MODAL__ASGI__INIT;
        request.has_body = request.has_more_body = true;
        request.body.data = (uint8_t *)piece.data;
        request.body.len = piece.size;
        request.more_body = more || bytes.size > 0;
        message.http_request = &request;
        add(web, &message);
    } while (bytes.size > 0);
}

static void on_body(struct http_exchange *exchange, struct span bytes) {
    add_body(http_exchange_owner(exchange), bytes, true);
}

static void on_body_end(struct http_exchange *exchange, struct error *error) {
    struct web *web = http_exchange_owner(exchange);
    if (!error) add_body(web, SPAN(""), false);
    error_free(error); /* a client that is gone is told by on_gone */
}

static void add_disconnect(struct web *web, unsigned code) {
    Modal__Asgi message = MODAL__ASGI__INIT;
    Modal__AsgiHttpDisconnect http = MODAL__ASGI_HTTP_DISCONNECT__INIT;
    Modal__AsgiWebsocketDisconnect socket = MODAL__ASGI_WEBSOCKET_DISCONNECT__INIT;
    socket.has_code = true;
    socket.code = code;
    if (web->websocket)
        message.websocket_disconnect = &socket;
    else
        message.http_disconnect = &http;
    add(web, &message);
}

static void on_gone(struct http_exchange *exchange) {
    struct web *web = http_exchange_owner(exchange);
    web->exchange = NULL;
    http_exchange_release(exchange);
    call_out_drained(web->call);
    if (web->input->state == INPUT_QUEUED || web->input->state == INPUT_ASSIGNED) {
        web_free(web);
        return;
    }
    add_disconnect(web, 1006);
}

/* ---- WebSocket ---- */

static void on_frame(void *owner, enum http_socket_event event, struct span data) {
    struct web *web = owner;
    Modal__Asgi message = MODAL__ASGI__INIT;
    Modal__AsgiWebsocketReceive receive = MODAL__ASGI_WEBSOCKET_RECEIVE__INIT;
    scoped_text struct text out = {0};
    if (event == HTTP_SOCKET_TEXT || event == HTTP_SOCKET_BYTES) {
        scoped_string char *text = event == HTTP_SOCKET_TEXT ? span_string(data) : NULL;
        receive.text = text;
        receive.has_bytes = !text;
        receive.bytes.data = (uint8_t *)data.data;
        receive.bytes.len = data.size;
        message.websocket_receive = &receive;
        add(web, &message);
    } else if (event == HTTP_SOCKET_PING && web->exchange) {
        http_socket_frame(&out, HTTP_SOCKET_PONG, data);
        if (http_respond_write(web->exchange, text_span(&out))) return;
        web->deaf = true; /* it asks and does not read */
        listen_or_not(web);
    } else if (event == HTTP_SOCKET_CLOSE && !web->ended) {
        unsigned code = data.size >= 2 ? (unsigned)(uint8_t)data.data[0] << 8 | (uint8_t)data.data[1] : 1005;
        web->ended = true;
        if (web->exchange) {
            http_socket_frame(&out, HTTP_SOCKET_CLOSE,
                              data.size >= 2 ? (struct span){data.data, 2} : SPAN(""));
            http_respond_write(web->exchange, text_span(&out));
        }
        add_disconnect(web, code);
    }
}

static void close_socket(struct web *web, unsigned code, const char *reason) {
    struct http_exchange *exchange = take(web->exchange);
    if (!exchange) return;
    char data[125] = {(char)(code >> 8), (char)code};
    size_t size = 2 + (size_t)snprintf(data + 2, sizeof data - 2, "%s", reason ? reason : "");
    scoped_text struct text out = {0};
    http_socket_frame(&out, HTTP_SOCKET_CLOSE,
                      (struct span){data, size < sizeof data ? size : sizeof data - 1});
    if (!web->ended) http_respond_write(exchange, text_span(&out));
    http_exchange_on_gone(exchange, NULL);
    http_respond_end(exchange);
}

static void on_frames(struct http_exchange *exchange, struct span bytes) {
    struct web *web = http_exchange_owner(exchange);
    unsigned code = 1002;
    scoped(error) struct error *error = http_socket_read(web->frames, bytes, &code);
    if (!error) return;
    close_socket(web, code, "");
    add_disconnect(web, code);
}

static void on_frames_end(struct http_exchange *exchange, struct error *error) {
    struct web *web = http_exchange_owner(exchange);
    error_free(error);
    if (!web->ended) add_disconnect(web, 1006);
    web->ended = true;
}

/* ---- the container's side ---- */

struct fields {
    struct http_field field[FIELDS_MAX];
    size_t count;
    int64_t length; /* Content-Length; -1: none */
};

static bool field_named(const ProtobufCBinaryData *name, const char *wanted) {
    return span_is_nocase((struct span){(const char *)name->data, name->len}, wanted);
}

static bool is_name(struct span name) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i], low = (char)(c | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && (!c || !strchr(others, c)))
            return false;
    }
    return name.size > 0;
}

/* Who puts a visitor's words into a header trusts the server that no line of theirs begins there. */
static struct span in_one_line(struct arena *arena, struct span value) {
    bool good = true;
    for (size_t i = 0; i < value.size; i++) good = good && value.data[i] && !strchr("\r\n", value.data[i]);
    if (good) return value;
    char *clean = arena_alloc(arena, value.size + 1);
    for (size_t i = 0; i < value.size; i++)
        clean[i] = value.data[i] && !strchr("\r\n", value.data[i]) ? value.data[i] : ' ';
    return (struct span){clean, value.size};
}

/* A flat list: name, value, name, value. Framing and the connection are http's. */
static void fields_of(struct arena *arena, const ProtobufCBinaryData *list, size_t count,
                      struct fields *fields) {
    *fields = (struct fields){.length = -1};
    for (size_t i = 0; i + 1 < count && fields->count < FIELDS_MAX; i += 2) {
        struct span value = {(const char *)list[i + 1].data, list[i + 1].len};
        uint64_t length;
        if (field_named(&list[i], "content-length") && span_to_u64(value, &length))
            fields->length = (int64_t)length;
        if (field_named(&list[i], "content-length") || field_named(&list[i], "transfer-encoding") ||
            field_named(&list[i], "connection") || field_named(&list[i], "keep-alive"))
            continue;
        struct span name = {(const char *)list[i].data, list[i].len};
        if (is_name(name))
            fields->field[fields->count++] = (struct http_field){name, in_one_line(arena, value)};
    }
}

static void on_drained(struct http_exchange *exchange) {
    struct web *web = http_exchange_owner(exchange);
    web->deaf = false;
    listen_or_not(web);
    call_out_drained(web->call);
}

static void begin(struct web *web, const Modal__AsgiHttpResponseStart *start) {
    struct fields fields;
    fields_of(http_exchange_arena(web->exchange), start->headers, start->n_headers, &fields);
    web->begun = true;
    web->trailers = start->trailers;
    const struct http_head head = {
        .status = (int)start->status,
        .fields = fields.field,
        .field_count = fields.count,
        .length_bytes = fields.length >= 0 && !web->trailers ? fields.length : HTTP_CHUNKED,
    };
    http_respond_head(web->exchange, &head);
    http_respond_on_drained(web->exchange, on_drained);
}

static void finish_http(struct web *web) {
    struct http_exchange *exchange = take(web->exchange);
    http_exchange_on_gone(exchange, NULL);
    http_respond_end(exchange);
}

static bool body(struct web *web, const Modal__AsgiHttpResponseBody *part) {
    struct span bytes = {(const char *)part->body.data, part->body.len};
    bool fits = bytes.size == 0 || http_respond_write(web->exchange, bytes);
    if (!part->more_body && !web->trailers) finish_http(web);
    return fits || !web->exchange;
}

static void trailers(struct web *web, const Modal__AsgiHttpResponseTrailers *part) {
    struct fields fields;
    if (part->more_trailers) return;
    fields_of(http_exchange_arena(web->exchange), part->headers, part->n_headers, &fields);
    struct http_exchange *exchange = take(web->exchange);
    http_exchange_on_gone(exchange, NULL);
    http_respond_end_trailers(exchange, fields.field, fields.count);
}

static void accept_socket(struct web *web, const Modal__AsgiWebsocketAccept *accept) {
    scoped_string char *key = http_socket_accept(http_exchange_header(web->exchange, "sec-websocket-key"));
    struct fields fields;
    fields_of(http_exchange_arena(web->exchange), accept->headers, accept->n_headers, &fields);
    if (fields.count > FIELDS_MAX - 4) fields.count = FIELDS_MAX - 4;
    fields.field[fields.count++] = (struct http_field){SPAN("Upgrade"), SPAN("websocket")};
    fields.field[fields.count++] = (struct http_field){SPAN("Sec-WebSocket-Accept"), span_of(key)};
    if (accept->subprotocol && *accept->subprotocol)
        fields.field[fields.count++] = (struct http_field){
            SPAN("Sec-WebSocket-Protocol"),
            in_one_line(http_exchange_arena(web->exchange), span_of(accept->subprotocol))};
    const struct http_head head = {
        .status = 101, .fields = fields.field, .field_count = fields.count, .upgrade = true};
    web->accepted = web->begun = true;
    web->frames = http_socket_reader_new(MESSAGE_BYTES_MAX, on_frame, web);
    http_respond_upgrade(web->exchange, &head);
    http_respond_on_drained(web->exchange, on_drained);
    http_exchange_read(web->exchange, on_frames, on_frames_end);
}

static bool send_frame(struct web *web, const Modal__AsgiWebsocketSend *send) {
    scoped_text struct text out = {0};
    if (send->text)
        http_socket_frame(&out, HTTP_SOCKET_TEXT, span_of(send->text));
    else
        http_socket_frame(&out, HTTP_SOCKET_BYTES,
                          (struct span){(const char *)send->bytes.data, send->bytes.len});
    return http_respond_write(web->exchange, text_span(&out));
}

static void refuse_socket(struct web *web) {
    struct http_exchange *exchange = take(web->exchange);
    static const char *const fields[] = {"Content-Type", "text/plain; charset=utf-8", NULL};
    http_exchange_on_gone(exchange, NULL);
    http_respond(exchange, 403, fields, SPAN("the app does not take this WebSocket\n"));
}

static bool on_out(void *owner, struct span chunk) {
    struct web *web = owner;
    bool fits = true;
    Modal__Asgi *message = modal__asgi__unpack(NULL, chunk.size, (const uint8_t *)chunk.data);
    if (message && web->exchange) {
        if (message->http_response_start && !web->begun && !web->websocket)
            begin(web, message->http_response_start);
        else if (message->http_response_body && web->begun && !web->websocket)
            fits = body(web, message->http_response_body);
        else if (message->http_response_trailers && web->begun && !web->websocket)
            trailers(web, message->http_response_trailers);
        else if (message->websocket_accept && web->websocket && !web->accepted)
            accept_socket(web, message->websocket_accept);
        else if (message->websocket_send && web->accepted)
            fits = send_frame(web, message->websocket_send);
        else if (message->websocket_close && web->accepted)
            close_socket(web, message->websocket_close->has_code ? message->websocket_close->code : 1000,
                         message->websocket_close->reason);
        else if (message->websocket_close && web->websocket)
            refuse_socket(web);
    }
    if (message) modal__asgi__free_unpacked(message, NULL);
    return fits;
}

/* ---- the end ---- */

static void refuse(struct web *web, int status, const char *text) {
    struct http_exchange *exchange = take(web->exchange);
    if (!exchange) return;
    http_exchange_on_gone(exchange, NULL);
    if (web->begun) {
        http_respond_abort(exchange);
        return;
    }
    scoped_text struct text out = {0};
    text_add_string(&out, "{\"error\":");
    text_add_json(&out, span_of(text));
    text_add_string(&out, "}\n");
    static const char *const fields[] = {"Content-Type", "application/json", "Cache-Control", "no-store",
                                         NULL};
    http_respond(exchange, status, fields, text_span(&out));
}

static int status_of(int status) {
    switch (status) {
    case STATUS(TIMEOUT): return 504;
    case STATUS(TERMINATED): return 503;
    default: return 500;
    }
}

static void end_if_whole(struct web *web) {
    if (web->call->out.count < web->items) return; /* the rest is on its way */
    if (web->websocket)
        close_socket(web, 1000, "");
    else
        refuse(web, 500, "the app ended without a whole answer");
    web_free(web);
}

static void on_out_end(void *owner) {
    struct web *web = owner;
    if (web->input->state == INPUT_DONE) end_if_whole(web);
}

static void on_done(void *owner, const struct input *input) {
    struct web *web = owner;
    Modal__GenericResult *result =
        modal__generic_result__unpack(NULL, input->result.size, (const uint8_t *)input->result.data);
    if (result && result->status == STATUS(SUCCESS)) {
        Modal__GeneratorDone *end = modal__generator_done__unpack(NULL, result->data.len, result->data.data);
        web->items = end ? end->items_total : 0;
        if (end) modal__generator_done__free_unpacked(end, NULL);
    } else {
        const char *text =
            result && result->exception && *result->exception ? result->exception : "the function failed";
        refuse(web, result ? status_of((int)result->status) : 500, text);
    }
    if (result) modal__generic_result__free_unpacked(result, NULL);
    end_if_whole(web);
}

/* ---- the beginning ---- */

static const char *method_of(const struct function *function) {
    const struct definition *definition = function_definition(function);
    const char *method;
    (void)definition_web(definition->function, &method);
    return method ? method : definition->function->use_method_name;
}

static void start_input(struct web *web, struct http_exchange *exchange, const struct function *function) {
    scoped_text struct text scope = {0};
    bool secure = gateway_secure(exchange);
    pickle_scope(&scope, exchange, web->websocket,
                 web->websocket ? (secure ? "wss" : "ws") : (secure ? "https" : "http"));
    Modal__FunctionInput input = MODAL__FUNCTION_INPUT__INIT;
    input.has_args = input.has_data_format = true;
    input.args.data = (uint8_t *)scope.data;
    input.args.len = scope.size;
    input.data_format = MODAL__DATA_FORMAT__DATA_FORMAT_PICKLE;
    input.method_name = (char *)method_of(function);
    scoped_text struct text bytes = message_pack(&input);
    web->input = call_add(web->call, 0, text_span(&bytes));
}

static void start_chunks(struct web *web, struct http_exchange *exchange) {
    if (web->websocket) {
        Modal__AsgiWebsocketConnect connect = MODAL__ASGI_WEBSOCKET_CONNECT__INIT;
        Modal__Asgi message = MODAL__ASGI__INIT;
        message.websocket_connect = &connect;
        add(web, &message);
    } else if (http_exchange_length(exchange) == 0) {
        add_body(web, SPAN(""), false);
    } else {
        add_body(web, SPAN(""), true); /* the container waits but seconds for the first one */
        http_exchange_read(exchange, on_body, on_body_end);
    }
}

void web_request(void *owner, struct http_exchange *exchange, struct pool_function *there) {
    struct modal *modal = owner;
    const struct core_function *spec = pool_function_spec(there);
    scoped_string char *key = mem_printf("%s.%s", spec->app, spec->name);
    struct function *function = map_get(modal->core_functions, span_of(key));
    if (!function || !function_definition(function) || !function->label) {
        http_respond_error(exchange, error_new(ERROR_NOT_FOUND, "there is no web function %s", key));
        return;
    }
    const struct http_head *head = http_exchange_head(exchange);
    struct web *web = NEW(struct web);
    web->modal = modal;
    web->exchange = exchange;
    web->websocket = head->upgrade && http_head_lists(head, "upgrade", "websocket");
    web->call = call_new(function->app->modal, function, MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_UNARY);
    web->call->on_out = on_out;
    web->call->on_out_end = on_out_end;
    web->call->on_done = on_done;
    web->call->on_in_taken = on_in_taken;
    web->call->in.once = true;
    web->call->owner = web;
    start_input(web, exchange, function);
    http_exchange_owner_set(exchange, web);
    http_exchange_on_gone(exchange, on_gone);
    start_chunks(web, exchange);
    input_enqueue(web->input);
}
