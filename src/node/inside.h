/* What the files of node share. */
#pragma once
#include "container.h"
#include "image.h"
#include "node.h"

/* ---- root.c ---- */
struct root {
    struct image_layers layers;
    struct container_mount *mounts; /* where the image has no layers */
    size_t mount_count;
};
must_check struct error *root_make(const struct core_function *function, struct root *ret_root);
void root_done(struct root *root);
