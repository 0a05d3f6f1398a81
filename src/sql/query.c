/* Statements: prepared, bound by letters, stepped; rows and single values out of them. */
#include "inside.h"

#include <stdlib.h>

struct sql_rows {
    struct sql *sql;
    sqlite3_stmt *statement;
};

static int bind(sqlite3_stmt *statement, int at, char kind, va_list *args) {
    const char *string;
    struct span span;
    switch (kind) {
    case 's':
        string = va_arg(*args, const char *);
        return sqlite3_bind_text(statement, at, string, -1, SQLITE_TRANSIENT);
    case 't':
        span = va_arg(*args, struct span);
        return sqlite3_bind_text64(statement, at, span.data, span.size, SQLITE_TRANSIENT, SQLITE_UTF8);
    case 'b':
        span = va_arg(*args, struct span);
        return sqlite3_bind_blob64(statement, at, span.data, span.size, SQLITE_TRANSIENT);
    default: return sqlite3_bind_int64(statement, at, va_arg(*args, int64_t));
    }
}

static struct error *prepare(struct sql *sql, sqlite3_stmt **ret, const char *text, const char *kinds,
                             va_list *args) {
    if (sqlite3_prepare_v2(sql->database, text, -1, ret, NULL) != SQLITE_OK) return sql_failed(sql);
    for (int i = 0; kinds[i]; i++) {
        if (bind(*ret, i + 1, kinds[i], args) == SQLITE_OK) continue;
        struct error *error = sql_failed(sql);
        sqlite3_finalize(*ret);
        *ret = NULL;
        return error;
    }
    return NULL;
}

struct error *sql_run(struct sql *sql, const char *text) {
    return sqlite3_exec(sql->database, text, NULL, NULL, NULL) == SQLITE_OK ? NULL : sql_failed(sql);
}

struct error *sql_do(struct sql *sql, const char *text, const char *kinds, ...) {
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, kinds);
    struct error *error = prepare(sql, &statement, text, kinds, &args);
    va_end(args);
    if (error) return error;
    int result;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) continue;
    if (result != SQLITE_DONE) error = sql_failed(sql);
    sqlite3_finalize(statement);
    return error;
}

int64_t sql_changed(struct sql *sql) {
    return sqlite3_changes64(sql->database);
}

int64_t sql_last_id(struct sql *sql) {
    return sqlite3_last_insert_rowid(sql->database);
}

/* ---- transactions ---- */

struct error *sql_begin(struct sql *sql) {
    return sql_run(sql, "BEGIN IMMEDIATE");
}

struct error *sql_commit(struct sql *sql) {
    return sql_run(sql, "COMMIT");
}

void sql_rollback(struct sql *sql) {
    /* A full disk may have rolled back already. */
    if (!sqlite3_get_autocommit(sql->database)) sqlite3_exec(sql->database, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- rows ---- */

static struct error *query(struct sql *sql, struct sql_rows **ret_rows, const char *text, const char *kinds,
                           va_list *args) {
    sqlite3_stmt *statement = NULL;
    TRY_PLAIN(prepare(sql, &statement, text, kinds, args));
    struct sql_rows *rows = NEW(struct sql_rows);
    *rows = (struct sql_rows){.sql = sql, .statement = statement};
    *ret_rows = rows;
    return NULL;
}

struct error *sql_query(struct sql *sql, struct sql_rows **ret_rows, const char *text, const char *kinds,
                        ...) {
    va_list args;
    va_start(args, kinds);
    struct error *error = query(sql, ret_rows, text, kinds, &args);
    va_end(args);
    return error;
}

bool sql_next(struct sql_rows *rows, struct error **ret_error) {
    int result = sqlite3_step(rows->statement);
    *ret_error = result == SQLITE_ROW || result == SQLITE_DONE ? NULL : sql_failed(rows->sql);
    return result == SQLITE_ROW;
}

int sql_columns(const struct sql_rows *rows) {
    return sqlite3_column_count(rows->statement);
}

const char *sql_column_name(const struct sql_rows *rows, int column) {
    return sqlite3_column_name(rows->statement, column);
}

bool sql_is_null(const struct sql_rows *rows, int column) {
    return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

int64_t sql_int(const struct sql_rows *rows, int column) {
    return sqlite3_column_int64(rows->statement, column);
}

double sql_real(const struct sql_rows *rows, int column) {
    return sqlite3_column_double(rows->statement, column);
}

struct span sql_span(const struct sql_rows *rows, int column) {
    if (sql_is_null(rows, column)) return (struct span){0};
    bool blob = sqlite3_column_type(rows->statement, column) == SQLITE_BLOB;
    const void *data = blob ? sqlite3_column_blob(rows->statement, column)
                            : (const void *)sqlite3_column_text(rows->statement, column);
    return (struct span){data ? data : "", (size_t)sqlite3_column_bytes(rows->statement, column)};
}

void sql_rows_free(struct sql_rows *rows) {
    if (!rows) return;
    sqlite3_finalize(rows->statement);
    free(rows);
}

/* ---- single values ---- */

struct error *sql_number(struct sql *sql, int64_t absent, int64_t *ret, const char *text, const char *kinds,
                         ...) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    va_list args;
    va_start(args, kinds);
    struct error *error = query(sql, &rows, text, kinds, &args);
    va_end(args);
    *ret = absent;
    if (!error && sql_next(rows, &error) && !sql_is_null(rows, 0)) *ret = sql_int(rows, 0);
    return error;
}

struct error *sql_text(struct sql *sql, char **ret, const char *text, const char *kinds, ...) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    va_list args;
    va_start(args, kinds);
    struct error *error = query(sql, &rows, text, kinds, &args);
    va_end(args);
    *ret = NULL;
    if (!error && sql_next(rows, &error) && !sql_is_null(rows, 0)) *ret = span_string(sql_span(rows, 0));
    return error;
}
