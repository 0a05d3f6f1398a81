/* Trees in memory: entries sorted by path, made once and then only read.
 *
 * A directory is followed by all that is in it ("a", "a/b", "a-c": '/' sorts before all else), so that a
 * listing is a range and a merge is one pass over both. */
#include "inside.h"

#include <stdlib.h>

#define HOPS_MAX 40 /* links in one path, as the kernel has it */

struct tree *tree_new(void) {
    struct tree *tree = NEW(struct tree);
    tree->refs = 1;
    tree->arena = arena_new();
    return tree;
}

struct tree *tree_ref(struct tree *tree) {
    if (tree) tree->refs++;
    return tree;
}

void tree_free(struct tree *tree) {
    if (!tree || --tree->refs > 0) return;
    arena_free(tree->arena);
    free(tree->entries);
    free(tree);
}

struct entry *tree_add(struct tree *tree, const struct entry *entry) {
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity ? 2 * tree->capacity : 16;
        tree->entries = mem_grow(tree->entries, tree->capacity, sizeof *tree->entries);
    }
    struct entry *copy = &tree->entries[tree->count++];
    *copy = *entry;
    copy->path = arena_string(tree->arena, span_of(entry->path));
    copy->digest = entry->digest ? arena_string(tree->arena, span_of(entry->digest)) : NULL;
    copy->target = entry->target ? arena_string(tree->arena, span_of(entry->target)) : NULL;
    tree->memory_bytes += sizeof *copy + strlen(copy->path) + (entry->digest ? SHA256_HEX_SIZE : 0) +
                          (entry->target ? strlen(entry->target) : 0);
    return copy;
}

/* The end of a path, then '/', then the rest. */
static int rank(char c) {
    return c == '\0' ? -1 : c == '/' ? 0 : (unsigned char)c;
}

int path_compare(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return rank(*a) - rank(*b);
}

static int by_path(const void *a, const void *b) {
    const struct entry *left = a, *right = b;
    return path_compare(left->path, right->path);
}

void tree_sort(struct tree *tree) {
    if (tree->count == 0) return;
    qsort(tree->entries, tree->count, sizeof *tree->entries, by_path);
    size_t kept = 1;
    for (size_t i = 1; i < tree->count; i++) {
        const struct entry *entry = &tree->entries[i];
        struct entry *last = &tree->entries[kept - 1];
        if (strcmp(entry->path, last->path) != 0)
            tree->entries[kept++] = *entry;
        else if (entry->kind == ENTRY_DIRECTORY)
            *last = *entry;
    }
    tree->count = kept;
}

static int compare(const char *path, struct span other) {
    size_t i = 0;
    while (i < other.size && path[i] && path[i] == other.data[i]) i++;
    return rank(path[i]) - rank(i < other.size ? other.data[i] : '\0');
}

size_t tree_from(const struct tree *tree, struct span path) {
    size_t low = 0, high = tree->count;
    while (path.size > 0 && low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(tree->entries[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct entry *tree_get(const struct tree *tree, struct span path) {
    size_t at = tree_from(tree, path);
    return at < tree->count && compare(tree->entries[at].path, path) == 0 ? &tree->entries[at] : NULL;
}

size_t tree_below(const struct tree *tree, struct span directory, size_t *ret_begin) {
    *ret_begin = 0;
    if (directory.size == 0) return tree->count;
    scoped_text struct text bound = {0};
    text_add(&bound, directory);
    text_add_char(&bound, '/');
    *ret_begin = tree_from(tree, text_span(&bound));
    bound.data[bound.size - 1] = '\1'; /* what sorts next */
    return tree_from(tree, text_span(&bound));
}

static bool is_below(const char *path, const char *directory) {
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && path[size] == '/';
}

struct tree *tree_merge(const struct tree *base, const struct tree *change) {
    struct tree *merged = tree_new();
    const char *gone = NULL; /* the last that was taken away */
    size_t b = 0, c = 0;
    while (b < base->count || c < change->count) {
        int order = b == base->count     ? 1
                    : c == change->count ? -1
                                         : path_compare(base->entries[b].path, change->entries[c].path);
        if (order < 0) {
            const struct entry *entry = &base->entries[b++];
            if (!gone || !is_below(entry->path, gone)) tree_add(merged, entry);
            continue;
        }
        const struct entry *entry = &change->entries[c++];
        if (order == 0) b++;
        if (entry->kind == ENTRY_GONE) {
            gone = entry->path;
            continue;
        }
        /* What a change says of the live tree is what stood there before: not of this entry. */
        struct entry *added = tree_add(merged, entry);
        added->inode = 0, added->ctime_ns = 0, added->settled = false;
    }
    return merged;
}

bool tree_equal(const struct tree *a, const struct tree *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct entry *x = &a->entries[i], *y = &b->entries[i];
        if (strcmp(x->path, y->path) != 0 || x->kind != y->kind || x->mode != y->mode ||
            x->size_bytes != y->size_bytes || x->mtime_ns != y->mtime_ns)
            return false;
        if (x->kind == ENTRY_FILE && strcmp(x->digest, y->digest) != 0) return false;
        if (x->kind == ENTRY_LINK && strcmp(x->target, y->target) != 0) return false;
    }
    return true;
}

void tree_measure(const struct tree *tree, uint64_t *ret_files, uint64_t *ret_bytes) {
    *ret_files = *ret_bytes = 0;
    for (size_t i = 0; i < tree->count; i++) {
        *ret_files += tree->entries[i].kind != ENTRY_DIRECTORY;
        *ret_bytes += tree->entries[i].kind == ENTRY_FILE ? tree->entries[i].size_bytes : 0;
    }
}

/* One part further. false: there is nothing, or it led out. */
static bool step(const struct tree *tree, struct text *at, struct text *rest, size_t *hops,
                 const struct entry **ret_entry, bool *ret_led_out) {
    struct span left = text_span(rest), part = span_cut(&left, '/');
    scoped_string char *next = span_string(part), *after = left.data ? span_string(left) : NULL;
    size_t before = at->size;
    text_clear(rest);
    if (after) text_add_string(rest, after);
    if (next[0] == '\0' || strcmp(next, ".") == 0) return true;
    if (strcmp(next, "..") == 0) {
        *ret_led_out = at->size == 0;
        struct span parent;
        path_last(text_span(at), &parent);
        at->size = parent.size;
        *ret_entry = at->size ? tree_get(tree, text_span(at)) : NULL;
        return !*ret_led_out;
    }
    if (at->size) text_add_char(at, '/');
    text_add_string(at, next);
    *ret_entry = tree_get(tree, text_span(at));
    if (!*ret_entry || (*ret_entry)->kind != ENTRY_LINK) return *ret_entry != NULL;
    const char *target = (*ret_entry)->target;
    *ret_led_out = target[0] == '/' || ++*hops > HOPS_MAX;
    at->size = before;
    *ret_entry = before ? tree_get(tree, text_span(at)) : NULL; /* where a target of "." leads */
    text_clear(rest);
    text_printf(rest, "%s%s%s", target, after ? "/" : "", after ? after : "");
    return !*ret_led_out;
}

const struct entry *tree_resolve(const struct tree *tree, const char *path, bool *ret_led_out) {
    scoped_text struct text at = {0}, rest = {0};
    const struct entry *entry = NULL;
    size_t hops = 0;
    *ret_led_out = false;
    text_add_string(&rest, path);
    while (rest.size > 0)
        if (!step(tree, &at, &rest, &hops, &entry, ret_led_out)) return NULL;
    return entry;
}
