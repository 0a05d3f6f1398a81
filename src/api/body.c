/* What comes with PUT /v1/apps: a manifest and its variables, or an app as JSON. To an app, or to an error
 * that says what is wrong with it. */
#include "inside.h"

#include "manifest.h"

static const char *variable_of_body(void *owner, const char *name) {
    return json_string_value(json_object_get(owner, name));
}

struct error *body_parse(struct span body, struct core_app **ret_app) {
    json_error_t where;
    scoped_json json_t *json = json_loadb(body.data ? body.data : "", body.size, 0, &where);
    if (!json)
        return error_new(ERROR_INVALID_ARGUMENT, "the body is no JSON: line %d: %s", where.line, where.text);
    const json_t *yaml = json_object_get(json, "yaml"), *file_name = json_object_get(json, "file_name");
    if (!yaml && !json_object_get(json, "functions"))
        return error_new(
            ERROR_INVALID_ARGUMENT,
            "the body is {\"yaml\": ..., \"file_name\": ..., \"env\": {...}}, or an app as JSON");
    if (!yaml) {
        TRY(core_app_from_json(json, ret_app), "app");
        return core_app_check(*ret_app);
    }
    if (!json_is_string(yaml) || (file_name && !json_is_string(file_name)))
        return error_new(ERROR_INVALID_ARGUMENT, "yaml and file_name are texts");
    struct span text = {json_string_value(yaml), json_string_length(yaml)};
    return manifest_parse(text, file_name ? json_string_value(file_name) : "catnap.yaml", variable_of_body,
                          json_object_get(json, "env"), ret_app);
}
