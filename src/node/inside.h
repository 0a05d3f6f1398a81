/* What the files of node share. */
#pragma once
#include "container.h"
#include "image.h"
#include "node.h"

struct node {
    struct io_loop *loop;
    struct container_host *host;
    struct image_store *images; /* NULL until node_images_set */
    struct volumes *volumes;
    char *logs_dir;
    int64_t logs_looked_ms; /* at all of them; 0: not yet */
    struct node_events events;
    void *owner;
    const struct node_runner *runner;
    void *runner_owner;
    struct table *locals;
    int pressure_fd; /* -1: the kernel does not tell */
    struct io_watch *pressure;
    struct image_runner steps_runner;
    struct list steps;
    uint64_t first_step; /* of this life of the daemon; lone containers have such numbers too */
    uint64_t next_step;  /* the number of the next step's container */
};

/* ---- lone.c ---- */
#define LONE_VERSION 0x6c6f6e65u /* in their records; versions of functions are hashes */

/* ---- local.c ---- */
struct local {
    struct node *node;
    uint64_t number;
    struct container *container; /* NULL: could not even be begun */
    char *app, *function;
    int stop_signal;
    bool runner, ready;    /* ready: heard (of a runner), or a lone one's */
    bool stopped, killed;  /* by us */
    bool step;             /* of an earlier daemon, a build's or a lone one: ended, and nobody is told */
    struct error *failure; /* of what came before the container room */
    const struct node_lone_events *lone; /* NULL: it is nap's */
    void *lone_owner;
};
struct local *local_new(struct node *node, uint64_t number, const char *app, const char *function);
struct local *local_find(const struct node *node, uint64_t number);
/* Begins its container; a failure is told in the next round of the loop. */
void local_begin(struct local *local, const struct core_function *function, uint64_t version, bool start);

/* ---- oldlogs.c ---- */
void oldlogs_look(struct node *node);                             /* where a day passed since */
void oldlogs_ended(struct node *node, const struct local *local); /* while it is still there */

/* ---- step.c ---- */
#define STEP_APP "_build" /* no name that an app can have */
void steps_init(struct node *node, uint64_t first_number);
void steps_free(struct node *node); /* all are told that it is over */

/* ---- root.c ---- */
struct root {
    struct image_layers layers;
    char *image_id;                 /* NULL: no image of the store */
    struct container_mount *mounts; /* where the image has no layers */
    size_t mount_count;
};
/* `function` gets what the image says and it does not: environment, command, user, directory. */
must_check struct error *root_make(struct image_store *images, struct core_function *function,
                                   struct root *ret_root);
void root_done(struct root *root);
