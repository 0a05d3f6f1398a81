/* GraphQL: servers of repositories (GitHub, GitLab), and which repositories of theirs are indexed. For an
 * admin. */
#include "resolve.h"
#include "search.h"

#include <stdlib.h>

#define TOKEN_MIN 10 /* characters; fewer were never a token */
#define TOKEN_SHOWN "********"

static void complain(json_t *complaints, const char *path, const char *message) {
    json_array_append_new(complaints, json_pack("{s:s,s:s}", "path", path, "message", message));
}

static const char *input_string(const struct graphql_call *call, const char *name) {
    return json_string_value(json_object_get(json_object_get(call->arguments, "input"), name));
}

static bool is_web_url(const char *url) {
    struct span rest = span_of(url);
    if (!span_starts(rest, "http://") && !span_starts(rest, "https://")) return false;
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || strchr("\"<>\\^`{|}@?#", *c)) return false;
    return url[strcspn(url, ":") + 3] != 0;
}

static bool is_token(const char *token) {
    for (const char *c = token; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f) return false; /* it goes into a header */
    return strlen(token) >= TOKEN_MIN;
}

/* The input of both mutations. */
static struct error *read_input(struct graphql_call *call, struct account_integration *integration) {
    json_t *complaints = json_array();
    *integration = (struct account_integration){
        .kind = input_string(call, "kind"),
        .name = input_string(call, "displayName"),
        .token = input_string(call, "accessToken"),
        .api_base = input_string(call, "apiBase"),
    };
    if (!is_source_name(integration->name))
        complain(complaints, "displayName", "Invalid repository provider name");
    if (integration->token && !is_token(integration->token))
        complain(complaints, "accessToken", "Invalid access token");
    if (integration->api_base && !is_web_url(integration->api_base))
        complain(complaints, "apiBase", "Invalid URL base");
    TRY_PLAIN(check_input(call, complaints));
    if (strstr(integration->kind, "SELF_HOSTED") && !integration->api_base)
        return error_new(ERROR_INVALID_ARGUMENT, "Self-hosted integrations must specify an API base");
    return NULL;
}

static struct error *add(struct graphql_call *call, json_t **ret) {
    struct account_integration integration;
    char id[ACCOUNT_ID_SIZE];
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(read_input(call, &integration));
    TRY_PLAIN(account_integration_add(asker_of(call)->account, &integration, &row));
    account_id(row, id);
    *ret = json_string(id);
    search_changed(asker_of(call)->search);
    return NULL;
}

static struct error *changed(struct graphql_call *call, json_t **ret) {
    search_changed(asker_of(call)->search);
    *ret = json_true();
    return NULL;
}

static struct error *update(struct graphql_call *call, json_t **ret) {
    struct account_integration integration;
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(id_row(input_string(call, "id"), &row));
    TRY_PLAIN(read_input(call, &integration));
    TRY_PLAIN(account_integration_set(asker_of(call)->account, row, &integration));
    return changed(call, ret);
}

static struct error *remove_one(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    TRY_PLAIN(account_integration_remove(asker_of(call)->account, row, argument_string(call, "kind")));
    return changed(call, ret);
}

/* ---- lists ---- */

static struct error *read_filter(struct graphql_call *call, struct account_integration_filter *filter,
                                 struct account_page *page) {
    const json_t *active = json_object_get(call->arguments, "active");
    const json_t *ids = json_object_get(call->arguments, "ids");
    TRY_PLAIN(check_admin(call));
    argument_page(call, page);
    *filter = (struct account_integration_filter){
        .ids = json_array_size(ids) > 0 ? ids : NULL, /* clients send an empty list for all */
        .kind = argument_string(call, "kind"),
        .active = json_is_boolean(active) ? json_is_true(active) : -1,
    };
    return check_page(page);
}

static struct error *integrations(struct graphql_call *call, json_t **ret) {
    struct account_integration_filter filter;
    struct account_page page;
    size_t i;
    json_t *edge;
    TRY_PLAIN(read_filter(call, &filter, &page));
    TRY_PLAIN(account_integrations(asker_of(call)->account, &page, &filter, ret));
    json_array_foreach(json_object_get(*ret, "edges"), i, edge) {
        json_t *node = json_object_get(edge, "node"), *job = NULL;
        scoped_string char *command = integration_command(json_string_value(json_object_get(node, "id")));
        TRY_PLAIN(account_job_last(asker_of(call)->account, command, &job));
        json_object_set_new(node, "accessToken", json_string(TOKEN_SHOWN));
        json_object_set_new(
            node, "jobInfo",
            json_pack("{s:o,s:s}", "lastJobRun", job ? job : json_null(), "command", command));
    }
    return NULL;
}

static struct error *repositories(struct graphql_call *call, json_t **ret) {
    struct account_integration_filter filter;
    struct account_page page;
    size_t i;
    json_t *edge;
    TRY_PLAIN(read_filter(call, &filter, &page));
    TRY_PLAIN(account_provided(asker_of(call)->account, &page, &filter, ret));
    json_array_foreach(json_object_get(*ret, "edges"), i, edge) {
        json_t *node = json_object_get(edge, "node");
        scoped_string char *source = source_id_of(json_string_value(json_object_get(node, "id")),
                                                  span_of(json_string_value(json_object_get(node, "kind"))));
        json_t *known = code_refs(call, source);
        json_object_set_new(node, "sourceId", json_string(source));
        json_object_set_new(node, "refs", known ? known : source_references(json_object_get(node, "refs")));
        TRY_PLAIN(code_facts(call, source, node));
        if (!json_is_true(json_object_get(node, "active")))
            json_object_set_new(json_object_get(node, "index"), "state", json_string("OFF"));
    }
    return NULL;
}

/* ---- what is indexed ---- */

static struct error *set_active(struct graphql_call *call, json_t **ret) {
    const json_t *refs = json_object_get(call->arguments, "refs");
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    if (json_is_array(refs)) TRY_PLAIN(account_provided_refs_set(asker_of(call)->account, row, refs));
    TRY_PLAIN(account_provided_active_set(asker_of(call)->account, row,
                                          json_is_true(json_object_get(call->arguments, "active"))));
    return changed(call, ret);
}

static struct error *set_refs(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    TRY_PLAIN(
        account_provided_refs_set(asker_of(call)->account, row, json_object_get(call->arguments, "refs")));
    return changed(call, ret);
}

const struct graphql_resolver resolve_integrations[] = {
    {"Query.integrations", integrations},
    {"Query.integratedRepositories", repositories},
    {"Mutation.createIntegration", add},
    {"Mutation.updateIntegration", update},
    {"Mutation.deleteIntegration", remove_one},
    {"Mutation.updateIntegratedRepositoryActive", set_active},
    {"Mutation.updateIntegratedRepositoryRefs", set_refs},
    {NULL, NULL},
};
