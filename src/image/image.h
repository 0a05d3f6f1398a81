/* image: from an image's name to the directories that a container's root is made of.
 *
 * Two kinds so far: `host` (this machine's own /usr and the little of /etc that programs need, read-only) and
 * a directory of this machine. A registry's name is refused by a sentence that says so. */
#pragma once
#include "base.h"

struct image_layers {
    char **layer; /* directories, top first */
    size_t count; /* 0: the host image */
};
/* NOT_FOUND where it does not exist, UNIMPLEMENTED for registries, INVALID_ARGUMENT for what is no root file
 * system. */
must_check struct error *image_resolve(const char *name, struct image_layers *ret_layers);
void image_layers_done(struct image_layers *layers);
