/* The written form of a tree, as it lies in .content:
 *
 *   catnap-volume 1\n
 *   f 644 SIZE MTIME CTIME INODE SETTLED DIGEST PATH\0TARGET\0        (kind, mode in octal, times in ns)
 *
 * DIGEST is - where there is none, TARGET empty but for links. Read back only by its digest; all the same no
 * path of it can name anything but what is below the root. */
#include "inside.h"

#include <stdlib.h>

#define MAGIC "catnap-volume 1\n"

void tree_print(const struct tree *tree, struct text *text) {
    text_add_string(text, MAGIC);
    for (size_t i = 0; i < tree->count; i++) {
        const struct entry *entry = &tree->entries[i];
        text_printf(text, "%c %o %llu %lld %lld %llu %d %s ", (char)entry->kind, entry->mode,
                    (unsigned long long)entry->size_bytes, (long long)entry->mtime_ns,
                    (long long)entry->ctime_ns, (unsigned long long)entry->inode, entry->settled,
                    entry->digest ? entry->digest : "-");
        text_add_string(text, entry->path);
        text_add_char(text, '\0');
        if (entry->target) text_add_string(text, entry->target);
        text_add_char(text, '\0');
    }
}

static bool parse_mode(struct span field, unsigned *ret_mode) {
    *ret_mode = 0;
    for (size_t i = 0; i < field.size; i++) {
        if (field.data[i] < '0' || field.data[i] > '7') return false;
        *ret_mode = *ret_mode * 8 + (unsigned)(field.data[i] - '0');
    }
    return field.size > 0 && field.size <= 4;
}

/* Cut off at NUL: false where there is none. */
static bool cut_string(struct span *rest, struct span *ret) {
    const char *end = rest->size ? memchr(rest->data, '\0', rest->size) : NULL;
    if (!end) return false;
    *ret = (struct span){rest->data, (size_t)(end - rest->data)};
    *rest = (struct span){end + 1, rest->size - ret->size - 1};
    return true;
}

static bool parse_numbers(struct span *rest, struct entry *ret) {
    struct span kind = span_cut(rest, ' ');
    if (kind.size != 1 || !memchr("fdlx", kind.data[0], 4)) return false;
    ret->kind = (enum entry_kind)kind.data[0];
    uint64_t settled;
    bool good =
        parse_mode(span_cut(rest, ' '), &ret->mode) && span_to_u64(span_cut(rest, ' '), &ret->size_bytes) &&
        span_to_i64(span_cut(rest, ' '), &ret->mtime_ns) &&
        span_to_i64(span_cut(rest, ' '), &ret->ctime_ns) && span_to_u64(span_cut(rest, ' '), &ret->inode) &&
        span_to_u64(span_cut(rest, ' '), &settled) && settled <= 1;
    if (good) ret->settled = settled == 1;
    return good;
}

/* `digest` has room for one. */
static bool parse_entry(struct span *rest, char *digest, struct entry *ret) {
    *ret = (struct entry){0};
    struct span path, target;
    if (!parse_numbers(rest, ret)) return false;
    struct span sum = span_cut(rest, ' ');
    if (!rest->data || !cut_string(rest, &path) || !cut_string(rest, &target)) return false;
    if (!path_good(path) || (ret->kind == ENTRY_LINK) != (target.size > 0)) return false;
    ret->path = path.data;
    if (ret->kind == ENTRY_LINK) ret->target = target.data;
    if (ret->kind != ENTRY_FILE) return span_is(sum, "-");
    if (sum.size != SHA256_HEX_SIZE - 1) return false;
    memcpy(digest, sum.data, sum.size);
    digest[sum.size] = '\0';
    ret->digest = digest;
    return digest_good(digest);
}

struct error *tree_parse(struct span bytes, struct tree **ret_tree) {
    scoped(tree) struct tree *tree = tree_new();
    struct span rest = bytes;
    bool good = span_starts(bytes, MAGIC);
    if (good) rest = (struct span){bytes.data + strlen(MAGIC), bytes.size - strlen(MAGIC)};
    while (good && rest.size > 0) {
        char digest[SHA256_HEX_SIZE];
        struct entry entry;
        good = parse_entry(&rest, digest, &entry) &&
               (tree->count == 0 || path_compare(tree->entries[tree->count - 1].path, entry.path) < 0);
        if (good) tree_add(tree, &entry);
    }
    if (!good)
        return error_new(ERROR_DATA_LOSS, "not a written tree, from byte %zu on", bytes.size - rest.size);
    *ret_tree = take(tree);
    return NULL;
}
