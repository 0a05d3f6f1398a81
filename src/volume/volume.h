/* volume: named file trees that outlive containers.
 *
 * A volume has a live tree, a directory that all its containers have mounted at once, and a committed
 * version: what the live tree was at the last commit, kept by content and never torn. Containers see and
 * change the live tree; clients list, read and copy the committed version, and what they put, remove or copy
 * is a commit of its own that is brought into the live tree as well.
 *
 * All calls are the loop's. A `done` comes exactly once, never inside the call, and owns its error. Changes
 * of one volume happen one after the other, in the order in which they were asked for. A `struct volume *`
 * is good until the volume is gone: over waits keep its id (volume_by_id). Paths of clients are relative to
 * the root of the volume; a leading '/' is fine, ".." is INVALID_ARGUMENT. */
#pragma once
#include "core.h"
#include "io.h"

#define VOLUME_BLOCK_BYTES (UINT64_C(8) << 20) /* files of version 2 are uploaded in these */
#define VOLUME_MAIN "main"                     /* the environment of the volumes that catnap.yaml names */
#define VOLUME_FILES_MAX 1000000               /* entries in one volume */
#define VOLUME_FILE_BYTES_MAX (UINT64_C(1) << 40)

struct store;
struct volumes;
struct volume;

struct volumes_options {
    struct io_loop *loop;
    struct store *store;  /* borrowed; freed after us */
    const char *dir;      /* STATE/volumes, on one file system with the store's blobs where that can be */
    int64_t ephemeral_ms; /* an ephemeral volume dies so long after its last heartbeat; 0: 15 minutes */
    int64_t keep_ms;      /* content that no version uses any more stays so long for who is reading it; 0: 15
                             minutes */
};
/* Blocks: reads the records and ends what a killed daemon had begun. */
must_check struct error *volumes_open(const struct volumes_options *options, struct volumes **ret_volumes);
/* What waits or is under way ends with CANCELLED, each `done` from within. Listings and files that were
 * opened stay good. */
void volumes_free(struct volumes *volumes);
DEFINE_SCOPED(volumes)

/* ---- which volumes there are ---- */
struct volume_options {
    const char *environment; /* NULL: VOLUME_MAIN */
    const char *name;        /* NULL: an ephemeral one */
    unsigned version;        /* 1 or 2: how its clients upload. 0: 1 */
    bool if_missing;         /* one of that name is no error: it is the one that is answered */
};
/* INVALID_ARGUMENT (name), ALREADY_EXISTS. `volume` is NULL with an error. */
void volume_create(struct volumes *volumes, const struct volume_options *options,
                   void (*done)(void *owner, struct error *error, struct volume *volume), void *owner);
struct volume *volume_find(const struct volumes *volumes, const char *environment,
                           const char *name); /* NULL: none */
struct volume *volume_by_id(const struct volumes *volumes, const char *id);
/* for (size_t i = 0; (volume = volumes_next(volumes, &i));) ...: ephemeral ones too; oldest first; nothing
 * created or deleted meanwhile. */
struct volume *volumes_next(const struct volumes *volumes, size_t *i);

struct volume_view {                /* borrowed from the volume */
    const char *id;                 /* "vo-..." */
    const char *environment, *name; /* name NULL: ephemeral */
    unsigned version;
    int64_t created_ms, committed_ms; /* committed_ms 0: never */
    uint64_t commits;                 /* grows with each new committed version */
    uint64_t file_count, size_bytes;  /* of the committed version */
};
void volume_view(const struct volume *volume, struct volume_view *ret_view);

typedef void volume_done(void *owner, struct error *error);
/* ALREADY_EXISTS, INVALID_ARGUMENT. Mounts are not disturbed. */
void volume_rename(struct volume *volume, const char *name, volume_done *done, void *owner);
/* The name and the committed version are gone with `done`. Containers that have the live tree mounted keep it
 * until the last of them has ended. */
void volume_delete(struct volume *volume, volume_done *done, void *owner);
/* Of an ephemeral volume: it lives for another while. */
void volume_heartbeat(struct volume *volume);

/* ---- the live tree ---- */
/* The directory to mount for what a function asks for; owned by the caller. `mount->volume` is a name (of the
 * environment VOLUME_MAIN; the volume is made where there is none), the id of a volume of any environment
 * (NOT_FOUND), or an absolute directory of this machine, which must exist: a mistyped path should be told and
 * not made. */
must_check struct error *volume_directory(struct volumes *volumes, const struct core_volume_mount *mount,
                                          char **ret_path);
/* The same without making anything: for a look before a change is accepted. */
must_check struct error *volume_check(const struct volumes *volumes, const struct core_volume_mount *mount);
/* A path within a volume as clients write it: relative, without empty or "." parts; "" is the root.
 * INVALID_ARGUMENT. */
must_check struct error *volume_path_clean(const char *path, char **ret_path);
const char *volume_live_path(const struct volume *volume); /* borrowed */
/* A container has ended: deleted trees that nobody has mounted any more are removed. Cheap where there are
 * none. */
void volumes_unmounted(struct volumes *volumes);

/* ---- changes ---- */
/* The live tree as it is now becomes the committed version. Only what changed since the last commit is read.
 * A file that is written meanwhile is no more torn than a copy of it would be. Devices, sockets and pipes are
 * left out with a line in the log. Commits that wait at the same time are one. */
void volume_commit(struct volume *volume, volume_done *done, void *owner);

struct volume_file { /* of an upload; all borrowed for the call */
    const char *path;
    unsigned mode;             /* permission bits; 0: 0644 */
    const char *digest;        /* version 1: a blob of the store */
    const char *const *blocks; /* version 2: digests of blobs of the store, each VOLUME_BLOCK_BYTES of the
                                  file with trailing zeros cut off. `digest` is NULL then */
    size_t block_count;
    uint64_t size_bytes; /* version 2 */
};
struct volume_missing {
    size_t file, block; /* version 1: block 0 */
};
/* All of the files, or none. Where blobs are missing, nothing is changed, there is no error, and they are
 * listed, borrowed for the callback, by file and block. Without `overwrite` ALREADY_EXISTS names the first
 * file that is there already, in the committed version or in the live tree. Once `done` has come without
 * missing ones, the volume needs the blobs of the store no longer. */
void volume_put(struct volume *volume, const struct volume_file *files, size_t count, bool overwrite,
                void (*done)(void *owner, struct error *error, const struct volume_missing *missing,
                             size_t missing_count),
                void *owner);
/* A file, a link, or a directory with all that is in it (`recursive`, else INVALID_ARGUMENT). NOT_FOUND.
 */
void volume_remove(struct volume *volume, const char *path, bool recursive, volume_done *done, void *owner);
/* As cp does: into `to` where that is a directory, else one source becomes `to`. Directories only with
 * `recursive`. */
void volume_copy(struct volume *volume, const char *const *from, size_t count, const char *to, bool recursive,
                 volume_done *done, void *owner);

/* ---- reading the committed version ---- */
enum volume_kind { VOLUME_FILE, VOLUME_DIRECTORY, VOLUME_LINK };
struct volume_entry { /* borrowed from the listing */
    const char *path; /* without leading '/'; bytes, not necessarily UTF-8 */
    enum volume_kind kind;
    unsigned mode; /* permission bits */
    uint64_t size_bytes;
    int64_t mtime_ms;
    const char *target; /* of a link; else NULL */
};
struct volume_listing;
/* What is in a directory (`recursive`: and below), by path; of a file: itself. NOT_FOUND. A snapshot: later
 * changes are not seen. `listing` is owned by the callback; NULL with an error. */
void volume_list(struct volume *volume, const char *path, bool recursive,
                 void (*done)(void *owner, struct error *error, struct volume_listing *listing), void *owner);
bool volume_listing_next(struct volume_listing *listing, struct volume_entry *ret_entry); /* false: the end */
void volume_listing_free(struct volume_listing *listing);
DEFINE_SCOPED(volume_listing)

struct volume_content { /* of one file of the committed version */
    int fd;             /* -1 with an error; owned by the callback. Its bytes never change */
    uint64_t size_bytes;
    unsigned mode;
    int64_t mtime_ms;
    char digest[SHA256_HEX_SIZE];
};
/* NOT_FOUND, FAILED_PRECONDITION for a directory. Links within the volume are followed. */
void volume_open(struct volume *volume, const char *path,
                 void (*done)(void *owner, struct error *error, const struct volume_content *content),
                 void *owner);
/* The bytes again by their digest, also when the file has another content by now (for keep_ms: a download
 * in ranges sees one file). NOT_FOUND. */
must_check struct error *volume_content_open(const struct volumes *volumes, const char *digest, int *ret_fd);

/* Removes what no version uses, without waiting for keep_ms. It happens by itself too, after a while. */
void volumes_collect(struct volumes *volumes, volume_done *done, void *owner);
