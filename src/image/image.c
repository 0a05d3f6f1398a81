/* Resolving an image's name. Knows which kinds there are; see image.h. */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct error *directory_check(const char *path) {
    struct stat at;
    if (stat(path, &at) < 0) return error_errno(errno, "image directory %s", path);
    if (!S_ISDIR(at.st_mode)) return error_new(ERROR_INVALID_ARGUMENT, "image %s is not a directory", path);
    return NULL;
}

struct error *image_resolve(const char *name, struct image_layers *ret_layers) {
    *ret_layers = (struct image_layers){0};
    if (strcmp(name, "host") == 0) return NULL;
    if (name[0] != '/')
        return error_new(
            ERROR_UNIMPLEMENTED,
            "image '%s': images from registries are not built yet; use `host` (this machine's own files, "
            "read-only) or an absolute directory that holds a root file system",
            name);
    TRY_PLAIN(directory_check(name));
    ret_layers->layer = mem_array(1, sizeof *ret_layers->layer);
    ret_layers->layer[0] = mem_string(name);
    ret_layers->count = 1;
    return NULL;
}

void image_layers_done(struct image_layers *layers) {
    for (size_t i = 0; i < layers->count; i++) free(layers->layer[i]);
    free(layers->layer);
    *layers = (struct image_layers){0};
}
