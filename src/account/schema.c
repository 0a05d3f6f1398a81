/* Opening the database: made where absent, left alone where it is not known, brought up to date where it is
 * older.
 *
 *   absent or empty -> made, noted as Tabby's newest
 *   _sqlx_migrations up to MIGRATION_LAST -> as it is
 *   from MIGRATION_FIRST_KEPT on -> copied beside it, then step by step, each a transaction
 *   Tabby's tables without _sqlx_migrations (made by hand) -> what is missing is added
 *   older, newer, cut short, or nothing of Tabby's -> refused, and not a byte of it was written
 * What is refused is found out by a connection that cannot write. */
#include "inside.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <openssl/evp.h>

enum found { FOUND_NOTHING, FOUND_MADE_BY_HAND, FOUND_OLDER, FOUND_CURRENT };
#define CHECKSUM_BYTES 48

static struct error *refuse(const char *path, const char *why) {
    return error_new(ERROR_FAILED_PRECONDITION, "%s: %s. Nothing in it was changed", path, why);
}

static const struct migration *migration_of(int64_t version) {
    for (size_t i = 0; i < MIGRATIONS; i++)
        if (migrations[i].version == version) return &migrations[i];
    return NULL;
}

static void checksum_of(const struct migration *migration, unsigned char out[CHECKSUM_BYTES]) {
    if (EVP_DecodeBlock(out, (const unsigned char *)migration->checksum, 64) != CHECKSUM_BYTES) abort();
}

static bool is_published(const struct migration *migration, struct span checksum) {
    unsigned char wanted[CHECKSUM_BYTES];
    checksum_of(migration, wanted);
    return span_equal(checksum, (struct span){(char *)wanted, sizeof wanted});
}

/* ---- what is there ---- */

static struct error *look_at_versions(const char *path, struct sql *sql, enum found *ret_found) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    int64_t last = 0, count = 0;
    TRY_PLAIN(sql_query(sql, &rows,
                        "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version", ""));
    while (sql_next(rows, &error)) {
        last = sql_int(rows, 0);
        count++;
        const struct migration *known = migration_of(last);
        if (!known) {
            scoped_string char *why =
                mem_printf("a newer Tabby wrote it (migration %lld; known here are those up to %d): use that "
                           "one, or another TABBY_ROOT",
                           (long long)last, MIGRATION_LAST);
            return refuse(path, why);
        }
        if (!sql_int(rows, 1)) {
            scoped_string char *why =
                mem_printf("its migration %lld was cut short: start the Tabby that it comes from once more",
                           (long long)last);
            return refuse(path, why);
        }
        if (!is_published(known, sql_span(rows, 2)))
            log_warn("account", "%s: its migration %lld is not the one that Tabby published", path,
                     (long long)last);
    }
    if (error) return error;
    if (count == 0) return refuse(path, "it has tables, but no migration is noted in it");
    if (last < MIGRATION_FIRST_KEPT) {
        scoped_string char *why =
            mem_printf("it is of an old Tabby (migration %lld): start Tabby 0.32 on it once, "
                       "which brings it up to date",
                       (long long)last);
        return refuse(path, why);
    }
    *ret_found = last < MIGRATION_LAST ? FOUND_OLDER : FOUND_CURRENT;
    return NULL;
}

/* Each table of ours that is there must have our columns. `made` has them. */
static struct error *compare_tables(const char *path, struct sql *sql, struct sql *made) {
    scoped(sql_rows) struct sql_rows *tables = NULL;
    struct error *error = NULL;
    TRY_PLAIN(sql_query(made, &tables,
                        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c"
                        " WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
                        ""));
    while (sql_next(tables, &error)) {
        scoped_string char *table = span_string(sql_span(tables, 0)),
                           *column = span_string(sql_span(tables, 1));
        int64_t columns = 0, found = 0;
        TRY_PLAIN(sql_number(sql, 0, &columns, "SELECT count(*) FROM pragma_table_info(?1)", "s", table));
        TRY_PLAIN(sql_number(sql, 0, &found, "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2",
                             "ss", table, column));
        if (columns == 0 || found > 0) continue;
        scoped_string char *why = mem_printf("its table %s has no column %s", table, column);
        return refuse(path, why);
    }
    return error;
}

static struct error *compare(const char *path, struct sql *sql) {
    scoped(sql) struct sql *made = NULL;
    TRY_PLAIN(sql_open(":memory:", SQL_WRITE, &made));
    TRY_PLAIN(sql_run(made, schema_tables));
    return compare_tables(path, sql, made);
}

static struct error *look_at(const char *path, struct sql *sql, enum found *ret_found) {
    int64_t tables = 0, noted = 0, users = 0;
    TRY_PLAIN(sql_number(sql, 0, &tables, "SELECT count(*) FROM sqlite_schema", ""));
    TRY_PLAIN(
        sql_number(sql, 0, &noted, "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'", ""));
    TRY_PLAIN(sql_number(sql, 0, &users, "SELECT count(*) FROM sqlite_schema WHERE name = 'users'", ""));
    *ret_found = FOUND_NOTHING;
    if (tables == 0) return NULL;
    if (noted) return look_at_versions(path, sql, ret_found);
    if (!users) return refuse(path, "it is a database of something else: it has no table of users");
    *ret_found = FOUND_MADE_BY_HAND;
    return compare(path, sql);
}

static bool is_filled(const char *path, const char *suffix) {
    struct stat status;
    scoped_string char *beside = mem_printf("%s%s", path, suffix);
    return stat(beside, &status) == 0 && status.st_size > 0;
}

static struct error *look(const char *path, enum found *ret_found) {
    scoped(sql) struct sql *sql = NULL;
    *ret_found = FOUND_NOTHING;
    if (!is_filled(path, "")) return NULL;
    /* A write-ahead log that was left behind is part of the content, and reading it makes a file beside it; a
     * rollback journal has to be rolled back first, by whoever opens next. */
    enum sql_mode mode = SQL_UNTOUCHED;
    if (is_filled(path, "-wal")) mode = SQL_READ;
    if (is_filled(path, "-journal")) mode = SQL_WRITE;
    TRY_PLAIN(sql_open(path, mode, &sql));
    return look_at(path, sql, ret_found);
}

/* ---- making and changing ---- */

static struct error *note(struct sql *sql, const struct migration *migration) {
    unsigned char checksum[CHECKSUM_BYTES];
    checksum_of(migration, checksum);
    return sql_do(sql,
                  "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)"
                  " VALUES (?1, ?2, 1, ?3, 0)",
                  "isb", migration->version, migration->description,
                  (struct span){(char *)checksum, sizeof checksum});
}

static struct error *make_tables(struct sql *sql) {
    TRY_PLAIN(sql_run(sql, schema_tables));
    for (size_t i = 0; i < MIGRATIONS; i++) TRY_PLAIN(note(sql, &migrations[i]));
    return NULL;
}

static struct error *step(struct sql *sql, const struct migration *migration) {
    TRY_PLAIN(sql_run(sql, migration->sql));
    return note(sql, migration);
}

static struct error *in_transaction(struct sql *sql, struct error *(*change)(struct sql *sql)) {
    TRY_PLAIN(sql_begin(sql));
    struct error *error = change(sql);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    return error;
}

static struct error *bring_up(struct sql *sql) {
    int64_t last = 0;
    TRY_PLAIN(sql_number(sql, 0, &last, "SELECT max(version) FROM _sqlx_migrations", ""));
    for (size_t i = 0; i < MIGRATIONS; i++) {
        if (migrations[i].version <= last) continue;
        TRY_PLAIN(sql_begin(sql));
        struct error *error = step(sql, &migrations[i]);
        if (!error) error = sql_commit(sql);
        if (error) sql_rollback(sql);
        if (error) return error_wrap(error, "bring it to migration %lld", (long long)migrations[i].version);
    }
    return NULL;
}

/* As Tabby does before it changes one: db.backup-YYYYMMDD.sqlite; the first of a day stays. */
static struct error *back_up(const char *path, struct sql *sql) {
    char now[CLOCK_TEXT_SIZE];
    clock_text(clock_wall_ms(), now);
    scoped_string char *copy =
        mem_printf("%.*s.backup-%.4s%.2s%.2s.sqlite", (int)(strlen(path) - strlen(".sqlite")), path, now,
                   now + 5, now + 8);
    if (file_exists(copy)) return NULL;
    log_info("account", "%s is of an older Tabby and is brought up to date; a copy stays in %s", path, copy);
    return sql_do(sql, "VACUUM INTO ?1", "s", copy);
}

static struct error *settle(const char *path, struct sql *sql, enum found found) {
    char token[UUID_SIZE];
    if (found == FOUND_OLDER) TRY(back_up(path, sql), "copy");
    TRY_PLAIN(sql_run(sql, "PRAGMA journal_mode = WAL"));
    /* FULL: what was answered survives a power cut too. */
    TRY_PLAIN(sql_run(sql, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -1024"));
    if (found == FOUND_NOTHING || found == FOUND_MADE_BY_HAND) TRY_PLAIN(in_transaction(sql, make_tables));
    if (found == FOUND_OLDER) TRY_PLAIN(bring_up(sql));
    uuid_new(token);
    return sql_do(sql, "INSERT OR IGNORE INTO registration_token (id, token) VALUES (1, ?1)", "s", token);
}

struct error *schema_open(const char *path, struct sql **ret_sql) {
    enum found found;
    scoped(sql) struct sql *sql = NULL;
    TRY_PLAIN(look(path, &found));
    TRY_PLAIN(sql_open(path, SQL_CREATE, &sql));
    TRY_PLAIN(settle(path, sql, found));
    if (found == FOUND_OLDER) TRY_PLAIN(compare(path, sql));
    *ret_sql = take(sql);
    return NULL;
}
