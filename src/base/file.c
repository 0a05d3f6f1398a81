/* Files: whole and small, or trees. Every error names the path.
 *
 * file_replace is the one way in which anything durable that is no database is written: the new content is on
 * the disk before the name points to it, and the name is on the disk before the call returns. */
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct error *file_read(const char *path, size_t limit_bytes, struct text *ret_text) {
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "read %s", path);
    for (;;) {
        char *at = text_reserve(ret_text, 4096);
        ssize_t got = read(fd, at, 4096);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "read %s", path);
        ret_text->size += (size_t)got;
        ret_text->data[ret_text->size] = '\0';
        if (ret_text->size > limit_bytes)
            return error_new(ERROR_RESOURCE_EXHAUSTED, "%s is longer than %zu bytes", path, limit_bytes);
        if (got == 0) return NULL;
    }
}

static struct error *write_all(int fd, struct span bytes, const char *path) {
    while (bytes.size) {
        ssize_t put = write(fd, bytes.data, bytes.size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return error_errno(errno, "write %s", path);
        bytes = (struct span){bytes.data + put, bytes.size - (size_t)put};
    }
    return NULL;
}

struct error *file_poke(const char *path, const char *value) {
    scoped_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "write %s", path);
    ssize_t put;
    do put = write(fd, value, strlen(value));
    while (put < 0 && errno == EINTR);
    return put < 0 ? error_errno(errno, "write '%s' to %s", value, path) : NULL;
}

static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return mem_string(".");
    return slash == path ? mem_string("/") : mem_string_n(path, (size_t)(slash - path));
}

static struct error *write_beside(const char *temporary, struct span content, unsigned mode) {
    scoped_fd int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return error_errno(errno, "make %s", temporary);
    TRY_PLAIN(write_all(fd, content, temporary));
    if (fsync(fd) < 0) return error_errno(errno, "sync %s", temporary);
    return NULL;
}

struct error *file_replace(const char *path, struct span content, unsigned mode) {
    scoped_string char *suffix = random_id(".tmp");
    scoped_string char *temporary = mem_printf("%s%s", path, suffix);
    struct error *error = write_beside(temporary, content, mode);
    if (!error && rename(temporary, path) < 0) error = error_errno(errno, "rename to %s", path);
    if (error) {
        (void)unlink(temporary);
        return error;
    }
    scoped_string char *directory = directory_of(path);
    scoped_fd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) return error_errno(errno, "sync %s", directory);
    return NULL;
}

const char *dir_runtime(void) {
    const char *path = getenv("XDG_RUNTIME_DIR");
    return path && path[0] == '/' && access(path, W_OK | X_OK) == 0 ? path : NULL;
}

struct error *dir_make(const char *path, unsigned mode) {
    if (mkdir(path, mode) == 0) return NULL;
    int why = errno;
    struct stat at;
    if (why == EEXIST) {
        if (stat(path, &at) == 0 && S_ISDIR(at.st_mode)) return NULL;
        return error_errno(ENOTDIR, "make directory %s", path);
    }
    scoped_string char *parent = directory_of(path);
    if (why != ENOENT || strcmp(parent, path) == 0) return error_errno(why, "make directory %s", path);
    TRY_PLAIN(dir_make(parent, mode));
    if (mkdir(path, mode) < 0 && errno != EEXIST) return error_errno(errno, "make directory %s", path);
    return NULL;
}

/* Everything in the directory `fd` (taken), as far as it lies on `device`. Goes on after a failure, tells the
 * first. */
static struct error *empty_directory(int fd, dev_t device, const char *path);

static struct error *remove_entry(int parent, const char *name, dev_t device, const char *path) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return NULL;
    if (errno != EISDIR && errno != EPERM) return error_errno(errno, "remove %s/%s", path, name);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "remove %s/%s", path, name);
    struct stat at;
    if (fstat(fd, &at) < 0 || at.st_dev != device) {
        close(fd);
        return error_new(ERROR_FAILED_PRECONDITION, "%s/%s is a mount and was left alone", path, name);
    }
    scoped_string char *inner = path_join(path, name);
    TRY_PLAIN(empty_directory(fd, device, inner));
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return error_errno(errno, "remove %s", inner);
    return NULL;
}

static struct error *empty_directory(int fd, dev_t device, const char *path) {
    (void)fchmod(fd,
                 0700); /* overlay's work directories have mode 0; for others it fails below, with a reason */
    DIR *directory = fdopendir(fd);
    if (!directory) {
        int why = errno;
        close(fd);
        return error_errno(why, "open %s", path);
    }
    struct error *first = NULL;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        struct error *error = remove_entry(dirfd(directory), entry->d_name, device, path);
        if (first)
            error_free(error);
        else
            first = error;
    }
    closedir(directory);
    return first;
}

struct error *tree_remove(const char *path) {
    struct stat at;
    if (lstat(path, &at) < 0) return errno == ENOENT ? NULL : error_errno(errno, "remove %s", path);
    scoped_string char *parent_path = directory_of(path);
    scoped_fd int parent = open(parent_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) return error_errno(errno, "open %s", parent_path);
    const char *slash = strrchr(path, '/');
    return remove_entry(parent, slash ? slash + 1 : path, at.st_dev, parent_path);
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

char *path_join(const char *directory, const char *name) {
    size_t size = strlen(directory);
    return mem_printf("%s%s%s", directory, size && directory[size - 1] == '/' ? "" : "/", name);
}
