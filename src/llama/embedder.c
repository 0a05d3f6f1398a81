/* Texts to vectors: a model that embeds, in a context of its own.
 *
 * Loaded when it is asked for the first time, so that a server starts without waiting for it. One text at a
 * time, whole in one batch, as models that look in both directions need it; what is longer than the model's
 * context loses its end. The model says itself how it pools. Calls block, and wait for each other. */
#include "inside.h"

#include <sched.h>
#include <stdlib.h>

#define TOKENS_MAX 2048 /* of one text: more than any chunk or question has */

struct embedder {
    char *path;
    uint32_t threads, gpu_layers, token_count, dimensions;
    pthread_mutex_t mutex;
    struct llama_model *model;
    struct llama_context *context;
    struct llama_batch batch;
};

struct embedder *embedder_new(const struct embedder_options *options) {
    struct embedder *embedder = NEW(struct embedder);
    embedder->path = mem_string(options->path);
    embedder->threads = options->threads;
    embedder->gpu_layers = options->gpu_layers;
    embedder->token_count = options->context_tokens ? options->context_tokens : TOKENS_MAX;
    if (embedder->token_count > TOKENS_MAX) embedder->token_count = TOKENS_MAX;
    pthread_mutex_init(&embedder->mutex, NULL);
    return embedder;
}

static void unload(struct embedder *embedder) {
    if (embedder->batch.token) llama_batch_free(embedder->batch);
    if (embedder->context) llama_free(embedder->context);
    if (embedder->model) llama_model_free(embedder->model);
    embedder->batch = (struct llama_batch){0};
    embedder->context = NULL;
    embedder->model = NULL;
}

void embedder_free(struct embedder *embedder) {
    if (!embedder) return;
    unload(embedder);
    pthread_mutex_destroy(&embedder->mutex);
    free(embedder->path);
    free(embedder);
}

/* Half of the processors: somebody else's completion computes beside it. */
static uint32_t half_of_cpus(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 1 ? (uint32_t)count / 2 : 1;
}

static struct error *make_context(struct embedder *embedder) {
    struct llama_context_params context = llama_context_default_params();
    uint32_t trained = (uint32_t)llama_model_n_ctx_train(embedder->model);
    if (trained > 0 && trained < embedder->token_count) embedder->token_count = trained;
    context.n_ctx = context.n_batch = context.n_ubatch = embedder->token_count;
    context.n_seq_max = 1;
    context.n_threads = context.n_threads_batch =
        (int32_t)(embedder->threads ? embedder->threads : half_of_cpus());
    context.embeddings = true;
    context.no_perf = true;
    embedder->context = llama_init_from_model(embedder->model, context);
    if (!embedder->context || llama_pooling_type(embedder->context) == LLAMA_POOLING_TYPE_NONE)
        return error_new(ERROR_INVALID_ARGUMENT, "%s is no model that embeds texts", embedder->path);
    embedder->dimensions = (uint32_t)llama_model_n_embd(embedder->model);
    embedder->batch = llama_batch_init((int32_t)embedder->token_count, 0, 1);
    return NULL;
}

static struct error *load(struct embedder *embedder) {
    if (embedder->context) return NULL;
    struct gguf_facts facts;
    struct llama_model_params params = llama_model_default_params();
    TRY_PLAIN(gguf_check_file(embedder->path, &facts));
    llama_begin();
    params.load_mode = LLAMA_LOAD_MODE_MMAP;
    params.use_extra_bufts = false; /* its memory can be given back */
    params.n_gpu_layers = (int32_t)embedder->gpu_layers;
    embedder->model = llama_model_load_from_file(embedder->path, params);
    struct error *error = embedder->model
                              ? make_context(embedder)
                              : error_new(ERROR_INVALID_ARGUMENT, "libllama can't load %s", embedder->path);
    if (error) unload(embedder);
    return error;
}

/* Tokens into the batch; what is too long keeps its beginning, and the last token, which ends a sequence. */
static struct error *fill(struct embedder *embedder, struct span text) {
    const struct llama_vocab *vocab = llama_model_get_vocab(embedder->model);
    uint32_t room = (uint32_t)text.size + 8;
    llama_token *tokens = mem_array(room, sizeof *tokens);
    int32_t count = llama_tokenize(vocab, text.data, (int32_t)text.size, tokens, (int32_t)room, true, false);
    struct llama_batch *batch = &embedder->batch;
    batch->n_tokens = 0;
    uint32_t taken = count > (int32_t)embedder->token_count ? embedder->token_count : (uint32_t)count;
    for (uint32_t i = 0; count > 0 && i < taken; i++) {
        batch->token[i] = i + 1 == taken ? tokens[count - 1] : tokens[i];
        batch->pos[i] = (llama_pos)i;
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = 0;
        batch->logits[i] = true;
        batch->n_tokens++;
    }
    free(tokens);
    return batch->n_tokens > 0 ? NULL : error_new(ERROR_INVALID_ARGUMENT, "the text has no words to embed");
}

static struct error *compute(struct embedder *embedder, struct span text, float *out) {
    TRY_PLAIN(fill(embedder, text));
    llama_memory_t memory = llama_get_memory(embedder->context);
    if (memory) llama_memory_clear(memory, true);
    /* Without a memory there is nothing to go on from: an encoder. */
    int32_t code = memory ? llama_decode(embedder->context, embedder->batch)
                          : llama_encode(embedder->context, embedder->batch);
    const float *numbers = code == 0 ? llama_get_embeddings_seq(embedder->context, 0) : NULL;
    if (!numbers) return error_new(ERROR_INTERNAL, "libllama gave no vector (%d)", code);
    memcpy(out, numbers, embedder->dimensions * sizeof *out);
    return NULL;
}

struct error *embedder_dimensions(struct embedder *embedder, uint32_t *ret_dimensions) {
    pthread_mutex_lock(&embedder->mutex);
    struct error *error = load(embedder);
    *ret_dimensions = embedder->dimensions;
    pthread_mutex_unlock(&embedder->mutex);
    return error;
}

struct error *embedder_run(struct embedder *embedder, struct span text, float *out) {
    pthread_mutex_lock(&embedder->mutex);
    struct error *error = load(embedder);
    if (!error) error = compute(embedder, text, out);
    pthread_mutex_unlock(&embedder->mutex);
    return error;
}

uint64_t embedder_give_back(struct embedder *embedder) {
    return maps_give_back(embedder->path);
}
