/* One daemon a state directory: a lock on a file in it, held by the process and gone with it, however it
 * ends. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

static struct error *taken_already(const char *dir, const char *path) {
    scoped_text struct text pid = {0};
    scoped(error) struct error *unread = file_read(path, 64, &pid);
    struct span number = span_trim(text_span(&pid));
    return error_new(ERROR_FAILED_PRECONDITION,
                     "another catnap (pid " SPAN_FORMAT
                     ") uses %s; stop it, or name another directory with --state",
                     SPAN_ARGS(unread || number.size == 0 ? SPAN("unknown") : number), dir);
}

struct error *lock_take(const char *dir, int *ret_fd) {
    scoped_string char *path = path_join(dir, "lock");
    scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return error_errno(errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return taken_already(dir, path);
        return error_errno(errno, "lock %s", path);
    }
    char pid[24];
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    /* Only for the text above: on a full disk the lock holds all the same. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)size, 0) != size)
        log_warn("store", "%s: the pid can't be noted", path);
    *ret_fd = take_fd(&fd);
    return NULL;
}
