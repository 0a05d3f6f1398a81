/* The tables, and how they came to be: each step of `steps` takes the format from one version to the next, in
 * one transaction.
 *
 * A step that was released is never changed again; a new need is a new step. A newer format than the last
 * step is refused, as an older catnap would write into tables that it does not understand. */
#include "inside.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const steps[] = {
    "CREATE TABLE app (name TEXT PRIMARY KEY, version INTEGER NOT NULL, json TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE wake (id INTEGER PRIMARY KEY, app TEXT NOT NULL, function TEXT NOT NULL, wall_ms INTEGER "
    "NOT NULL,"
    " duration_us INTEGER NOT NULL, kind TEXT NOT NULL);"
    "CREATE INDEX wake_of ON wake (app, function, id);",
    "CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, "
    "key))"
    " WITHOUT ROWID;",
};

static struct error *migrate(sqlite3 *database) {
    int64_t version = 0;
    TRY_PLAIN(query_number(database, "PRAGMA user_version", 0, &version));
    if (version > (int64_t)COUNT(steps))
        return error_new(ERROR_FAILED_PRECONDITION,
                         "a newer catnap wrote this state (format %lld, this one knows up to %zu); use that "
                         "one, or another --state",
                         (long long)version, COUNT(steps));
    for (size_t i = (size_t)version; i < COUNT(steps); i++) {
        scoped_string char *sql =
            mem_printf("BEGIN IMMEDIATE; %s PRAGMA user_version = %zu; COMMIT;", steps[i], i + 1);
        struct error *error = query_run(database, sql);
        if (!error) continue;
        if (!sqlite3_get_autocommit(database)) sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
        return error_wrap(error, "bring the state to format %zu", i + 1);
    }
    return NULL;
}

static struct error *prepare(sqlite3 *database) {
    /* WAL: a commit is one append and one fsync; FULL: that fsync is not left out. The cache is small, as
     * what is asked often is in memory already. */
    TRY_PLAIN(query_run(database, "PRAGMA journal_mode = WAL"));
    TRY_PLAIN(query_run(database, "PRAGMA synchronous = FULL"));
    TRY_PLAIN(query_run(database, "PRAGMA cache_size = -256; PRAGMA wal_autocheckpoint = 2000"));
    return migrate(database);
}

/* What it holds is for nobody else, also where the directory is for all to read. The files beside it get its
 * mode. What is wrong with it is told by who opens it next. */
static void keep_private(const char *path) {
    scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) (void)fchmod(fd, 0600);
}

struct error *schema_open(const char *path, sqlite3 **ret_database) {
    sqlite3 *database = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    struct error *error = NULL;
    keep_private(path);
    if (sqlite3_open_v2(path, &database, flags, NULL) != SQLITE_OK) error = query_error(database, "open");
    if (!error) {
        sqlite3_busy_timeout(database, 5000); /* somebody looks at it with a tool */
        error = prepare(database);
    }
    if (!error) {
        *ret_database = database;
        return NULL;
    }
    sqlite3_close(database);
    return error_wrap(error, "%s", path);
}
