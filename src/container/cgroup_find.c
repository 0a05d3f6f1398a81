/* cgroup_find: which cgroup hierarchies this machine has, and where our groups go in them.
 *
 * v2 is used wherever it is mounted, also beside v1 (then without controllers): freezing, killing and
 * emptiness are better there. memory, cpu and pids are limited by v2 where v2 has them, else by v1. Only
 * reads two texts; cgroup.c touches the groups. */
#include "inside.h"

struct mount_line {
    struct span root, point, flags, type, options;
};

/* "36 35 98:0 /root /point opts shared:1 - type source super-options" */
static bool parse_mount(struct span line, struct mount_line *ret) {
    for (int i = 0; i < 3; i++) (void)span_cut(&line, ' ');
    ret->root = span_cut(&line, ' ');
    ret->point = span_cut(&line, ' ');
    ret->flags = span_cut(&line, ' ');
    while (line.data && !span_is(span_cut(&line, ' '), "-")) {
    }
    ret->type = span_cut(&line, ' ');
    (void)span_cut(&line, ' ');
    ret->options = line;
    return ret->type.size > 0;
}

/* Blanks and the like are written as \\040. */
static char *mount_point(const struct mount_line *mount) {
    char *point = span_string(mount->point), *to = point;
    for (const char *from = point; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return point;
}

static bool has_word(struct span list, const char *word) {
    while (list.data)
        if (span_is(span_cut(&list, ','), word)) return true;
    return false;
}

/* Our own group in v2, as the kernel tells it to us. NULL: none. */
static char *own_unified_path(const char *own) {
    struct span rest = span_of(own);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (span_starts(line, "0::/")) return mem_string_n(line.data + 3, line.size - 3);
    }
    return NULL;
}

/* Where a mount shows our own group: the mount's root is a path of the hierarchy too, and need not be above
 * it. */
static char *own_in_mount(const struct mount_line *mount, const char *own) {
    scoped_string char *path = own_unified_path(own), *root = span_string(mount->root);
    size_t above = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (!path || strncmp(path, "/..", 3) == 0 || strncmp(path, root, above) != 0) return NULL;
    const char *below = path + above;
    if (below[0] != '/' || !below[1]) return NULL; /* the mount's root itself */
    scoped_string char *point = mount_point(mount);
    return mem_printf("%s%s", point, below);
}

static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};

static void find_v1(const struct mount_line *mount, const char *name, struct cgroup_host *groups) {
    scoped_string char *point = mount_point(mount);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (has_word(mount->options, names[c]) && !groups->controller[c])
            groups->controller[c] = path_join(point, name);
    if (has_word(mount->options, "freezer") && !groups->freezer) groups->freezer = path_join(point, name);
    for (size_t i = 0; i + 1 < CGROUP_V1_MAX; i++) {
        if (groups->v1[i]) continue;
        groups->v1[i] = path_join(point, name);
        return;
    }
}

void cgroup_find(const char *mountinfo, const char *own, const char *name, struct cgroup_host *ret_groups) {
    *ret_groups = (struct cgroup_host){0};
    struct mount_line mount, unified = {.point = {NULL, 0}};
    struct span rest = span_of(mountinfo);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (!parse_mount(line, &mount) || has_word(mount.flags, "ro")) continue;
        if (span_is(mount.type, "cgroup2") && !unified.point.data) unified = mount;
        if (span_is(mount.type, "cgroup")) find_v1(&mount, name, ret_groups);
    }
    if (!unified.point.data) return;
    scoped_string char *point = mount_point(&unified);
    ret_groups->delegated = own_in_mount(&unified, own);
    ret_groups->unified = path_join(point, name);
    if (ret_groups->v1[0]) ret_groups->hide = mem_string(point);
    free(take(ret_groups->freezer));
}
