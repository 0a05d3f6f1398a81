/* A binary heap whose nodes lie in the objects that are ordered: each knows its place, so that leaving costs
 * O(log n) too.
 *
 * Deadlines come in nearly ascending, so that most insertions end where they begin, at the bottom. */
#include "inside.h"

#include <stdlib.h>

static bool before(const struct heap_node *a, const struct heap_node *b) {
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void place(struct heap *heap, struct heap_node *node, size_t at) {
    heap->nodes[at] = node;
    node->at = at;
}

static void rise(struct heap *heap, struct heap_node *node) {
    size_t at = node->at;
    while (at > 0 && before(node, heap->nodes[(at - 1) / 2])) {
        place(heap, heap->nodes[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(heap, node, at);
}

static void sink(struct heap *heap, struct heap_node *node) {
    size_t at = node->at;
    for (size_t child = at * 2 + 1; child < heap->count; child = at * 2 + 1) {
        if (child + 1 < heap->count && before(heap->nodes[child + 1], heap->nodes[child])) child++;
        if (!before(heap->nodes[child], node)) break;
        place(heap, heap->nodes[child], at);
        at = child;
    }
    place(heap, node, at);
}

void nap_heap_remove(struct heap_node *node) {
    struct heap *heap = node->heap;
    if (!heap) return;
    struct heap_node *last = heap->nodes[--heap->count];
    node->heap = NULL;
    if (last == node) return;
    place(heap, last, node->at);
    rise(heap, last);
    sink(heap, last);
}

void nap_heap_set(struct heap *heap, struct heap_node *node, int64_t key, uint64_t order) {
    if (node->heap == heap && node->key == key && node->order == order) return;
    nap_heap_remove(node);
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity ? heap->capacity * 2 : 4;
        heap->nodes = mem_grow(heap->nodes, heap->capacity, sizeof(struct heap_node *));
    }
    node->heap = heap;
    node->key = key;
    node->order = order;
    place(heap, node, heap->count++);
    rise(heap, node);
}

void nap_heap_done(struct heap *heap) {
    free(heap->nodes);
    *heap = (struct heap){0};
}
