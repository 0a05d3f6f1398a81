/* Open indexes: their state, and the vectors that are still missing. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

struct error *index_open(const char *database, struct index **ret_index) {
    struct sql *sql = NULL;
    if (!file_exists(database)) return error_new(ERROR_NOT_FOUND, "nothing was indexed yet");
    TRY_PLAIN(database_open(database, SQL_WRITE, &sql));
    struct index *index = NEW(struct index);
    index->sql = sql;
    pthread_mutex_init(&index->mutex, NULL);
    *ret_index = index;
    return NULL;
}

void index_free(struct index *index) {
    if (!index) return;
    sql_free(index->sql);
    vectors_done(&index->vectors);
    common_done(&index->common);
    pthread_mutex_destroy(&index->mutex);
    free(index);
}

void index_forget(struct index *index) {
    pthread_mutex_lock(&index->mutex);
    vectors_done(&index->vectors);
    common_done(&index->common);
    pthread_mutex_unlock(&index->mutex);
}

static struct error *state(struct sql *sql, struct index_state *ret_state) {
    int64_t files = 0, chunks = 0, vectors = 0;
    scoped_string char *commit = NULL;
    *ret_state = (struct index_state){0};
    TRY_PLAIN(sql_number(sql, 0, &files, "SELECT count(*) FROM file WHERE size > 0", ""));
    TRY_PLAIN(sql_number(sql, 0, &chunks, "SELECT count(*) FROM chunk", ""));
    TRY_PLAIN(sql_number(sql, 0, &vectors, "SELECT count(*) FROM vector", ""));
    TRY_PLAIN(
        sql_number(sql, 0, &ret_state->updated_ms, "SELECT value FROM fact WHERE name = 'updated'", ""));
    TRY_PLAIN(database_fact(sql, "commit", &commit));
    ret_state->files = (uint64_t)files, ret_state->chunks = (uint64_t)chunks;
    ret_state->vectors = (uint64_t)vectors;
    snprintf(ret_state->commit, sizeof ret_state->commit, "%s", commit ? commit : "");
    return NULL;
}

struct error *index_state(struct index *index, struct index_state *ret_state) {
    pthread_mutex_lock(&index->mutex);
    struct error *error = state(index->sql, ret_state);
    pthread_mutex_unlock(&index->mutex);
    return error;
}

/* ---- vectors ---- */

/* Of another model: none of them is worth anything. */
static struct error *check_model(struct sql *sql, const struct index_embedder *embedder) {
    scoped_string char *model = NULL;
    char dimensions[16];
    TRY_PLAIN(database_fact(sql, "model", &model));
    if (model && strcmp(model, embedder->model) == 0) return NULL;
    snprintf(dimensions, sizeof dimensions, "%u", embedder->dimensions);
    TRY_PLAIN(sql_begin(sql));
    struct error *error = sql_run(sql, "DELETE FROM vector; UPDATE fact SET value = value + 1 WHERE name = "
                                       "'removed'");
    if (!error) error = database_fact_set(sql, "model", embedder->model);
    if (!error) error = database_fact_set(sql, "dimensions", dimensions);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    return error;
}

struct waiting {
    int64_t chunk, file;
    char *path, *language, *body;
    uint64_t *bits;
};

static struct error *read_waiting(struct sql *sql, struct waiting *list, size_t limit, size_t *ret_count) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    int64_t last = 0;
    /* In order of their numbers, so that those behind the last one with a vector come first; those before it
     * are looked for only when these are done. */
    TRY_PLAIN(sql_number(sql, 0, &last, "SELECT max(chunk) FROM vector", ""));
    for (int pass = 0; pass < 2 && *ret_count == 0; pass++) {
        TRY_PLAIN(
            sql_query(sql, &rows,
                      "SELECT c.id, f.id, f.path, f.language, c.body FROM chunk c JOIN file f ON f.id = "
                      "c.file WHERE c.id > ?1 AND NOT EXISTS (SELECT 1 FROM vector v WHERE v.chunk = "
                      "c.id) ORDER BY c.id LIMIT ?2",
                      "ii", pass == 0 ? last : (int64_t)0, (int64_t)limit));
        while (*ret_count < limit && sql_next(rows, &error))
            list[(*ret_count)++] = (struct waiting){.chunk = sql_int(rows, 0),
                                                    .file = sql_int(rows, 1),
                                                    .path = span_string(sql_span(rows, 2)),
                                                    .language = span_string(sql_span(rows, 3)),
                                                    .body = span_string(sql_span(rows, 4))};
        sql_rows_free(take(rows));
        if (error) return error;
    }
    return NULL;
}

static struct error *embed_one(const struct index_embedder *embedder, struct waiting *one) {
    scoped_text struct text text = {0};
    float *numbers = mem_array(embedder->dimensions, sizeof *numbers);
    database_chunk_text(span_of(one->path), span_of(one->body), &text);
    struct error *error = embedder->embed(embedder->owner, text_span(&text), numbers);
    one->bits = mem_array((embedder->dimensions + 63) / 64, sizeof *one->bits);
    if (!error) vectors_pack(numbers, embedder->dimensions, one->bits);
    free(numbers);
    return error;
}

static struct error *write_all(struct sql *sql, const struct index_embedder *embedder,
                               const struct waiting *list, size_t count) {
    size_t size = (embedder->dimensions + 63) / 64 * sizeof(uint64_t);
    TRY_PLAIN(sql_begin(sql));
    /* The chunk may have gone meanwhile. */
    for (size_t i = 0; i < count; i++)
        TRY_PLAIN(sql_do(sql,
                         "INSERT INTO vector (chunk, file, language, bits) SELECT ?1, ?2, ?3, ?4"
                         " WHERE EXISTS (SELECT 1 FROM chunk WHERE id = ?1)",
                         "iiib", list[i].chunk, list[i].file,
                         (int64_t)database_language_mark(span_of(list[i].language)),
                         (struct span){(const char *)list[i].bits, size}));
    return sql_commit(sql);
}

struct error *index_embed(struct index *index, const struct index_embedder *embedder, size_t limit,
                          size_t *ret_done) {
    struct waiting *list = mem_array(limit, sizeof *list);
    size_t count = 0;
    *ret_done = 0;
    pthread_mutex_lock(&index->mutex);
    struct error *error = check_model(index->sql, embedder);
    if (!error) error = read_waiting(index->sql, list, limit, &count);
    pthread_mutex_unlock(&index->mutex);
    /* Computing takes long, and others may search meanwhile. */
    for (size_t i = 0; i < count && !error; i++) error = embed_one(embedder, &list[i]);
    pthread_mutex_lock(&index->mutex);
    if (!error && count > 0) error = write_all(index->sql, embedder, list, count);
    if (error) sql_rollback(index->sql);
    pthread_mutex_unlock(&index->mutex);
    if (!error) *ret_done = count;
    for (size_t i = 0; i < count; i++) {
        free(list[i].path), free(list[i].language), free(list[i].body), free(list[i].bits);
    }
    free(list);
    return error;
}
