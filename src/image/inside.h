/* image, inside: what this room's files share.
 *
 * On the disk, below `dir`: layers/ID/fs and layers/ID/size (content never changes once it has its name),
 * images/ID.json, cache/KEY (the layer that a step made), names.json, uses/CONTAINER (a link that holds an
 * image's id). tmp/ and trash/ are emptied at a start; pulls/ holds blobs of pulls that were cut off, for the
 * next try. In memory the same, for the loop's thread; workers get strings. */
#pragma once
#include "config.h"
#include "image.h"
#include "reference.h"
#include "store.h"

#include <stdatomic.h>

enum { LAYERS_MAX = 250, SAID_MAX = 1 << 20, UNPACKS_AT_ONCE = 2, STALL_MS = 60000 };

struct record { /* an image */
    struct image image;
    char **layers; /* ids, bottom first; NULL-terminated */
    bool host;
    bool marked;
};
struct layer {
    uint64_t bytes;
    int64_t used_ms, noted_ms; /* last; as the disk says */
    bool marked;
};
struct name {
    char *id;     /* NULL: an alias */
    char *target; /* of an alias */
    bool fixed;   /* an alias of the configuration: not kept on the disk */
};
struct mirror {
    char *registry, *host, *prefix; /* prefix "" or "a/b/" */
    bool plain;                     /* without TLS */
};

struct image_store {
    struct io_loop *loop;
    struct store *blobs;
    const struct image_runner *runner;
    char *dir, *tmp, *skopeo, *auth_file;
    uint64_t quota_bytes, used_bytes, cache_bytes;
    int64_t stall_ms, cache_ms;
    struct mirror *mirrors;
    size_t mirror_count;
    struct map *records; /* id -> struct record */
    struct map *layers;  /* id -> struct layer */
    struct map *names;   /* normal name -> struct name */
    struct map *keeps;   /* tag -> id, owned */
    struct table *uses;  /* container -> id, owned */
    struct list flights;
    struct list unpacks; /* waiting for their turn */
    size_t unpacking;
    char *secrets; /* how files of secrets are called, in /dev/shm: "catnap-secret-1a2b3c4d" */
    struct image_keeper keeper;
    void (*needs)(void *owner, struct image_store *store);
    void *needs_owner;
    struct io_timer *sweep;
    int64_t sweep_ms; /* when it is armed for */
    struct saver *saver;
    struct machine *machine;
    char *host, **grafts; /* what lies below images on top of `host` */
    unsigned references;  /* work in flight, and the owner's */
    bool closing;
    void (*stopped)(void *owner);
    void *stopped_owner;
};
char *images_path(const struct image_store *store, const char *kind,
                  const char *name); /* DIR/KIND/NAME; name NULL: DIR/KIND */
void images_unref(struct image_store *store);

/* ---- flight.c: work that several wait for ---- */
struct flight {
    struct list node;
    struct image_store *store;
    char *key; /* NULL: never shared */
    struct list jobs;
    struct text said; /* lines; what was dropped from its front counts in `dropped` */
    uint64_t dropped;
    bool pump_due, ended;
    struct error *error;
    char *result;
    char **holds; /* layers that it stands on: image_prune leaves them. NULL-terminated, its own */
    bool pulls;   /* it uses DIR/pulls */
    bool passive; /* a draft: nothing runs */
    void (*cancel)(
        struct flight *flight); /* nobody waits any more; it must still come to flight_end, now or later */
    void (*free)(struct flight *flight); /* of what is around it; not of the flight's own fields */
};
struct image_job {
    struct list node;
    struct flight *flight;
    uint64_t told; /* bytes of what was said */
    void (*line)(void *owner, struct span text);
    void (*ended)(void *owner, struct error *error, const char *result); /* error owned by it */
    struct image_events events;                                          /* of a caller outside */
    void *owner;
};
void flight_init(struct flight *flight, struct image_store *store, char *taken_key,
                 void (*cancel)(struct flight *flight), void (*free_around)(struct flight *flight));
struct flight *flight_find(struct image_store *store, const char *key);
bool flight_any_pull(const struct image_store *store);
struct image_job *flight_join(struct flight *flight, void (*line)(void *owner, struct span text),
                              void (*ended)(void *owner, struct error *error, const char *result),
                              void *owner);
struct image_job *flight_join_outside(struct flight *flight, const struct image_events *events, void *owner);
void flight_say(struct flight *flight, const char *format, ...) printf_like(2, 3);
void flight_say_span(struct flight *flight, struct span line);
/* All who wait are told in the next round of the loop, then it is freed. Takes both; result NULL with an
 * error. */
void flight_end(struct flight *flight, struct error *taken_error, char *taken_result);
void flights_drop(struct image_store *store); /* at the end: nobody is told */
void flights_look(
    struct image_store *store); /* tells image_store_stop's caller when nothing flies any more */

/* ---- layers.c: for workers ---- */
/* DRAFT/u becomes LAYERS/ID, whole and on the disk, or not at all; there already: ours is dropped. */
must_check struct error *layer_seal(const char *draft, const char *layers_dir, const char *id,
                                    uint64_t *ret_bytes);
must_check struct error *draft_make(const struct image_store *store, char **ret_path); /* loop or worker */
/* What containers leave in an upper that is not the step's doing. */
void draft_clean(const char *draft, char *const *lower_dirs, size_t lower_count);
must_check struct error *layers_load(struct image_store *store);
void layer_added(struct image_store *store, const char *id, uint64_t bytes); /* just now */
void images_trash(struct image_store *store, const char *path); /* renamed away now, deleted on a worker */

/* ---- records.c ---- */
/* The id of such an image; the text is its record. */
char *image_record_text(const struct image_config *config, char *const *layers, bool host, const char *source,
                        char ret_id[SHA256_HEX_SIZE]);
must_check struct error *image_record_write(const char *images_dir, const char *id,
                                            const char *text); /* worker */
struct record *image_record_add(struct image_store *store, const char *id, const char *text,
                                struct error **ret_error);
void image_record_free(struct record *record);
must_check struct error *image_records_load(struct image_store *store);
bool image_record_whole(const struct image_store *store,
                        const struct record *record); /* all of its layers are here */
char *built_path(const struct image_store *store, const char *key);
char *built_find(const struct image_store *store,
                 const char *key); /* a layer's id, that is here; NULL. Owned */

/* ---- names.c ---- */
must_check struct error *names_load(struct image_store *store);
void names_free(struct image_store *store);
/* Follows aliases. *ret_id: an image; else *ret_other: "host" or a directory. Both owned; neither: NOT_FOUND
 * is the caller's to say. */
must_check struct error *names_follow(struct image_store *store, const char *name, char **ret_id,
                                      char **ret_other, char **ret_normal);
void names_set(struct image_store *store, const char *normal, const char *id);
void names_save(struct image_store *store, void (*done)(void *owner, struct error *error),
                void *owner); /* the state of now */

/* ---- host.c: below images that are made on top of this machine's own programs ---- */
/* PARENT/HASH: a directory with what is no graft. `alone`: nobody uses an earlier one any more. */
must_check struct error *host_make(const char *parent, bool alone, char **ret_path);
char **host_grafts(void); /* owned */

/* ---- keep.c ---- */
must_check struct error *uses_load(struct image_store *store);

/* ---- prune.c ---- */
void layer_used(struct image_store *store, const char *id); /* by a build, just now */
void sweep_init(struct image_store *store);

/* ---- pull.c ---- */
/* Begun, or joined, or one that only tells what is known. */
struct flight *pull_flight(struct image_store *store, const struct image_pull *options);
struct flight *flight_known(struct image_store *store, struct error *taken_error, char *taken_id);
