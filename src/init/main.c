/* catnap-init: which of its faces is asked for, and the few helpers that both use.
 *
 *   catnap-init run ...     PID 1 of a container (run.c)
 *   catnap-init launch ...  made ahead, becomes the OCI runtime (launch.c)
 *   catnap-init enter ...   a command that comes later, on its way into a container (exec.c)
 *   catnap-init exec ...    the same, inside
 *   catnap-init fs ...      files of a container, for clients (fs.c)
 *   catnap-init pause       waits to be ended: PID 1's command where commands come by `exec`
 *   catnap-init poke FILE WORD...   writes words to a file, one write each: cgroup files whose writes block
 *   catnap-init detach PIDFILE LOG PROGRAM ARGUMENT...   a program that outlives who asked for it; ends well
 * when the program writes to its descriptor 3, else with what it said
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

static _Noreturn void become_detached(const char *pid_file, const char *log, char **argv, int ready_fd) {
    char pid[16];
    setsid();
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || (ready_fd != 3 && dup2(ready_fd, 3) < 0))
        _exit(126);
    if (ready_fd == 3) fcntl(3, F_SETFD, 0);
    if (write_file(AT_FDCWD, pid_file, pid, O_CREAT | O_TRUNC)) _exit(126);
    execvp(argv[0], argv);
    complain("run %s: %s", argv[0], strerror(errno));
    _exit(127);
}

static int detach(const char *pid_file, const char *log, char **argv) {
    int ready[2];
    char byte, said[1024];
    if (pipe2(ready, O_CLOEXEC)) return complain("a pipe: %s", strerror(errno)), 1;
    pid_t pid = fork();
    if (pid < 0) return complain("a process: %s", strerror(errno)), 1;
    if (pid == 0) become_detached(pid_file, log, argv, ready[1]);
    close(ready[1]);
    if (read(ready[0], &byte, 1) == 1) return 0;
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, said, sizeof said) : 0;
    if (size > 0) (void)!write(STDERR_FILENO, said, (size_t)size);
    return 1;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "run") == 0) return run_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "launch") == 0) return launch_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "enter") == 0) return enter_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "exec") == 0) return exec_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "fs") == 0) return fs_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "pause") == 0) return pause();
    if (argc > 3 && strcmp(argv[1], "poke") == 0) return poke(argv[2], argv + 3);
    if (argc > 4 && strcmp(argv[1], "detach") == 0) return detach(argv[2], argv[3], argv + 4);
    complain("catnap-init: PID 1 of catnap's containers; not for use by hand");
    return 2;
}
