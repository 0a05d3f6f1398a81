/* What steps of builds get of this machine's settings: proxies, certificates, package indexes. No part of any
 * image or cache key. */
#pragma once
#include "inside.h"

struct machine {
    char **env; /* NAME=VALUE: for names that neither the image nor the Dockerfile sets */
    struct image_mount *mounts;
    size_t mount_count;
};
/* `dir`: where files of ours lie. Reads the environment and a few files; for the loop, at a start. */
struct machine *machine_new(const char *dir);
void machine_free(struct machine *machine);
