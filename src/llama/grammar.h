/* The C face of libllama's grammar sampler (which throws). */
#pragma once
#include <include/llama.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif
struct grammar;
/* `triggers`: NULL-terminated, or NULL: it holds from the beginning. NULL: it can't be read. */
struct grammar *grammar_new(const struct llama_vocab *vocab, const char *text, const char *const *triggers);
void grammar_free(struct grammar *grammar);
/* Gives what is not allowed a logit of -INFINITY. False: it has lost its way. */
bool grammar_apply(struct grammar *grammar, llama_token_data_array *candidates);
bool grammar_accept(struct grammar *grammar, llama_token token);
#ifdef __cplusplus
}
#endif
