/* Lists of repositories at GitHub and GitLab, brought up to date: one server at a time, on a worker.
 *
 *   due (new, changed, asked for, or listed an hour ago) -> asked (forge) -> kept: new ones inactive, those
 *   that are gone with their indexes -> the job noted -> the list of sources read again -> the next one
 *
 * Ends otherwise: the reason is kept with it, what was listed before stays, and in an hour it is tried again.
 */
#include "search.h"

#include "forge.h"

#include <stdlib.h>

#define JOB "third_party_repository_sync"

struct syncing {
    struct io_work work;
    struct search *search;
    json_t *integration; /* NULL: none is due */
};

static struct account *account_of(const struct syncing *syncing) {
    return syncing->search->serve->accounts->account;
}

char *integration_command(const char *id) {
    scoped_json json_t *command = json_pack("{s:s}", "SyncThirdPartyRepositories", id);
    return json_dumps(command, JSON_COMPACT);
}

static enum forge_kind forge_of(const char *kind) {
    return strncmp(kind, "GITLAB", 6) == 0 ? FORGE_GITLAB : FORGE_GITHUB;
}

static bool is_over(void *owner) {
    const struct syncing *syncing = owner;
    return atomic_load(&syncing->search->stopping);
}

/* ---- on a worker ---- */

/* The run that waits or is at work already, or a new one. */
static struct error *begin_job(struct account *account, int64_t integration, int64_t *ret_job) {
    scoped_json json_t *last = NULL;
    char id[ACCOUNT_ID_SIZE];
    account_id(integration, id);
    scoped_string char *command = integration_command(id);
    TRY_PLAIN(account_job_last(account, command, &last));
    const char *last_id = json_string_value(json_object_get(last, "id"));
    if (last_id && json_is_null(json_object_get(last, "finishedAt")) &&
        account_row(span_of(last_id), ret_job))
        return NULL;
    return account_job_begin(account, JOB, command, 0, ret_job);
}

static struct error *list_one(struct syncing *syncing) {
    const json_t *integration = syncing->integration;
    const char *kind = json_string_value(json_object_get(integration, "kind"));
    bool self_hosted = strstr(kind, "SELF_HOSTED") != NULL;
    int64_t began_ms = clock_monotonic_ms(), job = 0;
    scoped_json json_t *list = NULL;
    const struct forge forge = {
        .kind = forge_of(kind),
        .api_base = self_hosted ? json_string_value(json_object_get(integration, "apiBase")) : NULL,
        .token = json_string_value(json_object_get(integration, "token")),
        .cancelled = is_over,
        .owner = syncing,
    };
    TRY_PLAIN(begin_job(account_of(syncing), json_integer_value(json_object_get(integration, "row")), &job));
    scoped(error) struct error *fault = forge_list(&forge, &list);
    if (fault && fault->code == ERROR_ABORTED) return take(fault); /* as if it had not been begun */
    char *why = fault ? error_text(fault) : NULL;
    scoped_string char *output = why ? why : mem_printf("%zu repositories are listed", json_array_size(list));
    if (why) log_warn("copycat", "%s: %s", json_string_value(json_object_get(integration, "name")), why);
    TRY_PLAIN(account_integration_listed(account_of(syncing), integration, list, why));
    return account_job_end(account_of(syncing), job, (clock_monotonic_ms() - began_ms) / 1000, why ? 1 : 0,
                           span_of(output));
}

static void on_sync(struct io_work *work) {
    struct syncing *syncing = CONTAINER_OF(work, struct syncing, work);
    work->error = account_integration_due(account_of(syncing), syncing->search->interval_ms / 1000,
                                          &syncing->integration);
    if (!work->error && syncing->integration) work->error = list_one(syncing);
}

/* ---- on the loop ---- */

static void on_synced(struct io_work *work) {
    struct syncing *syncing = CONTAINER_OF(work, struct syncing, work);
    struct search *search = syncing->search;
    scoped(error) struct error *error = take(work->error);
    scoped_string char *why = error && error->code != ERROR_ABORTED ? error_text(error) : NULL;
    if (why) log_error("copycat", "repositories are not listed: %s", why); /* again with the next list */
    search->syncing = false;
    if (!error && syncing->integration) search_changed(search);
    json_decref(syncing->integration);
    free(syncing);
    accounts_job_ended(search->serve);
}

void integrations_next(struct search *search) {
    if (search->syncing || !search->timer || !search->serve->accounts->schema) return;
    struct syncing *syncing = NEW(struct syncing);
    *syncing = (struct syncing){.work = {.work = on_sync, .done = on_synced}, .search = search};
    search->syncing = true;
    accounts_job_began(search->serve);
    io_work_start(search->serve->loop, &syncing->work);
}

/* From any thread. */
struct error *integration_trigger(struct search *search, const char *id, int64_t *ret_row) {
    struct account *account = search->serve->accounts->account;
    int64_t row = 0;
    if (!account_row(span_of(id), &row)) return error_new(ERROR_NOT_FOUND, "Integration not found");
    TRY_PLAIN(account_integration_again(account, row));
    TRY_PLAIN(begin_job(account, row, ret_row));
    search_changed(search);
    return NULL;
}
