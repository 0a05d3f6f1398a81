/* The list of what is searched, as others ask for it from any thread: one by its id, the state of all, and
 * the jobs that bring them up to date. */
#include "search.h"

#include <stdlib.h>

char *source_id_of(const char *id, struct span kind) {
    if (strchr(id, ':')) return mem_string(id);
    bool provided = span_starts(kind, "GITHUB") || span_starts(kind, "GITLAB") ||
                    span_starts(kind, "github") || span_starts(kind, "gitlab");
    return mem_printf("%s:%s",
                      span_is_nocase(kind, "git_config") ? "config"
                      : provided                         ? "provided_repository"
                                                         : "git",
                      id);
}

const char *source_job(const struct source *source) {
    return source->documents                                      ? "ingestion_index_sync"
           : strncmp(source->id, "provided_repository:", 20) == 0 ? "scheduler_github_gitlab"
                                                                  : "scheduler_git";
}

static struct source *find(struct search *search, const char *id, bool documents) {
    struct source *found = NULL;
    if (!search) return NULL;
    pthread_mutex_lock(&search->mutex);
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (source->documents == documents && strcmp(source->id, id) == 0) found = source;
    }
    if (found) found->references++;
    pthread_mutex_unlock(&search->mutex);
    return found;
}

struct source *search_source(struct search *search, const char *id) {
    return find(search, id, false);
}

struct source *search_documents(struct search *search, const char *id) {
    return find(search, id, true);
}

json_t *source_refs(const struct source *source) {
    json_t *refs = json_array();
    for (size_t i = 0; source->refs && source->refs[i]; i++)
        json_array_append_new(refs, json_string(source->refs[i]));
    return refs;
}

static json_t *state_of(const struct source *source) {
    static const char *const names[] = {"WAITING", "INDEXING", "EMBEDDING", "READY", "FAILED"};
    char time[CLOCK_TEXT_SIZE];
    clock_text(source->numbers.updated_ms, time);
    return json_pack("{s:s,s:s,s:s,s:o,s:b,s:s,s:s?,s:I,s:I,s:I,s:o,s:s}", "id", source->id, "name",
                     source->name, "url", source->url, "refs", source_refs(source), "config",
                     source->from_config, "state", names[source->state], "failure", source->failure, "files",
                     (json_int_t)source->numbers.files, "chunks", (json_int_t)source->numbers.chunks,
                     "vectors", (json_int_t)source->numbers.vectors, "updatedAt",
                     source->numbers.updated_ms ? json_string(time) : json_null(), "commit",
                     source->numbers.commit);
}

json_t *search_states(struct search *search) {
    json_t *states = json_array();
    if (!search) return states;
    pthread_mutex_lock(&search->mutex);
    LIST_EACH(node, &search->sources) {
        const struct source *source = CONTAINER_OF(node, struct source, node);
        json_t *one = source->documents ? NULL : state_of(source);
        if (one) json_array_append_new(states, one);
    }
    pthread_mutex_unlock(&search->mutex);
    return states;
}

char *source_command(const char *id) {
    scoped_json json_t *command = json_pack("{s:{s:s}}", "SchedulerGitRepository", "source_id", id);
    return json_dumps(command, JSON_COMPACT);
}

static struct error *trigger_documents(struct search *search, int64_t *ret_row) {
    struct account *account = search->serve->accounts->account;
    struct source *first = NULL;
    TRY_PLAIN(account_job_begin(account, "ingestion_index_sync", DOCUMENTS_COMMAND, 0, ret_row));
    pthread_mutex_lock(&search->mutex);
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (!source->documents) continue;
        if (!first) first = source, source->job = *ret_row;
        source->wanted = true;
    }
    pthread_mutex_unlock(&search->mutex);
    if (!first) return account_job_end(account, *ret_row, 0, 0, SPAN("there are no documents"));
    io_post_send(search->changed);
    return NULL;
}

struct error *search_trigger(struct search *search, const char *command, int64_t *ret_row) {
    if (strcmp(command, DOCUMENTS_COMMAND) == 0) return trigger_documents(search, ret_row);
    json_error_t where;
    scoped_json json_t *root = json_loads(command, 0, &where);
    const char *integration = json_string_value(json_object_get(root, "SyncThirdPartyRepositories"));
    if (integration) return integration_trigger(search, integration, ret_row);
    const char *id =
        json_string_value(json_object_get(json_object_get(root, "SchedulerGitRepository"), "source_id"));
    struct source *source = id ? search_source(search, id) : NULL;
    if (!source)
        return error_new(ERROR_NOT_FOUND,
                         "there is no such job: jobInfo.command of a repository or an integration names one");
    pthread_mutex_lock(&search->mutex);
    *ret_row = source->wanted ? source->job : 0; /* it waits already */
    pthread_mutex_unlock(&search->mutex);
    struct error *error = *ret_row ? NULL
                                   : account_job_begin(search->serve->accounts->account, source_job(source),
                                                       command, 0, ret_row);
    pthread_mutex_lock(&search->mutex);
    if (!error) source->wanted = true, source->job = *ret_row;
    pthread_mutex_unlock(&search->mutex);
    source_drop(source);
    if (!error) io_post_send(search->changed);
    return error;
}
