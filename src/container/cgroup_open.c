/* cgroup_open: our group, made where we may, with the controllers that there are.
 *
 *   v1                         MOUNT/NAME, by root
 *   v2, a group given to us    GROUP/NAME; the daemon itself goes to the leaf GROUP/daemon
 *   v2, else                   MOUNT/NAME, by root; what is in the mount's root goes to a leaf too where that
 * is no true root (in a container) A group whose children are limited may hold no process itself, hence the
 * leaf. Given to us: systemd's Delegate=yes marks it, or, without root, we can write it. Without root and
 * without such a group there is none: containers can't be frozen or limited then, and run all the same. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "inside.h"

static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};

static must_check struct error *write_in(const char *directory, const char *file, const char *value) {
    scoped_string char *path = path_join(directory, file);
    return file_poke(path, value);
}
static bool has(const char *directory, const char *file) {
    scoped_string char *path = path_join(directory, file);
    return file_exists(path);
}
static bool has_word(const char *directory, const char *file, const char *word) {
    scoped_string char *path = path_join(directory, file);
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 4096, &text);
    struct span rest = span_trim(text_span(&text));
    while (!failed && rest.data)
        if (span_is(span_cut(&rest, ' '), word)) return true;
    return false;
}

/* v2 keeps controllers of a group's children switched off until the group says otherwise, level by level. */
static must_check struct error *enable(const char *directory, const bool wanted[CGROUP_CONTROLLERS]) {
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        char word[16];
        snprintf(word, sizeof word, "+%s", names[c]);
        if (wanted[c]) TRY(write_in(directory, "cgroup.subtree_control", word), "controller %s", names[c]);
    }
    return NULL;
}

/* All of them: what else started in a group that was given to us is ours to move. */
static must_check struct error *move_to_leaf(const char *top) {
    scoped_string char *leaf = path_join(top, "daemon"), *listed = path_join(top, "cgroup.procs");
    scoped_text struct text pids = {0};
    if (mkdir(leaf, 0755) && errno != EEXIST) return error_errno(errno, "make %s", leaf);
    TRY_PLAIN(file_read(listed, 1 << 20, &pids));
    struct span rest = text_span(&pids);
    while (rest.data) {
        scoped_string char *pid = span_string(span_cut(&rest, '\n'));
        if (pid[0]) error_free(write_in(leaf, "cgroup.procs", pid)); /* it may have ended meanwhile */
    }
    return NULL;
}

static bool is_given(const char *group) {
    char value[8];
    if (getxattr(group, "trusted.delegate", value, sizeof value) == 1 ||
        getxattr(group, "user.delegate", value, sizeof value) == 1)
        return true;
    scoped_string char *procs = path_join(group, "cgroup.procs");
    return (geteuid() != 0 || userns_inside()) && access(group, W_OK) == 0 && access(procs, W_OK) == 0;
}

/* Our own group, or the one above it: then we are in a leaf already (systemd's DelegateSubgroup=, or a daemon
 * before us that this one was started by). */
char *cgroup_given(struct cgroup_host *groups) {
    scoped_string char *own = take(groups->delegated);
    if (!own || is_given(own)) return take(own);
    char *slash = strrchr(own, '/');
    scoped_string char *above = mem_string_n(own, (size_t)(slash - own));
    return strlen(above) > strlen("/sys/fs/cgroup") && is_given(above) ? take(above) : NULL;
}

static must_check struct error *open_unified(const char *name, struct cgroup_host *groups) {
    bool wanted[CGROUP_CONTROLLERS] = {false}, any = false;
    groups->delegated = cgroup_given(groups);
    scoped_string char *top = groups->delegated
                                  ? mem_string(groups->delegated)
                                  : mem_string_n(groups->unified, strlen(groups->unified) - strlen(name) - 1);
    free(groups->unified);
    groups->unified = path_join(top, name);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        any |= wanted[c] = !groups->controller[c] && has_word(top, "cgroup.controllers", names[c]);
    /* Only a true root, which may hold processes, lacks the file. */
    if (any && has(top, "cgroup.type")) TRY(move_to_leaf(top), "a leaf for those in %s", top);
    if (any) TRY(enable(top, wanted), "in %s", top);
    if (mkdir(groups->unified, 0755) && errno != EEXIST)
        return error_errno(errno, "make the cgroup %s", groups->unified);
    if (any) TRY(enable(groups->unified, wanted), "in %s", groups->unified);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (!wanted[c]) continue;
        groups->controller[c] = mem_string(groups->unified);
        groups->controller_v2[c] = true;
    }
    return NULL;
}

/* Without root most machines give us no group; that is no reason not to start. */
static bool may_lack(struct error *failed) {
    bool lacks = userns_inside() &&
                 (failed->code == ERROR_PERMISSION_DENIED || failed->code == ERROR_FAILED_PRECONDITION);
    if (lacks) error_free(failed);
    return lacks;
}

static must_check struct error *open_v1(char **group) {
    if (!*group || mkdir(*group, 0755) == 0 || errno == EEXIST) return NULL;
    struct error *failed = error_errno(errno, "make the cgroup %s", *group);
    if (!may_lack(failed)) return failed;
    free(take(*group));
    return NULL;
}

struct error *cgroup_host_open(const char *name, struct cgroup_host *ret_groups) {
    scoped_text struct text mountinfo = {0}, own = {0};
    *ret_groups = (struct cgroup_host){0};
    TRY_PLAIN(file_read("/proc/self/mountinfo", 4 << 20, &mountinfo));
    TRY_PLAIN(file_read("/proc/self/cgroup", 1 << 16, &own));
    cgroup_find(mountinfo.data ? mountinfo.data : "", own.data ? own.data : "", name, ret_groups);
    if (!ret_groups->unified && !ret_groups->freezer && !userns_inside())
        return error_new(ERROR_FAILED_PRECONDITION,
                         "no cgroup hierarchy that can freeze is mounted here, or only read-only. Mount one: "
                         "mount -t cgroup2 none /sys/fs/cgroup");
    struct error *failed = ret_groups->unified ? open_unified(name, ret_groups) : NULL;
    if (failed && !may_lack(failed)) return failed;
    if (failed) free(take(ret_groups->unified));
    TRY_PLAIN(open_v1(&ret_groups->freezer));
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (!ret_groups->controller_v2[c]) TRY_PLAIN(open_v1(&ret_groups->controller[c]));
    return NULL;
}
