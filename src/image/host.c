/* host: what lies below an image that is made on top of this machine's own programs.
 *
 * /usr and its like are grafts: mounted as they are, below the layers. The rest is a small directory made
 * here, with what `image: host` shows too: links as the machine has them, an /etc of the few files that
 * programs look for, empty directories. Nothing else of the machine is in it, and of its certificates no
 * private keys. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = 4 << 20 };

static const char *const tops[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"};
static const char *const etcs[] = {
    "/etc/ld.so.conf.d",  "/etc/alternatives",           "/etc/ssl/certs",
    "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/crypto-policies"};

static bool is_directory(const char *path) {
    struct stat at;
    return lstat(path, &at) == 0 && S_ISDIR(at.st_mode);
}

char **host_grafts(void) {
    char **grafts = NULL;
    for (size_t i = 0; i < COUNT(tops); i++)
        if (is_directory(tops[i])) words_add(&grafts, tops[i]);
    for (size_t i = 0; i < COUNT(etcs); i++)
        if (is_directory(etcs[i])) words_add(&grafts, etcs[i]);
    DIR *etc = opendir("/etc");
    for (struct dirent *entry; etc && (entry = readdir(etc));) { /* Debian's Python reads /etc/python3* */
        scoped_string char *path = path_join("/etc", entry->d_name);
        if (strncmp(entry->d_name, "python3", 7) == 0 && is_directory(path)) words_add(&grafts, path);
    }
    if (etc) closedir(etc);
    return grafts;
}

static struct error *bring_link(const char *directory, const char *path) {
    char to[PATH_MAX];
    ssize_t size = readlink(path, to, sizeof to - 1);
    if (size < 0) return NULL; /* a directory, or not there */
    to[size] = '\0';
    scoped_string char *here = mem_printf("%s%s", directory, path);
    return symlink(to, here) ? error_errno(errno, "link %s", here) : NULL;
}

static struct error *bring_file(const char *directory, const char *path) {
    scoped_string char *here = mem_printf("%s%s", directory, path);
    scoped_text struct text text = {0};
    if (!file_exists(path)) return NULL;
    TRY_PLAIN(file_read(path, FILE_BYTES_MAX, &text));
    FILE *file = fopen(here, "we");
    bool written = file && fwrite(text.data ? text.data : "", 1, text.size, file) == text.size;
    written = file && fclose(file) == 0 && written;
    return written && chmod(here, 0644) == 0 ? NULL : error_errno(errno, "write %s", here);
}

static struct error *make_etc(const char *directory) {
    static const char *const from_here[] = {
        "/etc/ld.so.cache",      "/etc/ld.so.conf",          "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem",
        "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/localtime",       "/etc/services",
        "/etc/protocols",        "/etc/mime.types",          "/etc/os-release",      "/etc/debian_version"};
    static const char *const files[][2] = {
        {"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
                        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
        {"/etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"},
        {"/etc/nsswitch.conf",
         "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"},
        {"/etc/hosts", ""},
        {"/etc/resolv.conf", ""},
    };
    for (size_t i = 0; i < COUNT(files); i++) {
        scoped_string char *path = mem_printf("%s%s", directory, files[i][0]);
        TRY_PLAIN(file_replace(path, span_of(files[i][1]), 0644));
        if (chmod(path, 0644)) return error_errno(errno, "write %s", path);
    }
    for (size_t i = 0; i < COUNT(from_here); i++) {
        const char *slash = strrchr(from_here[i], '/');
        scoped_string char *above =
            mem_printf("%s%.*s", directory, (int)(slash - from_here[i]), from_here[i]);
        if (!file_exists(from_here[i])) continue;
        TRY_PLAIN(dir_make(above, 0755));
        TRY_PLAIN(bring_file(directory, from_here[i]));
    }
    return NULL;
}

static struct error *fill(const char *directory) {
    static const char *const empty[] = {"/etc",  "/proc", "/sys", "/dev", "/var",
                                        "/home", "/mnt",  "/srv", "/run"};
    static const struct {
        const char *path;
        mode_t mode;
    } special[] = {{"/tmp", 01777}, {"/var/tmp", 01777}, {"/root", 0700}};
    for (size_t i = 0; i < COUNT(empty); i++) {
        scoped_string char *path = mem_printf("%s%s", directory, empty[i]);
        TRY_PLAIN(dir_make(path, 0755));
    }
    for (size_t i = 0; i < COUNT(special); i++) {
        scoped_string char *path = mem_printf("%s%s", directory, special[i].path);
        TRY_PLAIN(dir_make(path, 0755));
        if (chmod(path, special[i].mode)) return error_errno(errno, "make %s", path);
    }
    for (size_t i = 0; i < COUNT(tops); i++) TRY_PLAIN(bring_link(directory, tops[i]));
    char **grafts = host_grafts();
    struct error *error = NULL;
    for (char **graft = grafts; graft && *graft && !error; graft++) {
        scoped_string char *path = mem_printf("%s%s", directory, *graft);
        error = dir_make(path, 0755);
    }
    words_free(grafts);
    return error ? error : make_etc(directory);
}

/* ---- its name: what is in it ---- */

static void hash_tree(struct sha256 *sum, const char *directory) {
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        scoped_string char *path = path_join(directory, entries[i]->d_name);
        char to[PATH_MAX];
        scoped_text struct text text = {0};
        bool dots = strcmp(entries[i]->d_name, ".") == 0 || strcmp(entries[i]->d_name, "..") == 0;
        free(entries[i]);
        if (dots) continue;
        sha256_add(sum, strrchr(path, '/'), strlen(strrchr(path, '/')) + 1);
        ssize_t size = readlink(path, to, sizeof to);
        if (size > 0) {
            sha256_add(sum, to, (size_t)size);
        } else if (is_directory(path)) {
            hash_tree(sum, path);
        } else {
            error_free(file_read(path, FILE_BYTES_MAX, &text));
            sha256_add(sum, text.data ? text.data : "", text.size);
        }
    }
    if (count >= 0) free(entries);
}

/* Containers of an earlier daemon may live on an earlier one. */
static void drop_others(const char *parent, const char *kept) {
    DIR *directory = opendir(parent);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        scoped_string char *path = path_join(parent, entry->d_name);
        if (entry->d_name[0] != '.' && strcmp(path, kept) != 0) error_free(tree_remove(path));
    }
    if (directory) closedir(directory);
}

static struct error *make(const char *parent, const char *fresh, char **ret_path) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    char hex[SHA256_HEX_SIZE];
    TRY_PLAIN(dir_make(fresh, 0755));
    TRY_PLAIN(fill(fresh));
    hash_tree(sum, fresh);
    sha256_hex(sum, hex);
    hex[16] = '\0';
    scoped_string char *path = path_join(parent, hex);
    if (file_exists(path))
        TRY_PLAIN(tree_remove(fresh));
    else if (rename(fresh, path))
        return error_errno(errno, "rename %s", fresh);
    *ret_path = take(path);
    return NULL;
}

struct error *host_make(const char *parent, bool alone, char **ret_path) {
    scoped_string char *id = random_id(".new"), *fresh = path_join(parent, id);
    struct error *error = make(parent, fresh, ret_path);
    if (error) error_free(tree_remove(fresh));
    if (!error && alone) drop_others(parent, *ret_path);
    return error ? error_wrap(error, "the base of images on top of `host`") : NULL;
}
