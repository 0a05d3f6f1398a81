/* Routes: which path and method is whose, and what all answers have in common (CORS, counting, what is not
 * there). */
#include "accounts.h"
#include "inside.h"

#include <stdlib.h>

struct entry {
    const char *path, *methods;
    enum route route;
    void (*answer)(struct serve *serve, struct http_exchange *exchange);
    enum {
        OPEN = 1,        /* whoever asks, or the route looks itself */
        DEEPER = 2,      /* also with more behind the path */
        OWN_METHODS = 4, /* the route looks at them itself */
        OF_ACCOUNTS = 8, /* not there without a database */
    } how;
};

/* What clients may choose from: only servers that say so have more than one. */
static json_t *supported(const struct backend *backend) {
    if (!backend->how.supported_models) return json_null();
    json_t *list = json_array();
    for (size_t i = 0; backend->how.supported_models[i]; i++)
        json_array_append_new(list, json_string(backend->how.supported_models[i]));
    return list;
}

static void models(struct serve *serve, struct http_exchange *exchange) {
    scoped_json json_t *root =
        json_pack("{s:o,s:o}", "completion", supported(&serve->completion), "chat", supported(&serve->chat));
    scoped_string char *body = json_dumps(root, JSON_COMPACT);
    rest_answer(serve, ROUTE_MODELS, exchange, 200, "application/json", span_of(body));
}

static void setting(struct serve *serve, struct http_exchange *exchange) {
    bool disabled = account_telemetry_disabled(serve->accounts->account);
    rest_answer(serve, ROUTE_SETTING, exchange, 200, "application/json",
                disabled ? SPAN("{\"disable_client_side_telemetry\":true}")
                         : SPAN("{\"disable_client_side_telemetry\":false}"));
}

static const struct entry entries[] = {
    {"/v1/health", "GET,HEAD,POST", ROUTE_HEALTH, health_answer, 0},
    {"/v1/completions", "POST", ROUTE_COMPLETIONS, completions_answer, 0},
    {"/v1/chat/completions", "POST", ROUTE_CHAT, chats_answer, 0},
    {"/v1beta/chat/completions", "POST", ROUTE_CHAT, chats_answer, 0},
    {"/v1/events", "POST", ROUTE_EVENTS, events_answer, 0},
    {"/v1beta/models", "GET,HEAD", ROUTE_MODELS, models, 0},
    {"/v1beta/server_setting", "GET,HEAD", ROUTE_SETTING, setting, 0},
    {"/v1beta/ingestion", "POST,DELETE", ROUTE_INGESTION, ingestion_answer,
     OPEN | DEEPER | OWN_METHODS | OF_ACCOUNTS},
    {"/metrics", "GET,HEAD", ROUTE_METRICS, metrics_answer, OPEN},
    {"/graphql", "POST", ROUTE_GRAPHQL, graphql_answer, OPEN | OF_ACCOUNTS}, /* GET: a page */
};

bool rest_is_json(struct span content_type) {
    struct span rest = content_type, media = span_trim(span_cut(&rest, ';'));
    return span_is_nocase(media, "application/json") ||
           (media.size > 17 && span_starts(media, "application/") && span_ends(media, "+json"));
}

bool rest_has_chat(const struct serve *serve) {
    return serve->chat.how.source != SETTINGS_NONE;
}

void rest_count(struct serve *serve, enum route route, int status) {
    int class = status / 100;
    serve->counts[route].by_class[class >= 0 && class < 6 ? class : 0]++;
}

void rest_answer(struct serve *serve, enum route route, struct http_exchange *exchange, int status,
                 const char *content_type, struct span body) {
    rest_count(serve, route, status);
    const char *fields[12] = {"access-control-allow-origin",
                              "*",
                              "access-control-expose-headers",
                              "*",
                              "vary",
                              "origin, access-control-request-method, access-control-request-headers"};
    size_t at = 6;
    if (content_type) fields[at++] = "content-type", fields[at++] = content_type;
    if (status == 503) fields[at++] = "retry-after", fields[at++] = "1";
    fields[at] = NULL;
    http_respond(exchange, status, route == ROUTE_METRICS ? fields + 6 : fields, body);
}

int rest_body_fault(struct error *taken_error, char **ret_text) {
    scoped(error) struct error *error = taken_error;
    bool too_long = error->code == ERROR_RESOURCE_EXHAUSTED;
    *ret_text =
        too_long ? mem_string("Failed to buffer the request body: length limit exceeded") : error_text(error);
    return too_long ? 413 : 400;
}

json_t *rest_body_json(struct span body, int *ret_status, char **ret_text) {
    json_error_t where;
    json_t *root = json_read(body, JSON_DECODE_ANY, &where);
    if (json_is_object(root)) return root;
    bool has_nul = !root && json_error_code(&where) == json_error_null_character;
    *ret_status = root ? 422 : 400;
    *ret_text =
        root ? mem_string("Failed to deserialize the JSON body into the target type: expected an object")
             : mem_printf("Failed to parse the request body as JSON: %s at line %d column %d",
                          has_nul ? "\\u0000 is not taken" : where.text, where.line, where.column);
    json_decref(root);
    return NULL;
}

static bool listed(const char *methods, struct span method) {
    struct span rest = span_of(methods);
    while (rest.data)
        if (span_equal(span_cut(&rest, ','), method)) return true;
    return false;
}

static bool is_at(struct span path, const struct entry *entry) {
    if (span_is(path, entry->path)) return true;
    size_t size = strlen(entry->path);
    return (entry->how & DEEPER) && span_starts(path, entry->path) && path.data[size] == '/';
}

void rest_on_request(void *owner, struct http_exchange *exchange) {
    struct serve *serve = owner;
    struct span path = http_exchange_path(exchange), method = http_exchange_method(exchange);
    const struct entry *entry = NULL;
    for (size_t i = 0; i < COUNT(entries) && !entry; i++)
        if (is_at(path, &entries[i])) entry = &entries[i];
    if (entry && entry->route == ROUTE_GRAPHQL && !listed("POST,OPTIONS", method)) entry = NULL;
    if (entry && (entry->how & OF_ACCOUNTS) && !serve->accounts->schema) entry = NULL;
    if (!entry) return web_answer(serve, exchange);
    if (span_is(method, "OPTIONS") && entry->route != ROUTE_METRICS) {
        const char *const fields[] = {"access-control-allow-origin",
                                      "*",
                                      "access-control-allow-methods",
                                      "*",
                                      "access-control-allow-headers",
                                      "*",
                                      NULL};
        http_respond(exchange, 200, fields, SPAN(""));
    } else if (!(entry->how & OPEN) && !accounts_admit(serve, entry->route, exchange)) {
        return;
    } else if (!(entry->how & OWN_METHODS) && !listed(entry->methods, method)) {
        const char *const fields[] = {"allow", entry->methods, NULL};
        rest_count(serve, entry->route, 405);
        http_respond(exchange, 405, fields, SPAN(""));
    } else {
        entry->answer(serve, exchange);
    }
}
