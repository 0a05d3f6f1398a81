/* The schema told in itself (GraphQL, section 4): __schema, __type, __typename.
 *
 * A type on its way is a JSON string in the schema's own notation, such as "[User!]!": each wrapper is peeled
 * off when ofType is asked for, so that the endless tree of types is built only as far as somebody looks. */
#include "inside.h"

const char introspection_types[] =
    "type __Introspection { __typename: String! __schema: __Schema! __type(name: String!): __Type }"
    "type __Schema { description: String types: [__Type!]! queryType: __Type! mutationType: __Type"
    " subscriptionType: __Type directives: [__Directive!]! }"
    "type __Type { kind: __TypeKind! name: String description: String specifiedByURL: String specifiedByUrl: "
    "String"
    " fields(includeDeprecated: Boolean = false): [__Field!] interfaces: [__Type!] possibleTypes: [__Type!]"
    " enumValues(includeDeprecated: Boolean = false): [__EnumValue!]"
    " inputFields(includeDeprecated: Boolean = false): [__InputValue!] ofType: __Type isOneOf: Boolean }"
    "type __Field { name: String! description: String args(includeDeprecated: Boolean = false): "
    "[__InputValue!]!"
    " type: __Type! isDeprecated: Boolean! deprecationReason: String }"
    "type __InputValue { name: String! description: String type: __Type! defaultValue: String"
    " isDeprecated: Boolean! deprecationReason: String }"
    "type __EnumValue { name: String! description: String isDeprecated: Boolean! deprecationReason: String }"
    "type __Directive { name: String! description: String isRepeatable: Boolean! locations: "
    "[__DirectiveLocation!]!"
    " args(includeDeprecated: Boolean = false): [__InputValue!]! }"
    "enum __TypeKind { SCALAR OBJECT INTERFACE UNION ENUM INPUT_OBJECT LIST NON_NULL }"
    "enum __DirectiveLocation { QUERY MUTATION SUBSCRIPTION FIELD FRAGMENT_DEFINITION FRAGMENT_SPREAD "
    "INLINE_FRAGMENT"
    " VARIABLE_DEFINITION SCHEMA SCALAR OBJECT FIELD_DEFINITION ARGUMENT_DEFINITION INTERFACE UNION ENUM "
    "ENUM_VALUE"
    " INPUT_OBJECT INPUT_FIELD_DEFINITION }";

static json_t *span_json(struct span text) {
    return text.data ? json_stringn(text.data, text.size) : json_null();
}

static json_t *type_json(const struct type *type) {
    scoped_text struct text out = {0};
    type_print(type, &out);
    return json_stringn(out.data, out.size);
}

/* ---- __Schema ---- */

/* The run hands the schema on as the parent of __Schema's fields would be: it is in `context` of these calls.
 */
static const struct graphql_schema *schema_of(const struct graphql_call *call) {
    return call->context;
}

static struct error *schema_value(struct graphql_call *call, json_t **ret) {
    (void)call;
    *ret = json_object();
    return NULL;
}

static struct error *named_type(struct graphql_call *call, json_t **ret) {
    const char *name = json_string_value(json_object_get(call->arguments, "name"));
    if (name && schema_type(schema_of(call), span_of(name))) *ret = json_string(name);
    return NULL;
}

static struct error *types(struct graphql_call *call, json_t **ret) {
    *ret = json_array();
    for (const struct schema_type *type = schema_of(call)->types; type; type = type->next)
        if (!span_is(type->name, "__Introspection")) json_array_append_new(*ret, span_json(type->name));
    return NULL;
}

static struct error *query_root(struct graphql_call *call, json_t **ret) {
    *ret = span_json(schema_of(call)->roots[OPERATION_QUERY]);
    return NULL;
}
static struct error *mutation_root(struct graphql_call *call, json_t **ret) {
    *ret = span_json(schema_of(call)->roots[OPERATION_MUTATION]);
    return NULL;
}
static struct error *subscription_root(struct graphql_call *call, json_t **ret) {
    *ret = span_json(schema_of(call)->roots[OPERATION_SUBSCRIPTION]);
    return NULL;
}

static json_t *conditional(const char *name, const char *description) {
    return json_pack("{s:s,s:s,s:b,s:[s,s,s],s:[{s:s,s:s,s:s,s:n,s:b,s:n}]}", "name", name, "description",
                     description, "isRepeatable", false, "locations", "FIELD", "FRAGMENT_SPREAD",
                     "INLINE_FRAGMENT", "args", "name", "if", "description", "The condition.", "type",
                     "Boolean!", "defaultValue", "isDeprecated", false, "deprecationReason");
}

static struct error *directives(struct graphql_call *call, json_t **ret) {
    (void)call;
    *ret = json_array();
    json_array_append_new(*ret, conditional("include", "Included only where the condition is true."));
    json_array_append_new(*ret, conditional("skip", "Left out where the condition is true."));
    return NULL;
}

/* ---- __Type ---- */

/* The type that the parent names; NULL: it is a list or has a !. */
static const struct schema_type *this_type(const struct graphql_call *call) {
    const char *text = json_string_value(call->parent);
    return text ? schema_type(schema_of(call), span_of(text)) : NULL;
}

static struct error *kind(struct graphql_call *call, json_t **ret) {
    static const char *const names[] = {
        [KIND_SCALAR] = "SCALAR", [KIND_OBJECT] = "OBJECT", [KIND_INTERFACE] = "INTERFACE",
        [KIND_UNION] = "UNION",   [KIND_ENUM] = "ENUM",     [KIND_INPUT] = "INPUT_OBJECT"};
    struct span text = span_of(json_string_value(call->parent));
    const struct schema_type *type = this_type(call);
    *ret = json_string(span_ends(text, "!")     ? "NON_NULL"
                       : span_starts(text, "[") ? "LIST"
                                                : names[type->kind]);
    return NULL;
}

static struct error *name(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    *ret = type ? span_json(type->name) : json_null();
    return NULL;
}

static struct error *description(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    *ret = type ? span_json(type->description) : json_null();
    return NULL;
}

static struct error *of_type(struct graphql_call *call, json_t **ret) {
    struct span text = span_of(json_string_value(call->parent));
    if (span_ends(text, "!"))
        *ret = json_stringn(text.data, text.size - 1);
    else if (span_starts(text, "["))
        *ret = json_stringn(text.data + 1, text.size - 2);
    return NULL;
}

static json_t *input_json(const struct schema_input *input) {
    scoped_text struct text fallback = {0};
    if (input->fallback) value_print(input->fallback, &fallback);
    return json_pack("{s:o,s:o,s:o,s:o,s:b,s:n}", "name", span_json(input->name), "description",
                     span_json(input->description), "type", type_json(input->type), "defaultValue",
                     span_json(text_span(&fallback)), "isDeprecated", false, "deprecationReason");
}

static json_t *inputs_json(const struct schema_input *input) {
    json_t *array = json_array();
    for (; input; input = input->next) json_array_append_new(array, input_json(input));
    return array;
}

static bool is_shown(const struct graphql_call *call, struct span deprecated) {
    return !deprecated.data || json_is_true(json_object_get(call->arguments, "includeDeprecated"));
}

static struct error *fields(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    if (!type || (type->kind != KIND_OBJECT && type->kind != KIND_INTERFACE)) return NULL;
    *ret = json_array();
    for (const struct schema_field *field = type->fields; field; field = field->next)
        if (is_shown(call, field->deprecated))
            json_array_append_new(
                *ret, json_pack("{s:o,s:o,s:o,s:o,s:b,s:o}", "name", span_json(field->name), "description",
                                span_json(field->description), "args", inputs_json(field->arguments), "type",
                                type_json(field->type), "isDeprecated", field->deprecated.data != NULL,
                                "deprecationReason", span_json(field->deprecated)));
    return NULL;
}

static struct error *interfaces(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    if (!type || (type->kind != KIND_OBJECT && type->kind != KIND_INTERFACE)) return NULL;
    *ret = json_array();
    for (const struct schema_name *n = type->interfaces; n; n = n->next)
        json_array_append_new(*ret, span_json(n->name));
    return NULL;
}

static struct error *possible_types(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    if (!type || (type->kind != KIND_UNION && type->kind != KIND_INTERFACE)) return NULL;
    *ret = json_array();
    for (const struct schema_type *other = schema_of(call)->types; other; other = other->next)
        if (other->kind == KIND_OBJECT && schema_fits(other, type))
            json_array_append_new(*ret, span_json(other->name));
    return NULL;
}

static struct error *enum_values(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    if (!type || type->kind != KIND_ENUM) return NULL;
    *ret = json_array();
    for (const struct schema_name *value = type->values; value; value = value->next)
        if (is_shown(call, value->deprecated))
            json_array_append_new(*ret, json_pack("{s:o,s:o,s:b,s:o}", "name", span_json(value->name),
                                                  "description", span_json(value->description),
                                                  "isDeprecated", value->deprecated.data != NULL,
                                                  "deprecationReason", span_json(value->deprecated)));
    return NULL;
}

static struct error *input_fields(struct graphql_call *call, json_t **ret) {
    const struct schema_type *type = this_type(call);
    if (type && type->kind == KIND_INPUT) *ret = inputs_json(type->inputs);
    return NULL;
}

const struct graphql_resolver introspection_resolvers[] = {
    {"__Introspection.__schema", schema_value},
    {"__Introspection.__type", named_type},
    {"__Schema.types", types},
    {"__Schema.queryType", query_root},
    {"__Schema.mutationType", mutation_root},
    {"__Schema.subscriptionType", subscription_root},
    {"__Schema.directives", directives},
    {"__Type.kind", kind},
    {"__Type.name", name},
    {"__Type.description", description},
    {"__Type.ofType", of_type},
    {"__Type.fields", fields},
    {"__Type.interfaces", interfaces},
    {"__Type.possibleTypes", possible_types},
    {"__Type.enumValues", enum_values},
    {"__Type.inputFields", input_fields},
    {NULL, NULL},
};
