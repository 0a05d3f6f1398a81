/* POST /v1/completions.
 *
 *   body whole -> parsed -> code searched for it (lookup.c) -> computed -> 200. Ends otherwise: no model 501;
 * content type 415; too long 413; not JSON 400; not such a request 422; nothing to complete 400; queue full
 * 503; too slow 408; client gone: computing stops, nobody is told. A failure of the engine is 200 with an
 * empty text, as clients of Tabby know it; the log tells why. */
#include "accounts.h"
#include "inside.h"
#include "lookup.h"

#include <stdio.h>
#include <stdlib.h>

struct call {
    struct serve *serve;
    struct http_exchange *exchange;
    struct completion_request *request;
    struct lookup *lookup;         /* NULL: none, or it is done */
    struct completion *completion; /* NULL: not begun */
    struct io_timer *timer;
    struct visitor visitor;
    char *user;          /* whose documents are whose */
    struct arena *arena; /* of what was looked up */
    bool gone, timed_out, busy;
};

static void call_free(struct call *call) {
    if (call->busy) search_busy(call->serve, -1);
    lookup_drop(call->lookup);
    free(call->user);
    arena_free(call->arena);
    completion_request_free(call->request);
    io_timer_free(call->timer);
    free(call);
}

static void answer(struct call *call, int status, const char *content_type, struct span body) {
    struct http_exchange *exchange = call->exchange;
    struct serve *serve = call->serve;
    call_free(call);
    rest_answer(serve, ROUTE_COMPLETIONS, exchange, status, content_type, body);
}

static void refuse(struct call *call, struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    scoped_string char *text = error_text(error);
    scoped_string char *said = NULL;
    const char *plain = "text/plain; charset=utf-8";
    switch (error->code) {
    case ERROR_INVALID_ARGUMENT:
        said = mem_printf("Failed to parse the request body as JSON: %s", text);
        return answer(call, 400, plain, span_of(said));
    case ERROR_FAILED_PRECONDITION:
        said = mem_printf("Failed to deserialize the JSON body into the target type: %s", text);
        return answer(call, 422, plain, span_of(said));
    case ERROR_OUT_OF_RANGE: return answer(call, 400, NULL, SPAN(""));
    case ERROR_RESOURCE_EXHAUSTED: return answer(call, 503, plain, span_of(text));
    default: return answer(call, 500, plain, span_of(text));
    }
}

static void add_debug(json_t *root, const struct completion_request *request, const struct prompt *prompt) {
    json_t *debug = json_object();
    if (request->wants_snippets) {
        json_t *snippets = json_array();
        for (size_t i = 0; i < prompt->snippet_count; i++)
            json_array_append_new(snippets,
                                  json_pack("{s:s%,s:s%,s:f}", "filepath", prompt->snippets[i]->filepath.data,
                                            prompt->snippets[i]->filepath.size, "body",
                                            prompt->snippets[i]->body.data, prompt->snippets[i]->body.size,
                                            "score", prompt->snippets[i]->score));
        json_object_set_new(debug, "snippets", snippets);
    }
    if (request->wants_prompt)
        json_object_set_new(debug, "prompt",
                            json_stringn(prompt->whole.data ? prompt->whole.data : "", prompt->whole.size));
    json_object_set_new(root, "debug_data", debug);
}

static char *new_id(void) {
    uint8_t b[16];
    random_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40), b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* UUID version 4 */
    return mem_printf("cmpl-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
                      b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
                      b[15]);
}

static void on_done(void *owner, struct completion_end *end) {
    struct call *call = owner;
    scoped(error) struct error *error = end->error;
    if (call->gone) {
        http_exchange_release(call->exchange);
        call_free(call);
        return;
    }
    if (call->timed_out) {
        call->serve->timeouts++;
        return answer(call, 408, NULL, SPAN(""));
    }
    if (error) {
        scoped_string char *text = error_text(error);
        log_error("copycat", "a completion failed: %s", text);
    }
    scoped_json json_t *root = json_object();
    scoped_string char *id = new_id();
    json_object_set_new(root, "id", json_string(id));
    /* Invalid UTF-8 (a model may say such bytes) makes jansson give NULL: then the text is empty. */
    json_t *text = json_stringn(end->text.data ? end->text.data : "", error ? 0 : end->text.size);
    json_object_set_new(root, "choices",
                        json_pack("[{s:i,s:o}]", "index", 0, "text", text ? text : json_string("")));
    if (call->request->has_debug) add_debug(root, call->request, end->prompt);
    json_object_set_new(root, "mode",
                        json_string(call->request->next_edit ? "next_edit_suggestion" : "standard"));
    scoped_string char *body = json_dumps(root, JSON_COMPACT);
    const struct completed completed = {
        .visitor = call->visitor,
        .id = span_of(id),
        .user_agent = http_exchange_header(call->exchange, "user-agent"),
        .request = call->request,
        .prompt = end->prompt ? text_span(&end->prompt->whole) : (struct span){0},
        .text = error ? (struct span){0} : end->text,
    };
    events_completion(call->serve, &completed);
    answer(call, 200, "application/json", span_of(body));
}

static void on_timeout(void *owner) {
    struct call *call = owner;
    call->timed_out = true;
    if (call->completion) return completion_cancel(call->completion);
    call->serve->timeouts++;
    answer(call, 408, NULL, SPAN(""));
}

static void on_gone(struct http_exchange *exchange) {
    struct call *call = http_exchange_owner(exchange);
    call->serve->client_gone++;
    if (call->completion) {
        call->gone = true;
        completion_cancel(call->completion);
        return;
    }
    http_exchange_release(exchange);
    call_free(call);
}

/* A server that takes prefix and suffix apart gets them so, whatever its prompt_template says. */
static const char *template_of(const struct backend *backend) {
    if (!backend->remote) return backend->model->prompt_template;
    return backend->source.takes_parts ? "{prefix}<|FIM|>{suffix}" : backend->how.prompt_template;
}

static void compute(struct call *call) {
    struct serve *serve = call->serve;
    const struct backend *backend = &serve->completion;
    struct completion_options options = {
        .engine = backend->engine,
        .source = backend->remote ? &backend->source : NULL,
        .window = serve->window,
        .template_text = template_of(backend),
        .stop_words = (const char *const *)backend->how.stop_words,
        .max_tokens = serve->settings->completion_tokens,
        .input_bytes = serve->settings->completion_input_bytes,
        .languages = serve->languages,
        .user = span_of(call->user),
        .done = on_done,
        .owner = call,
    };
    struct error *error = completion_start(&options, call->request, &call->completion);
    if (error) refuse(call, error);
}

static void on_looked_up(void *owner) {
    compute(owner);
}

static void on_body(struct http_exchange *exchange, struct span body, struct error *taken_error) {
    struct call *call = http_exchange_owner(exchange);
    if (taken_error) {
        scoped_string char *text = NULL;
        int status = rest_body_fault(taken_error, &text);
        return answer(call, status, "text/plain; charset=utf-8", span_of(text));
    }
    struct error *error = completion_request_parse(body, &call->request);
    if (error) return refuse(call, error);
    struct serve *serve = call->serve;
    const struct visitor *visitor = &call->visitor;
    call->user = mem_printf("%lld " SPAN_FORMAT, (long long)visitor->who.user, SPAN_ARGS(visitor->name));
    call->busy = true;
    search_busy(serve, 1);
    call->timer = io_timer_new(serve->loop, on_timeout, call);
    io_timer_arm(call->timer, (int64_t)serve->settings->completion_timeout_s * 1000);
    call->arena = arena_new();
    struct lookup_options options = {.request = call->request,
                                     .arena = call->arena,
                                     .user = span_of(call->user),
                                     .visitor = *visitor,
                                     .done = on_looked_up,
                                     .owner = call};
    call->lookup = lookup_start(serve, &options);
    if (!call->lookup) compute(call);
}

void completions_answer(struct serve *serve, struct http_exchange *exchange) {
    struct call *call = NEW(struct call);
    call->serve = serve;
    call->exchange = exchange;
    if (serve->completion.how.source == SETTINGS_NONE) return answer(call, 501, NULL, SPAN(""));
    if (!rest_is_json(http_exchange_header(exchange, "content-type")))
        return answer(call, 415, "text/plain; charset=utf-8",
                      SPAN("Expected request with `Content-Type: application/json`"));
    call->visitor = accounts_visitor(serve, exchange);
    http_exchange_owner_set(exchange, call);
    http_exchange_on_gone(exchange, on_gone);
    http_exchange_read_all(exchange, BODY_BYTES_MAX, on_body);
}
