/* What versions are made of: .content/ab/abcdef..., read-only and never changed.
 *
 * It is not the store's blobs, though it may share files with them (a second name of the same file): blobs
 * have many users, of which none knows the others; of what is in here only volumes decide when it goes.
 * A batch makes files in .new, syncs them together, and gives them their names last, so that a name stands
 * for all of its bytes or is not there. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 4096 /* files without a name yet */

struct batch_item {
    char *temporary;
    char digest[SHA256_HEX_SIZE];
};

bool digest_good(const char *digest) {
    return strlen(digest) == SHA256_HEX_SIZE - 1 && strspn(digest, "0123456789abcdef") == SHA256_HEX_SIZE - 1;
}

char *content_path(const struct contents *contents, const char *digest) {
    return mem_printf("%s/%.2s/%s", contents->dir, digest, digest);
}

/* ---- batches ---- */

static unsigned prefix_of(const char *digest) {
    static const char hex[] = "0123456789abcdef";
    return (unsigned)(strchr(hex, digest[0]) - hex) * 16 + (unsigned)(strchr(hex, digest[1]) - hex);
}

static void items_drop(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];
        if (item->temporary) store_calls_now()->unlink(item->temporary);
        free(item->temporary);
    }
    batch->count = 0;
    syncing_done(&batch->syncing);
}

static struct error *items_place(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];
        scoped_string char *path = content_path(batch->contents, item->digest);
        scoped_string char *directory = mem_printf("%s/%.2s", batch->contents->dir, item->digest);
        TRY_PLAIN(dir_make(directory, 0700));
        /* Two names of one file (both of a blob) are nothing to rename: POSIX leaves both. */
        if (store_calls_now()->rename(item->temporary, path) != 0)
            return error_errno(errno, "rename %s to %s", item->temporary, path);
        unlink(item->temporary);
        free(take(item->temporary));
    }
    return NULL;
}

static struct error *sync_directory(const char *path) {
    scoped_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || store_calls_now()->fsync(fd) != 0) return error_errno(errno, "sync %s", path);
    return NULL;
}

static struct error *items_flush(struct batch *batch) {
    if (batch->count == 0) return NULL;
    scoped_fd int dir = open(batch->contents->unfinished, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return error_errno(errno, "open %s", batch->contents->unfinished);
    TRY(syncing_end(&batch->syncing, dir), "content of a volume");
    TRY_PLAIN(items_place(batch));
    items_drop(batch);
    return NULL;
}

struct error *batch_flush(struct batch *batch) {
    TRY_PLAIN(items_flush(batch));
    bool any = false;
    for (unsigned i = 0; i < COUNT(batch->touched); i++) {
        if (!batch->touched[i]) continue;
        scoped_string char *directory = mem_printf("%s/%02x", batch->contents->dir, i);
        TRY_PLAIN(sync_directory(directory));
        batch->touched[i] = false;
        any = true;
    }
    return any ? sync_directory(batch->contents->dir) : NULL;
}

void batch_done(struct batch *batch) {
    items_drop(batch);
    free(batch->items);
    *batch = (struct batch){0};
}

/* Takes both. There already: fine, but perhaps not yet synced by who made it. */
static struct error *batch_add(struct batch *batch, char *temporary, int fd, const char *digest) {
    scoped_string char *path = content_path(batch->contents, digest);
    batch->touched[prefix_of(digest)] = true;
    if (file_exists(path)) {
        store_calls_now()->unlink(temporary);
        free(temporary);
        close(fd);
        return NULL;
    }
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity ? 2 * batch->capacity : 8;
        batch->items = mem_grow(batch->items, batch->capacity, sizeof *batch->items);
    }
    struct batch_item *item = &batch->items[batch->count++];
    *item = (struct batch_item){.temporary = temporary};
    syncing_add(&batch->syncing, fd);
    snprintf(item->digest, sizeof item->digest, "%s", digest);
    return batch->count == BATCH_MAX ? items_flush(batch) : NULL;
}

/* ---- in pieces ---- */

struct error *content_begin(struct batch *batch, struct content_writer *ret_writer) {
    scoped_string char *id = random_id("content");
    *ret_writer = (struct content_writer){.batch = batch, .sum = sha256_new()};
    ret_writer->temporary = path_join(batch->contents->unfinished, id);
    ret_writer->fd = open(ret_writer->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    if (ret_writer->fd < 0) return error_errno(errno, "make %s", ret_writer->temporary);
    return NULL;
}

struct error *content_add(struct content_writer *writer, struct span bytes) {
    TRY_PLAIN(cancel_check(writer->batch->cancel));
    sha256_add(writer->sum, bytes.data, bytes.size);
    if (bytes.size == PIECE_BYTES && all_zero(bytes.data, bytes.size)) {
        writer->size_bytes += bytes.size;
        return NULL; /* a hole; content_end sets the size */
    }
    while (bytes.size > 0) {
        ssize_t put =
            store_calls_now()->pwrite(writer->fd, bytes.data, bytes.size, (off_t)writer->size_bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return error_errno(errno, "write %s", writer->temporary);
        writer->size_bytes += (uint64_t)put;
        bytes = (struct span){bytes.data + put, bytes.size - (size_t)put};
    }
    return NULL;
}

struct error *content_pad(struct content_writer *writer, uint64_t size_bytes) {
    static const char zeros[PIECE_BYTES];
    for (; size_bytes >= PIECE_BYTES; size_bytes -= PIECE_BYTES)
        TRY_PLAIN(content_add(writer, (struct span){zeros, PIECE_BYTES}));
    return size_bytes ? content_add(writer, (struct span){zeros, (size_t)size_bytes}) : NULL;
}

struct error *content_end(struct content_writer *writer, char ret_digest[SHA256_HEX_SIZE]) {
    if (store_calls_now()->ftruncate(writer->fd, (off_t)writer->size_bytes) != 0)
        return error_errno(errno, "set the size of %s", writer->temporary);
    sha256_hex(writer->sum, ret_digest);
    return batch_add(writer->batch, take(writer->temporary), take_fd(&writer->fd), ret_digest);
}

void content_writer_done(struct content_writer *writer) {
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary && writer->fd >= 0) store_calls_now()->unlink(writer->temporary);
    free(writer->temporary);
    sha256_free(writer->sum);
    *writer = (struct content_writer){.fd = -1};
}

/* ---- whole ---- */

static struct error *copy_pieces(struct content_writer *writer, int fd, uint64_t size_bytes) {
    scoped_string char *piece = mem_grow(NULL, PIECE_BYTES, 1);
    while (writer->size_bytes < size_bytes) {
        uint64_t left = size_bytes - writer->size_bytes;
        ssize_t got =
            pread(fd, piece, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, (off_t)writer->size_bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "read");
        if (got == 0) return NULL; /* became shorter */
        TRY_PLAIN(content_add(writer, (struct span){piece, (size_t)got}));
    }
    return NULL;
}

/* Cloned first, then read: the clone stands still. */
static struct error *copy_cloned(struct content_writer *writer, char ret_digest[SHA256_HEX_SIZE],
                                 uint64_t *ret_size_bytes) {
    struct stat at;
    if (fstat(writer->fd, &at) != 0) return error_errno(errno, "look at %s", writer->temporary);
    *ret_size_bytes = (uint64_t)at.st_size;
    TRY_PLAIN(file_hash(writer->fd, *ret_size_bytes, writer->batch->cancel, ret_digest));
    return batch_add(writer->batch, take(writer->temporary), take_fd(&writer->fd), ret_digest);
}

static struct error *copy_into(struct content_writer *writer, int fd, uint64_t size_bytes,
                               char ret_digest[SHA256_HEX_SIZE], uint64_t *ret_size_bytes) {
    if (file_clone(writer->fd, fd)) return copy_cloned(writer, ret_digest, ret_size_bytes);
    TRY_PLAIN(copy_pieces(writer, fd, size_bytes));
    *ret_size_bytes = writer->size_bytes;
    return content_end(writer, ret_digest);
}

struct error *content_copy(struct batch *batch, int fd, uint64_t size_bytes, char ret_digest[SHA256_HEX_SIZE],
                           uint64_t *ret_size_bytes) {
    struct content_writer writer;
    struct error *error = content_begin(batch, &writer);
    if (!error) error = copy_into(&writer, fd, size_bytes, ret_digest, ret_size_bytes);
    content_writer_done(&writer);
    return error;
}

struct error *content_put(struct batch *batch, struct span bytes, char ret_digest[SHA256_HEX_SIZE]) {
    struct content_writer writer;
    struct error *error = content_begin(batch, &writer);
    if (!error) error = content_add(&writer, bytes);
    if (!error) error = content_end(&writer, ret_digest);
    content_writer_done(&writer);
    return error;
}

struct error *content_link(struct batch *batch, const char *blob_path, const char *digest) {
    scoped_string char *id = random_id("content");
    scoped_string char *temporary = path_join(batch->contents->unfinished, id);
    scoped_fd int fd = open(blob_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "blob sha256:%s", digest);
    if (link(blob_path, temporary) == 0) return batch_add(batch, take(temporary), take_fd(&fd), digest);
    if (errno != EXDEV && errno != EMLINK && errno != EPERM && errno != EOPNOTSUPP)
        return error_errno(errno, "blob sha256:%s", digest);
    char copied[SHA256_HEX_SIZE];
    uint64_t size_bytes;
    TRY(content_copy(batch, fd, UINT64_MAX, copied, &size_bytes), "blob sha256:%s", digest);
    if (strcmp(copied, digest) == 0) return NULL;
    return error_new(ERROR_DATA_LOSS, "blob sha256:%s: its bytes are others (sha256:%s)", digest, copied);
}

/* ---- reading ---- */

struct error *content_read(const struct contents *contents, const char *digest, struct text *ret_bytes) {
    scoped_string char *path = content_path(contents, digest);
    TRY_PLAIN(file_read(path, TREE_BYTES_MAX, ret_bytes));
    char sum[SHA256_HEX_SIZE];
    sha256_of(text_span(ret_bytes), sum);
    if (strcmp(sum, digest) == 0) return NULL;
    return error_new(ERROR_DATA_LOSS, "%s: its bytes are others (sha256:%s)", path, sum);
}

struct error *content_tree(const struct contents *contents, const char *digest, struct tree **ret_tree) {
    if (digest[0] == '\0') {
        *ret_tree = tree_new();
        return NULL;
    }
    scoped_text struct text bytes = {0};
    TRY(content_read(contents, digest, &bytes), "the committed version");
    TRY(tree_parse(text_span(&bytes), ret_tree), "the committed version, sha256:%s", digest);
    return NULL;
}
