/* Words of code, as the full-text table gets them: letters, digits and underscores, case kept.
 *
 * The table's tokenizer folds the case of ASCII letters, and code means what it writes: so a capital is
 * written as a code point beyond ASCII that nothing folds. What is no word never reaches the table, so no
 * text can be taken for a part of a query. */
#include "inside.h"

#define WORD_BYTES_MAX 64

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

struct span words_next(struct span *rest) {
    while (rest->size > 0) {
        size_t skip = 0, size = 0;
        while (skip < rest->size && !is_word(rest->data[skip])) skip++;
        while (skip + size < rest->size && is_word(rest->data[skip + size])) size++;
        struct span word = {rest->data + skip, size};
        rest->data += skip + size;
        rest->size -= skip + size;
        if (size > 0 && size <= WORD_BYTES_MAX) return word;
    }
    return (struct span){0};
}

static void add_word(struct text *out, struct span word) {
    for (size_t i = 0; i < word.size; i++) {
        char c = word.data[i];
        if (c >= 'A' && c <= 'Z') {
            text_add_char(out, (char)0xc6), text_add_char(out, (char)(0x80 + c - 'A')); /* U+0180 ... */
        } else {
            text_add_char(out, c);
        }
    }
}

void words_of(struct span text, struct text *out) {
    for (struct span word; (word = words_next(&text)).data;) {
        add_word(out, word);
        text_add_char(out, ' ');
    }
}

void words_read(struct span text, struct word_list *ret_words) {
    scoped(map) struct map *seen = map_new();
    struct span last[WORDS_MAX];
    size_t count = 0;
    *ret_words = (struct word_list){0};
    for (struct span word; (word = words_next(&text)).data; count++) last[count % WORDS_MAX] = word;
    for (size_t i = 0; i < count && i < WORDS_MAX; i++)
        if (!map_put(seen, last[i], ret_words)) ret_words->words[ret_words->count++] = last[i];
    ret_words->rare = ret_words->count;
}

void words_query(const struct word_list *words, struct text *out) {
    for (size_t i = 0; i < words->rare; i++) {
        text_add_string(out, i ? " OR \"" : "\"");
        add_word(out, words->words[i]);
        text_add_char(out, '"');
    }
}
