/* app: the child that becomes the user's command.
 *
 * Between fork and exec: own process group, the pipes, the user, what the app may ask the kernel, and a
 * filter that tells us of listen(2), whose descriptor travels back over a socket. What fails sends its step
 * and errno; a successful exec closes the pipe. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct identity {
    uid_t uid;
    gid_t gid;
    char home[256];
};

static bool number(const char *text, unsigned *ret_value) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end || value > 0xfffffffeUL) return false;
    *ret_value = (unsigned)value;
    return true;
}

/* Field `n` of a line of /etc/passwd or /etc/group, in place. */
static char *field(char *line, int n) {
    for (; n > 0 && line; n--) line = (line = strchr(line, ':')) ? line + 1 : NULL;
    return line;
}
static void cut_at(char *text, const char *any_of) {
    if (text) text[strcspn(text, any_of)] = '\0';
}

/* The container's own /etc/passwd; a number needs no entry there. */
static bool look_up_user(const char *wanted, struct identity *who) {
    unsigned uid;
    bool is_number = number(wanted, &uid), found = false;
    if (is_number) who->uid = uid;
    FILE *file = fopen("/etc/passwd", "re");
    for (char line[1024]; file && !found && fgets(line, sizeof line, file);) {
        char *uid_text = field(line, 2), *gid_text = field(line, 3), *home = field(line, 5);
        if (!home) continue;
        cut_at(line, ":"), cut_at(uid_text, ":"), cut_at(gid_text, ":"), cut_at(home, ":\n");
        unsigned line_uid, line_gid;
        if (!number(uid_text, &line_uid) || !number(gid_text, &line_gid)) continue;
        found = is_number ? line_uid == uid : strcmp(line, wanted) == 0;
        if (!found) continue;
        who->uid = line_uid, who->gid = line_gid;
        snprintf(who->home, sizeof who->home, "%s", home);
    }
    if (file) fclose(file);
    return found || is_number;
}

static bool look_up_group(const char *wanted, gid_t *ret_gid) {
    unsigned gid;
    if (number(wanted, &gid)) return *ret_gid = gid, true;
    bool found = false;
    FILE *file = fopen("/etc/group", "re");
    for (char line[1024]; file && !found && fgets(line, sizeof line, file);) {
        char *gid_text = field(line, 2);
        if (!gid_text) continue;
        cut_at(line, ":"), cut_at(gid_text, ":");
        found = strcmp(line, wanted) == 0 && number(gid_text, &gid);
    }
    if (file) fclose(file);
    if (found) *ret_gid = gid;
    return found;
}

bool app_become(const struct run_options *options) {
    const char *user = options->user ? options->user : "0";
    struct identity who = {.home = "/tmp"};
    if (strcmp(user, "0") == 0 || strcmp(user, "root") == 0) snprintf(who.home, sizeof who.home, "/root");
    char *name = strdup(user), *group = name ? strchr(name, ':') : NULL;
    if (group) *group++ = '\0';
    bool known = name && look_up_user(name, &who) && (!group || look_up_group(group, &who.gid));
    free(name);
    errno = ESRCH;
    if (!known) return false;
    if (!options->keep_home) setenv("HOME", who.home, 1);
    /* In a user namespace of one user there are no groups to give up, and the call is forbidden. */
    if (setgroups(0, NULL) && (errno != EPERM || getgroups(0, NULL) > 1)) return false;
    return setresgid(who.gid, who.gid, who.gid) == 0 && setresuid(who.uid, who.uid, who.uid) == 0;
}

static bool send_fd(int socket_fd, int fd) {
    char byte = 1;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(socket_fd, &message, 0) == 1;
}

static int receive_fd(int socket_fd) {
    char byte;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1;
    if (recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

static void die(int failed_fd, enum step step) {
    struct failure failure = {step, errno};
    (void)!write(failed_fd, &failure, sizeof failure);
    _exit(127);
}

struct pipes {
    int out[2], err[2], failed[2], filter[2];
};

static void child(const struct run_options *options, int socket_fd, struct pipes *pipes) {
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_TIMERSLACK, 50000);
    char score[16];
    snprintf(score, sizeof score, "%d", options->oom_score);
    (void)write_file(AT_FDCWD, "/proc/self/oom_score_adj", score, 0);
    if (socket_fd >= 0) {
        char own[16];
        snprintf(own, sizeof own, "%d", (int)getpid());
        setenv("LISTEN_PID", own, 1);
        setenv("LISTEN_FDS", "1", 1);
    }
    int nothing = open("/dev/null", O_RDONLY);
    if (dup2(nothing, 0) < 0 || dup2(pipes->out[1], 1) < 0 || dup2(pipes->err[1], 2) < 0)
        die(pipes->failed[1], STEP_DESCRIPTORS);
    if (nothing > 0) close(nothing);
    /* 3 is the log directory's until here; all but the socket close at exec by themselves. */
    if (socket_fd >= 0 && dup2(socket_fd, 3) < 0) die(pipes->failed[1], STEP_DESCRIPTORS);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (!app_become(options)) die(pipes->failed[1], STEP_USER);
    if (filter_install() < 0) die(pipes->failed[1], STEP_FILTER);
    int listener = options->ready_by == READY_BY_PORT && options->port ? filter_watch_listen() : -1;
    if (listener >= 0) {
        send_fd(pipes->filter[1], listener);
        close(listener);
    }
    close(pipes->filter[1]);
    execvp(options->command[0], options->command);
    die(pipes->failed[1], STEP_RUN);
}

int app_start(const struct run_options *options, int socket_fd, struct app *ret_app) {
    struct pipes pipes;
    if (pipe2(pipes.out, O_CLOEXEC) || pipe2(pipes.err, O_CLOEXEC) || pipe2(pipes.failed, O_CLOEXEC) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pipes.filter))
        return -1;
    pid_t pid = fork();
    if (pid < 0) return -1;
    if (pid == 0) child(options, socket_fd, &pipes);
    close(pipes.out[1]), close(pipes.err[1]), close(pipes.failed[1]), close(pipes.filter[1]);
    setpgid(pid, pid);
    /* The reading ends only: a flag of the writing end would be the app's. */
    fcntl(pipes.out[0], F_SETFL, O_NONBLOCK), fcntl(pipes.err[0], F_SETFL, O_NONBLOCK);
    fcntl(pipes.out[0], F_SETPIPE_SZ, 256 * 1024), fcntl(pipes.err[0], F_SETPIPE_SZ, 256 * 1024);
    *ret_app = (struct app){.pid = pid,
                            .out_fd = pipes.out[0],
                            .err_fd = pipes.err[0],
                            .failed_fd = pipes.failed[0],
                            .listener_fd = receive_fd(pipes.filter[0])};
    close(pipes.filter[0]);
    return 0;
}
