/* GET /repositories/{kind}/{id}/resolve/{path} and .../rev/{rev}/{path}: files and folders of a repository.
 *
 *   who asks -> may they read it? -> a worker: git -> 200: a folder's entries as JSON, or a file's bytes
 * Ends otherwise: nobody that is known 401; no such repository, revision or file, or not to be read 404; too
 * large 413. A file of a repository is anybody's writing: it is sent as plain text or bytes, never as a page.
 */
#include "search.h"

#include <stdlib.h>

#define FILE_BYTES_MAX (8u << 20)

struct reading {
    struct io_work work;
    struct serve *serve;
    struct http_exchange *exchange; /* NULL: the client is gone */
    struct source *source;
    struct account_who who;
    char *rev, *path; /* rev NULL: HEAD */
    json_t *entries;
    struct text content;
};

static void reading_free(struct reading *reading) {
    source_drop(reading->source);
    error_free(reading->work.error);
    json_decref(reading->entries);
    text_done(&reading->content);
    free(reading->rev), free(reading->path);
    free(reading);
}

static struct error *read_it(struct reading *reading) {
    scoped(repository) struct repository *repository = NULL;
    struct index_repository which = source_repository(reading->source);
    bool may = false;
    TRY_PLAIN(
        account_may_read(reading->serve->accounts->account, reading->who.user, reading->source->id, &may));
    if (!may) return error_new(ERROR_NOT_FOUND, "Repository not found");
    TRY_PLAIN(repository_open(&which, false, &repository));
    return repository_read(repository, reading->rev, reading->path, FILE_BYTES_MAX, &reading->entries,
                           &reading->content);
}

static void on_read(struct io_work *work) {
    work->error = read_it(CONTAINER_OF(work, struct reading, work));
}

static void send(struct http_exchange *exchange, const char *type, struct span body) {
    const char *const fields[] = {"content-type",
                                  type,
                                  "x-content-type-options",
                                  "nosniff",
                                  "cache-control",
                                  "private, no-cache",
                                  "content-security-policy",
                                  "default-src 'none'; sandbox",
                                  NULL};
    http_respond(exchange, 200, fields, body);
}

static void answer(struct reading *reading) {
    struct http_exchange *exchange = reading->exchange;
    if (reading->work.error) {
        static const char *const plain[] = {"content-type", "text/plain; charset=utf-8", NULL};
        scoped_string char *text = error_text(reading->work.error);
        int status = reading->work.error->code == ERROR_RESOURCE_EXHAUSTED
                         ? 413
                         : error_http(reading->work.error->code);
        return http_respond(exchange, status, plain, span_of(text));
    }
    if (reading->entries) {
        scoped_json json_t *root = json_pack("{s:O}", "entries", reading->entries);
        scoped_string char *body = json_dumps(root, JSON_COMPACT);
        return send(exchange, "application/vnd.directory+json", span_of(body));
    }
    struct span content = text_span(&reading->content);
    bool binary = content.size > 0 && memchr(content.data, 0, content.size);
    send(exchange, binary ? "application/octet-stream" : "text/plain; charset=utf-8",
         content.data ? content : SPAN(""));
}

static void on_done(struct io_work *work) {
    struct reading *reading = CONTAINER_OF(work, struct reading, work);
    struct serve *serve = reading->serve;
    if (reading->exchange) answer(reading);
    reading_free(reading);
    accounts_job_ended(serve);
}

static void on_gone(struct http_exchange *exchange) {
    struct reading *reading = http_exchange_owner(exchange);
    reading->exchange = NULL;
    http_exchange_release(exchange);
}

static struct source *find(struct serve *serve, struct span kind, struct span id) {
    scoped_string char *given = span_string(id);
    scoped_string char *whole = source_id_of(given, kind);
    return search_source(serve->search, whole);
}

void repositories_answer(struct serve *serve, struct http_exchange *exchange) {
    struct span rest = http_exchange_path(exchange);
    span_cut(&rest, '/'), span_cut(&rest, '/');
    struct span kind = span_cut(&rest, '/'), id = url_decoded(exchange, span_cut(&rest, '/'), false),
                what = span_cut(&rest, '/');
    struct account_who who = account_known(serve->accounts->account, accounts_bearer(exchange));
    if (who.user == 0) return http_respond(exchange, 401, NULL, SPAN(""));
    bool by_rev = span_is(what, "rev");
    struct span rev = by_rev ? url_decoded(exchange, span_cut(&rest, '/'), false) : (struct span){0};
    struct source *source = span_is(what, "resolve") || rev.size > 0 ? find(serve, kind, id) : NULL;
    if (!source || serve->accounts->jobs >= JOBS_MAX) {
        source_drop(source);
        return http_respond(exchange, source ? 503 : 404, NULL, SPAN(""));
    }
    struct span path = rest.data ? url_decoded(exchange, rest, false) : SPAN("");
    while (path.size > 0 && path.data[path.size - 1] == '/') path.size--;
    struct reading *reading = NEW(struct reading);
    *reading = (struct reading){.work = {.work = on_read, .done = on_done},
                                .serve = serve,
                                .exchange = exchange,
                                .source = source,
                                .who = who,
                                .rev = by_rev ? span_string(rev) : NULL,
                                .path = span_string(path)};
    http_exchange_owner_set(exchange, reading);
    http_exchange_on_gone(exchange, on_gone);
    accounts_job_began(serve);
    io_work_start(serve->loop, &reading->work);
}
