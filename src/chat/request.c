/* The body of POST /v1/chat/completions: JSON to a struct.
 *
 * `messages` and `model` must be there; unknown fields are ignored, null is the same as absent, a wrong type
 * is an error that names the field. What can't be served is refused rather than left out. */
#include "chat.h"

#include <math.h>
#include <stdlib.h>

static struct error *wrong(const char *field, const char *expected) {
    return error_new(ERROR_FAILED_PRECONDITION, "%s: invalid type or value, expected %s", field, expected);
}

static const json_t *present(const json_t *object, const char *field) {
    const json_t *value = json_object_get(object, field);
    return json_is_null(value) ? NULL : value;
}

static struct error *read_number(const json_t *root, const char *field, double least, double most,
                                 double *value) {
    const json_t *given = present(root, field);
    if (!given) return NULL;
    double number = json_number_value(given);
    if (!json_is_number(given) || !(number >= least && number <= most))
        return error_new(ERROR_FAILED_PRECONDITION, "%s: expected a number from %.10g to %.10g", field, least,
                         most);
    *value = number;
    return NULL;
}

static struct error *read_bool(const json_t *root, const char *field, bool *ret_there, bool *value) {
    const json_t *given = present(root, field);
    if (ret_there) *ret_there = given != NULL;
    if (!given) return NULL;
    if (!json_is_boolean(given)) return wrong(field, "a boolean");
    *value = json_is_true(given);
    return NULL;
}

static struct error *read_content(const json_t *message, size_t i) {
    const json_t *content = present(message, "content"), *part;
    size_t p;
    if (!content || json_is_string(content)) return NULL;
    if (!json_is_array(content)) return wrong("messages: content", "a string or an array of parts");
    json_array_foreach(content, p, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type) return wrong("messages: content: type", "a string");
        if (strcmp(type, "text") != 0)
            return error_new(ERROR_UNIMPLEMENTED,
                             "messages[%zu]: a part of type '%s' is not served: text only", i, type);
        if (!json_is_string(json_object_get(part, "text")))
            return wrong("messages: content: text", "a string");
    }
    return NULL;
}

static struct error *read_messages(struct chat_request *request) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
    request->messages = json_object_get(request->root, "messages");
    if (!request->messages) return error_new(ERROR_FAILED_PRECONDITION, "missing field `messages`");
    if (!json_is_array(request->messages)) return wrong("messages", "a sequence");
    if (json_array_size(request->messages) == 0) return wrong("messages", "at least one message");
    size_t i;
    json_t *message;
    json_array_foreach(request->messages, i, message) {
        if (!json_is_object(message)) return wrong("messages", "objects");
        const char *role = json_string_value(json_object_get(message, "role"));
        bool known = false;
        for (size_t r = 0; role && r < COUNT(roles); r++) known |= strcmp(role, roles[r]) == 0;
        if (!known) return wrong("messages: role", "system, developer, user, assistant, tool or function");
        /* The same in newer words; templates know the older one. */
        if (strcmp(role, "developer") == 0) json_object_set_new(message, "role", json_string("system"));
        TRY_PLAIN(read_content(message, i));
        bool calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
        if (!present(message, "content") && !calls) json_object_set_new(message, "content", json_string(""));
    }
    return NULL;
}

static struct error *read_stops(struct chat_request *request) {
    const json_t *stop = present(request->root, "stop"), *word;
    size_t i;
    if (!stop) return NULL;
    if (json_is_string(stop)) {
        request->stops[request->stop_count++] =
            (struct span){json_string_value(stop), json_string_length(stop)};
        return NULL;
    }
    if (!json_is_array(stop) || json_array_size(stop) > CHAT_STOPS_MAX)
        return wrong("stop", "a string, or at most 16 of them");
    json_array_foreach(stop, i, word) {
        if (!json_is_string(word)) return wrong("stop", "a string, or at most 16 of them");
        request->stops[request->stop_count++] =
            (struct span){json_string_value(word), json_string_length(word)};
    }
    return NULL;
}

static struct error *read_biases(struct chat_request *request) {
    const json_t *biases = present(request->root, "logit_bias"), *value;
    if (!biases) return NULL;
    if (!json_is_object(biases) || json_object_size(biases) > CHAT_BIASES_MAX)
        return wrong("logit_bias", "an object of at most 300 tokens");
    const char *key;
    json_object_foreach((json_t *)biases, key, value) {
        uint64_t token;
        double bias = json_number_value(value);
        if (!span_to_u64(span_of(key), &token) || token > INT32_MAX || !json_is_number(value) ||
            !(fabs(bias) <= 100))
            return wrong("logit_bias", "token numbers with a bias from -100 to 100");
        request->biases[request->bias_count++] =
            (struct engine_bias){.token = (int32_t)token, .bias = (float)bias};
    }
    return NULL;
}

static struct error *read_format(struct chat_request *request) {
    const json_t *format = present(request->root, "response_format");
    if (!format) return NULL;
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!type) return wrong("response_format: type", "text, json_object or json_schema");
    if (strcmp(type, "text") == 0) return NULL;
    const json_t *schema = NULL;
    if (strcmp(type, "json_object") == 0)
        schema = present(format, "schema");
    else if (strcmp(type, "json_schema") == 0)
        schema = present(json_object_get(format, "json_schema"), "schema");
    else
        return wrong("response_format: type", "text, json_object or json_schema");
    if (schema && !json_is_object(schema)) return wrong("response_format: schema", "an object");
    if (!schema || json_object_size(schema) == 0) { /* any object */
        json_t *any = json_pack("{s:s}", "type", "object");
        json_object_set_new(request->root, "\x01schema", any);
        schema = any;
    }
    request->schema = schema;
    return NULL;
}

static struct error *read_tool(const json_t *tool) {
    const char *type = json_string_value(json_object_get(tool, "type"));
    const json_t *function = json_object_get(tool, "function");
    if (!type || strcmp(type, "function") != 0) return wrong("tools: type", "function");
    if (!json_is_object(function) || !json_is_string(json_object_get(function, "name")))
        return wrong("tools: function: name", "a string");
    return NULL;
}

/* A tool choice that names one: only that one is offered, and it must be called. */
static struct error *choose_tool(struct chat_request *request, const json_t *choice) {
    const char *name = json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if (!name) return wrong("tool_choice", "none, auto, required or a function");
    size_t i;
    json_t *tool;
    json_array_foreach(request->tools, i, tool) {
        const char *named = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        if (!named || strcmp(named, name) != 0) continue;
        request->one_tool = json_pack("[O]", tool);
        request->tools = request->one_tool;
        request->tool_choice = "required";
        return NULL;
    }
    return error_new(ERROR_FAILED_PRECONDITION, "tool_choice: there is no tool '%s'", name);
}

static struct error *read_tools(struct chat_request *request) {
    request->tool_choice = "auto";
    request->tools = present(request->root, "tools");
    if (request->tools && !json_is_array(request->tools)) return wrong("tools", "a sequence");
    size_t i;
    const json_t *tool, *choice = present(request->root, "tool_choice");
    json_array_foreach(request->tools, i, tool) TRY_PLAIN(read_tool(tool));
    if (json_array_size(request->tools) == 0) request->tools = NULL;
    request->parallel_tools = true;
    TRY_PLAIN(read_bool(request->root, "parallel_tool_calls", NULL, &request->parallel_tools));
    if (!choice) return NULL;
    if (json_is_object(choice)) return choose_tool(request, choice);
    const char *word = json_string_value(choice);
    if (!word || (strcmp(word, "auto") != 0 && strcmp(word, "none") != 0 && strcmp(word, "required") != 0))
        return wrong("tool_choice", "none, auto, required or a function");
    if (strcmp(word, "required") == 0 && !request->tools) return wrong("tool_choice", "tools to choose from");
    request->tool_choice = word;
    return NULL;
}

static struct error *read_limits(struct chat_request *request) {
    double most = 0, seed = 0;
    TRY_PLAIN(read_number(request->root, "max_tokens", 1, UINT32_MAX, &most));
    TRY_PLAIN(read_number(request->root, "max_completion_tokens", 1, UINT32_MAX, &most));
    request->max_tokens = (uint32_t)most;
    TRY_PLAIN(read_number(request->root, "temperature", 0, 100, &request->temperature));
    TRY_PLAIN(read_number(request->root, "top_p", 0, 1, &request->top_p));
    TRY_PLAIN(read_number(request->root, "presence_penalty", -2, 2, &request->presence_penalty));
    TRY_PLAIN(read_number(request->root, "frequency_penalty", -2, 2, &request->frequency_penalty));
    const json_t *given = present(request->root, "seed");
    TRY_PLAIN(read_number(request->root, "seed", -0x1p63, 0x1p64, &seed));
    /* A real: beside a number that has more than 63 bits. */
    int64_t whole = seed > -0x1p63 && seed < 0x1p63 ? (int64_t)seed : 0;
    if (json_is_real(given) && (double)whole != seed) return wrong("seed", "an integer of 64 bits");
    request->has_seed = given != NULL;
    request->seed = (uint64_t)(json_is_integer(given) ? json_integer_value(given) : whole);
    return NULL;
}

/* What OpenAI's API has and this server has not. */
static struct error *refuse_unserved(const struct chat_request *request) {
    const json_t *n = present(request->root, "n");
    if (n && json_integer_value(n) != 1)
        return error_new(ERROR_UNIMPLEMENTED, "n: only one choice is served");
    if (json_is_true(present(request->root, "logprobs")))
        return error_new(ERROR_UNIMPLEMENTED, "logprobs are not served");
    if (json_array_size(present(request->root, "functions")) > 0)
        return error_new(ERROR_UNIMPLEMENTED, "functions are not served: use tools");
    return NULL;
}

static struct error *read_fields(struct chat_request *request) {
    const json_t *root = request->root, *model = json_object_get(root, "model"),
                 *user = present(root, "user");
    if (!json_is_object(root)) return wrong("body", "a map");
    TRY_PLAIN(read_messages(request));
    if (!model) return error_new(ERROR_FAILED_PRECONDITION, "missing field `model`");
    if (!json_is_string(model)) return wrong("model", "a string");
    request->model = (struct span){json_string_value(model), json_string_length(model)};
    if (user && !json_is_string(user)) return wrong("user", "a string");
    if (user) request->user = (struct span){json_string_value(user), json_string_length(user)};
    TRY_PLAIN(read_bool(root, "stream", &request->has_stream, &request->stream));
    const json_t *options = present(root, "stream_options");
    if (options && !json_is_object(options)) return wrong("stream_options", "a map");
    TRY_PLAIN(read_bool(options, "include_usage", NULL, &request->wants_usage));
    TRY_PLAIN(read_limits(request));
    TRY_PLAIN(read_stops(request));
    TRY_PLAIN(read_biases(request));
    TRY_PLAIN(read_format(request));
    TRY_PLAIN(read_tools(request));
    request->template_arguments = present(root, "chat_template_kwargs");
    if (request->template_arguments && !json_is_object(request->template_arguments))
        return wrong("chat_template_kwargs", "a map");
    return refuse_unserved(request);
}

struct error *chat_request_parse(struct span body, struct chat_request **ret_request) {
    scoped(chat_request) struct chat_request *request = NEW(struct chat_request);
    request->temperature = 0.8; /* llama.cpp's own defaults, which Tabby leaves as they are */
    request->top_p = 0.95;
    json_error_t where;
    request->root = json_read(body, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
    if (!request->root)
        return error_new(ERROR_INVALID_ARGUMENT, "%s at line %d column %d", where.text, where.line,
                         where.column);
    TRY_PLAIN(read_fields(request));
    *ret_request = take(request);
    return NULL;
}

void chat_request_free(struct chat_request *request) {
    if (!request) return;
    json_decref(request->one_tool);
    json_decref(request->root);
    free(request);
}
