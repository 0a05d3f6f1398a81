/* See grammar.h. */
#include "grammar.h"

#include <memory>

struct grammar {
    llama_sampler *sampler;
};

struct grammar *grammar_new(const struct llama_vocab *vocab, const char *text, const char *const *triggers) {
    size_t count = 0;
    while (triggers && triggers[count]) count++;
    try {
        auto made = std::make_unique<grammar>();
        made->sampler = triggers ? llama_sampler_init_grammar_lazy_patterns(
                                       vocab, text, "root", const_cast<const char **>(triggers), count,
                                       nullptr, 0)
                                 : llama_sampler_init_grammar(vocab, text, "root");
        return made->sampler ? made.release() : nullptr;
    } catch (...) {
        return nullptr;
    }
}

void grammar_free(struct grammar *grammar) {
    if (grammar) llama_sampler_free(grammar->sampler);
    delete grammar;
}

bool grammar_apply(struct grammar *grammar, llama_token_data_array *candidates) {
    try {
        llama_sampler_apply(grammar->sampler, candidates);
        return true;
    } catch (...) {
        return false;
    }
}

bool grammar_accept(struct grammar *grammar, llama_token token) {
    try {
        llama_sampler_accept(grammar->sampler, token);
        return true;
    } catch (...) {
        return false;
    }
}
