/* Tokens to a document: operations and fragments (GraphQL, section 2). The first thing that is wrong ends it.
 */
#include "inside.h"

#include <stdlib.h>

/* ---- the parser's hands ---- */

void parser_init(struct parser *parser, struct arena *arena, struct span text) {
    *parser = (struct parser){.lexer = {.arena = arena, .rest = text, .place = {1, 1}}};
    lex_next(&parser->lexer, &parser->token);
}

void parser_fail(struct parser *parser, const char *format, ...) {
    if (parser->wrong) return;
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    parser->wrong = arena_string(parser->lexer.arena, span_of(text));
    parser->wrong_place = parser->token.place;
    parser->token = (struct token){.kind = TOKEN_END, .place = parser->token.place}; /* all loops end */
}

void parser_unexpected(struct parser *parser) {
    const struct token *token = &parser->token;
    if (token->kind == TOKEN_WRONG)
        parser_fail(parser, "%s", parser->lexer.wrong);
    else if (token->kind == TOKEN_END)
        parser_fail(parser, "Unexpected end of input");
    else
        parser_fail(parser, "Unexpected \"%.*s\"", (int)(token->text.size < 60 ? token->text.size : 60),
                    token->text.data);
}

static void advance(struct parser *parser) {
    if (!parser->wrong) lex_next(&parser->lexer, &parser->token);
    if (parser->token.kind == TOKEN_WRONG) parser_unexpected(parser);
}

static bool is_mark(const struct parser *parser, const char *mark) {
    return parser->token.kind == TOKEN_MARK && span_is(parser->token.text, mark);
}

static bool is_word(const struct parser *parser, const char *word) {
    return parser->token.kind == TOKEN_NAME && span_is(parser->token.text, word);
}

bool parser_mark(struct parser *parser, const char *mark) {
    if (!is_mark(parser, mark)) return false;
    advance(parser);
    return true;
}

bool parser_expect(struct parser *parser, const char *mark) {
    if (parser_mark(parser, mark)) return true;
    parser_unexpected(parser);
    return false;
}

bool parser_word(struct parser *parser, const char *word) {
    if (!is_word(parser, word)) return false;
    advance(parser);
    return true;
}

struct span parser_name(struct parser *parser) {
    struct span name = parser->token.text;
    if (parser->token.kind != TOKEN_NAME) {
        parser_unexpected(parser);
        return SPAN("");
    }
    advance(parser);
    return name;
}

static bool enter(struct parser *parser) {
    if (++parser->level <= LEVELS_MAX) return true;
    parser_fail(parser, "The document is nested too deeply");
    return false;
}

#define MAKE(TYPE) ((TYPE *)arena_alloc(parser->lexer.arena, sizeof(TYPE)))

/* ---- types and values ---- */

struct type *parse_type(struct parser *parser) {
    struct type *type = MAKE(struct type);
    type->name = SPAN("");
    if (enter(parser)) {
        if (parser_mark(parser, "[")) {
            type->of = parse_type(parser);
            type->name = type->of->name;
            parser_expect(parser, "]");
        } else {
            type->name = parser_name(parser);
        }
        type->required = parser_mark(parser, "!");
    }
    parser->level--;
    return type;
}

static enum value_kind word_kind(struct span word) {
    if (span_is(word, "null")) return VALUE_NULL;
    return span_is(word, "true") || span_is(word, "false") ? VALUE_BOOLEAN : VALUE_ENUM;
}

static void parse_items(struct parser *parser, struct value *value, bool constant) {
    struct value **end = &value->first;
    const char *closing = value->kind == VALUE_LIST ? "]" : "}";
    while (!parser->wrong && !parser_mark(parser, closing)) {
        struct span name = {0};
        if (value->kind == VALUE_OBJECT) {
            name = parser_name(parser);
            parser_expect(parser, ":");
        }
        *end = parse_value(parser, constant);
        (*end)->name = name;
        end = &(*end)->next;
    }
}

static void parse_scalar(struct parser *parser, struct value *value) {
    const struct token *token = &parser->token;
    value->text = token->text;
    switch (token->kind) {
    case TOKEN_INT: value->kind = VALUE_INT; break;
    case TOKEN_FLOAT: value->kind = VALUE_FLOAT; break;
    case TOKEN_STRING:
        value->kind = VALUE_STRING;
        value->text = token->value;
        break;
    case TOKEN_NAME: value->kind = word_kind(token->text); break;
    default: parser_unexpected(parser); return;
    }
    advance(parser);
}

struct value *parse_value(struct parser *parser, bool constant) {
    struct value *value = MAKE(struct value);
    *value = (struct value){.text = SPAN(""), .place = parser->token.place};
    if (!enter(parser)) return value;
    if (!constant && parser_mark(parser, "$")) {
        value->kind = VALUE_VARIABLE;
        value->text = parser_name(parser);
    } else if (parser_mark(parser, "[")) {
        value->kind = VALUE_LIST;
        parse_items(parser, value, constant);
    } else if (parser_mark(parser, "{")) {
        value->kind = VALUE_OBJECT;
        parse_items(parser, value, constant);
    } else {
        parse_scalar(parser, value);
    }
    parser->level--;
    return value;
}

static struct argument *parse_arguments(struct parser *parser, bool constant) {
    struct argument *first = NULL, **end = &first;
    if (!parser_mark(parser, "(")) return NULL;
    do {
        struct argument *argument = *end = MAKE(struct argument);
        end = &argument->next;
        argument->place = parser->token.place;
        argument->name = parser_name(parser);
        parser_expect(parser, ":");
        argument->value = parse_value(parser, constant);
    } while (!parser->wrong && !parser_mark(parser, ")"));
    return first;
}

struct directive *parse_directives(struct parser *parser, bool constant) {
    struct directive *first = NULL, **end = &first;
    while (is_mark(parser, "@")) {
        struct directive *directive = *end = MAKE(struct directive);
        end = &directive->next;
        directive->place = parser->token.place;
        parser_mark(parser, "@");
        directive->name = parser_name(parser);
        directive->arguments = parse_arguments(parser, constant);
    }
    return first;
}

/* ---- selections ---- */

static struct selection *parse_selections(struct parser *parser);

static void parse_spread(struct parser *parser, struct selection *selection) {
    if (parser->token.kind == TOKEN_NAME && !is_word(parser, "on")) {
        selection->kind = SELECT_FRAGMENT;
        selection->name = parser_name(parser);
        selection->directives = parse_directives(parser, false);
        return;
    }
    selection->kind = SELECT_INLINE;
    if (parser_word(parser, "on")) selection->on = parser_name(parser);
    selection->directives = parse_directives(parser, false);
    selection->first = parse_selections(parser);
}

static void parse_field(struct parser *parser, struct selection *selection) {
    selection->key = selection->name = parser_name(parser);
    if (parser_mark(parser, ":")) selection->name = parser_name(parser);
    selection->arguments = parse_arguments(parser, false);
    selection->directives = parse_directives(parser, false);
    if (is_mark(parser, "{")) selection->first = parse_selections(parser);
}

/* At least one, in braces. */
static struct selection *parse_selections(struct parser *parser) {
    struct selection *first = NULL, **end = &first;
    if (!enter(parser) || !parser_expect(parser, "{")) return NULL;
    do {
        struct selection *selection = *end = MAKE(struct selection);
        end = &selection->next;
        selection->place = parser->token.place;
        if (parser_mark(parser, "..."))
            parse_spread(parser, selection);
        else
            parse_field(parser, selection);
    } while (!parser->wrong && !parser_mark(parser, "}"));
    parser->level--;
    return first;
}

/* ---- definitions ---- */

static struct variable *parse_variables(struct parser *parser) {
    struct variable *first = NULL, **end = &first;
    if (!parser_mark(parser, "(")) return NULL;
    do {
        struct variable *variable = *end = MAKE(struct variable);
        end = &variable->next;
        variable->place = parser->token.place;
        parser_expect(parser, "$");
        variable->name = parser_name(parser);
        parser_expect(parser, ":");
        variable->type = parse_type(parser);
        if (parser_mark(parser, "=")) variable->fallback = parse_value(parser, true);
        parse_directives(parser, true);
    } while (!parser->wrong && !parser_mark(parser, ")"));
    return first;
}

static void parse_operation(struct parser *parser, struct operation *operation) {
    if (parser_word(parser, "mutation"))
        operation->kind = OPERATION_MUTATION;
    else if (parser_word(parser, "subscription"))
        operation->kind = OPERATION_SUBSCRIPTION;
    else if (!parser_word(parser, "query") && !is_mark(parser, "{"))
        parser_unexpected(parser);
    if (parser->token.kind == TOKEN_NAME) operation->name = parser_name(parser);
    operation->variables = parse_variables(parser);
    operation->directives = parse_directives(parser, false);
    operation->first = parse_selections(parser);
}

static void parse_fragment(struct parser *parser, struct fragment *fragment) {
    if (is_word(parser, "on")) parser_unexpected(parser); /* no name for a fragment */
    fragment->name = parser_name(parser);
    if (!parser_word(parser, "on")) parser_unexpected(parser);
    fragment->on = parser_name(parser);
    fragment->directives = parse_directives(parser, false);
    fragment->first = parse_selections(parser);
}

void document_parse(struct span text, struct document *out) {
    struct parser space, *parser = &space;
    *out = (struct document){.arena = arena_new(), .errors = json_array()};
    parser_init(parser, out->arena, text);
    struct operation **operation = &out->operations;
    struct fragment **fragment = &out->fragments;
    if (parser->token.kind == TOKEN_END || parser->token.kind == TOKEN_WRONG) parser_unexpected(parser);
    while (!parser->wrong && parser->token.kind != TOKEN_END) {
        struct place place = parser->token.place;
        if (parser_word(parser, "fragment")) {
            *fragment = MAKE(struct fragment);
            (*fragment)->place = place;
            parse_fragment(parser, *fragment);
            fragment = &(*fragment)->next;
        } else {
            *operation = MAKE(struct operation);
            (*operation)->place = place;
            parse_operation(parser, *operation);
            operation = &(*operation)->next;
        }
    }
    if (parser->wrong) document_error(out, parser->wrong_place, "%s", parser->wrong);
}

void document_done(struct document *document) {
    arena_free(document->arena);
    json_decref(document->errors);
    *document = (struct document){0};
}

struct fragment *document_fragment(const struct document *document, struct span name) {
    for (struct fragment *fragment = document->fragments; fragment; fragment = fragment->next)
        if (span_equal(fragment->name, name)) return fragment;
    return NULL;
}

void document_error(struct document *document, struct place place, const char *format, ...) {
    if (json_array_size(document->errors) >= ERRORS_MAX) return;
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    json_t *message = json_string(text);
    json_array_append_new(document->errors,
                          json_pack("{s:o,s:[{s:i,s:i}]}", "message",
                                    message ? message : json_string("Invalid UTF-8"), "locations", "line",
                                    (int)place.line, "column", (int)place.column));
}
