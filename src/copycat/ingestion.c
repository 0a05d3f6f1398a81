/* /v1beta/ingestion: scripts hand in documents that answers may draw on, and take them back.
 *
 *   the registration token? -> POST: body whole, in its limits -> a worker keeps it -> 202
 *                              DELETE .../{source} or .../{source}/{id}: a worker removes -> 202
 * The index follows by itself (documents_run.c).
 *
 * Ends otherwise: no such token 401; other methods 405; content type 415; too long 413; no JSON, or beyond
 * the limits 400; JSON, but not a document 422; the disk is full 507. */
#include "search.h"

#include <ctype.h>
#include <stdlib.h>

#define DAY_S 86400
#define LIFE_DAYS 90 /* of a document that names no ttl */
#define NAME_MAX_CHARACTERS 256
#define TITLE_MAX_CHARACTERS 65535

static const char plain[] = "text/plain; charset=utf-8";

struct call {
    struct io_work work;
    struct serve *serve;
    struct http_exchange *exchange; /* NULL: the client is gone */
    bool removes;
    json_t *document;  /* that was sent; NULL: it removes */
    int64_t expires_s; /* of it */
    char *source, *id; /* to remove; id NULL: all of the source */
};

static void call_free(struct call *call) {
    json_decref(call->document);
    free(call->source), free(call->id);
    error_free(call->work.error);
    free(call);
}

static void answer(struct call *call, int status, const char *content_type, struct span body) {
    if (call->exchange) rest_answer(call->serve, ROUTE_INGESTION, call->exchange, status, content_type, body);
    call_free(call);
}

static void on_gone(struct http_exchange *exchange) {
    struct call *call = http_exchange_owner(exchange);
    call->exchange = NULL;
    http_exchange_release(exchange);
}

/* ---- how long ---- */

/* "90d", "1h 30m", "2weeks": numbers with units, one after the other. */
static bool seconds_of(const char *text, int64_t *ret_seconds) {
    static const struct {
        const char *names; /* between blanks */
        double seconds;
    } units[] = {
        {" nanos nsec ns ", 1e-9},
        {" usec us ", 1e-6},
        {" millis msec ms ", 1e-3},
        {" seconds second secs sec s ", 1},
        {" minutes minute mins min m ", 60},
        {" hours hour hrs hr h ", 3600},
        {" days day d ", DAY_S},
        {" weeks week wks wk w ", 7 * DAY_S},
        {" months month M ", 30.44 * DAY_S},
        {" years year yrs yr y ", 365.25 * DAY_S},
    };
    double total = 0;
    const char *c = text;
    do {
        while (*c == ' ') c++;
        size_t digits = strspn(c, "0123456789");
        uint64_t number = 0;
        if (digits == 0 || !span_to_u64((struct span){c, digits}, &number)) return false;
        c += digits;
        while (*c == ' ') c++;
        size_t letters = 0, unit = 0;
        while (isalpha((unsigned char)c[letters])) letters++;
        scoped_string char *name = mem_printf(" %.*s ", (int)letters, c);
        while (unit < COUNT(units) && (letters == 0 || !strstr(units[unit].names, name))) unit++;
        if (unit == COUNT(units)) return false;
        total += (double)number * units[unit].seconds;
        c += letters;
        while (*c == ' ') c++;
    } while (*c);
    *ret_seconds = (int64_t)total;
    return total < 1e12; /* 30000 years */
}

/* ---- a document ---- */

static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

/* 0: fine. Else the status, and what is wrong (owned). */
static int check(struct call *call, char **ret_wrong) {
    static const struct {
        const char *name;
        size_t max; /* characters; 0: any number, none too */
        bool optional;
    } fields[] = {{"source", NAME_MAX_CHARACTERS, false},
                  {"id", NAME_MAX_CHARACTERS, false},
                  {"title", TITLE_MAX_CHARACTERS, false},
                  {"body", 0, false},
                  {"link", 0, true},
                  {"ttl", 0, true}};
    static const char wrong_type[] = "Failed to deserialize the JSON body into the target type";
    for (size_t i = 0; i < COUNT(fields); i++) {
        const json_t *value = json_object_get(call->document, fields[i].name);
        if (fields[i].optional && (!value || json_is_null(value))) continue;
        if (json_is_string(value)) continue;
        *ret_wrong = value ? mem_printf("%s: %s: expected a string", wrong_type, fields[i].name)
                           : mem_printf("%s: missing field `%s`", wrong_type, fields[i].name);
        return 422;
    }
    for (size_t i = 0; i < COUNT(fields); i++) {
        const char *value = json_string_value(json_object_get(call->document, fields[i].name));
        size_t size = value && fields[i].max ? characters(value) : 1;
        if (size > 0 && (fields[i].max == 0 || size <= fields[i].max)) continue;
        *ret_wrong = size == 0
                         ? mem_printf("%s must not be empty", fields[i].name)
                         : mem_printf("%s is longer than %zu characters", fields[i].name, fields[i].max);
        return 400;
    }
    const char *ttl = json_string_value(json_object_get(call->document, "ttl"));
    int64_t life_s = (int64_t)LIFE_DAYS * DAY_S;
    if (ttl && !seconds_of(ttl, &life_s)) {
        *ret_wrong =
            mem_printf("ttl is no duration: write \"90d\", \"12h\" or \"1h 30m\", not \"%.100s\"", ttl);
        return 400;
    }
    call->expires_s = clock_wall_ms() / 1000 + life_s;
    return 0;
}

/* ---- on a worker ---- */

static void on_change(struct io_work *work) {
    struct call *call = CONTAINER_OF(work, struct call, work);
    struct account *account = call->serve->accounts->account;
    if (call->removes) {
        work->error = account_document_remove(account, call->source, call->id);
        return;
    }
    const struct account_document document = {
        .source = json_string_value(json_object_get(call->document, "source")),
        .id = json_string_value(json_object_get(call->document, "id")),
        .title = json_string_value(json_object_get(call->document, "title")),
        .body = json_string_value(json_object_get(call->document, "body")),
        .link = json_string_value(json_object_get(call->document, "link")),
        .expires_s = call->expires_s,
    };
    work->error = account_document_put(account, &document);
}

static void on_changed(struct io_work *work) {
    struct call *call = CONTAINER_OF(work, struct call, work);
    struct serve *serve = call->serve;
    if (work->error) {
        scoped_string char *text = error_text(work->error);
        log_error("copycat", "a document is not kept: %s", text);
        answer(call, work->error->code == ERROR_RESOURCE_EXHAUSTED ? 507 : 500, plain, span_of(text));
    } else if (call->removes) {
        search_changed(serve->search);
        answer(call, 202, NULL, SPAN(""));
    } else {
        search_changed(serve->search);
        scoped_json json_t *reply = json_pack(
            "{s:O,s:O,s:s}", "id", json_object_get(call->document, "id"), "source",
            json_object_get(call->document, "source"), "message",
            serve->search
                ? "The document is kept, and will be searched in a moment."
                : "The document is kept; it is not searched, since TABBY_EMBEDDING_ENABLED says so.");
        scoped_string char *body = json_dumps(reply, JSON_COMPACT);
        answer(call, 202, "application/json", span_of(body));
    }
    accounts_job_ended(serve);
}

static void start(struct call *call) {
    struct serve *serve = call->serve;
    if (serve->accounts->jobs >= JOBS_MAX)
        return answer(call, 503, plain, SPAN("Too many requests are being worked on; ask again in a moment"));
    call->work.work = on_change;
    call->work.done = on_changed;
    accounts_job_began(serve);
    io_work_start(serve->loop, &call->work);
}

/* ---- the request ---- */

static void on_body(struct http_exchange *exchange, struct span body, struct error *taken_error) {
    struct call *call = http_exchange_owner(exchange);
    scoped_string char *wrong = NULL;
    int status = 0;
    if (taken_error) {
        status = rest_body_fault(taken_error, &wrong);
        return answer(call, status, plain, span_of(wrong));
    }
    call->document = rest_body_json(body, &status, &wrong);
    if (call->document) status = check(call, &wrong);
    if (status != 0) return answer(call, status, plain, span_of(wrong));
    start(call);
}

static void refuse_method(struct call *call, const char *allowed) {
    const char *const fields[] = {"allow", allowed, NULL};
    rest_count(call->serve, ROUTE_INGESTION, 405);
    http_respond(call->exchange, 405, fields, SPAN(""));
    call_free(call);
}

/* What stands behind the route: {source}, or {source}/{id}. */
static bool read_names(struct call *call, struct span rest) {
    struct span source = url_decoded(call->exchange, span_cut(&rest, '/'), false);
    struct span id = rest.data ? url_decoded(call->exchange, rest, false) : (struct span){0};
    bool more = rest.data && memchr(rest.data, '/', rest.size);
    bool odd = memchr(source.data, 0, source.size) || (id.size > 0 && memchr(id.data, 0, id.size));
    if (source.size == 0 || (rest.data && id.size == 0) || more || odd) return false;
    call->source = span_string(source);
    call->id = id.size > 0 ? span_string(id) : NULL;
    return true;
}

void ingestion_answer(struct serve *serve, struct http_exchange *exchange) {
    struct span path = http_exchange_path(exchange), method = http_exchange_method(exchange);
    const size_t prefix = sizeof "/v1beta/ingestion" - 1;
    struct span token = http_exchange_header(exchange, "authorization");
    struct call *call = NEW(struct call);
    *call = (struct call){.serve = serve, .exchange = exchange, .removes = path.size > prefix};
    span_cut(&token, ' '); /* whatever scheme it names */
    if (!account_is_registrar(serve->accounts->account, token)) return answer(call, 401, NULL, SPAN(""));
    if (!span_is(method, call->removes ? "DELETE" : "POST"))
        return refuse_method(call, call->removes ? "DELETE" : "POST");
    if (call->removes && !read_names(call, (struct span){path.data + prefix + 1, path.size - prefix - 1}))
        return answer(call, 404, plain, SPAN("DELETE /v1beta/ingestion/{source} or .../{source}/{id}"));
    if (!call->removes && !rest_is_json(http_exchange_header(exchange, "content-type")))
        return answer(call, 415, plain, SPAN("Expected request with `Content-Type: application/json`"));
    http_exchange_owner_set(exchange, call);
    http_exchange_on_gone(exchange, on_gone);
    if (call->removes) return start(call);
    http_exchange_read_all(exchange, BODY_BYTES_MAX, on_body);
}
