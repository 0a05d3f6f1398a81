/* Values to the types that the schema names (GraphQL, sections 3.5 to 3.12 and 6.1.2): literals of a
 * document, and the JSON of variables. A single value where a list is wanted is a list of one. */
#include "inside.h"

#include <math.h>
#include <stdlib.h>

static struct error *mismatch(const struct type *type, const char *found) {
    scoped_text struct text wanted = {0};
    type_print(type, &wanted);
    return error_new(ERROR_INVALID_ARGUMENT, "expected type \"%s\", found %s", wanted.data, found);
}

static bool is_enum_value(const struct schema_type *type, struct span name) {
    for (const struct schema_name *value = type->values; value; value = value->next)
        if (span_equal(value->name, name)) return true;
    return false;
}

/* ---- scalars ---- */

static json_t *int_json(int64_t number) {
    return number >= INT32_MIN && number <= INT32_MAX ? json_integer(number) : NULL;
}

static json_t *scalar_of_literal(const struct schema_type *type, const struct value *value) {
    int64_t number = 0;
    if (value->kind == VALUE_INT && span_is(type->name, "Int"))
        return span_to_i64(value->text, &number) ? int_json(number) : NULL;
    if ((value->kind == VALUE_INT || value->kind == VALUE_FLOAT) && span_is(type->name, "Float")) {
        scoped_string char *digits = span_string(value->text);
        double real = strtod(digits, NULL);
        return isfinite(real) ? json_real(real) : NULL;
    }
    if (span_is(type->name, "Boolean"))
        return value->kind == VALUE_BOOLEAN ? json_boolean(span_is(value->text, "true")) : NULL;
    if (value->kind == VALUE_INT && span_is(type->name, "ID"))
        return json_stringn(value->text.data, value->text.size);
    bool numeric = span_is(type->name, "Int") || span_is(type->name, "Float");
    return value->kind == VALUE_STRING && !numeric ? json_stringn(value->text.data, value->text.size) : NULL;
}

static json_t *scalar_of_json(const struct schema_type *type, const json_t *value) {
    if (span_is(type->name, "Int")) {
        if (json_is_integer(value)) return int_json(json_integer_value(value));
        double real = json_real_value(value); /* 3.0 is an Int too */
        return json_is_real(value) && real == floor(real) && fabs(real) <= INT32_MAX
                   ? json_integer((json_int_t)real)
                   : NULL;
    }
    if (span_is(type->name, "Float"))
        return json_is_number(value) ? json_real(json_number_value(value)) : NULL;
    if (span_is(type->name, "Boolean"))
        return json_is_boolean(value) ? json_boolean(json_is_true(value)) : NULL;
    if (span_is(type->name, "ID") && json_is_integer(value)) {
        scoped_string char *digits = mem_printf("%lld", (long long)json_integer_value(value));
        return json_string(digits);
    }
    return json_is_string(value) ? json_deep_copy(value) : NULL;
}

/* ---- literals ---- */

static bool is_known_input(const struct schema_type *type, struct span name) {
    for (const struct schema_input *input = type->inputs; input; input = input->next)
        if (span_equal(input->name, name)) return true;
    return false;
}

static struct error *lacks(const struct schema_input *input) {
    scoped_text struct text wanted = {0};
    type_print(input->type, &wanted);
    return error_new(ERROR_INVALID_ARGUMENT, "the field \"" SPAN_FORMAT "\" of type \"%s\" is missing",
                     SPAN_ARGS(input->name), wanted.data);
}

static struct error *put_literal(const struct coercion *coercion, const struct schema_input *input,
                                 const struct value *value, json_t *object) {
    json_t *json = NULL;
    if (value) TRY(coerce_literal(coercion, value, input->type, &json), SPAN_FORMAT, SPAN_ARGS(input->name));
    if (!json && input->fallback) TRY_PLAIN(coerce_literal(coercion, input->fallback, input->type, &json));
    if (!json && input->type->required && (!value || coercion->variables)) return lacks(input);
    if (json) json_object_setn_new(object, input->name.data, input->name.size, json);
    return NULL;
}

static struct error *object_of_literal(const struct coercion *coercion, const struct schema_type *type,
                                       const struct value *value, json_t **ret) {
    scoped_json json_t *object = json_object();
    for (const struct value *field = value->first; field; field = field->next)
        if (!is_known_input(type, field->name))
            return error_new(ERROR_INVALID_ARGUMENT, "\"" SPAN_FORMAT "\" has no field \"" SPAN_FORMAT "\"",
                             SPAN_ARGS(type->name), SPAN_ARGS(field->name));
    for (const struct schema_input *input = type->inputs; input; input = input->next) {
        const struct value *given = NULL;
        for (const struct value *field = value->first; field && !given; field = field->next)
            if (span_equal(field->name, input->name)) given = field;
        TRY_PLAIN(put_literal(coercion, input, given, object));
    }
    *ret = json_incref(object);
    return NULL;
}

static struct error *list_of_literal(const struct coercion *coercion, const struct value *value,
                                     const struct type *type, json_t **ret) {
    scoped_json json_t *array = json_array();
    const struct value *first = value->kind == VALUE_LIST ? value->first : value;
    for (const struct value *item = first; item; item = value->kind == VALUE_LIST ? item->next : NULL) {
        json_t *json = NULL;
        TRY_PLAIN(coerce_literal(coercion, item, type->of, &json));
        json_array_append_new(array, json ? json : json_null());
    }
    *ret = json_incref(array);
    return NULL;
}

static struct error *named_of_literal(const struct coercion *coercion, const struct value *value,
                                      const struct type *type, json_t **ret) {
    const struct schema_type *named = schema_type(coercion->schema, type->name);
    if (named->kind == KIND_INPUT && value->kind == VALUE_OBJECT)
        return object_of_literal(coercion, named, value, ret);
    if (named->kind == KIND_ENUM && value->kind == VALUE_ENUM && is_enum_value(named, value->text))
        *ret = json_stringn(value->text.data, value->text.size);
    if (named->kind == KIND_SCALAR) *ret = scalar_of_literal(named, value);
    if (*ret) return NULL;
    scoped_text struct text found = {0};
    value_print(value, &found);
    return mismatch(type, found.data);
}

struct error *coerce_literal(const struct coercion *coercion, const struct value *value,
                             const struct type *type, json_t **ret) {
    *ret = NULL;
    if (value->kind == VALUE_VARIABLE) {
        scoped_string char *name = span_string(value->text);
        *ret = json_incref(json_object_get(coercion->variables, name));
        if (json_is_null(*ret) && type->required) {
            *ret = NULL;
            return mismatch(type, "null");
        }
        return NULL;
    }
    if (value->kind == VALUE_NULL) {
        if (type->required) return mismatch(type, "null");
        *ret = json_null();
        return NULL;
    }
    return type->of ? list_of_literal(coercion, value, type, ret)
                    : named_of_literal(coercion, value, type, ret);
}

/* ---- JSON ---- */

static struct error *object_of_json(const struct coercion *coercion, const struct schema_type *type,
                                    const json_t *value, json_t **ret) {
    scoped_json json_t *object = json_object();
    const char *name;
    json_t *unused;
    json_object_foreach((json_t *)value, name, unused) {
        if (!is_known_input(type, span_of(name)))
            return error_new(ERROR_INVALID_ARGUMENT, "\"" SPAN_FORMAT "\" has no field \"%s\"",
                             SPAN_ARGS(type->name), name);
    }
    for (const struct schema_input *input = type->inputs; input; input = input->next) {
        scoped_string char *key = span_string(input->name);
        json_t *given = json_object_get(value, key), *json = NULL;
        if (given) TRY(coerce_json(coercion, given, input->type, &json), "%s", key);
        if (!json && input->fallback)
            TRY_PLAIN(coerce_literal(coercion, input->fallback, input->type, &json));
        if (!json && input->type->required) return lacks(input);
        if (json) json_object_set_new(object, key, json);
    }
    *ret = json_incref(object);
    return NULL;
}

static struct error *list_of_json(const struct coercion *coercion, const json_t *value,
                                  const struct type *type, json_t **ret) {
    scoped_json json_t *array = json_array();
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        json_t *json = NULL;
        TRY_PLAIN(
            coerce_json(coercion, json_is_array(value) ? json_array_get(value, i) : value, type->of, &json));
        json_array_append_new(array, json);
    }
    *ret = json_incref(array);
    return NULL;
}

struct error *coerce_json(const struct coercion *coercion, const json_t *value, const struct type *type,
                          json_t **ret) {
    *ret = NULL;
    if (json_is_null(value)) {
        if (type->required) return mismatch(type, "null");
        *ret = json_null();
        return NULL;
    }
    if (type->of) return list_of_json(coercion, value, type, ret);
    const struct schema_type *named = schema_type(coercion->schema, type->name);
    if (named->kind == KIND_INPUT && json_is_object(value))
        return object_of_json(coercion, named, value, ret);
    struct span text = {json_string_value(value), json_string_length(value)};
    if (named->kind == KIND_ENUM && text.data && is_enum_value(named, text))
        *ret = json_stringn(text.data, text.size);
    if (named->kind == KIND_SCALAR) *ret = scalar_of_json(named, value);
    if (*ret) return NULL;
    scoped_string char *found = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    scoped_string char *cut = found ? mem_string_n(found, strnlen(found, 80)) : NULL;
    return mismatch(type, cut ? cut : "a value of another kind");
}

/* ---- arguments of a field ---- */

struct error *coerce_arguments(const struct coercion *coercion, const struct schema_input *wanted,
                               const struct argument *given, json_t **ret) {
    scoped_json json_t *object = json_object();
    for (const struct schema_input *input = wanted; input; input = input->next) {
        const struct value *value = NULL;
        for (const struct argument *argument = given; argument && !value; argument = argument->next)
            if (span_equal(argument->name, input->name)) value = argument->value;
        TRY_PLAIN(put_literal(coercion, input, value, object));
    }
    *ret = json_incref(object);
    return NULL;
}
