/* program: a program of this machine that is asked something, and waited for: milliseconds, mostly, so at the
 * start and the end only. One that hangs is ended. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "inside.h"

enum { PATIENCE_MS = 10000, SAID_MAX = 1 << 16 };

static pid_t start(const char *const *argv, int to) {
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    bool good = posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return good ? pid : 0;
}

/* To its end. False: it goes on for too long, or says too much. */
static bool listen_to(int from, struct text *ret_said) {
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (ret_said->size < SAID_MAX) {
        struct pollfd readable = {.fd = from, .events = POLLIN};
        int64_t left_ms = until_ms - clock_monotonic_ms();
        char bytes[4096];
        if (left_ms <= 0 || poll(&readable, 1, (int)left_ms) <= 0) return false;
        ssize_t got = read(from, bytes, sizeof bytes);
        if (got <= 0) return true;
        text_add(ret_said, (struct span){bytes, (size_t)got});
    }
    return false;
}

bool program_ask(const char *const *argv, struct text *ret_said) {
    int ends[2], status = -1;
    if (pipe2(ends, O_CLOEXEC)) return false;
    scoped_fd int from = ends[0];
    pid_t pid = start(argv, ends[1]);
    close(ends[1]);
    if (pid == 0) return false;
    bool ended = listen_to(from, ret_said);
    if (!ended) kill(pid, SIGKILL);
    return waitpid(pid, &status, 0) == pid && ended && status == 0;
}
