/* What copycat's files about accounts offer the others: who asks, whether they may, and what was done. */
#pragma once
#include "account.h"
#include "graphql.h"
#include "inside.h"

/* ---- accounts.c ---- */
#define JOBS_MAX 64 /* at once, of all who ask */
struct accounts {
    struct account *account;
    struct list sockets;           /* WebSockets that are open */
    struct graphql_schema *schema; /* NULL: no accounts (`--no-webserver`) */
    uint32_t jobs;                 /* at work on other threads */
    void (*idle)(void *owner);     /* when there are none any more; NULL: nobody waits */
    void *owner;
};
must_check struct error *accounts_open(struct serve *serve);
/* Calls `idle` (perhaps at once) when no work of ours is under way: then accounts_free. */
void accounts_when_idle(struct serve *serve, void (*idle)(void *owner), void *owner);
void accounts_free(struct serve *serve);
void accounts_job_began(struct serve *serve);
void accounts_job_ended(struct serve *serve);

struct visitor {
    struct account_who who;
    struct span name; /* where there are no accounts: what the client calls itself; may be empty */
};
struct visitor accounts_visitor(struct serve *serve, const struct http_exchange *exchange);
/* Of the API: without a token that is known, 401; too often, 429. false: it was answered. */
bool accounts_admit(struct serve *serve, enum route route, struct http_exchange *exchange);
/* What stands in ?access_token= or behind "Bearer "; valid while the exchange is. data NULL: none. */
struct span accounts_bearer(struct http_exchange *exchange);

/* ---- query.c: of a URL ---- */
/* The decoded value of a parameter, in the exchange's arena; data NULL: not there. */
struct span query_value(struct http_exchange *exchange, const char *name);
struct span url_decoded(struct http_exchange *exchange, struct span text, bool plus_is_blank);

/* ---- events.c ---- */
void events_answer(struct serve *serve, struct http_exchange *exchange);
struct completed {
    struct visitor visitor;
    struct span id, user_agent; /* user_agent data NULL: none */
    const struct completion_request *request;
    struct span prompt, text;
};
void events_completion(struct serve *serve, const struct completed *completed);
void events_chat(struct serve *serve, const struct visitor *visitor);

/* ---- query language and pages ---- */
void graphql_answer(struct serve *serve, struct http_exchange *exchange);
void subscriptions_answer(struct serve *serve, struct http_exchange *exchange);
void subscriptions_close(struct serve *serve); /* all of them: the server ends */
void avatar_answer(struct serve *serve, struct http_exchange *exchange);
/* /repositories/...: files and folders of what is indexed. */
void repositories_answer(struct serve *serve, struct http_exchange *exchange);
void job_logs_answer(struct serve *serve, struct http_exchange *exchange); /* /background-jobs/... */
/* Whatever is no route of the API. */
void web_answer(struct serve *serve, struct http_exchange *exchange);
