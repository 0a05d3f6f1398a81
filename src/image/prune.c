/* What may go of images and layers, and when.
 *
 * Marked as needed is what can be reached from names, keeps, uses, the apps and the work under way. The rest
 * is cache: what an earlier build made, for the next one. Of it the sweep leaves what was used within
 * `cache_ms`, the last used first, up to `cache_bytes`; prune, or a quota that is reached, takes all. A keep
 * of something that its keeper needs no longer is cache too, unless its layers are needed anyway: then it
 * costs nothing. When a layer was used last is the time of its file `size`. */
#include "inside.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { HOUR_MS = 3600000, FIRST_MS = 600000, SOONEST_MS = 1000 };

/* ---- what is needed ---- */

static void mark_layer(struct image_store *store, const char *id) {
    struct layer *layer = id ? map_get(store->layers, span_of(id)) : NULL;
    if (layer) layer->marked = true;
}

static void mark_image(struct image_store *store, const char *id) {
    struct record *record = id ? map_get(store->records, span_of(id)) : NULL;
    if (!record || record->marked) return;
    record->marked = true;
    for (size_t i = 0; record->layers && record->layers[i]; i++) mark_layer(store, record->layers[i]);
}

static void mark_named(struct image_store *store) {
    void *value;
    for (size_t i = 0; map_next(store->names, &i, NULL, &value);)
        mark_image(store, ((struct name *)value)->id);
    for (size_t i = 0; table_next(store->uses, &i, NULL, &value);) mark_image(store, value);
    LIST_EACH(node, &store->flights) {
        struct flight *flight = CONTAINER_OF(node, struct flight, node);
        mark_image(store, flight->result);
        mark_layer(store, flight->result); /* a step's */
        for (size_t i = 0; flight->holds && flight->holds[i]; i++) mark_layer(store, flight->holds[i]);
    }
}

void image_need(struct image_store *store, const char *name) {
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    scoped(error) struct error *error = names_follow(store, name, &id, &other, &normal);
    if (!error && id) mark_image(store, id);
}

/* INT64_MAX: it is needed. */
static int64_t keep_used_ms(const struct image_store *store, const char *tag) {
    return store->keeper.used_ms ? store->keeper.used_ms(store->keeper.owner, tag) : INT64_MAX;
}

static void mark_needed(struct image_store *store) {
    const char *tag;
    void *value;
    for (size_t i = 0; map_next(store->layers, &i, NULL, &value);) ((struct layer *)value)->marked = false;
    for (size_t i = 0; map_next(store->records, &i, NULL, &value);) ((struct record *)value)->marked = false;
    mark_named(store);
    if (store->needs) store->needs(store->needs_owner, store);
    if (store->keeper.begin) store->keeper.begin(store->keeper.owner);
    for (size_t i = 0; map_next(store->keeps, &i, &tag, &value);)
        if (keep_used_ms(store, tag) == INT64_MAX) mark_image(store, value);
}

void image_needs_set(struct image_store *store, void (*needs)(void *owner, struct image_store *store),
                     void *owner) {
    store->needs = needs;
    store->needs_owner = owner;
}

void image_keeper_set(struct image_store *store, const struct image_keeper *keeper) {
    store->keeper = keeper ? *keeper : (struct image_keeper){0};
}

/* ---- when a layer was used ---- */

/* On the disk it is true to the hour. */
void layer_used(struct image_store *store, const char *id) {
    struct layer *layer = map_get(store->layers, span_of(id));
    int64_t now_ms = clock_wall_ms();
    if (!layer) return;
    if (layer->noted_ms < now_ms - HOUR_MS) {
        scoped_string char *directory = images_path(store, "layers", id),
                           *path = path_join(directory, "size");
        (void)utimensat(AT_FDCWD, path, NULL, 0);
        layer->noted_ms = now_ms;
    }
    layer->used_ms = now_ms;
}

/* ---- the cache, the last used first ---- */

struct cached {
    int64_t used_ms;
    const char *key;   /* a keep's tag or a layer's id, in the store's map */
    const char *image; /* of a keep; NULL: a layer */
};
struct going {
    struct image_store *store;
    int64_t now_ms, cache_ms; /* cache_ms 0: nothing of it stays */
    int64_t due_ms;           /* when the first of what stays is too old; INT64_MAX: nothing does */
    uint64_t limit_bytes, cached_bytes;
    struct cached *cached;
    size_t count;
    char **tags; /* of keeps that go; owned */
    size_t tag_count;
};

static void cached_add(struct going *going, int64_t used_ms, const char *key, const char *image) {
    going->cached = mem_grow(going->cached, going->count + 1, sizeof *going->cached);
    going->cached[going->count++] = (struct cached){used_ms, key, image};
}

/* A keep before its own layers. */
static int last_first(const void *a, const void *b) {
    const struct cached *one = a, *other = b;
    if (one->used_ms != other->used_ms) return one->used_ms < other->used_ms ? 1 : -1;
    return (one->image == NULL) - (other->image == NULL);
}

static void cached_find(struct going *going) {
    struct image_store *store = going->store;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(store->keeps, &i, &key, &value);) {
        int64_t used_ms = keep_used_ms(store, key);
        if (used_ms == INT64_MAX) continue;
        cached_add(going, used_ms, key, value);
        const struct record *record = map_get(store->records, span_of(value));
        for (size_t l = 0; record && record->layers && record->layers[l]; l++) {
            struct layer *layer = map_get(store->layers, span_of(record->layers[l]));
            if (layer && layer->used_ms < used_ms) layer->used_ms = used_ms;
        }
    }
    for (size_t i = 0; map_next(store->layers, &i, &key, &value);) {
        const struct layer *layer = value;
        if (layer->marked)
            layer_used(store, key); /* so that its time begins when nothing needs it any more */
        else
            cached_add(going, layer->used_ms, key, NULL);
    }
    if (going->count > 1) qsort(going->cached, going->count, sizeof *going->cached, last_first);
}

/* What it takes beside what stays. */
static uint64_t cost(const struct image_store *store, const struct cached *cached) {
    if (!cached->image) return ((struct layer *)map_get(store->layers, span_of(cached->key)))->bytes;
    const struct record *record = map_get(store->records, span_of(cached->image));
    uint64_t bytes = 0;
    for (size_t i = 0; record && record->layers && record->layers[i]; i++) {
        const struct layer *layer = map_get(store->layers, span_of(record->layers[i]));
        if (layer && !layer->marked) bytes += layer->bytes;
    }
    return bytes;
}

/* Who builds asks for an image, and says only some time later what it is for. */
static bool is_young(const struct going *going, const struct cached *cached) {
    int64_t grace_ms = going->store->cache_ms < HOUR_MS ? going->store->cache_ms : HOUR_MS;
    if (!cached->image && going->cache_ms == 0) return false; /* a prune takes layers at once */
    return cached->used_ms > going->now_ms - grace_ms;
}

static void choose(struct going *going, const struct cached *cached) {
    struct image_store *store = going->store;
    struct layer *layer = cached->image ? NULL : map_get(store->layers, span_of(cached->key));
    if (layer && layer->marked) return; /* with a keep */
    uint64_t bytes = cost(store, cached);
    bool fits = cached->used_ms > going->now_ms - going->cache_ms &&
                going->cached_bytes + bytes <= going->limit_bytes;
    if (fits || is_young(going, cached) || (cached->image && bytes == 0)) {
        int64_t due_ms = bytes ? cached->used_ms + (fits ? going->cache_ms : HOUR_MS) : INT64_MAX;
        if (due_ms < going->due_ms) going->due_ms = due_ms;
        going->cached_bytes += bytes;
        if (layer)
            layer->marked = true;
        else
            mark_image(store, cached->image);
        return;
    }
    if (layer) return;
    going->tags = mem_grow(going->tags, going->tag_count + 1, sizeof *going->tags);
    going->tags[going->tag_count++] = mem_string(cached->key);
}

/* Images of which nothing is missing are no cost; a draft is found again by its record. */
static void mark_whole_records(const struct going *going) {
    void *value;
    for (size_t i = 0; map_next(going->store->records, &i, NULL, &value);) {
        struct record *record = value;
        bool whole = record->image.made_wall_ms > going->now_ms - going->cache_ms;
        for (size_t l = 0; whole && record->layers && record->layers[l]; l++) {
            const struct layer *layer = map_get(going->store->layers, span_of(record->layers[l]));
            whole = layer && layer->marked;
        }
        if (whole) record->marked = true;
    }
}

/* ---- taking away ---- */

static bool record_drop_one(struct image_store *store) {
    const char *key;
    void *value;
    for (size_t i = 0; map_next(store->records, &i, &key, &value);) {
        struct record *record = value;
        if (record->marked) continue;
        scoped_string char *file = mem_printf("%s.json", key), *path = images_path(store, "images", file);
        (void)unlink(path);
        map_remove(store->records, span_of(record->image.id));
        image_record_free(record);
        return true;
    }
    return false;
}

static bool layer_drop_one(struct image_store *store, uint64_t *bytes) {
    const char *key;
    void *value;
    for (size_t i = 0; map_next(store->layers, &i, &key, &value);) {
        struct layer *layer = value;
        if (layer->marked) continue;
        scoped_string char *id = mem_string(key), *path = images_path(store, "layers", id);
        *bytes += layer->bytes;
        store->used_bytes -= layer->bytes;
        map_remove(store->layers, span_of(id));
        free(layer);
        images_trash(store, path);
        return true;
    }
    return false;
}

static void cache_clean(struct image_store *store) {
    scoped_string char *path = images_path(store, "cache", NULL);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.') continue;
        scoped_string char *id = built_find(store, entry->d_name);
        if (!id) (void)unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory) closedir(directory);
}

static void keeps_drop(struct going *going) {
    struct image_store *store = going->store;
    for (size_t i = 0; i < going->tag_count; i++) {
        free(map_remove(store->keeps, span_of(going->tags[i])));
        if (store->keeper.gone) store->keeper.gone(store->keeper.owner, going->tags[i]);
        free(going->tags[i]);
    }
    free(going->tags);
}

static uint64_t go(struct going *going) {
    struct image_store *store = going->store;
    uint64_t bytes = 0;
    mark_needed(store);
    cached_find(going);
    for (size_t i = 0; i < going->count; i++) choose(going, &going->cached[i]);
    if (going->cache_ms) mark_whole_records(going);
    free(going->cached); /* its keys are the maps' */
    keeps_drop(going);
    while (record_drop_one(store)) {
    }
    while (layer_drop_one(store, &bytes)) {
    }
    if (bytes || going->tag_count) cache_clean(store);
    if (going->tag_count) names_save(store, NULL, NULL);
    return bytes;
}

/* Blobs of pulls that were cut off, for the next try. */
static void pulls_drop(struct image_store *store) {
    scoped_string char *pulls = images_path(store, "pulls", NULL);
    if (flight_any_pull(store)) return;
    images_trash(store, pulls);
    error_free(dir_make(pulls, 0700));
}

static void need(struct image_store *store, struct map *wanted, const char *name) {
    for (int depth = 0; depth < 8; depth++) { /* aliases */
        scoped_string char *normal = NULL;
        scoped(error) struct error *other = reference_normal(name, &normal);
        if (other) return; /* `host`, a directory, an id */
        const struct name *found = map_get(store->names, span_of(normal));
        if (!found) return;
        map_put(wanted, span_of(normal), store);
        if (!found->target) return;
        name = found->target;
    }
}

static void names_drop(struct image_store *store, const char *const *needed) {
    scoped(map) struct map *wanted = map_new();
    struct map *kept = map_new();
    const char *key;
    void *value;
    for (; *needed; needed++) need(store, wanted, *needed);
    for (size_t i = 0; map_next(store->names, &i, &key, &value);) {
        struct name *name = value;
        if (name->fixed || map_get(wanted, span_of(key))) {
            map_put(kept, span_of(key), name);
            continue;
        }
        free(name->id), free(name->target), free(name);
    }
    map_free(store->names);
    store->names = kept;
}

uint64_t image_prune(struct image_store *store, const char *const *needed) {
    struct going going = {.store = store, .now_ms = clock_wall_ms()};
    if (needed) names_drop(store, needed);
    uint64_t bytes = go(&going);
    pulls_drop(store);
    scoped_string char *caches = images_path(store, "caches", NULL);
    if (needed && list_empty(&store->flights)) images_trash(store, caches);
    names_save(store, NULL, NULL);
    return bytes;
}

/* ---- by itself ---- */

static void sweep_in(struct image_store *store, int64_t delay_ms) {
    store->sweep_ms = clock_wall_ms() + delay_ms;
    io_timer_arm(store->sweep, delay_ms);
}

static void sweep(struct image_store *store) {
    struct going going = {.store = store,
                          .now_ms = clock_wall_ms(),
                          .cache_ms = store->cache_ms,
                          .due_ms = INT64_MAX,
                          .limit_bytes = store->cache_bytes};
    uint64_t bytes = go(&going);
    scoped_string char *pulls = images_path(store, "pulls", NULL);
    struct stat at;
    if (stat(pulls, &at) == 0 && at.st_mtim.tv_sec < (going.now_ms - going.cache_ms) / 1000)
        pulls_drop(store);
    if (bytes)
        log_info("image", "layers that nothing needs any more went: %llu MB",
                 (unsigned long long)(bytes >> 20));
    if (going.due_ms == INT64_MAX) return; /* else nobody wakes us */
    sweep_in(store, going.due_ms > going.now_ms ? going.due_ms - going.now_ms + SOONEST_MS : FIRST_MS);
}

static void on_sweep(void *owner) {
    struct image_store *store = owner;
    if (!store->closing) sweep(store);
}

void sweep_init(struct image_store *store) {
    store->sweep = io_timer_new(store->loop, on_sweep, store);
    image_sweep_soon(store);
}

void image_sweep_soon(struct image_store *store) {
    const int64_t soon_ms = store->cache_ms < FIRST_MS ? store->cache_ms + SOONEST_MS : FIRST_MS;
    if (!store->sweep || (io_timer_armed(store->sweep) && store->sweep_ms <= clock_wall_ms() + soon_ms))
        return;
    sweep_in(store, soon_ms);
}

struct image_usage image_usage(struct image_store *store) {
    struct image_usage usage = {.layers_bytes = store->used_bytes, .quota_bytes = store->quota_bytes};
    void *value;
    mark_needed(store);
    for (size_t i = 0; map_next(store->layers, &i, NULL, &value);) {
        const struct layer *layer = value;
        if (!layer->marked) usage.unused_bytes += layer->bytes;
    }
    return usage;
}
