/* Words that stand in every other chunk: they are left out of the search among many chunks, and weighed
 * afterwards.
 *
 * A question has some dozens of words, most of them `return` and `self`, whose lists are as long as the index
 * and tell next to nothing. How common a word is comes from a sample of the chunks. The candidates that rare
 * words find get what the common ones add (BM25, with the sample's frequencies), so that their order and
 * their scores are those of all words. */
#include "inside.h"

#include <math.h>
#include <stdlib.h>

#define CHUNKS_MIN 4000 /* fewer are quick to search anyway */
#define SAMPLE 1500
#define COMMON 0.015 /* of the chunks */
#define RARE_MIN 3   /* so many other words must be left */
#define K1 1.2
#define B 0.75

void common_done(struct common *common) {
    map_free(common->counts);
    *common = (struct common){0};
}

static void count_words(struct common *common, struct span text) {
    scoped(map) struct map *seen = map_new();
    for (struct span word; (word = words_next(&text)).data; common->words++) {
        if (map_put(seen, word, common)) continue;
        map_put(common->counts, word, (void *)((uintptr_t)map_get(common->counts, word) + 1));
    }
    common->sampled++;
}

static struct error *read_sample(struct sql *sql, struct common *common, int64_t last) {
    for (int64_t i = 0; i < SAMPLE; i++) {
        scoped(sql_rows) struct sql_rows *rows = NULL;
        struct error *error = NULL;
        TRY_PLAIN(sql_query(sql, &rows,
                            "SELECT c.body, f.path FROM chunk c JOIN file f ON f.id = c.file WHERE c.id >= ?1"
                            " LIMIT 1",
                            "i", last * i / SAMPLE));
        if (sql_next(rows, &error)) {
            scoped_text struct text text = {0};
            database_chunk_text(sql_span(rows, 1), sql_span(rows, 0), &text);
            count_words(common, text_span(&text));
        }
        if (error) return error;
    }
    return NULL;
}

struct error *common_read(struct sql *sql, struct common *common) {
    int64_t last = 0;
    TRY_PLAIN(sql_number(sql, 0, &last, "SELECT max(id) FROM chunk", ""));
    bool near = last >= common->last && last - common->last <= common->last / 4;
    if (last < CHUNKS_MIN) common_done(common);
    if (last < CHUNKS_MIN || (common->counts && near)) return NULL;
    common_done(common);
    common->last = last;
    common->counts = map_new();
    return read_sample(sql, common, last);
}

static double share(const struct common *common, struct span word) {
    return common->sampled == 0 ? 0
                                : (double)(uintptr_t)map_get(common->counts, word) / (double)common->sampled;
}

void common_part(const struct common *common, struct word_list *words) {
    size_t rare = 0;
    for (size_t i = 0; i < words->count; i++) rare += share(common, words->words[i]) < COMMON;
    words->rare = 0;
    if (!common->counts || rare < RARE_MIN) {
        words->rare = words->count;
        return;
    }
    for (size_t i = 0; i < words->count; i++) {
        struct span word = words->words[i];
        if (share(common, word) >= COMMON) continue;
        words->words[i] = words->words[words->rare];
        words->words[words->rare++] = word;
    }
}

double common_weight(const struct common *common, const struct word_list *words, struct span text) {
    if (words->rare == words->count) return 0;
    scoped(map) struct map *counts = map_new();
    size_t size = 0;
    double mean = (double)common->words / (double)common->sampled, sum = 0;
    for (struct span word; (word = words_next(&text)).data; size++)
        map_put(counts, word, (void *)((uintptr_t)map_get(counts, word) + 1));
    for (size_t i = words->rare; i < words->count; i++) {
        double times = (double)(uintptr_t)map_get(counts, words->words[i]);
        double part = share(common, words->words[i]), weight = log((1 - part + 1e-9) / part);
        if (times > 0 && weight > 0)
            sum += weight * times * (K1 + 1) / (times + K1 * (1 - B + B * (double)size / mean));
    }
    return sum;
}
