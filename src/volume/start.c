/* The start: what an earlier daemon left is brought to order, before anybody is let in.
 *
 * Records tell which volumes there are. A tree with a link and no record is one that was mounted and whose
 * record could not be written before the end: it gets one. A directory DIR/NAME is a volume of catnap before
 * there were records. Any other tree is one that is half deleted. Changes that were committed and not carried
 * out are carried out; a tree that is missing is made again from the committed version. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* ---- records ---- */

struct loading {
    struct volumes *volumes;
    struct error *error; /* the first */
};

static void on_record(void *owner, const char *key, struct span value) {
    struct loading *loading = owner;
    struct volume *volume;
    if (!loading->error) loading->error = record_parse(loading->volumes, key, value, &volume);
}

static int by_age(const void *a, const void *b) {
    const struct volume *const *left = a, *const *right = b;
    if ((*left)->created_ms != (*right)->created_ms)
        return (*left)->created_ms < (*right)->created_ms ? -1 : 1;
    return strcmp((*left)->id, (*right)->id);
}

/* Oldest first, as they were made. */
static void order(struct volumes *volumes) {
    size_t count = map_count(volumes->ids), i = 0;
    struct volume **sorted = mem_array(count + 1, sizeof(struct volume *));
    while (!list_empty(&volumes->all)) {
        sorted[i++] = CONTAINER_OF(volumes->all.next, struct volume, node);
        list_remove(volumes->all.next);
    }
    qsort(sorted, count, sizeof(struct volume *), by_age);
    for (i = 0; i < count; i++) list_append(&volumes->all, &sorted[i]->node);
    free(sorted);
}

/* ---- directories ---- */

/* Names in a directory, each with its end; what is done to them does not disturb the reading. */
static struct error *names_of(const char *path, struct text *ret_names) {
    DIR *directory = opendir(path);
    if (!directory) return error_errno(errno, "read %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        text_add(ret_names, (struct span){entry->d_name, strlen(entry->d_name) + 1});
    }
    closedir(directory);
    return NULL;
}

static bool is_directory(const char *path) {
    struct stat at;
    return lstat(path, &at) == 0 && S_ISDIR(at.st_mode);
}

/* ---- DIR/NAME ---- */

static void adopt_link(struct volumes *volumes, const char *name, const char *path, const char *id) {
    struct volume *volume = volume_by_id(volumes, id);
    scoped_string char *tree = path_join(volumes->trees, id);
    bool right = volume && volume->name && strcmp(volume->name, name) == 0 &&
                 strcmp(volume->environment, VOLUME_MAIN) == 0;
    if (right) return;
    if (volume || !id_good(id) || !name_has_link(name) || volume_find(volumes, VOLUME_MAIN, name) ||
        !is_directory(tree)) {
        (void)unlink(path); /* of a volume that was renamed or deleted */
        return;
    }
    volume = volume_new(volumes, id, VOLUME_MAIN, name);
    volume->linked = true;
    volume_record_soon(volume);
    log_info("volume", "%s: its record was lost with the last daemon and is written again", name);
}

/* At every moment the directory has a name by which the next start knows it: it and the link change places.
 */
static void adopt_directory(struct volumes *volumes, const char *name, const char *path) {
    scoped(error) struct error *error = core_name_check("volume", name);
    if (error || !name_has_link(name) || volume_find(volumes, VOLUME_MAIN, name)) {
        log_warn("volume", "%s is no volume and is left alone", path);
        return;
    }
    scoped_string char *id = random_id("vo");
    scoped_string char *tree = path_join(volumes->trees, id), *target = mem_printf(".trees/%s", id);
    if (symlink(target, tree) != 0 ||
        syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, tree, RENAME_EXCHANGE) != 0) {
        log_error("volume", "%s can't become a volume (errno %d); mount it by its path instead", path, errno);
        (void)unlink(tree);
        return;
    }
    struct volume *volume = volume_new(volumes, id, VOLUME_MAIN, name);
    volume->linked = true;
    volume_record_soon(volume);
}

static struct error *adopt(struct volumes *volumes) {
    scoped_text struct text names = {0};
    TRY_PLAIN(names_of(volumes->dir, &names));
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        const char *name = names.data + at;
        if (name[0] == '.') continue;
        scoped_string char *path = path_join(volumes->dir, name);
        char target[64] = "";
        ssize_t size = readlink(path, target, sizeof target - 1);
        if (size > 0 && strncmp(target, ".trees/", 7) == 0)
            adopt_link(volumes, name, path, target + 7);
        else if (size < 0 && is_directory(path))
            adopt_directory(volumes, name, path);
        else
            log_warn("volume",
                     "%s is no volume and is left alone; a directory elsewhere is mounted by its path", path);
    }
    return NULL;
}

/* ---- each volume ---- */

static struct error *restore_into(struct volumes *volumes, struct volume *volume, struct change *change,
                                  const char *path) {
    scoped_fd int root = -1;
    TRY_PLAIN(content_tree(&volumes->contents, volume->now.manifest, &change->tree));
    TRY_PLAIN(dir_make(path, 0755));
    TRY_PLAIN(live_open(path, &root));
    TRY_PLAIN(change_stage(&volumes->contents, change, root, NULL));
    TRY_PLAIN(change_carry_out(change, root, false, NULL));
    if (rename(path, volume->live_path) != 0) return error_errno(errno, "rename to %s", volume->live_path);
    return NULL;
}

static struct error *restore(struct volumes *volumes, struct volume *volume) {
    if (volume->now.manifest[0] == '\0') return dir_make(volume->live_path, 0755);
    log_warn("volume", "%s: its tree %s is missing and is made again from the last commit",
             volume->name ? volume->name : volume->id, volume->live_path);
    scoped_string char *id = random_id("restored");
    scoped_string char *path = path_join(volumes->contents.unfinished, id);
    struct change change = {0};
    struct error *error = restore_into(volumes, volume, &change, path);
    change_done(&change);
    return error;
}

/* Without its stage a change was carried out: that went last. */
static struct error *carry_late(struct volumes *volumes, struct volume *volume) {
    struct change *pending = &volume->pending;
    if (!pending->stage) return NULL;
    if (is_directory(pending->stage)) {
        scoped_fd int root = -1;
        TRY_PLAIN(content_tree(&volumes->contents, pending->digest, &pending->tree));
        TRY_PLAIN(live_open(volume->live_path, &root));
        TRY(change_carry_out(pending, root, true, NULL), "a change that was committed");
    }
    change_done(pending);
    volume_record_soon(volume);
    return NULL;
}

static struct error *ready(struct volumes *volumes, struct volume *volume) {
    if (!is_directory(volume->live_path)) TRY(restore(volumes, volume), "volume %s", volume->id);
    TRY(carry_late(volumes, volume), "volume %s", volume->id);
    volume_link(volume);
    return NULL;
}

/* ---- what is nobody's ---- */

static struct error *trees_clear(struct volumes *volumes) {
    scoped_text struct text names = {0};
    TRY_PLAIN(names_of(volumes->trees, &names));
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        const char *name = names.data + at;
        if (volume_by_id(volumes, name)) continue;
        scoped_string char *path = path_join(volumes->trees, name), *unique = random_id(name);
        scoped_string char *trash = path_join(volumes->trash, unique);
        if (rename(path, trash) != 0) return error_errno(errno, "rename %s to %s", path, trash);
    }
    return NULL;
}

static struct error *unfinished_clear(struct volumes *volumes) {
    scoped_text struct text names = {0};
    TRY_PLAIN(names_of(volumes->contents.unfinished, &names));
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        scoped_string char *path = path_join(volumes->contents.unfinished, names.data + at);
        TRY_PLAIN(tree_remove(path));
    }
    return NULL;
}

struct error *volumes_start(struct volumes *volumes) {
    TRY_PLAIN(dir_make(volumes->trees, 0700));
    TRY_PLAIN(dir_make(volumes->trash, 0700));
    TRY_PLAIN(dir_make(volumes->contents.dir, 0700));
    TRY_PLAIN(dir_make(volumes->contents.unfinished, 0700));
    struct loading loading = {.volumes = volumes};
    TRY_PLAIN(store_records_load(volumes->store, RECORD_KIND, on_record, &loading));
    if (loading.error) return loading.error;
    order(volumes);
    TRY_PLAIN(adopt(volumes));
    LIST_EACH(node, &volumes->all) TRY_PLAIN(ready(volumes, CONTAINER_OF(node, struct volume, node)));
    TRY_PLAIN(trees_clear(volumes));
    TRY_PLAIN(unfinished_clear(volumes));
    volumes->trash_waits = true;
    trash_empty(volumes);
    expiry_arm(volumes);
    sweep_later(volumes);
    return NULL;
}
