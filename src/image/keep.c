/* What is kept: names, the callers' own keeps, and containers that live from an image. What goes: prune.c.
 *
 * A container's use is a link uses/NUMBER -> ID: one cheap call on the way of a wake, there again after a
 * kill. */
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
    image_sweep_soon(store);
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

void image_sync(struct image_store *store, void (*done)(void *owner, struct error *error), void *owner) {
    names_save(store, done, owner);
}
