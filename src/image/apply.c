/* apply: what was gathered goes into a draft's upper, at the place where the image so far would have it.
 *
 * Nothing is mounted: directories of the image are looked up in its layers (a link to a directory is
 * followed, inside), and what is written below one of them gets the directory itself with it, with owner and
 * mode as they were, as overlay's copy-up would do. */
#include "copy.h"

#include "config.h"
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum { PASSWD_BYTES_MAX = 1 << 20, PIECE = 1 << 20 };
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

struct apply {
    struct copy *copy;
    struct tree onto;
    struct within *within; /* the draft's upper */
    const char *upper;
    struct map *actual; /* relative directory -> its place in the image, owned */
    bool owner_set, mode_set;
    uid_t uid;
    gid_t gid;
    unsigned mode;
};

/* ---- owners ---- */

/* The fields of the line in a file like /etc/passwd whose field `key` is `wanted`. */
static bool line_of(const struct tree *tree, const char *path, unsigned key, const char *wanted,
                    unsigned *ret_first, unsigned *ret_second) {
    scoped_text struct text text = {0};
    scoped(error) struct error *error = overlay_read(tree, path, PASSWD_BYTES_MAX, &text);
    struct span rest = text_span(&text);
    while (!error && rest.data) {
        struct span line = span_cut(&rest, '\n'), fields[4];
        for (size_t i = 0; i < COUNT(fields); i++) fields[i] = span_cut(&line, ':');
        uint64_t first = 0, second = 0;
        if (!fields[key].data || !span_is(fields[key], wanted) || !span_to_u64(fields[2], &first)) continue;
        (void)span_to_u64(fields[3], &second);
        *ret_first = (unsigned)first, *ret_second = (unsigned)second;
        return true;
    }
    return false;
}

struct error *copy_owner(const struct tree *tree, const char *text, uid_t *ret_uid, gid_t *ret_gid) {
    struct span rest = span_of(text), user = span_cut(&rest, ':');
    scoped_string char *user_text = span_string(user);
    uint64_t number;
    unsigned first = 0, second = 0;
    if (span_to_u64(user, &number) && number < UINT32_MAX) {
        *ret_uid = (uid_t)number;
        *ret_gid = line_of(tree, "etc/passwd", 2, user_text, &first, &second) ? (gid_t)second : (gid_t)number;
    } else if (line_of(tree, "etc/passwd", 0, user_text, &first, &second)) {
        *ret_uid = (uid_t)first, *ret_gid = (gid_t)second;
    } else {
        return error_new(ERROR_NOT_FOUND, "the image's /etc/passwd has no user '%s'", user_text);
    }
    if (!rest.data) return NULL;
    scoped_string char *group = span_string(rest);
    if (span_to_u64(rest, &number) && number < UINT32_MAX)
        *ret_gid = (gid_t)number;
    else if (line_of(tree, "etc/group", 0, group, &first, &second))
        *ret_gid = (gid_t)first;
    else
        return error_new(ERROR_NOT_FOUND, "the image's /etc/group has no group '%s'", group);
    return NULL;
}

/* ---- directories ---- */

static int dress(int fd, uid_t uid, gid_t gid, unsigned mode) {
    return fchown(fd, uid, gid) || fchmod(fd, mode) ? -1 : 0;
}

/* `clean` in the upper, with all above it; `uid`, `gid` are those of directories that the image does not
 * have. */
static struct error *directory_ensure(struct apply *apply, const char *clean, uid_t uid, gid_t gid) {
    if (!*clean) return NULL;
    const char *slash = strrchr(clean, '/');
    scoped_string char *above = mem_string_n(clean, slash ? (size_t)(slash - clean) : 0);
    struct stat at;
    int parent;
    const char *name;
    scoped_string char *here = mem_printf("%s/%s", apply->upper, clean);
    if (lstat(here, &at) == 0 && S_ISDIR(at.st_mode)) return NULL;
    TRY_PLAIN(directory_ensure(apply, above, uid, gid));
    TRY_PLAIN(within_parent(apply->within, clean, false, &parent, &name));
    if (mkdirat(parent, name, 0700)) return error_errno(errno, "make directory /%s", clean);
    scoped_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct tree_node node;
    overlay_look(&apply->onto, clean, &node);
    bool known = node.kind == TREE_DIRECTORY, other = node.kind != TREE_DIRECTORY && node.kind != TREE_ABSENT;
    struct stat lower = node.at;
    overlay_node_done(&node);
    if (other) return BAD("/%s is no directory in the image", clean);
    int failed = fd < 0 || dress(fd, known ? lower.st_uid : uid, known ? lower.st_gid : gid,
                                 known ? lower.st_mode & 07777 : 0755);
    if (!failed && known) {
        struct timespec times[2] = {lower.st_atim, lower.st_mtim};
        (void)futimens(fd, times);
    }
    return failed ? error_errno(errno, "make directory /%s", clean) : NULL;
}

/* Where a name in the image really lies when it is a link to a directory. */
static struct error *follow(struct apply *apply, char **clean) {
    struct tree_node node;
    overlay_look(&apply->onto, *clean, &node);
    bool link = node.kind == TREE_LINK;
    overlay_node_done(&node);
    if (!link) return NULL;
    char *real;
    TRY_PLAIN(overlay_resolve(&apply->onto, *clean, &real));
    free(*clean);
    *clean = real;
    return NULL;
}

/* ---- files ---- */

static struct error *write_all(int fd, struct span bytes) {
    while (bytes.size > 0) {
        ssize_t put = write(fd, bytes.data, bytes.size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return error_errno(errno, "write");
        bytes = (struct span){bytes.data + put, bytes.size - (size_t)put};
    }
    return NULL;
}

/* Shared blocks where the file system can, else the kernel copies, else we do. */
static struct error *copy_content(const char *from, int to) {
    scoped_fd int fd = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "read %s", from);
    if (ioctl(to, FICLONE, fd) == 0) return NULL;
    ssize_t got;
    while ((got = copy_file_range(fd, NULL, to, NULL, 1 << 30, 0)) > 0) {
    }
    if (got == 0) return NULL;
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
        return error_errno(errno, "copy %s", from);
    scoped_text struct text piece = {0};
    for (;;) {
        got = read(fd, text_reserve(&piece, PIECE), PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "read %s", from);
        if (got == 0) return NULL;
        TRY_PLAIN(write_all(to, (struct span){piece.data, (size_t)got}));
    }
}

static void owner_of(const struct apply *apply, const struct copy_item *item, uid_t *ret_uid,
                     gid_t *ret_gid) {
    *ret_uid = apply->owner_set ? apply->uid : item->uid;
    *ret_gid = apply->owner_set ? apply->gid : item->gid;
}

static struct error *make_file(struct apply *apply, const struct copy_item *item, int parent,
                               const char *name) {
    scoped_fd int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    uid_t uid;
    gid_t gid;
    if (fd < 0) return error_errno(errno, "make it");
    TRY_PLAIN(item->file ? copy_content(item->file, fd) : write_all(fd, span_of(apply->copy->text)));
    owner_of(apply, item, &uid, &gid);
    struct timespec times[2] = {item->mtime, item->mtime};
    if (dress(fd, uid, gid, apply->mode_set ? apply->mode : item->mode) || futimens(fd, times))
        return error_errno(errno, "set its owner and mode");
    return NULL;
}

static struct error *make_link(struct apply *apply, const struct copy_item *item, int parent,
                               const char *name) {
    uid_t uid;
    gid_t gid;
    owner_of(apply, item, &uid, &gid);
    struct timespec times[2] = {item->mtime, item->mtime};
    if (symlinkat(item->link, parent, name) || fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW))
        return error_errno(errno, "make the link");
    (void)utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
    return NULL;
}

static bool unpacks(const struct copy *copy, const struct copy_item *item) {
    if (!copy->add || item->kind != ITEM_FILE || item->fetched || !item->file) return false;
    scoped_fd int fd = open(item->file, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && unpack_is_tar(fd);
}

/* ADD of an archive: its files, instead of it. */
static struct error *unpack_here(struct apply *apply, const struct copy_item *item, const char *base) {
    scoped_fd int fd = open(item->file, O_RDONLY | O_CLOEXEC);
    struct unpack_options options = {.cancelled = apply->copy->cancelled};
    struct unpack_stats stats;
    char sum[SHA256_HEX_SIZE];
    if (fd < 0) return error_errno(errno, "open it");
    TRY_PLAIN(directory_ensure(apply, base, 0, 0));
    scoped_string char *directory = mem_printf("%s/%s", apply->upper, base);
    return unpack_file(fd, directory, &options, &stats, sum);
}

/* ---- items ---- */

static const char *place_of(const struct apply *apply, const char *relative) {
    return map_get(apply->actual, span_of(relative));
}

static char *item_place(struct apply *apply, const struct copy_item *item, const char *base) {
    if (!*item->relative) return mem_string(base);
    const char *slash = strrchr(item->relative, '/');
    scoped_string char *above = mem_string_n(item->relative, slash ? (size_t)(slash - item->relative) : 0);
    const char *known = *above ? place_of(apply, above) : base;
    scoped_string char *directory =
        known ? mem_string(known) : mem_printf("%s%s%s", base, *base ? "/" : "", above);
    return mem_printf("%s%s%s", directory, *directory ? "/" : "", slash ? slash + 1 : item->relative);
}

static struct error *directory_apply(struct apply *apply, const struct copy_item *item, char **place) {
    uid_t uid;
    gid_t gid;
    owner_of(apply, item, &uid, &gid);
    TRY_PLAIN(follow(apply, place));
    struct tree_node node;
    overlay_look(&apply->onto, *place, &node);
    bool fresh = node.kind == TREE_ABSENT;
    overlay_node_done(&node);
    scoped_string char *here = mem_printf("%s/%s", apply->upper, *place);
    bool made = file_exists(here);
    TRY_PLAIN(directory_ensure(apply, *place, uid, gid));
    free(map_put(apply->actual, span_of(item->relative), mem_string(*place)));
    if (!fresh || made) return NULL;
    scoped_fd int fd = open(here, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 || dress(fd, uid, gid, item->mode) ? error_errno(errno, "set its owner and mode") : NULL;
}

static struct error *file_apply(struct apply *apply, const struct copy_item *item, const char *place) {
    struct tree_node node;
    int parent;
    const char *name;
    struct stat at;
    overlay_look(&apply->onto, place, &node);
    bool directory = node.kind == TREE_DIRECTORY;
    overlay_node_done(&node);
    if (directory || !*place) return BAD("/%s is a directory in the image", place);
    const char *slash = strrchr(place, '/');
    scoped_string char *above = mem_string_n(place, slash ? (size_t)(slash - place) : 0);
    TRY_PLAIN(
        directory_ensure(apply, above, apply->owner_set ? apply->uid : 0, apply->owner_set ? apply->gid : 0));
    TRY_PLAIN(within_parent(apply->within, place, false, &parent, &name));
    if (fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW) == 0) { /* of an earlier source */
        if (S_ISDIR(at.st_mode)) return BAD("/%s is a directory already", place);
        if (unlinkat(parent, name, 0)) return error_errno(errno, "replace it");
    }
    return item->kind == ITEM_LINK ? make_link(apply, item, parent, name)
                                   : make_file(apply, item, parent, name);
}

static struct error *item_apply(struct apply *apply, const struct copy_item *item, const char *base) {
    if (apply->copy->cancelled && atomic_load(apply->copy->cancelled))
        return error_new(ERROR_CANCELLED, "cancelled");
    if (unpacks(apply->copy, item)) return unpack_here(apply, item, base);
    scoped_string char *place = item_place(apply, item, base);
    if (item->kind == ITEM_DIRECTORY) return directory_apply(apply, item, &place);
    return file_apply(apply, item, place);
}

/* One file to a name that is no directory so far is that name itself. */
static struct error *base_find(struct apply *apply, char **ret_base) {
    struct copy *copy = apply->copy;
    TRY_PLAIN(overlay_resolve(&apply->onto, copy->to, ret_base));
    struct tree_node node;
    overlay_look(&apply->onto, *ret_base, &node);
    enum tree_kind kind = node.kind;
    overlay_node_done(&node);
    if (kind == TREE_DIRECTORY || !**ret_base) copy->into = true;
    if (copy->into && kind != TREE_DIRECTORY && kind != TREE_ABSENT)
        return BAD("%s is no directory in the image", copy->to);
    bool one_tar = copy->item_count == 1 && unpacks(copy, &copy->items[0]);
    if (copy->into || copy->item_count != 1 || one_tar) return NULL;
    free(copy->items[0].relative);
    copy->items[0].relative = mem_string("");
    return NULL;
}

static struct error *apply_all(struct apply *apply) {
    struct copy *copy = apply->copy;
    scoped_string char *base = NULL;
    TRY_PLAIN(base_find(apply, &base));
    if (copy->chown) {
        TRY(copy_owner(&apply->onto, copy->chown, &apply->uid, &apply->gid), "--chown=%s", copy->chown);
        apply->owner_set = true;
    }
    if (copy->chmod) {
        char *end;
        unsigned long mode = strtoul(copy->chmod, &end, 8);
        if (!*copy->chmod || *end || mode > 07777)
            return BAD("--chmod=%s: octal digits are known here, like 755", copy->chmod);
        apply->mode_set = true;
        apply->mode = (unsigned)mode;
    }
    if (copy->into) TRY_PLAIN(directory_ensure(apply, base, apply->uid, apply->gid));
    for (size_t i = 0; i < copy->item_count; i++)
        TRY(item_apply(apply, &copy->items[i], base), "%s",
            copy->items[i].relative[0] ? copy->items[i].relative : copy->to);
    return NULL;
}

struct error *copy_apply(struct copy *copy, const char *upper) {
    struct apply apply = {
        .copy = copy, .onto = {copy->onto, words_count(copy->onto), copy->onto_grafts}, .upper = upper};
    scoped(within) struct within *within = NULL;
    TRY_PLAIN(within_open(upper, &within));
    apply.within = within;
    apply.actual = map_new();
    struct error *error = apply_all(&apply);
    void *place;
    for (size_t i = 0; map_next(apply.actual, &i, NULL, &place);) free(place);
    map_free(apply.actual);
    return error;
}

struct error *copy_make_directory(const struct tree *onto, const char *upper, const char *path,
                                  const char *owner) {
    struct apply apply = {.onto = *onto, .upper = upper};
    scoped(within) struct within *within = NULL;
    scoped_string char *clean = NULL;
    if (owner) TRY_PLAIN(copy_owner(&apply.onto, owner, &apply.uid, &apply.gid));
    TRY_PLAIN(within_open(upper, &within));
    apply.within = within;
    TRY_PLAIN(overlay_resolve(&apply.onto, path, &clean));
    return directory_ensure(&apply, clean, apply.uid, apply.gid);
}

/* ---- the list of a context's files ---- */

static int by_path(const void *a, const void *b) {
    return strcmp(((const struct copy_file *)a)->path, ((const struct copy_file *)b)->path);
}

struct error *copy_files_new(struct store *store, const struct image_file *files, size_t count,
                             struct copy_files **ret_files) {
    struct copy_files *list = NEW(struct copy_files);
    struct error *error = NULL;
    list->references = 1;
    list->file = mem_array(count + 1, sizeof *list->file);
    for (size_t i = 0; i < count && !error; i++) {
        struct copy_file *file = &list->file[i];
        error = within_clean(files[i].path, &file->path);
        if (error) break;
        list->count++;
        file->mode = files[i].mode & 07777 ? files[i].mode & 07777 : 0644;
        if (!store || !store_blob_exists(store, files[i].digest))
            error = error_new(ERROR_NOT_FOUND, "the content of %s (sha256:%.12s) is not here", files[i].path,
                              files[i].digest);
        if (error) break;
        memcpy(file->digest, files[i].digest, SHA256_HEX_SIZE);
        file->blob = store_blob_path(store, files[i].digest);
    }
    qsort(list->file, list->count, sizeof *list->file, by_path);
    if (error)
        copy_files_unref(list);
    else
        *ret_files = list;
    return error;
}

void copy_files_unref(struct copy_files *files) {
    if (!files || --files->references > 0) return;
    for (size_t i = 0; i < files->count; i++) free(files->file[i].path), free(files->file[i].blob);
    free(files->file);
    free(files);
}

void copy_free(struct copy *copy) {
    if (!copy) return;
    for (size_t i = 0; i < copy->item_count; i++)
        free(copy->items[i].relative), free(copy->items[i].file), free(copy->items[i].link);
    free(copy->items);
    copy_files_unref(copy->files);
    words_free(copy->layers), words_free(copy->grafts), words_free(copy->sources);
    words_free(copy->onto), words_free(copy->onto_grafts);
    for (char **file = copy->fetched; file && *file; file++) (void)unlink(*file);
    words_free(copy->fetched), free(copy->checksum);
    free(copy->directory), free(copy->text), free(copy->to), free(copy->chown), free(copy->chmod);
    free(copy);
}
