/* Paths within a live tree.
 *
 * A container writes there while we look: any name may become a link to / between two calls. So a path is
 * walked part by part from the root's descriptor, never through a link, and what is held is a descriptor and
 * never a path. Nothing can be moved out of the tree either: a container's mount of it ends at its root. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>

#define DIRECTORY_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int64_t stat_mtime_ns(const struct stat *at) {
    return at->st_mtim.tv_sec * INT64_C(1000000000) + at->st_mtim.tv_nsec;
}
int64_t stat_ctime_ns(const struct stat *at) {
    return at->st_ctim.tv_sec * INT64_C(1000000000) + at->st_ctim.tv_nsec;
}

struct error *live_open(const char *path, int *ret_fd) {
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret_fd < 0 ? error_errno(errno, "the live tree %s", path) : NULL;
}

/* A new directory belongs to who its parent belongs to, so that a program that is not root can go on in it.
 */
static struct error *make_directory(int parent, const char *name) {
    struct stat above;
    if (mkdirat(parent, name, 0755) != 0) return errno == EEXIST ? NULL : error_errno(errno, "make %s", name);
    if (fstatat(parent, "", &above, AT_EMPTY_PATH) == 0 && above.st_uid != geteuid())
        (void)!fchownat(parent, name, above.st_uid, above.st_gid, AT_SYMLINK_NOFOLLOW);
    return NULL;
}

static struct error *go_down(int *fd, const char *name, bool make) {
    int next = openat(*fd, name, DIRECTORY_FLAGS);
    if (next < 0 && errno == ENOENT && make) {
        TRY_PLAIN(make_directory(*fd, name));
        next = openat(*fd, name, DIRECTORY_FLAGS);
    }
    if (next < 0 && (errno == ENOTDIR || errno == ELOOP))
        return error_new(ERROR_FAILED_PRECONDITION, "%s is there and is no directory", name);
    if (next < 0) return error_errno(errno, "%s", name);
    close(*fd);
    *fd = next;
    return NULL;
}

struct error *live_parent(int root, const char *path, bool make, int *ret_fd, const char **ret_name) {
    scoped_fd int fd = openat(root, ".", DIRECTORY_FLAGS);
    if (fd < 0) return error_errno(errno, "the live tree");
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        scoped_string char *part = mem_string_n(path, (size_t)(slash - path));
        TRY_PLAIN(go_down(&fd, part, make));
    }
    *ret_fd = take_fd(&fd);
    *ret_name = path;
    return NULL;
}

bool live_stat(int root, const char *path, struct stat *ret) {
    scoped_fd int parent = -1;
    const char *name;
    scoped(error) struct error *error = live_parent(root, path, false, &parent, &name);
    return !error && fstatat(parent, name, ret, AT_SYMLINK_NOFOLLOW) == 0;
}
