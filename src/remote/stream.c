/* Lines of a stream to JSON, and JSON to text. What another server sends is taken as hostile. */
#include "remote.h"

#include <stdlib.h>

/* A fault in the middle of a stream: {"error": text} or {"error": {"message": text}}. */
static struct error *fault_of(const json_t *root) {
    const json_t *fault = json_object_get(root, "error");
    if (!fault || json_is_null(fault)) return NULL;
    const char *text = json_string_value(fault);
    if (!text) text = json_string_value(json_object_get(fault, "message"));
    return error_new(ERROR_UNAVAILABLE, "the server says: %.300s", text ? text : "that it failed");
}

static bool says_end(enum remote_shape shape, const json_t *root) {
    if (shape == REMOTE_LLAMA) return json_is_true(json_object_get(root, "stop"));
    if (shape == REMOTE_OLLAMA) return json_is_true(json_object_get(root, "done"));
    return false;
}

struct error *remote_line_json(enum remote_shape shape, struct span line, json_t **ret_json, bool *ret_ends) {
    *ret_json = NULL;
    *ret_ends = false;
    line = span_trim(line);
    if (shape != REMOTE_OLLAMA) { /* server-sent events; the others send a JSON object a line */
        bool is_fault = span_starts(line, "error:");
        if (!is_fault && !span_starts(line, "data:")) return NULL;
        span_cut(&line, ':');
        line = span_trim(line);
    }
    if (line.size == 0) return NULL;
    if (span_is(line, "[DONE]")) {
        *ret_ends = true;
        return NULL;
    }
    scoped_json json_t *root = json_loadb(line.data, line.size, 0, NULL);
    if (!json_is_object(root))
        return error_new(ERROR_INVALID_ARGUMENT, "the server's stream holds what is no JSON object: %.*s",
                         (int)(line.size < 80 ? line.size : 80), line.data);
    TRY_PLAIN(fault_of(root));
    *ret_ends = says_end(shape, root);
    *ret_json = take(root);
    return NULL;
}

static const json_t *first_choice(const json_t *root) {
    return json_array_get(json_object_get(root, "choices"), 0);
}

struct span remote_json_text(enum remote_shape shape, const json_t *json) {
    const json_t *text = NULL;
    switch (shape) {
    case REMOTE_LLAMA: text = json_object_get(json, "content"); break;
    case REMOTE_OLLAMA: text = json_object_get(json, "response"); break;
    case REMOTE_TEXT: text = json_object_get(first_choice(json), "text"); break;
    case REMOTE_FIM:
    case REMOTE_CHAT: text = json_object_get(json_object_get(first_choice(json), "delta"), "content"); break;
    }
    if (!json_is_string(text)) return SPAN("");
    return (struct span){json_string_value(text), json_string_length(text)};
}
