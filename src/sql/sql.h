/* sql: SQLite as a library of statements and rows, its results as our errors.
 *
 * A connection belongs to one thread at a time. Nothing in here knows a table. What blocks does so for the
 * disk, and for other connections at most SQL_BUSY_MS. */
#pragma once
#include "base.h"

#define SQL_BUSY_MS 5000 /* how long a write waits for another process or connection */

enum sql_mode {
    SQL_READ,     /* reads only; the file must be there */
    SQL_UNTOUCHED /* reads, and neither the file nor one beside it is written, for which a WAL is left aside
                   */
    ,
    SQL_WRITE,  /* the file must be there */
    SQL_CREATE, /* made where absent, with mode 0600 */
};
struct sql;
/* Codes: NOT_FOUND no such file, PERMISSION_DENIED, DATA_LOSS no database or a broken one, RESOURCE_EXHAUSTED
 * the disk is full, UNAVAILABLE somebody else writes for too long, ALREADY_EXISTS a constraint, INTERNAL. */
must_check struct error *sql_open(const char *path, enum sql_mode mode, struct sql **ret_sql);
void sql_free(struct sql *sql);
DEFINE_SCOPED(sql)

/* One statement or several, without arguments. */
must_check struct error *sql_run(struct sql *sql, const char *text);
/* One statement, stepped to its end. `kinds` is a letter an argument: s const char * (NULL: null), t struct
 * span as text, b struct span as blob (both: data NULL is null), i int64_t. */
must_check struct error *sql_do(struct sql *sql, const char *text, const char *kinds, ...);
int64_t sql_changed(struct sql *sql); /* rows of the last change */
int64_t sql_last_id(struct sql *sql); /* of the last insert */

/* BEGIN IMMEDIATE. After an error in between, sql_rollback; it does nothing where none is open. */
must_check struct error *sql_begin(struct sql *sql);
must_check struct error *sql_commit(struct sql *sql);
void sql_rollback(struct sql *sql);

struct sql_rows;
must_check struct error *sql_query(struct sql *sql, struct sql_rows **ret_rows, const char *text,
                                   const char *kinds, ...);
/* false: no more, or *ret_error (owned). */
bool sql_next(struct sql_rows *rows, struct error **ret_error);
int sql_columns(const struct sql_rows *rows);
const char *sql_column_name(const struct sql_rows *rows, int column);
bool sql_is_null(const struct sql_rows *rows, int column);
int64_t sql_int(const struct sql_rows *rows, int column);
double sql_real(const struct sql_rows *rows, int column);
struct span sql_span(const struct sql_rows *rows, int column); /* until the next row; null: data NULL */
void sql_rows_free(struct sql_rows *rows);
DEFINE_SCOPED(sql_rows)
/* The one value of the first row; `absent` where there is none or it is null. */
must_check struct error *sql_number(struct sql *sql, int64_t absent, int64_t *ret, const char *text,
                                    const char *kinds, ...);
must_check struct error *sql_text(struct sql *sql, char **ret /* owned; NULL: absent */, const char *text,
                                  const char *kinds, ...);
