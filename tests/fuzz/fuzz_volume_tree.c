/* Written trees: whatever comes in is refused, or is a tree in which every path is found, lies below the root
 * and below its parents only, and which survives being written. */
#include "inside.h"

#include <stdlib.h>

static void check(const struct tree *tree, size_t i) {
    const struct entry *entry = &tree->entries[i];
    struct span path = span_of(entry->path), above = path;
    if (!path_good(path) || tree_get(tree, path) != entry) abort();
    for (path_last(above, &above); above.data; path_last(above, &above)) {
        size_t begin, end = tree_below(tree, above, &begin);
        if (i < begin || i >= end) abort();
    }
    size_t begin, end = tree_below(tree, path, &begin);
    if (begin > end || end > tree->count || (begin < end && begin != i + 1)) abort();
    bool led_out;
    const struct entry *resolved = tree_resolve(tree, entry->path, &led_out);
    if (resolved && (led_out || resolved->kind == ENTRY_LINK)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped(tree) struct tree *tree = NULL, *again = NULL, *merged = NULL;
    scoped(error) struct error *error = tree_parse((struct span){(const char *)data, size_bytes}, &tree);
    if (error) {
        if (tree || error->code != ERROR_DATA_LOSS) abort();
        return 0;
    }
    for (size_t i = 0; i < tree->count; i++) check(tree, i);
    scoped_text struct text text = {0}, text_again = {0};
    tree_print(tree, &text);
    if ((error = tree_parse(text_span(&text), &again)) || !tree_equal(tree, again)) abort();
    tree_print(again, &text_again);
    if (!span_equal(text_span(&text), text_span(&text_again))) abort();
    merged = tree_merge(again, tree);
    for (size_t i = 0; i < merged->count; i++)
        if (tree_get(merged, span_of(merged->entries[i].path)) != &merged->entries[i]) abort();
    return 0;
}
