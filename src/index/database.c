/* The file of an index: files of the repository, their chunks, the full-text table, the vectors.
 *
 * SQLite with a write-ahead log, so that searches go on while an index grows. The full-text table keeps no
 * text of its own: what it was told of a chunk is worked out again from the chunk when that goes. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

/* Of all below, and of how chunks are cut; another one is thrown away and made again. */
#define VERSION "2"

static const char tables[] =
    "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    /* A path may be there more than once: in several branches, with several contents. */
    "CREATE TABLE file (id INTEGER PRIMARY KEY, path TEXT NOT NULL, hash TEXT NOT NULL, language TEXT NOT "
    "NULL,"
    " run INTEGER NOT NULL, size INTEGER NOT NULL, UNIQUE (path, hash));"
    "CREATE TABLE chunk (id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, line INTEGER NOT NULL,"
    " body TEXT NOT NULL);"
    "CREATE INDEX chunk_of_file ON chunk (file);"
    "CREATE VIRTUAL TABLE words USING fts5(language, body, content='', tokenize=\"ascii tokenchars '_'\");"
    "CREATE TABLE vector (id INTEGER PRIMARY KEY AUTOINCREMENT, chunk INTEGER NOT NULL UNIQUE, file INTEGER "
    "NOT "
    "NULL, language INTEGER NOT NULL, bits BLOB NOT NULL);"
    "INSERT INTO fact VALUES ('run', '0'), ('removed', '0');";

struct error *database_fact(struct sql *sql, const char *name, char **ret_value) {
    return sql_text(sql, ret_value, "SELECT value FROM fact WHERE name = ?1", "s", name);
}

struct error *database_fact_set(struct sql *sql, const char *name, const char *value) {
    return sql_do(sql, "INSERT OR REPLACE INTO fact VALUES (?1, ?2)", "ss", name, value);
}

static struct error *make_tables(struct sql *sql) {
    TRY_PLAIN(sql_run(sql, "PRAGMA journal_mode = WAL"));
    TRY_PLAIN(sql_begin(sql));
    scoped_string char *version = mem_printf("%s%s", VERSION, grammars_mark);
    struct error *error = sql_run(sql, tables);
    if (!error) error = database_fact_set(sql, "version", version);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    return error;
}

static struct error *open_one(const char *path, enum sql_mode mode, struct sql **ret_sql) {
    scoped(sql) struct sql *sql = NULL;
    scoped_string char *version = NULL;
    int64_t there = 0;
    TRY_PLAIN(sql_open(path, mode, &sql));
    TRY_PLAIN(sql_number(sql, 0, &there, "SELECT count(*) FROM sqlite_schema WHERE name = 'fact'", ""));
    if (!there && mode == SQL_CREATE) TRY_PLAIN(make_tables(sql));
    if (!there && mode != SQL_CREATE) return error_new(ERROR_NOT_FOUND, "nothing was indexed yet");
    TRY_PLAIN(database_fact(sql, "version", &version));
    scoped_string char *ours = mem_printf("%s%s", VERSION, grammars_mark);
    if (!version || strcmp(version, ours) != 0)
        return error_new(ERROR_DATA_LOSS, "%s is of another version", path);
    TRY_PLAIN(sql_run(sql, "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000"));
    *ret_sql = take(sql);
    return NULL;
}

static void remove_files(const char *database) {
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < COUNT(endings); i++) {
        scoped_string char *path = mem_printf("%s%s", database, endings[i]);
        unlink(path);
    }
}

struct error *database_open(const char *path, enum sql_mode mode, struct sql **ret_sql) {
    struct error *error = open_one(path, mode, ret_sql);
    if (!error || error->code != ERROR_DATA_LOSS) return error;
    scoped_string char *text = error_text(error);
    if (mode != SQL_CREATE) { /* whoever brings it up to date makes it anew */
        error_free(error);
        return error_new(ERROR_NOT_FOUND, "%s; it will be made again", text);
    }
    log_warn("index", "%s: it is made again", text);
    error_free(error);
    remove_files(path);
    return open_one(path, mode, ret_sql);
}

void index_remove(const char *database) {
    scoped_string char *lock = mem_printf("%s.lock", database);
    remove_files(database);
    unlink(lock);
}

/* ---- files and their chunks ---- */

void database_chunk_text(struct span path, struct span body, struct text *out) {
    text_printf(out, "```" SPAN_FORMAT "\n", SPAN_ARGS(path));
    text_add(out, body);
    text_add_string(out, "\n```");
}

uint32_t database_language_mark(struct span language) {
    uint32_t mark = 2166136261u; /* FNV-1a */
    struct span kind = index_language_kind(language);
    for (size_t i = 0; i < kind.size; i++) mark = (mark ^ (unsigned char)kind.data[i]) * 16777619u;
    return mark;
}

static struct error *words_change(struct sql *sql, const char *statement, int64_t chunk, const char *path,
                                  const char *language, struct span body) {
    scoped_text struct text text = {0}, words = {0}, kind = {0};
    database_chunk_text(span_of(path), body, &text);
    words_of(text_span(&text), &words);
    words_of(index_language_kind(span_of(language)), &kind);
    return sql_do(sql, statement, "itt", chunk, text_span(&kind), text_span(&words));
}

static struct error *add_chunk(struct sql *sql, int64_t file, const char *path, const char *language,
                               struct span body, uint32_t line) {
    TRY_PLAIN(sql_do(sql, "INSERT INTO chunk (file, line, body) VALUES (?1, ?2, ?3)", "iit", file,
                     (int64_t)line, body));
    return words_change(sql, "INSERT INTO words (rowid, language, body) VALUES (?1, ?2, ?3)",
                        sql_last_id(sql), path, language, body);
}

struct error *database_file_add(struct sql *sql, const char *path, const char *hash, const char *language,
                                int64_t run, size_t size_bytes, const struct index_piece *pieces,
                                size_t count) {
    TRY_PLAIN(sql_do(sql, "INSERT INTO file (path, hash, language, run, size) VALUES (?1, ?2, ?3, ?4, ?5)",
                     "sssii", path, hash, language, run, (int64_t)size_bytes));
    int64_t file = sql_last_id(sql);
    for (size_t i = 0; i < count; i++)
        TRY_PLAIN(add_chunk(sql, file, path, language, pieces[i].text, count == 1 ? 0 : pieces[i].line));
    return NULL;
}

struct error *database_file_remove(struct sql *sql, int64_t file) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    TRY_PLAIN(sql_query(sql, &rows,
                        "SELECT c.id, f.path, f.language, c.body FROM chunk c JOIN file f ON f.id = c.file "
                        "WHERE c.file = ?1",
                        "i", file));
    while (!error && sql_next(rows, &error)) {
        scoped_string char *path = span_string(sql_span(rows, 1)), *language = span_string(sql_span(rows, 2));
        error = words_change(sql,
                             "INSERT INTO words (words, rowid, language, body) VALUES ('delete', ?1, ?2, ?3)",
                             sql_int(rows, 0), path, language, sql_span(rows, 3));
    }
    if (error) return error;
    TRY_PLAIN(sql_do(sql, "DELETE FROM vector WHERE file = ?1", "i", file));
    TRY_PLAIN(sql_do(sql, "DELETE FROM chunk WHERE file = ?1", "i", file));
    return sql_do(sql, "DELETE FROM file WHERE id = ?1", "i", file);
}

struct error *database_counts(struct sql *sql, struct index_report *report) {
    int64_t files = 0, bytes = 0, chunks = 0;
    TRY_PLAIN(sql_number(sql, 0, &files, "SELECT count(*) FROM file WHERE size > 0", ""));
    TRY_PLAIN(sql_number(sql, 0, &bytes, "SELECT sum(size) FROM file", ""));
    TRY_PLAIN(sql_number(sql, 0, &chunks, "SELECT count(*) FROM chunk", ""));
    report->files = (uint64_t)files, report->bytes = (uint64_t)bytes, report->chunks = (uint64_t)chunks;
    return NULL;
}
