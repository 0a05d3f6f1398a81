/* rootfs: what the container sees as /.
 *
 * BOX/host: this machine's own programs and libraries, read-only, in a fresh tmpfs: /usr as it is, /bin and
 * the like as the machine has them, an /etc of the few files that programs and the dynamic linker look for,
 * private /tmp, /var/tmp, /run and /root. Nothing else of the machine is in it. Images
 * with layers: layers.c. */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int rootfs_dir(const char *path, mode_t mode) {
    if (mkdir(path, mode) && errno != EEXIST) return complain("make %s: %s", path, strerror(errno));
    return 0;
}

static int bind(const char *from, const char *to) {
    struct mount_attr quiet = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL)) return complain("mount %s: %s", from, strerror(errno));
    if (mount_setattr(AT_FDCWD, to, AT_RECURSIVE, &quiet, sizeof quiet) == 0) return 0;
    if (errno != ENOSYS) return complain("make %s read-only: %s", from, strerror(errno));
    if (mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL))
        return complain("make %s read-only: %s", from, strerror(errno));
    return 0;
}

static int bind_file(const char *from, const char *to) {
    int fd = open(to, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return complain("make %s: %s", to, strerror(errno));
    close(fd);
    return bind(from, to);
}

/* Same place in the new root; what the machine lacks is left out. Working directory: the new root. */
static int bring(const char *path) {
    struct stat status;
    char link_to[1024];
    if (lstat(path, &status)) return 0;
    if (S_ISLNK(status.st_mode)) {
        ssize_t size = readlink(path, link_to, sizeof link_to - 1);
        if (size < 0) return complain("read %s: %s", path, strerror(errno));
        link_to[size] = '\0';
        return symlink(link_to, path + 1) && errno != EEXIST ? complain("link %s: %s", path, strerror(errno))
                                                             : 0;
    }
    if (!S_ISDIR(status.st_mode)) return bind_file(path, path + 1);
    return rootfs_dir(path + 1, 0755) ? -1 : bind(path, path + 1);
}

static int private_dir(const char *path, const char *options) {
    if (rootfs_dir(path, 0755)) return -1;
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options))
        return complain("tmpfs on %s: %s", path, strerror(errno));
    return 0;
}

/* What is in it, each by itself: in the directory itself there is room for mount points. */
static int bring_entries(const char *path) {
    DIR *directory = opendir(path);
    int result = rootfs_dir(path + 1, 0755);
    for (struct dirent *entry; directory && result == 0 && (entry = readdir(directory));) {
        char inside[300];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        result = bring(inside);
    }
    if (directory) closedir(directory);
    return result;
}

/* Debian's Python reads /etc/python3*, whatever the number is. */
static int bring_pythons(void) {
    DIR *etc = opendir("/etc");
    int result = 0;
    for (struct dirent *entry; etc && result == 0 && (entry = readdir(etc));) {
        char path[300];
        if (strncmp(entry->d_name, "python3", 7) != 0) continue;
        snprintf(path, sizeof path, "/etc/%s", entry->d_name);
        result = bring(path);
    }
    if (etc) closedir(etc);
    return result;
}

static int make_etc(void) {
    static const char *const folders[] = {"etc", "etc/ssl", "etc/pki", "etc/pki/tls", "etc/pki/ca-trust"};
    /* Of the certificates only what all may know: private keys lie beside them. */
    static const char *const from_here[] = {
        "/etc/ld.so.cache",
        "/etc/ld.so.conf",
        "/etc/ld.so.conf.d",
        "/etc/alternatives",
        "/etc/ssl/certs",
        "/etc/ssl/openssl.cnf",
        "/etc/ssl/cert.pem",
        "/etc/pki/tls/certs",
        "/etc/pki/tls/cert.pem",
        "/etc/pki/tls/openssl.cnf",
        "/etc/pki/ca-trust/extracted",
        "/etc/crypto-policies",
        "/etc/localtime",
        "/etc/services",
        "/etc/protocols",
        "/etc/mime.types",
    };
    static const char *const files[][2] = {
        {"etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
                       "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
        {"etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"},
        {"etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"},
        {"etc/resolv.conf", ""},
        {"etc/nsswitch.conf",
         "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"},
    };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char here[32];
        snprintf(here, sizeof here, "/%s", folders[i]);
        if (access(here, F_OK) == 0 && rootfs_dir(folders[i], 0755)) return -1;
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (write_file(AT_FDCWD, files[i][0], files[i][1], O_CREAT | O_TRUNC))
            return complain("write %s: %s", files[i][0], strerror(errno));
    for (size_t i = 0; i < sizeof from_here / sizeof *from_here; i++)
        if (bring(from_here[i])) return -1;
    return bring_pythons();
}

/* An image is not to be trusted: were its /.catnap a link, we would follow it in this machine's own files. */
int rootfs_bring_init(const char *init) {
    struct stat status;
    if (rootfs_dir(".catnap", 0755)) return -1;
    if (lstat(".catnap", &status) || !S_ISDIR(status.st_mode))
        return complain("the image has something of its own at /.catnap");
    return bind_file(init, ".catnap/init");
}

int rootfs_host(const char *box, const char *init) {
    static const char *const from_here[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
    static const char *const empty[] = {"proc", "sys", "dev", "var", "home", "mnt", "srv"};
    if (chdir(box) || rootfs_dir("host", 0755)) return complain("%s: %s", box, strerror(errno));
    if (mount("tmpfs", "host", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"))
        return complain("tmpfs for the root: %s", strerror(errno));
    if (chdir("host")) return complain("enter the root: %s", strerror(errno));
    for (size_t i = 0; i < sizeof from_here / sizeof *from_here; i++)
        if (bring(from_here[i])) return -1;
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
        if (rootfs_dir(empty[i], 0755)) return -1;
    if (bring_entries("/opt")) return -1;
    if (private_dir("tmp", "mode=1777") || private_dir("var/tmp", "mode=1777") ||
        private_dir("run", "mode=755") || private_dir("root", "mode=700"))
        return -1;
    if (make_etc() || rootfs_bring_init(init)) return -1;
    return chdir(box) ? complain("%s: %s", box, strerror(errno)) : 0;
}
