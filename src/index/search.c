/* One list of what words and what vectors find: reciprocal ranks added, and Tabby's thresholds on it.
 *
 * Both lists have `to_score` places; rank r gives 1 / (60 + r). At most two chunks of a file stay, and then
 * all three scores must be above their thresholds. Where there is no vector to search by, and while most
 * chunks have none yet, words alone decide, and their ranks count twice, so that the same thresholds mean the
 * same places. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

#define RANK_BASE 60.0
#define A_FILE_MAX 2
#define TO_SCORE_MAX 1000
#define CANDIDATES_A_PLACE 3 /* where common words may change the order */
#define OWN_CHUNKS_MAX 500   /* of the file that is left out, and would take the first places */

struct candidate {
    int64_t chunk;
    struct index_hit hit;
};

struct fusion {
    struct candidate *list;
    size_t count;
    const struct index_query *query;
    uint32_t to_score;
    bool by_vectors; /* too */
    double weight;   /* of a rank */
};

static void hit_done(struct index_hit *hit) {
    free(hit->path);
    free(hit->language);
    free(hit->body);
}

static struct candidate *candidate_of(struct fusion *fusion, int64_t chunk) {
    for (size_t i = 0; i < fusion->count; i++)
        if (fusion->list[i].chunk == chunk) return &fusion->list[i];
    fusion->list[fusion->count] = (struct candidate){.chunk = chunk};
    return &fusion->list[fusion->count++];
}

/* false: it is not there any more, or of the file that is left out. */
static bool read_chunk(struct sql *sql, const struct index_query *query, struct candidate *candidate,
                       struct error **ret_error) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    if (candidate->hit.path) return true;
    *ret_error = sql_query(sql, &rows,
                           "SELECT f.path, f.language, c.body, c.line FROM chunk c JOIN file f ON f.id = "
                           "c.file WHERE c.id = ?1",
                           "i", candidate->chunk);
    if (*ret_error || !sql_next(rows, ret_error)) return false;
    if (query->except_path.size > 0 && span_equal(sql_span(rows, 0), query->except_path)) return false;
    candidate->hit.path = span_string(sql_span(rows, 0));
    candidate->hit.language = span_string(sql_span(rows, 1));
    candidate->hit.body = span_string(sql_span(rows, 2));
    candidate->hit.line = (uint32_t)sql_int(rows, 3);
    return true;
}

/* ---- words ---- */

static void match_text(const struct index_query *query, const struct word_list *list, struct text *out) {
    scoped_text struct text kind = {0}, words = {0};
    words_query(list, &words);
    words_of(index_language_kind(query->language), &kind);
    if (kind.size > 0)
        text_printf(out, "language : \"" SPAN_FORMAT "\" AND ", SPAN_ARGS(span_trim(text_span(&kind))));
    text_printf(out, "body : (" SPAN_FORMAT ")", SPAN_ARGS(text_span(&words)));
}

static struct error *own_chunks(struct sql *sql, const struct index_query *query, int64_t *ret_count) {
    *ret_count = 0;
    if (query->except_path.size == 0) return NULL;
    TRY_PLAIN(sql_number(sql, 0, ret_count,
                         "SELECT count(*) FROM chunk c JOIN file f ON f.id = c.file WHERE f.path = ?1", "t",
                         query->except_path));
    if (*ret_count > OWN_CHUNKS_MAX) *ret_count = OWN_CHUNKS_MAX;
    return NULL;
}

static int by_bm25(const void *a, const void *b) {
    const struct candidate *one = a, *other = b;
    if (one->hit.bm25 != other->hit.bm25) return one->hit.bm25 < other->hit.bm25 ? 1 : -1;
    return (one->chunk > other->chunk) - (one->chunk < other->chunk);
}

/* Candidates by their rare words, in the order that all words give them. */
static struct error *read_candidates(struct index *index, struct fusion *fusion,
                                     const struct word_list *words, size_t limit, int64_t own) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    scoped_text struct text match = {0};
    struct error *error = NULL;
    match_text(fusion->query, words, &match);
    TRY_PLAIN(sql_query(index->sql, &rows,
                        "SELECT rowid, -rank FROM words WHERE words MATCH ?1 AND rank MATCH 'bm25(0.0, 1.0)'"
                        " ORDER BY rank LIMIT ?2",
                        "ti", text_span(&match), (int64_t)limit + own));
    while (fusion->count < limit && sql_next(rows, &error)) {
        struct candidate *candidate = candidate_of(fusion, sql_int(rows, 0));
        if (!read_chunk(index->sql, fusion->query, candidate, &error)) {
            fusion->count--; /* it was the last one added */
            if (error) return error;
            continue;
        }
        scoped_text struct text text = {0};
        database_chunk_text(span_of(candidate->hit.path), span_of(candidate->hit.body), &text);
        candidate->hit.bm25 = sql_real(rows, 1) + common_weight(&index->common, words, text_span(&text));
    }
    return error;
}

static struct error *add_by_words(struct index *index, struct fusion *fusion) {
    struct word_list words;
    int64_t own = 0;
    words_read(fusion->query->text, &words);
    if (words.count == 0) return NULL;
    TRY_PLAIN(common_read(index->sql, &index->common));
    common_part(&index->common, &words);
    TRY_PLAIN(own_chunks(index->sql, fusion->query, &own));
    bool all = words.rare == words.count;
    TRY_PLAIN(read_candidates(index, fusion, &words, fusion->to_score * (all ? 1 : CANDIDATES_A_PLACE), own));
    qsort(fusion->list, fusion->count, sizeof *fusion->list, by_bm25);
    while (fusion->count > fusion->to_score) hit_done(&fusion->list[--fusion->count].hit);
    for (size_t i = 0; i < fusion->count; i++)
        fusion->list[i].hit.rrf += fusion->weight / (RANK_BASE + 1 + (double)i);
    return NULL;
}

/* ---- vectors ---- */

/* A new index, or one of another model, is without them for hours. */
static struct error *most_are_there(struct index *index, const struct index_query *query, bool *ret_most) {
    const struct vectors *vectors = &index->vectors;
    int64_t chunks = 0;
    TRY_PLAIN(vectors_read(index->sql, &index->vectors));
    /* The span of their numbers is known at once; to count them costs a millisecond. */
    TRY_PLAIN(sql_number(index->sql, 0, &chunks,
                         "SELECT max(id) - (SELECT min(id) FROM chunk) + 1 FROM chunk", ""));
    if (2 * (int64_t)vectors->count < chunks)
        TRY_PLAIN(sql_number(index->sql, 0, &chunks, "SELECT count(*) FROM chunk", ""));
    *ret_most = vectors->dimensions == query->dimensions && 2 * (int64_t)vectors->count >= chunks;
    return NULL;
}

static struct error *add_by_vectors(struct index *index, struct fusion *fusion) {
    const struct index_query *query = fusion->query;
    struct vectors *vectors = &index->vectors;
    struct error *error = NULL;
    int64_t own = 0;
    if (query->except_path.size > 0)
        TRY_PLAIN(sql_number(index->sql, 0, &own, "SELECT max(id) FROM file WHERE path = ?1", "t",
                             query->except_path));
    struct found *found = mem_array(fusion->to_score, sizeof *found);
    uint64_t *wanted = mem_array(vectors->words, sizeof *wanted);
    vectors_pack(query->vector, query->dimensions, wanted);
    uint32_t mark = query->language.size > 0 ? database_language_mark(query->language) : 0;
    size_t count = vectors_best(vectors, wanted, mark, own, found, fusion->to_score);
    uint32_t rank = 1;
    for (size_t i = 0; i < count && !error; i++) {
        size_t before = fusion->count;
        struct candidate *candidate = candidate_of(fusion, found[i].chunk);
        if (!read_chunk(index->sql, query, candidate, &error)) {
            fusion->count = before;
            continue;
        }
        candidate->hit.embedding = found[i].score;
        candidate->hit.rrf += fusion->weight / (RANK_BASE + rank++);
    }
    free(wanted);
    free(found);
    return error;
}

/* ---- one list ---- */

static int by_rrf(const void *a, const void *b) {
    const struct candidate *one = a, *other = b;
    if (one->hit.rrf != other->hit.rrf) return one->hit.rrf < other->hit.rrf ? 1 : -1;
    return (one->chunk > other->chunk) - (one->chunk < other->chunk);
}

static bool is_good(const struct fusion *fusion, const struct index_hit *hit) {
    const struct index_query *query = fusion->query;
    return hit->bm25 > query->min_bm25 && hit->rrf > query->min_rrf &&
           (!fusion->by_vectors || hit->embedding > query->min_embedding);
}

static void choose(struct fusion *fusion, struct index_hits *hits) {
    const struct index_query *query = fusion->query;
    qsort(fusion->list, fusion->count, sizeof *fusion->list, by_rrf);
    hits->hits = mem_array(fusion->count, sizeof *hits->hits);
    for (size_t i = 0; i < fusion->count; i++) {
        struct index_hit *hit = &fusion->list[i].hit;
        size_t same = 0;
        for (size_t before = 0; before < i; before++)
            same += strcmp(fusion->list[before].hit.path, hit->path) == 0;
        if (same < A_FILE_MAX && hits->count < query->to_return && is_good(fusion, hit)) {
            hits->hits[hits->count++] = *hit;
            *hit = (struct index_hit){.path = mem_string(hit->path)};
        }
    }
}

static struct error *search(struct index *index, struct fusion *fusion, struct index_hits *hits) {
    scoped_string char *commit = NULL;
    if (fusion->query->vector) TRY_PLAIN(most_are_there(index, fusion->query, &fusion->by_vectors));
    fusion->weight = fusion->by_vectors ? 1 : 2;
    TRY_PLAIN(add_by_words(index, fusion));
    if (fusion->by_vectors) TRY_PLAIN(add_by_vectors(index, fusion));
    TRY_PLAIN(database_fact(index->sql, "commit", &commit));
    if (commit) snprintf(hits->commit, sizeof hits->commit, "%s", commit);
    choose(fusion, hits);
    return NULL;
}

struct error *index_search(struct index *index, const struct index_query *query,
                           struct index_hits *ret_hits) {
    struct fusion fusion = {
        .query = query,
        .to_score = query->to_score < TO_SCORE_MAX ? query->to_score : TO_SCORE_MAX,
    };
    *ret_hits = (struct index_hits){0};
    fusion.list = mem_array((1 + CANDIDATES_A_PLACE) * (size_t)fusion.to_score + 2, sizeof *fusion.list);
    pthread_mutex_lock(&index->mutex);
    struct error *error = search(index, &fusion, ret_hits);
    pthread_mutex_unlock(&index->mutex);
    for (size_t i = 0; i < fusion.count; i++) hit_done(&fusion.list[i].hit);
    free(fusion.list);
    return error;
}

void index_hits_done(struct index_hits *hits) {
    for (size_t i = 0; i < hits->count; i++) hit_done(&hits->hits[i]);
    free(hits->hits);
    *hits = (struct index_hits){0};
}
