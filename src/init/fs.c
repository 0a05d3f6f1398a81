/* fs: what clients do with a container's files, done inside of it by its own user.
 *
 *   catnap-init fs VERB PATH deep|flat SECONDS KINDS
 * ReadFile to stdout, WriteFile from stdin, ListFiles, Stat, MakeDirectory, Remove, and Watch (fswatch.c).
 * What is told is JSON; what went wrong is one object on stderr, whose kinds are those of Modal's client (its
 * _utils/sandbox_fs_utils.py). */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES = 256 * 1024, WALK_FILES = 32 };

/* Quoted and escaped. Names are any bytes; what is no ASCII goes out as it is where it can be UTF-8. */
void fs_json(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        int more = *c >= 0xf0 && *c < 0xf5 ? 3 : *c >= 0xe0 ? 2 : *c >= 0xc2 ? 1 : 0;
        bool whole = *c < 0x80 || (more > 0 && *c < 0xf5);
        for (int i = 1; whole && *c >= 0x80 && i <= more; i++) whole = (c[i] & 0xc0) == 0x80;
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else if (*c < 0x80)
            fputc(*c, out);
        else if (!whole)
            fputs("\\ufffd", out);
        else
            for (fputc(*c, out); more > 0; more--) fputc(*++c, out);
    }
    fputc('"', out);
}

int fs_failed(int reason) {
    static const struct {
        int reason;
        const char *kind, *message;
    } known[] = {{ENOENT, "NotFound", "No such file or directory"},
                 {EISDIR, "IsDirectory", "Is a directory"},
                 {ENOTDIR, "NotDirectory", "Not a directory"},
                 {EACCES, "PermissionDenied", "Permission denied"},
                 {EPERM, "PermissionDenied", "Operation not permitted"},
                 {EROFS, "PermissionDenied", "The file system is read-only"},
                 {EEXIST, "PathAlreadyExists", "The path exists already"},
                 {ENOTEMPTY, "DirectoryNotEmpty", "The directory is not empty"}};
    const char *kind = "Other", *message = strerror(reason);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].reason == reason) kind = known[i].kind, message = known[i].message;
    fprintf(stderr, "{\"error_kind\":\"%s\",\"message\":", kind);
    fs_json(stderr, message);
    fputs("}\n", stderr);
    return 1;
}

/* ---- bytes ---- */

static int copy(int from, int to) {
    static char bytes[COPY_BYTES];
    for (;;) {
        ssize_t got = read(from, bytes, sizeof bytes);
        if (got == 0) return 0;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        for (ssize_t put = 0, done = 0; done < got; done += put) {
            put = write(to, bytes + done, (size_t)(got - done));
            if (put < 0 && errno != EINTR) return -1;
            if (put < 0) put = 0;
        }
    }
}

static int read_file(const char *path) {
    struct stat at;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &at)) return fs_failed(errno);
    if (S_ISDIR(at.st_mode)) return fs_failed(EISDIR);
    return copy(fd, STDOUT_FILENO) ? fs_failed(errno) : 0;
}

/* With all that lead to it. */
static int make_parents(const char *path) {
    char *made = strdup(path);
    struct stat at;
    int result = 0;
    for (char *slash = made + 1; result == 0 && (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (mkdir(made, 0755) && errno != EEXIST) result = -1;
        if (result == 0 && stat(made, &at) == 0 && !S_ISDIR(at.st_mode)) errno = ENOTDIR, result = -1;
        *slash = '/';
    }
    free(made);
    return result;
}

static int write_whole(const char *path) {
    if (make_parents(path)) return fs_failed(errno);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return fs_failed(errno);
    if (copy(STDIN_FILENO, fd) || close(fd)) return fs_failed(errno);
    return 0;
}

/* ---- what is there ---- */

static void tell_name(const char *key, const char *name, unsigned id) {
    char number[16];
    snprintf(number, sizeof number, "%u", id);
    printf(",\"%s\":", key);
    fs_json(stdout, name ? name : number);
}

static void tell_entry(const char *path, const char *name, const struct stat *at) {
    char bits[11] = "-rwxrwxrwx", target[4096];
    bool link = S_ISLNK(at->st_mode), directory = S_ISDIR(at->st_mode);
    bits[0] = directory ? 'd' : link ? 'l' : '-';
    for (int i = 0; i < 9; i++)
        if (!(at->st_mode & (0400u >> i))) bits[i + 1] = '-';
    /* A static program knows users by the file alone, which is what an image has. */
    FILE *users = fopen("/etc/passwd", "re"), *groups = fopen("/etc/group", "re");
    struct passwd *user = NULL;
    struct group *group = NULL;
    while (users && (user = fgetpwent(users)) && user->pw_uid != at->st_uid) {
    }
    printf("{\"name\":");
    fs_json(stdout, name);
    printf(",\"path\":");
    fs_json(stdout, path);
    printf(",\"type\":\"%s\",\"size\":%lld,\"mode\":%u,\"permissions\":\"%s\"",
           directory ? "directory"
           : link    ? "symlink"
                     : "file",
           (long long)at->st_size, at->st_mode & 07777, bits);
    printf(",\"modified_time\":%lld.%09ld", (long long)at->st_mtim.tv_sec, at->st_mtim.tv_nsec);
    tell_name("owner", user ? user->pw_name : NULL, at->st_uid);
    while (groups && (group = fgetgrent(groups)) && group->gr_gid != at->st_gid) {
    }
    tell_name("group", group ? group->gr_name : NULL, at->st_gid);
    ssize_t size = link ? readlink(path, target, sizeof target - 1) : -1;
    if (size >= 0) {
        target[size] = '\0';
        printf(",\"symlink_target\":");
        fs_json(stdout, target);
    }
    putchar('}');
    if (users) fclose(users);
    if (groups) fclose(groups);
}

static int stat_it(const char *path) {
    struct stat at;
    if (lstat(path, &at)) return fs_failed(errno);
    const char *slash = strrchr(path, '/');
    tell_entry(path, slash && slash[1] ? slash + 1 : path, &at);
    return fflush(stdout) ? fs_failed(errno) : 0;
}

static int list(const char *path) {
    DIR *directory = opendir(path);
    if (!directory) return fs_failed(errno);
    bool any = false;
    putchar('[');
    for (struct dirent *entry; (entry = readdir(directory));) {
        char inside[4096];
        struct stat at;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inside, sizeof inside, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/",
                 entry->d_name);
        if (lstat(inside, &at)) continue; /* gone meanwhile */
        if (any) putchar(',');
        tell_entry(inside, entry->d_name, &at);
        any = true;
    }
    putchar(']');
    closedir(directory);
    return fflush(stdout) ? fs_failed(errno) : 0;
}

/* ---- changes ---- */

static int make_directory(const char *path, bool parents) {
    struct stat at;
    if (parents && make_parents(path)) return fs_failed(errno);
    if (mkdir(path, 0755) == 0) return 0;
    int reason = errno;
    if (parents && reason == EEXIST && stat(path, &at) == 0 && S_ISDIR(at.st_mode)) return 0;
    return fs_failed(reason);
}

static int remove_one(const char *path, const struct stat *at, int kind, struct FTW *where) {
    (void)at, (void)where;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

static int remove_it(const char *path, bool deep) {
    struct stat at;
    if (lstat(path, &at)) return fs_failed(errno);
    if (!S_ISDIR(at.st_mode)) return unlink(path) ? fs_failed(errno) : 0;
    int result = deep ? nftw(path, remove_one, WALK_FILES, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) : rmdir(path);
    return result ? fs_failed(errno == EEXIST ? ENOTEMPTY : errno) : 0;
}

int fs_main(int argc, char **argv) {
    if (argc < 6 || argv[2][0] != '/') return fs_failed(EINVAL);
    const char *verb = argv[1], *path = argv[2];
    bool deep = strcmp(argv[3], "deep") == 0;
    if (strcmp(verb, "ReadFile") == 0) return read_file(path);
    if (strcmp(verb, "WriteFile") == 0) return write_whole(path);
    if (strcmp(verb, "ListFiles") == 0) return list(path);
    if (strcmp(verb, "Stat") == 0) return stat_it(path);
    if (strcmp(verb, "MakeDirectory") == 0) return make_directory(path, deep);
    if (strcmp(verb, "Remove") == 0) return remove_it(path, deep);
    if (strcmp(verb, "Watch") == 0) return fs_watch(path, deep, strtoll(argv[4], NULL, 10), argv[5]);
    return fs_failed(ENOSYS);
}
