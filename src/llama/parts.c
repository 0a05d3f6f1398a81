/* The names of a split model's files: they lie side by side, each with its number and how many there are. */
#include "llama.h"

#include <stdio.h>

#define PART_TAIL sizeof("-00001-of-00003.gguf") - 1

char *gguf_part(const char *first, uint32_t part) {
    size_t size = strlen(first);
    const char *tail = size > PART_TAIL ? first + size - (PART_TAIL) : "";
    uint32_t number = 1, parts = 1;
    int end = 0;
    bool split = sscanf(tail, "-%5u-of-%5u.gguf%n", &number, &parts, &end) == 2 && end > 0 && number == 1;
    if (part == 1) return mem_string(first);
    if (!split || part > parts) return NULL;
    return mem_printf("%.*s-%05u-of-%05u.gguf", (int)(size - (PART_TAIL)), first, part, parts);
}
