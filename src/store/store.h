/* store: what survives. SQLite for records, files by content for blobs.
 *
 * One directory belongs to one daemon at a time (a lock that ends with its process). One thread writes; what
 * waits at the same moment is committed together, and `done` comes on the loop after the commit reached the
 * disk. Live state is in memory elsewhere: this is its journal, read at the start only. */
#pragma once
#include "core.h"
#include "io.h"

#include <sys/types.h>

struct store;

/* FAILED_PRECONDITION: another daemon has the directory (its pid is told), or a newer catnap wrote it. The
 * directory is made where absent. `store_free` writes what is queued, and each `done` comes from within it.
 */
must_check struct error *store_open(struct io_loop *loop, const char *dir, struct store **ret_store);
void store_free(struct store *store);
/* The lock, to be closed when all else of the directory's daemon is done; -1: none. */
int store_lock_keep(struct store *store);
/* Blocks until all that is queued is written and each `done` of it has come: before the rooms that wait for
 * them are freed. */
void store_settle(struct store *store);
DEFINE_SCOPED(store)

/* ---- apps ---- */
/* Grows with each call, also over restarts: the `version` of an app about to be put. */
uint64_t store_version_next(struct store *store);
/* The error is owned by `done`: RESOURCE_EXHAUSTED (disk full, or too many writes wait), INTERNAL. What was
 * there before stays. */
void store_app_put(struct store *store, const struct core_app *app,
                   void (*done)(void *owner, struct error *error), void *owner);
void store_app_remove(struct store *store, const char *app, void (*done)(void *owner, struct error *error),
                      void *owner);
/* All apps, by name; for the start: blocks. One that can't be read any more is an error that names it. */
must_check struct error *store_apps_load(struct store *store,
                                         void (*app)(void *owner, struct core_app *taken_app), void *owner);

/* ---- numbers ---- */
/* `count` numbers that were never given before and never will be again, also after a power cut. Blocks. */
must_check struct error *store_numbers(struct store *store, uint64_t count, uint64_t *ret_first);

/* ---- records: what other rooms keep, as bytes under a kind and a key ---- */
struct store_record {
    const char *kind, *key;
    struct span value; /* data NULL: the record is removed, there or not. Copied */
};
#define STORE_BELOW ((struct span){NULL, 1}) /* a value: removed are all whose keys begin with `key` */
/* All of them in one commit, or none. The error is owned by `done`, as above. */
void store_records_write(struct store *store, const struct store_record *records, size_t count,
                         void (*done)(void *owner, struct error *error), void *owner);
/* The same without waiting for the disk: what was acknowledged survives a kill of the daemon, not a power
 * cut. */
void store_records_write_soon(struct store *store, const struct store_record *records, size_t count,
                              void (*done)(void *owner, struct error *error), void *owner);
/* All of a kind, by key; spans are valid for the call. For the start: blocks. */
must_check struct error *store_records_load(struct store *store, const char *kind,
                                            void (*record)(void *owner, const char *key, struct span value),
                                            void *owner);

/* While the daemon runs, what was committed; from any thread. Blocks, for microseconds where little is asked.
 */
struct store_range {
    const char *kind, *prefix; /* keys that begin with it, and have more; NULL: all */
    const char *after;         /* from this key on, without it; NULL: from the first */
    size_t limit;              /* 0: none */
    bool keys_only;
};
/* By key; spans are valid for the call. `record` tells whether it wants more. */
must_check struct error *store_records_read(struct store *store, const struct store_range *range,
                                            bool (*record)(void *owner, const char *key, struct span value),
                                            void *owner);
must_check struct error *store_record_get(struct store *store, const char *kind, const char *key,
                                          struct text *ret, bool *ret_found);

/* ---- past wakes, for estimates ---- */
#define STORE_WAKES_KEPT 32 /* of each function */
struct store_wake {
    int64_t wall_ms; /* when */
    int64_t duration_us;
    char kind[12]; /* "start", "primed", "thaw" */
};
/* Written when the writer comes to it; not waited for, may be lost in a power cut. */
void store_wake_add(struct store *store, const char *app, const char *function,
                    const struct store_wake *wake);
/* Newest first; returns how many. Blocks: for the start. */
size_t store_wakes(struct store *store, const char *app, const char *function, struct store_wake *wakes,
                   size_t capacity);

/* ---- blobs: bytes by their SHA-256. All of this blocks, and may be called from any thread. ---- */
/* There before: fine, nothing is written. On return it is on the disk under its name, or not there at all. */
must_check struct error *store_blob_put(struct store *store, struct span bytes,
                                        char ret_digest[SHA256_HEX_SIZE]);
/* Verified: DATA_LOSS where the file is not what its name says (it is taken away then), NOT_FOUND,
 * RESOURCE_EXHAUSTED beyond `limit_bytes`. */
must_check struct error *store_blob_get(struct store *store, const char *digest, size_t limit_bytes,
                                        struct text *ret_bytes);
bool store_blob_exists(struct store *store, const char *digest); /* a use: it stays for a while, see below */
char *store_blob_path(struct store *store,
                      const char *digest); /* owned by the caller; whether or not it is there */
/* In pieces. `digest` NULL: any; else INVALID_ARGUMENT where the bytes are others. Freed without an end:
 * nothing stays. */
struct store_blob_writer;
must_check struct error *store_blob_begin(struct store *store, struct store_blob_writer **ret_writer);
must_check struct error *store_blob_add(struct store_blob_writer *writer, struct span bytes);
must_check struct error *store_blob_end(struct store_blob_writer *writer, const char *digest,
                                        char ret_digest[SHA256_HEX_SIZE]);
void store_blob_writer_free(struct store_blob_writer *writer);
DEFINE_SCOPED(store_blob_writer)

/* ---- blobs that nobody needs ---- */
#define STORE_BLOB_NAME "bl-" /* with its digest behind it, this is how a blob is named in records */
/* Who keeps names of blobs in memory adds them (store_names_add) when a sweep begins. NULL: nobody, the
 * default. */
void store_blobs_keep(struct store *store, void (*names)(void *owner, struct text *names), void *owner);
void store_names_add(struct text *names, struct span bytes); /* all that stand in them */
/* Removes what nobody used for `unused_s`, and neither a record nor who keeps them names: on a worker. `done`
 * (NULL: nobody asks) owns the error; it does not come after store_free. False: a sweep is under way already,
 * and `done` does not come. */
bool store_blobs_sweep(struct store *store, int64_t unused_s,
                       void (*done)(void *owner, struct error *error, size_t count, uint64_t bytes),
                       void *owner);

/* ---- for tests: every write goes through one table, so that a test ends the process or fills the disk
 * before the n-th. Rooms that keep files of their own beside the store's use it too ---- */
struct store_calls {
    ssize_t (*write)(int fd, const void *bytes, size_t size_bytes);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t size_bytes, off_t offset);
    int (*fsync)(int fd);
    int (*ftruncate)(int fd, off_t size_bytes);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*renameat)(int from_fd, const char *from, int to_fd, const char *to);
};
/* Before store_open, for the whole process (SQLite has one table too); NULL: the system's own. */
void store_calls_set(const struct store_calls *calls);
const struct store_calls *store_calls_now(void); /* what is to be called */
