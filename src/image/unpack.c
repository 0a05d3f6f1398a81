/* From a tar to a directory.
 *
 * The archive is hostile until proven otherwise. Every parent directory is opened by openat2(2) with the
 * directory as its root, so that neither "..", nor a symlink, absolute or not, leads out; the last part of a
 * name is never followed. What would change how overlay reads a layer (its own attributes, devices 0:0 that
 * are no whiteouts of ours) is dropped, device nodes are left out. Owners, modes with setuid, times, hard
 * links and file capabilities are as the archive says. Whiteouts: OCI image-spec, layer.md; what they become:
 * the kernel's overlayfs.rst. */
#include "unpack.h"

#include "inflow.h"
#include "within.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { ENTRIES_MAX = 5000000 };
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

struct directory_time {
    char *path;
    struct timespec times[2];
};
struct unpack {
    const struct unpack_options *options;
    struct unpack_stats *stats;
    struct within *root;
    struct archive *archive;
    struct directory_time *directories; /* set last: what is made in them changes them */
    size_t directory_count, directory_capacity;
};

/* ---- one entry's attributes ---- */

static void times_of(struct archive_entry *entry, struct timespec times[2]) {
    times[1] = (struct timespec){archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
    times[0] = times[1];
}

/* Only what means the same in a container: capabilities and the user's own; never overlay's. */
static bool attribute_kept(const char *name) {
    if (strcmp(name, "security.capability") == 0) return true;
    return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
}

/* A file system without them (tmpfs and user.*) is no reason to fail. */
static void attributes_set(int fd, struct archive_entry *entry) {
    const char *name;
    const void *value;
    size_t size;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
        if (name && attribute_kept(name)) (void)fsetxattr(fd, name, value, size, 0);
}

/* The owner before the mode and the capabilities: changing it takes setuid and them away. EINVAL: in a user
 * namespace that has no such user; the file stays root's. */
static int finish_fd(int fd, struct archive_entry *entry) {
    struct timespec times[2];
    times_of(entry, times);
    if (fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) && errno != EINVAL)
        return -1;
    if (fchmod(fd, archive_entry_perm(entry) & 07777)) return -1;
    attributes_set(fd, entry);
    return futimens(fd, times);
}

static int finish_link(int parent, const char *name, struct archive_entry *entry) {
    struct timespec times[2];
    times_of(entry, times);
    if (fchownat(parent, name, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry),
                 AT_SYMLINK_NOFOLLOW) &&
        errno != EINVAL)
        return -1;
    return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
}

/* ---- the kinds of entries ---- */

static struct error *write_data(struct unpack *unpack, int fd) {
    for (;;) {
        const void *data;
        size_t size;
        la_int64_t offset;
        int result = archive_read_data_block(unpack->archive, &data, &size, &offset);
        if (result == ARCHIVE_EOF) return NULL;
        if (result < ARCHIVE_WARN) return BAD("the tar is broken: %s", archive_error_string(unpack->archive));
        if (unpack->options->cancelled && atomic_load(unpack->options->cancelled))
            return error_new(ERROR_CANCELLED, "cancelled");
        unpack->stats->bytes += size;
        if (unpack->options->limit_bytes && unpack->stats->bytes > unpack->options->limit_bytes)
            return error_new(ERROR_RESOURCE_EXHAUSTED,
                             "it is larger than the %llu MB that images may still take",
                             (unsigned long long)(unpack->options->limit_bytes >> 20));
        while (size > 0) {
            ssize_t put = pwrite(fd, data, size, offset);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) return error_errno(errno, "write");
            data = (const char *)data + put, size -= (size_t)put, offset += put;
        }
    }
}

static struct error *make_file(struct unpack *unpack, int parent, const char *name,
                               struct archive_entry *entry) {
    scoped_fd int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return error_errno(errno, "make it");
    TRY_PLAIN(write_data(unpack, fd));
    la_int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
    struct stat at; /* a sparse file's last hole */
    if (size > 0 && fstat(fd, &at) == 0 && at.st_size < size && ftruncate(fd, size))
        return error_errno(errno, "make it that long");
    return finish_fd(fd, entry) ? error_errno(errno, "set its owner and mode") : NULL;
}

/* There already: it stays and takes the new attributes. Over a whiteout of this layer: what lies below stays
 * hidden. */
static struct error *make_directory(struct unpack *unpack, int parent, const char *name,
                                    struct archive_entry *entry, const char *path) {
    bool hides = false;
    if (mkdirat(parent, name, 0700)) {
        struct stat at;
        if (errno != EEXIST) return error_errno(errno, "make it");
        if (fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW)) return error_errno(errno, "look at it");
        if (!S_ISDIR(at.st_mode)) {
            hides = within_is_whiteout(&at);
            if (unlinkat(parent, name, 0) || mkdirat(parent, name, 0700))
                return error_errno(errno, "make it");
        }
    }
    scoped_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "open it");
    if (hides && within_make_opaque(fd)) return error_errno(errno, "hide what lies below it");
    if (finish_fd(fd, entry)) return error_errno(errno, "set its owner and mode");
    if (unpack->directory_count == unpack->directory_capacity) {
        unpack->directory_capacity = unpack->directory_capacity ? unpack->directory_capacity * 2 : 256;
        unpack->directories =
            mem_grow(unpack->directories, unpack->directory_capacity, sizeof *unpack->directories);
    }
    struct directory_time *time = &unpack->directories[unpack->directory_count++];
    time->path = mem_string(path);
    times_of(entry, time->times);
    return NULL;
}

static struct error *make_way(const struct unpack *unpack, int parent, const char *name);

static struct error *make_hard_link(struct unpack *unpack, int parent, const char *name, const char *to,
                                    const char *path) {
    scoped_string char *clean = NULL;
    TRY(within_clean(to, &clean), "its target");
    int to_parent;
    const char *to_name;
    if (!*clean) return BAD("it is a link to the whole");
    if (strcmp(clean, path) == 0) return NULL;
    TRY(within_parent(unpack->root, clean, false, &to_parent, &to_name), "its target %.200s", to);
    struct stat at;
    if (fstatat(to_parent, to_name, &at, AT_SYMLINK_NOFOLLOW))
        return error_errno(errno, "its target %.200s", to);
    if (S_ISDIR(at.st_mode)) return BAD("its target %.200s is a directory", to);
    TRY_PLAIN(make_way(unpack, parent, name));
    return linkat(to_parent, to_name, parent, name, 0) ? error_errno(errno, "link it to %.200s", to) : NULL;
}

static struct error *make_symlink(int parent, const char *name, struct archive_entry *entry) {
    const char *to = archive_entry_symlink(entry);
    if (!to) to = archive_entry_symlink_utf8(entry);
    if (!to || !*to) return BAD("a symlink to nothing");
    if (symlinkat(to, parent, name)) return error_errno(errno, "make the link");
    return finish_link(parent, name, entry) ? error_errno(errno, "set its owner") : NULL;
}

static struct error *make_fifo(int parent, const char *name, struct archive_entry *entry) {
    if (mknodat(parent, name, S_IFIFO | (archive_entry_perm(entry) & 0777), 0))
        return error_errno(errno, "make the fifo");
    return finish_link(parent, name, entry) ? error_errno(errno, "set its owner") : NULL;
}

/* ---- whiteouts ---- */

#define MARK ".wh."
#define MARK_OPAQUE ".wh..wh..opq"

/* What this layer itself has there stays: marks hide only what lies below. */
static struct error *whiteout(int parent, const char *name) {
    struct stat at;
    if (strcmp(name, MARK_OPAQUE) == 0) {
        scoped_fd int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || within_make_opaque(fd) ? error_errno(errno, "hide what lies below") : NULL;
    }
    const char *hidden = name + strlen(MARK);
    if (strncmp(hidden, MARK, strlen(MARK)) == 0) return NULL; /* another driver's bookkeeping */
    if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return BAD("a whiteout of no name");
    if (fstatat(parent, hidden, &at, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISDIR(at.st_mode)) return NULL;
        scoped_fd int fd = openat(parent, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 || within_make_opaque(fd) ? error_errno(errno, "hide what lies below it") : NULL;
    }
    return within_make_whiteout(parent, hidden) ? error_errno(errno, "mark it as gone") : NULL;
}

/* ---- the archive ---- */

static const char *path_of(struct archive_entry *entry) {
    const char *path = archive_entry_pathname(entry);
    return path ? path : archive_entry_pathname_utf8(entry);
}

static const char *hard_link_of(struct archive_entry *entry) {
    const char *path = archive_entry_hardlink(entry);
    return path ? path : archive_entry_hardlink_utf8(entry);
}

/* What is replaced: everything but a directory by a directory. */
static struct error *make_way(const struct unpack *unpack, int parent, const char *name) {
    struct stat at;
    if (fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? NULL : error_errno(errno, "look at it");
    if (S_ISDIR(at.st_mode) || S_ISLNK(at.st_mode)) within_forget(unpack->root);
    if (!S_ISDIR(at.st_mode)) return unlinkat(parent, name, 0) ? error_errno(errno, "replace it") : NULL;
    scoped_string char *whole = mem_printf("/proc/self/fd/%d/%s", parent, name);
    return tree_remove(whole);
}

static struct error *root_entry(struct unpack *unpack, struct archive_entry *entry) {
    if (archive_entry_filetype(entry) != AE_IFDIR) return NULL;
    scoped_fd int fd = openat(within_fd(unpack->root), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || finish_fd(fd, entry) ? error_errno(errno, "set the owner and mode of the root") : NULL;
}

static struct error *one(struct unpack *unpack, struct archive_entry *entry, const char *path) {
    int parent;
    const char *name, *hard_link = hard_link_of(entry);
    TRY_PLAIN(within_parent(unpack->root, path, true, &parent, &name));
    if (unpack->options->whiteouts && strncmp(name, MARK, strlen(MARK)) == 0) return whiteout(parent, name);
    unsigned kind = archive_entry_filetype(entry);
    if (!hard_link && kind == AE_IFDIR) return make_directory(unpack, parent, name, entry, path);
    if (!hard_link && (kind == AE_IFCHR || kind == AE_IFBLK)) {
        unpack->stats->devices++;
        return NULL;
    }
    if (hard_link) return make_hard_link(unpack, parent, name, hard_link, path);
    TRY_PLAIN(make_way(unpack, parent, name));
    switch (kind) {
    case AE_IFREG: return make_file(unpack, parent, name, entry);
    case AE_IFLNK: return make_symlink(parent, name, entry);
    case AE_IFIFO: return make_fifo(parent, name, entry);
    default: return NULL; /* a socket is nothing without its process */
    }
}

static struct error *every(struct unpack *unpack) {
    struct archive_entry *entry;
    for (;;) {
        int result = archive_read_next_header(unpack->archive, &entry);
        if (result == ARCHIVE_EOF) return NULL;
        if (result == ARCHIVE_RETRY) continue;
        if (result < ARCHIVE_WARN) return BAD("the tar is broken: %s", archive_error_string(unpack->archive));
        if (unpack->options->cancelled && atomic_load(unpack->options->cancelled))
            return error_new(ERROR_CANCELLED, "cancelled");
        if (++unpack->stats->entries > ENTRIES_MAX)
            return BAD("the tar has more than %d entries", ENTRIES_MAX);
        const char *given = path_of(entry);
        scoped_string char *path = NULL;
        if (!given)
            return BAD("entry %llu of the tar has no name", (unsigned long long)unpack->stats->entries);
        TRY_PLAIN(within_clean(given, &path));
        if (*path)
            TRY(one(unpack, entry, path), "'%.200s' in the tar", given);
        else
            TRY_PLAIN(root_entry(unpack, entry));
    }
}

static void times_set(struct unpack *unpack) {
    for (size_t i = unpack->directory_count; i-- > 0;) {
        int parent;
        const char *name;
        scoped(error) struct error *error =
            within_parent(unpack->root, unpack->directories[i].path, false, &parent, &name);
        if (!error) (void)utimensat(parent, name, unpack->directories[i].times, AT_SYMLINK_NOFOLLOW);
        free(unpack->directories[i].path);
    }
    free(unpack->directories);
}

struct feed {
    struct inflow *inflow;
    struct error *error; /* of the stream: libarchive's own words about it would be poorer */
};

static la_ssize_t on_read(struct archive *archive, void *owner, const void **ret_data) {
    struct feed *feed = owner;
    struct span piece;
    if (!feed->error) feed->error = inflow_next(feed->inflow, &piece);
    if (feed->error) {
        archive_set_error(archive, EIO, "the stream is broken");
        return ARCHIVE_FATAL;
    }
    *ret_data = piece.data;
    return (la_ssize_t)piece.size;
}

static struct error *read_all(struct unpack *unpack, struct feed *feed) {
    struct archive *archive = unpack->archive = archive_read_new();
    archive_read_support_format_tar(archive);
    archive_read_support_format_empty(archive);
    struct error *error = NULL;
    if (archive_read_open(archive, feed, NULL, on_read, NULL) != ARCHIVE_OK)
        error = BAD("it is no tar: %s", archive_error_string(archive));
    if (!error) error = every(unpack);
    archive_read_free(archive);
    if (!feed->error) return error;
    error_free(error);
    return take(feed->error);
}

/* Names in a tar are UTF-8 or bytes without a meaning; in the C locale libarchive would hand out neither. */
static struct error *in_utf8(struct unpack *unpack, struct feed *feed) {
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = (locale_t)0;
    if (utf8) before = uselocale(utf8);
    struct error *error = read_all(unpack, feed);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return error;
}

struct error *unpack_file(int fd, const char *directory, const struct unpack_options *options,
                          struct unpack_stats *ret_stats, char ret_sum[SHA256_HEX_SIZE]) {
    scoped(within) struct within *root = NULL;
    scoped(inflow) struct inflow *inflow = NULL;
    *ret_stats = (struct unpack_stats){0};
    TRY_PLAIN(within_open(directory, &root));
    TRY_PLAIN(inflow_open(fd, &inflow));
    struct unpack unpack = {.options = options, .stats = ret_stats, .root = root};
    struct feed feed = {.inflow = inflow};
    struct error *error = in_utf8(&unpack, &feed);
    times_set(&unpack);
    return error ? error : inflow_end(inflow, ret_sum);
}

bool unpack_is_tar(int fd) {
    struct archive_entry *entry;
    struct archive *archive = archive_read_new();
    archive_read_support_filter_gzip(archive), archive_read_support_filter_zstd(archive);
    archive_read_support_filter_xz(archive), archive_read_support_filter_bzip2(archive);
    archive_read_support_format_tar(archive);
    bool is = archive_read_open_fd(archive, fd, 64 * 1024) == ARCHIVE_OK &&
              archive_read_next_header(archive, &entry) == ARCHIVE_OK;
    archive_read_free(archive);
    return is;
}
