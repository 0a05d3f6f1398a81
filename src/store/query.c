/* SQL without ceremony: prepare, bind, step, and SQLite's results as our errors. */
#include "inside.h"

#include <errno.h>

struct error *query_error(sqlite3 *database, const char *what) {
    enum error_code code = ERROR_INTERNAL;
    int result = database ? sqlite3_extended_errcode(database) : SQLITE_NOMEM;
    int cause = database ? sqlite3_system_errno(database) : 0;
    bool full = (result & 0xff) == SQLITE_IOERR && (cause == ENOSPC || cause == EDQUOT);
    switch (full ? SQLITE_FULL : result & 0xff) {
    case SQLITE_FULL:
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%s: the disk with the state directory is full", what);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: code = ERROR_DATA_LOSS; break;
    case SQLITE_PERM:
    case SQLITE_READONLY: code = ERROR_PERMISSION_DENIED; break;
    case SQLITE_BUSY: code = ERROR_UNAVAILABLE; break;
    default: break;
    }
    return error_new(code, "%s: %s (SQLite %d)", what, database ? sqlite3_errmsg(database) : "out of memory",
                     result);
}

struct error *query_run(sqlite3 *database, const char *sql) {
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return query_error(database, "state database");
    return NULL;
}

static struct error *prepare(sqlite3 *database, sqlite3_stmt **ret, const char *sql, const char *kinds,
                             va_list args) {
    if (sqlite3_prepare_v2(database, sql, -1, ret, NULL) != SQLITE_OK)
        return query_error(database, "state database");
    for (int i = 0; kinds[i]; i++) {
        if (kinds[i] == 's') {
            sqlite3_bind_text(*ret, i + 1, va_arg(args, const char *), -1, SQLITE_STATIC);
        } else if (kinds[i] == 'b') {
            const void *bytes = va_arg(args, const void *);
            sqlite3_bind_blob64(*ret, i + 1, bytes, va_arg(args, size_t), SQLITE_STATIC);
        } else {
            sqlite3_bind_int64(*ret, i + 1, va_arg(args, int64_t));
        }
    }
    return NULL;
}

struct error *query_prepare(sqlite3 *database, sqlite3_stmt **ret, const char *sql, const char *kinds, ...) {
    va_list args;
    va_start(args, kinds);
    struct error *error = prepare(database, ret, sql, kinds, args);
    va_end(args);
    return error;
}

struct error *query_do(sqlite3 *database, const char *sql, const char *kinds, ...) {
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, kinds);
    struct error *error = prepare(database, &statement, sql, kinds, args);
    va_end(args);
    if (error) return error;
    int result;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) continue;
    if (result != SQLITE_DONE) error = query_error(database, "state database");
    sqlite3_finalize(statement);
    return error;
}

struct error *query_number(sqlite3 *database, const char *sql, int64_t absent, int64_t *ret) {
    sqlite3_stmt *statement = NULL;
    TRY_PLAIN(query_prepare(database, &statement, sql, ""));
    int result = sqlite3_step(statement);
    struct error *error = NULL;
    *ret = absent;
    if (result == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    else if (result != SQLITE_DONE)
        error = query_error(database, "state database");
    sqlite3_finalize(statement);
    return error;
}
