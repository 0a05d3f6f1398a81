/* A document held against the schema (GraphQL, section 5), before anything is carried out.
 *
 * First each operation and each fragment by itself: names, arguments, literals, what may be spread where.
 * Then each operation through all fragments that it uses, for its variables. Cycles are found before that, so
 * that all walks end. */
#include "inside.h"

#include <stdlib.h>

struct check {
    struct document *document;
    const struct graphql_schema *schema;
    struct operation *operation; /* NULL: the first way of looking */
};

static void complain(struct check *check, struct place place, const char *format, ...) printf_like(3, 4);
static void complain(struct check *check, struct place place, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    document_error(check->document, place, "%s", text);
}

/* ---- variables ---- */

static struct variable *find_variable(const struct operation *operation, struct span name) {
    for (struct variable *v = operation->variables; v; v = v->next)
        if (span_equal(v->name, name)) return v;
    return NULL;
}

static bool is_usable(const struct type *given, const struct type *wanted) {
    if (wanted->required && !given->required) return false;
    if (wanted->of || given->of) return wanted->of && given->of && is_usable(given->of, wanted->of);
    return span_equal(given->name, wanted->name);
}

static void use_variable(struct check *check, const struct value *value, const struct type *wanted,
                         bool has_fallback) {
    struct variable *variable = find_variable(check->operation, value->text);
    if (!variable)
        return complain(check, value->place, "Variable \"$" SPAN_FORMAT "\" is not defined",
                        SPAN_ARGS(value->text));
    variable->used = true;
    struct type as_if = *variable->type;
    if (has_fallback || (variable->fallback && variable->fallback->kind != VALUE_NULL)) as_if.required = true;
    if (is_usable(&as_if, wanted)) return;
    scoped_text struct text given = {0}, position = {0};
    type_print(variable->type, &given);
    type_print(wanted, &position);
    complain(check, value->place,
             "Variable \"$" SPAN_FORMAT "\" of type \"%s\" used in position expecting type \"%s\"",
             SPAN_ARGS(value->text), given.data, position.data);
}

static const struct schema_input *find_input(const struct schema_input *inputs, struct span name) {
    for (; inputs; inputs = inputs->next)
        if (span_equal(inputs->name, name)) return inputs;
    return NULL;
}

static void use_variables(struct check *check, const struct value *value, const struct type *wanted,
                          bool has_fallback) {
    if (value->kind == VALUE_VARIABLE) return use_variable(check, value, wanted, has_fallback);
    const struct schema_type *type = schema_type(check->schema, wanted->name);
    for (const struct value *item = value->first; item; item = item->next) {
        const struct schema_input *input =
            value->kind == VALUE_OBJECT ? find_input(type->inputs, item->name) : NULL;
        if (value->kind == VALUE_LIST && wanted->of) use_variables(check, item, wanted->of, false);
        if (input) use_variables(check, item, input->type, input->fallback != NULL);
    }
}

/* ---- arguments ---- */

static const struct type condition_type = {.name = {"Boolean", 7}, .required = true};
static const struct schema_input condition = {.name = {"if", 2}, .type = (struct type *)&condition_type};

static void check_argument(struct check *check, const struct schema_input *input,
                           const struct argument *argument) {
    if (check->operation) return use_variables(check, argument->value, input->type, input->fallback != NULL);
    struct coercion coercion = {.schema = check->schema};
    scoped_json json_t *unused = NULL;
    scoped(error) struct error *error = coerce_literal(&coercion, argument->value, input->type, &unused);
    if (!error) return;
    scoped_string char *text = error_text(error);
    complain(check, argument->value->place, "Invalid value for argument \"" SPAN_FORMAT "\", %s",
             SPAN_ARGS(input->name), text);
}

static void check_arguments(struct check *check, const struct schema_input *wanted,
                            const struct argument *given, const char *of, struct place place) {
    for (const struct argument *argument = given; argument; argument = argument->next) {
        const struct schema_input *input = find_input(wanted, argument->name);
        if (input) check_argument(check, input, argument);
        if (check->operation) continue;
        if (!input)
            complain(check, argument->place, "Unknown argument \"" SPAN_FORMAT "\" on %s",
                     SPAN_ARGS(argument->name), of);
        for (const struct argument *other = argument->next; other; other = other->next)
            if (span_equal(other->name, argument->name))
                complain(check, other->place, "There can only be one argument named \"" SPAN_FORMAT "\"",
                         SPAN_ARGS(other->name));
    }
    for (const struct schema_input *input = wanted; input && !check->operation; input = input->next) {
        bool is_given = false;
        for (const struct argument *argument = given; argument; argument = argument->next)
            is_given |= span_equal(argument->name, input->name);
        if (is_given || !input->type->required || input->fallback) continue;
        scoped_text struct text type = {0};
        type_print(input->type, &type);
        complain(check, place,
                 "Argument \"" SPAN_FORMAT "\" of type \"%s\" is required on %s but it was not provided",
                 SPAN_ARGS(input->name), type.data, of);
    }
}

static void check_directives(struct check *check, const struct directive *directives) {
    for (const struct directive *d = directives; d; d = d->next) {
        scoped_string char *of = mem_printf("directive \"@" SPAN_FORMAT "\"", SPAN_ARGS(d->name));
        if (span_is(d->name, "skip") || span_is(d->name, "include"))
            check_arguments(check, &condition, d->arguments, of, d->place);
        else if (!check->operation)
            complain(check, d->place, "Unknown directive \"" SPAN_FORMAT "\"", SPAN_ARGS(d->name));
    }
}

/* ---- selections ---- */

static void check_selections(struct check *check, const struct schema_type *type,
                             const struct selection *first);

static void check_leaf(struct check *check, const struct selection *selection,
                       const struct schema_field *field, const struct schema_type *type) {
    scoped_text struct text printed = {0};
    type_print(field->type, &printed);
    if (schema_is_composite(type) && !selection->first)
        complain(check, selection->place,
                 "Field \"" SPAN_FORMAT
                 "\" of type \"%s\" must have a selection of subfields. Did you mean \"" SPAN_FORMAT
                 " { ... }\"?",
                 SPAN_ARGS(selection->name), printed.data, SPAN_ARGS(selection->name));
    if (!schema_is_composite(type) && selection->first)
        complain(check, selection->place,
                 "Field \"" SPAN_FORMAT "\" must not have a selection since type %s has no subfields",
                 SPAN_ARGS(selection->name), printed.data);
}

static void check_field(struct check *check, const struct schema_type *type,
                        const struct selection *selection) {
    const struct schema_field *field = schema_field(check->schema, type, selection->name);
    if (!field) {
        if (!check->operation)
            complain(check, selection->place, "Unknown field \"" SPAN_FORMAT "\" on type \"" SPAN_FORMAT "\"",
                     SPAN_ARGS(selection->name), SPAN_ARGS(type->name));
        return;
    }
    scoped_string char *of = mem_printf("field \"" SPAN_FORMAT "\" of type \"" SPAN_FORMAT "\"",
                                        SPAN_ARGS(selection->name), SPAN_ARGS(type->name));
    check_arguments(check, field->arguments, selection->arguments, of, selection->place);
    const struct schema_type *inner = schema_type(check->schema, field->type->name);
    if (!check->operation) check_leaf(check, selection, field, inner);
    if (schema_is_composite(inner) && selection->first) check_selections(check, inner, selection->first);
}

/* The type of a fragment's inside; NULL: there is none, and it was told. */
static const struct schema_type *fragment_type(struct check *check, struct span on, struct place place) {
    const struct schema_type *type = schema_type(check->schema, on);
    if (type && schema_is_composite(type)) return type;
    if (check->operation) return NULL;
    if (type)
        complain(check, place, "Fragment cannot condition on non composite type \"" SPAN_FORMAT "\"",
                 SPAN_ARGS(on));
    else
        complain(check, place, "Unknown type \"" SPAN_FORMAT "\"", SPAN_ARGS(on));
    return NULL;
}

static void check_overlap(struct check *check, const struct schema_type *type,
                          const struct schema_type *inner, struct place place) {
    if (check->operation || !inner || schema_may_overlap(check->schema, type, inner)) return;
    complain(check, place,
             "Fragment cannot be spread here as objects of type \"" SPAN_FORMAT
             "\" can never be of type \"" SPAN_FORMAT "\"",
             SPAN_ARGS(type->name), SPAN_ARGS(inner->name));
}

static void check_spread(struct check *check, const struct schema_type *type,
                         const struct selection *selection) {
    struct fragment *fragment = document_fragment(check->document, selection->name);
    if (!fragment) {
        if (!check->operation)
            complain(check, selection->place, "Unknown fragment: \"" SPAN_FORMAT "\"",
                     SPAN_ARGS(selection->name));
        return;
    }
    const struct schema_type *inner = schema_type(check->schema, fragment->on);
    if (inner && schema_is_composite(inner)) check_overlap(check, type, inner, selection->place);
    if (!check->operation || fragment->visited == check->document->round) return;
    fragment->visited = check->document->round;
    fragment->used = true;
    check_directives(check, fragment->directives);
    if (inner && schema_is_composite(inner)) check_selections(check, inner, fragment->first);
}

static void check_selections(struct check *check, const struct schema_type *type,
                             const struct selection *first) {
    for (const struct selection *selection = first; selection; selection = selection->next) {
        check_directives(check, selection->directives);
        if (selection->kind == SELECT_FIELD) check_field(check, type, selection);
        if (selection->kind == SELECT_FRAGMENT) check_spread(check, type, selection);
        if (selection->kind != SELECT_INLINE) continue;
        const struct schema_type *inner =
            selection->on.data ? fragment_type(check, selection->on, selection->place) : type;
        check_overlap(check, type, inner, selection->place);
        if (inner) check_selections(check, inner, selection->first);
    }
}

/* ---- fragments ---- */

static void find_cycle(struct check *check, const struct selection *first);

static void enter_fragment(struct check *check, struct fragment *fragment, struct place place) {
    if (fragment->entered) {
        complain(check, place, "Cannot spread fragment \"" SPAN_FORMAT "\" within itself",
                 SPAN_ARGS(fragment->name));
        return;
    }
    if (fragment->visited == check->document->round) return;
    fragment->visited = check->document->round;
    fragment->entered = true;
    find_cycle(check, fragment->first);
    fragment->entered = false;
}

static void find_cycle(struct check *check, const struct selection *first) {
    for (const struct selection *selection = first; selection; selection = selection->next) {
        struct fragment *fragment =
            selection->kind == SELECT_FRAGMENT ? document_fragment(check->document, selection->name) : NULL;
        if (fragment) enter_fragment(check, fragment, selection->place);
        find_cycle(check, selection->first);
    }
}

static void check_fragments(struct check *check) {
    check->document->round++;
    for (struct fragment *fragment = check->document->fragments; fragment; fragment = fragment->next) {
        enter_fragment(check, fragment, fragment->place);
        check_directives(check, fragment->directives);
        const struct schema_type *type = fragment_type(check, fragment->on, fragment->place);
        if (type) check_selections(check, type, fragment->first);
        if (document_fragment(check->document, fragment->name) != fragment)
            complain(check, fragment->place, "There can only be one fragment named " SPAN_FORMAT,
                     SPAN_ARGS(fragment->name));
    }
}

/* ---- operations ---- */

static void check_variables(struct check *check, struct operation *operation) {
    for (struct variable *v = operation->variables; v; v = v->next) {
        const struct schema_type *type = schema_type(check->schema, v->type->name);
        if (!type || schema_is_composite(type))
            complain(check, v->place,
                     type ? "Variable \"$" SPAN_FORMAT "\" cannot be of non-input type \"" SPAN_FORMAT "\""
                          : "Variable \"$" SPAN_FORMAT "\": unknown type \"" SPAN_FORMAT "\"",
                     SPAN_ARGS(v->name), SPAN_ARGS(v->type->name));
        if (find_variable(operation, v->name) != v)
            complain(check, v->place, "There can only be one variable named \"$" SPAN_FORMAT "\"",
                     SPAN_ARGS(v->name));
        if (!type || schema_is_composite(type) || !v->fallback) continue;
        struct coercion coercion = {.schema = check->schema};
        scoped_json json_t *unused = NULL;
        scoped(error) struct error *error = coerce_literal(&coercion, v->fallback, v->type, &unused);
        if (!error) continue;
        scoped_string char *text = error_text(error);
        complain(check, v->place, "Invalid default value for argument \"$" SPAN_FORMAT "\", %s",
                 SPAN_ARGS(v->name), text);
    }
}

static void check_names(struct check *check, const struct operation *operation) {
    const struct operation *first = check->document->operations;
    if (!operation->name.data && first->next)
        complain(check, operation->place, "This anonymous operation must be the only defined operation");
    for (const struct operation *other = first; operation->name.data && other != operation;
         other = other->next)
        if (other->name.data && span_equal(other->name, operation->name))
            complain(check, operation->place, "There can only be one operation named " SPAN_FORMAT,
                     SPAN_ARGS(operation->name));
}

static void check_operation(struct check *check, struct operation *operation) {
    static const char *const words[] = {"queries", "mutations", "subscriptions"};
    const struct schema_type *root = schema_root(check->schema, operation->kind);
    check_names(check, operation);
    check_variables(check, operation);
    check_directives(check, operation->directives);
    if (!root)
        return complain(check, operation->place, "There are no %s in this schema", words[operation->kind]);
    if (operation->kind == OPERATION_SUBSCRIPTION &&
        (!operation->first || operation->first->next || operation->first->kind != SELECT_FIELD))
        complain(check, operation->place, "A subscription must have exactly one root field");
    check_selections(check, root, operation->first);
}

static void follow_variables(struct check *check, struct operation *operation) {
    const struct schema_type *root = schema_root(check->schema, operation->kind);
    check->operation = operation;
    check->document->round++;
    check_directives(check, operation->directives);
    if (root) check_selections(check, root, operation->first);
    check->operation = NULL;
    for (struct variable *v = operation->variables; v && root; v = v->next)
        if (!v->used)
            complain(check, v->place, "Variable \"$" SPAN_FORMAT "\" is not used", SPAN_ARGS(v->name));
}

void document_check(struct document *document, const struct graphql_schema *schema) {
    struct check check = {.document = document, .schema = schema};
    check_fragments(&check);
    for (struct operation *operation = document->operations; operation; operation = operation->next)
        check_operation(&check, operation);
    if (json_array_size(document->errors) > 0) return;
    for (struct operation *operation = document->operations; operation; operation = operation->next)
        follow_variables(&check, operation);
    for (const struct fragment *fragment = document->fragments; fragment; fragment = fragment->next)
        if (!fragment->used)
            complain(&check, fragment->place, "Fragment \"" SPAN_FORMAT "\" is never used",
                     SPAN_ARGS(fragment->name));
}
