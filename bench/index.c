/* bench_index: the index room alone, for bench/search.py.
 *
 *   embed DATABASE            vectors for all chunks, by hashed words instead of a model: quick, and near
 *                             where texts share words
 *   search DATABASE QUERIES   each query of a JSON array of {"text", "language"}: a time in us a line
 *   cut FILE...               their chunks, and how long that took
 *   indent FILE...            the same without grammars
 */
#include "index.h"

#include <stdio.h>
#include <stdlib.h>

#define DIMENSIONS 384

static struct error *embed(void *owner, struct span text, float *out) {
    (void)owner;
    for (int i = 0; i < DIMENSIONS; i++) out[i] = 0;
    while (text.data && text.size > 0) {
        struct span word = span_cut(&text, ' ');
        uint64_t hash = 1469598103934665603ull;
        for (size_t i = 0; i < word.size; i++) hash = (hash ^ (unsigned char)word.data[i]) * 1099511628211ull;
        for (int i = 0; i < DIMENSIONS; i++) {
            hash = hash * 6364136223846793005ull + 1442695040888963407ull;
            out[i] += hash >> 63 ? 1 : -1;
        }
    }
    return NULL;
}

static struct error *embed_all(struct index *index) {
    const struct index_embedder embedder = {.model = "hashes", .dimensions = DIMENSIONS, .embed = embed};
    for (size_t done = 1; done > 0;) TRY_PLAIN(index_embed(index, &embedder, 4096, &done));
    return NULL;
}

static struct error *search_one(struct index *index, const json_t *query) {
    float vector[DIMENSIONS];
    struct index_hits hits;
    struct index_query wanted = {
        .text = span_of(json_string_value(json_object_get(query, "text"))),
        .language = span_of(json_string_value(json_object_get(query, "language"))),
        .vector = vector,
        .dimensions = DIMENSIONS,
        .min_embedding = 0.5,
        .min_bm25 = 8,
        .min_rrf = 0.02,
        .to_return = 20,
        .to_score = 40,
    };
    TRY_PLAIN(embed(NULL, wanted.text, vector));
    int64_t began_us = clock_monotonic_us();
    TRY_PLAIN(index_search(index, &wanted, &hits));
    printf("%lld %zu\n", (long long)(clock_monotonic_us() - began_us), hits.count);
    index_hits_done(&hits);
    return NULL;
}

static struct error *cut(int count, char **paths, bool by_syntax) {
    scoped(index_chunker) struct index_chunker *chunker = index_chunker_new(true);
    int64_t spent_us = 0, bytes = 0;
    for (int i = 0; i < count; i++) {
        scoped_text struct text content = {0};
        const struct index_piece *pieces;
        const char *language = index_language_of(paths[i], NULL);
        TRY_PLAIN(file_read(paths[i], 1 << 20, &content));
        int64_t began_us = clock_monotonic_us();
        size_t pieces_count = index_chunker_cut(chunker, text_span(&content), paths[i],
                                                language && by_syntax ? language : "", &pieces);
        spent_us += clock_monotonic_us() - began_us;
        bytes += (int64_t)content.size;
        printf("== %s: %zu chunks by %s\n", paths[i], pieces_count,
               index_chunker_by_syntax(chunker) ? "syntax" : "indentation");
        for (size_t p = 0; p < pieces_count; p++)
            printf("-- %u\n" SPAN_FORMAT "\n", pieces[p].line, SPAN_ARGS(pieces[p].text));
    }
    fprintf(stderr, "%lld bytes in %lld us\n", (long long)bytes, (long long)spent_us);
    return NULL;
}

static struct error *run(int argc, char **argv) {
    scoped(index) struct index *index = NULL;
    if (argc > 2 && strcmp(argv[1], "cut") == 0) return cut(argc - 2, argv + 2, true);
    if (argc > 2 && strcmp(argv[1], "indent") == 0) return cut(argc - 2, argv + 2, false);
    if (argc < 3) return error_new(ERROR_INVALID_ARGUMENT, "bench_index embed|search DATABASE [QUERIES]");
    TRY_PLAIN(index_open(argv[2], &index));
    if (strcmp(argv[1], "embed") == 0) return embed_all(index);
    json_error_t where;
    scoped_json json_t *queries = json_load_file(argc > 3 ? argv[3] : "", 0, &where);
    size_t i;
    json_t *query;
    json_array_foreach(queries, i, query) TRY_PLAIN(search_one(index, query));
    return NULL;
}

int main(int argc, char **argv) {
    scoped(error) struct error *error = run(argc, argv);
    if (!error) return 0;
    scoped_string char *text = error_text(error);
    fprintf(stderr, "%s\n", text);
    return 1;
}
