/* Blobs: DIR/blobs/sha256/ab/abcdef...; written beside it, fsynced, renamed, and the directory fsynced: a
 * name is there with all of its bytes, or not at all. What a crash left half written lies in DIR/blobs/new
 * and is cleared away at the start. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct store_blob_writer {
    struct store *store;
    struct sha256 *sum;
    char *path; /* in blobs/new; NULL once it is gone from there */
    int fd;
};

static bool digest_good(const char *digest) {
    return strlen(digest) == SHA256_HEX_SIZE - 1 && strspn(digest, "0123456789abcdef") == SHA256_HEX_SIZE - 1;
}

static struct error *digest_check(const char *digest) {
    if (digest_good(digest)) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "'%.80s' is no SHA-256 in lower-case hexadecimal", digest);
}

char *store_blob_path(struct store *store, const char *digest) {
    return mem_printf("%s/sha256/%.2s/%s", store->blobs, digest, digest);
}

bool store_blob_exists(struct store *store, const char *digest) {
    if (!digest_good(digest)) return false;
    scoped_string char *path = store_blob_path(store, digest);
    return blob_use(store, path);
}

struct error *blobs_open(struct store *store) {
    scoped_string char *unfinished = path_join(store->blobs, "new"),
                       *finished = path_join(store->blobs, "sha256");
    TRY_PLAIN(tree_remove(unfinished));
    TRY_PLAIN(dir_make(unfinished, 0700));
    return dir_make(finished, 0700);
}

struct error *store_blob_begin(struct store *store, struct store_blob_writer **ret_writer) {
    scoped(store_blob_writer) struct store_blob_writer *writer = NEW(struct store_blob_writer);
    scoped_string char *id = random_id("blob");
    writer->store = store;
    writer->sum = sha256_new();
    writer->path = mem_printf("%s/new/%s", store->blobs, id);
    writer->fd = open(writer->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    if (writer->fd < 0) return error_errno(errno, "make %s", writer->path);
    *ret_writer = take(writer);
    return NULL;
}

struct error *store_blob_add(struct store_blob_writer *writer, struct span bytes) {
    sha256_add(writer->sum, bytes.data, bytes.size);
    while (bytes.size > 0) {
        ssize_t written = store_calls.write(writer->fd, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return error_errno(errno, "write %s", writer->path);
        bytes = (struct span){bytes.data + written, bytes.size - (size_t)written};
    }
    return NULL;
}

static struct error *dir_sync(const char *path) {
    scoped_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || store_calls.fsync(fd) != 0) return error_errno(errno, "fsync %s", path);
    return NULL;
}

struct error *store_blob_end(struct store_blob_writer *writer, const char *digest,
                             char ret_digest[SHA256_HEX_SIZE]) {
    sha256_hex(writer->sum, ret_digest);
    if (digest && strcmp(digest, ret_digest) != 0)
        return error_new(ERROR_INVALID_ARGUMENT, "these bytes are sha256:%s, not sha256:%.80s", ret_digest,
                         digest);
    scoped_string char *path = store_blob_path(writer->store, ret_digest);
    if (blob_use(writer->store, path)) return NULL; /* the same bytes; ours go with the writer */
    if (store_calls.fsync(writer->fd) != 0) return error_errno(errno, "fsync %s", writer->path);
    scoped_string char *parent = mem_printf("%s/sha256", writer->store->blobs);
    scoped_string char *directory = mem_printf("%s/%.2s", parent, ret_digest);
    TRY_PLAIN(dir_make(directory, 0700));
    if (store_calls.rename(writer->path, path) != 0)
        return error_errno(errno, "rename %s to %s", writer->path, path);
    free(take(writer->path));
    TRY_PLAIN(dir_sync(directory));
    return dir_sync(parent);
}

void store_blob_writer_free(struct store_blob_writer *writer) {
    if (!writer) return;
    if (writer->fd >= 0) close(writer->fd);
    if (writer->path) store_calls.unlink(writer->path);
    sha256_free(writer->sum);
    free(writer->path);
    free(writer);
}

struct error *store_blob_put(struct store *store, struct span bytes, char ret_digest[SHA256_HEX_SIZE]) {
    sha256_of(bytes, ret_digest);
    if (store_blob_exists(store, ret_digest)) return NULL;
    scoped(store_blob_writer) struct store_blob_writer *writer = NULL;
    TRY_PLAIN(store_blob_begin(store, &writer));
    TRY_PLAIN(store_blob_add(writer, bytes));
    return store_blob_end(writer, NULL, ret_digest);
}

struct error *store_blob_get(struct store *store, const char *digest, size_t limit_bytes,
                             struct text *ret_bytes) {
    TRY_PLAIN(digest_check(digest));
    scoped_string char *path = store_blob_path(store, digest);
    struct error *error = file_read(path, limit_bytes, ret_bytes);
    if (error) return error_wrap(error, "blob sha256:%s", digest);
    char sum[SHA256_HEX_SIZE];
    sha256_of(text_span(ret_bytes), sum);
    if (strcmp(sum, digest) == 0) return NULL;
    text_clear(ret_bytes);
    store_calls.unlink(path); /* so that the next put writes it anew */
    return error_new(ERROR_DATA_LOSS, "blob sha256:%s: its bytes are others (sha256:%s); it was taken away",
                     digest, sum);
}
