/* image: from an image's name to the directories that a container's root is made of.
 *
 * An image is a list of layers (directories, each unpacked or built once and shared) and a configuration
 * (environment, user, entrypoint, ...), and its id is the hash of both. Images come from registries (skopeo
 * moves them), from files, or from the commands of a Dockerfile, whose steps run in containers that the
 * caller's `image_runner` makes. Two are there without a pull: `host` (this machine's own programs,
 * read-only) and an absolute directory. Knows everything about how images lie on the disk; nothing about what
 * containers are. All calls are for the loop's thread unless said. */
#pragma once
#include "base.h"
#include "io.h"

struct store; /* of the store room */
struct image_store;
struct image_pair {
    const char *name, *value;
};

/* ---- what an image says about how its programs are run; texts NULL where it says nothing ---- */
struct image_config {
    char **env; /* NAME=VALUE; NULL-terminated lists all through, themselves NULL where not said */
    char **entrypoint, **cmd, **shell;
    char *workdir, *user, *stop_signal;
    json_t *labels, *exposed; /* objects or NULL */
};
void image_config_done(struct image_config *config);
const char *image_config_env(const struct image_config *config,
                             const char *name); /* borrowed; NULL: not set */

struct image {
    const char *id;     /* 64 hexadecimal digits */
    const char *source; /* where it came from: a registry's name with its digest, "built", a file */
    struct image_config config;
    uint64_t size_bytes; /* of all its layers on the disk; those that others share too */
    size_t layer_count;
    int64_t made_wall_ms;
};

/* ---- the seam to containers: runs one RUN step. Implemented by who has containers. ---- */
enum image_network { IMAGE_NETWORK_NONE, IMAGE_NETWORK_OUTBOUND };
struct image_mount {
    const char *source, *destination; /* absolute both */
    bool read_only;
    const char *below; /* a directory of `source` that is mounted instead of it; NULL: itself */
};
struct image_step {
    const struct image_layers *layers;
    const char *
        upper; /* an absolute directory of ours: what the step writes ends in upper/u; upper/w is overlay's */
    const char *const *argv, *const *env; /* NULL-terminated; env in full, NAME=VALUE */
    const char *workdir, *user;           /* user NULL: root */
    enum image_network network;
    const struct image_mount *mounts;
    size_t mount_count;
};
struct image_step_end {
    int exit_code; /* -1: a signal, or it never ran */
    int signal;    /* 0: none */
    bool out_of_memory;
    struct error *error; /* it could not be run: why. Owned by `done` */
};
struct image_step_events {
    void (*line)(void *owner, struct span text); /* of its output, without the newline; borrowed */
    void (*done)(void *owner,
                 const struct image_step_end *end); /* once; nothing of it is mounted or running any more */
};
struct image_runner {
    void *owner;
    /* All of `step` is borrowed for the call. `done` never comes from within it. */
    void *(*run)(void *owner, const struct image_step *step, const struct image_step_events *events,
                 void *events_owner);
    void (*cancel)(void *owner, void *run); /* kills it; done still comes */
};

/* ---- the store of images: one directory on a file system that can be overlay's upper ---- */
struct image_options {
    struct io_loop *loop;
    const char *dir;     /* STATE/images, made where absent */
    struct store *store; /* the blobs of contexts that are given by hash; NULL: there are none */
    const struct image_runner *runner; /* borrowed, outlives the store; NULL: RUN is refused */
    const char *skopeo;                /* program; NULL: "skopeo" */
    /* Registry -> where to ask instead: HOST[:PORT][/PREFIX], `http://` before it: without TLS. The registry
     * itself is asked when no mirror has it. A registry's own name as the value, with http://, says how to
     * reach it. */
    const struct image_pair *mirrors;
    size_t mirror_count;
    const struct image_pair *aliases; /* name -> name, id, `host` or directory */
    size_t alias_count;
    const char *auth_file; /* of containers-auth.json(5); NULL: skopeo's own default */
    uint64_t quota_bytes;  /* of all layers; 0: none */
    uint64_t cache_bytes;  /* of layers that nothing needs, kept for the next build; 0: 10 GiB */
    int64_t cache_ms;      /* and so long after their last use; 0: 7 days */
    int64_t stall_ms;      /* a pull to which nothing comes for so long fails; 0: 60 s */
};
/* What a killed daemon left half made is cleared away. */
must_check struct error *image_store_open(const struct image_options *options,
                                          struct image_store **ret_store);
/* Ends what is under way, untold; `done` when nothing of it runs any more. For an end that leaves nothing. */
void image_store_stop(struct image_store *store, void (*done)(void *owner), void *owner);
void image_store_free(struct image_store *store); /* jobs end untold */
DEFINE_SCOPED(image_store)

/* ---- finding ---- */
/* Here already? NULL: not (yet). `host` and directories are no struct image: NULL too. Valid until the loop
 * goes on. `name`: a registry's name, a local one, an alias, or sha256:ID. */
const struct image *image_find(struct image_store *store, const char *name);
/* What a container needs. Owned strings. */
struct image_layers {
    char **layer;  /* directories, top first */
    size_t count;  /* 0: the host image as it is */
    char **grafts; /* NULL-terminated: directories of this machine that lie below the layers at the same path,
                      where the image is made on top of `host`; NULL: none */
    char *id;      /* NULL: `host` or a directory */
    struct image_config config; /* a copy */
};
/* NOT_FOUND: the text says how to get it. */
must_check struct error *image_resolve(struct image_store *store, const char *name,
                                       struct image_layers *ret_layers);
void image_layers_done(struct image_layers *layers);
/* Whether `name` can mean an image at all, and whether it is here (else image_pull brings it). */
must_check struct error *image_check(struct image_store *store, const char *name, bool *ret_here);

/* ---- jobs: what takes time. Whoever asks for the same at once shares the work and sees its lines. ---- */
struct image_job;
struct image_events {
    void (*line)(
        void *owner,
        struct span text); /* progress, what steps print; without the newline; borrowed. NULL: not told */
    /* Once, never from within the call that started it; the job is gone then. `image` as of image_find, NULL
     * with an error, which is owned by the callback. */
    void (*done)(void *owner, struct error *error, const struct image *image);
};
void image_job_cancel(
    struct image_job *job); /* no callback comes any more. Work that nobody else waits for is ended */

struct image_credentials {
    const char *user, *password;
};
struct image_pull {
    const char *name;
    const struct image_credentials *credentials; /* NULL: those of auth_file */
    bool again; /* also where it is here already: a tag may mean something newer */
};
struct image_job *image_pull(struct image_store *store, const struct image_pull *pull,
                             const struct image_events *events, void *owner);
/* A docker-archive, an OCI archive, or the plain tar of a root file system. */
struct image_job *image_import(struct image_store *store, const char *name, const char *path,
                               const struct image_events *events, void *owner);

/* ---- building ---- */
struct image_file {
    const char *path;   /* in the context; a leading / does not count */
    const char *digest; /* a blob of the store */
    uint32_t mode;      /* permission bits; 0: 0644 */
};
struct image_context { /* either, both (a file of the list comes first), or neither: COPY finds nothing then
                        */
    const char *directory;
    const struct image_file *files;
    size_t file_count;
};
struct image_build {
    const char *commands;           /* a Dockerfile */
    const char *file_name;          /* for messages; NULL: "Dockerfile" */
    const struct image_pair *bases; /* what a name in FROM and --from means instead: "base" -> sha256:ID */
    size_t base_count;
    struct image_context context;
    const struct image_pair *args; /* of ARG */
    size_t arg_count;
    const struct image_pair *secrets; /* environment of RUN; in no image, no cache key and no message */
    size_t secret_count;
    const struct image_credentials *credentials; /* for FROM */
    const char *target;                          /* a stage's name or number; NULL: the last */
    const char *name; /* the image's, when it is built; NULL: none (see image_keep) */
    bool force;       /* nothing comes from the cache */
};
/* Texts are copied. The error of a failing step names it, its exit code and its last lines. */
struct image_job *image_build(struct image_store *store, const struct image_build *build,
                              const struct image_events *events, void *owner);

/* A layer that the caller fills himself, in a container whose upper it is (a RUN of his own kind). */
struct image_draft;
must_check struct error *image_draft_new(struct image_store *store, const char *base,
                                         struct image_draft **ret_draft);
const char *image_draft_upper(const struct image_draft *draft); /* as image_step's; borrowed */
/* `key`: 64 hexadecimal digits that say what it was made from; NULL: it is not looked for again. Takes the
 * draft. */
struct image_job *image_draft_commit(struct image_draft *taken_draft, const char *key,
                                     const struct image_events *events, void *owner);
void image_draft_free(struct image_draft *draft); /* and all that was written */
DEFINE_SCOPED(image_draft)
/* What image_draft_commit made of the same base and key; NULL: nothing. */
const struct image *image_draft_find(struct image_store *store, const char *base, const char *key);

/* ---- names, and what is kept ---- */
must_check struct error *image_alias(struct image_store *store, const char *name,
                                     const char *target); /* NULL target: no more */
must_check struct error *image_remove(struct image_store *store,
                                      const char *name); /* the name; layers go with image_prune */
/* An image that somebody needs without a name for people; `tag` is the caller's own. `name`: an id, or what
 * image_find takes (what it means now is kept; `host` and directories need no keeping). NULL: no longer. */
must_check struct error *image_keep(struct image_store *store, const char *tag, const char *name);
/* Who has keeps may need some of them no longer: what is not needed goes as old builds do. Without a keeper
 * all are needed. */
struct image_keeper {
    void *owner;
    void (*begin)(void *owner);                       /* it will be asked for several; NULL: not told */
    int64_t (*used_ms)(void *owner, const char *tag); /* last, by the wall's clock; INT64_MAX: it is needed */
    void (*gone)(void *owner, const char *tag);       /* this one is kept no longer */
};
void image_keeper_set(struct image_store *store, const struct image_keeper *keeper); /* NULL: none any more */
/* `needs` calls image_need for all that apps are made from, whenever something may go. */
void image_needs_set(struct image_store *store, void (*needs)(void *owner, struct image_store *store),
                     void *owner);
void image_need(struct image_store *store, const char *name); /* within `needs` only */
/* A container lives from it. Cheap: for the way of a wake. */
void image_use(struct image_store *store, uint64_t container, const char *id);
void image_unuse(struct image_store *store, uint64_t container);
/* After a start: what is used by other containers than these is no longer. */
void image_uses_retain(struct image_store *store, bool (*lives)(void *owner, uint64_t container),
                       void *owner);

struct image_listed {
    const char *name;          /* NULL: an image without a name that something needs */
    const char *alias_of;      /* NULL: it is no alias */
    const struct image *image; /* NULL: an alias to what is not here, or to what is no image of the store */
};
void image_list(struct image_store *store, void (*each)(void *owner, const struct image_listed *listed),
                void *owner);
struct image_usage {
    uint64_t layers_bytes, unused_bytes; /* unused: what image_prune would give back */
    uint64_t quota_bytes;
};
struct image_usage image_usage(struct image_store *store);
/* Takes away what no name, container or job needs. `needed` (NULL-terminated): only these names stay, with
 * those that they are aliases of; NULL: all do. Returns the bytes that come back; the deleting goes on on a
 * worker. */
uint64_t image_prune(struct image_store *store, const char *const *needed);
/* The store looks by itself, some minutes after something was built: what nothing needs, and is older or
 * more than the options allow, goes. To be called when images came out of use for another reason. */
void image_sweep_soon(struct image_store *store);
/* `done` when all that was said so far of names is on the disk. */
void image_sync(struct image_store *store, void (*done)(void *owner, struct error *error), void *owner);
