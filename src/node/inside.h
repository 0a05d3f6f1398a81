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
    struct node_events events;
    void *owner;
    const struct node_runner *runner;
    void *runner_owner;
    struct table *locals;
    int pressure_fd; /* -1: the kernel does not tell */
    struct io_watch *pressure;
    struct image_runner steps_runner;
    struct list steps;
    uint64_t next_step; /* the number of the next step's container */
};

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
