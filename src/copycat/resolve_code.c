/* GraphQL: what is indexed and how far, the jobs that do it, and looking for files and lines in a repository.
 */
#include "answer_code.h"
#include "resolve.h"

#include <stdlib.h>

#define FILES_MAX 200 /* that a search or a grep tells of */

/* ---- state ---- */

static json_t *index_of(json_t *states, const char *source_id) {
    size_t i;
    json_t *one;
    json_array_foreach(states, i, one) {
        if (strcmp(json_string_value(json_object_get(one, "id")), source_id) != 0) continue;
        json_t *index = json_object();
        static const char *const members[] = {"state",     "files",  "chunks", "vectors",
                                              "updatedAt", "commit", "failure"};
        for (size_t m = 0; m < COUNT(members); m++)
            json_object_set(index, members[m], json_object_get(one, members[m]));
        return index;
    }
    return NULL;
}

/* Of one that was added a moment ago, or while the search is off. */
static json_t *no_index(const struct search *search) {
    return json_pack("{s:s,s:i,s:i,s:i,s:n,s:s,s:n}", "state", search ? "WAITING" : "OFF", "files", 0,
                     "chunks", 0, "vectors", 0, "updatedAt", "commit", "", "failure");
}

struct error *code_facts(struct graphql_call *call, const char *source_id, json_t *node) {
    struct asker *asker = asker_of(call);
    scoped_json json_t *states = search_states(asker->search);
    scoped_string char *command = source_command(source_id);
    json_t *job = NULL, *index = index_of(states, source_id);
    json_object_set_new(node, "index", index ? index : no_index(asker->search));
    TRY_PLAIN(account_job_last(asker->account, command, &job));
    json_object_set_new(node, "jobInfo",
                        json_pack("{s:o,s:s}", "lastJobRun", job ? job : json_null(), "command", command));
    return NULL;
}

json_t *code_configured(struct graphql_call *call) {
    json_t *states = search_states(asker_of(call)->search);
    for (size_t i = json_array_size(states); i > 0; i--)
        if (!json_is_true(json_object_get(json_array_get(states, i - 1), "config")))
            json_array_remove(states, i - 1);
    return states;
}

static struct error *indexed(struct graphql_call *call, json_t **ret) {
    scoped_json json_t *states = NULL, *array = json_array();
    size_t i;
    json_t *one;
    TRY_PLAIN(check_admin(call));
    states = search_states(asker_of(call)->search);
    json_array_foreach(states, i, one) {
        const char *id = json_string_value(json_object_get(one, "id"));
        scoped_string char *url = index_url_public(json_string_value(json_object_get(one, "url")));
        json_t *node = json_pack(
            "{s:s,s:O,s:s,s:O,s:O}", "sourceId", id, "name", json_object_get(one, "name"), "gitUrl", url,
            "refs", json_object_get(one, "refs"), "isConfigured", json_object_get(one, "config"));
        json_array_append_new(array, node);
        TRY_PLAIN(code_facts(call, id, node));
    }
    *ret = json_incref(array);
    return NULL;
}

/* ---- jobs ---- */

static struct error *jobs(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_admin(call));
    *ret = json_pack("[s,s,s,s]", "scheduler_git", "scheduler_github_gitlab", "third_party_repository_sync",
                     "ingestion_index_sync");
    return NULL;
}

static struct error *job_runs(struct graphql_call *call, json_t **ret) {
    struct account_page page;
    TRY_PLAIN(check_admin(call));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    return account_jobs(asker_of(call)->account, &page, json_object_get(call->arguments, "ids"),
                        json_object_get(call->arguments, "jobs"), ret);
}

static struct error *job_stats(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_admin(call));
    return account_job_stats(asker_of(call)->account, json_object_get(call->arguments, "jobs"), ret);
}

static struct error *trigger(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    char id[ACCOUNT_ID_SIZE];
    TRY_PLAIN(check_admin(call));
    if (!asker_of(call)->search)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "code search is off: TABBY_EMBEDDING_ENABLED is neither `yes` nor unset");
    TRY_PLAIN(search_trigger(asker_of(call)->search, argument_string(call, "command"), &row));
    account_id(row, id);
    *ret = json_string(id);
    return NULL;
}

/* ---- in a repository ---- */

/* A reference for the caller. NOT_FOUND: also where the user may not read it. */
static struct error *readable_source(struct graphql_call *call, const char *id, struct source **ret_source) {
    struct source *source = search_source(asker_of(call)->search, id);
    bool may = false;
    struct error *error = NULL;
    if (source) error = account_may_read(asker_of(call)->account, asker_of(call)->who.user, source->id, &may);
    if (!error && !may) error = error_new(ERROR_NOT_FOUND, "Repository not found");
    if (error)
        source_drop(source);
    else
        *ret_source = source;
    return error;
}

static struct error *open_source(struct graphql_call *call, const char *id,
                                 struct repository **ret_repository) {
    struct source *source = NULL;
    TRY_PLAIN(readable_source(call, id, &source));
    struct index_repository which = source_repository(source);
    struct error *error = repository_open(&which, false, ret_repository);
    source_drop(source);
    return error;
}

static struct error *open_argument(struct graphql_call *call, struct repository **ret_repository) {
    const char *id = argument_string(call, "id"), *kind = argument_string(call, "kind");
    TRY_PLAIN(check_user(call));
    scoped_string char *whole = source_id_of(id, span_of(kind));
    return open_source(call, whole, ret_repository);
}

json_t *code_refs(struct graphql_call *call, const char *source_id) {
    scoped(repository) struct repository *repository = NULL;
    json_t *refs = NULL;
    struct error *error = open_source(call, source_id, &repository);
    if (!error) error = repository_refs(repository, &refs);
    error_free(error); /* not fetched yet, or not there any more */
    return refs;
}

static struct error *search_files(struct graphql_call *call, json_t **ret) {
    scoped(repository) struct repository *repository = NULL;
    TRY_PLAIN(open_argument(call, &repository));
    return repository_find(repository, argument_string(call, "rev"), argument_string(call, "pattern"),
                           FILES_MAX, ret);
}

static struct error *grep(struct graphql_call *call, json_t **ret) {
    scoped(repository) struct repository *repository = NULL;
    json_t *files = NULL;
    int64_t began_ms = clock_monotonic_ms();
    TRY_PLAIN(open_argument(call, &repository));
    TRY_PLAIN(repository_grep(repository, argument_string(call, "rev"), argument_string(call, "query"),
                              FILES_MAX, &files));
    *ret = json_pack("{s:o,s:I}", "files", files, "elapsedMs", (json_int_t)(clock_monotonic_ms() - began_ms));
    return NULL;
}

static struct error *search_code(struct graphql_call *call, json_t **ret) {
    struct source *source = NULL;
    struct search *search = asker_of(call)->search;
    struct index_hits hits;
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(readable_source(call, argument_string(call, "sourceId"), &source));
    const struct source_query query = {
        .text = span_of(argument_string(call, "content")),
        .language = span_of(argument_string(call, "language")),
        .except_path = span_of(argument_string(call, "filepath")),
        .limits = &search->serve->settings->answer_search,
    };
    struct error *error = search_source_blocking(search->serve, source, &query, &hits);
    scoped_string char *url = index_url_public(source->url);
    struct answer_code code = {0};
    if (!error) {
        const struct find_answer answer = {.hits = &hits, .url = url, .source_id = source->id};
        answer_code_read(&code, &answer);
        *ret = json_incref(code.hits);
    }
    answer_code_done(&code);
    source_drop(source);
    return error;
}

const struct graphql_resolver resolve_code[] = {
    {"Query.codeSearch", search_code},
    {"Query.indexedRepositories", indexed},
    {"Query.jobs", jobs},
    {"Query.jobRuns", job_runs},
    {"Query.jobRunStats", job_stats},
    {"Query.repositorySearch", search_files},
    {"Query.repositoryGrep", grep},
    {"Mutation.triggerJobRun", trigger},
    {NULL, NULL},
};
