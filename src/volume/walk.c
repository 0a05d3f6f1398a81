/* From the live tree to a version.
 *
 * A file is read only if it is not known from the last commit: same size, times and inode, and not so young
 * then that it could have been written once more within the same tick of the clock. Every step goes from a
 * descriptor to a name in it, never through a link, and a file is looked at before it is opened for reading,
 * so that no device is. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRIES 3 /* to read a file while it stands still; then it is taken as it comes, like any copy */
#define TICK_NS INT64_C(100000000) /* file systems' clocks are a tick of the kernel coarse: 10 ms at most */
#define SECOND_NS INT64_C(1000000000)

struct walk {
    const struct tree *base;
    struct batch *batch;
    struct tree *made;
    struct walk_told *told;
    struct text path; /* of what is looked at */
    dev_t device;
    size_t depth;
};

static void skip(struct walk *walk) {
    if (walk->told->skipped_count++ == 0) walk->told->skipped = span_string(text_span(&walk->path));
}

static void fill(struct entry *entry, const struct stat *at) {
    entry->mode = at->st_mode & 07777;
    entry->mtime_ns = stat_mtime_ns(at);
    entry->ctime_ns = stat_ctime_ns(at);
    entry->inode = at->st_ino;
}

static bool same(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_size == b->st_size && stat_mtime_ns(a) == stat_mtime_ns(b) &&
           stat_ctime_ns(a) == stat_ctime_ns(b);
}

static bool known(const struct entry *entry, const struct stat *at) {
    return entry && entry->kind == ENTRY_FILE && entry->settled && entry->inode == at->st_ino &&
           entry->size_bytes == (uint64_t)at->st_size && entry->mtime_ns == stat_mtime_ns(at) &&
           entry->ctime_ns == stat_ctime_ns(at);
}

/* Whether a write after `now` would show in the times. Some file systems have whole seconds only. */
static bool is_settled(const struct stat *at, int64_t now_ns) {
    int64_t changed = stat_ctime_ns(at);
    int64_t slack = changed % SECOND_NS == 0 ? 2 * SECOND_NS : TICK_NS;
    return changed + slack < now_ns;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* The entry's digest; in `size` what was read. One that was there before is but hashed, in the hope that it
 * is the same still. */
static struct error *read_once(struct walk *walk, int fd, const struct entry *before, const struct stat *at,
                               char digest[SHA256_HEX_SIZE], uint64_t *ret_size) {
    uint64_t size = (uint64_t)at->st_size;
    /* Pages that a program has mapped and written count as changed once only until they are written back. */
    (void)sync_file_range(fd, 0, 0,
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    walk->told->read_count++;
    if (before && before->kind == ENTRY_FILE && before->size_bytes == size) {
        *ret_size = size;
        TRY_PLAIN(file_hash(fd, size, walk->batch->cancel, digest));
        if (strcmp(digest, before->digest) == 0) return NULL;
    }
    return content_copy(walk->batch, fd, size, digest, ret_size);
}

static struct error *read_file(struct walk *walk, int fd, struct entry *entry, const struct entry *before) {
    char digest[SHA256_HEX_SIZE];
    struct stat at, after;
    bool still = false;
    int64_t now = 0;
    for (int i = 0; i < TRIES && !still; i++) {
        if (fstat(fd, &at) != 0) return error_errno(errno, "look at %s", entry->path);
        if ((uint64_t)at.st_size > VOLUME_FILE_BYTES_MAX)
            return error_new(ERROR_RESOURCE_EXHAUSTED, "%s has %lld bytes; a file may have %llu", entry->path,
                             (long long)at.st_size, (unsigned long long)VOLUME_FILE_BYTES_MAX);
        now = now_ns();
        TRY(read_once(walk, fd, before, &at, digest, &entry->size_bytes), "%s", entry->path);
        if (fstat(fd, &after) != 0) return error_errno(errno, "look at %s", entry->path);
        still = same(&at, &after);
    }
    walk->told->torn_count += !still;
    fill(entry, &at);
    entry->settled = still && is_settled(&at, now);
    entry->digest = digest;
    tree_add(walk->made, entry);
    return NULL;
}

/* `at` is an O_PATH descriptor: what is opened through it is what was looked at. */
static struct error *take_file(struct walk *walk, int parent, const char *name, struct entry *entry) {
    scoped_fd int at = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat now;
    if (at < 0 || fstat(at, &now) != 0 || !S_ISREG(now.st_mode)) return NULL; /* it went; others will come */
    const struct entry *before = tree_get(walk->base, span_of(entry->path));
    if (known(before, &now)) {
        fill(entry, &now);
        entry->size_bytes = before->size_bytes;
        entry->digest = before->digest;
        entry->settled = true;
        tree_add(walk->made, entry);
        return NULL;
    }
    char reopen[32];
    snprintf(reopen, sizeof reopen, "/proc/self/fd/%d", at);
    scoped_fd int fd = open(reopen, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "read %s", entry->path);
    return read_file(walk, fd, entry, before);
}

static void take_link(struct walk *walk, int parent, const char *name, struct entry *entry) {
    char target[PATH_BYTES_MAX + 1];
    ssize_t size = readlinkat(parent, name, target, sizeof target - 1);
    if (size <= 0) return;
    target[size] = '\0';
    entry->kind = ENTRY_LINK;
    entry->mode = 0777;
    entry->target = target;
    entry->size_bytes = (uint64_t)size;
    tree_add(walk->made, entry);
}

static struct error *take_directory(struct walk *walk, int taken_fd, const char *path);

static struct error *take_below(struct walk *walk, int parent, const char *name, struct entry *entry) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) return NULL;
    if (fd < 0) return error_errno(errno, "read %s", entry->path);
    struct stat at;
    if (fstat(fd, &at) != 0 || at.st_dev != walk->device) {
        close(fd);
        skip(walk); /* a mount of this machine within the tree is not of the volume */
        return NULL;
    }
    entry->kind = ENTRY_DIRECTORY;
    fill(entry, &at);
    entry->size_bytes = 0;
    tree_add(walk->made, entry);
    return take_directory(walk, fd, entry->path);
}

static struct error *take_entry(struct walk *walk, int parent, const char *name) {
    TRY_PLAIN(cancel_check(walk->batch->cancel));
    if (walk->made->count >= VOLUME_FILES_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %d files; at most these fit a volume",
                         VOLUME_FILES_MAX);
    if (walk->path.size > PATH_BYTES_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%.80s...: a path longer than %d bytes", walk->path.data,
                         PATH_BYTES_MAX);
    struct stat at;
    if (fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW) != 0) return NULL; /* gone meanwhile */
    scoped_string char *path = span_string(text_span(&walk->path));
    struct entry entry = {.path = path, .kind = ENTRY_FILE};
    fill(&entry, &at);
    if (S_ISREG(at.st_mode)) return take_file(walk, parent, name, &entry);
    if (S_ISDIR(at.st_mode)) return take_below(walk, parent, name, &entry);
    if (S_ISLNK(at.st_mode))
        take_link(walk, parent, name, &entry);
    else
        skip(walk);
    return NULL;
}

/* Takes the descriptor. */
static struct error *take_directory(struct walk *walk, int taken_fd, const char *path) {
    DIR *directory = fdopendir(taken_fd);
    if (!directory) {
        int why = errno;
        close(taken_fd);
        return error_errno(why, "read %s", path);
    }
    struct error *error = NULL;
    if (++walk->depth > DEPTH_MAX)
        error =
            error_new(ERROR_RESOURCE_EXHAUSTED, "%.80s...: directories more than %d deep", path, DEPTH_MAX);
    size_t size = walk->path.size;
    while (!error) {
        errno = 0;
        struct dirent *next = readdir(directory);
        if (!next) {
            if (errno) error = error_errno(errno, "read %s", path);
            break;
        }
        if (strcmp(next->d_name, ".") == 0 || strcmp(next->d_name, "..") == 0) continue;
        walk->path.size = size;
        if (size) text_add_char(&walk->path, '/');
        text_add_string(&walk->path, next->d_name);
        error = take_entry(walk, dirfd(directory), next->d_name);
    }
    walk->path.size = size;
    walk->depth--;
    closedir(directory);
    return error;
}

struct error *walk_tree(int root, const struct tree *base, struct batch *batch, struct tree **ret_tree,
                        struct walk_told *told) {
    scoped(tree) struct tree *made = tree_new();
    struct walk walk = {.base = base, .batch = batch, .made = made, .told = told};
    struct stat at;
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &at) != 0) {
        if (fd >= 0) close(fd);
        return error_errno(errno, "read the live tree");
    }
    walk.device = at.st_dev;
    struct error *error = take_directory(&walk, fd, "");
    text_done(&walk.path);
    if (error) return error;
    tree_sort(made);
    *ret_tree = take(made);
    return NULL;
}
