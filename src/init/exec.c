/* exec: a command that runs in a container which is there already.
 *
 * Two faces around the OCI runtime's own `exec`. `enter` is outside: into the container's cgroups and into
 * the namespaces that the launcher made (the runtime knows only its own), then it becomes the runtime.
 * `exec` is what the runtime runs inside: user, filter, then the command. Descriptor 3 tells how far it came:
 * "s" when it began, then a newline when the command runs, or a sentence: why it does not. (Its end tells
 * nothing, for the runtime keeps it open.) Both end with whoever asked: a daemon that was killed leaves no
 * commands behind. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS_FD = 3 };

static int enter_namespaces(int pid, const char *hide, const char *runtime) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) return complain("the container is gone: %s", strerror(errno));
    if (setns(pidfd, CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS))
        return complain("enter the container's namespaces: %s", strerror(errno));
    close(pidfd);
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
        return complain("own mounts: %s", strerror(errno));
    if (hide && launch_hide(hide)) return complain("hide %s: %s", hide, strerror(errno));
    launch_protect(runtime);
    return 0;
}

int enter_main(int argc, char **argv) {
    int next = 3;
    if (argc < 6) return complain("enter PID HIDE|- CGROUP... -- RUNTIME ARGUMENT..."), 125;
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    umask(022);
    for (; next < argc && strcmp(argv[next], "--") != 0; next++)
        if (launch_enter_cgroup(argv[next])) return 125;
    if (next + 1 >= argc) return complain("enter: no runtime"), 125;
    char **command = argv + next + 1;
    int pid = (int)strtol(argv[1], NULL, 10);
    if (enter_namespaces(pid, strcmp(argv[2], "-") == 0 ? NULL : argv[2], command[0])) return 125;
    char *const clean[] = {(char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                           NULL};
    execvpe(command[0], command, clean);
    return complain("run %s: %s", command[0], strerror(errno)), 125;
}

static int status_fd = STATUS_FD;

/* A successful exec closes a pipe; who sees that must be another process, and none that the command would
 * have to reap: a grandchild, which PID 1 inherits. */
static int watch_for_exec(void) {
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC)) return -1;
    pid_t child = fork();
    if (child < 0) return -1;
    if (child > 0) {
        close(ends[0]);
        close(STATUS_FD);
        status_fd = ends[1];
        return waitpid(child, &status, 0) == child ? 0 : -1;
    }
    if (fork() != 0) _exit(0);
    char said[512];
    for (int fd = 0; fd < STATUS_FD; fd++) close(fd);
    close(ends[1]);
    ssize_t size = read(ends[0], said, sizeof said);
    (void)!write(STATUS_FD, size > 0 ? said : "\n", size > 0 ? (size_t)size : 1);
    _exit(0);
}

static int tell(const char *what, const char *name) {
    int reason = errno;
    bool missing = reason == ENOENT || reason == ENOTDIR;
    if (name && missing)
        dprintf(status_fd, "there is no command '%.200s' in the container", name);
    else
        dprintf(status_fd, "%s%s%.200s%s: %s", what, name ? " '" : "", name ? name : "", name ? "'" : "",
                strerror(reason));
    return missing ? 127 : 126;
}

int exec_main(int argc, char **argv) {
    static const struct option known[] = {{"user", required_argument, NULL, 'u'},
                                          {"oom-score", required_argument, NULL, 'o'},
                                          {"keep-home", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct run_options options = {0};
    const char *score = "500";
    for (int c; (c = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
        if (c == 'u') options.user = optarg;
        if (c == 'o') score = optarg;
        if (c == 'h') options.keep_home = true;
    }
    options.command = argv + optind;
    (void)!write(STATUS_FD, "s", 1);
    if (watch_for_exec()) return tell("a process that looks on", NULL);
    if (!options.command[0]) return errno = EINVAL, tell("no command", NULL);
    setsid(); /* with a terminal the runtime did it */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    (void)write_file(AT_FDCWD, "/proc/self/oom_score_adj", score, 0);
    if (!app_become(&options)) return tell("become the user", options.user ? options.user : "root");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (filter_install() < 0) return tell("install the filter of system calls", NULL);
    execvp(options.command[0], options.command);
    return tell("run", options.command[0]);
}
