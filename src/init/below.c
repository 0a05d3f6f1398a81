/* below: a directory of a volume as something to mount.
 *
 * Other containers write to the volume while we look: any name may become a link to / between two calls. So
 * it is walked part by part from the root's descriptor, never through a link; what is missing is made; and
 * what is mounted is the descriptor at the end, by no name any more. Nothing can be moved out of the tree:
 * the mounts of all who write there end at its root. The runtime then mounts BOX/below/N where it belongs. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
enum { NAME_BYTES_MAX = 255 };

/* A new directory belongs to who its parent belongs to, so that a program that is not root can go on in it.
 */
static int make(int parent, const char *name) {
    struct stat above;
    if (mkdirat(parent, name, 0755)) return errno == EEXIST ? 0 : -1;
    if (fstatat(parent, "", &above, AT_EMPTY_PATH) == 0 && above.st_uid != geteuid())
        (void)!fchownat(parent, name, above.st_uid, above.st_gid, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int step(int parent, const char *name) {
    int next = openat(parent, name, DIRECTORY_FLAGS);
    if (next >= 0 || errno != ENOENT) return next;
    return make(parent, name) ? -1 : openat(parent, name, DIRECTORY_FLAGS);
}

/* -1: told. */
static int find(const char *tree, const char *path) {
    int fd = open(tree, DIRECTORY_FLAGS);
    if (fd < 0) return complain("the volume %s: %s", tree, strerror(errno));
    for (const char *part = path; *part;) {
        char name[NAME_BYTES_MAX + 1];
        size_t size = strcspn(part, "/");
        snprintf(name, sizeof name, "%.*s", (int)size, part);
        part += size + (part[size] == '/');
        if (size == 0 || size > NAME_BYTES_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            return close(fd), complain("sub_path %s: it is no clean path", path);
        int next = step(fd, name), reason = errno;
        close(fd);
        if (next < 0 && (reason == ENOTDIR || reason == ELOOP))
            return complain("sub_path %s: %s is there in the volume and is no directory", path, name);
        if (next < 0) return complain("sub_path %s: %s: %s", path, name, strerror(reason));
        fd = next;
    }
    return fd;
}

static int mount_part(const char *tree, const char *path, const char *to) {
    char from[32];
    if (rootfs_dir(to, 0755)) return -1;
    int fd = find(tree, path);
    if (fd < 0) return -1;
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    int result = mount(from, to, NULL, MS_BIND, NULL);
    if (result) complain("mount sub_path %s: %s", path, strerror(errno));
    close(fd);
    return result;
}

int below_mount(const char *box, const struct below *below) {
    char to[32];
    if (below->count == 0) return 0;
    if (chdir(box) || rootfs_dir("below", 0755)) return complain("%s: %s", box, strerror(errno));
    for (size_t i = 0; i < below->count; i++) {
        snprintf(to, sizeof to, "below/%zu", i);
        if (mount_part(below->tree[i], below->path[i], to)) return -1;
    }
    return 0;
}
