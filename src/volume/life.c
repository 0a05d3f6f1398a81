/* Volumes come, are renamed, and go.
 *
 * Created: the tree's directory, then the record, then the link. Deleted: the link, then the record, then the
 * tree goes to the trash. So a tree that has a link or a record is somebody's, and any other may be removed.
 */
#include "inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- links, for people ---- */

static char *link_path(const struct volume *volume, const char *name) {
    if (!name || strcmp(volume->environment, VOLUME_MAIN) != 0 || !name_has_link(name)) return NULL;
    return path_join(volume->volumes->dir, name);
}

static bool links_to(const char *path, const char *id, bool *ret_is_link) {
    char target[64], wanted[64];
    ssize_t size = readlink(path, target, sizeof target - 1);
    *ret_is_link = size > 0;
    if (size <= 0) return false;
    target[size] = '\0';
    snprintf(wanted, sizeof wanted, ".trees/%s", id);
    return strcmp(target, wanted) == 0;
}

void volume_link(const struct volume *volume) {
    scoped_string char *path = link_path(volume, volume->name);
    bool is_link;
    if (!path || links_to(path, volume->id, &is_link)) return;
    scoped_string char *target = mem_printf(".trees/%s", volume->id);
    if (symlink(target, path) != 0)
        log_warn("volume", "%s is not made: %s is in the way; the volume is at %s", path,
                 is_link ? "another link" : "something", volume->live_path);
}

void volume_unlink(const struct volume *volume, const char *name) {
    scoped_string char *path = link_path(volume, name);
    bool is_link;
    if (path && links_to(path, volume->id, &is_link)) store_calls_now()->unlink(path);
}

/* ---- create ---- */

struct volume *volume_make(struct volumes *volumes, const char *environment, const char *name) {
    scoped_string char *id = random_id("vo");
    return volume_new(volumes, id, environment, name);
}

static void take_out(struct volume *volume) {
    struct volumes *volumes = volume->volumes;
    list_remove(&volume->node);
    map_remove(volumes->ids, span_of(volume->id));
    if (volume->name) {
        scoped_string char *key = name_key(volume->environment, volume->name);
        map_remove(volumes->names, span_of(key));
    }
}

void volume_forget(struct volume *volume) {
    take_out(volume);
    (void)!rmdir(volume->live_path);
    volume_destroy(volume);
}

struct create {
    struct op op;
    void (*done)(void *owner, struct error *error, struct volume *volume);
    void *owner;
};

static struct error *create_begin(struct op *op) {
    return dir_make(op->volume->live_path, 0755);
}
static void create_end(struct op *op) {
    struct volume *volume = op->volume;
    if (!op->error) volume_link(volume);
    if (!op->error || !volume->linked) return;
    scoped_string char *text = error_text(op->error);
    log_error("volume", "the volume %s has no record yet: %s", volume->name, text);
}
static void create_tell(struct op *op, const struct error *error) {
    struct create *create = CONTAINER_OF(op, struct create, op);
    if (create->done) create->done(create->owner, error_copy(error), error ? NULL : op->volume);
}
static const struct op_kind create_kind = {
    .name = "create", .record = RECORD_ALWAYS, .begin = create_begin, .end = create_end, .tell = create_tell};

static void create_start(struct volume *volume, struct error *taken_error,
                         void (*done)(void *owner, struct error *error, struct volume *volume), void *owner) {
    struct create *create = NEW(struct create);
    create->done = done;
    create->owner = owner;
    op_start(volume, &create_kind, &create->op, taken_error);
}

void volume_record_soon(struct volume *volume) {
    create_start(volume, NULL, NULL, NULL);
}

static struct error *options_check(const struct volume_options *options) {
    const char *environment = options->environment ? options->environment : VOLUME_MAIN;
    if (!name_good(environment))
        return error_new(ERROR_INVALID_ARGUMENT, "'%.80s' is no name of an environment", environment);
    if (options->version > 2)
        return error_new(ERROR_INVALID_ARGUMENT, "version %u of volumes is not known here; 1 and 2 are",
                         options->version);
    if (!options->name || (name_good(options->name) && !id_good(options->name))) return NULL;
    return error_new(
        ERROR_INVALID_ARGUMENT,
        "'%.80s' is no name of a volume; it may have letters, digits, '-', '_' and '.', at most %d",
        options->name, CORE_NAME_MAX);
}

void volume_create(struct volumes *volumes, const struct volume_options *options,
                   void (*done)(void *owner, struct error *error, struct volume *volume), void *owner) {
    const char *environment = options->environment ? options->environment : VOLUME_MAIN;
    struct error *error = options_check(options);
    struct volume *volume = NULL;
    if (!error && options->name) volume = volume_find(volumes, environment, options->name);
    if (volume && !options->if_missing)
        error = error_new(ERROR_ALREADY_EXISTS, "there is a volume %s already", options->name);
    if (!volume) {
        volume = volume_make(volumes, environment, error ? NULL : options->name);
        if (options->version) volume->version = options->version;
        if (error) { /* one that nobody sees carries it */
            take_out(volume);
            volume->gone = true;
        } else {
            expiry_arm(volumes);
        }
    }
    /* One that is there is recorded once more: whoever made it may be waiting still. */
    create_start(volume, error, done, owner);
}

/* ---- rename ---- */

struct rename {
    struct op op;
    char *name, *old;
};

static struct error *rename_begin(struct op *op) {
    struct rename *rename = CONTAINER_OF(op, struct rename, op);
    struct volume *volume = op->volume, *other = volume_find(op->volumes, volume->environment, rename->name);
    if (!volume->name)
        return error_new(ERROR_FAILED_PRECONDITION, "an ephemeral volume has no name and gets none");
    if (other && other != volume)
        return error_new(ERROR_ALREADY_EXISTS, "there is a volume %s already", rename->name);
    scoped_string char *key = name_key(volume->environment, rename->name);
    map_put(op->volumes->names, span_of(key), volume);
    rename->old = volume->name;
    volume->name = mem_string(rename->name);
    return NULL;
}
static void rename_end(struct op *op) {
    struct rename *rename = CONTAINER_OF(op, struct rename, op);
    struct volume *volume = op->volume;
    if (!rename->old || strcmp(rename->old, volume->name) == 0) return;
    if (op->error) { /* the old name again */
        char *failed = volume->name;
        volume->name = rename->old;
        rename->old = failed;
    } else {
        volume_unlink(volume, rename->old);
        volume_link(volume);
    }
    scoped_string char *key = name_key(volume->environment, rename->old);
    map_remove(op->volumes->names, span_of(key));
}
static void rename_done(struct op *op) {
    struct rename *rename = CONTAINER_OF(op, struct rename, op);
    free(rename->name);
    free(rename->old);
}
static const struct op_kind rename_kind = {
    .name = "rename", .record = RECORD_ALWAYS, .begin = rename_begin, .end = rename_end, .done = rename_done};

void volume_rename(struct volume *volume, const char *name, volume_done *done, void *owner) {
    struct rename *rename = NEW(struct rename);
    rename->name = mem_string(name);
    op_wait(&rename->op, done, owner);
    op_start(volume, &rename_kind, &rename->op, options_check(&(struct volume_options){.name = name}));
}

/* ---- delete ---- */

static struct error *delete_begin(struct op *op) {
    volume_unlink(op->volume, op->volume->name);
    return NULL;
}
static void delete_end(struct op *op) {
    struct volume *volume = op->volume;
    struct volumes *volumes = op->volumes;
    if (op->error) {
        volume_link(volume);
        return;
    }
    take_out(volume);
    volume->gone = true;
    scoped_string char *trash = path_join(volumes->trash, volume->id);
    if (store_calls_now()->rename(volume->live_path, trash) != 0 && errno != ENOENT)
        log_warn("volume", "%s stays until the next start (errno %d)", volume->live_path, errno);
    volumes->trash_waits = true;
    trash_empty(volumes);
    sweep_later(volumes);
}
static const struct op_kind delete_kind = {
    .name = "delete", .record = RECORD_REMOVED, .begin = delete_begin, .end = delete_end};

void volume_delete(struct volume *volume, volume_done *done, void *owner) {
    /* What is being read of it is for nothing. */
    LIST_EACH(node, &volume->volumes->running) {
        struct op *op = CONTAINER_OF(node, struct op, node);
        if (op->volume == volume) __atomic_store_n(&op->cancel, true, __ATOMIC_RELAXED);
    }
    struct op *op = NEW(struct op);
    op_wait(op, done, owner);
    op_start(volume, &delete_kind, op, NULL);
}

/* ---- ephemeral ones ---- */

void volume_heartbeat(struct volume *volume) {
    if (volume->dies_ms) volume->dies_ms = io_now_ms(volume->volumes->loop) + volume->volumes->ephemeral_ms;
}

/* Armed to the earliest of them; a heartbeat since only makes it look once more. */
void expiry_arm(struct volumes *volumes) {
    int64_t now = io_now_ms(volumes->loop), first = INT64_MAX;
    LIST_EACH(node, &volumes->all) {
        struct volume *volume = CONTAINER_OF(node, struct volume, node);
        if (volume->dies_ms && volume->dies_ms <= now) {
            volume->dies_ms = 0;
            volume_delete(volume, NULL, NULL);
        } else if (volume->dies_ms && volume->dies_ms < first) {
            first = volume->dies_ms;
        }
    }
    if (first < INT64_MAX) io_timer_arm(volumes->expiry, first - now);
}
