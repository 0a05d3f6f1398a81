/* Which model answers completions and which chats: named on the command line, or in config.toml; here, or on
 * another server.
 *
 *   chosen -> found (fetched where it must be) -> engines made -> each told `loaded` -> templates read ->
 * ready A model that both kinds name is loaded once. */
#include "inside.h"

#include <stdlib.h>

uint32_t environment_number(const char *variable, uint32_t fallback) {
    uint64_t value;
    const char *text = getenv(variable);
    return text && span_to_u64(span_of(text), &value) && value <= UINT32_MAX ? (uint32_t)value : fallback;
}

/* Weights rewritten for the CPU's widest instructions take memory that can't be given back, and pay on some
 * processors only. Measured (Q4_K_M, 128 tokens at once): Zen 4 1.75 times as fast, Sapphire Rapids 1.05 with
 * its matrix unit and 0.7 without. */
static bool repack_pays(void) {
    scoped_text struct text content = {0};
    scoped(error) struct error *error = file_read("/proc/cpuinfo", 1 << 22, &content);
    return !error && memmem(content.data, content.size, "AuthenticAMD", 12) &&
           memmem(content.data, content.size, "avx512", 6);
}

/* ---- chosen ---- */

static void choose(const struct arguments *arguments, const char *id, const char *device,
                   const struct settings_model *configured, const char *name, struct backend *backend) {
    backend->device = device;
    backend->how = *configured;
    if (!id) return;
    if (configured->source != SETTINGS_NONE)
        log_warn("copycat",
                 "Overriding %s model from config.toml. The overriding behavior might surprise you. Consider "
                 "setting the model in config.toml directly.",
                 name);
    backend->how = (struct settings_model){
        .source = SETTINGS_LOCAL,
        .model_id = (char *)id,
        .parallelism = arguments->parallelism,
        .gpu_layers = strcmp(device, "cpu") == 0 ? 0 : environment_number("LLAMA_CPP_N_GPU_LAYERS", 9999),
        .context_tokens = CONTEXT_TOKENS,
        .fast_attention = getenv("LLAMA_CPP_FAST_ATTENTION") != NULL,
    };
}

/* ---- found ---- */

static struct error *find_local(struct serve *serve, enum model_kind kind, struct backend *backend) {
    const char *id = backend->how.model_id;
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

static void *start_remote(void *source, const struct completion_ask *ask) {
    const struct remote_completion call = {
        .prompt = ask->prompt,
        .prefix = ask->prefix,
        .suffix = ask->suffix,
        .max_tokens = ask->max_tokens,
        .temperature = ask->temperature,
        .seed = ask->seed,
        .text = ask->text,
        .done = ask->done,
        .owner = ask->owner,
    };
    return remote_complete(source, &call);
}

static void cancel_remote(void *run) {
    remote_cancel(run);
}

static struct error *find_remote(struct serve *serve, struct backend *backend) {
    const struct settings_model *how = &backend->how;
    struct remote_options options = {
        .loop = serve->loop,
        .kind = how->kind,
        .endpoint = how->api_endpoint,
        .api_key = how->api_key,
        .model = how->model_name,
        .requests_per_minute = how->requests_per_minute,
    };
    TRY_PLAIN(remote_new(&options, &backend->remote));
    if (how->prompt_template) TRY_PLAIN(template_check(how->prompt_template));
    backend->source = (struct completion_source){
        .takes_parts = remote_takes_parts(backend->remote),
        .start = start_remote,
        .cancel = cancel_remote,
        .source = backend->remote,
    };
    return NULL;
}

static struct error *find(struct serve *serve, enum model_kind kind, const char *where,
                          struct backend *backend) {
    if (backend->how.source == SETTINGS_HTTP)
        TRY(find_remote(serve, backend), "config.toml: [model.%s.http]", where);
    if (backend->how.source == SETTINGS_LOCAL) return find_local(serve, kind, backend);
    return NULL;
}

struct error *backends_find(struct serve *serve) {
    const struct arguments *arguments = serve->arguments;
    struct backend *completion = &serve->completion, *chat = &serve->chat;
    const char *device = arguments->device,
               *chat_device = arguments->chat_device ? arguments->chat_device : device;
    if (arguments->model) TRY_PLAIN(device_check(&device));
    if (arguments->chat_model) TRY_PLAIN(device_check(&chat_device));
    choose(arguments, arguments->model, device, &serve->settings->completion, "completion", completion);
    choose(arguments, arguments->chat_model, chat_device, &serve->settings->chat, "chat", chat);
    TRY_PLAIN(find(serve, MODEL_COMPLETION, "completion", completion));
    return find(serve, MODEL_CHAT, "chat", chat);
}

/* ---- loaded ---- */

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

static struct engine *load(struct serve *serve, const struct backend *backend, bool completes,
                           const struct backend *chats) {
    scoped_string char *keep = path_join(serve->places.root, completes ? "kept/completion" : "kept/chat");
    struct engine_options options = {
        .keep = keep,
        .keep_bytes = (uint64_t)environment_number("COPYCAT_KEEP_MB", KEEP_MB) << 20,
        .path = backend->model->file,
        .threads = environment_number("LLAMA_CPP_N_THREADS", 0),
        .parallelism = backend->how.parallelism,
        .context_tokens = completes ? backend->how.context_tokens : 0,
        .patient_tokens = chats ? chats->how.context_tokens : 0,
        .gpu_layers = backend->how.gpu_layers,
        .flash_attention = backend->how.fast_attention,
        .drift_tokens = environment_number("COPYCAT_SUFFIX_DRIFT", 32),
        .seam_tokens = environment_number("COPYCAT_SUFFIX_SEAM", 8),
        .repack = environment_number("COPYCAT_REPACK", repack_pays()) != 0,
        .loaded = on_loaded,
        .owner = serve,
    };
    serve->loading++;
    return engine_new(serve->loop, &options);
}

static bool is_one(const struct backend *a, const struct backend *b) {
    return a->model && b->model && strcmp(a->model->file, b->model->file) == 0 &&
           a->how.gpu_layers == b->how.gpu_layers && a->how.parallelism == b->how.parallelism;
}

void backends_load(struct serve *serve, void (*loaded)(struct serve *serve, struct error *error)) {
    struct backend *completion = &serve->completion, *chat = &serve->chat;
    serve->loaded = loaded;
    bool one = is_one(completion, chat);
    if (completion->how.source != SETTINGS_NONE) serve->window = window_new();
    if (completion->model) completion->engine = load(serve, completion, true, one ? chat : NULL);
    if (one)
        chat->engine = completion->engine, chat->shares = true;
    else if (chat->model)
        chat->engine = load(serve, chat, false, chat);
    if (serve->loading == 0) loaded(serve, NULL);
}

const char *backend_name(const struct backend *backend) {
    if (backend->how.source == SETTINGS_LOCAL) return backend->model->id;
    return backend->how.model_name ? backend->how.model_name : "Remote";
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
    remote_free(serve->completion.remote);
    remote_free(serve->chat.remote);
    model_free(serve->completion.model);
    model_free(serve->chat.model);
    window_free(serve->window);
    error_free(serve->load_error);
}
