/* bare: the least program on libllama that answers once; what copycat is held against.
 *
 *   bare MODEL.gguf PREFIX-FILE SUFFIX-FILE MAX-TOKENS [repack] [wait]
 * Loads the model, makes a context, fills in the middle greedily and prints the text. On stderr: how long
 * after its start the context was made ("ready"), the first token came and the answer was whole, in ms. With
 * `wait` it stays until its stdin ends, so that its memory can be looked at. */
#include <include/llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct timespec began;

static double since_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began.tv_sec) * 1e3 + (double)(now.tv_nsec - began.tv_nsec) / 1e6;
}

static char *slurp(const char *path, int *size) {
    FILE *file = fopen(path, "re");
    char *text = calloc(1, 1 << 20);
    if (!file || !text) exit(1);
    *size = (int)fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    return text;
}

static void quiet(enum ggml_log_level level, const char *text, void *unused) {
    (void)level, (void)text, (void)unused;
}

static int add(const struct llama_vocab *vocab, const char *text, int size, llama_token *tokens, int count) {
    return count + llama_tokenize(vocab, text, size, tokens + count, 8192 - count, count == 0, false);
}

int main(int argc, char **argv) {
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (argc < 5) return 2;
    int repack = argc > 5 && strcmp(argv[5], "repack") == 0, waits = strcmp(argv[argc - 1], "wait") == 0;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = repack;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (!model) return 1;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 4096;
    params.n_threads = params.n_threads_batch = (int)sysconf(_SC_NPROCESSORS_ONLN);
    struct llama_context *context = llama_init_from_model(model, params);
    if (!context) return 1;
    fprintf(stderr, "ready %.1f\n", since_ms());

    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    static llama_token tokens[8192];
    int prefix_size, suffix_size, count = 0;
    char *prefix = slurp(argv[2], &prefix_size), *suffix = slurp(argv[3], &suffix_size);
    int fills = llama_vocab_fim_pre(vocab) >= 0;
    if (fills) tokens[count++] = llama_vocab_fim_pre(vocab);
    count = add(vocab, prefix, prefix_size, tokens, count);
    if (fills) {
        tokens[count++] = llama_vocab_fim_suf(vocab);
        count = add(vocab, suffix, suffix_size, tokens, count);
        tokens[count++] = llama_vocab_fim_mid(vocab);
    }
    int words = llama_vocab_n_tokens(vocab);
    for (int left = (int)strtol(argv[4], NULL, 10), from = 0; left > 0; left--) {
        if (llama_decode(context, llama_batch_get_one(tokens + from, count - from)) != 0) return 1;
        const float *logits = llama_get_logits_ith(context, -1);
        int best = 0;
        for (int i = 1; i < words; i++)
            if (logits[i] > logits[best]) best = i;
        if (from == 0) fprintf(stderr, "first %.1f\n", since_ms());
        from = count;
        if (llama_vocab_is_eog(vocab, best)) break;
        char piece[256];
        int size = llama_token_to_piece(vocab, best, piece, sizeof piece, 0, false);
        if (size > 0) fwrite(piece, 1, (size_t)size, stdout);
        tokens[count++] = best;
    }
    fflush(stdout);
    fprintf(stderr, "whole %.1f\n", since_ms());
    if (waits)
        while (getchar() != EOF) continue;
    _exit(0);
}
