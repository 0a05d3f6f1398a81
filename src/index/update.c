/* An index brought up to date with its repository: what is new is added, what is gone is removed.
 *
 *   opened, fetched -> each ref's tree, file by file: known by path and hash? marked; else read, cut, added
 * -> files without this run's mark removed -> the end noted
 * Some files make a transaction, and each is in one whole: whenever this is killed, every file is there as it
 * was or as it is, and the next run finds what is done already. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#define FILE_BYTES_MAX (1u << 20) /* more is nobody's writing */
#define BATCH_BYTES (4u << 20)    /* of changed files in a transaction ... */
#define BATCH_FILES 256           /* ... or so many */
#define LOCK_WAIT_MS 20000
#define LOCK_LOOK_MS 50

struct run {
    const struct index_update *update;
    struct repository *repository;
    struct sql *sql;
    struct index_chunker *chunker;
    int64_t number;
    struct index_report *report;
    size_t batch_bytes, batch_files;
};

static struct error *next_batch(struct run *run) {
    run->batch_bytes = run->batch_files = 0;
    TRY_PLAIN(sql_commit(run->sql));
    return sql_begin(run->sql);
}

static struct error *add_file(struct run *run, const struct tree_file *file, const char *language) {
    scoped_text struct text content = {0};
    struct error *error = tree_content(run->repository, file->hash, FILE_BYTES_MAX, &content);
    bool too_long = error && error->code == ERROR_RESOURCE_EXHAUSTED;
    if (error && !too_long) return error;
    error_free(error);
    bool is_code = !too_long && index_is_code(text_span(&content));
    run->report->rejected += !is_code;
    run->report->changed += is_code;
    run->batch_bytes += content.size;
    const struct index_piece *pieces = NULL;
    size_t count =
        is_code ? index_chunker_cut(run->chunker, text_span(&content), file->path, language, &pieces) : 0;
    return database_file_add(run->sql, file->path, file->hash, language, run->number,
                             is_code ? content.size : 0, pieces, count);
}

static struct error *on_file(void *owner, const struct tree_file *file) {
    struct run *run = owner;
    const char *language = index_language_of(file->path, run->update->languages);
    json_t *checked = language ? json_string(file->path) : NULL;
    if (!checked) return NULL; /* no code, or a name that is no UTF-8 */
    json_decref(checked);
    TRY_PLAIN(sql_do(run->sql, "UPDATE file SET run = ?1 WHERE path = ?2 AND hash = ?3", "iss", run->number,
                     file->path, file->hash));
    if (sql_changed(run->sql) == 0) TRY(add_file(run, file, language), "%s", file->path);
    if (++run->batch_files < BATCH_FILES && run->batch_bytes < BATCH_BYTES) return NULL;
    return next_batch(run);
}

static struct error *walk_ref(struct run *run, const char *ref) {
    struct git_tree *tree = NULL;
    char commit[48];
    TRY_PLAIN(tree_of(run->repository, ref, &tree, commit));
    struct error *error = tree_walk(tree, on_file, run);
    git_tree_free(tree);
    return error;
}

/* What the index would be made of: each ref with its commit, and the languages that are known. */
static struct error *make_tips(struct run *run, struct text *out) {
    const char *const *refs = run->update->repository.refs;
    const struct index_language *languages = run->update->languages;
    bool named = refs && refs[0];
    for (size_t i = 0; named ? refs[i] != NULL : i == 0; i++) {
        struct git_tree *tree = NULL;
        char commit[48];
        TRY_PLAIN(tree_of(run->repository, named ? refs[i] : NULL, &tree, commit));
        git_tree_free(tree);
        text_printf(out, "%s %s\n", named ? refs[i] : "HEAD", commit);
    }
    for (size_t i = 0; languages && languages[i].name; i++) {
        text_printf(out, "%s", languages[i].name);
        for (size_t e = 0; languages[i].extensions[e]; e++)
            text_printf(out, " .%s", languages[i].extensions[e]);
        text_add_char(out, '\n');
    }
    return NULL;
}

static struct error *walk_refs(struct run *run) {
    const char *const *refs = run->update->repository.refs;
    if (!refs || !refs[0]) return walk_ref(run, NULL);
    for (size_t i = 0; refs[i]; i++) TRY_PLAIN(walk_ref(run, refs[i]));
    return NULL;
}

/* Who searches learns by the count of removals, which each transaction brings along, that some are gone. */
static struct error *remove_gone(struct run *run) {
    int64_t file = 0;
    for (bool told = false;; told = run->batch_files > 0) {
        TRY_PLAIN(sql_number(run->sql, 0, &file,
                             "SELECT id FROM file WHERE id > ?1 AND run != ?2 ORDER BY id LIMIT 1", "ii",
                             file, run->number));
        if (!file) return NULL;
        if (!told) TRY_PLAIN(sql_run(run->sql, "UPDATE fact SET value = value + 1 WHERE name = 'removed'"));
        TRY_PLAIN(database_file_remove(run->sql, file));
        run->report->removed++;
        if (++run->batch_files >= BATCH_FILES) TRY_PLAIN(next_batch(run));
    }
}

static struct error *note_end(struct run *run, const char *tips) {
    struct git_tree *tree = NULL;
    char commit[48], now[32];
    const char *const *refs = run->update->repository.refs;
    TRY_PLAIN(tree_of(run->repository, refs ? refs[0] : NULL, &tree, commit));
    git_tree_free(tree);
    snprintf(now, sizeof now, "%lld", (long long)clock_wall_ms());
    TRY_PLAIN(database_fact_set(run->sql, "commit", commit));
    TRY_PLAIN(database_fact_set(run->sql, "tips", tips));
    TRY_PLAIN(database_fact_set(run->sql, "updated", now));
    return database_counts(run->sql, run->report);
}

static struct error *go_through(struct run *run) {
    scoped_string char *last = NULL, *known = NULL;
    scoped_text struct text tips = {0};
    TRY_PLAIN(make_tips(run, &tips));
    TRY_PLAIN(sql_begin(run->sql));
    TRY_PLAIN(database_fact(run->sql, "run", &last));
    TRY_PLAIN(database_fact(run->sql, "tips", &known));
    bool same = known && span_is(text_span(&tips), known); /* nothing was committed since */
    run->number = last ? strtoll(last, NULL, 10) + 1 : 1;
    TRY_PLAIN(sql_run(run->sql, "UPDATE fact SET value = value + 1 WHERE name = 'run'"));
    if (!same) TRY_PLAIN(walk_refs(run));
    if (!same) TRY_PLAIN(remove_gone(run));
    TRY_PLAIN(note_end(run, tips.data));
    return sql_commit(run->sql);
}

/* One at a time, also where two servers share a directory. One that was killed a moment ago may still be
 * dying, which takes it seconds where others want the processors. */
struct error *update_lock(const char *database, int *ret_fd) {
    scoped_string char *path = mem_printf("%s.lock", database);
    scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return error_errno(errno, "%s", path);
    int64_t until_ms = clock_monotonic_ms() + LOCK_WAIT_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (clock_monotonic_ms() >= until_ms)
            return error_new(ERROR_ABORTED, "another process is at work on this index now");
        poll(NULL, 0, LOCK_LOOK_MS);
    }
    *ret_fd = take_fd(&fd);
    return NULL;
}

struct error *index_update(const struct index_update *update, struct index_report *ret_report) {
    scoped(repository) struct repository *repository = NULL;
    scoped(sql) struct sql *sql = NULL;
    scoped_fd int locked = -1;
    int64_t began_ms = clock_monotonic_ms();
    *ret_report = (struct index_report){0};
    TRY_PLAIN(update_lock(update->database, &locked));
    TRY_PLAIN(repository_open(&update->repository, true, &repository));
    ret_report->fetch_ms = clock_monotonic_ms() - began_ms;
    TRY_PLAIN(database_open(update->database, SQL_CREATE, &sql));
    scoped(index_chunker) struct index_chunker *chunker = index_chunker_new(true);
    struct run run = {
        .update = update, .repository = repository, .sql = sql, .chunker = chunker, .report = ret_report};
    struct error *error = go_through(&run);
    if (error) sql_rollback(sql);
    ret_report->index_ms = clock_monotonic_ms() - began_ms - ret_report->fetch_ms;
    return error;
}
