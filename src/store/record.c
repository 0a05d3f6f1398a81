/* Records: bytes of other rooms under a kind and a key. What is in them is theirs. */
#include "store.h"

#include "inside.h"

#include <stdlib.h>

/* ---- on the writer's thread ---- */

/* The two statements that are asked thousands of times a second are prepared once. */
static struct error *write_record(struct store *store, const struct job_record *record) {
    bool put = record->value != NULL;
    sqlite3_stmt **statement = put ? &store->record_put : &store->record_remove;
    if (!*statement)
        TRY_PLAIN(query_prepare(store->database, statement,
                                put ? "INSERT INTO record (kind, key, value) VALUES (?1, ?2, ?3)"
                                      " ON CONFLICT (kind, key) DO UPDATE SET value = ?3"
                                    : "DELETE FROM record WHERE kind = ?1 AND key = ?2",
                                ""));
    sqlite3_bind_text(*statement, 1, record->kind, -1, SQLITE_STATIC);
    sqlite3_bind_text(*statement, 2, record->key, -1, SQLITE_STATIC);
    if (put) sqlite3_bind_blob64(*statement, 3, record->value, record->size, SQLITE_STATIC);
    int result = sqlite3_step(*statement);
    struct error *error = result == SQLITE_DONE ? NULL : query_error(store->database, "state database");
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
    return error;
}

struct error *records_write(struct store *store, const struct job *job) {
    for (size_t i = 0; i < job->record_count; i++) {
        const struct job_record *record = &job->records[i];
        if (!record->below) {
            TRY_PLAIN(write_record(store, record));
            continue;
        }
        scoped_string char *end = range_end(record->key);
        TRY_PLAIN(query_do(store->database, "DELETE FROM record WHERE kind = ?1 AND key >= ?2 AND key < ?3",
                           "sss", record->kind, record->key, end));
    }
    return NULL;
}

void records_free(struct job *job) {
    for (size_t i = 0; i < job->record_count; i++) {
        free(job->records[i].kind);
        free(job->records[i].key);
        free(job->records[i].value);
    }
    free(job->records);
}

/* ---- on the loop's thread ---- */

static void records_write_job(struct store *store, const struct store_record *records, size_t count,
                              bool soon, void (*done)(void *owner, struct error *error), void *owner) {
    struct job *job = NEW(struct job);
    *job =
        (struct job){.kind = JOB_RECORDS, .record_count = count, .soon = soon, .done = done, .owner = owner};
    job->app = mem_string("a record");
    list_init(&job->node);
    job->records = mem_array(count, sizeof *job->records);
    for (size_t i = 0; i < count; i++) {
        struct job_record *copy = &job->records[i];
        copy->below = !records[i].value.data && records[i].value.size > 0;
        copy->kind = mem_string(records[i].kind);
        copy->key = mem_string(records[i].key);
        if (!records[i].value.data) continue;
        copy->size = records[i].value.size;
        copy->value = mem_string_n(records[i].value.data, copy->size);
    }
    writer_add(store, job);
}

void store_records_write(struct store *store, const struct store_record *records, size_t count,
                         void (*done)(void *owner, struct error *error), void *owner) {
    records_write_job(store, records, count, false, done, owner);
}

void store_records_write_soon(struct store *store, const struct store_record *records, size_t count,
                              void (*done)(void *owner, struct error *error), void *owner) {
    records_write_job(store, records, count, true, done, owner);
}

static struct error *load(struct store *store, const char *kind,
                          void (*record)(void *owner, const char *key, struct span value), void *owner) {
    sqlite3_stmt *row = NULL;
    TRY_PLAIN(query_prepare(store->database, &row,
                            "SELECT key, value FROM record WHERE kind = ?1 ORDER BY key", "s", kind));
    int result;
    while ((result = sqlite3_step(row)) == SQLITE_ROW) {
        const char *bytes = sqlite3_column_blob(row, 1);
        struct span value = {bytes ? bytes : "", (size_t)sqlite3_column_bytes(row, 1)};
        record(owner, (const char *)sqlite3_column_text(row, 0), value);
    }
    struct error *error = result == SQLITE_DONE ? NULL : query_error(store->database, "read the records");
    sqlite3_finalize(row);
    return error;
}

struct error *store_records_load(struct store *store, const char *kind,
                                 void (*record)(void *owner, const char *key, struct span value),
                                 void *owner) {
    pthread_mutex_lock(&store->access);
    struct error *error = load(store, kind, record, owner);
    pthread_mutex_unlock(&store->access);
    return error;
}
