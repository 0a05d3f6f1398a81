/* The door: the room as a whole, and what is asked of it without waiting. */
#include "inside.h"

#include <stdlib.h>

#define EPHEMERAL_MS (15 * 60 * 1000) /* clients send a heartbeat every five minutes */
#define KEEP_MS (15 * 60 * 1000)

/* ---- open and free ---- */

struct volumes *volumes_ref(struct volumes *volumes) {
    volumes->refs++;
    return volumes;
}

void volumes_unref(struct volumes *volumes) {
    if (--volumes->refs > 0) return;
    while (!list_empty(&volumes->all)) {
        struct volume *volume = CONTAINER_OF(volumes->all.next, struct volume, node);
        list_remove(&volume->node);
        volume_destroy(volume);
    }
    map_free(volumes->names);
    map_free(volumes->ids);
    text_done(&volumes->noted);
    free(volumes->dir);
    free(volumes->trees);
    free(volumes->trash);
    free(volumes->contents.dir);
    free(volumes->contents.unfinished);
    free(volumes);
}

static void on_turn(void *owner) {
    ops_turn(owner);
}
static void on_expiry(void *owner) {
    expiry_arm(owner);
}
static void on_sweep_due(void *owner) {
    sweep_due(owner);
}

struct error *volumes_open(const struct volumes_options *options, struct volumes **ret_volumes) {
    scoped(volumes) struct volumes *volumes = NEW(struct volumes);
    *volumes = (struct volumes){
        .refs = 1,
        .loop = options->loop,
        .store = options->store,
        .dir = mem_string(options->dir),
        .trees = path_join(options->dir, ".trees"),
        .trash = path_join(options->dir, ".trash"),
        .contents = {path_join(options->dir, ".content"), path_join(options->dir, ".new")},
        .ephemeral_ms = options->ephemeral_ms ? options->ephemeral_ms : EPHEMERAL_MS,
        .keep_ms = options->keep_ms ? options->keep_ms : KEEP_MS,
        .names = map_new(),
        .ids = map_new(),
    };
    list_init(&volumes->all);
    list_init(&volumes->waiting);
    list_init(&volumes->running);
    list_init(&volumes->reads);
    volumes->turn = io_timer_new(options->loop, on_turn, volumes);
    volumes->expiry = io_timer_new(options->loop, on_expiry, volumes);
    volumes->sweep_timer = io_timer_new(options->loop, on_sweep_due, volumes);
    TRY(volumes_start(volumes), "volumes");
    *ret_volumes = take(volumes);
    return NULL;
}

void volumes_free(struct volumes *volumes) {
    if (!volumes) return;
    volumes->closed = true;
    io_timer_free(volumes->turn);
    io_timer_free(volumes->expiry);
    io_timer_free(volumes->sweep_timer);
    ops_cancel(volumes);
    reads_cancel(volumes);
    sweep_cancel(volumes);
    volumes_unref(volumes);
}

/* ---- which there are ---- */

struct volume *volume_find(const struct volumes *volumes, const char *environment, const char *name) {
    scoped_string char *key = name_key(environment ? environment : VOLUME_MAIN, name);
    return map_get(volumes->names, span_of(key));
}

struct volume *volume_by_id(const struct volumes *volumes, const char *id) {
    return map_get(volumes->ids, span_of(id));
}

/* `i` is where the list stands: 0, or a node's address. */
struct volume *volumes_next(const struct volumes *volumes, size_t *i) {
    const struct list *at = *i ? (const struct list *)*i : &volumes->all;
    if (at->next == &volumes->all) return NULL;
    *i = (size_t)at->next;
    return CONTAINER_OF(at->next, struct volume, node);
}

void volume_view(const struct volume *volume, struct volume_view *ret_view) {
    *ret_view = (struct volume_view){
        .id = volume->id,
        .environment = volume->environment,
        .name = volume->name,
        .version = volume->version,
        .created_ms = volume->created_ms,
        .committed_ms = volume->now.wall_ms,
        .commits = volume->now.commits,
        .file_count = volume->now.file_count,
        .size_bytes = volume->now.size_bytes,
    };
}

const char *volume_live_path(const struct volume *volume) {
    return volume->live_path;
}

/* ---- trees in memory ---- */

/* What is used least goes first, until the rest is small; the one in use stays. */
static void cache_trim(struct volumes *volumes, const struct volume *in_use) {
    for (;;) {
        size_t total = 0;
        struct volume *oldest = NULL;
        LIST_EACH(node, &volumes->all) {
            struct volume *volume = CONTAINER_OF(node, struct volume, node);
            if (!volume->tree) continue;
            total += volume->tree->memory_bytes;
            if (volume != in_use && (!oldest || volume->used < oldest->used)) oldest = volume;
        }
        if (total <= CACHE_BYTES || !oldest) return;
        tree_free(take(oldest->tree));
    }
}

void volume_tree_keep(struct volume *volume, struct tree *tree) {
    tree_ref(tree);
    tree_free(volume->tree);
    volume->tree = tree;
    volume->used = ++volume->volumes->uses;
    cache_trim(volume->volumes, volume);
}
