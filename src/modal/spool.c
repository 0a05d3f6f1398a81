/* spool: bytes that wait on the disk, one behind the other in a file that has no name: it goes with who has
 * it open, however that ends. Written and read on the loop's thread: it is the system's cache that is asked,
 * and what passes at once is small. */
#include "spool.h"

#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct spool {
    int fd;
    uint64_t end;
};

struct error *spool_new(const char *directory, struct spool **ret) {
    scoped_string char *path = path_join(directory, ".spool-XXXXXX");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "make a file in %s", directory);
    unlink(path);
    *ret = NEW(struct spool);
    (*ret)->fd = fd;
    return NULL;
}

void spool_free(struct spool *spool) {
    if (!spool) return;
    close(spool->fd);
    free(spool);
}

struct error *spool_add(struct spool *spool, struct span bytes, uint64_t *ret_offset) {
    size_t done = 0;
    while (done < bytes.size) {
        ssize_t written = store_calls_now()->pwrite(spool->fd, bytes.data + done, bytes.size - done,
                                                    (off_t)(spool->end + done));
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return error_errno(written < 0 ? errno : ENOSPC, "write what waits");
        done += (size_t)written;
    }
    *ret_offset = spool->end;
    spool->end += bytes.size;
    return NULL;
}

struct error *spool_get(const struct spool *spool, uint64_t offset, size_t size, struct text *ret) {
    char *bytes = text_reserve(ret, size); /* behind what is there */
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(spool->fd, bytes + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return error_errno(got < 0 ? errno : EIO, "read what waits");
        done += (size_t)got;
    }
    ret->size += size;
    return NULL;
}

void spool_drop(struct spool *spool, uint64_t offset, size_t size) {
    (void)fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}
