/* mount_sweep: mounts that nothing needs any more go, as blobs do: each change of a program makes another.
 *
 * What is needed stands by its id in definitions: those that are served or staged, of deployments that can be
 * gone back to, of containers, and of sandboxes. What was asked for within a day stays too: a deploy may be
 * under way. A directory is taken away by a rename, and emptied by a worker. */
#include "blob.h"
#include "sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define KEPT_S 86400

void mount_touch(const struct mount *mount) {
    (void)utimensat(AT_FDCWD, mount->directory, NULL, 0);
}

/* ---- what is needed ---- */

static void add_id(struct map *needed, struct span id) {
    map_put(needed, id, needed);
}

/* Each "mo-..." in a message's bytes, whatever it is of. */
static void add_ids(struct map *needed, struct span bytes) {
    for (const char *at; bytes.size > 3 && (at = memmem(bytes.data, bytes.size, "mo-", 3));) {
        size_t size = 3, left = bytes.size - (size_t)(at - bytes.data);
        while (size < left && ((at[size] >= 'a' && at[size] <= 'z') || (at[size] >= '0' && at[size] <= '9')))
            size++;
        add_id(needed, (struct span){at, size});
        bytes = (struct span){at + 3, left - 3};
    }
}

static void add_definition(struct map *needed, const struct definition *definition) {
    for (size_t i = 0; definition && i < definition->function->n_mount_ids; i++)
        add_id(needed, span_of(definition->function->mount_ids[i]));
}

static void add_app(struct map *needed, const struct app *app) {
    void *value;
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) {
        const struct function *function = value;
        add_definition(needed, function->published);
        add_definition(needed, function->staged);
    }
    for (size_t i = 0; i < app->deployment_count; i++)
        for (size_t f = 0; f < app->deployments[i]->n_functions; f++) {
            const ProtobufCBinaryData *bytes = &app->deployments[i]->functions[f]->definition;
            add_ids(needed, (struct span){(const char *)bytes->data, bytes->len});
        }
}

static struct map *needed_by(const struct modal *modal) {
    struct map *needed = map_new();
    void *value;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) add_app(needed, value);
    for (size_t i = 0; table_next(modal->tasks, &i, NULL, &value);)
        add_definition(needed, ((const struct task *)value)->definition);
    for (size_t i = 0; map_next(modal->sandboxes, &i, NULL, &value);) {
        const struct sandbox *sandbox = value;
        for (size_t m = 0; sandbox->definition && m < sandbox->definition->n_mount_ids; m++)
            add_id(needed, span_of(sandbox->definition->mount_ids[m]));
    }
    return needed;
}

/* ---- away ---- */

struct emptying {
    struct io_work work;
    char *parent;
};

/* What was renamed here, also by a daemon that was killed then. */
static void empty_out(struct io_work *work) {
    const char *parent = CONTAINER_OF(work, struct emptying, work)->parent;
    DIR *entries = opendir(parent);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (strncmp(entry->d_name, "gone-", 5) != 0) continue;
        scoped_string char *path = path_join(parent, entry->d_name);
        error_free(tree_remove(path));
    }
    if (entries) closedir(entries);
}

static void emptied(struct io_work *work) {
    struct emptying *emptying = CONTAINER_OF(work, struct emptying, work);
    free(emptying->parent);
    free(emptying);
}

static bool is_old(const struct mount *mount, const char *parent) {
    struct stat status;
    size_t size = strlen(parent);
    if (strncmp(mount->directory, parent, size) != 0 || mount->directory[size] != '/') return false;
    return stat(mount->directory, &status) == 0 && status.st_mtime < time(NULL) - KEPT_S;
}

static void drop(struct modal *modal, struct mount *mount, const char *parent) {
    scoped_string char *gone = mem_printf("%s/gone-%s", parent, mount->id);
    if (rename(mount->directory, gone)) return;
    const struct store_record row = {"modal-mount", mount->id, {NULL, 0}};
    store_records_write_soon(modal->store, &row, 1, NULL, NULL);
    mount_forget(modal, mount);
}

void mounts_sweep(struct modal *modal) {
    if (modal->mounts_making > 0) return; /* one of them may be found in its place just now */
    scoped_string char *parent = path_join(modal->state_dir, "modal/mounts");
    struct map *needed = needed_by(modal);
    size_t count = 0;
    struct mount **old = mem_array(map_count(modal->mounts) + 1, sizeof(struct mount *));
    void *value;
    for (size_t i = 0; map_next(modal->mounts, &i, NULL, &value);) {
        struct mount *mount = value;
        if (!map_get(needed, span_of(mount->id)) && is_old(mount, parent)) old[count++] = mount;
    }
    for (size_t i = 0; i < count; i++) drop(modal, old[i], parent);
    free(old);
    map_free(needed);
    struct emptying *emptying = NEW(struct emptying);
    *emptying = (struct emptying){.work = {.work = empty_out, .done = emptied}, .parent = take(parent)};
    io_work_start(modal->loop, &emptying->work);
}
