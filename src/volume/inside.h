/* What the files of volume share.
 *
 * DIR/.trees/ID     the live tree of each volume; DIR/NAME is a link to it, for people (VOLUME_MAIN only)
 * DIR/.content/ab/  what committed versions are made of, by SHA-256, never changed; trees too
 * DIR/.new/         what is being made; DIR/.trash/: trees of deleted volumes
 *
 * The loop's thread owns all structs. A worker has an op, a read or a sweep for itself while it works, and
 * trees, which nobody changes once they are made. */
#pragma once
#include "store.h"
#include "volume.h"

#include <sys/stat.h>

#define TREE_BYTES_MAX (UINT64_C(512) << 20) /* of one written tree: VOLUME_FILES_MAX with long names */
#define PATH_BYTES_MAX 4095
#define DEPTH_MAX 200 /* of directories; each level is a descriptor while a tree is walked */
#define OPS_MAX 10000 /* that wait; beyond: refused */
#define WORKERS_MAX 2 /* of libuv's four threads, so that a large commit keeps nobody else from theirs */
#define CACHE_BYTES (32 << 20) /* trees in memory that nobody is using */

/* ---- path.c ---- */
bool path_good(struct span path); /* clean, and not the root */
/* Its last part; *ret_parent is what is before it, NULL data where nothing is. */
struct span path_last(struct span path, struct span *ret_parent);
bool name_good(const char *name);     /* of a volume or an environment */
bool name_has_link(const char *name); /* DIR/NAME may be made for it */
bool id_good(const char *id);         /* has the form of a volume's id */

/* ---- tree.c: a committed version, or a change of one ---- */
enum entry_kind { ENTRY_FILE = 'f', ENTRY_DIRECTORY = 'd', ENTRY_LINK = 'l', ENTRY_GONE = 'x' };
struct entry {
    const char *path;   /* all texts lie in the tree's arena */
    const char *digest; /* FILE */
    const char *target; /* LINK */
    enum entry_kind kind;
    unsigned mode; /* 07777 */
    uint64_t size_bytes;
    int64_t mtime_ns;
    /* In a version: of the live file when it was read, which is trusted while they are the same (settled).
     * In a change: of what stood there before (inode 0: nothing), so that a change that is carried out late
     * leaves alone what was written since. */
    int64_t ctime_ns;
    uint64_t inode;
    bool settled;
};
struct tree {      /* sorted by path, bytewise */
    unsigned refs; /* counted on the loop only */
    struct arena *arena;
    struct entry *entries;
    size_t count, capacity;
    size_t memory_bytes;
};
int path_compare(const char *a, const char *b);
struct tree *tree_new(void);
struct tree *tree_ref(struct tree *tree);
void tree_free(struct tree *tree); /* one reference */
DEFINE_SCOPED(tree)
struct entry *tree_add(struct tree *tree, const struct entry *entry); /* copied; tree_sort comes after */
void tree_sort(struct tree *tree); /* of two with one path one stays, the directory if it is one */
const struct entry *tree_get(const struct tree *tree, struct span path);
size_t tree_from(const struct tree *tree, struct span path); /* the first that is not before it */
/* The end of what is below the directory; *ret_begin is its begin. "" is the root. */
size_t tree_below(const struct tree *tree, struct span directory, size_t *ret_begin);
/* `change` on top of `base`: its entries replace those of the same path, GONE takes away with all below. */
struct tree *tree_merge(const struct tree *base, const struct tree *change);
bool tree_equal(const struct tree *a, const struct tree *b); /* as clients see them */
void tree_measure(const struct tree *tree, uint64_t *ret_files, uint64_t *ret_bytes);
/* Links in the path are followed within the tree, the last one too. NULL: there is nothing, or a link leads
 * out of the volume. */
const struct entry *tree_resolve(const struct tree *tree, const char *path, bool *ret_led_out);

/* ---- written.c: a tree as bytes ---- */
void tree_print(const struct tree *tree, struct text *text);
must_check struct error *tree_parse(struct span bytes, struct tree **ret_tree); /* DATA_LOSS */

/* ---- bytes.c: from file to file, never a whole one in memory ---- */
#define PIECE_BYTES (256 * 1024)
/* All blocks shared, or not at all. */
bool file_clone(int to, int from);
must_check struct error *file_hash(int fd, uint64_t size_bytes, const bool *cancel,
                                   char ret_digest[SHA256_HEX_SIZE]);
must_check struct error *file_copy(int to, int from, const bool *cancel);
bool all_zero(const char *bytes, size_t size_bytes);
/* Files made in one directory, to be brought to the disk together: a few one by one, many by one sync of the
 * whole file system. */
#define SYNC_ONE_BY_ONE_MAX 8
struct syncing {
    int fds[SYNC_ONE_BY_ONE_MAX];
    size_t count;
};
void syncing_add(struct syncing *syncing, int taken_fd);
must_check struct error *syncing_end(struct syncing *syncing, int dir_fd);
void syncing_done(struct syncing *syncing);

/* ---- content.c ---- */
struct contents {
    char *dir, *unfinished;
};
char *content_path(const struct contents *contents, const char *digest);
bool digest_good(const char *digest);
/* New content, brought to the disk together: under its name only once all of its bytes are there. */
struct batch {
    const struct contents *contents;
    const bool *cancel; /* looked at between pieces; NULL: nobody cancels */
    struct batch_item *items;
    size_t count, capacity;
    struct syncing syncing;
    bool touched[256]; /* directories of .content to be synced */
};
/* What `fd` has, up to `size_bytes`; shares its blocks where the file system can. */
must_check struct error *content_copy(struct batch *batch, int fd, uint64_t size_bytes,
                                      char ret_digest[SHA256_HEX_SIZE], uint64_t *ret_size_bytes);
must_check struct error *content_put(struct batch *batch, struct span bytes,
                                     char ret_digest[SHA256_HEX_SIZE]);
/* A blob of the store, as a second name of it where that can be. */
must_check struct error *content_link(struct batch *batch, const char *blob_path, const char *digest);
must_check struct error *batch_flush(struct batch *batch);
void batch_done(struct batch *batch); /* what was not flushed is gone */
must_check struct error *content_read(const struct contents *contents, const char *digest,
                                      struct text *ret_bytes); /* verified */
must_check struct error *content_tree(const struct contents *contents, const char *digest,
                                      struct tree **ret_tree); /* "": an empty one */
/* In pieces. */
struct content_writer {
    struct batch *batch;
    struct sha256 *sum;
    char *temporary;
    int fd;
    uint64_t size_bytes;
};
must_check struct error *content_begin(struct batch *batch, struct content_writer *ret_writer);
must_check struct error *content_add(struct content_writer *writer, struct span bytes);
must_check struct error *content_pad(struct content_writer *writer,
                                     uint64_t size_bytes); /* zeros, as a hole */
must_check struct error *content_end(struct content_writer *writer, char ret_digest[SHA256_HEX_SIZE]);
void content_writer_done(struct content_writer *writer); /* after content_end, or instead */
must_check struct error *cancel_check(const bool *cancel);

/* ---- live.c: within a live tree, whose containers may plant anything at any moment ---- */
must_check struct error *live_open(const char *path, int *ret_fd);
/* The directory that holds `path`; never through a link. `make`: with its parents, owned as theirs.
 * NOT_FOUND; FAILED_PRECONDITION where something in the way is no directory. */
must_check struct error *live_parent(int root, const char *path, bool make, int *ret_fd,
                                     const char **ret_name);
/* false: nothing is there (or what is in the way is no directory). */
bool live_stat(int root, const char *path, struct stat *ret);
int64_t stat_mtime_ns(const struct stat *at);
int64_t stat_ctime_ns(const struct stat *at);

/* ---- walk.c ---- */
struct walk_told {
    size_t read_count, skipped_count, torn_count;
    char *skipped; /* the first; owned */
};
/* The live tree as a version; what is in `base` and has not changed is not read. */
must_check struct error *walk_tree(int root, const struct tree *base, struct batch *batch,
                                   struct tree **ret_tree, struct walk_told *told);

/* ---- change.c: from the committed version into the live tree ----
 * staged (all that needs room on the disk) -> recorded with the new version -> carried out (renames only) */
struct change {
    struct tree *tree;
    char digest[SHA256_HEX_SIZE]; /* of the written tree */
    char *stage;                  /* directory in .new, one file for each entry by its index */
};
/* ALREADY_EXISTS (unless overwrite), FAILED_PRECONDITION where a file stands for a directory or the other
 * way. */
must_check struct error *change_check(const struct tree *change, const struct tree *base, int root,
                                      bool overwrite);
must_check struct error *change_stage(const struct contents *contents, struct change *change, int root,
                                      const bool *cancel);
/* `late`: after a failure or in another life of the daemon; may be repeated. `version`: learns what its files
 * look like there; NULL: nobody does. */
must_check struct error *change_carry_out(const struct change *change, int root, bool late,
                                          struct tree *version);
void change_done(struct change *change);   /* with its directory */
void change_forget(struct change *change); /* the memory only */

/* ---- op.c: changes of a volume, one after the other ----
 * waiting -> preparing (worker) -> recording (store) -> carrying (worker) -> done; the middle ones where the
 * kind has them */
struct committed {                  /* the version that a record tells */
    char manifest[SHA256_HEX_SIZE]; /* the written tree; "": nothing was committed yet */
    uint64_t commits, file_count, size_bytes;
    int64_t wall_ms;
};
struct waiter {
    volume_done *done; /* NULL: nobody waits */
    void *owner;
};
enum op_state { OP_WAITING, OP_PREPARING, OP_RECORDING, OP_CARRYING, OP_DONE };
struct op {
    struct list node; /* in volumes->waiting or ->running */
    struct volumes *volumes;
    struct volume *volume;
    const struct op_kind *kind;
    enum op_state state;
    struct io_work work;
    bool cancel;         /* atomic: the worker's end is wished for */
    bool told;           /* who asked has an answer (volumes_free) */
    bool late_done;      /* what was pending has been carried out */
    struct error *error; /* also set before it begins, for one that can't be done */
    struct tree *base;   /* the committed version; there while it is prepared */
    struct tree *made;   /* the new one; NULL: as it was */
    bool same;           /* `made` has what `base` has */
    struct change change;
    struct committed next;
    struct waiter *waiters; /* several where several asked for the same */
    size_t waiter_count;
};
struct op_kind {
    const char *name; /* "commit": for errors */
    enum { RECORD_VERSION /* where there is a new one */, RECORD_ALWAYS, RECORD_REMOVED } record;
    bool anew; /* goes on from nothing where the committed version can't be read */
    struct error *(*begin)(struct op *op);   /* on the loop, at its turn; may be NULL */
    struct error *(*prepare)(struct op *op); /* on a worker; may be NULL */
    void (*end)(struct op *op);              /* on the loop: what follows, good or not; may be NULL */
    void (*tell)(struct op *op, const struct error *error); /* NULL: the waiters are told */
    void (*done)(struct op *op);                            /* what is the kind's own; may be NULL */
};
/* `op` is taken; it is the first member of what the kind has, which is freed by its address. */
void op_start(struct volume *volume, const struct op_kind *kind, struct op *op, struct error *taken_error);
void op_wait(struct op *op, volume_done *done, void *owner);
/* For `prepare`: `made` becomes the version, `change` is what that means for the live tree (NULL: nothing).
 * Both are taken. */
must_check struct error *op_version(struct op *op, struct batch *batch, struct tree *made,
                                    struct tree *change, int root);
void ops_turn(struct volumes *volumes);       /* starts what can be started */
void ops_turn_later(struct volumes *volumes); /* the same in the next round of the loop */
void ops_cancel(struct volumes *volumes);     /* all are told CANCELLED */

/* ---- edit.c: what put, remove and copy have in common ---- */
/* Gives `change` the directories that its entries need, and says whether it can be. Contents may be missing.
 */
must_check struct error *edit_check(const struct op *op, struct tree *change, int root, bool overwrite);
/* The version and the change, to be recorded; takes `change`. */
must_check struct error *edit_version(struct op *op, struct batch *batch, struct tree *change, int root);

/* ---- record.c ---- */
#define RECORD_KIND "volume"
struct volume {
    struct list node; /* in volumes->all */
    struct volumes *volumes;
    char *id, *environment, *name, *live_path; /* name NULL: ephemeral */
    unsigned version;
    bool durable; /* its record was written once */
    bool linked;  /* made for a mount: stays even where its record can't be written */
    bool busy;    /* an op is at work */
    bool gone;    /* deleted, in no list any more; for the ops that wait */
    size_t ops;   /* that wait or are at work */
    int64_t created_ms;
    int64_t dies_ms; /* ephemeral: on the loop's clock; 0: it does not */
    struct committed now;
    struct tree *tree;     /* of `now`, where it is in memory */
    uint64_t used;         /* when the tree was: a count of uses */
    struct change pending; /* recorded, not yet carried out; tree NULL: nothing is */
};
struct volume *volume_new(struct volumes *volumes, const char *id, const char *environment, const char *name);
void volume_destroy(struct volume *volume); /* out of all lists; the memory */
char *name_key(const char *environment, const char *name);
/* `pending`: NULL, or without a tree, where nothing is. */
void record_print(const struct volume *volume, const struct committed *committed,
                  const struct change *pending, struct text *text);
/* Made, in all lists, `pending` with digest and stage but without its tree. */
must_check struct error *record_parse(struct volumes *volumes, const char *id, struct span json,
                                      struct volume **ret_volume);

/* ---- volume.c ---- */
struct volumes {
    unsigned refs; /* us, and each work that is under way */
    bool closed;
    struct io_loop *loop;
    struct store *store;
    char *dir, *trees, *trash;
    struct contents contents;
    int64_t ephemeral_ms, keep_ms;
    struct list all;              /* oldest first */
    struct map *names, *ids;      /* "ENV/NAME" */
    struct list waiting, running; /* ops */
    size_t waiting_count, worker_count;
    struct io_timer *turn, *expiry, *sweep_timer;
    struct list reads;
    size_t read_count;
    uint64_t uses;
    struct sweep *sweep, *sweep_asked; /* at work; to begin when no op is */
    struct text noted;                 /* what the last sweep found unused: digests of 32 bytes, sorted */
    bool trash_waits, trash_works, trash_again;
};
struct volumes *volumes_ref(struct volumes *volumes);
void volumes_unref(struct volumes *volumes);
void volume_tree_keep(struct volume *volume, struct tree *tree); /* one reference more; others may go */

/* ---- start.c ---- */
must_check struct error *volumes_start(struct volumes *volumes);

/* ---- life.c ---- */
struct volume *volume_make(struct volumes *volumes, const char *environment, const char *name);
void volume_record_soon(struct volume *volume); /* nobody waits */
void volume_forget(struct volume *volume);      /* a made one that never became durable */
void volume_link(const struct volume *volume);
void volume_unlink(const struct volume *volume, const char *name);
void expiry_arm(struct volumes *volumes);

/* ---- read.c ---- */
void reads_cancel(struct volumes *volumes);

/* ---- sweep.c ---- */
void sweep_later(struct volumes *volumes);       /* something may be unused now */
void sweep_soon(struct volumes *volumes);        /* the disk is full */
void sweep_due(struct volumes *volumes);         /* now */
void sweep_try(struct volumes *volumes);         /* begins the one that is asked for, when no op is at work */
bool sweep_holds(const struct volumes *volumes); /* no op may begin to prepare */
void sweep_cancel(struct volumes *volumes);

/* ---- trash.c ---- */
void trash_empty(struct volumes *volumes);
