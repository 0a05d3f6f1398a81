/* What the files of store share.
 *
 * `database` is SQLite in its serialized mode: the writer's thread has it while the daemon runs, the loop's
 * thread reads at the start only. What the two threads share beyond it is in `queue`, under its lock. */
#pragma once
#include "store.h"

#include <pthread.h>
#include <sqlite3.h>

#define STORE_QUEUE_MAX 10000 /* writes that wait; beyond: refused */
#define STORE_BATCH_MAX 256   /* writes in one commit */

enum job_kind { JOB_APP_PUT, JOB_APP_REMOVE, JOB_WAKE, JOB_RECORDS };
struct job_record {
    char *kind, *key;
    char *value; /* NULL: removed */
    size_t size;
    bool below;
};
struct job {
    struct list node;
    enum job_kind kind;
    char *app, *function;
    char *json; /* APP_PUT */
    uint64_t version;
    struct store_wake wake;
    struct job_record *records; /* RECORDS */
    bool soon;                  /* no fsync for it alone */
    size_t record_count;
    void (*done)(void *owner, struct error *error); /* NULL: nobody waits */
    void *owner;
    struct error *error;
};

struct store {
    struct io_loop *loop;
    char *dir, *blobs;
    int lock_fd;
    sqlite3 *database;
    pthread_mutex_t access;
    sqlite3 *reader; /* of range.c, under `reading` */
    pthread_mutex_t reading;
    sqlite3_stmt *record_put, *record_remove; /* of record.c; the writer's */
    uint64_t version;                         /* the highest that was given out */
    struct io_post *post;
    struct list finished; /* of the loop's thread: results on their way to `done` */
    pthread_t thread;
    bool running;
    bool durable;         /* of the writer: commits reach the disk before they are told */
    pthread_mutex_t lock; /* for what is below */
    pthread_cond_t more;
    pthread_cond_t all_written;
    struct list waiting, written;
    size_t waiting_count;
    bool writing; /* what was taken out of `waiting` */
    bool closing;
    bool sweep_works;
    pthread_mutex_t blob_lock; /* a look at a blob, or its removal */
    bool sweep_ends;           /* atomic */
    struct sweep *sweep;       /* of the loop's thread: under way; NULL: none */
    void (*names)(void *owner, struct text *names);
    void *names_owner;
};

extern struct store_calls store_calls;

/* ---- lock.c ---- */
must_check struct error *lock_take(const char *dir, int *ret_fd);

/* ---- schema.c ---- */
must_check struct error *schema_open(const char *path, sqlite3 **ret_database);

/* ---- query.c: SQL without ceremony ---- */
struct error *query_error(sqlite3 *database, const char *what); /* of the last call; codes by what it means */
must_check struct error *query_run(sqlite3 *database, const char *sql);
/* `kinds`: a letter an argument: s (const char *), i (int64_t), b (const void *, size_t). The statement is
 * ready for sqlite3_step. */
must_check struct error *query_prepare(sqlite3 *database, sqlite3_stmt **ret, const char *sql,
                                       const char *kinds, ...);
/* The same, stepped to its end; rows are dropped. */
must_check struct error *query_do(sqlite3 *database, const char *sql, const char *kinds, ...);
/* One whole number; `absent` where there is no row. */
must_check struct error *query_number(sqlite3 *database, const char *sql, int64_t absent, int64_t *ret);

/* ---- writer.c ---- */
must_check struct error *writer_start(struct store *store);
void writer_stop(struct store *store); /* what waits is written and told first */
void writer_add(struct store *store, struct job *taken_job);

/* ---- record.c ---- */
must_check struct error *records_write(struct store *store,
                                       const struct job *job); /* on the writer's thread */
void records_free(struct job *job);

/* ---- range.c ---- */
char *range_end(const char *prefix); /* owned: the first key behind those that begin so */

/* ---- blob.c ---- */
must_check struct error *
blobs_open(struct store *store); /* makes the folders, clears away what a crash left half written */

/* ---- sweep.c ---- */
bool blob_use(struct store *store, const char *path); /* whether it is there; then it stays for a while */
void sweep_end(struct store *store);                  /* waits for it */
