/* From logits to a token: top-k, top-p, temperature, a seeded die. Pure.
 *
 * One pass keeps the k best, so that the cost is that of reading the logits. Banned tokens are never seen. */
#include "inside.h"

#include <math.h>

#define TOP_K_MAX 128

struct candidate {
    float logit;
    llama_token token;
};

/* xorshift64*: the same seed gives the same text. */
static double roll(uint64_t *dice) {
    uint64_t x = *dice ? *dice : 0x9e3779b97f4a7c15u;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    *dice = x;
    return (double)((x * 0x2545f4914f6cdd1du) >> 11) / (double)(1ull << 53);
}

static uint32_t best(const float *logits, const uint8_t *marks, uint32_t count, struct candidate *out,
                     uint32_t k) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept == k && !(logits[i] > out[kept - 1].logit)) continue;
        if (marks[i] & MARK_BANNED) continue;
        uint32_t at = kept < k ? kept++ : kept - 1;
        for (; at > 0 && out[at - 1].logit < logits[i]; at--) out[at] = out[at - 1];
        out[at] = (struct candidate){logits[i], (llama_token)i};
    }
    return kept;
}

llama_token sample(const float *logits, const uint8_t *marks, uint32_t count,
                   const struct engine_job_options *options, uint64_t *dice) {
    struct candidate candidates[TOP_K_MAX];
    bool greedy = !(options->temperature > 0);
    uint32_t k = greedy                       ? 1
                 : options->top_k == 0        ? 40
                 : options->top_k > TOP_K_MAX ? TOP_K_MAX
                                              : options->top_k;
    uint32_t kept = best(logits, marks, count, candidates, k);
    if (greedy || kept < 2) return kept ? candidates[0].token : 0;

    double weights[TOP_K_MAX], sum = 0, cut = options->top_p > 0 ? (double)options->top_p : 0.95;
    for (uint32_t i = 0; i < kept; i++)
        sum += weights[i] = exp((double)(candidates[i].logit - candidates[0].logit));
    double mass = 0;
    uint32_t nucleus = 0;
    while (nucleus < kept && mass < cut * sum) mass += weights[nucleus++];
    sum = 0;
    for (uint32_t i = 0; i < nucleus; i++)
        sum += weights[i] =
            exp((double)(candidates[i].logit - candidates[0].logit) / (double)options->temperature);
    double point = roll(dice) * sum;
    for (uint32_t i = 0; i < nucleus; i++)
        if ((point -= weights[i]) < 0) return candidates[i].token;
    return candidates[nucleus - 1].token;
}
