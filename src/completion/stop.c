/* Stop words: where a completion ends although the model would go on.
 *
 * The longest word that ends the text decides, and the text is cut before it; it may begin in the prompt,
 * then nothing is left. Words are looked for at each byte, not only where a piece ends. One exception: a
 * keyword in the middle of a piece counts only where a word ends there, or "\ndefault" would be taken for
 * "\ndef". */
#include "completion.h"

#include <ctype.h>
#include <stdlib.h>

#define WORD_MAX 64 /* the longest look back into the prompt */

struct word {
    char *bytes;
    size_t size;
    bool keyword;
};

struct stop {
    struct word *words;
    size_t count;
    struct text all; /* the prompt's end, then the output */
    size_t prompt_size;
    size_t end; /* of the text, in `all` */
    bool stopped;
};

static const char *const always[] = {
    "\n\n",           "\n\n  ",           "\n\n    ",           "\n\n      ",       "\n\n        ",
    "\n\n          ", "\n\n            ", "\n\n              ", "\n\n\t",           "\n\n\t\t",
    "\n\n\t\t\t",     "\n\n\t\t\t\t",     "\n\n\t\t\t\t\t",     "\n\n\t\t\t\t\t\t", "<fim_prefix>",
    "<fim_suffix>",   "<fim_middle>",     "<file_sep>",         " <EOT>",           "<|fim_prefix|>",
    "<|fim_suffix|>", "<|fim_middle|>",   "<|file_separator|>", "<|system|>",       "<|user|>",
    "<|end|>",        "<|assistant|>",
};

static void add(struct stop *stop, char *taken_word, bool keyword) {
    stop->words = mem_grow(stop->words, stop->count + 1, sizeof *stop->words);
    stop->words[stop->count++] = (struct word){taken_word, strlen(taken_word), keyword};
}

struct stop *stop_new(const struct language *language, struct span prompt, const char *const *more) {
    struct stop *stop = NEW(struct stop);
    for (size_t i = 0; i < COUNT(always); i++) add(stop, mem_string(always[i]), false);
    if (language->comment) add(stop, mem_printf("\n%s", language->comment), false);
    struct span rest = span_of(language->keywords);
    for (struct span word; rest.size > 0 && (word = span_cut(&rest, ' ')).size > 0;)
        add(stop, mem_printf("\n" SPAN_FORMAT, SPAN_ARGS(word)), true);
    for (size_t i = 0; more && more[i]; i++)
        if (*more[i]) add(stop, mem_string(more[i]), false);
    size_t kept = prompt.size < WORD_MAX ? prompt.size : WORD_MAX;
    if (kept) text_add(&stop->all, (struct span){prompt.data + prompt.size - kept, kept});
    stop->prompt_size = stop->end = kept;
    return stop;
}

void stop_free(struct stop *stop) {
    if (!stop) return;
    for (size_t i = 0; i < stop->count; i++) free(stop->words[i].bytes);
    free(stop->words);
    text_done(&stop->all);
    free(stop);
}

void stop_ignore(struct stop *stop) {
    for (size_t i = 0; i < stop->count; i++) free(stop->words[i].bytes);
    stop->count = 0;
}

static bool continues_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* The size of the longest stop word that ends at `end`, which is more than the prompt. */
static size_t match(const struct stop *stop, size_t end) {
    size_t longest = 0;
    for (size_t i = 0; i < stop->count; i++) {
        const struct word *word = &stop->words[i];
        if (word->size > end || word->size <= longest) continue;
        if (memcmp(stop->all.data + end - word->size, word->bytes, word->size) != 0) continue;
        if (word->keyword && end < stop->all.size && continues_word(stop->all.data[end])) continue;
        longest = word->size;
    }
    return longest;
}

bool stop_add(struct stop *stop, struct span piece) {
    if (stop->stopped) return true;
    size_t from = stop->all.size;
    text_add(&stop->all, piece);
    for (size_t end = from + 1; end <= stop->all.size; end++) {
        size_t size = match(stop, end);
        if (size == 0) continue;
        stop->stopped = true;
        stop->end = end - size < stop->prompt_size ? stop->prompt_size : end - size;
        return true;
    }
    stop->end = stop->all.size;
    return false;
}

struct span stop_text(const struct stop *stop) {
    return (struct span){stop->all.data ? stop->all.data + stop->prompt_size : "",
                         stop->end - stop->prompt_size};
}
