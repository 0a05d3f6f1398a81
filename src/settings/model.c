/* [model.completion], [model.chat] and [model.embedding]: exactly one of .local and .http each. */
#include "inside.h"

#include <stdlib.h>

#define KINDS_MAX 9

struct kinds {
    const char *model; /* completion, chat, embedding */
    const char *kinds[KINDS_MAX];
};

static const struct kinds known[] = {
    {"completion",
     {"llama.cpp/completion", "ollama/completion", "mistral/completion", "openai/completion",
      "openai/legacy_completion", "openai/legacy_completion_no_fim", "deepseek/completion",
      "vllm/completion"}},
    {"chat", {"openai/chat", "mistral/chat", "azure/chat"}},
    {"embedding",
     {"llama.cpp/embedding", "llama.cpp/before_b4356_embedding", "openai/embedding", "ollama/embedding",
      "voyage/embedding", "azure/embedding", "mistral/embedding"}},
};

static struct error *check_kind(const struct toml_node *table, const char *name, const char *where,
                                const char *kind) {
    scoped_text struct text list = {0};
    for (size_t i = 0; i < COUNT(known); i++) {
        if (strcmp(known[i].model, name) != 0) continue;
        for (size_t k = 0; k < KINDS_MAX && known[i].kinds[k]; k++) {
            if (strcmp(known[i].kinds[k], kind) == 0) return NULL;
            text_printf(&list, "%s%s", k ? ", " : "", known[i].kinds[k]);
        }
    }
    return error_new(ERROR_INVALID_ARGUMENT, "line %u: [%s]: Unsupported model kind: %s (there are: %s)",
                     table->line, where, kind, list.data);
}

static struct error *read_local(struct toml_node *table, const char *where, struct settings_model *model) {
    model->source = SETTINGS_LOCAL;
    TRY_PLAIN(node_need(table, "model_id", where));
    TRY_PLAIN(node_string(table, "model_id", where, &model->model_id));
    TRY_PLAIN(node_u32(table, "parallelism", where, UINT8_MAX, &model->parallelism));
    TRY_PLAIN(node_u32(table, "num_gpu_layers", where, UINT16_MAX, &model->gpu_layers));
    TRY_PLAIN(node_bool(table, "enable_fast_attention", where, &model->fast_attention));
    TRY_PLAIN(node_u32(table, "context_size", where, 1u << 24, &model->context_tokens));
    if (model->context_tokens == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "line %u: [%s]: context_size must not be 0", table->line,
                         where);
    return node_strings(table, "additional_stop_words", where, &model->stop_words);
}

static struct error *read_http(struct toml_node *table, const char *name, const char *where,
                               struct settings_model *model) {
    model->source = SETTINGS_HTTP;
    TRY_PLAIN(node_need(table, "kind", where));
    TRY_PLAIN(node_string(table, "kind", where, &model->kind));
    TRY_PLAIN(check_kind(table, name, where, model->kind));
    TRY_PLAIN(node_string(table, "api_endpoint", where, &model->api_endpoint));
    TRY_PLAIN(node_string(table, "api_key", where, &model->api_key));
    TRY_PLAIN(node_string(table, "model_name", where, &model->model_name));
    TRY_PLAIN(node_string(table, "prompt_template", where, &model->prompt_template));
    TRY_PLAIN(node_string(table, "chat_template", where, &model->chat_template));
    TRY_PLAIN(node_strings(table, "supported_models", where, &model->supported_models));
    TRY_PLAIN(node_strings(table, "additional_stop_words", where, &model->stop_words));
    struct toml_node *limit;
    TRY_PLAIN(node_table(table, "rate_limit", where, &limit));
    TRY_PLAIN(node_u64(limit, "request_per_minute", where, INT64_MAX, &model->requests_per_minute));
    if (strcmp(name, "chat") == 0 && !model->model_name)
        return error_new(ERROR_INVALID_ARGUMENT, "line %u: [%s]: model_name is required", table->line, where);
    if (!model->supported_models || !model->model_name) return NULL;
    for (size_t i = 0; model->supported_models[i]; i++)
        if (strcmp(model->supported_models[i], model->model_name) == 0) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION,
                     "line %u: [%s]: model_name '%s' is not one of its supported_models", table->line, where,
                     model->model_name);
}

struct error *settings_model_read(struct toml_node *models, const char *name, struct settings_model *model) {
    scoped_string char *where = mem_printf("model.%s", name);
    scoped_string char *where_local = mem_printf("%s.local", where),
                       *where_http = mem_printf("%s.http", where);
    *model = (struct settings_model){
        .parallelism = 4, .gpu_layers = 9999, .context_tokens = 4096, .requests_per_minute = 1200};
    struct toml_node *table, *local, *http;
    TRY_PLAIN(node_table(models, name, "model", &table));
    if (!table) return NULL;
    TRY_PLAIN(node_table(table, "local", where, &local));
    TRY_PLAIN(node_table(table, "http", where, &http));
    if ((local != NULL) == (http != NULL))
        return error_new(ERROR_INVALID_ARGUMENT, "line %u: [%s]: exactly one of .local and .http is needed",
                         table->line, where);
    return local ? read_local(local, where_local, model) : read_http(http, name, where_http, model);
}

void settings_model_done(struct settings_model *model) {
    free(model->model_id);
    free(model->kind);
    free(model->api_endpoint);
    free(model->api_key);
    free(model->model_name);
    free(model->prompt_template);
    free(model->chat_template);
    node_strings_free(model->supported_models);
    node_strings_free(model->stop_words);
}
