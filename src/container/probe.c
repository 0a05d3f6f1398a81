/* probe: what this machine allows, by trying it in a process of its own, in namespaces that go with it.
 *
 * Nothing of it is seen from outside. A trial's errno is its process's exit code; who is not root first makes
 * a user namespace, as the daemon would. For doctor: a program without threads. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "inside.h"

static int own_mounts(void) {
    return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ? errno : 0;
}

static int try_namespaces(void) {
    return unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP)
               ? errno
               : 0;
}

static int try_overlay(void) {
    static const char *const folders[] = {"/tmp/l", "/tmp/u", "/tmp/w", "/tmp/m"};
    int failed = own_mounts();
    if (failed) return failed;
    if (mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k")) return errno;
    for (size_t i = 0; i < COUNT(folders); i++)
        if (mkdir(folders[i], 0755)) return errno;
    const char *options = "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w";
    return mount("overlay", "/tmp/m", "overlay", 0, options) ? errno : 0;
}

static int try_notifications(void) {
    struct seccomp_notif_sizes sizes;
    return syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) ? errno : 0;
}

static int try_user_namespace(void) {
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) return errno;
    scoped(error) struct error *failed = userns_map_self(uid, gid);
    return failed ? EPERM : 0;
}

static int become_nobody_to_anyone(void) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    return nothing < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || dup2(nothing, 2) < 0 ? errno : 0;
}

/* A program in a network namespace of its own; a program's own failure is EOPNOTSUPP. */
static int run_in_own_network(const char *const *argv) {
    int failed = become_nobody_to_anyone();
    if (!failed && unshare(CLONE_NEWNET)) failed = errno;
    if (failed) return failed;
    pid_t pid = fork();
    int status = -1;
    if (pid == 0) {
        execvp(argv[0], (char **)argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return errno;
    return status == 0 ? 0 : WIFEXITED(status) && WEXITSTATUS(status) == 127 ? ENOENT : EOPNOTSUPP;
}

static int try_nft(void) {
    static const char rules[] =
        "table inet catnap {\n"
        "chain out { type nat hook postrouting priority 100; ip saddr 10.0.0.0/8 masquerade; }\n"
        "chain in { type filter hook input priority 0; ct state established accept; }\n}\n";
    return run_in_own_network((const char *const[]){"nft", rules, NULL});
}

static int try_veth(void) {
    return run_in_own_network((const char *const[]){"ip", "link", "add", "catnap0", "type", "veth", "peer",
                                                    "name", "catnap1", NULL});
}

int probe(enum probe what) {
    static int (*const trials[])(void) = {[PROBE_NAMESPACES] = try_namespaces,
                                          [PROBE_OVERLAY] = try_overlay,
                                          [PROBE_NOTIFICATIONS] = try_notifications,
                                          [PROBE_USER_NAMESPACE] = try_user_namespace,
                                          [PROBE_NFT] = try_nft,
                                          [PROBE_VETH] = try_veth};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() != 0 && what != PROBE_USER_NAMESPACE) {
            int failed = try_user_namespace();
            if (failed) _exit(failed);
        }
        _exit(trials[what]());
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

/* What a program says of itself, e.g. "crun version 1.8.1". Empty where it can't be run. Owned. */
char *probe_first_line(const char *const *argv) {
    scoped_text struct text said = {0};
    struct span rest = program_ask(argv, &said) ? text_span(&said) : SPAN("");
    return span_string(span_cut(&rest, '\n'));
}
