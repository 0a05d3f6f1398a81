/* Uploads: blobs of the store become files of a volume, all of them or none.
 *
 * A blob that is a whole file gets a second name in .content and is not copied. A file of several blocks is
 * put together: each block is 8 MiB of it with its trailing zeros cut off, so what is missing of a block is
 * zeros. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

struct put_block {
    char *blob; /* path */
    char digest[SHA256_HEX_SIZE];
    uint64_t size_bytes; /* of the blob */
};
struct put_file {
    char *path;
    unsigned mode;
    bool whole; /* version 1: the size is the blob's */
    uint64_t size_bytes;
    struct put_block *blocks;
    size_t block_count;
};
struct put {
    struct op op;
    struct put_file *files;
    size_t count;
    bool overwrite;
    struct volume_missing *missing;
    size_t missing_count;
    void (*done)(void *owner, struct error *error, const struct volume_missing *missing,
                 size_t missing_count);
    void *owner;
};

/* ---- on a worker ---- */

static void find_missing(struct put *put) {
    for (size_t f = 0; f < put->count; f++) {
        struct put_file *file = &put->files[f];
        for (size_t b = 0; b < file->block_count; b++) {
            struct stat at;
            if (stat(file->blocks[b].blob, &at) == 0) {
                file->blocks[b].size_bytes = (uint64_t)at.st_size;
                continue;
            }
            put->missing = mem_grow(put->missing, put->missing_count + 1, sizeof *put->missing);
            put->missing[put->missing_count++] = (struct volume_missing){f, b};
        }
        if (file->whole) file->size_bytes = file->blocks[0].size_bytes;
    }
}

static struct error *add_block(struct content_writer *writer, const struct put_block *block) {
    scoped_fd int fd = open(block->blob, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "blob sha256:%s", block->digest);
    scoped_string char *piece = mem_grow(NULL, PIECE_BYTES, 1);
    for (uint64_t left = block->size_bytes; left > 0;) {
        ssize_t got = read(fd, piece, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return error_errno(got < 0 ? errno : EIO, "blob sha256:%s", block->digest);
        TRY_PLAIN(content_add(writer, (struct span){piece, (size_t)got}));
        left -= (uint64_t)got;
    }
    return NULL;
}

static struct error *put_together(struct content_writer *writer, const struct put_file *file) {
    for (size_t b = 0; b < file->block_count; b++) {
        const struct put_block *block = &file->blocks[b];
        uint64_t left = file->size_bytes - writer->size_bytes;
        uint64_t whole = left < VOLUME_BLOCK_BYTES ? left : VOLUME_BLOCK_BYTES;
        if (block->size_bytes > whole)
            return error_new(ERROR_INVALID_ARGUMENT, "%s: block %zu has %llu bytes; %llu are left for it",
                             file->path, b, (unsigned long long)block->size_bytes, (unsigned long long)whole);
        TRY_PLAIN(add_block(writer, block));
        TRY_PLAIN(content_pad(writer, whole - block->size_bytes));
    }
    return NULL;
}

static struct error *make_content(struct batch *batch, const struct put_file *file,
                                  char digest[SHA256_HEX_SIZE]) {
    const struct put_block *first = file->blocks;
    if (file->block_count == 1 && first->size_bytes == file->size_bytes) {
        snprintf(digest, SHA256_HEX_SIZE, "%s", first->digest);
        return content_link(batch, first->blob, digest);
    }
    struct content_writer writer;
    struct error *error = content_begin(batch, &writer);
    if (!error) error = put_together(&writer, file);
    if (!error) error = content_end(&writer, digest);
    content_writer_done(&writer);
    return error;
}

/* A path that comes twice: the later one counts. */
static struct tree *change_of(const struct put *put, const struct map *places) {
    struct tree *change = tree_new();
    for (size_t f = 0; f < put->count; f++) {
        const struct put_file *file = &put->files[f];
        if (map_get(places, span_of(file->path)) != file) continue;
        tree_add(change, &(struct entry){.path = file->path,
                                         .kind = ENTRY_FILE,
                                         .digest = "",
                                         .mode = file->mode,
                                         .size_bytes = file->size_bytes,
                                         .mtime_ns = clock_wall_ms() * 1000000});
    }
    return change;
}

static struct error *put_work(struct put *put, struct batch *batch, const struct map *places) {
    scoped(tree) struct tree *change = change_of(put, places);
    scoped_fd int root = -1;
    TRY_PLAIN(live_open(put->op.volume->live_path, &root));
    TRY_PLAIN(edit_check(&put->op, change, root, put->overwrite));
    for (size_t i = 0; i < change->count; i++) {
        struct entry *entry = &change->entries[i];
        if (entry->kind != ENTRY_FILE) continue;
        char digest[SHA256_HEX_SIZE];
        TRY_PLAIN(cancel_check(batch->cancel));
        TRY(make_content(batch, map_get(places, span_of(entry->path)), digest), "%s", entry->path);
        entry->digest = arena_string(change->arena, span_of(digest));
    }
    return edit_version(&put->op, batch, take(change), root);
}

static struct error *put_prepare(struct op *op) {
    struct put *put = CONTAINER_OF(op, struct put, op);
    find_missing(put);
    if (put->missing_count > 0 || put->count == 0) return NULL;
    struct batch batch = {.contents = &op->volumes->contents, .cancel = &op->cancel};
    scoped(map) struct map *places = map_new();
    for (size_t f = 0; f < put->count; f++) map_put(places, span_of(put->files[f].path), &put->files[f]);
    struct error *error = put_work(put, &batch, places);
    batch_done(&batch);
    return error
               ? error_wrap(error, "put into volume %s", op->volume->name ? op->volume->name : op->volume->id)
               : NULL;
}

/* ---- on the loop ---- */

static void put_tell(struct op *op, const struct error *error) {
    struct put *put = CONTAINER_OF(op, struct put, op);
    put->done(put->owner, error_copy(error), error ? NULL : put->missing, error ? 0 : put->missing_count);
}

static void put_done(struct op *op) {
    struct put *put = CONTAINER_OF(op, struct put, op);
    for (size_t f = 0; f < put->count; f++) {
        struct put_file *file = &put->files[f];
        for (size_t b = 0; b < file->block_count; b++) free(file->blocks[b].blob);
        free(file->blocks);
        free(file->path);
    }
    free(put->files);
    free(put->missing);
}

static const struct op_kind put_kind = {
    .name = "put", .prepare = put_prepare, .tell = put_tell, .done = put_done};

static struct error *block_take(struct store *store, struct put_file *file, size_t index,
                                const char *digest) {
    struct put_block *block = &file->blocks[index];
    if (!digest || !digest_good(digest))
        return error_new(ERROR_INVALID_ARGUMENT, "%s: '%.80s' is no SHA-256 in lower-case hexadecimal",
                         file->path, digest ? digest : "");
    block->blob = store_blob_path(store, digest);
    snprintf(block->digest, sizeof block->digest, "%s", digest);
    return NULL;
}

static struct error *file_take(struct store *store, const struct volume_file *from, struct put_file *file) {
    TRY_PLAIN(volume_path_clean(from->path, &file->path));
    if (file->path[0] == '\0')
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' names the root and no file", from->path);
    file->mode = from->mode & 0777 ? from->mode & 0777 : 0644;
    file->whole = from->digest != NULL;
    file->size_bytes = from->size_bytes;
    uint64_t blocks = (from->size_bytes + VOLUME_BLOCK_BYTES - 1) / VOLUME_BLOCK_BYTES;
    if (!file->whole && from->size_bytes > VOLUME_FILE_BYTES_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%s has %llu bytes; a file may have %llu", file->path,
                         (unsigned long long)from->size_bytes, (unsigned long long)VOLUME_FILE_BYTES_MAX);
    if (!file->whole && from->block_count != blocks && !(blocks == 0 && from->block_count == 1))
        return error_new(ERROR_INVALID_ARGUMENT, "%s: %llu bytes are %llu blocks, not %zu", file->path,
                         (unsigned long long)from->size_bytes, (unsigned long long)blocks, from->block_count);
    file->block_count = file->whole ? 1 : from->block_count;
    file->blocks = mem_array(file->block_count + 1, sizeof *file->blocks);
    for (size_t b = 0; b < file->block_count; b++)
        TRY_PLAIN(block_take(store, file, b, file->whole ? from->digest : from->blocks[b]));
    return NULL;
}

void volume_put(struct volume *volume, const struct volume_file *files, size_t count, bool overwrite,
                void (*done)(void *owner, struct error *error, const struct volume_missing *missing,
                             size_t missing_count),
                void *owner) {
    struct put *put = NEW(struct put);
    put->overwrite = overwrite;
    put->done = done;
    put->owner = owner;
    struct error *error = NULL;
    if (count > VOLUME_FILES_MAX)
        error =
            error_new(ERROR_RESOURCE_EXHAUSTED, "more than %d files do not fit a volume", VOLUME_FILES_MAX);
    put->files = mem_array((error ? 0 : count) + 1, sizeof *put->files);
    for (; put->count < count && !error; put->count++)
        error = file_take(volume->volumes->store, &files[put->count], &put->files[put->count]);
    op_start(volume, &put_kind, &put->op, error);
}
