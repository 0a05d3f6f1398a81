/* What the files of graphql share: a document as a tree (all of it in one arena), and the schema.
 *
 *   text -lex-> tokens -parse-> document -check-> (valid) -run-> JSON
 *   schema text -lex-> tokens -sdl-> schema_type, schema_field */
#pragma once
#include "graphql.h"

#define LEVELS_MAX 64
#define TOKENS_MAX 20000
#define FIELDS_MAX 100000
#define ERRORS_MAX 100

struct place {
    uint32_t line, column; /* from 1 */
};

/* ---- lex.c ---- */
enum token_kind { TOKEN_END, TOKEN_MARK, TOKEN_NAME, TOKEN_INT, TOKEN_FLOAT, TOKEN_STRING, TOKEN_WRONG };
struct token {
    enum token_kind kind;
    struct span text;  /* as written; a mark is one of ! $ & ( ) ... : = @ [ ] { | } */
    struct span value; /* of a string: what it means */
    struct place place;
};
struct lexer {
    struct arena *arena;
    struct span rest;
    struct place place;
    size_t tokens;
    const char *wrong; /* why the last token is TOKEN_WRONG */
};
void lex_next(struct lexer *lexer, struct token *out);

/* ---- trees ---- */
struct type {
    struct span name; /* of what is named, below all wrappers */
    struct type *of;  /* of a list */
    bool required;    /* the ! behind it */
};
enum value_kind {
    VALUE_NULL,
    VALUE_VARIABLE,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_BOOLEAN,
    VALUE_ENUM,
    VALUE_LIST,
    VALUE_OBJECT
};
struct value {
    enum value_kind kind;
    struct span text;    /* a name without $, digits, a string's meaning */
    struct span name;    /* of a field of an object */
    struct value *first; /* of a list or an object */
    struct value *next;
    struct place place;
};
struct argument {
    struct span name;
    struct value *value;
    struct argument *next;
    struct place place;
};
struct directive {
    struct span name;
    struct argument *arguments;
    struct directive *next;
    struct place place;
};
enum selection_kind { SELECT_FIELD, SELECT_FRAGMENT, SELECT_INLINE };
struct selection {
    enum selection_kind kind;
    struct span key;  /* in the answer: alias, else name */
    struct span name; /* of the field, or of the fragment */
    struct span on;   /* of an inline fragment; data NULL: as its parent */
    struct argument *arguments;
    struct directive *directives;
    struct selection *first, *next;
    struct place place;
};
struct variable {
    struct span name;
    struct type *type;
    struct value *fallback;
    bool used;
    struct variable *next;
    struct place place;
};
enum operation_kind { OPERATION_QUERY, OPERATION_MUTATION, OPERATION_SUBSCRIPTION };
struct operation {
    enum operation_kind kind;
    struct span name; /* data NULL: none */
    struct variable *variables;
    struct directive *directives;
    struct selection *first;
    struct operation *next;
    struct place place;
};
struct fragment {
    struct span name, on;
    struct directive *directives;
    struct selection *first;
    struct fragment *next;
    struct place place;
    bool used;
    uint32_t visited; /* the last round that came by */
    bool entered;     /* while its inside is looked at: a cycle ends here */
};
struct document {
    struct arena *arena;
    struct operation *operations;
    struct fragment *fragments;
    uint32_t round;
    json_t *errors; /* of parse and check: [{message, locations}] */
};

/* ---- parse.c ---- */
struct parser {
    struct lexer lexer;
    struct token token; /* the next one */
    uint32_t level;
    char *wrong; /* the first thing that was; NULL: none. In the arena */
    struct place wrong_place;
};
void parser_init(struct parser *parser, struct arena *arena, struct span text);
void parser_fail(struct parser *parser, const char *format, ...) printf_like(2, 3);
void parser_unexpected(struct parser *parser);
bool parser_mark(struct parser *parser, const char *mark); /* takes it, if it is next */
bool parser_expect(struct parser *parser, const char *mark);
bool parser_word(struct parser *parser, const char *word);
struct span parser_name(struct parser *parser);
struct type *parse_type(struct parser *parser);
struct value *parse_value(struct parser *parser, bool constant);
struct directive *parse_directives(struct parser *parser, bool constant);
/* Errors go to document->errors. */
void document_parse(struct span text, struct document *out);
void document_done(struct document *document);
struct fragment *document_fragment(const struct document *document, struct span name);
void document_error(struct document *document, struct place place, const char *format, ...) printf_like(3, 4);

/* ---- schema.c, sdl.c ---- */
enum type_kind { KIND_SCALAR, KIND_OBJECT, KIND_INTERFACE, KIND_UNION, KIND_ENUM, KIND_INPUT };
struct schema_input {
    struct span name, description;
    struct type *type;
    struct value *fallback;
    struct schema_input *next;
};
struct schema_field {
    struct span name, description, deprecated; /* deprecated: why; data NULL: it is not */
    struct type *type;
    struct schema_input *arguments;
    struct error *(*resolve)(struct graphql_call *call, json_t **ret_value); /* or NULL */
    struct schema_field *next;
};
struct schema_name { /* an interface, a member of a union, a value of an enum */
    struct span name, description, deprecated;
    struct schema_name *next;
};
struct schema_type {
    enum type_kind kind;
    struct span name, description;
    struct schema_field *fields;
    struct schema_input *inputs;
    struct schema_name *interfaces, *members, *values;
    struct schema_type *next;
};
struct graphql_schema {
    struct arena *arena;
    struct map *by_name;
    struct schema_type *types, *last; /* in order of the text */
    struct span roots[3];             /* by operation_kind; data NULL: none */
    json_t *(*extend)(const struct error *error);
};
must_check struct error *sdl_read(struct graphql_schema *schema, const char *text);
const struct schema_type *schema_type(const struct graphql_schema *schema, struct span name);
const struct schema_type *schema_root(const struct graphql_schema *schema, enum operation_kind kind);
/* Also __typename anywhere, and __schema and __type in the query's root. */
const struct schema_field *schema_field(const struct graphql_schema *schema, const struct schema_type *type,
                                        struct span name);
bool schema_is_composite(const struct schema_type *type);
/* Whether an object of the type may be what `condition` names. */
bool schema_fits(const struct schema_type *object, const struct schema_type *condition);
bool schema_may_overlap(const struct graphql_schema *schema, const struct schema_type *a,
                        const struct schema_type *b);
void type_print(const struct type *type, struct text *out);
void value_print(const struct value *value, struct text *out);

/* ---- introspect.c ---- */
extern const char introspection_types[];
extern const struct graphql_resolver introspection_resolvers[];

/* ---- coerce.c: values of the types that the schema names ---- */
struct coercion {
    const struct graphql_schema *schema;
    const json_t *variables; /* coerced already; NULL: a variable is taken for right */
};
/* What is wrong: INVALID_ARGUMENT. *ret NULL: a variable that was not given. */
must_check struct error *coerce_literal(const struct coercion *coercion, const struct value *value,
                                        const struct type *type, json_t **ret);
must_check struct error *coerce_json(const struct coercion *coercion, const json_t *value,
                                     const struct type *type, json_t **ret);
must_check struct error *coerce_arguments(const struct coercion *coercion, const struct schema_input *wanted,
                                          const struct argument *given, json_t **ret);

/* ---- check.c ---- */
void document_check(struct document *document, const struct graphql_schema *schema);

/* ---- run.c ---- */
struct run {
    const struct graphql_schema *schema;
    struct document *document;
    struct coercion coercion;
    void *context;
    json_t *errors;
    size_t fields; /* made so far */
    bool too_much;
};
/* The data of an operation; NULL: null, as a required field failed. `root` is the parent of its fields. */
json_t *run_operation(struct run *run, const struct operation *operation, const json_t *root);
bool run_is_selected(struct run *run, const struct directive *directives);
void run_error(struct run *run, struct place place, const json_t *path, struct error *error,
               json_t *extensions);
