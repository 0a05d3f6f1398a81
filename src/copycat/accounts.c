/* Accounts of a running server: opened at its start, asked at each request of the API, closed when all work
 * is done.
 *
 *   Authorization: Bearer TOKEN -> known -> not too often -> the route. Else 401, or 429; both with an empty
 * body, as clients of Tabby expect. With `--no-webserver` everybody may do everything. */
#include "accounts.h"

#include "resolve.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUESTS_PER_MINUTE 120 /* Tabby's */

static uint32_t limit(void) {
    uint64_t value;
    const char *given = getenv("COPYCAT_REQUESTS_PER_MINUTE"); /* 0: no limit */
    return given && span_to_u64(span_of(given), &value) && value <= UINT32_MAX ? (uint32_t)value
                                                                               : REQUESTS_PER_MINUTE;
}

static void tell_about_secret(void) {
    fputs("\n  JWT secret is not set\n\n"
          "  One is made for this process only: access tokens that scripts hold end with it (the page renews "
          "its own,\n"
          "  tokens of editors go on). Set TABBY_WEBSERVER_JWT_TOKEN_SECRET to a UUID to keep them.\n\n",
          stderr);
}

struct error *accounts_open(struct serve *serve) {
    struct accounts *accounts = serve->accounts = NEW(struct accounts);
    const char *secret = getenv("TABBY_WEBSERVER_JWT_TOKEN_SECRET");
    list_init(&accounts->sockets);
    struct account_options options = {
        .loop = serve->loop,
        .root = serve->places.root,
        .without_database = serve->arguments->no_webserver,
        .secret = secret,
        .impersonate = getenv("TABBY_OWNER_IMPERSONATE_OVERRIDE"),
        .limit_per_minute = limit(),
    };
    TRY_PLAIN(account_open(&options, &accounts->account));
    if (options.without_database) return NULL;
    if (!secret) tell_about_secret();
    return resolve_schema_new(&accounts->schema);
}

void accounts_free(struct serve *serve) {
    if (!serve->accounts) return;
    account_free(serve->accounts->account);
    graphql_schema_free(serve->accounts->schema);
    free(serve->accounts);
    serve->accounts = NULL;
}

/* ---- work on other threads ---- */

void accounts_when_idle(struct serve *serve, void (*idle)(void *owner), void *owner) {
    if (!serve->accounts || serve->accounts->jobs == 0) return idle(owner);
    serve->accounts->idle = idle;
    serve->accounts->owner = owner;
}

void accounts_job_began(struct serve *serve) {
    serve->accounts->jobs++;
}

void accounts_job_ended(struct serve *serve) {
    struct accounts *accounts = serve->accounts;
    if (--accounts->jobs == 0 && accounts->idle) accounts->idle(accounts->owner);
}

/* ---- who asks ---- */

struct visitor accounts_visitor(struct serve *serve, const struct http_exchange *exchange) {
    struct visitor visitor = {0};
    if (!serve->accounts->schema) {
        visitor.name = http_exchange_header(exchange, "x-tabby-user");
        return visitor;
    }
    struct span token = http_exchange_header(exchange, "authorization");
    span_cut(&token, ' '); /* whatever scheme it names */
    visitor.who = account_known(serve->accounts->account, token);
    return visitor;
}

bool accounts_admit(struct serve *serve, enum route route, struct http_exchange *exchange) {
    if (!serve->accounts->schema) return true;
    int64_t wait_ms = 0;
    struct account_who who = accounts_visitor(serve, exchange).who;
    if (who.user == 0) {
        rest_answer(serve, route, exchange, 401, NULL, SPAN(""));
        return false;
    }
    if (route == ROUTE_HEALTH) return true; /* clients ask that all the time */
    if (account_may_ask(serve->accounts->account, who.user, io_now_ms(serve->loop), &wait_ms)) return true;
    rest_answer(serve, route, exchange, 429, NULL, SPAN(""));
    return false;
}

struct span accounts_bearer(struct http_exchange *exchange) {
    struct span given = query_value(exchange, "access_token");
    if (given.data) return given;
    struct span rest = http_exchange_header(exchange, "authorization"), scheme = span_cut(&rest, ' ');
    return span_is(scheme, "Bearer") ? rest : (struct span){0};
}
