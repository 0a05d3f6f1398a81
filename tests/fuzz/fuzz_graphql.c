/* A query of an unknown client, from its text to its answer, on a schema with every kind of type. Whatever is
 * asked, the answer can be printed, and is an object with "data" or "errors". */
#include "graphql.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] =
    "interface Animal { name: String! } type Cat implements Animal { name: String! lives: Int friend: Animal "
    "}"
    " type Bird implements Animal { name: String! } union Guest = Cat | Bird enum Size { SMALL LARGE } "
    "scalar Date"
    " input Wish { size: Size = SMALL words: [String!]! deep: Wish } type Query { animals(first: Int = 2): "
    "[Animal!]!"
    " guest: Guest echo(wish: Wish, list: [[Int]]): String at(date: Date, id: ID, real: Float, on: Boolean): "
    "String }"
    " type Mutation { set(wish: Wish!): Boolean! } type Subscription { ticks(from: Int = 1): Cat }";

static struct error *cat(struct graphql_call *call, json_t **ret) {
    (void)call;
    *ret = json_pack("{s:s,s:s,s:i}", "__typename", "Cat", "name", "Tom", "lives", 9);
    return NULL;
}
static struct error *cats(struct graphql_call *call, json_t **ret) {
    json_t *one = NULL;
    struct error *none = cat(call, &one);
    *ret = json_pack("[o]", one);
    return none;
}
static struct error *echo(struct graphql_call *call, json_t **ret) {
    char *printed = json_dumps(call->arguments, JSON_COMPACT);
    if (!printed) __builtin_trap();
    *ret = json_string(printed);
    free(printed);
    return NULL;
}
static const struct graphql_resolver resolvers[] = {
    {"Query.animals", cats}, {"Query.guest", cat}, {"Cat.friend", cat},
    {"Query.echo", echo},    {"Query.at", echo},   {NULL, NULL},
};

static void check(json_t *body) {
    char *printed = json_dumps(body, JSON_COMPACT);
    if (!printed || (!json_object_get(body, "data") && !json_object_get(body, "errors"))) __builtin_trap();
    free(printed);
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct graphql_schema *schema; /* the same for all inputs */
    struct graphql_schema_options options = {.text = text, .resolvers = resolvers};
    struct error *error = schema ? NULL : graphql_schema_new(&options, &schema);
    if (error) abort();
    /* Behind a NUL: variables. */
    const uint8_t *end = memchr(data, 0, size);
    size_t query_size = end ? (size_t)(end - data) : size;
    json_t *variables = end ? json_loadb((const char *)end + 1, size - query_size - 1, 0, NULL) : NULL;
    struct graphql_request request = {.query = {(const char *)data, query_size},
                                      .variables = json_is_object(variables) ? variables : NULL};
    bool executed;
    check(graphql_run(schema, &request, &executed));
    struct graphql_subscription *subscription = NULL;
    json_t *errors = NULL, *value = NULL;
    graphql_subscribe(schema, &request, &subscription, &errors);
    if (errors) check(errors);
    struct graphql_call none = {0};
    if (subscription && !cat(&none, &value)) check(graphql_subscription_event(subscription, value));
    graphql_subscription_free(subscription);
    json_decref(variables);
    return 0;
}
