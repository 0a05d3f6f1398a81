/* Pages and what they need, out of the program itself; and what is said where there is nothing.
 *
 * All of it is static and open to everybody: what a page shows it asks for with its user's token. Nothing is
 * loaded from elsewhere, which the pages' own policy says too. */
#include "accounts.h"

#include "embedded.h"

#include <stdlib.h>

#define POLICY                                                                                          \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src " \
    "'self';"                                                                                           \
    " form-action 'self'; base-uri 'none'"

struct page {
    const char *path, *file;
    bool framed; /* editors show it inside their own window */
    bool without_users /* there with `--no-webserver` too */;
};

static const struct page pages[] = {
    {"/", "index.html", false, false},
    {"/auth/signin", "index.html", false, false},
    {"/auth/signup", "index.html", false, false},
    {"/auth/reset-password", "index.html", false, false},
    {"/chat", "chat.html", true, false},
    {"/graphql", "graphql.html", false, false},
    {"/graphiql", "graphql.html", false, false},
    {"/swagger-ui/", "swagger.html", false, true},
    {"/api-docs/openapi.json", "openapi.json", false, true},
    {"/favicon.ico", "icon.svg", false, true},
};

static const char *type_of(struct span name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".json", "application/json"},
                                           {".svg", "image/svg+xml"}};
    for (size_t i = 0; i < COUNT(types); i++)
        if (span_ends(name, types[i][0])) return types[i][1];
    return "application/octet-stream";
}

static const struct embedded *file_named(struct span name) {
    for (const struct embedded *file = web_files; file->name; file++)
        if (span_is(name, file->name)) return file;
    return NULL;
}

static void send_file(struct http_exchange *exchange, const struct embedded *file, int status, bool framed) {
    bool same = span_is(http_exchange_header(exchange, "if-none-match"), file->tag);
    const char *fields[] = {"content-type",
                            type_of(span_of(file->name)),
                            "cache-control",
                            "no-cache",
                            "etag",
                            file->tag,
                            "x-content-type-options",
                            "nosniff",
                            "referrer-policy",
                            "no-referrer",
                            "content-security-policy",
                            framed ? POLICY : POLICY "; frame-ancestors 'none'",
                            NULL};
    bool unchanged = same && status == 200;
    http_respond(exchange, unchanged ? 304 : status, fields,
                 unchanged ? SPAN("") : (struct span){file->data, file->size});
}

static void redirect(struct http_exchange *exchange, int status, const char *to) {
    const char *const fields[] = {"location", to, NULL};
    http_respond(exchange, status, fields, SPAN(""));
}

static void not_there(struct serve *serve, struct http_exchange *exchange) {
    if (!serve->accounts->schema) return redirect(exchange, 307, "/swagger-ui");
    send_file(exchange, file_named(SPAN("404.html")), 404, false);
}

static bool is_reading(const struct http_exchange *exchange) {
    struct span method = http_exchange_method(exchange);
    return span_is(method, "GET") || span_is(method, "HEAD");
}

static void send_page(struct serve *serve, struct http_exchange *exchange, const struct page *page) {
    static const char *const allowed[] = {"allow", "GET,HEAD", NULL};
    if (!page->without_users && !serve->accounts->schema) return not_there(serve, exchange);
    if (!is_reading(exchange)) return http_respond(exchange, 405, allowed, SPAN(""));
    send_file(exchange, file_named(span_of(page->file)), 200, page->framed);
}

void web_answer(struct serve *serve, struct http_exchange *exchange) {
    struct span path = http_exchange_path(exchange);
    static const char prefix[] = "/assets/";
    for (size_t i = 0; i < COUNT(pages); i++)
        if (span_is(path, pages[i].path)) return send_page(serve, exchange, &pages[i]);
    if (span_is(path, "/swagger-ui")) return redirect(exchange, 303, "/swagger-ui/");
    if (span_is(path, "/oauth/providers") && serve->accounts->schema) {
        static const char *const fields[] = {"content-type", "application/json", NULL};
        return http_respond(exchange, 200, fields, SPAN("[]")); /* only passwords are looked at here */
    }
    if (span_is(path, "/subscriptions") && serve->accounts->schema && is_reading(exchange))
        return subscriptions_answer(serve, exchange);
    if (span_starts(path, "/avatar/") && serve->accounts->schema && is_reading(exchange))
        return avatar_answer(serve, exchange);
    if (span_starts(path, "/repositories/") && serve->accounts->schema && is_reading(exchange))
        return repositories_answer(serve, exchange);
    if (span_starts(path, "/background-jobs/") && serve->accounts->schema && is_reading(exchange))
        return job_logs_answer(serve, exchange);
    if (span_starts(path, prefix)) {
        struct span name = {path.data + sizeof prefix - 1, path.size - (sizeof prefix - 1)};
        const struct embedded *file = file_named(name);
        if (file && is_reading(exchange)) return send_file(exchange, file, 200, false);
    }
    not_there(serve, exchange);
}
