/* Names of volumes, and paths within one as clients write them. What passes here names something below the
 * root and nothing else, whatever it is joined to. */
#include "inside.h"

static bool part_good(struct span part) {
    return part.size > 0 && part.size <= 255 && !span_is(part, ".") && !span_is(part, "..");
}

struct error *volume_path_clean(const char *path, char **ret_path) {
    scoped_text struct text clean = {0};
    struct span rest = span_of(path);
    if (rest.size > PATH_BYTES_MAX)
        return error_new(ERROR_INVALID_ARGUMENT, "a path of %zu bytes; at most %d", rest.size,
                         PATH_BYTES_MAX);
    while (rest.data) {
        struct span part = span_cut(&rest, '/');
        if (part.size == 0 || span_is(part, ".")) continue;
        if (!part_good(part))
            return error_new(ERROR_INVALID_ARGUMENT, "'%s': %s", path,
                             part.size > 255 ? "a name in it is longer than 255 bytes"
                                             : "'..' leads out of what it names; write the path out");
        if (clean.size) text_add_char(&clean, '/');
        text_add(&clean, part);
    }
    *ret_path = text_take(&clean);
    return NULL;
}

bool path_good(struct span path) {
    if (path.size == 0 || path.size > PATH_BYTES_MAX || memchr(path.data, '\0', path.size)) return false;
    while (path.data)
        if (!part_good(span_cut(&path, '/'))) return false;
    return true;
}

struct span path_last(struct span path, struct span *ret_parent) {
    const char *slash = path.size ? memrchr(path.data, '/', path.size) : NULL;
    *ret_parent = (struct span){slash ? path.data : NULL, slash ? (size_t)(slash - path.data) : 0};
    if (!slash) return path;
    return (struct span){slash + 1, path.size - ret_parent->size - 1};
}

bool name_good(const char *name) {
    size_t size = strlen(name);
    return size > 0 && size <= CORE_NAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == size;
}

bool name_has_link(const char *name) {
    return name_good(name) && name[0] != '.' && !id_good(name);
}

bool id_good(const char *id) {
    return strncmp(id, "vo-", 3) == 0 && strlen(id) == 3 + 16 &&
           strspn(id + 3, "abcdefghijklmnopqrstuvwxyz0123456789") == 16;
}
