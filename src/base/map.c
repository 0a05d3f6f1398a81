/* String keys to pointers.
 *
 * The entries lie in an array in the order of insertion; an index of open addressing holds their positions. A
 * removed entry leaves a hole (value NULL) that the next growth closes. */
#include "base.h"

#include <assert.h>
#include <stdlib.h>

#define EMPTY UINT32_MAX

struct entry {
    char *key;
    size_t key_size;
    uint64_t hash;
    void *value; /* NULL: removed */
};
struct map {
    struct entry *entries;
    uint32_t used, capacity; /* of entries, holes included */
    uint32_t *index;         /* positions in entries, or EMPTY */
    uint32_t mask;
    size_t count;
};

static uint64_t hash_of(struct span key) { /* FNV-1a: keys are short, and names of our own users */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key.size; i++) hash = (hash ^ (unsigned char)key.data[i]) * 0x100000001b3u;
    return hash ^ (hash >> 32);
}

static void index_again(struct map *map) {
    memset(map->index, 0xff, ((size_t)map->mask + 1) * sizeof *map->index);
    for (uint32_t e = 0; e < map->used; e++) {
        uint32_t i = (uint32_t)map->entries[e].hash & map->mask;
        while (map->index[i] != EMPTY) i = (i + 1) & map->mask;
        map->index[i] = e;
    }
}

static void make_room(struct map *map) {
    uint32_t kept = 0;
    for (uint32_t e = 0; e < map->used; e++)
        if (map->entries[e].value) map->entries[kept++] = map->entries[e];
    map->used = kept;
    if (map->used * 2 >= map->capacity) {
        map->capacity *= 2;
        map->entries = mem_grow(map->entries, map->capacity, sizeof *map->entries);
        map->mask = map->capacity * 2 - 1;
        map->index = mem_grow(map->index, (size_t)map->mask + 1, sizeof *map->index);
    }
    index_again(map);
}

struct map *map_new(void) {
    struct map *map = NEW(struct map);
    map->capacity = 8;
    map->entries = mem_array(map->capacity, sizeof *map->entries);
    map->mask = map->capacity * 2 - 1;
    map->index = mem_array((size_t)map->mask + 1, sizeof *map->index);
    index_again(map);
    return map;
}

void map_free(struct map *map) {
    if (!map) return;
    for (uint32_t e = 0; e < map->used; e++) free(map->entries[e].key);
    free(map->entries);
    free(map->index);
    free(map);
}

static struct entry *find(const struct map *map, struct span key, uint64_t hash) {
    for (uint32_t i = (uint32_t)hash & map->mask; map->index[i] != EMPTY; i = (i + 1) & map->mask) {
        struct entry *entry = &map->entries[map->index[i]];
        if (!entry->value || entry->hash != hash || entry->key_size != key.size) continue;
        if (key.size == 0 || memcmp(entry->key, key.data, key.size) == 0) return entry;
    }
    return NULL;
}

void *map_get(const struct map *map, struct span key) {
    struct entry *entry = find(map, key, hash_of(key));
    return entry ? entry->value : NULL;
}

void *map_put(struct map *map, struct span key, void *value) {
    assert(value);
    uint64_t hash = hash_of(key);
    struct entry *entry = find(map, key, hash);
    if (entry) {
        void *replaced = entry->value;
        entry->value = value;
        return replaced;
    }
    if (map->used == map->capacity) make_room(map);
    uint32_t i = (uint32_t)hash & map->mask;
    while (map->index[i] != EMPTY) i = (i + 1) & map->mask;
    map->index[i] = map->used;
    map->entries[map->used++] = (struct entry){mem_string_n(key.data, key.size), key.size, hash, value};
    map->count++;
    return NULL;
}

void *map_remove(struct map *map, struct span key) {
    struct entry *entry = find(map, key, hash_of(key));
    if (!entry) return NULL;
    void *removed = entry->value;
    free(entry->key);
    entry->key = NULL;
    entry->value = NULL;
    map->count--;
    return removed;
}

size_t map_count(const struct map *map) {
    return map->count;
}

bool map_next(const struct map *map, size_t *i, const char **key, void **value) {
    for (; *i < map->used; (*i)++) {
        const struct entry *entry = &map->entries[*i];
        if (!entry->value) continue;
        if (key) *key = entry->key;
        if (value) *value = entry->value;
        (*i)++;
        return true;
    }
    return false;
}
