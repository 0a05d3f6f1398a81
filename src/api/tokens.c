/* Tokens of Modal's clients, as the room identity keeps them: made, listed, revoked.
 *
 *   POST   /v1/tokens {"name", "kind": "client" or "proxy"}
 *                                {"id", "secret", "name", "kind"}: the secret is told this once
 *   GET    /v1/tokens            {"tokens": [{"id", "name", "kind", "created_ms"}]}, the oldest first
 *   DELETE /v1/tokens/ID         {"id", "revoked"}: it opens nothing any more */
#include "inside.h"

#include <stdlib.h>

static const char *kind_name(enum identity_kind kind) {
    return kind == IDENTITY_PROXY ? "proxy" : "client";
}

static void on_made(void *owner, struct error *error, const struct identity_token *token) {
    later_answer(owner, error,
                 token ? json_pack("{s:s, s:s, s:s, s:s}", "id", token->id, "secret", token->secret, "name",
                                   token->name, "kind", kind_name(token->kind))
                       : NULL);
}

static void on_body(struct http_exchange *exchange, struct span bytes, struct error *error) {
    struct api *api = http_exchange_owner(exchange);
    scoped_json json_t *body = error ? NULL : json_loadb(bytes.size ? bytes.data : "", bytes.size, 0, NULL);
    const char *name = json_string_value(json_object_get(body, "name"));
    const json_t *told = json_object_get(body, "kind");
    const char *kind = told ? json_string_value(told) : "client";
    bool proxy = kind && strcmp(kind, "proxy") == 0;
    if (!error && !name)
        error = error_new(ERROR_INVALID_ARGUMENT, "the body is {\"name\": ...}: what the token is for");
    if (!error && !proxy && (!kind || strcmp(kind, "client") != 0))
        error = error_new(ERROR_INVALID_ARGUMENT, "kind: a token is a \"client\"'s or a \"proxy\"'s");
    if (error)
        http_respond_error(exchange, error);
    else
        identity_token_new(api->identity, proxy ? IDENTITY_PROXY : IDENTITY_CLIENT, name, on_made,
                           later_new(exchange));
}

static int by_age(const void *a, const void *b) {
    const struct identity_token *left = a, *right = b;
    if (left->created_ms != right->created_ms) return left->created_ms < right->created_ms ? -1 : 1;
    return strcmp(left->id, right->id);
}

static void answer_list(struct api *api, struct http_exchange *exchange) {
    struct identity_token *tokens = NULL, token;
    size_t count = 0;
    for (size_t i = 0; identity_token_next(api->identity, &i, &token);) {
        tokens = mem_grow(tokens, count + 1, sizeof *tokens);
        tokens[count++] = token;
    }
    if (count > 0) qsort(tokens, count, sizeof *tokens, by_age);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I}", "id", tokens[i].id, "name",
                                              tokens[i].name, "kind", kind_name(tokens[i].kind), "created_ms",
                                              (json_int_t)tokens[i].created_ms));
    free(tokens);
    http_respond_json(exchange, 200, json_pack("{s:o}", "tokens", list));
}

struct revoking {
    struct later *later;
    char *id;
};

static void on_revoked(void *owner, struct error *error) {
    struct revoking *revoking = owner;
    later_answer(revoking->later, error, json_pack("{s:s, s:b}", "id", revoking->id, "revoked", 1));
    free(revoking->id);
    free(revoking);
}

bool tokens_handle(struct api *api, struct http_exchange *exchange, struct span rest) {
    struct span method = http_exchange_method(exchange);
    if (!api->identity) return false;
    if (rest.size == 0 && span_is(method, "GET")) {
        answer_list(api, exchange);
    } else if (rest.size == 0 && span_is(method, "POST")) {
        http_exchange_owner_set(exchange, api);
        http_exchange_read_all(exchange, API_BODY_MAX, on_body);
    } else if (rest.size > 0 && span_is(method, "DELETE")) {
        struct revoking *revoking = NEW(struct revoking);
        *revoking = (struct revoking){later_new(exchange), span_string(rest)};
        identity_token_revoke(api->identity, revoking->id, on_revoked, revoking);
    } else {
        return false;
    }
    return true;
}
