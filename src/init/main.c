/* catnap-init: which of its faces is asked for, and the few helpers that both use.
 *
 *   catnap-init run ...     PID 1 of a container (run.c)
 *   catnap-init launch ...  made ahead, becomes the OCI runtime (launch.c)
 *   catnap-init poke FILE WORD...   writes words to a file, one write each: cgroup files whose writes block
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int complain(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vdprintf(STDERR_FILENO, format, args);
    va_end(args);
    dprintf(STDERR_FILENO, "\n");
    return -1;
}

int write_file(int dir_fd, const char *path, const char *content, int flags) {
    int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | flags, 0644);
    if (fd < 0) return -1;
    size_t size = strlen(content);
    ssize_t written = write(fd, content, size);
    int failed = errno;
    close(fd);
    errno = failed;
    return written == (ssize_t)size ? 0 : -1;
}

/* memory.reclaim answers EAGAIN when it could give back less than asked: then there is no more to get. */
static int poke(const char *path, char **words) {
    for (; *words; words++)
        if (write_file(AT_FDCWD, path, *words, 0)) return errno == EAGAIN ? 0 : 1;
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "run") == 0) return run_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "launch") == 0) return launch_main(argc - 1, argv + 1);
    if (argc > 3 && strcmp(argv[1], "poke") == 0) return poke(argv[2], argv + 3);
    complain("catnap-init: PID 1 of catnap's containers; not for use by hand");
    return 2;
}
