/* userns: without root, the daemon goes on in a user namespace in which it is root.
 *
 * There it may mount, make namespaces and be every user of its containers; outside it is who it was. Which
 * users there are is decided by newuidmap and newgidmap from /etc/subuid and /etc/subgid; where these are
 * missing, there is one: itself. A helper writes the map from outside, since the one who is mapped may not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "inside.h"

bool userns_inside(void) {
    scoped_text struct text map = {0};
    scoped(error) struct error *failed = file_read("/proc/self/uid_map", 4096, &map);
    struct span rest = text_span(&map), line = span_cut(&rest, '\n');
    uint64_t numbers[3] = {0};
    for (size_t i = 0; !failed && i < COUNT(numbers); i++) {
        line = span_trim(line);
        (void)span_to_u64(span_cut(&line, ' '), &numbers[i]);
    }
    return !failed && numbers[2] != UINT32_MAX;
}

bool userns_has_users(void) {
    scoped_text struct text map = {0};
    scoped(error) struct error *failed = file_read("/proc/self/uid_map", 4096, &map);
    struct span rest = text_span(&map), line = span_cut(&rest, '\n');
    return !failed && (!userns_inside() || span_trim(rest).size > 0 || !line.data);
}

/* "name:100000:65536" of /etc/subuid: by name or number. */
bool userns_find_range(const char *text, const char *name, unsigned id, uint64_t ret_range[2]) {
    struct span rest = span_of(text);
    char number[16];
    snprintf(number, sizeof number, "%u", id);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n'), who = span_cut(&line, ':'), first = span_cut(&line, ':');
        if (!span_is(who, name) && !span_is(who, number)) continue;
        if (span_to_u64(first, &ret_range[0]) && span_to_u64(span_trim(line), &ret_range[1]) &&
            ret_range[1] > 0)
            return true;
    }
    return false;
}

static bool range_of(const char *path, const char *name, unsigned id, uint64_t ret_range[2]) {
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 1 << 20, &text);
    return !failed && userns_find_range(text.data ? text.data : "", name, id, ret_range);
}

uint64_t userns_range_size(void) {
    const struct passwd *entry = getpwuid(geteuid());
    const char *name = entry ? entry->pw_name : "";
    scoped_string char *map_users = host_program_find("newuidmap"),
                       *map_groups = host_program_find("newgidmap");
    uint64_t users[2], groups[2];
    if (!map_users || !map_groups || !range_of("/etc/subuid", name, geteuid(), users) ||
        !range_of("/etc/subgid", name, geteuid(), groups))
        return 0;
    return users[1];
}

/* newuidmap PID 0 ID 1 1 FIRST COUNT; in the helper, so nothing is cleaned up. */
static bool map_by(const char *program, pid_t pid, unsigned id, const uint64_t range[2]) {
    char numbers[4][24];
    snprintf(numbers[0], sizeof numbers[0], "%d", pid);
    snprintf(numbers[1], sizeof numbers[1], "%u", id);
    snprintf(numbers[2], sizeof numbers[2], "%llu", (unsigned long long)range[0]);
    snprintf(numbers[3], sizeof numbers[3], "%llu", (unsigned long long)range[1]);
    const char *argv[] = {program, numbers[0], "0", numbers[1], "1", "1", numbers[2], numbers[3], NULL};
    pid_t child = fork();
    if (child == 0) {
        execvp(program, (char **)argv);
        _exit(127);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static _Noreturn void help(pid_t pid, uid_t uid, gid_t gid, int go_fd) {
    uint64_t users[2], groups[2];
    char byte;
    const struct passwd *entry = getpwuid(uid);
    const char *name = entry ? entry->pw_name : "";
    bool good = read(go_fd, &byte, 1) == 1 && range_of("/etc/subuid", name, uid, users) &&
                range_of("/etc/subgid", name, uid, groups) && map_by("newuidmap", pid, uid, users) &&
                map_by("newgidmap", pid, gid, groups);
    _exit(good ? 0 : 1);
}

struct error *userns_map_self(uid_t uid, gid_t gid) {
    scoped_string char *users = mem_printf("0 %u 1\n", uid), *groups = mem_printf("0 %u 1\n", gid);
    TRY_PLAIN(file_poke("/proc/self/setgroups", "deny"));
    TRY_PLAIN(file_poke("/proc/self/uid_map", users));
    return file_poke("/proc/self/gid_map", groups);
}

struct error *container_enter_user_namespace(void) {
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int go[2], status = -1;
    if (uid == 0) return NULL;
    if (pipe2(go, O_CLOEXEC)) return error_errno(errno, "a user namespace");
    pid_t self = getpid(), helper = fork();
    if (helper == 0) {
        close(go[1]);
        help(self, uid, gid, go[0]);
    }
    close(go[0]);
    scoped_fd int go_fd = go[1];
    if (helper < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return error_new(ERROR_FAILED_PRECONDITION,
                         "without root, containers need user namespaces, and this machine refuses them (%m). "
                         "Start catnap as root, or allow them (catnap doctor says how)");
    bool told = write(go_fd, "g", 1) == 1;
    bool mapped = told && waitpid(helper, &status, 0) == helper && status == 0;
    if (!mapped) TRY(userns_map_self(uid, gid), "map the user into its namespace");
    if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
        return error_errno(errno, "become root of the user namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL)) return error_errno(errno, "mounts of our own");
    return NULL;
}
