/* cgroup_find: which cgroup hierarchies this machine has, and where our groups go in them.
 *
 * v2 is used wherever it is mounted, also beside v1 (then without controllers): freezing, killing and
 * emptiness are better there. memory, cpu and pids are limited by v2 where v2 has them, else by v1. Only
 * reads two texts; cgroup.c touches the groups. */
#include "inside.h"

struct mount_line {
    struct span root, point, type, options;
};

/* "36 35 98:0 /root /point opts shared:1 - type source super-options" */
static bool parse_mount(struct span line, struct mount_line *ret) {
    for (int i = 0; i < 3; i++) (void)span_cut(&line, ' ');
    ret->root = span_cut(&line, ' ');
    ret->point = span_cut(&line, ' ');
    while (line.data && !span_is(span_cut(&line, ' '), "-")) {
    }
    ret->type = span_cut(&line, ' ');
    (void)span_cut(&line, ' ');
    ret->options = line;
    return ret->type.size > 0;
}

static bool has_word(struct span list, const char *word) {
    while (list.data)
        if (span_is(span_cut(&list, ','), word)) return true;
    return false;
}

/* systemd marks what it gave away; below such a group we may do as we like. */
static char *own_unified_path(const char *own) {
    struct span rest = span_of(own);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (span_starts(line, "0::")) return mem_string_n(line.data + 3, line.size - 3);
    }
    return NULL;
}

static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};

static void find_v1(struct mount_line *mount, const char *name, struct cgroup_host *groups) {
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (has_word(mount->options, names[c]) && !groups->controller[c])
            groups->controller[c] = mem_printf(SPAN_FORMAT "/%s", SPAN_ARGS(mount->point), name);
    if (has_word(mount->options, "freezer") && !groups->freezer)
        groups->freezer = mem_printf(SPAN_FORMAT "/%s", SPAN_ARGS(mount->point), name);
    for (size_t i = 0; i + 1 < CGROUP_V1_MAX; i++) {
        if (groups->v1[i]) continue;
        groups->v1[i] = mem_printf(SPAN_FORMAT "/%s", SPAN_ARGS(mount->point), name);
        return;
    }
}

void cgroup_find(const char *mountinfo, const char *own, const char *name, struct cgroup_host *ret_groups) {
    *ret_groups = (struct cgroup_host){0};
    struct mount_line mount, unified = {.point = {NULL, 0}};
    bool v1 = false;
    struct span rest = span_of(mountinfo);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (!parse_mount(line, &mount)) continue;
        if (span_is(mount.type, "cgroup2") && !unified.point.data) unified = mount;
        if (!span_is(mount.type, "cgroup")) continue;
        v1 = true;
        find_v1(&mount, name, ret_groups);
    }
    if (!unified.point.data) return;
    scoped_string char *own_path = own_unified_path(own);
    bool deep = own_path && strcmp(own_path, "/") != 0 && strncmp(own_path, "/..", 3) != 0;
    if (deep) ret_groups->delegated = mem_printf(SPAN_FORMAT "%s", SPAN_ARGS(unified.point), own_path);
    ret_groups->unified = mem_printf(SPAN_FORMAT "/%s", SPAN_ARGS(unified.point), name);
    if (v1) ret_groups->hide = span_string(unified.point);
    free(take(ret_groups->freezer));
}
