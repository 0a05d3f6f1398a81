/* The GraphQL schema with its functions, and what they have in common: rights, complaints, arguments.
 *
 * What a field needs is checked in its function's first line; the words and codes are those that Tabby's
 * clients know. */
#include "resolve.h"

#include "embedded.h"

#include <stdlib.h>

/* ---- rights ---- */

struct error *refuse(struct graphql_call *call, const char *code, const char *text) {
    call->extensions = json_pack("{s:s}", "code", code);
    return error_new(ERROR_PERMISSION_DENIED, "%s", text);
}

struct error *check_claims(struct graphql_call *call) {
    return asker_of(call)->who.user ? NULL : refuse(call, "UNAUTHORIZED", "You're not logged in");
}

struct error *check_user(struct graphql_call *call) {
    TRY_PLAIN(check_claims(call));
    if (!asker_of(call)->who.by_auth_token) return NULL;
    return refuse(call, "FORBIDDEN", "Invoking this API with an auth token is not allowed");
}

struct error *check_admin(struct graphql_call *call) {
    TRY_PLAIN(check_user(call));
    return asker_of(call)->who.is_admin ? NULL : refuse(call, "FORBIDDEN", "You must be admin to proceed");
}

struct error *check_input(struct graphql_call *call, json_t *taken_complaints) {
    if (json_array_size(taken_complaints) == 0) {
        json_decref(taken_complaints);
        return NULL;
    }
    call->extensions = json_pack("{s:{s:o}}", "validation-errors", "errors", taken_complaints);
    return error_new(ERROR_INVALID_ARGUMENT, "Invalid input parameters");
}

/* ---- arguments ---- */

const char *argument_string(const struct graphql_call *call, const char *name) {
    return json_string_value(json_object_get(call->arguments, name));
}

struct error *argument_row(const struct graphql_call *call, const char *name, int64_t *ret_row) {
    return id_row(argument_string(call, name), ret_row);
}

struct error *id_row(const char *id, int64_t *ret_row) {
    if (id && account_row(span_of(id), ret_row)) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "Invalid ID");
}

static int64_t count_of(const struct graphql_call *call, const char *name) {
    const json_t *value = json_object_get(call->arguments, name);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

void argument_page(const struct graphql_call *call, struct account_page *ret_page) {
    *ret_page = (struct account_page){
        .after = span_of(argument_string(call, "after")),
        .before = span_of(argument_string(call, "before")),
        .first = count_of(call, "first"),
        .last = count_of(call, "last"),
    };
    /* A negative number was given: told from "none" by being less. */
    if (json_is_integer(json_object_get(call->arguments, "first")) && ret_page->first < 0)
        ret_page->first = -2;
    if (json_is_integer(json_object_get(call->arguments, "last")) && ret_page->last < 0) ret_page->last = -2;
}

struct error *check_page(const struct account_page *page) {
    if (page->first != -1 && page->last != -1)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "The \"first\" and \"last\" parameters cannot exist at the same time");
    if (page->first < -1 || page->last < -1)
        return error_new(ERROR_INVALID_ARGUMENT, "The \"%s\" parameter must be a non-negative number",
                         page->first < -1 ? "first" : "last");
    return NULL;
}

/* ---- the schema ---- */

struct error *resolve_schema_new(struct graphql_schema **ret_schema) {
    static const struct graphql_resolver *const tables[] = {
        resolve_sessions, resolve_users, resolve_settings,     resolve_activity, resolve_sources,
        resolve_threads,  resolve_code,  resolve_integrations, resolve_groups};
    struct graphql_resolver all[128];
    size_t count = 0;
    for (size_t i = 0; i < COUNT(tables); i++)
        for (const struct graphql_resolver *one = tables[i]; one->field && count + 1 < COUNT(all); one++)
            all[count++] = *one;
    all[count] = (struct graphql_resolver){NULL, NULL};
    struct graphql_schema_options options = {.text = schema_text, .resolvers = all};
    return graphql_schema_new(&options, ret_schema);
}
