/* The schema's text to types (GraphQL, section 3). What is wrong in it is the caller's own mistake, told with
 * its line. */
#include "inside.h"

#include <stdlib.h>

#define MAKE(TYPE) ((TYPE *)arena_alloc(parser->lexer.arena, sizeof(TYPE)))

static struct span description(struct parser *parser) {
    struct span text = {0};
    if (parser->token.kind != TOKEN_STRING) return text;
    text = parser->token.value;
    lex_next(&parser->lexer, &parser->token);
    return text;
}

/* Why, where there is a @deprecated; data NULL: none. */
static struct span deprecated(struct parser *parser) {
    struct span why = {0};
    for (const struct directive *d = parse_directives(parser, true); d; d = d->next) {
        if (!span_is(d->name, "deprecated")) continue;
        why = d->arguments ? d->arguments->value->text : SPAN("No longer supported");
    }
    return why;
}

static struct schema_input *read_inputs(struct parser *parser, const char *closing) {
    struct schema_input *first = NULL, **end = &first;
    do {
        struct schema_input *input = *end = MAKE(struct schema_input);
        end = &input->next;
        input->description = description(parser);
        input->name = parser_name(parser);
        parser_expect(parser, ":");
        input->type = parse_type(parser);
        if (parser_mark(parser, "=")) input->fallback = parse_value(parser, true);
        deprecated(parser);
    } while (!parser->wrong && !parser_mark(parser, closing));
    return first;
}

static struct schema_field *read_fields(struct parser *parser) {
    struct schema_field *first = NULL, **end = &first;
    parser_expect(parser, "{");
    do {
        struct schema_field *field = *end = MAKE(struct schema_field);
        end = &field->next;
        field->description = description(parser);
        field->name = parser_name(parser);
        if (parser_mark(parser, "(")) field->arguments = read_inputs(parser, ")");
        parser_expect(parser, ":");
        field->type = parse_type(parser);
        field->deprecated = deprecated(parser);
    } while (!parser->wrong && !parser_mark(parser, "}"));
    return first;
}

/* Names with a mark between them: a & b, a | b. */
static struct schema_name *read_names(struct parser *parser, const char *between) {
    struct schema_name *first = NULL, **end = &first;
    parser_mark(parser, between);
    do {
        struct schema_name *name = *end = MAKE(struct schema_name);
        end = &name->next;
        name->name = parser_name(parser);
    } while (!parser->wrong && parser_mark(parser, between));
    return first;
}

static struct schema_name *read_values(struct parser *parser) {
    struct schema_name *first = NULL, **end = &first;
    parser_expect(parser, "{");
    do {
        struct schema_name *value = *end = MAKE(struct schema_name);
        end = &value->next;
        value->description = description(parser);
        value->name = parser_name(parser);
        value->deprecated = deprecated(parser);
    } while (!parser->wrong && !parser_mark(parser, "}"));
    return first;
}

static void read_roots(struct parser *parser, struct graphql_schema *schema) {
    static const char *const words[] = {"query", "mutation", "subscription"};
    parser_expect(parser, "{");
    do {
        struct span word = parser_name(parser);
        parser_expect(parser, ":");
        struct span name = parser_name(parser);
        for (size_t i = 0; i < COUNT(words); i++)
            if (span_is(word, words[i])) schema->roots[i] = name;
    } while (!parser->wrong && !parser_mark(parser, "}"));
}

static void read_type(struct parser *parser, struct graphql_schema *schema) {
    static const char *const words[] = {
        [KIND_SCALAR] = "scalar", [KIND_OBJECT] = "type", [KIND_INTERFACE] = "interface",
        [KIND_UNION] = "union",   [KIND_ENUM] = "enum",   [KIND_INPUT] = "input"};
    struct schema_type *type = MAKE(struct schema_type);
    type->description = description(parser);
    size_t kind = 0;
    while (kind < COUNT(words) && !parser_word(parser, words[kind])) kind++;
    if (kind == COUNT(words)) return parser_unexpected(parser);
    type->kind = (enum type_kind)kind;
    type->name = parser_name(parser);
    if (parser_word(parser, "implements")) type->interfaces = read_names(parser, "&");
    parse_directives(parser, true);
    if (type->kind == KIND_OBJECT || type->kind == KIND_INTERFACE) type->fields = read_fields(parser);
    if (type->kind == KIND_INPUT && parser_expect(parser, "{")) type->inputs = read_inputs(parser, "}");
    if (type->kind == KIND_ENUM) type->values = read_values(parser);
    if (type->kind == KIND_UNION && parser_expect(parser, "=")) type->members = read_names(parser, "|");
    if (map_put(schema->by_name, type->name, type)) parser_fail(parser, "a second type of that name");
    if (schema->last) schema->last->next = type;
    if (!schema->last) schema->types = type;
    schema->last = type;
}

struct error *sdl_read(struct graphql_schema *schema, const char *text) {
    struct parser parser;
    parser_init(&parser, schema->arena, span_of(text));
    while (!parser.wrong && parser.token.kind != TOKEN_END) {
        if (parser_word(&parser, "schema"))
            read_roots(&parser, schema);
        else
            read_type(&parser, schema);
    }
    if (!parser.wrong) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "schema, line %u: %s", parser.wrong_place.line, parser.wrong);
}
