/* Blobs that nobody needs go: neither used for a while, nor named by a record or by who else was asked.
 *
 *   asked (on the loop): who keeps names in memory adds them -> marked (on a worker): those that stand in
 *   records -> swept: what is older than it may be and has no mark
 *
 * A use is a look whether it is there, and the end of an upload: both make its time new, so what is under way
 * is never old. The look and the removal exclude one another: who was told that a blob is there has it for as
 * long as an unused one stays. A name is STORE_BLOB_NAME and the digest, wherever it stands in the bytes. A
 * kill at any moment leaves some unused blobs for the next time. */
#include "store.h"

#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DIGEST_CHARS (SHA256_HEX_SIZE - 1)
#define TOUCH_AFTER_S 600 /* a use within it of another is not written down */

struct sweep {
    struct store *store; /* NULL: it was freed meanwhile; on the loop's thread */
    struct io_work work;
    char *blobs, *database;
    int64_t before_s;  /* wall clock */
    struct text names; /* digests, sorted, DIGEST_CHARS each */
    size_t removed_count;
    uint64_t removed_bytes;
    void (*done)(void *owner, struct error *error, size_t count, uint64_t bytes);
    void *owner;
};

/* ---- uses ---- */

bool blob_use(struct store *store, const char *path) {
    struct stat status;
    pthread_mutex_lock(&store->blob_lock);
    bool there = stat(path, &status) == 0;
    if (there && status.st_mtime < time(NULL) - TOUCH_AFTER_S) utimensat(AT_FDCWD, path, NULL, 0);
    pthread_mutex_unlock(&store->blob_lock);
    return there;
}

/* ---- marks ---- */

void store_names_add(struct text *names, struct span bytes) {
    static const char prefix[] = STORE_BLOB_NAME;
    const char *at = bytes.data, *end = bytes.data + bytes.size;
    while (at && (at = memmem(at, (size_t)(end - at), prefix, sizeof prefix - 1))) {
        at += sizeof prefix - 1;
        size_t length = 0;
        while (length < DIGEST_CHARS && at + length < end && strchr("0123456789abcdef", at[length]) &&
               at[length])
            length++;
        if (length == DIGEST_CHARS) text_add(names, (struct span){at, DIGEST_CHARS});
    }
}

static int by_digest(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_CHARS);
}

static bool named(const struct sweep *sweep, const char *digest) {
    return sweep->names.size > 0 &&
           bsearch(digest, sweep->names.data, sweep->names.size / DIGEST_CHARS, DIGEST_CHARS, by_digest);
}

/* On a connection of its own: the writer's goes on. */
static struct error *mark_records(struct sweep *sweep) {
    sqlite3 *database = NULL;
    sqlite3_stmt *row = NULL;
    int result =
        sqlite3_open_v2(sweep->database, &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    struct error *error = result == SQLITE_OK ? NULL : query_error(database, "open the state for reading");
    if (!error) sqlite3_busy_timeout(database, 5000);
    if (!error)
        error = query_prepare(database, &row, "SELECT value FROM record WHERE instr(value, ?1) > 0", "b",
                              (const void *)STORE_BLOB_NAME, sizeof STORE_BLOB_NAME - 1);
    while (!error && (result = sqlite3_step(row)) == SQLITE_ROW)
        store_names_add(&sweep->names,
                        (struct span){sqlite3_column_blob(row, 0), (size_t)sqlite3_column_bytes(row, 0)});
    if (!error && result != SQLITE_DONE) error = query_error(database, "read records");
    sqlite3_finalize(row);
    sqlite3_close(database);
    return error;
}

/* ---- the sweep ---- */

static void sweep_blob(struct sweep *sweep, struct store *store, const char *directory, const char *digest) {
    struct stat status;
    if (strlen(digest) != DIGEST_CHARS || named(sweep, digest)) return;
    scoped_string char *path = path_join(directory, digest);
    pthread_mutex_lock(&store->blob_lock);
    bool old = lstat(path, &status) == 0 && status.st_mtime < sweep->before_s;
    bool removed = old && store_calls.unlink(path) == 0;
    pthread_mutex_unlock(&store->blob_lock);
    if (!removed) return;
    sweep->removed_count++;
    if (status.st_nlink == 1) sweep->removed_bytes += (uint64_t)status.st_blocks * 512;
}

static struct error *sweep_all(struct sweep *sweep, struct store *store) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 256; i++) {
        scoped_string char *path = mem_printf("%s/sha256/%c%c", sweep->blobs, digits[i / 16], digits[i % 16]);
        DIR *entries = opendir(path);
        if (!entries && errno == ENOENT) continue;
        if (!entries) return error_errno(errno, "%s", path);
        for (struct dirent *entry;
             !__atomic_load_n(&store->sweep_ends, __ATOMIC_RELAXED) && (entry = readdir(entries));)
            sweep_blob(sweep, store, path, entry->d_name);
        closedir(entries);
    }
    return NULL;
}

static void on_worker(struct io_work *work) {
    struct sweep *sweep = CONTAINER_OF(work, struct sweep, work);
    struct store *store = sweep->store; /* it waits for us before it is freed */
    work->error = mark_records(sweep);
    if (sweep->names.size)
        qsort(sweep->names.data, sweep->names.size / DIGEST_CHARS, DIGEST_CHARS, by_digest);
    if (!work->error) work->error = sweep_all(sweep, store);
    pthread_mutex_lock(&store->lock);
    store->sweep_works = false;
    pthread_cond_broadcast(&store->all_written);
    pthread_mutex_unlock(&store->lock);
}

static void on_done(struct io_work *work) {
    struct sweep *sweep = CONTAINER_OF(work, struct sweep, work);
    struct error *error = work->error;
    if (sweep->store) sweep->store->sweep = NULL;
    if (sweep->done && sweep->store)
        sweep->done(sweep->owner, error, sweep->removed_count, sweep->removed_bytes);
    else
        error_free(error);
    text_done(&sweep->names);
    free(sweep->blobs);
    free(sweep->database);
    free(sweep);
}

void store_blobs_keep(struct store *store, void (*names)(void *owner, struct text *names), void *owner) {
    store->names = names;
    store->names_owner = owner;
}

bool store_blobs_sweep(struct store *store, int64_t unused_s,
                       void (*done)(void *owner, struct error *error, size_t count, uint64_t bytes),
                       void *owner) {
    if (store->sweep) return false;
    struct sweep *sweep = store->sweep = NEW(struct sweep);
    *sweep = (struct sweep){.store = store, .done = done, .owner = owner, .before_s = time(NULL) - unused_s};
    sweep->work = (struct io_work){.work = on_worker, .done = on_done};
    sweep->blobs = mem_string(store->blobs);
    sweep->database = path_join(store->dir, "catnap.db");
    if (store->names) store->names(store->names_owner, &sweep->names);
    store->sweep_works = true;
    io_work_start(store->loop, &sweep->work);
    return true;
}

void sweep_end(struct store *store) {
    __atomic_store_n(&store->sweep_ends, true, __ATOMIC_RELAXED);
    pthread_mutex_lock(&store->lock);
    while (store->sweep_works) pthread_cond_wait(&store->all_written, &store->lock);
    pthread_mutex_unlock(&store->lock);
    if (store->sweep) store->sweep->store = NULL;
    store->sweep = NULL;
}
