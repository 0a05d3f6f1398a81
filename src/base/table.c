/* table: numbers to pointers.
 *
 * Open addressing with linear probing and backward-shift removal, so that there are no tombstones to clean
 * up. At most three quarters full. A slot is empty where its value is NULL. */
#include "base.h"

#include <assert.h>
#include <stdlib.h>

struct slot {
    uint64_t key;
    void *value;
};
struct table {
    struct slot *slots;
    size_t mask; /* slots - 1; a power of two less one */
    size_t count;
};

/* The finaliser of splitmix64: our keys count upwards, and neighbours must not become one cluster with
 * others' neighbours. */
static size_t home(const struct table *table, uint64_t key) {
    key ^= key >> 30;
    key *= 0xbf58476d1ce4e5b9u;
    key ^= key >> 27;
    key *= 0x94d049bb133111ebu;
    key ^= key >> 31;
    return (size_t)key & table->mask;
}

static struct slot *find(const struct table *table, uint64_t key) {
    size_t i = home(table, key);
    while (table->slots[i].value && table->slots[i].key != key) i = (i + 1) & table->mask;
    return &table->slots[i];
}

struct table *table_new(void) {
    struct table *table = NEW(struct table);
    table->mask = 15;
    table->slots = mem_array(table->mask + 1, sizeof *table->slots);
    return table;
}

void table_free(struct table *table) {
    if (!table) return;
    free(table->slots);
    free(table);
}

void *table_get(const struct table *table, uint64_t key) {
    return find(table, key)->value;
}

static void double_size(struct table *table) {
    struct slot *old = table->slots;
    size_t old_slots = table->mask + 1;
    table->mask = old_slots * 2 - 1;
    table->slots = mem_array(old_slots * 2, sizeof *table->slots);
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].value) *find(table, old[i].key) = old[i];
    free(old);
}

void *table_put(struct table *table, uint64_t key, void *value) {
    assert(value);
    if ((table->count + 1) * 4 > (table->mask + 1) * 3) double_size(table);
    struct slot *slot = find(table, key);
    void *replaced = slot->value;
    if (!replaced) table->count++;
    *slot = (struct slot){key, value};
    return replaced;
}

void *table_remove(struct table *table, uint64_t key) {
    struct slot *slot = find(table, key);
    void *removed = slot->value;
    if (!removed) return NULL;
    table->count--;
    size_t hole = (size_t)(slot - table->slots);
    for (size_t i = (hole + 1) & table->mask; table->slots[i].value; i = (i + 1) & table->mask) {
        /* What lies here may fill the hole unless its home is between the hole and here. */
        size_t distance = (i - home(table, table->slots[i].key)) & table->mask;
        if (distance < ((i - hole) & table->mask)) continue;
        table->slots[hole] = table->slots[i];
        hole = i;
    }
    table->slots[hole] = (struct slot){0, NULL};
    return removed;
}

size_t table_count(const struct table *table) {
    return table->count;
}

bool table_next(const struct table *table, size_t *i, uint64_t *key, void **value) {
    for (; *i <= table->mask; (*i)++) {
        const struct slot *slot = &table->slots[*i];
        if (!slot->value) continue;
        if (key) *key = slot->key;
        if (value) *value = slot->value;
        (*i)++;
        return true;
    }
    return false;
}
