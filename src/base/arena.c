/* Arena: blocks of growing size, freed together. A large piece gets a block of its own. */
#include "base.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES 4096

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};
struct arena {
    struct block *blocks; /* the first is the one being filled */
};

struct arena *arena_new(void) {
    return NEW(struct arena);
}

void arena_free(struct arena *arena) {
    if (!arena) return;
    while (arena->blocks) {
        struct block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    free(arena);
}

void *arena_alloc(struct arena *arena, size_t size_bytes) {
    size_bytes = (size_bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct block *block = arena->blocks;
    if (!block || block->size - block->used < size_bytes) {
        size_t size = size_bytes > BLOCK_BYTES / 4 ? size_bytes : BLOCK_BYTES;
        struct block *made = mem_new(sizeof *made + size);
        made->size = size;
        if (block && size == size_bytes && size != BLOCK_BYTES) { /* behind the one being filled */
            made->next = block->next;
            block->next = made;
        } else {
            made->next = block;
            arena->blocks = made;
        }
        block = made;
    }
    void *memory = block->bytes + block->used;
    block->used += size_bytes;
    return memory;
}

char *arena_string(struct arena *arena, struct span bytes) {
    char *copy = arena_alloc(arena, bytes.size + 1);
    if (bytes.size) memcpy(copy, bytes.data, bytes.size);
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *string = mem_vprintf(format, args);
    va_end(args);
    return arena_string(arena, span_of(string));
}
