/* Vectors in memory: a bit a dimension (whether the number is above zero), compared by how many agree.
 *
 * That is Tabby's way, and a quick one: a hundred thousand vectors are looked through in about a millisecond.
 * What was read stays, and only what came since is read for the next search. */
#include "inside.h"

#include <stdlib.h>

#define DIMENSIONS_MAX 65536

void vectors_pack(const float *numbers, uint32_t dimensions, uint64_t *out) {
    for (uint32_t i = 0; i < (dimensions + 63) / 64; i++) out[i] = 0;
    for (uint32_t i = 0; i < dimensions; i++)
        if (numbers[i] > 0) out[i / 64] |= 1ull << (i % 64);
}

void vectors_done(struct vectors *vectors) {
    free(vectors->bits);
    free(vectors->of);
    *vectors = (struct vectors){0};
}

static void add(struct vectors *vectors, const struct sql_rows *rows) {
    struct span bits = sql_span(rows, 4);
    if (bits.size != vectors->words * sizeof(uint64_t)) return;
    if (vectors->count == vectors->capacity) {
        vectors->capacity = vectors->capacity ? vectors->capacity * 2 : 1024;
        vectors->of = mem_grow(vectors->of, vectors->capacity, sizeof *vectors->of);
        vectors->bits = mem_grow(vectors->bits, vectors->capacity, bits.size);
    }
    memcpy(vectors->bits + vectors->count * vectors->words, bits.data, bits.size);
    vectors->of[vectors->count++] = (struct vector_of){
        .chunk = sql_int(rows, 1), .file = sql_int(rows, 2), .language = (uint32_t)sql_int(rows, 3)};
}

struct error *vectors_read(struct sql *sql, struct vectors *vectors) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    int64_t removed = 0, dimensions = 0;
    TRY_PLAIN(sql_number(sql, 0, &removed, "SELECT value FROM fact WHERE name = 'removed'", ""));
    TRY_PLAIN(sql_number(sql, 0, &dimensions, "SELECT value FROM fact WHERE name = 'dimensions'", ""));
    if (removed != vectors->removed || dimensions != vectors->dimensions) vectors_done(vectors);
    if (dimensions <= 0 || dimensions > DIMENSIONS_MAX) return NULL;
    vectors->removed = removed;
    vectors->dimensions = (uint32_t)dimensions;
    vectors->words = (vectors->dimensions + 63) / 64;
    TRY_PLAIN(sql_query(sql, &rows,
                        "SELECT id, chunk, file, language, bits FROM vector WHERE id > ?1 ORDER BY id", "i",
                        vectors->last));
    while (sql_next(rows, &error)) {
        vectors->last = sql_int(rows, 0);
        add(vectors, rows);
    }
    return error;
}

static void keep(struct found *out, size_t *count, size_t limit, struct found one) {
    if (*count == limit && out[limit - 1].score >= one.score) return;
    size_t at = *count < limit ? (*count)++ : limit - 1;
    for (; at > 0 && out[at - 1].score < one.score; at--) out[at] = out[at - 1];
    out[at] = one;
}

size_t vectors_best(const struct vectors *vectors, const uint64_t *wanted, uint32_t language,
                    int64_t except_file, struct found *out, size_t limit) {
    size_t count = 0;
    uint32_t worst = UINT32_MAX; /* of those kept: who differs in as many bits needs no look */
    for (size_t i = 0; i < vectors->count && limit > 0; i++) {
        const struct vector_of *of = &vectors->of[i];
        const uint64_t *bits = vectors->bits + i * vectors->words;
        uint32_t differ = 0;
        if ((language && of->language != language) || of->file == except_file) continue;
        for (uint32_t w = 0; w < vectors->words; w++)
            differ += (uint32_t)__builtin_popcountll(bits[w] ^ wanted[w]);
        if (count == limit && differ >= worst) continue;
        double score = 1 - (double)differ / vectors->dimensions;
        keep(out, &count, limit, (struct found){of->chunk, score});
        if (count == limit) worst = (uint32_t)((1 - out[limit - 1].score) * vectors->dimensions + 0.5);
    }
    return count;
}
