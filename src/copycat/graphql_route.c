/* POST /graphql, and pictures of users: what is worked out on another thread.
 *
 *   body whole -> a worker: who asks, the query carried out -> 200. Ends otherwise: no such body 400; too
 * long 413; not a valid query 400, its errors in GraphQL's own form; too many at once 503. A client that
 * leaves ends nothing: a mutation that was begun is done. */
#include "accounts.h"

#include "resolve.h"

#include <stdlib.h>

#define BATCH_MAX 10

struct job {
    struct io_work work;
    struct serve *serve;
    struct http_exchange *exchange; /* NULL: the client is gone */
    const struct graphql_schema *schema;
    struct asker asker;
    char *token; /* NULL: none */
    json_t *request;
    char *answer; /* owned; made by the worker */
    bool executed;
    int64_t user; /* of a picture */
    struct text image;
};

static void job_free(struct job *job) {
    free(job->token);
    free(job->answer);
    json_decref(job->request);
    text_done(&job->image);
    error_free(job->work.error);
    free(job);
}

static void refuse_body(struct serve *serve, struct http_exchange *exchange, int status, const char *why) {
    json_t *body = json_pack("{s:[{s:s}]}", "errors", "message", why);
    scoped_string char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    rest_answer(serve, ROUTE_GRAPHQL, exchange, status, "application/json", span_of(text));
}

static void on_gone(struct http_exchange *exchange) {
    struct job *job = http_exchange_owner(exchange);
    job->exchange = NULL;
    http_exchange_release(exchange);
}

static void on_gone_early(struct http_exchange *exchange) {
    http_exchange_release(exchange);
}

/* ---- on the worker ---- */

static json_t *run_one(struct job *job, const json_t *request) {
    const json_t *query = json_object_get(request, "query");
    struct graphql_request wanted = {
        .query = {json_string_value(query), json_string_length(query)},
        .operation = json_string_value(json_object_get(request, "operationName")),
        .variables = json_object_get(request, "variables"),
        .context = &job->asker,
    };
    bool executed = false;
    json_t *answer = graphql_run(job->schema, &wanted, &executed);
    job->executed &= executed;
    return answer;
}

static void on_query(struct io_work *work) {
    struct job *job = CONTAINER_OF(work, struct job, work);
    scoped_json json_t *answer = NULL;
    size_t i;
    json_t *one;
    if (job->token) job->asker.who = account_known_blocking(job->asker.account, span_of(job->token));
    job->executed = true;
    if (json_is_array(job->request)) {
        answer = json_array();
        json_array_foreach(job->request, i, one) json_array_append_new(answer, run_one(job, one));
    } else {
        answer = run_one(job, job->request);
    }
    job->answer = json_dumps(answer, JSON_COMPACT);
}

static void on_queried(struct io_work *work) {
    struct job *job = CONTAINER_OF(work, struct job, work);
    struct serve *serve = job->serve;
    if (job->exchange)
        rest_answer(serve, ROUTE_GRAPHQL, job->exchange, job->executed ? 200 : 400, "application/json",
                    span_of(job->answer ? job->answer : "{\"errors\":[{\"message\":\"Internal error\"}]}"));
    job_free(job);
    accounts_job_ended(serve);
}

/* ---- the request ---- */

static bool is_request(const json_t *one) {
    const json_t *variables = json_object_get(one, "variables"),
                 *name = json_object_get(one, "operationName");
    return json_is_string(json_object_get(one, "query")) &&
           (!variables || json_is_object(variables) || json_is_null(variables)) &&
           (!name || json_is_string(name) || json_is_null(name));
}

static bool is_batch(const json_t *request) {
    size_t i;
    json_t *one;
    if (!json_is_array(request)) return is_request(request);
    json_array_foreach(request, i, one) if (!is_request(one)) return false;
    return i > 0 && i <= BATCH_MAX;
}

static json_t *read_request(struct http_exchange *exchange, struct span body, json_error_t *where) {
    struct span type = http_exchange_header(exchange, "content-type");
    if (span_is_nocase(span_trim(span_cut(&type, ';')), "application/graphql"))
        return json_pack("{s:o}", "query", json_stringn(body.data ? body.data : "", body.size));
    return json_loadb(body.data ? body.data : "", body.size, 0, where);
}

static void start(struct serve *serve, struct http_exchange *exchange, json_t *taken_request) {
    struct job *job = NEW(struct job);
    struct span token = accounts_bearer(exchange);
    *job = (struct job){
        .work = {.work = on_query, .done = on_queried},
        .serve = serve,
        .exchange = exchange,
        .schema = serve->accounts->schema,
        .asker = {.account = serve->accounts->account,
                  .root = serve->places.root,
                  .models = serve->places.models,
                  .chat_enabled = rest_has_chat(serve),
                  .search = serve->search},
        .token = token.data ? span_string(token) : NULL,
        .request = taken_request,
    };
    http_exchange_owner_set(exchange, job);
    http_exchange_on_gone(exchange, on_gone);
    accounts_job_began(serve);
    io_work_start(serve->loop, &job->work);
}

static void on_body(struct http_exchange *exchange, struct span body, struct error *taken_error) {
    struct serve *serve = http_exchange_owner(exchange);
    json_error_t where = {0};
    if (taken_error) {
        bool too_long = taken_error->code == ERROR_RESOURCE_EXHAUSTED;
        error_free(taken_error);
        return refuse_body(serve, exchange, too_long ? 413 : 400,
                           too_long ? "The request body is too long" : "The request body is not whole");
    }
    json_t *request = read_request(exchange, body, &where);
    if (!is_batch(request)) {
        scoped_string char *why =
            request ? mem_string("The request body is {\"query\": TEXT, \"variables\": OBJECT, "
                                 "\"operationName\": TEXT}, or up to 10 of them in an array")
                    : mem_printf("The request body is no JSON: %s at line %d column %d", where.text,
                                 where.line, where.column);
        json_decref(request);
        return refuse_body(serve, exchange, 400, why);
    }
    if (serve->accounts->jobs >= JOBS_MAX) {
        json_decref(request);
        return refuse_body(serve, exchange, 503,
                           "Too many queries are being worked on; ask again in a moment");
    }
    start(serve, exchange, request);
}

void graphql_answer(struct serve *serve, struct http_exchange *exchange) {
    http_exchange_owner_set(exchange, serve);
    http_exchange_on_gone(exchange, on_gone_early);
    http_exchange_read_all(exchange, BODY_BYTES_MAX, on_body);
}

/* ---- GET /avatar/{id} ---- */

static void on_picture(struct io_work *work) {
    struct job *job = CONTAINER_OF(work, struct job, work);
    work->error = account_avatar(job->asker.account, job->user, &job->image);
}

static void on_pictured(struct io_work *work) {
    struct job *job = CONTAINER_OF(work, struct job, work);
    struct serve *serve = job->serve;
    /* Whoever uploads a picture chooses its bytes: they are shown as a picture, or not at all. */
    static const char *const fields[] = {"content-type",
                                         "image/*",
                                         "x-content-type-options",
                                         "nosniff",
                                         "content-security-policy",
                                         "default-src 'none'; sandbox",
                                         NULL};
    int status = work->error ? error_http(work->error->code) : 200;
    if (job->exchange)
        http_respond(job->exchange, status, work->error ? NULL : fields, text_span(&job->image));
    job_free(job);
    accounts_job_ended(serve);
}

void avatar_answer(struct serve *serve, struct http_exchange *exchange) {
    struct span path = http_exchange_path(exchange);
    const size_t prefix = sizeof "/avatar/" - 1;
    int64_t user = 0;
    if (!account_row((struct span){path.data + prefix, path.size - prefix}, &user) ||
        serve->accounts->jobs >= JOBS_MAX)
        return http_respond(exchange, user ? 503 : 404, NULL, SPAN(""));
    struct job *job = NEW(struct job);
    job->work = (struct io_work){.work = on_picture, .done = on_pictured};
    job->serve = serve;
    job->exchange = exchange;
    job->asker.account = serve->accounts->account;
    job->user = user;
    http_exchange_owner_set(exchange, job);
    http_exchange_on_gone(exchange, on_gone);
    accounts_job_began(serve);
    io_work_start(serve->loop, &job->work);
}
