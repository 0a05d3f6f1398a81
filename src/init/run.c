/* run: PID 1 of a container.
 *
 *   started -> (app runs) -> ready -> exit CODE SIGNAL
 * Each step is a line in BOX/state, which outlives us; readiness is also one byte into the fifo BOX/ready,
 * whose reader may be gone (the daemon was killed) and come back. One loop over signals, the app's two pipes,
 * the filter on listen(2) and sd_notify's socket. Ends when the app ends: the kernel then kills whatever else
 * is left in the pid namespace. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DRAIN_MAX = 256, LOG_PATIENCE_US = 2000000 };
enum { OUT, ERR };
enum { ON_SIGNAL, ON_OUT, ON_ERR, ON_LISTEN, ON_NOTIFY, ON_ROOM, WATCHED };

struct run {
    const struct run_options *options;
    struct app app;
    struct ready ready;
    struct logfile *log;
    struct lines lines[2];
    struct pollfd watched[WATCHED];
    int pipes[2];
    int ready_fd;
    bool ended;
    int status;
};

static void mark(const char *line) {
    (void)write_file(BOX_FD, "state", line, O_CREAT | O_APPEND);
}

static void parse(int argc, char **argv, struct run_options *options) {
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},
        {"ready", required_argument, NULL, 'r'},
        {"user", required_argument, NULL, 'u'},
        {"log", required_argument, NULL, 'l'},
        {"log-bytes", required_argument, NULL, 'b'},
        {"startup-ms", required_argument, NULL, 's'},
        {"oom-score", required_argument, NULL, 'o'},
        {"keep-home", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct run_options){.log_name = "app", .log_bytes = 8 << 20};
    for (int c; (c = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
        switch (c) {
        case 'p': options->port = (uint16_t)strtoul(optarg, NULL, 10); break;
        case 'r':
            options->ready_by = strcmp(optarg, "notify") == 0   ? READY_BY_NOTIFY
                                : strcmp(optarg, "socket") == 0 ? READY_BY_SOCKET
                                                                : READY_BY_PORT;
            break;
        case 'u': options->user = optarg; break;
        case 'l': options->log_name = optarg; break;
        case 'b': options->log_bytes = strtoull(optarg, NULL, 10); break;
        case 's': options->startup_ms = strtoll(optarg, NULL, 10); break;
        case 'h': options->keep_home = true; break;
        case 'o': options->oom_score = (int)strtol(optarg, NULL, 10); break;
        default: break;
        }
    }
    options->command = argv + optind;
}

static void tell_ready(struct run *run) {
    if (run->ready.done) return;
    run->ready.done = true;
    run->ready.next_us = INT64_MAX;
    mark("ready\n");
    (void)!write(run->ready_fd, "r", 1); /* full or without a reader: the mark is there */
}

static void reap(struct run *run) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == run->app.pid) run->ended = true, run->status = status;
}

/* What asks to end concerns all that the app began; anything else is a message to the app, and would kill a
 * child that knows nothing of it. */
static void forward(const struct run *run, int signo) {
    bool ends = signo == SIGTERM || signo == SIGINT || signo == SIGQUIT;
    kill(ends ? -run->app.pid : run->app.pid, signo);
}

static void on_signal(struct run *run) {
    struct signalfd_siginfo got[8];
    ssize_t size = read(run->watched[ON_SIGNAL].fd, got, sizeof got);
    for (size_t i = 0; size > 0 && i < (size_t)size / sizeof *got; i++) {
        if (got[i].ssi_signo == SIGCHLD)
            reap(run);
        else
            forward(run, (int)got[i].ssi_signo);
    }
}

static void on_pipe(struct run *run, int which) {
    struct lines *lines = &run->lines[which];
    if (lines_read(lines, run->pipes[which], run->log)) return;
    lines_end(lines, run->log);
    close(run->pipes[which]);
    run->pipes[which] = -1;
}

/* Nothing is read from a pipe while the log has no room for what was read before. */
static void pass_held_lines(struct run *run) {
    uint64_t count;
    (void)!read(run->watched[ON_ROOM].fd, &count, sizeof count);
    for (int which = OUT; which <= ERR; which++)
        if (run->lines[which].held) (void)lines_pass(&run->lines[which], run->log);
}

static void wait_for_events(struct run *run) {
    struct timespec pause, *timeout = NULL;
    int64_t next_us = run->ready.next_us, log_us = logfile_waits_until_us(run->log);
    if (log_us < next_us) next_us = log_us;
    if (next_us != INT64_MAX) {
        int64_t left_us = next_us - now_us();
        if (left_us < 0) left_us = 0;
        pause = (struct timespec){.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
        timeout = &pause;
    }
    for (int which = OUT; which <= ERR; which++)
        run->watched[ON_OUT + which].fd = run->lines[which].held ? -1 : run->pipes[which];
    if (ppoll(run->watched, WATCHED, timeout, NULL) < 0)
        for (int i = 0; i < WATCHED; i++) run->watched[i].revents = 0;
}

static void on_listen(struct run *run) {
    if (filter_listen_seen(run->watched[ON_LISTEN].fd)) {
        if (!run->ready.done) ready_hint(&run->ready);
    } else if (run->watched[ON_LISTEN].revents & POLLHUP) {
        run->watched[ON_LISTEN].fd = -1; /* nobody is left under the filter */
    }
}

static void live(struct run *run) {
    while (!run->ended) {
        wait_for_events(run);
        if (run->watched[ON_LISTEN].revents) on_listen(run);
        if (run->watched[ON_NOTIFY].revents && ready_notified(run->watched[ON_NOTIFY].fd)) tell_ready(run);
        if (run->ready.next_us <= now_us() && ready_probe(&run->ready)) tell_ready(run);
        if (run->watched[ON_OUT].revents) on_pipe(run, OUT);
        if (run->watched[ON_ERR].revents) on_pipe(run, ERR);
        if (run->lines[OUT].held || run->lines[ERR].held) pass_held_lines(run);
        if (run->watched[ON_SIGNAL].revents) on_signal(run);
    }
}

/* What the app wrote just before its end is still in the pipes; a grandchild that goes on writing gets no
 * more than a bounded time. */
static void drain(struct run *run, int64_t until_us) {
    for (int which = OUT; which <= ERR; which++) {
        struct lines *lines = &run->lines[which];
        for (int i = 0; i < DRAIN_MAX && run->pipes[which] >= 0; i++) {
            struct pollfd more = {.fd = run->pipes[which], .events = POLLIN};
            logfile_await_room(run->log, until_us);
            if (lines->held && !lines_pass(lines, run->log)) continue;
            if (poll(&more, 1, 0) <= 0) break;
            on_pipe(run, which);
        }
        logfile_await_room(run->log, until_us);
        (void)lines_pass(lines, run->log);
        lines_end(lines, run->log);
    }
}

/* The exit code that a shell would give, and a sentence in the log. */
static int tell_failure(struct run *run, const struct failure *failure) {
    const char *reason = strerror(failure->reason);
    switch (failure->step) {
    case STEP_USER:
        if (failure->reason == ESRCH)
            logfile_say(run->log, "user '%s': not in the container's /etc/passwd and /etc/group",
                        run->options->user);
        else if (failure->reason == EINVAL)
            logfile_say(run->log,
                        "user '%s': this machine gives catnap no such user. Without root the users come from "
                        "/etc/subuid and /etc/subgid",
                        run->options->user);
        else
            logfile_say(run->log, "user '%s': %s", run->options->user ? run->options->user : "0", reason);
        return 126;
    case STEP_FILTER: logfile_say(run->log, "the filter of system calls: %s", reason); return 126;
    case STEP_DESCRIPTORS: logfile_say(run->log, "standard input and output: %s", reason); return 126;
    default: break;
    }
    logfile_say(run->log, "cannot run '%s': %s", run->options->command[0], reason);
    return failure->reason == ENOENT ? 127 : 126;
}

static int finish(struct run *run) {
    char line[64];
    int code = WIFEXITED(run->status) ? WEXITSTATUS(run->status) : -1;
    int signo = WIFSIGNALED(run->status) ? WTERMSIG(run->status) : 0;
    struct failure failure;
    if (read(run->app.failed_fd, &failure, sizeof failure) == sizeof failure)
        code = tell_failure(run, &failure);
    int64_t until_us = now_us() + LOG_PATIENCE_US;
    drain(run, until_us);
    logfile_close(run->log, until_us);
    snprintf(line, sizeof line, "exit %d %d\n", code, signo);
    mark(line);
    return signo ? 128 + signo : code;
}

static void prepare(struct run *run) {
    sigset_t watched;
    sigemptyset(&watched);
    static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGWINCH, SIGCHLD};
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&watched, forwarded[i]);
    sigprocmask(SIG_BLOCK, &watched, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < WATCHED; i++) run->watched[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    run->watched[ON_SIGNAL].fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    run->ready_fd = openat(BOX_FD, "ready", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    run->lines[OUT] = (struct lines){.stream = "out"};
    run->lines[ERR] = (struct lines){.stream = "err"};
}

int run_main(int argc, char **argv) {
    static struct run run;
    struct run_options options;
    /* The app may be root in here: without this it could reach our descriptors through /proc/1/fd. */
    prctl(PR_SET_DUMPABLE, 0);
    fcntl(LOGS_FD, F_SETFD, FD_CLOEXEC), fcntl(BOX_FD, F_SETFD, FD_CLOEXEC);
    prepare(&run);
    mark("started\n"); /* from here on no signal is lost */
    parse(argc, argv, &options);
    if (!options.command[0]) return complain("no command"), 125;
    run.options = &options;
    int socket_fd = options.ready_by == READY_BY_SOCKET ? ready_socket(options.port) : -1;
    if (options.ready_by == READY_BY_NOTIFY) {
        run.watched[ON_NOTIFY].fd = ready_notify_socket();
        setenv("NOTIFY_SOCKET", "@catnap-notify", 1);
    }
    ready_init(&run.ready, &options);
    if (options.ready_by != READY_BY_PORT) run.ready.next_us = INT64_MAX;
    if (app_start(&options, socket_fd, &run.app)) return complain("start the app: %s", strerror(errno)), 125;
    run.log = logfile_open(LOGS_FD, options.log_name, options.log_bytes);
    prctl(PR_SET_TIMERSLACK, 1);
    run.pipes[OUT] = run.app.out_fd, run.pipes[ERR] = run.app.err_fd;
    run.watched[ON_ROOM].fd = logfile_room_fd(run.log);
    run.watched[ON_LISTEN].fd = run.app.listener_fd;
    if (socket_fd >= 0) {
        close(socket_fd);
        tell_ready(&run);
    }
    if (options.ready_by == READY_BY_PORT && options.port == 0) tell_ready(&run);
    live(&run);
    return finish(&run);
}
