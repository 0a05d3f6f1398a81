/* The door: opening and closing, apps, numbers, wakes. */
#include "store.h"

#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- open and close ---- */

static struct error *open_all(struct store *store) {
    TRY_PLAIN(dir_make(store->dir, 0700));
    TRY_PLAIN(lock_take(store->dir, &store->lock_fd));
    scoped_string char *path = path_join(store->dir, "catnap.db");
    TRY_PLAIN(schema_open(path, &store->database));
    int64_t version = 0;
    TRY_PLAIN(query_number(store->database, "SELECT value FROM counter WHERE name = 'version'", 0, &version));
    store->version = (uint64_t)version;
    TRY_PLAIN(blobs_open(store));
    return writer_start(store);
}

struct error *store_open(struct io_loop *loop, const char *dir, struct store **ret_store) {
    scoped(store) struct store *store = NEW(struct store);
    store->loop = loop;
    store->dir = mem_string(dir);
    store->blobs = path_join(dir, "blobs");
    store->lock_fd = -1;
    list_init(&store->finished);
    store->durable = true; /* as schema.c sets it */
    list_init(&store->waiting);
    list_init(&store->written);
    pthread_mutex_init(&store->access, NULL);
    pthread_mutex_init(&store->reading, NULL);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->blob_lock, NULL);
    pthread_cond_init(&store->more, NULL);
    pthread_cond_init(&store->all_written, NULL);
    TRY(open_all(store), "state");
    *ret_store = take(store);
    return NULL;
}

int store_lock_keep(struct store *store) {
    if (!store) return -1;
    int fd = store->lock_fd;
    store->lock_fd = -1;
    return fd;
}

void store_free(struct store *store) {
    if (!store) return;
    sweep_end(store);
    writer_stop(store);
    sqlite3_finalize(store->record_put);
    sqlite3_finalize(store->record_remove);
    sqlite3_close(store->reader);
    sqlite3_close(store->database);
    if (store->lock_fd >= 0) close(store->lock_fd); /* last: nobody else may open it before all is closed */
    pthread_cond_destroy(&store->more);
    pthread_cond_destroy(&store->all_written);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->blob_lock);
    pthread_mutex_destroy(&store->access);
    pthread_mutex_destroy(&store->reading);
    free(store->dir);
    free(store->blobs);
    free(store);
}

/* ---- apps ---- */

uint64_t store_version_next(struct store *store) {
    return ++store->version;
}

static struct job *job_new(enum job_kind kind, const char *app,
                           void (*done)(void *owner, struct error *error), void *owner) {
    struct job *job = NEW(struct job);
    *job = (struct job){.kind = kind, .app = mem_string(app), .done = done, .owner = owner};
    list_init(&job->node);
    return job;
}

void store_app_put(struct store *store, const struct core_app *app,
                   void (*done)(void *owner, struct error *error), void *owner) {
    struct job *job = job_new(JOB_APP_PUT, app->name, done, owner);
    scoped_json json_t *json = core_app_to_json(app);
    job->json = json_dumps(json, JSON_COMPACT);
    if (!job->json) abort(); /* out of memory: core makes no other JSON than can be printed */
    job->version = app->version;
    writer_add(store, job);
}

void store_app_remove(struct store *store, const char *app, void (*done)(void *owner, struct error *error),
                      void *owner) {
    writer_add(store, job_new(JOB_APP_REMOVE, app, done, owner));
}

static struct error *app_read(sqlite3_stmt *row, struct core_app **ret_app) {
    const char *name = (const char *)sqlite3_column_text(row, 0),
               *text = (const char *)sqlite3_column_text(row, 1);
    json_error_t where;
    scoped_json json_t *json = json_loads(text ? text : "", 0, &where);
    if (!json) return error_new(ERROR_DATA_LOSS, "the stored app '%s' is no JSON: %s", name, where.text);
    TRY(core_app_from_json(json, ret_app), "the stored app '%s'", name);
    return NULL;
}

static struct error *apps_load(struct store *store, void (*app)(void *owner, struct core_app *taken_app),
                               void *owner) {
    sqlite3_stmt *statement = NULL;
    TRY_PLAIN(query_prepare(store->database, &statement, "SELECT name, json FROM app ORDER BY name", ""));
    struct error *error = NULL;
    int result = SQLITE_DONE;
    while (!error && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct core_app *one = NULL;
        error = app_read(statement, &one);
        if (!error) app(owner, one);
    }
    if (!error && result != SQLITE_DONE) error = query_error(store->database, "read the apps");
    sqlite3_finalize(statement);
    return error;
}

struct error *store_apps_load(struct store *store, void (*app)(void *owner, struct core_app *taken_app),
                              void *owner) {
    pthread_mutex_lock(&store->access);
    struct error *error = apps_load(store, app, owner);
    pthread_mutex_unlock(&store->access);
    return error;
}

/* ---- numbers ---- */

static struct error *numbers_take(struct store *store, uint64_t count, uint64_t *ret_first) {
    int64_t first = 0;
    sqlite3_stmt *statement = NULL;
    /* One statement is one commit, with the fsync that FULL brings. */
    TRY_PLAIN(query_run(store->database, "PRAGMA synchronous = FULL"));
    TRY_PLAIN(query_prepare(store->database, &statement,
                            "INSERT INTO counter (name, value) VALUES ('number', 1 + ?1)"
                            " ON CONFLICT (name) DO UPDATE SET value = value + ?1 RETURNING value - ?1",
                            "i", (int64_t)count));
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) first = sqlite3_column_int64(statement, 0);
    if (result == SQLITE_ROW) result = sqlite3_step(statement);
    struct error *error = result == SQLITE_DONE ? NULL : query_error(store->database, "reserve numbers");
    sqlite3_finalize(statement);
    *ret_first = (uint64_t)first;
    return error;
}

struct error *store_numbers(struct store *store, uint64_t count, uint64_t *ret_first) {
    pthread_mutex_lock(&store->access);
    struct error *error = numbers_take(store, count, ret_first);
    pthread_mutex_unlock(&store->access);
    return error;
}

/* ---- past wakes ---- */

void store_wake_add(struct store *store, const char *app, const char *function,
                    const struct store_wake *wake) {
    struct job *job = job_new(JOB_WAKE, app, NULL, NULL);
    job->function = mem_string(function);
    job->wake = *wake;
    writer_add(store, job);
}

size_t store_wakes(struct store *store, const char *app, const char *function, struct store_wake *wakes,
                   size_t capacity) {
    sqlite3_stmt *statement = NULL;
    size_t count = 0;
    pthread_mutex_lock(&store->access);
    scoped(error) struct error *error = query_prepare(store->database, &statement,
                                                      "SELECT wall_ms, duration_us, kind FROM wake WHERE app "
                                                      "= ?1 AND function = ?2 ORDER BY id DESC LIMIT ?3",
                                                      "ssi", app, function, (int64_t)capacity);
    while (!error && count < capacity && sqlite3_step(statement) == SQLITE_ROW) {
        struct store_wake *wake = &wakes[count++];
        *wake =
            (struct store_wake){sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1), ""};
        snprintf(wake->kind, sizeof wake->kind, "%s", (const char *)sqlite3_column_text(statement, 2));
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->access);
    return count;
}
