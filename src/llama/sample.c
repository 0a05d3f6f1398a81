/* From logits to a token: the best ones, min-p, top-p, temperature, a seeded die. Pure.
 *
 * One pass keeps the k best, so that the cost is that of reading the logits. Banned tokens are never seen. */
#include "inside.h"

#include <math.h>

/* xorshift64*: the same seed gives the same text. */
static double roll(uint64_t *dice) {
    uint64_t x = *dice ? *dice : 0x9e3779b97f4a7c15u;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    *dice = x;
    return (double)((x * 0x2545f4914f6cdd1du) >> 11) / (double)(1ull << 53);
}

uint32_t sample_best(const float *logits, const uint8_t *marks, uint32_t count, llama_token_data *out,
                     uint32_t k) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept == k && !(logits[i] > out[kept - 1].logit)) continue;
        if (marks[i] & MARK_BANNED) continue;
        uint32_t at = kept < k ? kept++ : kept - 1;
        for (; at > 0 && out[at - 1].logit < logits[i]; at--) out[at] = out[at - 1];
        out[at] = (llama_token_data){.id = (llama_token)i, .logit = logits[i]};
    }
    return kept;
}

uint32_t sample_width(const struct engine_job_options *options) {
    if (!(options->temperature > 0)) return 1;
    if (options->top_k == 0) return 40;
    return options->top_k > CANDIDATES_MAX ? CANDIDATES_MAX : options->top_k;
}

llama_token sample_draw(const llama_token_data *candidates, uint32_t count,
                        const struct engine_job_options *options, uint64_t *dice) {
    if (!(options->temperature > 0) || count < 2) return candidates[0].id;
    double weights[CANDIDATES_MAX], sum = 0, cut = options->top_p > 0 ? (double)options->top_p : 0.95;
    for (uint32_t i = 0; i < count; i++)
        sum += weights[i] = exp((double)(candidates[i].logit - candidates[0].logit));
    double mass = 0;
    uint32_t nucleus = 0;
    while (nucleus < count && mass < cut * sum && weights[nucleus] >= (double)options->min_p)
        mass += weights[nucleus++];
    if (nucleus == 0) nucleus = 1;
    sum = 0;
    for (uint32_t i = 0; i < nucleus; i++)
        sum += weights[i] =
            exp((double)(candidates[i].logit - candidates[0].logit) / (double)options->temperature);
    double point = roll(dice) * sum;
    for (uint32_t i = 0; i < nucleus; i++)
        if ((point -= weights[i]) < 0) return candidates[i].id;
    return candidates[nucleus - 1].id;
}
