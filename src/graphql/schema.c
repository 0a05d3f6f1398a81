/* A schema: made of its text and its functions, looked up, and held against itself once. */
#include "inside.h"

#include <stdlib.h>

static const char scalars[] = "scalar Int scalar Float scalar String scalar Boolean scalar ID";

/* ---- looking up ---- */

const struct schema_type *schema_type(const struct graphql_schema *schema, struct span name) {
    return name.data ? map_get(schema->by_name, name) : NULL;
}

const struct schema_type *schema_root(const struct graphql_schema *schema, enum operation_kind kind) {
    return schema_type(schema, schema->roots[kind]);
}

static struct schema_field *own_field(const struct schema_type *type, struct span name) {
    for (struct schema_field *field = type ? type->fields : NULL; field; field = field->next)
        if (span_equal(field->name, name)) return field;
    return NULL;
}

const struct schema_field *schema_field(const struct graphql_schema *schema, const struct schema_type *type,
                                        struct span name) {
    const struct schema_field *field = own_field(type, name);
    if (field || !span_starts(name, "__")) return field;
    /* __Introspection has what every type has, and what the query's root has besides. */
    bool is_root = type == schema_root(schema, OPERATION_QUERY);
    if (!span_is(name, "__typename") && !is_root) return NULL;
    return own_field(schema_type(schema, SPAN("__Introspection")), name);
}

bool schema_is_composite(const struct schema_type *type) {
    return type->kind == KIND_OBJECT || type->kind == KIND_INTERFACE || type->kind == KIND_UNION;
}

static bool has_name(const struct schema_name *names, struct span name) {
    for (; names; names = names->next)
        if (span_equal(names->name, name)) return true;
    return false;
}

bool schema_fits(const struct schema_type *object, const struct schema_type *condition) {
    return object == condition ||
           (condition->kind == KIND_INTERFACE && has_name(object->interfaces, condition->name)) ||
           (condition->kind == KIND_UNION && has_name(condition->members, object->name));
}

bool schema_may_overlap(const struct graphql_schema *schema, const struct schema_type *a,
                        const struct schema_type *b) {
    for (const struct schema_type *type = schema->types; type; type = type->next)
        if (type->kind == KIND_OBJECT && schema_fits(type, a) && schema_fits(type, b)) return true;
    return false;
}

/* ---- printing ---- */

void type_print(const struct type *type, struct text *out) {
    if (type->of) {
        text_add_char(out, '[');
        type_print(type->of, out);
        text_add_char(out, ']');
    } else {
        text_add(out, type->name);
    }
    if (type->required) text_add_char(out, '!');
}

void value_print(const struct value *value, struct text *out) {
    switch (value->kind) {
    case VALUE_VARIABLE: text_add_char(out, '$'); break;
    case VALUE_STRING: text_add_json(out, value->text); return;
    case VALUE_LIST:
    case VALUE_OBJECT:
        text_add_char(out, value->kind == VALUE_LIST ? '[' : '{');
        for (const struct value *item = value->first; item; item = item->next) {
            if (item != value->first) text_add(out, SPAN(", "));
            if (value->kind == VALUE_OBJECT) text_printf(out, SPAN_FORMAT ": ", SPAN_ARGS(item->name));
            value_print(item, out);
        }
        text_add_char(out, value->kind == VALUE_LIST ? ']' : '}');
        return;
    default: break;
    }
    text_add(out, value->text);
}

/* ---- making ---- */

static struct error *check_type(const struct graphql_schema *schema, const struct schema_type *in,
                                struct span name) {
    if (schema_type(schema, name)) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT,
                     "schema: " SPAN_FORMAT " names a type " SPAN_FORMAT " that is not there",
                     SPAN_ARGS(in->name), SPAN_ARGS(name));
}

static struct error *check_names(const struct graphql_schema *schema) {
    for (const struct schema_type *type = schema->types; type; type = type->next) {
        for (const struct schema_field *field = type->fields; field; field = field->next) {
            TRY_PLAIN(check_type(schema, type, field->type->name));
            for (const struct schema_input *input = field->arguments; input; input = input->next)
                TRY_PLAIN(check_type(schema, type, input->type->name));
        }
        for (const struct schema_input *input = type->inputs; input; input = input->next)
            TRY_PLAIN(check_type(schema, type, input->type->name));
        for (const struct schema_name *name = type->interfaces; name; name = name->next)
            TRY_PLAIN(check_type(schema, type, name->name));
        for (const struct schema_name *name = type->members; name; name = name->next)
            TRY_PLAIN(check_type(schema, type, name->name));
    }
    if (!schema_root(schema, OPERATION_QUERY))
        return error_new(ERROR_INVALID_ARGUMENT, "schema: there is no type for queries");
    return NULL;
}

static struct error *put_resolvers(struct graphql_schema *schema, const struct graphql_resolver *resolvers) {
    for (; resolvers && resolvers->field; resolvers++) {
        struct span name = span_of(resolvers->field), type = span_cut(&name, '.');
        struct schema_field *field = own_field(schema_type(schema, type), name);
        if (!field)
            return error_new(ERROR_INVALID_ARGUMENT, "schema: there is no field %s to be resolved",
                             resolvers->field);
        field->resolve = resolvers->resolve;
    }
    return NULL;
}

struct error *graphql_schema_new(const struct graphql_schema_options *options,
                                 struct graphql_schema **ret_schema) {
    static const char *const roots[] = {"Query", "Mutation", "Subscription"};
    scoped(graphql_schema) struct graphql_schema *schema = NEW(struct graphql_schema);
    schema->arena = arena_new();
    schema->by_name = map_new();
    schema->extend = options->extend;
    TRY_PLAIN(sdl_read(schema, options->text));
    TRY_PLAIN(sdl_read(schema, scalars));
    TRY_PLAIN(sdl_read(schema, introspection_types));
    for (size_t i = 0; i < COUNT(roots); i++)
        if (!schema->roots[i].data && map_get(schema->by_name, span_of(roots[i])))
            schema->roots[i] = span_of(roots[i]);
    TRY_PLAIN(check_names(schema));
    TRY_PLAIN(put_resolvers(schema, introspection_resolvers));
    TRY_PLAIN(put_resolvers(schema, options->resolvers));
    *ret_schema = take(schema);
    return NULL;
}

void graphql_schema_free(struct graphql_schema *schema) {
    if (!schema) return;
    map_free(schema->by_name);
    arena_free(schema->arena);
    free(schema);
}
