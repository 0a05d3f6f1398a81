/* Bytes from file to file: cloned where the file system can, else in pieces, zeros as holes. Anything long
 * looks at `cancel` between the pieces. */
#include "inside.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

struct error *cancel_check(const bool *cancel) {
    if (!cancel || !__atomic_load_n(cancel, __ATOMIC_RELAXED)) return NULL;
    return error_new(ERROR_CANCELLED, "cancelled");
}

bool file_clone(int to, int from) {
    return ioctl(to, FICLONE, from) == 0;
}

bool all_zero(const char *bytes, size_t size_bytes) {
    return size_bytes == 0 || (bytes[0] == '\0' && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

struct error *file_hash(int fd, uint64_t size_bytes, const bool *cancel, char ret_digest[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    scoped_string char *piece = mem_grow(NULL, PIECE_BYTES, 1);
    for (uint64_t at = 0; at < size_bytes;) {
        TRY_PLAIN(cancel_check(cancel));
        uint64_t left = size_bytes - at;
        ssize_t got = pread(fd, piece, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "read");
        if (got == 0) break; /* became shorter */
        sha256_add(sum, piece, (size_t)got);
        at += (uint64_t)got;
    }
    sha256_hex(sum, ret_digest);
    return NULL;
}

static struct error *write_piece(int fd, const char *bytes, size_t size_bytes) {
    if (size_bytes == PIECE_BYTES && all_zero(bytes, size_bytes)) {
        if (lseek(fd, (off_t)size_bytes, SEEK_CUR) < 0) return error_errno(errno, "seek");
        return NULL;
    }
    while (size_bytes > 0) {
        ssize_t put = store_calls_now()->write(fd, bytes, size_bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return error_errno(errno, "write");
        bytes += put, size_bytes -= (size_t)put;
    }
    return NULL;
}

struct error *file_copy(int to, int from, const bool *cancel) {
    if (file_clone(to, from)) return NULL;
    scoped_string char *piece = mem_grow(NULL, PIECE_BYTES, 1);
    for (off_t at = 0;;) {
        TRY_PLAIN(cancel_check(cancel));
        ssize_t got = pread(from, piece, PIECE_BYTES, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "read");
        at += got;
        if (got > 0) TRY_PLAIN(write_piece(to, piece, (size_t)got));
        if (got > 0) continue;
        if (store_calls_now()->ftruncate(to, at) != 0) return error_errno(errno, "set the size");
        return NULL;
    }
}

void syncing_add(struct syncing *syncing, int taken_fd) {
    if (syncing->count < SYNC_ONE_BY_ONE_MAX)
        syncing->fds[syncing->count] = taken_fd;
    else
        close(taken_fd);
    syncing->count++;
}

struct error *syncing_end(struct syncing *syncing, int dir_fd) {
    const struct store_calls *calls = store_calls_now();
    if (calls->fsync(dir_fd) != 0) return error_errno(errno, "sync a directory");
    if (syncing->count > SYNC_ONE_BY_ONE_MAX && syncfs(dir_fd) != 0)
        return error_errno(errno, "sync the file system");
    for (size_t i = 0; i < syncing->count && syncing->count <= SYNC_ONE_BY_ONE_MAX; i++)
        if (calls->fsync(syncing->fds[i]) != 0) return error_errno(errno, "sync a file");
    syncing_done(syncing);
    return NULL;
}

void syncing_done(struct syncing *syncing) {
    for (size_t i = 0; i < syncing->count && i < SYNC_ONE_BY_ONE_MAX; i++) close(syncing->fds[i]);
    syncing->count = 0;
}
