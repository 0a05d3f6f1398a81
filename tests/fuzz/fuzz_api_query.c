/* What stands behind '?': each value is found by its name, and a value that is written with all its bytes
 * escaped is read as the same bytes. The first line is a name, the rest the query. */
#include "inside.h"

#include <stdlib.h>

static void check_escaped(struct arena *arena, const char *value) {
    scoped_text struct text query = {0};
    text_add_string(&query, "other=1&name=");
    for (const char *at = value; *at; at++) text_printf(&query, "%%%02X", (unsigned char)*at);
    text_add_string(&query, "&name=second&last");
    const char *found = query_find(arena, text_span(&query), "name");
    if (!found || strcmp(found, value) != 0) abort();
    found = query_find(arena, text_span(&query), "last");
    if (!found || *found || query_find(arena, text_span(&query), "absent")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped(arena) struct arena *arena = arena_new();
    struct span rest = {(const char *)data, size_bytes}, line = span_cut(&rest, '\n');
    char *name = arena_string(arena, line);
    const char *value = query_find(arena, rest, name);
    if (value && strlen(value) > rest.size) abort();
    check_escaped(arena, value ? value : name);
    return 0;
}
