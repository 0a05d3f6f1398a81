/* One run of skopeo: its lines as they come, its end as an error that says what the registry said. */
#pragma once
#include "inside.h"

struct skopeo;
struct skopeo_options {
    struct image_store *store;
    char *const *words;                          /* what follows "skopeo"; borrowed for the call */
    int64_t deadline_ms;                         /* 0: none */
    void (*line)(void *owner, struct span line); /* NULL: output is one piece, given to `done` */
    void (*done)(void *owner, struct error *error, struct span output); /* error owned by it */
    void *owner;
};
struct skopeo *skopeo_start(const struct skopeo_options *options);
/* Kills it; no callback comes any more. */
void skopeo_free(struct skopeo *skopeo);
/* {"auths": {REGISTRY: ...}} into a file that only we can read. */
must_check struct error *skopeo_auth_write(const char *path, const char *registry,
                                           const struct image_credentials *credentials);
/* What skopeo wrote when it failed, as an error: the message alone, and a code by what it says. */
must_check struct error *skopeo_error(struct span said);
