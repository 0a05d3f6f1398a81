/* What was completed, seen, taken and thrown away: POST /v1/events, and the notes that other routes make
 * here.
 *
 *   body whole -> an event -> kept -> 200. Ends otherwise: content type 415; too long 413; not JSON 400; not
 * such an event 422; of a kind that nobody knows 400; cannot be kept 500 or 507. */
#include "accounts.h"

#include <stdlib.h>

static const char plain[] = "text/plain; charset=utf-8";

struct call {
    struct serve *serve;
    struct http_exchange *exchange; /* NULL: the client is gone */
};

static void answer(struct call *call, int status, const char *content_type, struct span body) {
    struct http_exchange *exchange = call->exchange;
    struct serve *serve = call->serve;
    free(call);
    if (exchange) rest_answer(serve, ROUTE_EVENTS, exchange, status, content_type, body);
}

static void on_kept(void *owner, struct error *taken_error) {
    struct call *call = owner;
    scoped(error) struct error *error = taken_error;
    accounts_job_ended(call->serve);
    if (!error) return answer(call, 200, NULL, SPAN(""));
    scoped_string char *text = error_text(error);
    log_error("copycat", "an event is not kept: %s", text);
    answer(call, error->code == ERROR_RESOURCE_EXHAUSTED ? 507 : 500, plain, span_of(text));
}

static void on_gone(struct http_exchange *exchange) {
    struct call *call = http_exchange_owner(exchange);
    call->exchange = NULL;
    http_exchange_release(exchange);
}

/* ---- the event of a body ---- */

static bool put_text(json_t *fields, const json_t *root, const char *name) {
    json_t *value = json_object_get(root, name);
    if (!value || json_is_null(value)) return true;
    json_object_set(fields, name, value);
    return json_is_string(value);
}

static bool put_number(json_t *fields, const json_t *root, const char *name) {
    json_t *value = json_object_get(root, name);
    if (!value || json_is_null(value)) return true;
    double number = json_number_value(value); /* a real too, beside an integer of more than 63 bits */
    if (!json_is_number(value) || !(number >= 0 && number <= UINT32_MAX) ||
        (double)(uint32_t)number != number)
        return false;
    json_object_set_new(fields, name, json_integer((json_int_t)number));
    return true;
}

/* Fields in the order of Tabby's log; what is missing or of another type: NULL and *ret_wrong. */
static json_t *fields_of(const json_t *root, enum account_event_kind kind, bool is_line,
                         const char **ret_wrong) {
    json_t *fields = json_object();
    if (!json_is_string(json_object_get(root, "completion_id")))
        *ret_wrong = "missing field `completion_id`";
    else if (!json_is_number(json_object_get(root, "choice_index")))
        *ret_wrong = "missing field `choice_index`";
    put_text(fields, root, "completion_id");
    if (!put_number(fields, root, "choice_index")) *ret_wrong = "choice_index: expected u32";
    if (is_line) json_object_set_new(fields, "kind", json_string("line"));
    if (!put_text(fields, root, "view_id")) *ret_wrong = "view_id: expected a string";
    if (!put_number(fields, root, "elapsed")) *ret_wrong = "elapsed: expected u32";
    if (kind == ACCOUNT_VIEW) json_object_del(fields, "elapsed");
    return fields;
}

static bool kind_of(const char *type, enum account_event_kind *ret) {
    static const struct {
        const char *type;
        enum account_event_kind kind;
    } kinds[] = {{"view", ACCOUNT_VIEW}, {"select", ACCOUNT_SELECT}, {"dismiss", ACCOUNT_DISMISS}};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].type, type) != 0) continue;
        *ret = kinds[i].kind;
        return true;
    }
    return false;
}

static void keep(struct call *call, const json_t *root) {
    enum account_event_kind kind = ACCOUNT_VIEW;
    const char *type = json_string_value(json_object_get(root, "type")), *wrong = NULL;
    bool known = type && kind_of(type, &kind);
    bool is_line = kind == ACCOUNT_SELECT && span_is(query_value(call->exchange, "select_kind"), "line");
    scoped_json json_t *fields = fields_of(root, kind, is_line, &wrong);
    if (!type) wrong = "missing field `type`";
    if (wrong) {
        scoped_string char *text =
            mem_printf("Failed to deserialize the JSON body into the target type: %s", wrong);
        return answer(call, 422, plain, span_of(text));
    }
    if (!known) return answer(call, 400, NULL, SPAN(""));
    struct visitor visitor = accounts_visitor(call->serve, call->exchange);
    const json_t *id = json_object_get(fields, "completion_id");
    struct account_event event = {
        .kind = kind,
        .user = visitor.who.user,
        .user_name = visitor.name,
        .completion_id = {json_string_value(id), json_string_length(id)},
        .fields = json_incref(fields),
    };
    accounts_job_began(call->serve);
    account_log(call->serve->accounts->account, &event, on_kept, call);
}

static void on_body(struct http_exchange *exchange, struct span body, struct error *taken_error) {
    struct call *call = http_exchange_owner(exchange);
    if (taken_error) {
        bool too_long = taken_error->code == ERROR_RESOURCE_EXHAUSTED;
        error_free(taken_error);
        return answer(call, too_long ? 413 : 400, plain,
                      too_long ? SPAN("Failed to buffer the request body: length limit exceeded")
                               : SPAN("the request body is not whole"));
    }
    int status = 0;
    scoped_string char *wrong = NULL;
    scoped_json json_t *root = rest_body_json(body, &status, &wrong);
    if (!root) return answer(call, status, plain, span_of(wrong));
    keep(call, root);
}

void events_answer(struct serve *serve, struct http_exchange *exchange) {
    struct call *call = NEW(struct call);
    *call = (struct call){serve, exchange};
    if (!rest_is_json(http_exchange_header(exchange, "content-type")))
        return answer(call, 415, plain, SPAN("Expected request with `Content-Type: application/json`"));
    http_exchange_owner_set(exchange, call);
    http_exchange_on_gone(exchange, on_gone);
    http_exchange_read_all(exchange, BODY_BYTES_MAX, on_body);
}

/* ---- notes of other routes: nobody waits for them ---- */

static json_t *text_json(struct span text) {
    json_t *json = json_stringn(text.data ? text.data : "", text.size);
    return json ? json : json_string(""); /* what is no UTF-8 */
}

static void put_span(json_t *object, const char *name, struct span text) {
    if (text.data) json_object_set_new(object, name, text_json(text));
}

static json_t *segments_json(const struct completion_request *request) {
    json_t *segments = json_object(), *declarations = json_array();
    const json_t *given = json_object_get(request->root, "segments");
    json_object_set_new(segments, "prefix", text_json(request->prefix));
    /* As it was sent: an empty suffix is none for the prompt, but was one for the log. */
    if (json_is_string(json_object_get(given, "suffix")))
        json_object_set(segments, "suffix", json_object_get(given, "suffix"));
    if (json_is_string(json_object_get(given, "clipboard")))
        json_object_set(segments, "clipboard", json_object_get(given, "clipboard"));
    if (request->git_url.size > 0) put_span(segments, "git_url", request->git_url);
    for (size_t i = 0; i < request->list_counts[0]; i++)
        json_array_append_new(declarations,
                              json_pack("{s:o,s:o}", "filepath", text_json(request->snippets[i].filepath),
                                        "body", text_json(request->snippets[i].body)));
    if (json_array_size(declarations) > 0) json_object_set(segments, "declarations", declarations);
    json_decref(declarations);
    if (request->filepath.size > 0) put_span(segments, "filepath", request->filepath);
    return segments;
}

void events_completion(struct serve *serve, const struct completed *completed) {
    const struct completion_request *request = completed->request;
    struct span language = request->language.size > 0 ? request->language : SPAN("unknown");
    json_t *fields = json_object();
    put_span(fields, "completion_id", completed->id);
    put_span(fields, "language", language);
    json_object_set_new(fields, "prompt", text_json(completed->prompt));
    if (request->has_segments && !request->has_raw_prompt && !request->next_edit)
        json_object_set_new(fields, "segments", segments_json(request));
    json_object_set_new(fields, "choices",
                        json_pack("[{s:i,s:o}]", "index", 0, "text", text_json(completed->text)));
    json_object_set_new(fields, "user_agent",
                        completed->user_agent.data ? text_json(completed->user_agent) : json_null());
    struct account_event event = {
        .kind = ACCOUNT_COMPLETION,
        .user = completed->visitor.who.user,
        .user_name = completed->visitor.name,
        .completion_id = completed->id,
        .language = language,
        .fields = fields,
    };
    account_log(serve->accounts->account, &event, NULL, NULL);
}

void events_chat(struct serve *serve, const struct visitor *visitor) {
    struct account_event event = {
        .kind = ACCOUNT_CHAT_COMPLETION,
        .user = visitor->who.user,
        .user_name = visitor->name,
        .fields = json_object(),
    };
    account_log(serve->accounts->account, &event, NULL, NULL);
}
