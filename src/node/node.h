/* node: a machine that can run containers.
 *
 * Carries out nap's actions by number and reports what became of them. This header is the seam: local.c is
 * this machine; a remote agent would be another file behind the same calls. Containers outlive the daemon:
 * node_adopt finds them again. */
#pragma once
#include "core.h"
#include "io.h"

struct node;
struct container_host;
struct volumes;
struct image_store;
struct image_runner;

#define NODE_ENDED_IT                                                                     \
    "catnap ended it" /* how the text of an end begins that was ours: by a stop or a kill \
                       */

struct node_options {
    struct io_loop *loop;
    struct container_host *host; /* borrowed */
    struct volumes *volumes;     /* borrowed */
    const char *logs_dir;
    uint64_t step_numbers; /* the first of the numbers of containers in which steps of builds run; nap has
                              others */
};
struct node_events { /* `container` is nap's number */
    void (*created)(void *owner, uint64_t container);
    void (*ready)(void *owner, uint64_t container);
    /* It is gone. `text`: a sentence: exit code or signal, out of memory, the last lines of its log.
     * Borrowed. */
    void (*exited)(void *owner, uint64_t container, bool was_ready, const char *text);
    void (*freeze_failed)(void *owner, uint64_t container);
    /* The machine is short of memory (tasks stall for it); at most once a second. */
    void (*pressure)(void *owner);
};
struct node *node_new(const struct node_options *options);
void node_events_set(struct node *node, const struct node_events *events, void *owner);
void node_free(struct node *node); /* containers stay */
DEFINE_SCOPED(node)
/* The images, borrowed; before any container. They need the node first: steps of builds run here. */
void node_images_set(struct node *node, struct image_store *images);
const struct image_runner *node_image_runner(struct node *node); /* lives as long as the node */

/* Brings the images of a function here that are not: before node_function_check. `line`: progress; NULL: not
 * told. `done` once, never from within the call. */
struct node_prepare;
struct node_prepare *node_prepare(struct node *node, const struct core_function *function,
                                  void (*line)(void *owner, struct span text),
                                  void (*done)(void *owner, struct error *error), void *owner);
void node_prepare_free(struct node_prepare *prepare); /* nobody is told any more */

/* For functions whose `runner` is set: a room above that prepares each of their containers and hears of them.
 * One. */
struct node_runner {
    /* Before a container is made: what differs from container to container goes into `function`, a copy:
     * environment, command, mounts. An error is how the container ended. */
    struct error *(*prepare)(void *owner, uint64_t container, struct core_function *function);
    void (*adopted)(void *owner, uint64_t container, const char *app, const char *function);
    /* One that accepts work is to end: it is told so in its own way. In time, or it is killed. */
    void (*stop)(void *owner, uint64_t container);
    /* Once for each prepared or adopted one; before node_events.exited. */
    void (*exited)(void *owner, uint64_t container, const char *text);
};
void node_runner_set(struct node *node, const struct node_runner *runner,
                     void *owner); /* borrowed; NULL: none */
/* A started one of a function with CORE_READY_RUNNER accepts work: `ready` is told, in this call. */
void node_ready(struct node *node, uint64_t container);

/* FAILED_PRECONDITION: why nothing can doze on this machine. */
must_check struct error *node_doze_check(const struct node *node);
/* Whether this machine has such a GPU, told to containers by CDI: "any", "L4", "H100:2". FAILED_PRECONDITION:
 * why not. */
must_check struct error *node_gpu_check(const struct node *node, const char *gpu);

/* Whether such a function could be run here: image, volumes, program. For a clear answer before anything is
 * accepted. */
must_check struct error *node_function_check(struct node *node, const struct core_function *function);

/* Brings up a new one, as far as `created` or (start) to `ready`. Failures come through `exited`. */
void node_create(struct node *node, uint64_t container, const struct core_function *function,
                 uint64_t version, bool start);
void node_start(struct node *node, uint64_t container); /* a created one, or one still being created */
void node_freeze(struct node *node, uint64_t container);
void node_thaw(struct node *node, uint64_t container);
void node_reclaim(struct node *node, uint64_t container);
void node_stop(struct node *node, uint64_t container); /* SIGTERM */
void node_kill(struct node *node, uint64_t container);
must_check struct error *node_connect(struct node *node, uint64_t container, uint16_t port, int *ret_fd);
must_check struct error *node_listen(struct node *node, uint64_t container, uint16_t port, int *ret_fd);
int node_pid(const struct node *node, uint64_t container);
uint64_t node_memory_bytes(const struct node *node, uint64_t container);
char *node_upper(const struct node *node, uint64_t container); /* what it wrote; owned. NULL: not kept */
const char *node_stage(const struct node *node,
                       uint64_t container); /* static text; NULL: no such container */

/* ---- a command in a container ---- */
struct container_exec;
struct node_exec_options {
    struct core_command command; /* borrowed for the call */
    /* It runs, or why not: NOT_FOUND where there is no such command. Once; with an error `exited` does not
     * come, and it may be freed in the call. All are taken; of a terminal `err_fd` is of no use. */
    void (*started)(void *owner, struct error *error, int in_fd, int out_fd, int err_fd);
    void (*exited)(void *owner, int exit_code); /* 128 + N: by signal N */
    void *owner;
};
/* UNAVAILABLE: the container is gone. A frozen one is thawed. */
must_check struct error *node_exec(struct node *node, uint64_t container,
                                   const struct node_exec_options *options, struct container_exec **ret_exec);
void node_exec_kill(struct container_exec *exec); /* `exited` still comes */
void node_exec_free(struct container_exec *exec); /* kills; nobody is told. NULL: fine */

/* ---- lone containers: nobody's function, begun and ended by a room above (sandboxes) ---- */
struct node_lone_end {
    int exit_code, signal;
    bool oom_killed;
    const char *text; /* a sentence; borrowed */
};
struct node_lone_events {
    void (*ready)(void *owner, uint64_t container);
    void (*exited)(void *owner, uint64_t container,
                   const struct node_lone_end *end); /* once, in every case */
};
/* Its program does nothing (commands come by node_exec); `function` says all else. The number is one that nap
 * does not have. Failures come through `exited`. Those of an earlier daemon are ended at adoption. */
uint64_t node_lone_create(struct node *node, const struct core_function *function,
                          const struct node_lone_events *events, void *owner);
struct node_lone_view {
    uint64_t container;
    const char *app, *function;
    bool ready;
};
/* for (size_t i = 0; node_lone_next(node, &i, &view);): no order; nothing is created or ends meanwhile. */
bool node_lone_next(const struct node *node, size_t *i, struct node_lone_view *ret_view);
void node_lone_kill_all(struct node *node);

struct node_found {
    uint64_t container, version;
    const char *app, *function;
    bool ready, frozen;
    int64_t started_wall_ms;
};
must_check struct error *node_adopt(struct node *node,
                                    void (*found)(void *owner, const struct node_found *found), void *owner);
