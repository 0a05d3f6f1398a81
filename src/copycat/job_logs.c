/* GET /background-jobs/{id}/logs: what a run of a job said, as text, for an admin who is signed in.
 *
 *   who asks -> a worker: the run's row -> 200. Ends otherwise: nobody, or an editor's token 401; no admin
 * 403; no such run 404. */
#include "accounts.h"

#include <stdlib.h>

struct reading {
    struct io_work work;
    struct serve *serve;
    struct http_exchange *exchange; /* NULL: the client is gone */
    char *id;
    struct text log;
};

static void on_read(struct io_work *work) {
    struct reading *reading = CONTAINER_OF(work, struct reading, work);
    const struct account_page page = {.first = 1, .last = -1};
    scoped_json json_t *ids = json_pack("[s]", reading->id), *runs = NULL;
    work->error = account_jobs(reading->serve->accounts->account, &page, ids, NULL, &runs);
    if (work->error) return;
    const json_t *edge = json_array_get(json_object_get(runs, "edges"), 0),
                 *run = json_object_get(edge, "node");
    if (!run) {
        work->error = error_new(ERROR_NOT_FOUND, "There is no such run of a job\n");
        return;
    }
    const char *out = json_string_value(json_object_get(run, "stdout"));
    const char *faults = json_string_value(json_object_get(run, "stderr"));
    text_printf(&reading->log, "%s%s", out ? out : "", faults ? faults : "");
}

static void on_done(struct io_work *work) {
    struct reading *reading = CONTAINER_OF(work, struct reading, work);
    struct serve *serve = reading->serve;
    static const char *const fields[] = {"content-type",
                                         "text/plain; charset=utf-8",
                                         "x-content-type-options",
                                         "nosniff",
                                         "cache-control",
                                         "private, no-cache",
                                         NULL};
    scoped(error) struct error *error = take(work->error);
    scoped_string char *why = error ? error_text(error) : NULL;
    if (reading->exchange)
        http_respond(reading->exchange, error ? error_http(error->code) : 200, fields,
                     error ? span_of(why) : span_of(reading->log.data ? reading->log.data : ""));
    text_done(&reading->log);
    free(reading->id);
    free(reading);
    accounts_job_ended(serve);
}

static void on_gone(struct http_exchange *exchange) {
    struct reading *reading = http_exchange_owner(exchange);
    reading->exchange = NULL;
    http_exchange_release(exchange);
}

void job_logs_answer(struct serve *serve, struct http_exchange *exchange) {
    struct span rest = http_exchange_path(exchange);
    span_cut(&rest, '/'), span_cut(&rest, '/');
    struct span id = span_cut(&rest, '/');
    int64_t row = 0;
    struct account_who who = account_known(serve->accounts->account, accounts_bearer(exchange));
    if (who.user == 0 || who.by_auth_token) return http_respond(exchange, 401, NULL, SPAN(""));
    if (!who.is_admin) return http_respond(exchange, 403, NULL, SPAN(""));
    if (!span_is(rest, "logs") || !account_row(id, &row)) return http_respond(exchange, 404, NULL, SPAN(""));
    if (serve->accounts->jobs >= JOBS_MAX) return http_respond(exchange, 503, NULL, SPAN(""));
    struct reading *reading = NEW(struct reading);
    *reading = (struct reading){.work = {.work = on_read, .done = on_done},
                                .serve = serve,
                                .exchange = exchange,
                                .id = span_string(id)};
    http_exchange_owner_set(exchange, reading);
    http_exchange_on_gone(exchange, on_gone);
    accounts_job_began(serve);
    io_work_start(serve->loop, &reading->work);
}
