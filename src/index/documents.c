/* An index of documents brought up to date with a list of them: like a repository's, but the texts come from
 * the caller.
 *
 *   each path with its mark: known? it is of this run; else its text is read, cut, added
 *   -> what is not of this run is removed
 *
 * Some documents make a transaction, each whole. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH 64            /* documents in a transaction */
#define LANGUAGE "markdown" /* as good as any: what people write */

struct run {
    const struct index_documents *update;
    struct sql *sql;
    int64_t number;
    struct index_report *report;
    struct index_chunker *chunker;
};

static struct error *add(struct run *run, const char *path, const char *mark) {
    scoped_text struct text content = {0};
    struct error *error = run->update->read(run->update->owner, path, &content);
    if (error && error->code == ERROR_NOT_FOUND) {
        error_free(error);
        return NULL;
    }
    if (error) return error;
    run->report->changed++;
    const struct index_piece *pieces = NULL;
    size_t count = index_chunker_cut(run->chunker, text_span(&content), path, LANGUAGE, &pieces);
    return database_file_add(run->sql, path, mark, LANGUAGE, run->number, content.size, pieces, count);
}

static struct error *look_at(struct run *run, const json_t *one) {
    const char *path = json_string_value(json_object_get(one, "path"));
    char mark[32];
    snprintf(mark, sizeof mark, "%lld", (long long)json_integer_value(json_object_get(one, "mark")));
    if (!path) return NULL;
    TRY_PLAIN(sql_do(run->sql, "UPDATE file SET run = ?1 WHERE path = ?2 AND hash = ?3", "iss", run->number,
                     path, mark));
    return sql_changed(run->sql) == 0 ? add(run, path, mark) : NULL;
}

static struct error *next_batch(struct run *run) {
    TRY_PLAIN(sql_commit(run->sql));
    if (run->update->cancelled(run->update->owner)) return error_new(ERROR_ABORTED, "the server ends");
    return sql_begin(run->sql);
}

/* Who searches learns by the count of removals that some are gone. */
static struct error *remove_gone(struct run *run) {
    for (int64_t file = 0;;) {
        TRY_PLAIN(sql_number(run->sql, 0, &file,
                             "SELECT id FROM file WHERE id > ?1 AND run != ?2 ORDER BY id LIMIT 1", "ii",
                             file, run->number));
        if (!file) return NULL;
        if (run->report->removed++ % BATCH == 0) {
            TRY_PLAIN(next_batch(run));
            TRY_PLAIN(sql_run(run->sql, "UPDATE fact SET value = value + 1 WHERE name = 'removed'"));
        }
        TRY_PLAIN(database_file_remove(run->sql, file));
    }
}

static struct error *note_end(struct run *run) {
    char now[32];
    snprintf(now, sizeof now, "%lld", (long long)clock_wall_ms());
    TRY_PLAIN(database_fact_set(run->sql, "updated", now));
    return database_counts(run->sql, run->report);
}

static struct error *go_through(struct run *run) {
    scoped_string char *last = NULL;
    size_t i;
    json_t *one;
    TRY_PLAIN(sql_begin(run->sql));
    TRY_PLAIN(database_fact(run->sql, "run", &last));
    run->number = last ? strtoll(last, NULL, 10) + 1 : 1;
    TRY_PLAIN(sql_run(run->sql, "UPDATE fact SET value = value + 1 WHERE name = 'run'"));
    json_array_foreach(run->update->wanted, i, one) {
        if (i % BATCH == BATCH - 1) TRY_PLAIN(next_batch(run));
        TRY_PLAIN(look_at(run, one));
    }
    TRY_PLAIN(remove_gone(run));
    TRY_PLAIN(note_end(run));
    return sql_commit(run->sql);
}

struct error *index_documents_update(const struct index_documents *update, struct index_report *ret_report) {
    scoped(sql) struct sql *sql = NULL;
    scoped_fd int locked = -1;
    int64_t began_ms = clock_monotonic_ms();
    *ret_report = (struct index_report){0};
    TRY_PLAIN(update_lock(update->database, &locked));
    TRY_PLAIN(database_open(update->database, SQL_CREATE, &sql));
    scoped(index_chunker) struct index_chunker *chunker = index_chunker_new(false); /* none is parsed */
    struct run run = {.update = update, .sql = sql, .report = ret_report, .chunker = chunker};
    struct error *error = go_through(&run);
    if (error) sql_rollback(sql);
    ret_report->index_ms = clock_monotonic_ms() - began_ms;
    return error;
}
