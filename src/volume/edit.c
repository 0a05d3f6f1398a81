/* Changes of the committed version that clients ask for: what they have in common; remove; copy. */
#include "inside.h"

#include <stdlib.h>

/* ---- in common ---- */

/* The directories that the entries of `change` need and that neither it nor `base` has. */
static struct error *missing_parents(const struct tree *change, const struct tree *base,
                                     struct tree *parents) {
    for (size_t i = 0; i < change->count; i++) {
        const struct entry *entry = &change->entries[i];
        struct span above = span_of(entry->path);
        for (path_last(above, &above); above.data && entry->kind != ENTRY_GONE; path_last(above, &above)) {
            const struct entry *same = tree_get(change, above);
            if (same && same->kind != ENTRY_DIRECTORY)
                return error_new(ERROR_INVALID_ARGUMENT, "%s can't be a file and hold %s", same->path,
                                 entry->path);
            if (same || tree_get(base, above)) continue;
            scoped_string char *path = span_string(above);
            tree_add(parents, &(struct entry){.path = path,
                                              .kind = ENTRY_DIRECTORY,
                                              .mode = 0755,
                                              .mtime_ns = clock_wall_ms() * 1000000});
        }
    }
    return NULL;
}

struct error *edit_check(const struct op *op, struct tree *change, int root, bool overwrite) {
    scoped(tree) struct tree *parents = tree_new();
    tree_sort(change);
    TRY_PLAIN(missing_parents(change, op->base, parents));
    for (size_t i = 0; i < parents->count; i++) tree_add(change, &parents->entries[i]);
    tree_sort(change);
    if (op->base->count + change->count > VOLUME_FILES_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %d files do not fit a volume",
                         VOLUME_FILES_MAX);
    return change_check(change, op->base, root, overwrite);
}

struct error *edit_version(struct op *op, struct batch *batch, struct tree *change, int root) {
    return op_version(op, batch, tree_merge(op->base, change), change, root);
}

static struct error *named(const struct op *op, struct error *error) {
    return error ? error_wrap(error, "%s in volume %s", op->kind->name,
                              op->volume->name ? op->volume->name : op->volume->id)
                 : NULL;
}

/* ---- remove ---- */

struct removal {
    struct op op;
    char *path;
    bool recursive;
};

static struct error *remove_change(struct removal *removal, struct tree *change) {
    const struct tree *base = removal->op.base;
    struct entry gone = {.path = removal->path, .kind = ENTRY_GONE};
    const struct entry *entry = tree_get(base, span_of(removal->path));
    if (removal->path[0] && !entry) return error_new(ERROR_NOT_FOUND, "there is no '%s'", removal->path);
    if (!removal->recursive && (!entry || entry->kind == ENTRY_DIRECTORY))
        return error_new(ERROR_INVALID_ARGUMENT, "%s is a directory; it goes only recursively",
                         removal->path[0] ? removal->path : "/");
    if (entry) {
        tree_add(change, &gone);
        return NULL;
    }
    for (size_t i = 0; i < base->count; i++) { /* the root stays: all that is in it goes */
        gone.path = base->entries[i].path;
        if (!strchr(gone.path, '/')) tree_add(change, &gone);
    }
    return NULL;
}

static struct error *remove_work(struct op *op, struct batch *batch) {
    scoped(tree) struct tree *change = tree_new();
    scoped_fd int root = -1;
    TRY_PLAIN(remove_change(CONTAINER_OF(op, struct removal, op), change));
    if (change->count == 0) return NULL;
    TRY_PLAIN(live_open(op->volume->live_path, &root));
    return edit_version(op, batch, take(change), root);
}

static struct error *remove_prepare(struct op *op) {
    struct batch batch = {.contents = &op->volumes->contents, .cancel = &op->cancel};
    struct error *error = remove_work(op, &batch);
    batch_done(&batch);
    return named(op, error);
}

static void remove_done(struct op *op) {
    free(CONTAINER_OF(op, struct removal, op)->path);
}
static const struct op_kind remove_kind = {.name = "remove", .prepare = remove_prepare, .done = remove_done};

void volume_remove(struct volume *volume, const char *path, bool recursive, volume_done *done, void *owner) {
    struct removal *removal = NEW(struct removal);
    removal->recursive = recursive;
    struct error *error = volume_path_clean(path, &removal->path);
    op_wait(&removal->op, done, owner);
    op_start(volume, &remove_kind, &removal->op, error);
}

/* ---- copy ---- */

struct copy {
    struct op op;
    char **from;
    size_t count;
    char *to;
    bool recursive;
};

static void copy_entry(struct tree *change, const struct entry *entry, const char *to, const char *below) {
    scoped_string char *path = mem_printf("%s%s%s", to, below[0] ? "/" : "", below);
    struct entry copied = *entry;
    copied.path = path;
    copied.mtime_ns = clock_wall_ms() * 1000000;
    tree_add(change, &copied);
}

static struct error *copy_one(const struct copy *copy, const char *from, bool into, struct tree *change) {
    const struct tree *base = copy->op.base;
    const struct entry *entry = tree_get(base, span_of(from));
    struct span parent, last = path_last(span_of(from), &parent);
    scoped_string char *name = span_string(last);
    scoped_string char *to =
        into ? mem_printf("%s%s%s", copy->to, copy->to[0] ? "/" : "", name) : mem_string(copy->to);
    if (!entry) return error_new(ERROR_NOT_FOUND, "there is no '%s' to be copied", from);
    if (strcmp(from, to) == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "%s would be copied onto itself", from);
    if (entry->kind != ENTRY_DIRECTORY) {
        copy_entry(change, entry, to, "");
        return NULL;
    }
    size_t size = strlen(from), begin, end = tree_below(base, span_of(from), &begin);
    if (!copy->recursive)
        return error_new(ERROR_INVALID_ARGUMENT, "%s is a directory; it is copied only recursively", from);
    if (strncmp(to, from, size) == 0 && to[size] == '/')
        return error_new(ERROR_INVALID_ARGUMENT, "%s can't be copied into itself", from);
    copy_entry(change, entry, to, "");
    for (size_t i = begin; i < end; i++) {
        if (strlen(to) + strlen(base->entries[i].path) - size > PATH_BYTES_MAX)
            return error_new(ERROR_INVALID_ARGUMENT, "%.80s...: the path becomes longer than %d bytes", to,
                             PATH_BYTES_MAX);
        copy_entry(change, &base->entries[i], to, base->entries[i].path + size + 1);
    }
    return NULL;
}

static struct error *copy_work(struct op *op, struct batch *batch) {
    const struct copy *copy = CONTAINER_OF(op, struct copy, op);
    scoped(tree) struct tree *change = tree_new();
    scoped_fd int root = -1;
    bool led_out;
    const struct entry *to = tree_resolve(op->base, copy->to, &led_out);
    bool into = copy->to[0] == '\0' || (to && to->kind == ENTRY_DIRECTORY);
    if (!into && copy->count > 1)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "%s is no directory, and several files are to be copied there", copy->to);
    for (size_t i = 0; i < copy->count; i++) TRY_PLAIN(copy_one(copy, copy->from[i], into, change));
    if (change->count == 0) return NULL;
    TRY_PLAIN(live_open(op->volume->live_path, &root));
    TRY_PLAIN(edit_check(op, change, root, true));
    return edit_version(op, batch, take(change), root);
}

static struct error *copy_prepare(struct op *op) {
    struct batch batch = {.contents = &op->volumes->contents, .cancel = &op->cancel};
    struct error *error = copy_work(op, &batch);
    batch_done(&batch);
    return named(op, error);
}

static void copy_done(struct op *op) {
    struct copy *copy = CONTAINER_OF(op, struct copy, op);
    for (size_t i = 0; i < copy->count; i++) free(copy->from[i]);
    free(copy->from);
    free(copy->to);
}
static const struct op_kind copy_kind = {.name = "copy", .prepare = copy_prepare, .done = copy_done};

void volume_copy(struct volume *volume, const char *const *from, size_t count, const char *to, bool recursive,
                 volume_done *done, void *owner) {
    struct copy *copy = NEW(struct copy);
    copy->from = mem_array(count + 1, sizeof(char *));
    copy->count = count;
    copy->recursive = recursive;
    struct error *error = volume_path_clean(to, &copy->to);
    for (size_t i = 0; i < count && !error; i++) error = volume_path_clean(from[i], &copy->from[i]);
    op_wait(&copy->op, done, owner);
    op_start(volume, &copy_kind, &copy->op, error);
}
