/* Records: bytes of other rooms under a kind and a key. What is in them is theirs. */
#include "store.h"

#include "inside.h"

#include <stdlib.h>

/* ---- on the writer's thread ---- */

struct error *records_write(sqlite3 *database, const struct job *job) {
    for (size_t i = 0; i < job->record_count; i++) {
        const struct job_record *record = &job->records[i];
        if (record->value)
            TRY_PLAIN(query_do(database,
                               "INSERT INTO record (kind, key, value) VALUES (?1, ?2, ?3)"
                               " ON CONFLICT (kind, key) DO UPDATE SET value = ?3",
                               "ssb", record->kind, record->key, record->value, record->size));
        else
            TRY_PLAIN(query_do(database, "DELETE FROM record WHERE kind = ?1 AND key = ?2", "ss",
                               record->kind, record->key));
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
