/* graphql: a small GraphQL (October 2021 edition): documents read, held against a schema, carried out.
 *
 * The schema is given as text in GraphQL's own language, and with it a table of functions for the fields that
 * are to be worked out; any other field is the member of that name in its parent's JSON. Nothing in here
 * knows what the fields mean. A run may block as its functions do, on any thread; a schema is shared by all
 * and never changes.
 *
 * Bounds, for whatever is asked: 64 levels, 20,000 tokens, 100,000 fields in an answer. */
#pragma once
#include "base.h"

struct graphql_schema;

/* One field that is to be worked out. */
struct graphql_call {
    void *context;        /* of the request */
    const json_t *parent; /* null for the root */
    const json_t
        *arguments;     /* an object: what was given or has a default, of the types that the schema names */
    struct span field;  /* its name in the schema */
    json_t *extensions; /* may be set (owned by the run) before an error is returned; or see `extend` */
};
struct graphql_resolver {
    const char *field; /* "Type.field" */
    /* The value is owned by the run. NULL with no error counts as null. An object of an interface or a union
     * must have "__typename". */
    struct error *(*resolve)(struct graphql_call *call, json_t **ret_value);
};
struct graphql_schema_options {
    const char *text; /* types; `schema {...}` where the roots are not Query, Mutation and Subscription */
    const struct graphql_resolver *resolvers; /* ended by a NULL field; borrowed while the schema lives */
    /* What "extensions" an error gets that has none yet; NULL: none. */
    json_t *(*extend)(const struct error *error);
};
/* What is wrong with the text, or a resolver for a field that is not there: INVALID_ARGUMENT. */
must_check struct error *graphql_schema_new(const struct graphql_schema_options *options,
                                            struct graphql_schema **ret_schema);
void graphql_schema_free(struct graphql_schema *schema);
DEFINE_SCOPED(graphql_schema)

struct graphql_request {
    struct span query;
    const char *operation;   /* NULL: the only one */
    const json_t *variables; /* NULL: none */
    void *context;
};
/* The body of the answer, {"data", "errors"}; owned. *ret_executed false: the document is not valid, nothing
 * was begun. */
json_t *graphql_run(const struct graphql_schema *schema, const struct graphql_request *request,
                    bool *ret_executed);

/* ---- subscriptions: one root field whose values come from outside, one after the other ---- */
struct graphql_subscription;
/* *ret_subscription NULL: it is none, or not valid; then *ret_errors is the body that says why, or NULL where
 * it is an ordinary operation for graphql_run. */
void graphql_subscribe(const struct graphql_schema *schema, const struct graphql_request *request,
                       struct graphql_subscription **ret_subscription, json_t **ret_errors);
struct span graphql_subscription_field(const struct graphql_subscription *subscription);
const json_t *graphql_subscription_arguments(const struct graphql_subscription *subscription);
/* The body for one value of the root field (taken). */
json_t *graphql_subscription_event(struct graphql_subscription *subscription, json_t *value);
/* The body for an error of the root field; both are taken, extensions may be NULL. */
json_t *graphql_subscription_error(struct graphql_subscription *subscription, struct error *error,
                                   json_t *extensions);
void graphql_subscription_free(struct graphql_subscription *subscription);
DEFINE_SCOPED(graphql_subscription)
