/* Which model answers completions and which chats; found, then loaded, once where both are the same.
 *
 *   found (fetched where it must be) -> engines made -> each told `loaded` -> templates read -> all are ready
 */
#include "inside.h"

#include <stdlib.h>

static struct error *find(struct serve *serve, const char *id, enum model_kind kind,
                          struct backend *backend) {
    TRY_PLAIN(model_find(&serve->places, id, kind, &backend->model));
    if (kind == MODEL_COMPLETION) {
        if (!backend->model->prompt_template)
            return error_new(ERROR_FAILED_PRECONDITION,
                             "Model '%s' is not a completion model; it does not have a prompt template.", id);
        TRY(template_check(backend->model->prompt_template), "%s/tabby.json", backend->model->directory);
    } else if (!backend->model->chat_template) {
        return error_new(ERROR_FAILED_PRECONDITION,
                         "Chat model requires specifying prompt template: '%s' has no chat_template in its "
                         "tabby.json",
                         id);
    }
    return NULL;
}

struct error *backends_find(struct serve *serve) {
    const struct arguments *arguments = serve->arguments;
    serve->completion.device = arguments->device;
    serve->chat.device = arguments->chat_device ? arguments->chat_device : arguments->device;
    if (arguments->model) {
        TRY_PLAIN(device_check(serve->completion.device));
        TRY_PLAIN(find(serve, arguments->model, MODEL_COMPLETION, &serve->completion));
    }
    if (arguments->chat_model) {
        TRY_PLAIN(device_check(serve->chat.device));
        TRY_PLAIN(find(serve, arguments->chat_model, MODEL_CHAT, &serve->chat));
    }
    return NULL;
}

static uint32_t number_of(const char *variable, uint32_t fallback) {
    uint64_t value;
    const char *text = getenv(variable);
    return text && span_to_u64(span_of(text), &value) && value <= UINT32_MAX ? (uint32_t)value : fallback;
}

static struct error *read_templates(struct serve *serve) {
    if (!serve->chat.engine) return NULL;
    return chat_templates_new(serve->chat.engine, serve->chat.model->chat_template, &serve->chat.templates);
}

static void on_loaded(void *owner, struct error *error) {
    struct serve *serve = owner;
    if (!serve->load_error) serve->load_error = take(error);
    error_free(error);
    if (--serve->loading > 0) return;
    error = take(serve->load_error);
    if (!error) error = read_templates(serve);
    serve->loaded(serve, error);
}

static struct engine *load(struct serve *serve, const struct backend *backend, bool completes, bool chats) {
    struct engine_options options = {
        .path = backend->model->file,
        .threads = number_of("LLAMA_CPP_N_THREADS", 0),
        .parallelism = serve->arguments->parallelism,
        .context_tokens = completes ? CONTEXT_TOKENS : 0,
        .patient_tokens = chats ? CONTEXT_TOKENS : 0,
        .drift_tokens = number_of("COPYCAT_SUFFIX_DRIFT", 32),
        .seam_tokens = number_of("COPYCAT_SUFFIX_SEAM", 8),
        .repack = number_of("COPYCAT_REPACK", 1) != 0,
        .loaded = on_loaded,
        .owner = serve,
    };
    serve->loading++;
    return engine_new(serve->loop, &options);
}

void backends_load(struct serve *serve, void (*loaded)(struct serve *serve, struct error *error)) {
    struct backend *completion = &serve->completion, *chat = &serve->chat;
    serve->loaded = loaded;
    bool one = completion->model && chat->model && strcmp(completion->model->file, chat->model->file) == 0 &&
               strcmp(completion->device, chat->device) == 0;
    if (completion->model) completion->engine = load(serve, completion, true, one);
    if (one)
        chat->engine = completion->engine, chat->shares = true;
    else if (chat->model)
        chat->engine = load(serve, chat, false, true);
    if (completion->model) serve->window = window_new();
    if (serve->loading == 0) loaded(serve, NULL);
}

uint64_t backends_give_back(struct serve *serve) {
    uint64_t given = serve->completion.engine ? engine_give_back(serve->completion.engine) : 0;
    if (serve->chat.engine && !serve->chat.shares) given += engine_give_back(serve->chat.engine);
    return given;
}

void backends_free(struct serve *serve) {
    chat_templates_free(serve->chat.templates);
    if (!serve->chat.shares) engine_free(serve->chat.engine);
    engine_free(serve->completion.engine);
    model_free(serve->completion.model);
    model_free(serve->chat.model);
    window_free(serve->window);
    error_free(serve->load_error);
}
