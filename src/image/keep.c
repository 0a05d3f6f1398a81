/* What is kept and what may go: names, the callers' own keeps, and containers that live from an image.
 *
 * A container's use is a link uses/NUMBER -> ID: one cheap call on the way of a wake, there again after a
 * kill. Prune marks what can be reached from names, keeps, uses and the work under way, and takes the rest
 * away. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- names ---- */

struct error *image_alias(struct image_store *store, const char *name, const char *target) {
    scoped_string char *normal = NULL, *id = NULL, *other = NULL, *target_normal = NULL;
    TRY_PLAIN(reference_normal(name, &normal));
    struct name *old = map_get(store->names, span_of(normal));
    if (old && old->fixed)
        return error_new(ERROR_FAILED_PRECONDITION, "the alias %s is set by the configuration (`aliases`)",
                         name);
    if (!target) return image_remove(store, name);
    TRY(names_follow(store, target, &id, &other, &target_normal), "alias %s", name);
    if (!id && !other && !target_normal)
        return error_new(ERROR_NOT_FOUND, "alias %s: there is no image %s", name, target);
    struct name *fresh = NEW(struct name);
    fresh->target = mem_string(target);
    old = map_put(store->names, span_of(normal), fresh);
    if (old) free(old->id), free(old->target);
    free(old);
    free(take(id)), free(take(other)), free(take(target_normal));
    struct error *circle = names_follow(store, name, &id, &other, &target_normal);
    if (circle) {
        map_remove(store->names, span_of(normal));
        free(fresh->target), free(fresh);
    }
    names_save(store, NULL, NULL);
    return circle;
}

struct error *image_remove(struct image_store *store, const char *name) {
    scoped_string char *normal = NULL;
    TRY_PLAIN(reference_normal(name, &normal));
    struct name *old = map_get(store->names, span_of(normal));
    if (!old) return error_new(ERROR_NOT_FOUND, "there is no image %s (`catnap image ls` lists them)", name);
    if (old->fixed)
        return error_new(ERROR_FAILED_PRECONDITION, "the alias %s is set by the configuration (`aliases`)",
                         name);
    map_remove(store->names, span_of(normal));
    free(old->id), free(old->target), free(old);
    names_save(store, NULL, NULL);
    return NULL;
}

struct error *image_keep(struct image_store *store, const char *tag, const char *name) {
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    if (name && map_get(store->records, span_of(name)))
        id = mem_string(name);
    else if (name)
        TRY_PLAIN(names_follow(store, name, &id, &other, &normal));
    if (name && !id && !other) return error_new(ERROR_NOT_FOUND, "there is no image %.80s", name);
    free(id ? map_put(store->keeps, span_of(tag), mem_string(id)) : map_remove(store->keeps, span_of(tag)));
    names_save(store, NULL, NULL);
    return NULL;
}

/* ---- containers ---- */

static char *use_path(const struct image_store *store, uint64_t container) {
    return mem_printf("%s/uses/%llu", store->dir, (unsigned long long)container);
}

void image_use(struct image_store *store, uint64_t container, const char *id) {
    scoped_string char *path = use_path(store, container);
    (void)unlink(path);
    if (symlink(id, path))
        log_warn("image", "container %llu: its image can't be noted as used", (unsigned long long)container);
    free(table_put(store->uses, container, mem_string(id)));
}

void image_unuse(struct image_store *store, uint64_t container) {
    char *id = table_remove(store->uses, container);
    if (!id) return;
    free(id);
    scoped_string char *path = use_path(store, container);
    (void)unlink(path);
}

struct error *uses_load(struct image_store *store) {
    scoped_string char *path = images_path(store, "uses", NULL);
    DIR *directory = opendir(path);
    if (!directory) return error_errno(errno, "open %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char id[SHA256_HEX_SIZE + 1];
        uint64_t container;
        ssize_t size = readlinkat(dirfd(directory), entry->d_name, id, sizeof id);
        if (size != SHA256_HEX_SIZE - 1 || !span_to_u64(span_of(entry->d_name), &container)) continue;
        free(table_put(store->uses, container, mem_string_n(id, (size_t)size)));
    }
    closedir(directory);
    return NULL;
}

void image_uses_retain(struct image_store *store, bool (*lives)(void *owner, uint64_t container),
                       void *owner) {
    scoped_text struct text dead = {0};
    uint64_t container;
    for (size_t i = 0; table_next(store->uses, &i, &container, NULL);)
        if (!lives(owner, container))
            text_add(&dead, (struct span){(const char *)&container, sizeof container});
    for (size_t at = 0; at < dead.size; at += sizeof container) {
        memcpy(&container, dead.data + at, sizeof container);
        image_unuse(store, container);
    }
}

/* ---- the list ---- */

void image_list(struct image_store *store, void (*each)(void *owner, const struct image_listed *listed),
                void *owner) {
    const char *key;
    void *value;
    for (size_t i = 0; map_next(store->names, &i, &key, &value);) {
        const struct name *name = value;
        scoped_string char *shown = reference_short(key);
        each(owner, &(struct image_listed){
                        .name = shown, .alias_of = name->target, .image = image_find(store, key)});
    }
    for (size_t i = 0; map_next(store->keeps, &i, NULL, &value);) {
        const struct record *record = map_get(store->records, span_of(value));
        if (record) each(owner, &(struct image_listed){.image = &record->image});
    }
}

/* ---- marking ---- */

static void mark_layer(struct image_store *store, const char *id) {
    struct layer *layer = id ? map_get(store->layers, span_of(id)) : NULL;
    if (layer) layer->marked = true;
}

void mark_image(struct image_store *store, const char *id) {
    struct record *record = id ? map_get(store->records, span_of(id)) : NULL;
    if (!record || record->marked) return;
    record->marked = true;
    for (size_t i = 0; record->layers && record->layers[i]; i++) mark_layer(store, record->layers[i]);
}

static void mark_all(struct image_store *store) {
    void *value;
    for (size_t i = 0; map_next(store->layers, &i, NULL, &value);) ((struct layer *)value)->marked = false;
    for (size_t i = 0; map_next(store->records, &i, NULL, &value);) ((struct record *)value)->marked = false;
    for (size_t i = 0; map_next(store->names, &i, NULL, &value);)
        mark_image(store, ((struct name *)value)->id);
    for (size_t i = 0; map_next(store->keeps, &i, NULL, &value);) mark_image(store, value);
    for (size_t i = 0; table_next(store->uses, &i, NULL, &value);) mark_image(store, value);
    LIST_EACH(node, &store->flights) {
        struct flight *flight = CONTAINER_OF(node, struct flight, node);
        mark_image(store, flight->result);
        mark_layer(store, flight->result); /* a step's */
        for (size_t i = 0; flight->holds && flight->holds[i]; i++) mark_layer(store, flight->holds[i]);
    }
}

struct image_usage image_usage(struct image_store *store) {
    struct image_usage usage = {.layers_bytes = store->used_bytes, .quota_bytes = store->quota_bytes};
    void *value;
    mark_all(store);
    for (size_t i = 0; map_next(store->layers, &i, NULL, &value);) {
        const struct layer *layer = value;
        if (!layer->marked) usage.unused_bytes += layer->bytes;
    }
    return usage;
}

/* ---- taking away ---- */

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

uint64_t image_prune(struct image_store *store, const char *const *needed) {
    uint64_t bytes = 0;
    if (needed) names_drop(store, needed);
    mark_all(store);
    while (record_drop_one(store)) {
    }
    while (layer_drop_one(store, &bytes)) {
    }
    cache_clean(store);
    scoped_string char *pulls = images_path(store, "pulls", NULL);
    if (!flight_any_pull(store)) {
        images_trash(store, pulls);
        error_free(dir_make(pulls, 0700));
    }
    scoped_string char *caches = images_path(store, "caches", NULL);
    if (needed && list_empty(&store->flights)) images_trash(store, caches);
    names_save(store, NULL, NULL);
    return bytes;
}

void image_sync(struct image_store *store, void (*done)(void *owner, struct error *error), void *owner) {
    names_save(store, done, owner);
}
