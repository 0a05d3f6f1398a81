/* POST /v1/chat/completions (and /v1beta/...): OpenAI's chat, streamed as Tabby streams it.
 *
 *   body whole -> parsed -> rendered -> computed: SSE chunks as they come, or one JSON object -> end
 * Ends otherwise: no model 501; content type 415; too long 413; not JSON 400; not such a request 422; refused
 * by the model's template, or longer than its context: 400; queue full 503. A failure after the first chunk
 * cuts the connection, so that nobody takes half an answer for a whole one. `stream` absent means SSE, as
 * Tabby has it, but for clients that accept nothing but JSON. A stream that has nothing to tell for 15 s
 * sends a comment. */
#include "accounts.h"
#include "inside.h"
#include "search.h"

#include <stdio.h>
#include <stdlib.h>

#define KEEP_ALIVE_MS 15000

struct call {
    struct serve *serve;
    struct http_exchange *exchange;
    struct chat_request *request;
    struct chat *chat;          /* at work here, or */
    struct remote_call *remote; /* on another server; both NULL: not begun */
    struct io_timer *silence;
    struct visitor visitor;
    char *id;
    int64_t created_s;
    json_t *whole; /* another server's answer that is no stream */
    bool streams, begun, gone, busy;
};

static void call_free(struct call *call) {
    if (call->busy) search_busy(call->serve, -1);
    chat_request_free(call->request);
    io_timer_free(call->silence);
    json_decref(call->whole);
    free(call->id);
    free(call);
}

static void answer(struct call *call, int status, const char *content_type, struct span body) {
    struct http_exchange *exchange = call->exchange;
    struct serve *serve = call->serve;
    call_free(call);
    rest_answer(serve, ROUTE_CHAT, exchange, status, content_type, body);
}

/* OpenAI's form of an error, which its clients show to their users. */
static void answer_error(struct call *call, int status, const char *kind, const char *text) {
    scoped_json json_t *root =
        json_pack("{s:{s:s,s:s,s:n,s:n}}", "error", "message", text, "type", kind, "param", "code");
    scoped_string char *body = root ? json_dumps(root, JSON_COMPACT) : mem_string("{}");
    answer(call, status, "application/json", span_of(body));
}

static void refuse(struct call *call, struct error *taken_error, bool at_body) {
    scoped(error) struct error *error = taken_error;
    scoped_string char *text = error_text(error);
    scoped_string char *said = NULL;
    switch (error->code) {
    case ERROR_INVALID_ARGUMENT:
        if (!at_body) return answer_error(call, 400, "invalid_request_error", text);
        said = mem_printf("Failed to parse the request body as JSON: %s", text);
        return answer_error(call, 400, "invalid_request_error", said);
    case ERROR_FAILED_PRECONDITION:
        said = mem_printf("Failed to deserialize the JSON body into the target type: %s", text);
        return answer_error(call, 422, "invalid_request_error", said);
    case ERROR_OUT_OF_RANGE: return answer_error(call, 400, "context_length_exceeded", text);
    case ERROR_UNIMPLEMENTED: return answer_error(call, 400, "invalid_request_error", text);
    case ERROR_RESOURCE_EXHAUSTED: return answer_error(call, 503, "server_busy", text);
    default: return answer_error(call, 500, "server_error", text);
    }
}

/* ---- chunks ---- */

static json_t *or_null(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return value ? json_incref(value) : json_null();
}

static json_t *chunk(const struct call *call, json_t *taken_choices, json_t *taken_usage) {
    return json_pack("{s:s,s:o,s:I,s:s,s:n,s:s,s:s,s:o}", "id", call->id, "choices", taken_choices, "created",
                     (json_int_t)call->created_s, "model", "local", "service_tier", "system_fingerprint",
                     "copycat", "object", "chat.completion.chunk", "usage", taken_usage);
}

static json_t *choice(const json_t *delta, const char *finish) {
    json_t *told = json_object();
    static const char *const keys[] = {"content", "function_call", "tool_calls", "role", "refusal"};
    for (size_t i = 0; i < COUNT(keys); i++) json_object_set_new(told, keys[i], or_null(delta, keys[i]));
    json_t *reasoning = json_object_get(delta, "reasoning_content");
    if (reasoning) json_object_set(told, "reasoning_content", reasoning);
    return json_pack("[{s:i,s:o,s:o,s:n}]", "index", 0, "delta", told, "finish_reason",
                     finish ? json_string(finish) : json_null(), "logprobs");
}

static void begin(struct call *call) {
    if (call->begun) return;
    call->begun = true;
    rest_count(call->serve, ROUTE_CHAT, 200);
    const char *const fields[] = {"content-type",
                                  "text/event-stream",
                                  "cache-control",
                                  "no-cache",
                                  "access-control-allow-origin",
                                  "*",
                                  "access-control-expose-headers",
                                  "*",
                                  NULL};
    http_respond_begin(call->exchange, 200, fields, -1);
}

static void send_json(struct call *call, json_t *taken_root) {
    scoped_json json_t *root = taken_root;
    scoped_string char *text = json_dumps(root, JSON_COMPACT);
    scoped_text struct text event = {0};
    if (!text) return;
    text_printf(&event, "data: %s\n\n", text);
    http_respond_write(call->exchange, text_span(&event));
    io_timer_arm(call->silence, KEEP_ALIVE_MS);
}

static void begin_stream(struct call *call) {
    if (call->begun) return;
    begin(call);
    scoped_json json_t *role = json_pack("{s:s}", "role", "assistant");
    send_json(call, chunk(call, choice(role, NULL), json_null()));
}

static void on_silence(void *owner) {
    struct call *call = owner;
    begin(call);
    http_respond_write(call->exchange, SPAN(":\n\n"));
    io_timer_arm(call->silence, KEEP_ALIVE_MS);
}

static void on_delta(void *owner, const json_t *delta) {
    struct call *call = owner;
    if (call->gone) return;
    begin_stream(call);
    send_json(call, chunk(call, choice(delta, NULL), json_null()));
}

/* ---- the end ---- */

static const char *const finishes[] = {
    [CHAT_STOP] = "stop", [CHAT_LENGTH] = "length", [CHAT_TOOL_CALLS] = "tool_calls"};

static json_t *usage(const struct chat_end *end) {
    return json_pack("{s:i,s:i,s:i,s:{s:i}}", "prompt_tokens", (int)end->prompt_tokens, "completion_tokens",
                     (int)end->generated_tokens, "total_tokens",
                     (int)(end->prompt_tokens + end->generated_tokens), "prompt_tokens_details",
                     "cached_tokens", (int)end->reused_tokens);
}

static void end_stream(struct call *call, const struct chat_end *end) {
    begin_stream(call);
    send_json(call, chunk(call, choice(NULL, finishes[end->finish]), json_null()));
    if (call->request->wants_usage) send_json(call, chunk(call, json_array(), usage(end)));
    http_respond_end(call->exchange);
    call_free(call);
}

static void answer_whole(struct call *call, const struct chat_end *end) {
    scoped_json json_t *root =
        json_pack("{s:s,s:[{s:i,s:O,s:s,s:n}],s:I,s:s,s:n,s:s,s:s,s:o}", "id", call->id, "choices", "index",
                  0, "message", end->message, "finish_reason", finishes[end->finish], "logprobs", "created",
                  (json_int_t)call->created_s, "model", "local", "service_tier", "system_fingerprint",
                  "copycat", "object", "chat.completion", "usage", usage(end));
    scoped_string char *body = root ? json_dumps(root, JSON_COMPACT) : mem_string("{}");
    answer(call, 200, "application/json", span_of(body));
}

static void on_done(void *owner, struct chat_end *end) {
    struct call *call = owner;
    struct error *error = end->error;
    if (call->gone) {
        error_free(error);
        http_exchange_release(call->exchange);
        return call_free(call);
    }
    if (!error) return call->streams ? end_stream(call, end) : answer_whole(call, end);
    if (error->code != ERROR_OUT_OF_RANGE && error->code != ERROR_INVALID_ARGUMENT) {
        scoped_string char *text = error_text(error);
        log_error("copycat", "a chat failed: %s", text);
    }
    if (!call->begun) return refuse(call, error, false);
    error_free(error);
    http_respond_abort(call->exchange);
    call_free(call);
}

/* ---- on another server ---- */

static json_t *told_choice(const json_t *given) {
    json_t *made =
        choice(json_object_get(given, "delta"), json_string_value(json_object_get(given, "finish_reason")));
    json_t *one = json_incref(json_array_get(made, 0)), *index = json_object_get(given, "index");
    json_decref(made);
    if (json_is_integer(index)) json_object_set(one, "index", index);
    json_object_set_new(one, "logprobs", or_null(given, "logprobs"));
    return one;
}

/* Its chunk, in the form that all of ours have. */
static void on_remote_json(void *owner, const json_t *json) {
    struct call *call = owner;
    if (call->gone) return;
    if (!call->streams) {
        call->whole = json_incref((json_t *)json);
        return;
    }
    begin(call);
    json_t *choices = json_array();
    size_t i;
    const json_t *given;
    json_array_foreach(json_object_get(json, "choices"), i, given)
        json_array_append_new(choices, told_choice(given));
    json_t *root =
        json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o}", "id", or_null(json, "id"), "choices", choices,
                  "created", or_null(json, "created"), "model", or_null(json, "model"), "service_tier",
                  or_null(json, "service_tier"), "system_fingerprint", or_null(json, "system_fingerprint"),
                  "object", "chat.completion.chunk", "usage", or_null(json, "usage"));
    send_json(call, root);
}

static void on_remote_done(void *owner, struct error *error) {
    struct call *call = owner;
    if (call->gone) {
        error_free(error);
        http_exchange_release(call->exchange);
        return call_free(call);
    }
    bool failed = error != NULL;
    scoped_string char *text = failed ? error_text(error) : NULL;
    if (failed) log_error("copycat", "a chat failed: %s", text);
    error_free(error);
    if (failed && !call->begun) return answer_error(call, 500, "server_error", text);
    if (failed) {
        http_respond_abort(call->exchange);
        return call_free(call);
    }
    if (!call->streams) {
        scoped_string char *body = json_dumps(call->whole, JSON_COMPACT);
        return answer(call, 200, "application/json", span_of(body));
    }
    begin(call);
    http_respond_end(call->exchange);
    call_free(call);
}

static void on_gone(struct http_exchange *exchange) {
    struct call *call = http_exchange_owner(exchange);
    call->serve->client_gone++;
    if (call->chat || call->remote) {
        call->gone = true;
        io_timer_stop(call->silence);
        return call->chat ? chat_cancel(call->chat) : remote_cancel(call->remote);
    }
    http_exchange_release(exchange);
    call_free(call);
}

/* ---- the beginning ---- */

/* Clients of OpenAI's leave `stream` out where they want one JSON object, and say so by Accept. */
static bool wants_stream(const struct call *call) {
    if (call->request->has_stream) return call->request->stream;
    struct span rest = http_exchange_header(call->exchange, "accept");
    bool json = false;
    while (rest.data) {
        struct span type = span_cut(&rest, ','), media = span_trim(span_cut(&type, ';'));
        if (span_is_nocase(media, "text/event-stream") || span_is(media, "*/*")) return true;
        json |= span_is_nocase(media, "application/json");
    }
    return !json;
}

static struct error *compute(struct call *call) {
    const struct backend *backend = &call->serve->chat;
    call->created_s = clock_wall_ms() / 1000;
    call->id = random_id("chatcmpl");
    struct chat_options options = {
        .engine = backend->engine,
        .templates = backend->templates,
        .stop_words = (const char *const *)backend->how.stop_words,
        .delta = call->streams ? on_delta : NULL,
        .done = on_done,
        .owner = call,
    };
    return chat_start(&options, call->request, &call->chat);
}

static bool is_supported(char *const *models, struct span name) {
    for (size_t i = 0; models[i]; i++)
        if (span_is(name, models[i])) return true;
    return false;
}

static struct error *ask_remote(struct call *call) {
    const struct backend *backend = &call->serve->chat;
    struct span model = call->request->model;
    if (model.size > 0 && backend->how.supported_models &&
        !is_supported(backend->how.supported_models, model)) {
        log_warn("copycat", "chat: there is no model '" SPAN_FORMAT "' here; %s answers", SPAN_ARGS(model),
                 backend->how.model_name);
        model.size = 0;
    }
    struct remote_chat ask = {
        .body = call->request->root,
        .model = model,
        .stream = call->streams,
        .json = on_remote_json,
        .done = on_remote_done,
        .owner = call,
    };
    call->remote = remote_chat_start(backend->remote, &ask);
    return NULL;
}

static void on_body(struct http_exchange *exchange, struct span body, struct error *taken_error) {
    struct call *call = http_exchange_owner(exchange);
    if (taken_error) {
        scoped_string char *text = NULL;
        int status = rest_body_fault(taken_error, &text);
        return answer(call, status, "text/plain; charset=utf-8", span_of(text));
    }
    struct error *error = chat_request_parse(body, &call->request);
    if (error) return refuse(call, error, true);
    struct serve *serve = call->serve;
    call->streams = wants_stream(call);
    call->busy = true;
    search_busy(serve, 1);
    error = serve->chat.remote ? ask_remote(call) : compute(call);
    if (error) return refuse(call, error, false);
    events_chat(serve, &call->visitor);
    call->silence = io_timer_new(serve->loop, on_silence, call);
    if (call->streams) io_timer_arm(call->silence, KEEP_ALIVE_MS);
}

void chats_answer(struct serve *serve, struct http_exchange *exchange) {
    struct call *call = NEW(struct call);
    call->serve = serve;
    call->exchange = exchange;
    if (!rest_has_chat(serve)) return answer(call, 501, NULL, SPAN(""));
    if (!rest_is_json(http_exchange_header(exchange, "content-type")))
        return answer(call, 415, "text/plain; charset=utf-8",
                      SPAN("Expected request with `Content-Type: application/json`"));
    call->visitor = accounts_visitor(serve, exchange);
    http_exchange_owner_set(exchange, call);
    http_exchange_on_gone(exchange, on_gone);
    http_exchange_read_all(exchange, CHAT_BODY_BYTES_MAX, on_body);
}
