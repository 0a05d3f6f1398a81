/* Apps as JSON: the store's journal and the API speak it.
 *
 * Keys are the manifest's. Reading is strict about types and lenient about keys: an unknown one is a newer
 * daemon's, a missing one has its default. `never` is null. */
#include "inside.h"

#include <stdlib.h>

#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

/* ---- to JSON ---- */

/* Bytes that are no UTF-8 can't be told in JSON; core's makers take theirs from YAML and JSON, so there are
 * none. */
static json_t *string_or_null(const char *string) {
    json_t *json = string ? json_string(string) : NULL;
    return json ? json : json_null();
}

static json_t *field_to_json(const struct core_function *function, const struct core_field *field) {
    const void *at = core_field_at(function, field);
    switch (field->kind) {
    case CORE_FIELD_STRING: return string_or_null(*(char *const *)at);
    case CORE_FIELD_BOOL: return json_boolean(*(const bool *)at);
    case CORE_FIELD_U16: return json_integer(*(const uint16_t *)at);
    case CORE_FIELD_U32: return json_integer(*(const uint32_t *)at);
    case CORE_FIELD_U64: return json_integer((json_int_t)(*(const uint64_t *)at));
    case CORE_FIELD_INT: return json_integer(*(const int *)at);
    case CORE_FIELD_MS:
        return *(const int64_t *)at == CORE_NEVER ? json_null() : json_integer(*(const int64_t *)at);
    case CORE_FIELD_CHOICE: return json_string(field->choices[*(const int *)at]);
    }
    return json_null();
}

static json_t *function_to_json(const struct core_function *function) {
    json_t *json = json_object(), *command = json_array(), *env = json_array(), *volumes = json_array();
    for (size_t i = 0; i < core_field_count; i++)
        json_object_set_new(json, core_fields[i].name, field_to_json(function, &core_fields[i]));
    for (size_t i = 0; function->command[i]; i++)
        json_array_append_new(command, string_or_null(function->command[i]));
    for (size_t i = 0; i < function->env_count; i++) {
        json_t *pair = json_object();
        json_object_set_new(pair, "name", string_or_null(function->env[i].name));
        json_object_set_new(pair, "value", string_or_null(function->env[i].value));
        json_array_append_new(env, pair);
    }
    for (size_t i = 0; i < function->volume_count; i++) {
        json_t *mount = json_object();
        json_object_set_new(mount, "path", string_or_null(function->volumes[i].path));
        json_object_set_new(mount, "volume", string_or_null(function->volumes[i].volume));
        json_object_set_new(mount, "read_only", json_boolean(function->volumes[i].read_only));
        if (function->volumes[i].sub_path) /* without, as ever: what is kept of a function has its shape */
            json_object_set_new(mount, "sub_path", json_string(function->volumes[i].sub_path));
        json_array_append_new(volumes, mount);
    }
    json_object_set_new(json, "command", command);
    json_object_set_new(json, "env", env);
    json_object_set_new(json, "volumes", volumes);
    return json;
}

json_t *core_app_to_json(const struct core_app *app) {
    json_t *json = json_object(), *functions = json_array();
    json_object_set_new(json, "name", string_or_null(app->name));
    json_object_set_new(json, "version", json_integer((json_int_t)app->version));
    for (size_t i = 0; i < app->function_count; i++)
        json_array_append_new(functions, function_to_json(app->functions[i]));
    json_object_set_new(json, "functions", functions);
    return json;
}

uint64_t core_function_shape(const struct core_function *function) {
    scoped_json json_t *json = function_to_json(function);
    for (size_t i = 0; i < core_field_count; i++)
        if (!core_fields[i].shapes_container) json_object_del(json, core_fields[i].name);
    scoped_string char *dump = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);
    char hex[SHA256_HEX_SIZE];
    sha256_of(span_of(dump), hex);
    hex[15] = '\0'; /* 60 bits: it fits a JSON integer */
    return strtoull(hex, NULL, 16);
}

/* ---- from JSON ---- */

static struct error *read_string(const char *field, const json_t *json, char **out) {
    if (!json_is_string(json) && !json_is_null(json)) return BAD("%s: text is expected", field);
    free(*out);
    *out = mem_string(json_string_value(json)); /* NULL for null */
    return NULL;
}

static struct error *read_number(const char *field, const json_t *json, int64_t low, int64_t high,
                                 int64_t *ret_value) {
    if (!json_is_integer(json)) return BAD("%s: a whole number is expected", field);
    *ret_value = json_integer_value(json);
    if (*ret_value < low || *ret_value > high)
        return BAD("%s: %lld is out of range; from %lld to %lld", field, (long long)*ret_value,
                   (long long)low, (long long)high);
    return NULL;
}

static struct error *read_choice(const struct core_field *field, const json_t *json, int *out) {
    const char *chosen = json_string_value(json);
    for (int i = 0; field->choices[i]; i++) {
        if (!chosen || strcmp(field->choices[i], chosen) != 0) continue;
        *out = i;
        return NULL;
    }
    return BAD("%s: '%s' is none of its choices", field->name, chosen ? chosen : "");
}

static struct error *read_field(struct core_function *function, const struct core_field *field,
                                const json_t *json) {
    void *at = core_field_at(function, field);
    int64_t value = 0;
    switch (field->kind) {
    case CORE_FIELD_STRING: return read_string(field->name, json, at);
    case CORE_FIELD_CHOICE: return read_choice(field, json, at);
    case CORE_FIELD_BOOL:
        if (!json_is_boolean(json)) return BAD("%s: true or false is expected", field->name);
        *(bool *)at = json_is_true(json);
        return NULL;
    case CORE_FIELD_U16:
        TRY_PLAIN(read_number(field->name, json, 0, UINT16_MAX, &value));
        *(uint16_t *)at = (uint16_t)value;
        return NULL;
    case CORE_FIELD_U32:
        TRY_PLAIN(read_number(field->name, json, 0, UINT32_MAX, &value));
        *(uint32_t *)at = (uint32_t)value;
        return NULL;
    case CORE_FIELD_U64:
        TRY_PLAIN(read_number(field->name, json, 0, INT64_MAX, &value));
        *(uint64_t *)at = (uint64_t)value;
        return NULL;
    case CORE_FIELD_INT:
        TRY_PLAIN(read_number(field->name, json, INT32_MIN, INT32_MAX, &value));
        *(int *)at = (int)value;
        return NULL;
    case CORE_FIELD_MS:
        if (json_is_null(json))
            value = CORE_NEVER;
        else
            TRY_PLAIN(read_number(field->name, json, 0, INT64_MAX, &value));
        *(int64_t *)at = value;
        return NULL;
    }
    return NULL;
}

static struct error *read_command(struct core_function *function, const json_t *json) {
    if (!json_is_array(json)) return BAD("command: a list is expected");
    size_t count = json_array_size(json);
    for (size_t i = 0; i < count; i++)
        if (!json_is_string(json_array_get(json, i))) return BAD("command: a list of text is expected");
    for (size_t i = 0; function->command[i]; i++) free(function->command[i]);
    free(function->command);
    function->command = mem_array(count + 1, sizeof *function->command);
    for (size_t i = 0; i < count; i++)
        function->command[i] = mem_string(json_string_value(json_array_get(json, i)));
    return NULL;
}

static struct error *read_env(struct core_function *function, const json_t *json) {
    if (!json_is_array(json)) return BAD("env: a list is expected");
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *pair = json_array_get(json, i);
        const char *name = json_string_value(json_object_get(pair, "name"));
        const char *value = json_string_value(json_object_get(pair, "value"));
        if (!name || !value) return BAD("env: a list of {name, value} is expected");
        core_function_env_add(function, name, value);
    }
    return NULL;
}

static struct error *read_volumes(struct core_function *function, const json_t *json) {
    if (!json_is_array(json)) return BAD("volumes: a list is expected");
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *mount = json_array_get(json, i), *read_only = json_object_get(mount, "read_only");
        const json_t *sub_path = json_object_get(mount, "sub_path");
        const char *path = json_string_value(json_object_get(mount, "path"));
        const char *volume = json_string_value(json_object_get(mount, "volume"));
        if (!path || !volume || (read_only && !json_is_boolean(read_only)) ||
            (sub_path && !json_is_string(sub_path)))
            return BAD("volumes: a list of {path, volume, read_only, sub_path} is expected");
        core_function_volume_add(function, path, volume, json_is_true(read_only));
        core_function_volume_sub_path(function, json_string_value(sub_path));
    }
    return NULL;
}

static struct error *read_function(struct core_function *function, const json_t *json) {
    const json_t *value = NULL;
    for (size_t i = 0; i < core_field_count; i++)
        if ((value = json_object_get(json, core_fields[i].name)))
            TRY_PLAIN(read_field(function, &core_fields[i], value));
    if ((value = json_object_get(json, "command"))) TRY_PLAIN(read_command(function, value));
    if ((value = json_object_get(json, "env"))) TRY_PLAIN(read_env(function, value));
    if ((value = json_object_get(json, "volumes"))) TRY_PLAIN(read_volumes(function, value));
    if (!function->app) function->app = mem_string("");
    if (!function->name) return BAD("name: missing");
    return NULL;
}

struct error *core_app_from_json(const json_t *json, struct core_app **ret_app) {
    if (!json_is_object(json)) return BAD("an app is an object");
    const char *name = json_string_value(json_object_get(json, "name"));
    const json_t *functions = json_object_get(json, "functions"), *version = json_object_get(json, "version");
    if (!name) return BAD("name: missing, or no text");
    if (!json_is_array(functions)) return BAD("functions: a list is expected");
    scoped(core_app) struct core_app *app = core_app_new(name);
    int64_t number = 0;
    if (version) TRY_PLAIN(read_number("version", version, 0, INT64_MAX, &number));
    app->version = (uint64_t)number;
    for (size_t i = 0; i < json_array_size(functions); i++) {
        const json_t *one = json_array_get(functions, i);
        if (!json_is_object(one)) return BAD("functions: number %zu is no object", i + 1);
        struct core_function *function = core_function_new(name, "");
        core_app_add(app, function);
        TRY(read_function(function, one), "functions.%s", function->name ? function->name : "");
    }
    *ret_app = take(app);
    return NULL;
}
