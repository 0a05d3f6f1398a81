/* Reading records while the daemon runs: on a connection of its own, beside the writer, which neither waits
 * for.
 *
 * What was committed is seen. For who keeps less in memory than there is: a look at a row that was written a
 * moment ago takes microseconds, so it may be done on the loop; who reads many asks in portions. */
#include "store.h"

#include "inside.h"

static struct error *reader_open(struct store *store) {
    if (store->reader) return NULL;
    scoped_string char *path = path_join(store->dir, "catnap.db");
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &store->reader, flags, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(store->reader, 5000);
        return query_run(store->reader, "PRAGMA cache_size = -256");
    }
    struct error *error = query_error(store->reader, "open the state for reading");
    sqlite3_close(store->reader);
    store->reader = NULL;
    return error;
}

/* The end of keys that begin with `prefix`: keys are ASCII. */
char *range_end(const char *prefix) {
    return mem_printf("%s\x7f", prefix);
}

static struct error *read_all(struct store *store, const struct store_range *range,
                              bool (*record)(void *owner, const char *key, struct span value), void *owner) {
    TRY_PLAIN(reader_open(store));
    const char *prefix = range->prefix ? range->prefix : "";
    scoped_string char *end = range_end(prefix);
    const char *after = range->after && strcmp(range->after, prefix) > 0 ? range->after : prefix;
    sqlite3_stmt *row = NULL;
    TRY_PLAIN(
        query_prepare(store->reader, &row,
                      range->keys_only ? "SELECT key FROM record WHERE kind = ?1 AND key > ?2 AND key < "
                                         "?3 ORDER BY key LIMIT ?4"
                                       : "SELECT key, value FROM record WHERE kind = ?1 AND key > ?2 "
                                         "AND key < ?3 ORDER BY key LIMIT ?4",
                      "sssi", range->kind, after, end, range->limit ? (int64_t)range->limit : INT64_MAX));
    int result;
    bool more = true;
    while (more && (result = sqlite3_step(row)) == SQLITE_ROW) {
        const char *bytes = range->keys_only ? NULL : sqlite3_column_blob(row, 1);
        size_t size = range->keys_only ? 0 : (size_t)sqlite3_column_bytes(row, 1);
        more =
            record(owner, (const char *)sqlite3_column_text(row, 0), (struct span){bytes ? bytes : "", size});
    }
    struct error *error =
        !more || result == SQLITE_DONE ? NULL : query_error(store->reader, "read the records");
    sqlite3_finalize(row);
    return error;
}

struct error *store_records_read(struct store *store, const struct store_range *range,
                                 bool (*record)(void *owner, const char *key, struct span value),
                                 void *owner) {
    pthread_mutex_lock(&store->reading);
    struct error *error = read_all(store, range, record, owner);
    pthread_mutex_unlock(&store->reading);
    return error;
}

static struct error *read_one(struct store *store, const char *kind, const char *key, struct text *ret,
                              bool *ret_found) {
    sqlite3_stmt *row = NULL;
    *ret_found = false;
    TRY_PLAIN(reader_open(store));
    TRY_PLAIN(query_prepare(store->reader, &row, "SELECT value FROM record WHERE kind = ?1 AND key = ?2",
                            "ss", kind, key));
    int result = sqlite3_step(row);
    if (result == SQLITE_ROW) {
        *ret_found = true;
        text_add(ret, (struct span){sqlite3_column_blob(row, 0), (size_t)sqlite3_column_bytes(row, 0)});
    }
    struct error *error =
        result == SQLITE_ROW || result == SQLITE_DONE ? NULL : query_error(store->reader, "read a record");
    sqlite3_finalize(row);
    return error;
}

struct error *store_record_get(struct store *store, const char *kind, const char *key, struct text *ret,
                               bool *ret_found) {
    pthread_mutex_lock(&store->reading);
    struct error *error = read_one(store, kind, key, ret, ret_found);
    pthread_mutex_unlock(&store->reading);
    return error;
}
