/* GET /v1/logs: a line of JSON for each line of output, of what is there (read on another thread) or, with
 * follow=1, of what comes.
 *
 * A reader who does not keep up loses lines rather than making the daemon keep them; how many is told in
 * their place. */
#include "inside.h"

#include "logs.h"

#include <stdlib.h>

#define ANSWER_MAX \
    (16 * 1024 * 1024) /* of an answer without follow; beyond it the oldest lines are left out */
#define LAST_DEFAULT 1000

struct follower {
    struct list node;
    struct api *api;
    struct http_exchange *exchange;
    struct logs_follow *follow;
    char *app, *function;
    bool choked;
    uint64_t skipped;
};

struct reading {
    struct io_work work;
    struct logs_query query; /* its strings are ours */
    char *dir, *app, *function;
    struct text out;
    bool cut;
    struct http_exchange *exchange; /* NULL: the client is gone */
};

static void add_line(struct text *out, const struct logs_line *line) {
    char time[CLOCK_TEXT_SIZE];
    clock_text(line->wall_ms, time);
    const char *stream = line->stream == 'e' ? "err" : line->stream == 's' ? "sys" : "out";
    text_printf(out,
                "{\"time\":\"%s\",\"app\":\"%s\",\"function\":\"%s\",\"container\":\"%s\",\"stream\":\"%s\","
                "\"text\":",
                time, line->app, line->function, line->container, stream);
    text_add_json(out, line->text);
    text_add_string(out, "}\n");
}

static const char *const stream_fields[] = {"Content-Type", "application/x-ndjson", "Cache-Control",
                                            "no-store", NULL};

/* ---- what is there ---- */

static void on_line(void *owner, const struct logs_line *line) {
    struct reading *reading = owner;
    add_line(&reading->out, line);
    if (reading->out.size <= ANSWER_MAX) return;
    const char *middle = memchr(reading->out.data + ANSWER_MAX / 2, '\n', reading->out.size - ANSWER_MAX / 2);
    text_remove_front(&reading->out, (size_t)(middle - reading->out.data) + 1);
    reading->cut = true;
}

static void read_work(struct io_work *work) {
    struct reading *reading = work->owner;
    work->error = logs_read(&reading->query, on_line, reading);
}

static void on_read(struct io_work *work) {
    struct reading *reading = work->owner;
    struct error *error = take(work->error);
    const char *const fields[] = {"Content-Type", "application/x-ndjson",
                                  reading->cut ? "X-Catnap-Cut" : NULL, "1", NULL};
    if (reading->exchange && error)
        http_respond_error(reading->exchange, take(error));
    else if (reading->exchange)
        http_respond(reading->exchange, 200, fields, text_span(&reading->out));
    error_free(error);
    free(reading->dir);
    free(reading->app);
    free(reading->function);
    text_done(&reading->out);
    free(reading);
}

static void on_reader_gone(struct http_exchange *exchange) {
    struct reading *reading = http_exchange_owner(exchange);
    reading->exchange = NULL;
    http_exchange_release(exchange);
}

static void read_start(struct api *api, struct http_exchange *exchange, const struct logs_query *query) {
    struct reading *reading = NEW(struct reading);
    reading->query = *query;
    reading->query.dir = reading->dir = mem_string(query->dir);
    reading->query.app = reading->app = mem_string(query->app);
    reading->query.function = reading->function = mem_string(query->function);
    reading->exchange = exchange;
    reading->work = (struct io_work){.work = read_work, .done = on_read, .owner = reading};
    http_exchange_owner_set(exchange, reading);
    http_exchange_on_gone(exchange, on_reader_gone);
    io_work_start(api->loop, &reading->work);
}

/* ---- what comes ---- */

static void follower_free(struct follower *follower) {
    logs_follow_free(follower->follow);
    list_remove(&follower->node);
    follower->api->streams--;
    free(follower->app);
    free(follower->function);
    free(follower);
}

static void on_follower_gone(struct http_exchange *exchange) {
    follower_free(http_exchange_owner(exchange));
    http_exchange_release(exchange);
}

static void on_drained(struct http_exchange *exchange) {
    struct follower *follower = http_exchange_owner(exchange);
    uint64_t skipped = follower->skipped;
    follower->choked = false;
    follower->skipped = 0;
    if (skipped == 0) return;
    scoped_text struct text out = {0};
    text_printf(&out, "{\"skipped\":%llu}\n", (unsigned long long)skipped);
    follower->choked = !http_respond_write(exchange, text_span(&out));
}

static void on_followed(void *owner, const struct logs_line *line) {
    struct follower *follower = owner;
    if (follower->choked) {
        follower->skipped++;
        return;
    }
    scoped_text struct text out = {0};
    add_line(&out, line);
    follower->choked = !http_respond_write(follower->exchange, text_span(&out));
}

static struct error *follow_start(struct api *api, struct http_exchange *exchange,
                                  const struct logs_query *query) {
    if (api->streams >= API_STREAMS_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%d readers follow already; at most that many",
                         API_STREAMS_MAX);
    struct follower *follower = NEW(struct follower);
    *follower = (struct follower){.api = api,
                                  .exchange = exchange,
                                  .app = mem_string(query->app),
                                  .function = mem_string(query->function)};
    list_append(&api->followers, &follower->node);
    api->streams++;
    struct logs_query kept = *query;
    kept.dir = api->logs_dir;
    kept.app = follower->app;
    kept.function = follower->function;
    struct error *error = logs_follow_start(api->loop, &kept, on_followed, follower, &follower->follow);
    if (error) {
        follower_free(follower);
        return error;
    }
    http_exchange_owner_set(exchange, follower);
    http_exchange_on_gone(exchange, on_follower_gone);
    http_respond_begin(exchange, 200, stream_fields, -1);
    http_respond_on_drained(exchange, on_drained);
    return NULL;
}

void logs_forget(struct api *api) {
    LIST_EACH_SAFE(node, next, &api->followers) {
        struct follower *follower = CONTAINER_OF(node, struct follower, node);
        struct http_exchange *exchange = follower->exchange;
        follower_free(follower);
        http_exchange_on_gone(exchange, NULL);
        http_respond_end(exchange);
    }
}

/* ---- the route ---- */

static struct error *handle(struct api *api, struct http_exchange *exchange) {
    struct logs_query query = {.dir = api->logs_dir,
                               .app = query_value(exchange, "app"),
                               .function = query_value(exchange, "function")};
    uint64_t since_ms = 0, last = 0, follow = 0;
    if (!query.app) return error_new(ERROR_INVALID_ARGUMENT, "app: missing; whose log?");
    /* Names become paths in there. */
    TRY_PLAIN(core_name_check("app", query.app));
    if (query.function) TRY_PLAIN(core_name_check("function", query.function));
    TRY_PLAIN(query_u64(exchange, "since", 0, &since_ms));
    TRY_PLAIN(query_u64(exchange, "last", since_ms ? 0 : LAST_DEFAULT, &last));
    TRY_PLAIN(query_u64(exchange, "follow", 0, &follow));
    if (since_ms > INT64_MAX) return error_new(ERROR_INVALID_ARGUMENT, "since: out of range");
    query.since_ms = (int64_t)since_ms;
    query.last = last;
    scoped_string char *directory = path_join(api->logs_dir, query.app); /* of an app that is gone too */
    if (!app_known(api, query.app) && !file_exists(directory))
        return error_new(ERROR_NOT_FOUND, "there is no app '%s'; `catnap ps` lists those there are",
                         query.app);
    scoped_string char *inner = path_join(directory, query.function ? query.function : "");
    if (query.function && !pool_function_find(api->pool, query.app, query.function) && !file_exists(inner))
        return error_new(ERROR_NOT_FOUND, "the app '%s' has no function '%s'", query.app, query.function);
    if (follow > 0) return follow_start(api, exchange, &query);
    read_start(api, exchange, &query);
    return NULL;
}

void logs_handle(struct api *api, struct http_exchange *exchange) {
    struct error *error = handle(api, exchange);
    if (error) http_respond_error(exchange, error);
}
