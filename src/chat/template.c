/* Which template renders a request, and what comes of it. */
#include "inside.h"

#include <stdlib.h>

static struct error *said(char *taken_text, enum error_code code, const char *what) {
    scoped_string char *text = taken_text;
    return text ? error_new(code, "%s: %s", what, text) : NULL;
}

struct error *chat_templates_new(const struct engine *engine, const char *text,
                                 struct chat_templates **ret_templates) {
    scoped(chat_templates) struct chat_templates *templates = NEW(struct chat_templates);
    const struct llama_model *model = engine_model(engine);
    templates->controls = engine_controls(engine);
    if (text && *text)
        TRY_PLAIN(said(face_templates_new(model, text, &templates->named), ERROR_INVALID_ARGUMENT,
                       "the chat template can't be read"));
    struct error *error = said(face_templates_new(model, NULL, &templates->own), ERROR_INVALID_ARGUMENT,
                               "the chat template in the model file can't be read");
    if (error && !templates->named) return error;
    error_free(error);
    *ret_templates = take(templates);
    return NULL;
}

void chat_templates_free(struct chat_templates *templates) {
    if (!templates) return;
    face_templates_free(templates->named);
    face_templates_free(templates->own);
    free(templates);
}

static bool speaks_of_tools(const struct chat_request *request) {
    if (request->tools && strcmp(request->tool_choice, "none") != 0) return true;
    size_t i;
    const json_t *message;
    json_array_foreach(request->messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        if (role && strcmp(role, "tool") == 0) return true;
        if (json_array_size(json_object_get(message, "tool_calls")) > 0) return true;
    }
    return false;
}

static struct error *choose(const struct chat_templates *templates, const struct chat_request *request,
                            const struct face_templates **ret_chosen) {
    *ret_chosen = templates->named ? templates->named : templates->own;
    if (!speaks_of_tools(request) || face_templates_tools(*ret_chosen)) return NULL;
    *ret_chosen = templates->own;
    if (templates->own && face_templates_tools(templates->own)) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "this model's chat template has no place for tools");
}

struct error *template_render(const struct chat_templates *templates, const struct chat_request *request,
                              struct face_prompt *ret_prompt) {
    const struct face_templates *chosen;
    TRY_PLAIN(choose(templates, request, &chosen));
    scoped_json json_t *marked = chat_plain_mark(request->messages, templates->controls);
    scoped_string char *messages = json_dumps(marked, JSON_COMPACT);
    bool has_tools = request->tools && strcmp(request->tool_choice, "none") != 0;
    scoped_json json_t *marked_tools =
        has_tools ? chat_plain_mark(request->tools, templates->controls) : NULL;
    scoped_string char *tools = has_tools ? json_dumps(marked_tools, JSON_COMPACT) : NULL;
    scoped_string char *schema = request->schema ? json_dumps(request->schema, JSON_COMPACT) : NULL;
    scoped_string char *arguments =
        request->template_arguments ? json_dumps(request->template_arguments, JSON_COMPACT) : NULL;
    struct face_request face = {
        .messages = messages,
        .tools = tools,
        .tool_choice = has_tools ? request->tool_choice : "none",
        .schema = schema,
        .arguments = arguments,
        .parallel_tools = request->parallel_tools,
    };
    return said(face_render(chosen, &face, ret_prompt), ERROR_INVALID_ARGUMENT,
                "the model's chat template refuses these messages");
}
