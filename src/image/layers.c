/* Layers on the disk: from a draft to a name, whole or not at all; and away again.
 *
 * A draft is a directory in tmp/. Its content is measured, brought to the disk (syncfs: one call for
 * thousands of files), and only then gets its name by a rename. What has a name is never written again. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 2000 };

/* ---- how much a tree takes ---- */

struct measure {
    uint64_t bytes;
    struct table *seen; /* inodes with more than one name */
};

/* By the blocks that the disk gave; an inode counts once. */
static void measure_one(struct measure *measure, const struct stat *at) {
    if (!S_ISDIR(at->st_mode) && at->st_nlink > 1 && table_put(measure->seen, at->st_ino + 1, measure))
        return;
    measure->bytes += (uint64_t)at->st_blocks * 512;
}

static void measure_directory(struct measure *measure, int taken_fd, int depth) {
    DIR *directory = fdopendir(taken_fd);
    if (!directory) {
        close(taken_fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat at;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (fstatat(dirfd(directory), entry->d_name, &at, AT_SYMLINK_NOFOLLOW)) continue;
        measure_one(measure, &at);
        if (!S_ISDIR(at.st_mode) || depth == DEPTH_MAX) continue;
        int fd = openat(dirfd(directory), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) measure_directory(measure, fd, depth + 1);
    }
    closedir(directory);
}

static uint64_t measure_tree(const char *path) {
    struct measure measure = {.seen = table_new()};
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) measure_directory(&measure, fd, 0);
    table_free(measure.seen);
    return measure.bytes;
}

/* ---- drafts ---- */

struct error *draft_make(const struct image_store *store, char **ret_path) {
    scoped_string char *id = random_id("d"), *path = images_path(store, "tmp", id),
                       *upper = path_join(path, "u");
    if (mkdir(path, 0700)) return error_errno(errno, "make %s", path);
    if (mkdir(upper, 0755) || chmod(upper, 0755)) return error_errno(errno, "make %s", upper);
    *ret_path = take(path);
    return NULL;
}

static bool in_any(char *const *directories, size_t count, const char *relative) {
    for (size_t i = 0; i < count; i++) {
        struct stat at;
        scoped_string char *path = path_join(directories[i], relative);
        if (lstat(path, &at) == 0) return true;
    }
    return false;
}

/* Where the runtime mounts a file over what is not there, it makes an empty one first. */
void draft_clean(const char *draft, char *const *lower_dirs, size_t lower_count) {
    static const char *const mounted_on[] = {"etc/hosts", "etc/resolv.conf", "etc/hostname"};
    scoped_string char *own = path_join(draft, "u/.catnap"), *work = path_join(draft, "w");
    error_free(tree_remove(own));
    error_free(tree_remove(work));
    for (size_t i = 0; i < COUNT(mounted_on); i++) {
        scoped_string char *path = mem_printf("%s/u/%s", draft, mounted_on[i]);
        struct stat at;
        if (lstat(path, &at) || !S_ISREG(at.st_mode) || at.st_size > 0) continue;
        if (!in_any(lower_dirs, lower_count, mounted_on[i])) (void)unlink(path);
    }
}

static struct error *directory_sync(const char *path) {
    scoped_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) ? error_errno(errno, "sync %s", path) : NULL;
}

/* What the step needed beside its upper. */
static void drop_others(const char *draft) {
    DIR *directory = opendir(draft);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        scoped_string char *path = path_join(draft, entry->d_name);
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "u") != 0) error_free(tree_remove(path));
    }
    if (directory) closedir(directory);
}

struct error *layer_seal(const char *draft, const char *layers_dir, const char *id, uint64_t *ret_bytes) {
    scoped_string char *upper = path_join(draft, "u"), *files = path_join(draft, "fs"),
                       *size = path_join(draft, "size");
    scoped_string char *layer = path_join(layers_dir, id);
    drop_others(draft);
    *ret_bytes = measure_tree(upper);
    scoped_string char *text = mem_printf("%llu\n", (unsigned long long)*ret_bytes);
    if (rename(upper, files)) return error_errno(errno, "rename %s", upper);
    TRY_PLAIN(file_replace(size, span_of(text), 0600));
    scoped_fd int fd = open(draft, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd)) return error_errno(errno, "bring layer %s to the disk", id);
    if (rename(draft, layer)) {
        if (errno != EEXIST && errno != ENOTEMPTY) return error_errno(errno, "rename %s to %s", draft, layer);
        return tree_remove(draft); /* the same content, unpacked twice at the same time */
    }
    return directory_sync(layers_dir);
}

/* ---- those that are there ---- */

void layer_added(struct image_store *store, const char *id, uint64_t bytes) {
    struct layer *layer = map_get(store->layers, span_of(id));
    if (layer) return;
    layer = NEW(struct layer);
    layer->bytes = bytes;
    layer->used_ms = layer->noted_ms = clock_wall_ms();
    map_put(store->layers, span_of(id), layer);
    store->used_bytes += bytes;
    image_sweep_soon(store);
}

static void layer_load(struct image_store *store, const char *id) {
    scoped_string char *layer = images_path(store, "layers", id), *path = path_join(layer, "size");
    scoped_text struct text text = {0};
    uint64_t bytes = 0;
    scoped(error) struct error *unread = file_read(path, 64, &text);
    if (unread || !span_to_u64(span_trim(text_span(&text)), &bytes))
        log_warn("image", "layer %s does not say how large it is", id);
    layer_added(store, id, bytes);
    struct stat at;
    struct layer *added = map_get(store->layers, span_of(id));
    if (stat(path, &at) == 0) added->used_ms = added->noted_ms = (int64_t)at.st_mtim.tv_sec * 1000;
}

struct error *layers_load(struct image_store *store) {
    scoped_string char *path = images_path(store, "layers", NULL);
    DIR *directory = opendir(path);
    if (!directory) return error_errno(errno, "open %s", path);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') layer_load(store, entry->d_name);
    closedir(directory);
    return NULL;
}

/* ---- away ---- */

struct removal {
    struct io_work work;
    struct image_store *store;
    char *path;
};

static void removal_work(struct io_work *work) {
    struct removal *removal = work->owner;
    work->error = tree_remove(removal->path);
}

static void on_removed(struct io_work *work) {
    struct removal *removal = work->owner;
    scoped(error) struct error *error = take(work->error);
    scoped_string char *text = error ? error_text(error) : NULL;
    if (text) log_warn("image", "remains stay behind until the next start: %s", text);
    images_unref(removal->store);
    free(removal->path);
    free(removal);
}

void images_trash(struct image_store *store, const char *path) {
    scoped_string char *id = random_id("t");
    struct removal *removal = NEW(struct removal);
    removal->store = store;
    removal->path = images_path(store, "trash", id);
    if (rename(path, removal->path)) {
        if (errno != ENOENT) log_warn("image", "%s can't be taken away", path);
        free(removal->path);
        free(removal);
        return;
    }
    store->references++;
    removal->work = (struct io_work){.work = removal_work, .done = on_removed, .owner = removal};
    io_work_start(store->loop, &removal->work);
}
