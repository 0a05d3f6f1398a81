/* What each kind of server is asked, and where. */
#include "inside.h"

#include <stdlib.h>

#define BEARER "Authorization: Bearer "

static const struct kind kinds[] = {
    {.name = "llama.cpp/completion", .shape = REMOTE_LLAMA, .path = "/completion", .key_header = BEARER},
    {.name = "ollama/completion",
     .shape = REMOTE_OLLAMA,
     .path = "/api/generate",
     .needs_model = true,
     .key_header = BEARER},
    {.name = "mistral/completion",
     .shape = REMOTE_FIM,
     .path = "/v1/fim/completions",
     .default_endpoint = "https://api.mistral.ai",
     .default_model = "codestral-latest",
     .takes_parts = true,
     .key_header = BEARER},
    {.name = "openai/completion",
     .shape = REMOTE_TEXT,
     .path = "/completions",
     .takes_parts = true,
     .key_header = BEARER},
    {.name = "openai/legacy_completion",
     .shape = REMOTE_TEXT,
     .path = "/completions",
     .takes_parts = true,
     .key_header = BEARER},
    {.name = "deepseek/completion",
     .shape = REMOTE_TEXT,
     .path = "/completions",
     .takes_parts = true,
     .key_header = BEARER},
    {.name = "openai/legacy_completion_no_fim",
     .shape = REMOTE_TEXT,
     .path = "/completions",
     .key_header = BEARER},
    {.name = "vllm/completion", .shape = REMOTE_TEXT, .path = "/completions", .key_header = BEARER},
    {.name = "openai/chat",
     .shape = REMOTE_CHAT,
     .path = "/chat/completions",
     .default_endpoint = "https://api.openai.com/v1",
     .needs_model = true,
     .key_header = BEARER},
    {.name = "mistral/chat",
     .shape = REMOTE_CHAT,
     .path = "/chat/completions",
     .default_endpoint = "https://api.mistral.ai/v1",
     .needs_model = true,
     .key_header = BEARER,
     .drops = {"presence_penalty", "user", "stream_options"}},
    {.name = "azure/chat",
     .shape = REMOTE_CHAT,
     .path = "/openai/deployments/%s/chat/completions?api-version=2024-02-01",
     .needs_model = true,
     .key_header = "api-key: "},
};

const struct kind *kind_find(const char *name) {
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

static json_t *string(struct span text) {
    json_t *made = json_stringn(text.data ? text.data : "", text.size);
    return made ? made : json_string("");
}

json_t *kind_completion_body(const struct kind *kind, const char *model,
                             const struct remote_completion *ask) {
    json_t *body = json_object();
    if (model && kind->shape != REMOTE_LLAMA) json_object_set_new(body, "model", json_string(model));
    json_object_set_new(body, "prompt", string(kind->takes_parts ? ask->prefix : ask->prompt));
    if (kind->takes_parts) json_object_set_new(body, "suffix", string(ask->suffix));
    json_object_set_new(body, "stream", json_true());
    json_int_t tokens = ask->max_tokens, seed = (json_int_t)(ask->seed & INT64_MAX);
    if (kind->shape == REMOTE_OLLAMA) {
        json_object_set_new(body, "raw", json_true()); /* the prompt is whole: no template of the server's */
        json_object_set_new(body, "options",
                            json_pack("{s:I,s:f,s:I,s:i}", "num_predict", tokens, "temperature",
                                      ask->temperature, "seed", seed, "repeat_last_n", 0));
        return body;
    }
    json_object_set_new(body, "temperature", json_real(ask->temperature));
    if (kind->shape == REMOTE_LLAMA) {
        json_object_set_new(body, "n_predict", json_integer(tokens));
        json_object_set_new(body, "seed", json_integer(seed));
        json_object_set_new(body, "penalty_last_n", json_integer(0));
        json_object_set_new(body, "presence_penalty", json_real(0));
        return body;
    }
    json_object_set_new(body, "max_tokens", json_integer(tokens));
    if (kind->shape == REMOTE_FIM) json_object_set_new(body, "random_seed", json_integer(seed & INT32_MAX));
    return body;
}

json_t *kind_chat_body(const struct kind *kind, const char *model, const struct remote_chat *ask) {
    json_t *body = json_copy((json_t *)ask->body);
    json_object_set_new(body, "model", ask->model.size ? string(ask->model) : json_string(model));
    json_object_set_new(body, "stream", json_boolean(ask->stream));
    if (!ask->stream) json_object_del(body, "stream_options");
    for (size_t i = 0; i < COUNT(kind->drops) && kind->drops[i]; i++) json_object_del(body, kind->drops[i]);
    const char *named = json_string_value(json_object_get(body, "model"));
    bool reasons = named && (strncmp(named, "o1", 2) == 0 || strncmp(named, "o3-mini", 7) == 0);
    if (reasons && strcmp(kind->name, "openai/chat") == 0) {
        json_object_del(body, "presence_penalty");
        json_object_del(body, "frequency_penalty");
    }
    return body;
}
