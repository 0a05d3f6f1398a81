/* Queries against a small zoo: what is asked, and the whole answer. */
#include "graphql.h"
#include "test.h"

static const char zoo[] =
    "\"What lives here.\" interface Animal { name: String! legs: Int! }"
    "type Cat implements Animal { name: String! legs: Int! lives: Int! }"
    "type Bird implements Animal { name: String! legs: Int! song: String } "
    "union Guest = Cat | Bird  enum Size { SMALL LARGE @deprecated(reason: \"too big\") }  scalar Date "
    "input Wish { size: Size = SMALL words: [String!]! deep: Wish }"
    "type Box { inner: Box value: Int! }"
    "type Query { cat: Cat! animals(first: Int = 2, size: Size): [Animal!]! guests: [Guest!]! echo(wish: "
    "Wish!): String"
    " sum(a: Int!, b: Int! = 10): Int fails: String failsHard: String! list: [Int!] box: Box when(at: Date): "
    "Date"
    " id(id: ID!): ID flag(on: Boolean!): Boolean real(x: Float): Float }"
    "type Mutation { add(n: Int!): Int! }  type Subscription { ticks(from: Int! = 1): Box! }";

static struct error *cat(struct graphql_call *call, json_t **ret) {
    (void)call;
    *ret = json_pack("{s:s,s:i,s:i}", "name", "Tom", "legs", 4, "lives", 9);
    return NULL;
}
static struct error *animals(struct graphql_call *call, json_t **ret) {
    json_int_t first = json_integer_value(json_object_get(call->arguments, "first"));
    *ret = json_array();
    for (json_int_t i = 0; i < first; i++)
        json_array_append_new(*ret, i % 2 ? json_pack("{s:s,s:s,s:i,s:s}", "__typename", "Bird", "name",
                                                      "Tweety", "legs", 2, "song", "tweet")
                                          : json_pack("{s:s,s:s,s:i,s:i}", "__typename", "Cat", "name", "Tom",
                                                      "legs", 4, "lives", 9));
    return NULL;
}
static struct error *echo(struct graphql_call *call, json_t **ret) {
    char *text = json_dumps(call->arguments, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    *ret = json_string(text);
    free(text);
    return NULL;
}
static struct error *sum(struct graphql_call *call, json_t **ret) {
    *ret = json_integer(json_integer_value(json_object_get(call->arguments, "a")) +
                        json_integer_value(json_object_get(call->arguments, "b")));
    return NULL;
}
static struct error *same(struct graphql_call *call, json_t **ret) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)call->arguments, key, value) *ret = json_incref(value);
    return NULL;
}
static struct error *fails(struct graphql_call *call, json_t **ret) {
    (void)ret;
    call->extensions = json_pack("{s:s}", "code", "SHY");
    return error_new(ERROR_INTERNAL, "the bird is shy");
}
static struct error *list(struct graphql_call *call, json_t **ret) {
    (void)call;
    *ret = json_pack("[i,n]", 1);
    return NULL;
}
static struct error *box(struct graphql_call *call, json_t **ret) {
    (void)call;
    *ret = json_pack("{s:i}", "value", 1);
    return NULL;
}
static struct error *inner(struct graphql_call *call, json_t **ret) {
    return box(call, ret); /* without end */
}
static struct error *add(struct graphql_call *call, json_t **ret) {
    int *total = call->context;
    *total += (int)json_integer_value(json_object_get(call->arguments, "n"));
    *ret = json_integer(*total);
    return NULL;
}

static const struct graphql_resolver resolvers[] = {
    {"Query.cat", cat},   {"Query.animals", animals}, {"Query.guests", animals},  {"Query.echo", echo},
    {"Query.sum", sum},   {"Query.fails", fails},     {"Query.failsHard", fails}, {"Query.list", list},
    {"Query.box", box},   {"Box.inner", inner},       {"Query.when", same},       {"Query.id", same},
    {"Query.flag", same}, {"Query.real", same},       {"Mutation.add", add},      {NULL, NULL},
};

static struct graphql_schema *schema;

static char *ask_with(const char *query, const char *variables, const char *operation, bool *executed) {
    int total = 0;
    json_t *given = variables ? json_loads(variables, 0, NULL) : NULL;
    struct graphql_request request = {
        .query = span_of(query), .operation = operation, .variables = given, .context = &total};
    json_t *answer = graphql_run(schema, &request, executed);
    char *text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    json_decref(given);
    return text;
}

static void expect(const char *query, const char *variables, const char *wanted) {
    bool executed;
    char *text = ask_with(query, variables, NULL, &executed);
    if (strcmp(text, wanted) != 0) fail_msg("%s\n  is     %s\n  wanted %s", query, text, wanted);
    free(text);
}

/* The document is refused, and the first error says this at that place. */
static void expect_refusal(const char *query, const char *needle, int line, int column) {
    bool executed;
    char *text = ask_with(query, NULL, NULL, &executed), where[64];
    snprintf(where, sizeof where, "\"locations\":[{\"line\":%d,\"column\":%d}]", line, column);
    if (executed || !strstr(text, needle) || !strstr(text, where) || strstr(text, "\"data\""))
        fail_msg("%s\n  is     %s\n  wanted %s at %d:%d", query, text, needle, line, column);
    free(text);
}

/* clang-format off */
static void test_fields_aliases_fragments_and_variables(void **unused) {
    (void)unused;
    expect("{ cat { name lives } }", NULL, "{\"data\":{\"cat\":{\"name\":\"Tom\",\"lives\":9}}}");
    expect("query Q { a: cat { n: name } b: cat { legs } }", NULL,
           "{\"data\":{\"a\":{\"n\":\"Tom\"},\"b\":{\"legs\":4}}}");
    expect("{ animals { __typename name ... on Bird { song } ...c } } fragment c on Cat { lives }", NULL,
           "{\"data\":{\"animals\":[{\"__typename\":\"Cat\",\"name\":\"Tom\",\"lives\":9},"
           "{\"__typename\":\"Bird\",\"name\":\"Tweety\",\"song\":\"tweet\"}]}}");
    expect("query($n: Int) { animals(first: $n) { name } }", "{\"n\":1}",
        "{\"data\":{\"animals\":[{\"name\":\"Tom\"}]}}");
    expect("query($n: Int) { animals(first: $n) { name } }", "{}",
           "{\"data\":{\"animals\":[{\"name\":\"Tom\"},{\"name\":\"Tweety\"}]}}");
    expect("query($n: Int = 0) { animals(first: $n) { name } }", NULL, "{\"data\":{\"animals\":[]}}");
    expect("{ cat { name } cat { legs } ... { cat { lives } } }", NULL,
           "{\"data\":{\"cat\":{\"name\":\"Tom\",\"legs\":4,\"lives\":9}}}");
    expect("{ guests { ... on Animal { name } } }", NULL, "{\"data\":{\"guests\":[]}}");
    expect("# comment\n{\tcat\r\n{ name, } }", NULL, "{\"data\":{\"cat\":{\"name\":\"Tom\"}}}");
    expect("mutation { a: add(n: 1) b: add(n: 2) }", NULL, "{\"data\":{\"a\":1,\"b\":3}}");
}

static void test_directives(void **unused) {
    (void)unused;
    const char *query = "query($y: Boolean!) { a: sum(a: 1) @include(if: $y) b: sum(a: 2) @skip(if: $y)"
                        " ... @include(if: false) { c: sum(a: 3) } ...f @skip(if: true) } fragment f"
                            " on Query { d: sum(a: 4) }";
    expect(query, "{\"y\":true}", "{\"data\":{\"a\":11}}");
    expect(query, "{\"y\":false}", "{\"data\":{\"b\":12}}");
}

static void test_values_take_the_types_of_the_schema(void **unused) {
    (void)unused;
    expect("{ echo(wish: {words: \"one\"}) }", NULL,
           "{\"data\":{\"echo\":\"{\\\"wish\\\":{\\\"size\\\":\\\"SMALL\\\","
               "\\\"words\\\":[\\\"one\\\"]}}\"}}");
    expect("query($w: Wish!) { echo(wish: $w) }", "{\"w\":{\"words\":[\"a\",\"b\"],\"size\":\"LARGE\","
        "\"deep\":null}}",
           "{\"data\":{\"echo\":\"{\\\"wish\\\":{\\\"deep\\\":null,\\\"size\\\":\\\"LARGE\\\","
               "\\\"words\\\":[\\\"a\\\",\\\"b\\\"]}}\"}}");
    expect("query($s: String!) { echo(wish: {words: [$s, \"x\"]}) }", "{\"s\":\"v\"}",
           "{\"data\":{\"echo\":\"{\\\"wish\\\":{\\\"size\\\":\\\"SMALL\\\",\\\"words\\\":[\\\"v\\\","
               "\\\"x\\\"]}}\"}}");
    expect("{ id(id: 17) }", NULL, "{\"data\":{\"id\":\"17\"}}");
    expect("query($i: ID!) { id(id: $i) }", "{\"i\":17}", "{\"data\":{\"id\":\"17\"}}");
    expect("{ when(at: \"2026-01-01\") flag(on: true) real(x: 2) }", NULL,
           "{\"data\":{\"when\":\"2026-01-01\",\"flag\":true,\"real\":2.0}}");
    expect("{ when(at: \"q\\\"\\u00e9\\ud83d\\ude00\\n\") }", NULL,
           "{\"data\":{\"when\":\"q\\\"\xc3\xa9\xf0\x9f\x98\x80\\n\"}}");
    expect("{ when(at: \"\"\"\n    one\n      two\\\"\"\"\n\n  \"\"\")"
        " }", NULL, "{\"data\":{\"when\":\"one\\n  two\\\"\\\"\\\"\"}}");
    expect("query($n: Int) { sum(a: 1) animals(first: $n) { name } }", "{\"n\":3000000000}",
           "{\"errors\":[{\"message\":\"Variable \\\"$n\\\" got an invalid value: expected type"
               " \\\"Int\\\", found 3000000000\"}]}");
    expect("query($w: Wish!) { echo(wish: $w) }", "{\"w\":{\"words\":[],\"color\":1}}",
           "{\"errors\":[{\"message\":\"Variable \\\"$w\\\" got an invalid value: \\\"Wish\\\" has no"
               " field \\\"color\\\"\"}]}");
    expect("query($w: Wish!) { echo(wish: $w) }", "{}",
           "{\"errors\":[{\"message\":\"Variable \\\"$w\\\" is required but it was not provided\"}]}");
}

static void test_an_error_takes_its_parent_only_where_it_must(void **unused) {
    (void)unused;
    expect("{ cat { name } f: fails }", NULL,
           "{\"data\":{\"cat\":{\"name\":\"Tom\"},\"f\":null},\"errors\":[{\"message\":\"the bird is shy\","
           "\"locations\":[{\"line\":1,\"column\":16}],\"path\":[\"f\"],"
               "\"extensions\":{\"code\":\"SHY\"}}]}");
    expect("{ cat { name } failsHard }", NULL,
           "{\"data\":null,\"errors\":[{\"message\":\"the bird is shy\",\"locations\":[{\"line\":1,"
               "\"column\":16}],"
           "\"path\":[\"failsHard\"],\"extensions\":{\"code\":\"SHY\"}}]}");
    expect("{ list sum(a: 1) }", NULL,
           "{\"data\":{\"list\":null,\"sum\":11},\"errors\":[{\"message\":\"\\\"list\\\" has no value\","
           "\"locations\":[{\"line\":1,\"column\":3}],\"path\":[\"list\",1]}]}");
    expect("{ x: sum(a: 1) x: sum(a: 2) cat { name } }", NULL,
           "{\"data\":{\"x\":null,\"cat\":{\"name\":\"Tom\"}},\"errors\":[{\"message\":\"Fields"
               " \\\"x\\\" conflict because they are "
           "different fields or have different arguments. Use different aliases on the fields\","
           "\"locations\":[{\"line\":1,\"column\":3}],\"path\":[\"x\"]}]}");
}

static void test_what_is_not_valid_is_refused_with_its_place(void **unused) {
    (void)unused;
    static const struct { const char *query, *needle; int line, column; } rows[] = {
        {"", "Unexpected end of input", 1, 1},
        {"{ cat { name }", "Unexpected end of input", 1, 15},
        {"{ cat { name } }}", "Unexpected \\\"}\\\"", 1, 17},
        {"{ }", "Unexpected \\\"}\\\"", 1, 3},
        {"{\n  dog { name }\n}", "Unknown field \\\"dog\\\" on type \\\"Query\\\"", 2, 3},
        {"{ cat }", "must have a selection of subfields", 1, 3},
        {"{ cat { name { x } } }", "must not have a selection", 1, 9},
        {"{ sum }", "Argument \\\"a\\\" of type \\\"Int!\\\" is required", 1, 3},
        {"{ sum(a: \"x\") }", "Invalid value for argument \\\"a\\\", expected type \\\"Int!\\\", found"
            " \\\"x\\\"", 1, 10},
        {"{ sum(a: 1.5) }", "expected type \\\"Int!\\\", found 1.5", 1, 10},
        {"{ sum(a: 9999999999) }", "expected type", 1, 10},
        {"{ sum(a: 1, c: 2) }", "Unknown argument \\\"c\\\"", 1, 13},
        {"{ sum(a: 1, a: 2) }", "There can only be one argument named \\\"a\\\"", 1, 13},
        {"{ animals(size: HUGE) { name } }", "expected type \\\"Size\\\", found HUGE", 1, 17},
        {"{ echo(wish: {}) }", "the field \\\"words\\\" of type \\\"[String!]!\\\" is missing", 1, 14},
        {"{ flag(on: null) }", "expected type \\\"Boolean!\\\", found null", 1, 12},
        {"{ ...f }", "Unknown fragment: \\\"f\\\"", 1, 3},
        {"{ cat { ...f } } fragment f on Bird { song }", "can never be of type \\\"Bird\\\"", 1, 9},
        {"{ cat { ...f } } fragment f on Fish { song }", "Unknown type \\\"Fish\\\"", 1, 18},
        {"{ cat { ...f } } fragment f on Cat { ...g } fragment g on Cat { ...f }", "within itself", 1, 65},
        {"{ sum(a: 1) } fragment f on Cat { name }", "Fragment \\\"f\\\" is never used", 1, 15},
        {"query($a: Int!) { sum(a: $b) }", "Variable \\\"$b\\\" is not defined", 1, 26},
        {"query($a: Int) { sum(a: $a) }", "used in position expecting type \\\"Int!\\\"", 1, 25},
        {"query($a: String!) { sum(a: $a) }", "of type \\\"String!\\\" used in position", 1, 29},
        {"query($a: Int!) { sum(a: 1) }", "Variable \\\"$a\\\" is not used", 1, 7},
        {"query($a: Cat) { sum(a: 1) }", "non-input type", 1, 7},
        {"query A { sum(a: 1) } query A { sum(a: 1) }", "only be one operation named A", 1, 23},
        {"{ sum(a: 1) } query B { sum(a: 1) }", "anonymous operation must be the only", 1, 1},
        {"{ sum(a: 1) @nope }", "Unknown directive", 1, 13},
        {"{ sum(a: 1) @skip }", "Argument \\\"if\\\"", 1, 13},
        {"{ when(at: \"open) }", "Unterminated string", 1, 12},
        {"{ when(at: \"\\x\") }", "Unknown escape", 1, 12},
        {"{ sum(a: 01) }", "Invalid number", 1, 10},
        {"{ sum(a: 1) ? }", "Unknown character", 1, 13},
        {"subscription { ticks { value } x: ticks { value } }", "exactly one root field", 1, 1},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_refusal(rows[i].query, rows[i].needle, rows[i].line, rows[i].column);
}
/* clang-format on */

static void test_an_operation_is_chosen_by_its_name(void **unused) {
    (void)unused;
    bool executed;
    const char *two = "query A { sum(a: 1) } query B { sum(a: 2) }";
    char *text = ask_with(two, NULL, "B", &executed);
    assert_string_equal(text, "{\"data\":{\"sum\":12}}");
    free(text);
    text = ask_with(two, NULL, NULL, &executed);
    assert_non_null(strstr(text, "Multiple operations"));
    assert_false(executed);
    free(text);
    text = ask_with(two, NULL, "C", &executed);
    assert_non_null(strstr(text, "Unknown operation"));
    free(text);
    text = ask_with("subscription { ticks { value } }", NULL, NULL, &executed);
    assert_non_null(strstr(text, "got subscription"));
    free(text);
}

static void test_what_has_no_end_is_cut(void **unused) {
    (void)unused;
    bool executed;
    struct text query = {0};
    text_add_string(&query, "{ box ");
    for (int i = 0; i < 60; i++) text_add_string(&query, "{ inner ");
    text_add_string(&query, "{ value }");
    for (int i = 0; i < 60; i++) text_add_string(&query, "}");
    text_add_string(&query, "}");
    char *text = ask_with(query.data, NULL, NULL, &executed);
    assert_true(executed);
    assert_non_null(strstr(text, "{\"value\":1}"));
    free(text);
    text_clear(&query); /* deeper than is read */
    for (int i = 0; i < 1000; i++) text_add_string(&query, "{ box ");
    text = ask_with(query.data, NULL, NULL, &executed);
    assert_non_null(strstr(text, "nested too deeply"));
    free(text);
    text_clear(&query); /* more in the answer than anybody needs: each level ten times the one above */
    text_add_string(&query, "{ box { ...a } }");
    for (char c = 'a'; c < 'g'; c++) {
        text_printf(&query, " fragment %c on Box {", c);
        for (int i = 0; i < 10; i++)
            text_printf(&query, c < 'f' ? " k%d: inner { ...%c }" : " k%d: value", i, c + 1);
        text_add_string(&query, " }");
    }
    text = ask_with(query.data, NULL, NULL, &executed);
    assert_non_null(strstr(text, "more than 100000 fields"));
    free(text);
    text_done(&query);
}

static void test_the_schema_tells_of_itself(void **unused) {
    (void)unused;
    expect("{ __type(name: \"Size\") { kind name enumValues { name } all: enumValues(includeDeprecated: "
           "true) { name"
           " deprecationReason } fields { name } } }",
           NULL,
           "{\"data\":{\"__type\":{\"kind\":\"ENUM\",\"name\":\"Size\",\"enumValues\":[{\"name\":\"SMALL\"}],"
           "\"all\":[{\"name\":"
           "\"SMALL\",\"deprecationReason\":null},{\"name\":\"LARGE\",\"deprecationReason\":\"too "
           "big\"}],\"fields\":null}}}");
    expect("{ __type(name: \"Animal\") { description possibleTypes { name } fields { name type { kind name "
           "ofType {"
           " kind name ofType { name } } } } } }",
           NULL,
           "{\"data\":{\"__type\":{\"description\":\"What lives "
           "here.\",\"possibleTypes\":[{\"name\":\"Cat\"},{\"name\":\"Bird\"}],"
           "\"fields\":[{\"name\":\"name\",\"type\":{\"kind\":\"NON_NULL\",\"name\":null,\"ofType\":{"
           "\"kind\":\"SCALAR\",\"name\":"
           "\"String\",\"ofType\":null}}},{\"name\":\"legs\",\"type\":{\"kind\":\"NON_NULL\",\"name\":null,"
           "\"ofType\":{\"kind\":"
           "\"SCALAR\",\"name\":\"Int\",\"ofType\":null}}}]}}}");
    expect("{ __type(name: \"Nobody\") { name } __schema { queryType { name } mutationType { name } "
           "directives { name } } }",
           NULL,
           "{\"data\":{\"__type\":null,\"__schema\":{\"queryType\":{\"name\":\"Query\"},\"mutationType\":{"
           "\"name\":\"Mutation\"},"
           "\"directives\":[{\"name\":\"include\"},{\"name\":\"skip\"}]}}}");
    expect("{ __type(name: \"Wish\") { inputFields { name defaultValue type { kind } } } }", NULL,
           "{\"data\":{\"__type\":{\"inputFields\":[{\"name\":\"size\",\"defaultValue\":\"SMALL\",\"type\":{"
           "\"kind\":\"ENUM\"}},"
           "{\"name\":\"words\",\"defaultValue\":null,\"type\":{\"kind\":\"NON_NULL\"}},"
           "{\"name\":\"deep\",\"defaultValue\":null,\"type\":{\"kind\":\"INPUT_OBJECT\"}}]}}}");
}

static void test_a_subscription_gives_an_answer_for_each_value(void **unused) {
    (void)unused;
    struct graphql_subscription *subscription = NULL;
    json_t *errors = NULL;
    char *query = mem_string("subscription { t: ticks { value } }");
    struct graphql_request request = {.query = span_of(query)};
    graphql_subscribe(schema, &request, &subscription, &errors);
    memset(query, '#', strlen(query)); /* it lives on without the text */
    free(query);
    assert_non_null(subscription);
    assert_true(span_is(graphql_subscription_field(subscription), "ticks"));
    assert_int_equal(
        json_integer_value(json_object_get(graphql_subscription_arguments(subscription), "from")), 1);
    for (int i = 0; i < 2; i++) {
        json_t *body = graphql_subscription_event(subscription, json_pack("{s:i}", "value", i));
        assert_int_equal(
            json_integer_value(json_object_get(json_object_get(json_object_get(body, "data"), "t"), "value")),
            i);
        json_decref(body);
    }
    json_t *body = graphql_subscription_error(subscription, error_new(ERROR_INTERNAL, "no more"), NULL);
    assert_non_null(json_object_get(body, "errors"));
    json_decref(body);
    graphql_subscription_free(subscription);
    request.query = span_of("subscription { tocks }");
    graphql_subscribe(schema, &request, &subscription, &errors);
    assert_null(subscription);
    assert_non_null(errors);
    json_decref(errors);
    request.query = span_of("{ sum(a: 1) }");
    graphql_subscribe(schema, &request, &subscription, &errors);
    assert_null(subscription);
    assert_null(errors);
}

static void test_a_wrong_schema_is_told_with_its_line(void **unused) {
    (void)unused;
    struct graphql_schema *none = NULL;
    struct graphql_schema_options options = {.text = "type Query {\n a: Nothing }"};
    assert_error(graphql_schema_new(&options, &none), ERROR_INVALID_ARGUMENT,
                 "a type Nothing that is not there");
    options.text = "type Query {\n a Int }";
    assert_error(graphql_schema_new(&options, &none), ERROR_INVALID_ARGUMENT, "line 2: Unexpected \"Int\"");
    options.text = "type Other { a: Int }";
    assert_error(graphql_schema_new(&options, &none), ERROR_INVALID_ARGUMENT, "no type for queries");
    const struct graphql_resolver lost[] = {{"Query.b", cat}, {NULL, NULL}};
    options = (struct graphql_schema_options){.text = "type Query { a: Int }", .resolvers = lost};
    assert_error(graphql_schema_new(&options, &none), ERROR_INVALID_ARGUMENT, "no field Query.b");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_aliases_fragments_and_variables),
        cmocka_unit_test(test_directives),
        cmocka_unit_test(test_values_take_the_types_of_the_schema),
        cmocka_unit_test(test_an_error_takes_its_parent_only_where_it_must),
        cmocka_unit_test(test_what_is_not_valid_is_refused_with_its_place),
        cmocka_unit_test(test_an_operation_is_chosen_by_its_name),
        cmocka_unit_test(test_what_has_no_end_is_cut),
        cmocka_unit_test(test_the_schema_tells_of_itself),
        cmocka_unit_test(test_a_subscription_gives_an_answer_for_each_value),
        cmocka_unit_test(test_a_wrong_schema_is_told_with_its_line),
    };
    struct graphql_schema_options options = {.text = zoo, .resolvers = resolvers};
    struct error *error = graphql_schema_new(&options, &schema);
    if (error) fail_msg("%s", error_text(error));
    int failed = cmocka_run_group_tests_name("graphql", tests, NULL, NULL);
    graphql_schema_free(schema);
    return failed;
}
