/* layers: an image's layers as the container's root.
 *
 * BOX/rootfs is an overlay of the layers over an upper. Layers are named by links in BOX/l and the mount is
 * made from BOX, because the mount's options must fit in one page. What nobody keeps is written to BOX/upper,
 * or, in a root that is read-only, to a tmpfs: it holds mount points only. An image on top of this machine's
 * own programs has grafts: /usr and others, each an overlay of its own on the same directory of the layers,
 * with the machine's below; the root overlay itself does not see across mounts. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { OPTIONS_MAX = 4096 };

struct options {
    char text[OPTIONS_MAX];
    size_t used;
};

static void add(struct options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct options *options, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (options->used < OPTIONS_MAX)
        options->used +=
            (size_t)vsnprintf(options->text + options->used, OPTIONS_MAX - options->used, format, args);
    va_end(args);
}

/* What is written is fresh: thrown away, or brought to the disk as a whole later. Nothing in it is worth an
 * fsync, and a copy-up costs 0.1 ms instead of 4. In a user namespace directories are marked by attributes
 * that a user may set, ours and those that unpacking set. Older kernels know less. */
static int mount_overlay(struct options *options, const char *upper, const char *work, const char *below,
                         const char *to) {
    static const char *const as_root[] = {",volatile", "", NULL}, *const as_user[] = {",volatile,userxattr",
                                                                                      ",userxattr",
                                                                                      ",volatile", "", NULL};
    const bool user = removexattr(upper, "trusted.overlay.none") && errno == EPERM;
    add(options, ",upperdir=%s/u%s,workdir=%s", upper, below, work);
    size_t plain = options->used;
    for (const char *const *wish = user ? as_user : as_root; *wish; wish++) {
        options->used = plain;
        add(options, "%s", *wish);
        if (options->used >= OPTIONS_MAX) return complain("too many layers for one mount");
        if (mount("overlay", to, "overlay", MS_NOSUID | MS_NODEV, options->text) == 0) return 0;
    }
    if (errno == ENODEV) return complain("this kernel has no overlay file system: modprobe overlay");
    return complain("mount the image's layers on %s: %s", to, strerror(errno));
}

static int mount_root(const struct layers *layers, const char *upper) {
    struct options options = {.used = 0};
    char work[32];
    for (size_t i = 0; i < layers->count; i++) add(&options, "%sl/%zu", i ? ":" : "lowerdir=", i);
    snprintf(work, sizeof work, "%s/w%s", upper, layers->graft_count ? "/r" : "");
    if (layers->graft_count && rootfs_dir(work, 0755)) return -1;
    return mount_overlay(&options, upper, work, "", "rootfs");
}

/* ---- grafts ---- */

static int make_dirs(const char *base, const char *path) {
    char made[512];
    struct stat at;
    for (size_t size = 1; size <= strlen(path); size++) {
        if (path[size] && path[size] != '/') continue;
        snprintf(made, sizeof made, "%s%.*s", base, (int)size, path);
        if (lstat(made, &at) && rootfs_dir(made, 0755)) return -1;
    }
    return 0;
}

/* Through no link: where a layer of an untrusted image leads out of itself, this machine's files are. */
static int open_within(const char *layer, const char *path) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
    int top = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int found = top < 0 ? -1 : (int)syscall(SYS_openat2, top, path + strspn(path, "/"), &how, sizeof how);
    int reason = errno;
    if (top >= 0) close(top);
    errno = reason;
    return found;
}

/* The same directory of each layer, down to one that hides what is below it. */
static bool add_layers(const struct layers *layers, const char *graft, struct options *options) {
    bool any = false;
    for (size_t i = 0; i < layers->count; i++) {
        char layer[32], path[512], opaque = 0;
        snprintf(layer, sizeof layer, "l/%zu", i);
        snprintf(path, sizeof path, "%s%s", layer, graft);
        int there = open_within(layer, graft);
        if (there < 0 && errno == ENOENT) continue;
        if (there < 0) return false; /* a file, a link, or taken away */
        close(there);
        add(options, "%s%s", any ? ":" : "lowerdir=", path);
        any = true;
        if (lgetxattr(path, "trusted.overlay.opaque", &opaque, 1) == 1 && opaque == 'y') return false;
        if (lgetxattr(path, "user.overlay.opaque", &opaque, 1) == 1 && opaque == 'y') return false;
    }
    add(options, "%s%s", any ? ":" : "lowerdir=", graft);
    return true;
}

static int mount_graft(const struct layers *layers, const char *upper, size_t index) {
    const char *graft = layers->grafts[index];
    struct options options = {.used = 0};
    char work[48], base[16], to[512];
    if (!add_layers(layers, graft, &options))
        return 0; /* a layer took the whole of it away: the root shows what is left */
    snprintf(work, sizeof work, "%s/w/%zu", upper, index);
    snprintf(base, sizeof base, "%s/u", upper);
    snprintf(to, sizeof to, "rootfs%s", graft);
    if (rootfs_dir(work, 0755) || make_dirs(base, graft)) return -1;
    return mount_overlay(&options, upper, work, graft, to);
}

/* ---- all of it ---- */

static int make_upper(const struct layers *layers, const char *upper) {
    char path[32];
    struct stat top;
    if (layers->writable && layers->kept ? symlink(layers->kept, upper) : rootfs_dir(upper, 0755))
        return complain("%s: %s", layers->kept ? layers->kept : upper, strerror(errno));
    if (stat("l/0", &top)) return complain("layer %s: %s", layers->layers[0], strerror(errno));
    if (!S_ISDIR(top.st_mode)) return complain("layer %s: it is not a directory", layers->layers[0]);
    /* Mount points only, then: in memory, gone with the container. */
    if (!layers->writable && mount("tmpfs", upper, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"))
        return complain("tmpfs for the upper: %s", strerror(errno));
    snprintf(path, sizeof path, "%s/w", upper);
    if (rootfs_dir(path, 0755)) return -1;
    snprintf(path, sizeof path, "%s/u", upper);
    if (rootfs_dir(path, 0755)) return -1;
    return chmod(path, top.st_mode & 07777) ? complain("%s: %s", path, strerror(errno)) : 0;
}

int rootfs_layers(const char *box, const struct layers *layers, const char *init) {
    const char *upper = layers->writable ? "upper" : "over";
    char path[64];
    if (chdir(box) || rootfs_dir("l", 0755) || rootfs_dir("rootfs", 0755))
        return complain("%s: %s", box, strerror(errno));
    for (size_t i = 0; i < layers->count; i++) {
        snprintf(path, sizeof path, "l/%zu", i);
        if (symlink(layers->layers[i], path))
            return complain("link %s: %s", layers->layers[i], strerror(errno));
    }
    if (make_upper(layers, upper)) return -1;
    for (size_t i = 0; i < layers->graft_count; i++) /* before the root's overlay has the upper for itself */
        if (snprintf(path, sizeof path, "%s/u", upper) < 0 || make_dirs(path, layers->grafts[i])) return -1;
    if (mount_root(layers, upper)) return -1;
    for (size_t i = 0; i < layers->graft_count; i++)
        if (mount_graft(layers, upper, i)) return -1;
    if (chdir("rootfs")) return complain("enter the root: %s", strerror(errno));
    if (rootfs_bring_init(init)) return -1;
    return chdir(box) ? complain("%s: %s", box, strerror(errno)) : 0;
}
