/* Connections: how they are opened and closed, and what SQLite's results mean. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct error *sql_failed(struct sql *sql) {
    sqlite3 *database = sql->database;
    int result = database ? sqlite3_extended_errcode(database) : SQLITE_NOMEM;
    int cause = database ? sqlite3_system_errno(database) : 0;
    const char *said = database ? sqlite3_errmsg(database) : "out of memory";
    bool full = (result & 0xff) == SQLITE_IOERR && (cause == ENOSPC || cause == EDQUOT);
    switch (full ? SQLITE_FULL : result & 0xff) {
    case SQLITE_FULL: return error_new(ERROR_RESOURCE_EXHAUSTED, "%s: the disk is full", sql->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return error_new(ERROR_DATA_LOSS, "%s: %s", sql->path, said);
    case SQLITE_PERM:
    case SQLITE_READONLY: return error_new(ERROR_PERMISSION_DENIED, "%s: %s", sql->path, said);
    case SQLITE_CANTOPEN:
        if (cause) return error_errno(cause, "%s", sql->path);
        return error_new(ERROR_PERMISSION_DENIED, "%s: %s", sql->path, said);
    case SQLITE_BUSY: return error_new(ERROR_UNAVAILABLE, "%s: another process is writing", sql->path);
    case SQLITE_CONSTRAINT: return error_new(ERROR_ALREADY_EXISTS, "%s", said);
    default: return error_new(ERROR_INTERNAL, "%s: %s (SQLite %d)", sql->path, said, result);
    }
}

/* file:PATH?immutable=1, with what has a meaning in a URI escaped. */
static char *untouched_uri(const char *path) {
    struct text uri = {0};
    text_add(&uri, SPAN("file:"));
    for (const char *c = path; *c; c++) {
        if (strchr("%?#", *c))
            text_printf(&uri, "%%%02X", (unsigned char)*c);
        else
            text_add_char(&uri, *c);
    }
    text_add(&uri, SPAN("?immutable=1"));
    return text_take(&uri);
}

static struct error *open_file(struct sql *sql, enum sql_mode mode) {
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (mode == SQL_READ || mode == SQL_UNTOUCHED)
        flags |= SQLITE_OPEN_READONLY;
    else
        flags |= SQLITE_OPEN_READWRITE | (mode == SQL_CREATE ? SQLITE_OPEN_CREATE : 0);
    scoped_string char *uri = mode == SQL_UNTOUCHED ? untouched_uri(sql->path) : NULL;
    if (mode == SQL_CREATE) {
        /* For its mode alone. Only where it is new: closing a descriptor of a file that SQLite has open drops
         * SQLite's locks on it (POSIX, fcntl). */
        scoped_fd int fd = open(sql->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) return error_errno(errno, "%s", sql->path);
    }
    if (uri) flags |= SQLITE_OPEN_URI;
    if (sqlite3_open_v2(uri ? uri : sql->path, &sql->database, flags, NULL) != SQLITE_OK)
        return sql_failed(sql);
    sqlite3_busy_timeout(sql->database, SQL_BUSY_MS);
    /* A trigger or a view in a file from elsewhere must not reach beyond it. */
    sqlite3_db_config(sql->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(sql->database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return NULL;
}

struct error *sql_open(const char *path, enum sql_mode mode, struct sql **ret_sql) {
    scoped(sql) struct sql *sql = NEW(struct sql);
    sql->path = mem_string(path);
    TRY_PLAIN(open_file(sql, mode));
    *ret_sql = take(sql);
    return NULL;
}

void sql_free(struct sql *sql) {
    if (!sql) return;
    sqlite3_close(sql->database);
    free(sql->path);
    free(sql);
}
