/* What makes vectors of texts: a model here, or another server; told by config.toml, or Tabby's own by
 * TABBY_EMBEDDING_ENABLED=yes. Without one, code is searched by its words. */
#include "search.h"

#include <stdlib.h>

#define DEFAULT_MODEL "Nomic-Embed-Text"
#define AGAIN_MS 20000 /* after a failure */

struct embeddings {
    struct settings_model how; /* its texts are borrowed */
    struct model *model;
    struct embedder *embedder; /* here */
    struct remote_embedder *remote;
    uint32_t input_characters; /* 0: no cut */
    char *name;                /* of what makes the vectors: those of others are worth nothing */
    _Atomic int64_t failed_ms; /* monotonic; 0: the last call went well */
};

static struct error *find_local(struct serve *serve, struct embeddings *embeddings) {
    const struct settings_model *how = &embeddings->how;
    TRY(model_find(&serve->places, how->model_id, MODEL_ANY, &embeddings->model), "the embedding model");
    struct gguf_facts facts;
    TRY_PLAIN(gguf_check_file(embeddings->model->file, &facts));
    struct embedder_options options = {
        .path = embeddings->model->file,
        .threads = environment_number("LLAMA_CPP_N_THREADS", 0),
        .gpu_layers = how->gpu_layers,
        .context_tokens = environment_number("LLAMA_CPP_EMBEDDING_N_UBATCH_SIZE", 0),
    };
    embeddings->embedder = embedder_new(&options);
    embeddings->name = mem_string(how->model_id);
    return NULL;
}

static struct error *find_remote(struct embeddings *embeddings) {
    const struct settings_model *how = &embeddings->how;
    struct remote_options options = {
        .kind = how->kind,
        .endpoint = how->api_endpoint,
        .api_key = how->api_key,
        .model = how->model_name,
        .requests_per_minute = how->requests_per_minute,
    };
    embeddings->name = mem_printf("%s %s %s", how->kind, how->api_endpoint ? how->api_endpoint : "",
                                  how->model_name ? how->model_name : "");
    return remote_embedder_new(&options, &embeddings->remote);
}

struct error *embeddings_find(struct serve *serve) {
    const char *enabled = getenv("TABBY_EMBEDDING_ENABLED");
    bool wanted = enabled && strcmp(enabled, "yes") == 0;
    if (enabled && !wanted) return NULL;
    struct settings_model how = serve->settings->embedding;
    if (how.source == SETTINGS_NONE && !wanted) return NULL;
    if (how.source == SETTINGS_NONE)
        how = (struct settings_model){.source = SETTINGS_LOCAL,
                                      .model_id = (char *)DEFAULT_MODEL,
                                      .parallelism = 1,
                                      .gpu_layers = 9999};
    struct embeddings *embeddings = serve->embeddings = NEW(struct embeddings);
    embeddings->how = how;
    embeddings->input_characters = serve->settings->embedding_input_length;
    if (how.source == SETTINGS_LOCAL) return find_local(serve, embeddings);
    TRY(find_remote(embeddings), "config.toml: [model.embedding.http]");
    return NULL;
}

void embeddings_free(struct serve *serve) {
    struct embeddings *embeddings = serve->embeddings;
    if (!embeddings) return;
    embedder_free(embeddings->embedder);
    remote_embedder_free(embeddings->remote);
    model_free(embeddings->model);
    free(embeddings->name);
    free(embeddings);
    serve->embeddings = NULL;
}

bool embeddings_there(const struct serve *serve) {
    return serve->embeddings != NULL;
}

uint64_t embeddings_give_back(struct serve *serve) {
    return serve->embeddings && serve->embeddings->embedder ? embedder_give_back(serve->embeddings->embedder)
                                                            : 0;
}

json_t *embeddings_health(const struct serve *serve) {
    const struct embeddings *embeddings = serve->embeddings;
    if (!embeddings) return json_null();
    const struct settings_model *how = &embeddings->how;
    if (how->source == SETTINGS_LOCAL)
        return json_pack("{s:{s:s,s:s}}", "local", "model_id", how->model_id, "device", "cpu");
    json_t *remote = json_pack("{s:s}", "kind", how->kind);
    if (how->model_name) json_object_set_new(remote, "model_name", json_string(how->model_name));
    json_object_set_new(remote, "api_endpoint", json_string(how->api_endpoint ? how->api_endpoint : ""));
    return json_pack("{s:o}", "remote", remote);
}

/* ---- on a worker ---- */

static struct span cut(const struct embeddings *embeddings, struct span text) {
    size_t characters = 0;
    if (embeddings->input_characters == 0) return text;
    for (size_t i = 0; i < text.size; i++) {
        if (((unsigned char)text.data[i] & 0xc0) == 0x80) continue;
        if (characters++ == embeddings->input_characters) return (struct span){text.data, i};
    }
    return text;
}

/* Somebody who types must not wait for a server that is down, again and again. */
static struct error *noted(struct embeddings *embeddings, struct error *error) {
    embeddings->failed_ms = error ? clock_monotonic_ms() : 0;
    return error;
}

static struct error *embed(void *owner, struct span text, float *out) {
    struct embeddings *embeddings = owner;
    text = cut(embeddings, text);
    return noted(embeddings, embeddings->embedder ? embedder_run(embeddings->embedder, text, out)
                                                  : remote_embedder_run(embeddings->remote, text, out));
}

struct error *embeddings_ready(struct serve *serve, struct index_embedder *ret_embedder) {
    struct embeddings *embeddings = serve->embeddings;
    int64_t failed_ms = embeddings->failed_ms;
    *ret_embedder = (struct index_embedder){.model = embeddings->name, .embed = embed, .owner = embeddings};
    if (failed_ms && clock_monotonic_ms() - failed_ms < AGAIN_MS)
        return error_new(ERROR_UNAVAILABLE, "the model that embeds failed a moment ago");
    return noted(embeddings, embeddings->embedder
                                 ? embedder_dimensions(embeddings->embedder, &ret_embedder->dimensions)
                                 : remote_embedder_dimensions(embeddings->remote, &ret_embedder->dimensions));
}
