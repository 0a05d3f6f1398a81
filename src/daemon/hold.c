/* `catnap hold`: the smallest parent that a daemon needs for its sockets to stay open while it is away.
 *
 * Knows nothing of the daemon: starts it, keeps copies of the sockets that it is sent (sd_notify's FDSTORE),
 * and starts it again with them (LISTEN_FDS), as systemd does with the same variables. SIGHUP: the daemon
 * makes room for the next one, a new program perhaps. SIGTERM and SIGINT go to the daemon, and its end is
 * ours. A daemon that dies is started again, at growing distances where it does so at once; one that never
 * came up is not. */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define FIRST_FD 3
#define KEPT_MAX 4096
#define PAUSE_FIRST_MS 500
#define PAUSE_MAX_MS 30000
#define LIVED_MS 10000 /* who lived that long begins anew with the first pause */

struct kept {
    char *name;
    int fd;
};
struct hold {
    char **argv; /* of the daemon */
    char program[4096], notify[128];
    int signal_fd, notify_fd;
    struct kept *kept;
    size_t kept_count;
    pid_t daemon; /* 0: it is away */
    int64_t started_ms, again_ms, pause_ms;
    bool up;         /* it came up once, in one of its lives */
    bool ready;      /* in this one */
    bool ending;     /* we were asked to end */
    bool restarting; /* it was asked to make room */
    bool once_more;  /* and so is this one, when it is ready */
    bool finishing;  /* it comes up only to end what the one before left */
    bool in_terminal;
};

/* ---- what it sends ---- */

static void keep(struct hold *hold, struct span name, int fd) {
    if (fd < 0) return;
    if (hold->kept_count == KEPT_MAX) {
        log_warn("hold", "%d sockets are held, as many as may be", KEPT_MAX);
        close(fd);
        return;
    }
    hold->kept = mem_grow(hold->kept, hold->kept_count + 1, sizeof *hold->kept);
    hold->kept[hold->kept_count++] = (struct kept){span_string(name), fd};
}

static void forget(struct hold *hold, struct span name) {
    size_t left = 0;
    for (size_t i = 0; i < hold->kept_count; i++) {
        struct kept *kept = &hold->kept[i];
        if (!span_is(name, kept->name)) {
            hold->kept[left++] = *kept;
            continue;
        }
        close(kept->fd);
        free(kept->name);
    }
    hold->kept_count = left;
}

static void make_room(struct hold *hold) {
    hold->once_more = false;
    if (hold->restarting) return; /* at its very end a signal is death */
    hold->restarting = true;
    kill(hold->daemon, SIGUSR1);
}

static void take_note(struct hold *hold, struct span note, int fd) {
    struct span name = {0};
    bool store = false, removes = false;
    while (note.data) {
        struct span line = span_cut(&note, '\n'), key = span_cut(&line, '=');
        if (span_is(key, "FDNAME")) name = line;
        store |= span_is(key, "FDSTORE");
        removes |= span_is(key, "FDSTOREREMOVE");
        if (span_is(key, "READY")) hold->up = hold->ready = true;
    }
    bool hears = hold->ready && !hold->restarting;
    if (hears && hold->finishing)
        kill(hold->daemon, SIGTERM);
    else if (hears && hold->once_more)
        make_room(hold);
    hold->finishing &= !hears;
    if (removes) forget(hold, name);
    if (store && name.size > 0)
        keep(hold, name, fd);
    else if (fd >= 0)
        close(fd);
}

/* False: there is nothing more. Anybody on this machine may send, but only one is heard. */
static bool read_note(struct hold *hold) {
    char bytes[4096];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(hold->notify_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) return errno == EINTR;
    struct ucred who = {0};
    int fd = -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET) continue;
        if (head->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(head), sizeof fd);
        if (head->cmsg_type == SCM_CREDENTIALS) memcpy(&who, CMSG_DATA(head), sizeof who);
    }
    if (who.pid == hold->daemon && who.pid != 0)
        take_note(hold, (struct span){bytes, (size_t)got}, fd);
    else if (fd >= 0)
        close(fd);
    return true;
}

/* ---- its lives ---- */

static _Noreturn void become_daemon(struct hold *hold) {
    scoped_text struct text names = {0};
    int count = (int)hold->kept_count;
    char number[24];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < count; i++) { /* first out of the way of the others */
        hold->kept[i].fd = fcntl(hold->kept[i].fd, F_DUPFD_CLOEXEC, FIRST_FD + count);
        text_printf(&names, "%s%s", i ? ":" : "", hold->kept[i].name);
    }
    for (int i = 0; i < count; i++)
        if (dup2(hold->kept[i].fd, FIRST_FD + i) < 0) _exit(126);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    snprintf(number, sizeof number, "%d", count);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names.data ? names.data : "", 1);
    setenv("NOTIFY_SOCKET", hold->notify, 1);
    execv(hold->program, hold->argv);
    fprintf(stderr, "catnap hold: %s: %m\n", hold->program);
    _exit(127);
}

static void start(struct hold *hold) {
    hold->started_ms = clock_monotonic_ms();
    hold->restarting = hold->ready = false;
    pid_t pid = fork();
    if (pid == 0) become_daemon(hold);
    if (pid > 0) {
        hold->daemon = pid;
        return;
    }
    log_error("hold", "the daemon can't be started: %m");
    hold->again_ms = hold->started_ms + PAUSE_MAX_MS;
}

/* Its end. True: there is no other life; *ret_status is ours then. */
static bool ended(struct hold *hold, int how, int *ret_status) {
    bool exited = WIFEXITED(how), well = exited && WEXITSTATUS(how) == 0;
    *ret_status = exited ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    while (read_note(hold)) continue; /* its last words count */
    hold->daemon = 0;
    bool another = hold->ending ? hold->finishing && hold->restarting : !well || hold->restarting;
    if (!hold->up || !another) return true;
    int64_t now_ms = clock_monotonic_ms();
    if (well) {
        hold->again_ms = now_ms;
        return false;
    }
    bool lived = now_ms - hold->started_ms >= LIVED_MS;
    hold->again_ms = now_ms + (lived ? 0 : hold->pause_ms);
    hold->pause_ms = lived                               ? PAUSE_FIRST_MS
                     : hold->pause_ms * 2 < PAUSE_MAX_MS ? hold->pause_ms * 2
                                                         : PAUSE_MAX_MS;
    log_warn("hold", "the daemon ended by %s %d; it is started again%s", exited ? "status" : "signal",
             exited ? WEXITSTATUS(how) : WTERMSIG(how), lived ? "" : " in a moment");
    return false;
}

/* `code`: where the signal came from. True: nobody is there whose end is waited for. */
static bool end(struct hold *hold, int signo, int code) {
    bool asked = hold->ending;
    hold->ending = true;
    /* Containers are there: who takes them over ends them, once it can hear of it. */
    if (hold->up && !asked && (!hold->daemon || !hold->ready || hold->restarting)) {
        hold->finishing = true;
        if (!hold->daemon) start(hold);
        return hold->daemon == 0;
    }
    /* A terminal's Ctrl-C went to the daemon as well; a second one would be impatience. */
    if (hold->daemon && !(signo == SIGINT && code == SI_KERNEL) && !(signo == SIGHUP && asked))
        kill(hold->daemon, signo == SIGHUP ? SIGTERM : signo);
    return hold->daemon == 0;
}

static bool on_signal(struct hold *hold, int *ret_status) {
    struct signalfd_siginfo info;
    if (read(hold->signal_fd, &info, sizeof info) != sizeof info) return false;
    int how;
    switch (info.ssi_signo) {
    case SIGCHLD:
        for (pid_t pid; (pid = waitpid(-1, &how, WNOHANG)) > 0;)
            if (pid == hold->daemon) return ended(hold, how, ret_status);
        return false;
    case SIGHUP:
        if (hold->in_terminal && terminal_is_gone()) return end(hold, SIGHUP, info.ssi_code);
        hold->again_ms = 0;
        hold->once_more = hold->daemon && !hold->ready; /* it may have read an older configuration */
        if (hold->daemon && hold->ready) make_room(hold);
        return false;
    default: return end(hold, (int)info.ssi_signo, info.ssi_code);
    }
}

static int live(struct hold *hold) {
    int status = 0;
    for (;;) {
        int64_t left_ms = hold->again_ms - clock_monotonic_ms();
        if (!hold->daemon && left_ms <= 0) start(hold);
        struct pollfd fds[2] = {{.fd = hold->signal_fd, .events = POLLIN},
                                {.fd = hold->notify_fd, .events = POLLIN}};
        if (poll(fds, 2, hold->daemon ? -1 : left_ms > 0 ? (int)left_ms : 0) < 0) continue;
        if (fds[1].revents) (void)read_note(hold);
        if (fds[0].revents && on_signal(hold, &status)) return status;
    }
}

/* ---- itself ---- */

static struct error *open_ears(struct hold *hold) {
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* the kernel finds a name */
    socklen_t size = sizeof(sa_family_t);
    int yes = 1;
    sigset_t heard;
    sigemptyset(&heard);
    const int signals[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT};
    for (size_t i = 0; i < COUNT(signals); i++) sigaddset(&heard, signals[i]);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    hold->signal_fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
    hold->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (hold->signal_fd < 0 || hold->notify_fd < 0 ||
        setsockopt(hold->notify_fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0 ||
        bind(hold->notify_fd, (struct sockaddr *)&address, size) != 0)
        return error_errno(errno, "hold sockets");
    size = sizeof address;
    getsockname(hold->notify_fd, (struct sockaddr *)&address, &size);
    snprintf(hold->notify, sizeof hold->notify, "@%.*s", (int)(size - sizeof(sa_family_t) - 1),
             address.sun_path + 1);
    ssize_t length = readlink("/proc/self/exe", hold->program, sizeof hold->program - 1);
    if (length < 0) return error_errno(errno, "find catnap's own program");
    hold->program[length] = '\0'; /* by name: a newer one may lie there when it is started again */
    return NULL;
}

int daemon_hold(int argc, char **argv) {
    struct hold hold = {
        .signal_fd = -1, .notify_fd = -1, .pause_ms = PAUSE_FIRST_MS, .in_terminal = terminal_is_ours()};
    char name[] = "catnap", verb[] = "serve";
    hold.argv = mem_array((size_t)argc + 2, sizeof *hold.argv);
    hold.argv[0] = name, hold.argv[1] = verb;
    for (int i = 1; i < argc; i++) hold.argv[i + 1] = argv[i];
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    scoped(error) struct error *error = open_ears(&hold);
    int status = 1;
    if (error) {
        scoped_string char *text = error_text(error);
        fprintf(stderr, "catnap: %s\n", text);
    } else {
        status = live(&hold);
    }
    while (hold.kept_count > 0) forget(&hold, span_of(hold.kept[0].name));
    free(hold.kept), free(hold.argv);
    if (hold.signal_fd >= 0) close(hold.signal_fd);
    if (hold.notify_fd >= 0) close(hold.notify_fd);
    return status;
}
