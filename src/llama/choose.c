/* The next token of a job: its biases and penalties, its grammar, then the die.
 *
 * A grammar looks at the best candidates first, which costs little; only where it allows none of them it
 * looks at the whole vocabulary. */
#include "inside.h"

#include <math.h>
#include <stdlib.h>

struct error *choose_prepare(struct engine *engine, struct engine_job *job) {
    const struct engine_job_options *options = &job->options;
    for (size_t i = 0; options->spelled && options->spelled[i]; i++) {
        llama_token token;
        const char *text = options->spelled[i];
        if (llama_tokenize(engine->vocab, text, (int32_t)strlen(text), &token, 1, false, true) == 1)
            tokens_add(&job->spelled, &token, 1);
    }
    for (size_t i = 0; i < options->bias_count; i++)
        if (options->biases[i].token < 0 || (uint32_t)options->biases[i].token >= engine->token_count)
            return error_new(ERROR_INVALID_ARGUMENT, "logit_bias: there is no token %d",
                             options->biases[i].token);
    if (!options->grammar) return NULL;
    job->grammar = grammar_new(engine->vocab, options->grammar, options->triggers);
    if (!job->grammar) return error_new(ERROR_INVALID_ARGUMENT, "the grammar of the answer can't be read");
    if (!options->begun || options->triggers) return NULL;
    scoped_tokens struct tokens begun = {0};
    TRY_PLAIN(vocab_split(engine, span_of(options->begun), &begun));
    for (uint32_t i = 0; i < begun.count; i++)
        if (!grammar_accept(job->grammar, begun.data[i]))
            return error_new(ERROR_INTERNAL, "the grammar of the answer does not fit the chat template");
    return NULL;
}

static void adjust(struct engine_job *job, float *logits) {
    const struct engine_job_options *options = &job->options;
    for (size_t i = 0; i < options->bias_count; i++)
        logits[options->biases[i].token] += options->biases[i].bias;
    for (uint32_t i = 0; i < job->seen.count; i++)
        logits[job->seen.data[i]] -=
            options->presence_penalty + options->frequency_penalty * (float)job->seen_counts[i];
}

static void remember(struct engine_job *job, llama_token token) {
    if (job->options.presence_penalty == 0 && job->options.frequency_penalty == 0) return;
    for (uint32_t i = 0; i < job->seen.count; i++) {
        if (job->seen.data[i] != token) continue;
        job->seen_counts[i]++;
        return;
    }
    tokens_add(&job->seen, &token, 1);
    if (job->seen.count > job->seen_counts_capacity) {
        job->seen_counts_capacity = job->seen.capacity;
        job->seen_counts = mem_grow(job->seen_counts, job->seen_counts_capacity, sizeof *job->seen_counts);
    }
    job->seen_counts[job->seen.count - 1] = 1;
}

static int by_logit(const void *a, const void *b) {
    float x = ((const llama_token_data *)a)->logit, y = ((const llama_token_data *)b)->logit;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Those that the grammar allows, the best first; at most CANDIDATES_MAX. */
static uint32_t allowed(struct engine_job *job, llama_token_data *candidates, uint32_t count) {
    llama_token_data_array array = {.data = candidates, .size = count, .selected = -1};
    if (!grammar_apply(job->grammar, &array)) return 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (candidates[i].logit > -INFINITY) candidates[kept++] = candidates[i];
    return kept;
}

static uint32_t allowed_of_all(struct engine *engine, struct engine_job *job, const float *logits,
                               llama_token_data *out, uint32_t k) {
    llama_token_data *all = mem_array(engine->token_count, sizeof *all);
    uint32_t count = 0;
    for (uint32_t i = 0; i < engine->token_count; i++)
        if (!(engine->marks[i] & MARK_BANNED))
            all[count++] = (llama_token_data){.id = (llama_token)i, .logit = logits[i]};
    count = allowed(job, all, count);
    qsort(all, count, sizeof *all, by_logit);
    if (count > k) count = k;
    memcpy(out, all, count * sizeof *all);
    free(all);
    return count;
}

static llama_token pick(struct engine *engine, struct engine_job *job, const float *logits) {
    llama_token_data candidates[CANDIDATES_MAX];
    uint32_t k = sample_width(&job->options), wide = job->grammar && k < 40 ? 40 : k;
    uint32_t count = sample_best(logits, engine->marks, engine->token_count, candidates, wide);
    if (job->grammar) {
        count = allowed(job, candidates, count);
        if (count == 0) count = allowed_of_all(engine, job, logits, candidates, k);
        if (count == 0) return -1;
    }
    if (count > k) count = k;
    return count ? sample_draw(candidates, count, &job->options, &job->dice) : -1;
}

llama_token choose_token(struct engine *engine, struct engine_job *job, float *logits) {
    uint8_t marks[16];
    uint32_t spelled = job->spelled.count < COUNT(marks) ? job->spelled.count : COUNT(marks);
    for (uint32_t i = 0; i < spelled; i++) {
        marks[i] = engine->marks[job->spelled.data[i]];
        engine->marks[job->spelled.data[i]] &= (uint8_t)~MARK_BANNED;
    }
    adjust(job, logits);
    llama_token token = pick(engine, job, logits);
    for (uint32_t i = spelled; i-- > 0;) engine->marks[job->spelled.data[i]] = marks[i];
    if (token < 0) return -1;
    bool ends = engine->marks[token] & MARK_END;
    if (job->grammar && !ends && !grammar_accept(job->grammar, token)) return -1;
    if (!ends) remember(job, token);
    return token;
}
