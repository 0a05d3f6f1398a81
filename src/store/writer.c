/* The one thread that writes, and its queue.
 *
 *   writer_add -> waiting -(thread: one commit for all that wait)-> written -(post)-> finished -> done, on
 * the loop
 *
 * Each write is a savepoint in the commit, so that one that fails does not take the others with it. A commit
 * that fails fails all in it. Idle: the thread sleeps on its condition. */
#include "inside.h"

#include <signal.h>
#include <stdlib.h>

static void job_free(struct job *job) {
    free(job->app);
    free(job->function);
    free(job->json);
    records_free(job);
    error_free(job->error);
    free(job);
}

/* ---- on the writer's thread ---- */

static struct error *app_put(sqlite3 *database, const struct job *job) {
    TRY_PLAIN(query_do(database,
                       "INSERT INTO app (name, version, json) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT (name) DO UPDATE SET version = ?2, json = ?3",
                       "sis", job->app, (int64_t)job->version, job->json));
    return query_do(database,
                    "INSERT INTO counter (name, value) VALUES ('version', ?1)"
                    " ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)",
                    "i", (int64_t)job->version);
}

static struct error *app_remove(sqlite3 *database, const struct job *job) {
    TRY_PLAIN(query_do(database, "DELETE FROM app WHERE name = ?1", "s", job->app));
    return query_do(database, "DELETE FROM wake WHERE app = ?1", "s", job->app);
}

static struct error *wake_add(sqlite3 *database, const struct job *job) {
    TRY_PLAIN(query_do(
        database, "INSERT INTO wake (app, function, wall_ms, duration_us, kind) VALUES (?1, ?2, ?3, ?4, ?5)",
        "ssiis", job->app, job->function, job->wake.wall_ms, job->wake.duration_us, job->wake.kind));
    return query_do(database,
                    "DELETE FROM wake WHERE app = ?1 AND function = ?2 AND id <= (SELECT id FROM wake"
                    " WHERE app = ?1 AND function = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
                    "ssi", job->app, job->function, (int64_t)STORE_WAKES_KEPT);
}

static struct error *carry_out(struct store *store, const struct job *job) {
    sqlite3 *database = store->database;
    switch (job->kind) {
    case JOB_APP_PUT: return app_put(database, job);
    case JOB_APP_REMOVE: return app_remove(database, job);
    case JOB_WAKE: return wake_add(database, job);
    case JOB_RECORDS: return records_write(store, job);
    }
    return NULL;
}

static bool is_alone(const struct list *batch) {
    return batch->next->next == batch;
}

/* An error here means that the transaction as a whole is over. */
static struct error *write_one(struct store *store, struct job *job) {
    sqlite3 *database = store->database;
    TRY_PLAIN(query_run(database, "SAVEPOINT job"));
    job->error = carry_out(store, job);
    if (!job->error) return query_run(database, "RELEASE job");
    /* A full disk may have rolled back all of it already. */
    if (sqlite3_get_autocommit(database)) return error_copy(job->error);
    return query_run(database, "ROLLBACK TO job; RELEASE job");
}

static struct error *write_all(struct store *store, struct list *batch) {
    sqlite3 *database = store->database;
    bool durable = false;
    LIST_EACH(node, batch) {
        const struct job *job = CONTAINER_OF(node, struct job, node);
        durable |= job->kind != JOB_WAKE && !job->soon; /* wakes are but for estimates */
    }
    if (durable != store->durable)
        TRY_PLAIN(query_run(database, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
    store->durable = durable;
    TRY_PLAIN(query_run(database, "BEGIN IMMEDIATE"));
    if (is_alone(batch)) { /* it fails with the transaction */
        TRY_PLAIN(carry_out(store, CONTAINER_OF(batch->next, struct job, node)));
        return query_run(database, "COMMIT");
    }
    LIST_EACH(node, batch) TRY_PLAIN(write_one(store, CONTAINER_OF(node, struct job, node)));
    return query_run(database, "COMMIT");
}

static void write_batch(struct store *store, struct list *batch) {
    sqlite3 *database = store->database;
    scoped(error) struct error *error = write_all(store, batch);
    if (!error) return;
    if (!sqlite3_get_autocommit(database)) sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    LIST_EACH(node, batch) {
        struct job *job = CONTAINER_OF(node, struct job, node);
        if (!job->error) job->error = error_copy(error);
    }
}

static void *write_loop(void *argument) {
    struct store *store = argument;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        while (list_empty(&store->waiting) && !store->closing) pthread_cond_wait(&store->more, &store->lock);
        if (list_empty(&store->waiting)) break;
        struct list batch;
        list_init(&batch);
        for (size_t i = 0; i < STORE_BATCH_MAX && !list_empty(&store->waiting); i++, store->waiting_count--) {
            struct list *node = store->waiting.next;
            list_remove(node);
            list_append(&batch, node);
        }
        store->writing = true;
        pthread_mutex_unlock(&store->lock);
        pthread_mutex_lock(&store->access);
        write_batch(store, &batch);
        pthread_mutex_unlock(&store->access);
        pthread_mutex_lock(&store->lock);
        LIST_EACH_SAFE(node, next, &batch) {
            list_remove(node);
            list_append(&store->written, node);
        }
        store->writing = false;
        pthread_cond_signal(&store->all_written);
        io_post_send(store->post);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* ---- on the loop's thread ---- */

static void tell_written(struct store *store) {
    pthread_mutex_lock(&store->lock);
    LIST_EACH_SAFE(node, next, &store->written) {
        list_remove(node);
        list_append(&store->finished, node);
    }
    pthread_mutex_unlock(&store->lock);
    /* A `done` may add more; those come with a later post. */
    while (!list_empty(&store->finished)) {
        struct job *job = CONTAINER_OF(store->finished.next, struct job, node);
        list_remove(&job->node);
        if (job->done)
            job->done(job->owner, take(job->error));
        else if (job->error)
            log_warn("store", "%s is not noted: %s", job->app, job->error->message);
        job_free(job);
    }
}

void store_settle(struct store *store) {
    for (bool more = store && store->running; more;) {
        pthread_mutex_lock(&store->lock);
        while (store->writing || !list_empty(&store->waiting))
            pthread_cond_wait(&store->all_written, &store->lock);
        more = !list_empty(&store->written);
        pthread_mutex_unlock(&store->lock);
        if (more) tell_written(store);
    }
}

static void on_written(void *owner) {
    tell_written(owner);
}

void writer_add(struct store *store, struct job *job) {
    pthread_mutex_lock(&store->lock);
    bool full = store->waiting_count >= STORE_QUEUE_MAX;
    if (full) {
        job->error = error_new(ERROR_RESOURCE_EXHAUSTED,
                               "too many changes wait to be written (%d); try again later", STORE_QUEUE_MAX);
        list_append(&store->written, &job->node);
    } else {
        list_append(&store->waiting, &job->node);
        store->waiting_count++;
        pthread_cond_signal(&store->more);
    }
    pthread_mutex_unlock(&store->lock);
    if (full) io_post_send(store->post);
}

struct error *writer_start(struct store *store) {
    store->post = io_post_new(store->loop, on_written, store);
    io_post_unref(store->post);
    sigset_t all, before; /* signals are the loop's thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&store->thread, NULL, write_loop, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return error_errno(failed, "start the writer's thread");
    store->running = true;
    return NULL;
}

void writer_stop(struct store *store) {
    if (store->running) {
        pthread_mutex_lock(&store->lock);
        store->closing = true;
        pthread_cond_signal(&store->more);
        pthread_mutex_unlock(&store->lock);
        pthread_join(store->thread, NULL);
    }
    io_post_free(store->post);
    tell_written(store);
}
