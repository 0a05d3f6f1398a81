/* The kernel resolves: openat2(2) with RESOLVE_IN_ROOT takes the directory for the root of every "..", and of
 * every symlink. What it opened cannot lie outside, also while somebody changes the tree. The two last
 * parents are kept: a tar names a directory's files one after the other. */
#include "within.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { RETRIES = 64 };
#define OPAQUE "trusted.overlay.opaque"
#define OPAQUE_USER "user.overlay.opaque"
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

struct parent {
    char *path;
    int fd;
};
struct within {
    int fd;
    struct parent last[2]; /* newest first */
};

struct error *within_open(const char *directory, struct within **ret_within) {
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "open %s", directory);
    *ret_within = NEW(struct within);
    **ret_within = (struct within){.fd = fd, .last = {{.fd = -1}, {.fd = -1}}};
    return NULL;
}

static void parent_done(struct parent *parent) {
    free(parent->path);
    scoped_fd_close(&parent->fd);
    *parent = (struct parent){.fd = -1};
}

void within_free(struct within *within) {
    if (!within) return;
    parent_done(&within->last[0]), parent_done(&within->last[1]);
    close(within->fd);
    free(within);
}

int within_fd(const struct within *within) {
    return within->fd;
}

struct error *within_clean(const char *path, char **ret_clean) {
    scoped_text struct text clean = {0};
    struct span rest = span_of(path);
    if (rest.size >= PATH_MAX) return BAD("the path %.60s... is too long", path);
    while (rest.data) {
        struct span part = span_cut(&rest, '/');
        if (part.size == 0 || span_is(part, ".")) continue;
        if (part.size > NAME_MAX) return BAD("'%.60s...' is too long for a name", part.data);
        if (!span_is(part, "..")) {
            text_printf(&clean, "%s" SPAN_FORMAT, clean.size ? "/" : "", SPAN_ARGS(part));
            continue;
        }
        if (clean.size == 0) return BAD("'%.200s' leads out of the root", path);
        char *slash = strrchr(clean.data, '/');
        clean.size = slash ? (size_t)(slash - clean.data) : 0;
        clean.data[clean.size] = '\0';
    }
    *ret_clean = text_take(&clean);
    return NULL;
}

/* EAGAIN: somebody renamed or mounted while ".." was looked at, anywhere on the machine. */
static int open_inside(int root, const char *path) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    long fd;
    int tries = RETRIES;
    do fd = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && tries-- > 0);
    return (int)fd;
}

static struct error *parent_open(struct within *within, const char *path, bool make, int *ret_fd);

/* Nothing is there, or a whiteout of the same layer: then what lies below stays hidden. */
static struct error *make_one(struct within *within, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    scoped_string char *above = mem_string_n(path, slash ? (size_t)(slash - path) : 0);
    scoped_fd int parent = -1;
    struct stat at;
    TRY_PLAIN(parent_open(within, above, true, &parent));
    bool hides = fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW) == 0 && within_is_whiteout(&at);
    if (hides && unlinkat(parent, name, 0)) return error_errno(errno, "make directory %s", path);
    if (mkdirat(parent, name, 0755))
        return error_errno(errno == EEXIST ? ENOTDIR : errno, "make directory %s", path);
    scoped_fd int made = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0 || (hides && within_make_opaque(made))) return error_errno(errno, "make directory %s", path);
    return NULL;
}

static struct error *parent_open(struct within *within, const char *path, bool make, int *ret_fd) {
    *ret_fd = open_inside(within->fd, path);
    if (*ret_fd >= 0) return NULL;
    if (!make || !*path || (errno != ENOENT && errno != ENOTDIR)) return error_errno(errno, "open /%s", path);
    TRY_PLAIN(make_one(within, path));
    *ret_fd = open_inside(within->fd, path);
    return *ret_fd < 0 ? error_errno(errno, "open /%s", path) : NULL;
}

struct error *within_parent(struct within *within, const char *clean, bool make, int *ret_fd,
                            const char **ret_name) {
    const char *slash = strrchr(clean, '/');
    size_t size = slash ? (size_t)(slash - clean) : 0;
    *ret_name = slash ? slash + 1 : clean;
    for (size_t i = 0; i < COUNT(within->last); i++) {
        struct parent *last = &within->last[i];
        if (!last->path || strlen(last->path) != size || memcmp(last->path, clean, size) != 0) continue;
        struct parent found = *last;
        if (i == 1) within->last[1] = within->last[0];
        within->last[0] = found;
        *ret_fd = found.fd;
        return NULL;
    }
    scoped_string char *path = mem_string_n(clean, size);
    int fd;
    TRY_PLAIN(parent_open(within, path, make, &fd));
    parent_done(&within->last[1]);
    within->last[1] = within->last[0];
    within->last[0] = (struct parent){take(path), fd};
    *ret_fd = fd;
    return NULL;
}

void within_forget(struct within *within) {
    for (size_t i = 0; i < COUNT(within->last); i++) free(take(within->last[i].path));
}

/* ---- overlay's marks ---- */

bool within_is_whiteout(const struct stat *at) {
    return S_ISCHR(at->st_mode) && at->st_rdev == makedev(0, 0);
}

int within_make_whiteout(int parent, const char *name) {
    return mknodat(parent, name, S_IFCHR, makedev(0, 0));
}

/* In a user namespace the kernel's own attributes cannot be set, and overlay is mounted to read the user's.
 */
int within_make_opaque(int directory_fd) {
    if (fsetxattr(directory_fd, OPAQUE, "y", 1, 0) == 0) return 0;
    return errno == EPERM || errno == EOPNOTSUPP ? fsetxattr(directory_fd, OPAQUE_USER, "y", 1, 0) : -1;
}

bool within_is_opaque(const char *path) {
    char value = 0;
    if (lgetxattr(path, OPAQUE, &value, 1) == 1) return value == 'y';
    return lgetxattr(path, OPAQUE_USER, &value, 1) == 1 && value == 'y';
}
