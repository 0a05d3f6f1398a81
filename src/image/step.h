/* One step of a build that makes a layer: RUN, COPY and ADD, the directory of a WORKDIR. */
#pragma once
#include "copy.h"
#include "inside.h"

struct state {     /* an image being built */
    char **layers; /* ids, bottom first */
    bool host;
    struct image_config config;
};
void state_copy(const struct state *from, struct state *ret_to);
void state_done(struct state *state);
char **state_dirs(const struct image_store *store, const struct state *state);   /* top first; owned */
char **state_grafts(const struct image_store *store, const struct state *state); /* owned; NULL: none */
must_check struct error *state_of_image(struct image_store *store, const char *id, struct state *ret_state);
/* What a step's result depends on, so far: layers and what of the configuration steps see. */
void state_hash(const struct state *state, struct sha256 *sum);

enum step_kind { STEP_RUN, STEP_COPY, STEP_DIRECTORY };
struct step_wanted {
    enum step_kind kind;
    const struct state *onto;
    const char *key;  /* 64 hexadecimal digits */
    bool force;       /* shared with nobody, made anew */
    const char *what; /* for messages: "RUN make" */
    /* RUN */
    char *const *argv, *const *env; /* env: in full */
    const char *script;             /* becomes /.catnap/script; NULL: none */
    const struct image_mount *mounts;
    size_t mount_count;
    enum image_network network;
    struct image_pair *secret_files; /* destination -> content */
    size_t secret_count;
    /* COPY: taken */
    struct copy *copy;
    /* DIRECTORY */
    const char *directory, *owner;
};
/* Its result is a layer's id. All texts are copied. */
struct flight *step_flight(struct image_store *store, const struct step_wanted *wanted);
