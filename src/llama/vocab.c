/* Tokens: text to tokens and back, and which tokens end an answer or must never be in one.
 *
 * libllama counts "</s>" as an end in every vocabulary; in some it is ordinary text (a strikethrough in
 * HTML), so it ends an answer only where the model names it as its end. Control tokens that do not end an
 * answer are never sampled. */
#include "inside.h"

#include <stdlib.h>

void tokens_add(struct tokens *tokens, const llama_token *data, uint32_t count) {
    if (count == 0) return;
    if (tokens->count + count > tokens->capacity) {
        tokens->capacity = (tokens->count + count) * 2;
        tokens->data = mem_grow(tokens->data, tokens->capacity, sizeof *tokens->data);
    }
    memcpy(tokens->data + tokens->count, data, count * sizeof *data);
    tokens->count += count;
}

void tokens_done(struct tokens *tokens) {
    free(tokens->data);
    *tokens = (struct tokens){0};
}

uint32_t tokens_common(const struct tokens *a, const struct tokens *b) {
    uint32_t count = a->count < b->count ? a->count : b->count, i = 0;
    while (i < count && a->data[i] == b->data[i]) i++;
    return i;
}

static void keep_controls(struct engine *engine) {
    size_t count = 0;
    for (uint32_t i = 0; i < engine->token_count; i++) {
        llama_token token = (llama_token)i;
        const char *text = llama_vocab_get_text(engine->vocab, token);
        if (!(llama_vocab_get_attr(engine->vocab, token) & LLAMA_TOKEN_ATTR_CONTROL) || !text || !text[1])
            continue;
        engine->controls = mem_grow(engine->controls, count + 2, sizeof *engine->controls);
        engine->controls[count++] = mem_string(text);
        engine->controls[count] = NULL;
    }
}

void vocab_read(struct engine *engine) {
    const struct llama_vocab *vocab = engine->vocab = llama_model_get_vocab(engine->model);
    engine->token_count = (uint32_t)llama_vocab_n_tokens(vocab);
    engine->marks = mem_new(engine->token_count);
    llama_token eos = llama_vocab_eos(vocab), eot = llama_vocab_eot(vocab);
    for (uint32_t i = 0; i < engine->token_count; i++) {
        llama_token token = (llama_token)i;
        if (llama_vocab_is_eog(vocab, token)) {
            bool ends =
                token == eos || token == eot || strcmp(llama_vocab_get_text(vocab, token), "</s>") != 0;
            engine->marks[i] = ends ? MARK_END : MARK_SPELLED;
        } else if (llama_vocab_get_attr(vocab, token) &
                   (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNUSED)) {
            engine->marks[i] = MARK_BANNED;
        }
    }
    keep_controls(engine);
    llama_token never[] = {llama_vocab_fim_pre(vocab), llama_vocab_fim_suf(vocab),
                           llama_vocab_fim_mid(vocab)};
    for (size_t i = 0; i < COUNT(never); i++)
        if (never[i] >= 0) engine->marks[never[i]] = MARK_BANNED;
}

static struct error *tokenise(struct engine *engine, struct tokens *out, const struct engine_piece *piece,
                              bool first) {
    if (piece->text.size == 0 && !first) return NULL;
    uint32_t room = (uint32_t)piece->text.size +
                    8; /* a token spells at least a byte, and some vocabularies add a first one */
    llama_token *tokens = mem_array(room, sizeof *tokens);
    int32_t count = llama_tokenize(engine->vocab, piece->text.data ? piece->text.data : "",
                                   (int32_t)piece->text.size, tokens, (int32_t)room, first, piece->special);
    if (count > 0) tokens_add(out, tokens, (uint32_t)count);
    free(tokens);
    return count < 0 ? error_new(ERROR_INTERNAL, "the prompt can't be split into tokens") : NULL;
}

struct error *vocab_split(struct engine *engine, struct span text, struct tokens *out) {
    struct engine_piece piece = {.text = text, .special = true};
    return tokenise(engine, out, &piece, false);
}

static uint32_t most_tokens(const struct engine *engine, const struct engine_job *job) {
    return job->options.patient ? engine->options.patient_tokens : engine->options.context_tokens;
}

static void remove_tokens(struct tokens *tokens, uint32_t at, uint32_t count) {
    tokens->count -= count;
    memmove(tokens->data + at, tokens->data + at + count, (tokens->count - at) * sizeof *tokens->data);
}

/* For who names no limit: what its share of the context leaves, but enough for an answer where the context
 * has it. */
static uint32_t rest_of_share(const struct engine *engine, uint32_t prompt, uint32_t may) {
    uint32_t share = may / engine->options.parallelism, wanted = prompt + ANSWER_TOKENS + 1;
    uint32_t end = share > wanted ? share : wanted < may ? wanted : may;
    return end > prompt + 1 ? end - prompt - 1 : 1;
}

/* Cuts what is farthest from the cursor: the front of what shrinks, then the end of what is movable. */
static struct error *fit(const struct engine *engine, struct engine_job *job, uint32_t shrinks_at,
                         uint32_t shrinks) {
    uint32_t total = job->head.count + job->movable.count + job->tail.count, may = most_tokens(engine, job);
    if (job->options.max_tokens == 0) job->options.max_tokens = rest_of_share(engine, total, may);
    uint32_t needed = total + job->options.max_tokens + 1, excess = needed > may ? needed - may : 0;
    uint32_t cut = excess < shrinks ? excess : shrinks;
    remove_tokens(&job->head, shrinks_at, cut);
    if (shrinks > 0 && excess - cut < job->movable.count) job->movable.count -= excess - cut, cut = excess;
    job->result.prompt_tokens = total - cut;
    if (cut < excess)
        return error_new(ERROR_OUT_OF_RANGE,
                         "the prompt has %u tokens and %u may follow, but the context holds %u", total,
                         job->options.max_tokens, may);
    return total ? NULL : error_new(ERROR_INVALID_ARGUMENT, "the prompt is empty");
}

/* Head, movable and tail. Where nothing follows the movable pieces, or nothing is movable, all of it is head.
 */
struct error *vocab_tokenise(struct engine *engine, struct engine_job *job) {
    const struct engine_piece *pieces = job->options.pieces;
    size_t count = job->options.piece_count, from = 0, to = count;
    while (from < count && !pieces[from].movable) from++;
    while (to > from && !pieces[to - 1].movable) to--;
    bool splits = from < to && to < count && from > 0 && engine->options.drift_tokens > 0;
    uint32_t shrinks_at = 0, shrinks = 0;
    for (size_t i = 0; i < count; i++) {
        struct tokens *out = !splits || i < from ? &job->head : i < to ? &job->movable : &job->tail;
        uint32_t before = out->count;
        TRY_PLAIN(tokenise(engine, out, &pieces[i], i == 0));
        if (pieces[i].shrinks) shrinks_at = before, shrinks = out->count - before;
    }
    TRY_PLAIN(fit(engine, job, shrinks_at, shrinks));
    /* The seam: what stands right behind the cursor is read together with what was typed before it. */
    uint32_t seam =
        job->movable.count < engine->options.seam_tokens ? job->movable.count : engine->options.seam_tokens;
    if (seam > 0) {
        tokens_add(&job->head, job->movable.data, seam);
        remove_tokens(&job->movable, 0, seam);
    }
    if (job->movable.count == 0 || job->tail.count == 0) { /* empty texts: nothing to move after all */
        tokens_add(&job->head, job->movable.data, job->movable.count);
        tokens_add(&job->head, job->tail.data, job->tail.count);
        job->movable.count = job->tail.count = 0;
    }
    return NULL;
}

struct span vocab_piece(struct engine *engine, const struct engine_job *job, llama_token token, char *buffer,
                        size_t size_bytes) {
    bool spelled = engine->marks[token] & MARK_SPELLED;
    for (uint32_t i = 0; i < job->spelled.count; i++) spelled |= job->spelled.data[i] == token;
    int32_t size = llama_token_to_piece(engine->vocab, token, buffer, (int32_t)size_bytes, 0, spelled);
    return (struct span){buffer, size > 0 ? (size_t)size : 0};
}
