/* The door: a request from its text to its answer, and subscriptions, whose answers come one by one. */
#include "graphql.h"

#include "inside.h"

#include <stdlib.h>

static void fail(struct document *document, struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    scoped_string char *text = error_text(error);
    json_t *message = json_string(text);
    json_array_append_new(document->errors,
                          json_pack("{s:o}", "message", message ? message : json_string("Invalid UTF-8")));
}

static const struct operation *choose(struct document *document, const char *wanted) {
    const struct operation *found = NULL;
    for (const struct operation *operation = document->operations; operation; operation = operation->next) {
        if (wanted && !(operation->name.data && span_is(operation->name, wanted))) continue;
        if (found) {
            fail(document,
                 error_new(ERROR_INVALID_ARGUMENT, "Multiple operations provided; name one of them"));
            return NULL;
        }
        found = operation;
    }
    if (!found)
        fail(document,
             error_new(ERROR_INVALID_ARGUMENT, wanted ? "Unknown operation" : "Must provide an operation"));
    return found;
}

static struct error *take_variable(const struct coercion *coercion, const struct variable *variable,
                                   const json_t *given, json_t *into) {
    scoped_string char *name = span_string(variable->name);
    json_t *value = json_object_get(given, name), *json = NULL;
    if (value)
        TRY(coerce_json(coercion, value, variable->type, &json), "Variable \"$%s\" got an invalid value",
            name);
    else if (variable->fallback)
        TRY_PLAIN(coerce_literal(coercion, variable->fallback, variable->type, &json));
    else if (variable->type->required)
        return error_new(ERROR_INVALID_ARGUMENT, "Variable \"$%s\" is required but it was not provided",
                         name);
    if (json) json_object_set_new(into, name, json);
    return NULL;
}

static json_t *take_variables(struct document *document, const struct graphql_schema *schema,
                              const struct operation *operation, const json_t *given) {
    json_t *variables = json_object();
    struct coercion coercion = {.schema = schema, .variables = variables};
    for (const struct variable *v = operation->variables; v; v = v->next) {
        struct error *error = take_variable(&coercion, v, given, variables);
        if (error) fail(document, error);
    }
    return variables;
}

/* Read, checked, its operation chosen and its variables taken. NULL: document->errors says why not. */
static const struct operation *prepare(const struct graphql_schema *schema,
                                       const struct graphql_request *request, struct document *document,
                                       json_t **ret_variables) {
    document_parse(request->query, document);
    if (json_array_size(document->errors) == 0) document_check(document, schema);
    if (json_array_size(document->errors) > 0) return NULL;
    const struct operation *operation = choose(document, request->operation);
    if (operation) *ret_variables = take_variables(document, schema, operation, request->variables);
    return json_array_size(document->errors) > 0 ? NULL : operation;
}

static json_t *errors_body(const struct document *document) {
    return json_pack("{s:O}", "errors", document->errors);
}

static json_t *answer_body(json_t *data, json_t *errors) {
    json_t *body = json_pack("{s:o}", "data", data ? data : json_null());
    if (json_array_size(errors) > 0) json_object_set(body, "errors", errors);
    return body;
}

static json_t *carry_out(const struct graphql_schema *schema, struct document *document,
                         const struct operation *operation, const json_t *variables, void *context,
                         const json_t *root) {
    struct run run = {
        .schema = schema,
        .document = document,
        .coercion = {.schema = schema, .variables = variables},
        .context = context,
        .errors = json_array(),
    };
    json_t *data = run_operation(&run, operation, root);
    json_t *body = answer_body(data, run.errors);
    json_decref(run.errors);
    return body;
}

json_t *graphql_run(const struct graphql_schema *schema, const struct graphql_request *request,
                    bool *ret_executed) {
    struct document document;
    scoped_json json_t *variables = NULL;
    json_t *body = NULL;
    const struct operation *operation = prepare(schema, request, &document, &variables);
    if (operation && operation->kind == OPERATION_SUBSCRIPTION) {
        fail(&document, error_new(ERROR_INVALID_ARGUMENT, "Expected query, got subscription"));
        operation = NULL;
    }
    *ret_executed = operation != NULL;
    if (operation)
        body = carry_out(schema, &document, operation, variables, request->context, NULL);
    else
        body = errors_body(&document);
    document_done(&document);
    return body;
}

/* ---- subscriptions ---- */

struct graphql_subscription {
    const struct graphql_schema *schema;
    char *query; /* which the document points into */
    struct document document;
    const struct operation *operation;
    json_t *variables, *arguments;
};

static struct error *root_arguments(struct graphql_subscription *subscription) {
    const struct selection *selection = subscription->operation->first;
    const struct graphql_schema *schema = subscription->schema;
    const struct schema_field *field =
        schema_field(schema, schema_root(schema, OPERATION_SUBSCRIPTION), selection->name);
    struct coercion coercion = {.schema = schema, .variables = subscription->variables};
    return coerce_arguments(&coercion, field->arguments, selection->arguments, &subscription->arguments);
}

void graphql_subscribe(const struct graphql_schema *schema, const struct graphql_request *request,
                       struct graphql_subscription **ret_subscription, json_t **ret_errors) {
    scoped(graphql_subscription) struct graphql_subscription *subscription = NEW(struct graphql_subscription);
    *ret_subscription = NULL;
    *ret_errors = NULL;
    subscription->schema = schema;
    subscription->query = span_string(request->query);
    struct graphql_request own = *request;
    own.query.data = subscription->query;
    subscription->operation = prepare(schema, &own, &subscription->document, &subscription->variables);
    if (subscription->operation && subscription->operation->kind != OPERATION_SUBSCRIPTION) return;
    struct error *error = subscription->operation ? root_arguments(subscription) : NULL;
    if (error) fail(&subscription->document, error);
    if (json_array_size(subscription->document.errors) > 0)
        *ret_errors = errors_body(&subscription->document);
    else
        *ret_subscription = take(subscription);
}

struct span graphql_subscription_field(const struct graphql_subscription *subscription) {
    return subscription->operation->first->name;
}

const json_t *graphql_subscription_arguments(const struct graphql_subscription *subscription) {
    return subscription->arguments;
}

json_t *graphql_subscription_event(struct graphql_subscription *subscription, json_t *taken_value) {
    struct span field = graphql_subscription_field(subscription);
    scoped_json json_t *root = json_object();
    json_object_setn_new(root, field.data, field.size, taken_value ? taken_value : json_null());
    return carry_out(subscription->schema, &subscription->document, subscription->operation,
                     subscription->variables, NULL, root);
}

json_t *graphql_subscription_error(struct graphql_subscription *subscription, struct error *taken_error,
                                   json_t *taken_extensions) {
    const struct selection *selection = subscription->operation->first;
    struct run run = {.schema = subscription->schema, .errors = json_array()};
    scoped_json json_t *path = json_array();
    json_array_append_new(path, json_stringn(selection->key.data, selection->key.size));
    run_error(&run, selection->place, path, taken_error, taken_extensions);
    json_t *body = answer_body(NULL, run.errors);
    json_decref(run.errors);
    return body;
}

void graphql_subscription_free(struct graphql_subscription *subscription) {
    if (!subscription) return;
    document_done(&subscription->document);
    free(subscription->query);
    json_decref(subscription->variables);
    json_decref(subscription->arguments);
    free(subscription);
}
