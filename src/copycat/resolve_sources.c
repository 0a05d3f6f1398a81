/* GraphQL: repositories by git URL, and what of them a user may ask about. */
#include "resolve.h"
#include "search.h"

#include <ctype.h>
#include <stdlib.h>

bool is_source_name(const char *name) {
    if (!isalpha((unsigned char)*name) || !name[1]) return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_.-", *c)) return false;
    return true;
}

/* A URL with a scheme; a path of ours is named by file://. */
static bool is_git_url(const char *url) {
    const char *colon = strstr(url, "://");
    if (!colon || colon == url || !colon[3]) return false;
    for (const char *c = url; c < colon; c++)
        if (!isalnum((unsigned char)*c) && !strchr("+.-", *c)) return false;
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f) return false;
    return true;
}

json_t *source_references(const json_t *names) {
    json_t *array = json_array();
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name)
        json_array_append_new(array, json_pack("{s:O,s:s}", "name", name, "commit", ""));
    return array;
}

static char *source_id(const json_t *repository) {
    return mem_printf("git:%s", json_string_value(json_object_get(repository, "id")));
}

static struct error *repositories(struct graphql_call *call, json_t **ret) {
    struct account_page page;
    size_t i;
    json_t *edge;
    TRY_PLAIN(check_admin(call));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    TRY_PLAIN(account_repositories(asker_of(call)->account, &page, ret));
    json_array_foreach(json_object_get(*ret, "edges"), i, edge) {
        json_t *node = json_object_get(edge, "node");
        scoped_string char *source = source_id(node);
        json_object_set_new(node, "sourceId", json_string(source));
        json_object_set_new(node, "refs", source_references(json_object_get(node, "refs")));
        TRY_PLAIN(code_facts(call, source, node));
    }
    return NULL;
}

/* Adds it where the user may read it. */
static struct error *add_readable(struct graphql_call *call, const char *source, const json_t *name,
                                  const json_t *url, const json_t *refs, const char *kind, json_t *array) {
    bool may = false;
    TRY_PLAIN(account_may_read(asker_of(call)->account, asker_of(call)->who.user, source, &may));
    if (!may) return NULL;
    json_t *known = code_refs(call, source);
    scoped_string char *told = index_url_public(json_string_value(url));
    const char *source_kind = strncmp(kind, "GITHUB", 6) == 0   ? "GITHUB"
                              : strncmp(kind, "GITLAB", 6) == 0 ? "GITLAB"
                                                                : "GIT";
    json_t *one = json_pack("{s:s,s:s,s:s,s:s,s:s,s:O,s:s,s:s,s:o}", "__typename", "Repository", "id", source,
                            "sourceId", source, "sourceKind", source_kind, "sourceName", told, "name", name,
                            "kind", kind, "gitUrl", told, "refs", known ? known : source_references(refs));
    json_array_append_new(array, one);
    return NULL;
}

/* Those that the user may read. */
static struct error *readable(struct graphql_call *call, json_t **ret) {
    const struct account_page all = {.first = -1, .last = -1};
    scoped_json json_t *list = NULL, *array = json_array(), *configured = NULL, *provided = NULL;
    size_t i;
    json_t *edge, *one;
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(account_repositories(asker_of(call)->account, &all, &list));
    json_array_foreach(json_object_get(list, "edges"), i, edge) {
        json_t *node = json_object_get(edge, "node");
        scoped_string char *source = source_id(node);
        TRY_PLAIN(add_readable(call, source, json_object_get(node, "name"), json_object_get(node, "gitUrl"),
                               json_object_get(node, "refs"), "GIT", array));
    }
    TRY_PLAIN(account_provided_sources(asker_of(call)->account, &provided));
    json_array_foreach(provided, i, one) {
        scoped_string char *source = source_id_of(json_string_value(json_object_get(one, "id")),
                                                  span_of(json_string_value(json_object_get(one, "kind"))));
        TRY_PLAIN(add_readable(call, source, json_object_get(one, "name"), json_object_get(one, "gitUrl"),
                               json_object_get(one, "refs"), json_string_value(json_object_get(one, "kind")),
                               array));
    }
    configured = code_configured(call);
    json_array_foreach(configured, i, one) TRY_PLAIN(
        add_readable(call, json_string_value(json_object_get(one, "id")), json_object_get(one, "name"),
                     json_object_get(one, "url"), json_object_get(one, "refs"), "GIT_CONFIG", array));
    *ret = json_incref(array);
    return NULL;
}

static struct error *add_documents(struct graphql_call *call, json_t *array) {
    scoped_json json_t *sources = NULL;
    size_t i;
    json_t *one;
    TRY_PLAIN(account_document_sources(asker_of(call)->account, NULL, &sources));
    json_array_foreach(sources, i, one) {
        json_t *id = json_object_get(one, "sourceId");
        bool may = false;
        TRY_PLAIN(
            account_may_read(asker_of(call)->account, asker_of(call)->who.user, json_string_value(id), &may));
        if (!may) continue;
        json_array_append_new(array, json_pack("{s:s,s:O,s:O,s:s,s:O}", "__typename", "IngestedContextSource",
                                               "id", id, "sourceId", id, "sourceKind", "INGESTED",
                                               "sourceName", json_object_get(one, "source")));
    }
    return NULL;
}

static struct error *context_info(struct graphql_call *call, json_t **ret) {
    scoped_json json_t *sources = NULL;
    TRY_PLAIN(readable(call, &sources));
    TRY_PLAIN(add_documents(call, sources));
    *ret = json_pack("{s:O}", "sources", sources);
    return NULL;
}

static struct error *ingestion_status(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_admin(call));
    return account_document_sources(asker_of(call)->account, json_object_get(call->arguments, "sources"),
                                    ret);
}

static struct error *add(struct graphql_call *call, json_t **ret) {
    const char *name = argument_string(call, "name"), *url = argument_string(call, "gitUrl");
    char id[ACCOUNT_ID_SIZE];
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    json_t *complaints = json_array();
    if (!is_source_name(name))
        json_array_append_new(complaints,
                              json_pack("{s:s,s:s}", "path", "name", "message", "Invalid repository name"));
    if (!is_git_url(url))
        json_array_append_new(complaints,
                              json_pack("{s:s,s:s}", "path", "gitUrl", "message", "Invalid Git URL"));
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(account_repository_add(asker_of(call)->account, name, url,
                                     json_object_get(call->arguments, "refs"), &row));
    account_id(row, id);
    *ret = json_string(id);
    search_changed(asker_of(call)->search);
    return NULL;
}

static struct error *update(struct graphql_call *call, json_t **ret) {
    int64_t row;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    TRY_PLAIN(
        account_repository_refs_set(asker_of(call)->account, row, json_object_get(call->arguments, "refs")));
    search_changed(asker_of(call)->search);
    *ret = json_true();
    return NULL;
}

static struct error *remove_one(struct graphql_call *call, json_t **ret) {
    int64_t row;
    bool removed = false;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    TRY_PLAIN(account_repository_remove(asker_of(call)->account, row, &removed));
    search_changed(asker_of(call)->search);
    *ret = json_boolean(removed);
    return NULL;
}

const struct graphql_resolver resolve_sources[] = {
    {"Query.gitRepositories", repositories},      {"Query.repositoryList", readable},
    {"Query.contextInfo", context_info},          {"Query.ingestionStatus", ingestion_status},
    {"Mutation.createGitRepository", add},        {"Mutation.updateGitRepository", update},
    {"Mutation.deleteGitRepository", remove_one}, {NULL, NULL},
};
