/* container: one container on this machine.
 *
 * Knows the OCI runtime (bundle, config.json, create/start), the root file system's mounts, cgroups v1 and
 * v2, namespaces, the freezer, readiness and how a container ended. Nobody else does. Every call is for the
 * loop's thread; what blocks goes to launchers (processes made ahead) or workers. Containers outlive the
 * daemon: their state lies in the run directory. */
#pragma once
#include "core.h"
#include "io.h"

struct container_host; /* what this machine gives to containers */
struct container;

struct container_host_options {
    struct io_loop *loop;
    const char *state_dir; /* logs/APP/FUNCTION/ lie under it */
    const char *run_dir;   /* bundles, uppers, runtime state, records of containers */
    const char *runtime;   /* program: "crun" (default), "runc", "runsc", a path */
    const char *init_path; /* catnap-init, static */
    const char
        *cgroup; /* this daemon's group, below the machine's or systemd's delegated one: "catnap-1a2b3c4d" */
    uint32_t launchers;      /* processes made ahead, in their cgroups already; 0: 2 */
    uint64_t log_file_bytes; /* a log file turns at this size; 0: 8 MiB; old ones kept: 3 */
};
/* For a program that was started without root: goes on as root of a user namespace of its own; with root,
 * does nothing. To be called before there are threads, and before container_host_open. */
must_check struct error *container_enter_user_namespace(void);

/* FAILED_PRECONDITION where this machine lacks what is needed: the text says what and how to get it. */
must_check struct error *container_host_open(const struct container_host_options *options,
                                             struct container_host **ret_host);
/* Launchers end; containers stay. */
void container_host_free(struct container_host *host);
DEFINE_SCOPED(container_host)

struct container_mount {
    const char *source;      /* absolute, exists */
    const char *destination; /* absolute, in the container; made where absent */
    bool read_only;
    /* What is mounted instead, a directory below `source`: made where absent, and found at the start without
     * following a link, for other containers write there. "a/b"; NULL: `source` itself. */
    const char *below;
};
struct container_spec {
    uint64_t number;                      /* nap's; unique for this state directory for ever */
    uint64_t version;                     /* of the app; kept in the record for adoption */
    const struct core_function *function; /* borrowed for the call */
    const char *const
        *layers; /* directories, top first; none: the host image (this machine's /usr etc., read-only) */
    size_t layer_count;
    const char *const *grafts; /* NULL-terminated: directories of this machine that lie below the layers at
                                  the same path; NULL: none */
    const char *upper; /* a directory in whose u and w the overlay writes, and that stays; NULL: a fresh one,
                          gone with the container. With layers and a writable root only */
    bool plain_env;    /* the function's environment as it is, nothing of ours added */
    const struct container_mount *mounts;
    size_t mount_count;
};
struct container_end {
    int exit_code;   /* -1 where a signal ended it or it is not known */
    int signal;      /* 0 where it exited by itself */
    bool oom_killed; /* by its memory limit */
    bool was_ready;
    struct error *error; /* it could not be created or started: why. Borrowed */
};
struct container_events {
    void (*created)(void *owner, struct container *container); /* it exists and waits for container_start */
    void (*ready)(void *owner, struct container *container);   /* its port accepts, or it said so */
    /* It is gone, with all its processes, mounts and cgroups; told once, in every case. Free it here or
     * later. */
    void (*exited)(void *owner, struct container *container, const struct container_end *end);
    void (*given)(void *owner, struct container *container); /* its GPUs: container_gpus. May be NULL */
    /* CORE_NETWORK_IF_THERE, and there is none: it goes on with its loopback. May be NULL */
    void (*shut_in)(void *owner, struct container *container, const struct error *why);
};
/* `start`: go on to container_start without a stop at `created`. Failures come through `exited`. */
struct container *container_create(struct container_host *host, const struct container_spec *spec, bool start,
                                   const struct container_events *events, void *owner);
void container_start(struct container *container); /* a created one: one write */
/* CORE_READY_RUNNER: whoever runs in it was heard. Kept for the next daemon; `ready` comes from inside the
 * call. */
void container_ready(struct container *container);
/* Forgets it; a living one goes on living (and is found by container_host_adopt). */
void container_free(struct container *container);

must_check struct error *
container_freeze(struct container *container); /* returns at once; doze_signal is sent before, see core */
must_check struct error *container_thaw(struct container *container);
void container_reclaim(struct container *container); /* on a worker, in steps, cut short by container_thaw; no
                                                        swap: what can be given */
void container_signal(struct container *container,
                      int signo); /* to catnap-init, which passes it on; thaws a frozen one first */
void container_kill(struct container *container); /* all its processes, also a frozen one's */
/* A connected, non-blocking TCP socket to the port in the container's own network namespace. UNAVAILABLE:
 * nobody listens. */
must_check struct error *container_connect(struct container *container, uint16_t port, int *ret_fd);
/* The other way round: a socket of ours that listens on the loopback of the container's network namespace. */
must_check struct error *container_listen(struct container *container, uint16_t port, int *ret_fd);

/* ---- exec: a command in a container that runs ---- */
struct container_exec;
struct container_exec_options {
    struct core_command command; /* borrowed for the call */
    /* It runs, or why not: NOT_FOUND where there is no such command. Once; with an error `exited` does not
     * come, and it may be freed in the call. All are taken; of a terminal `err_fd` is of no use. */
    void (*started)(void *owner, struct error *error, int in_fd, int out_fd, int err_fd);
    void (*exited)(void *owner, int exit_code); /* 128 + N: by signal N */
    void *owner;
};
/* A frozen container is thawed, and stays so for as long as a command runs in it. */
must_check struct error *container_exec(struct container *container,
                                        const struct container_exec_options *options,
                                        struct container_exec **ret_exec);
void container_exec_kill(struct container_exec *exec); /* what it began in its session's group too */
void container_exec_free(struct container_exec *exec); /* kills; nobody is told */

uint64_t container_number(const struct container *container);
int container_pid(const struct container *container); /* of its catnap-init, here; 0: none (yet) */
uint64_t
container_memory_bytes(const struct container *container); /* charged to its cgroup now; 0: not known */
/* Where its overlay writes; owned. NULL: it has none that lies on the disk. */
char *container_upper(const struct container *container);
const char *
container_stage(const struct container *container); /* "mounting", "creating", "starting": static text */

/* What an earlier daemon left: calls `found` for each living container (events as above from then on), clears
 * away the dead ones' remains. Those that were being created and never started are removed. */
struct container_found {
    uint64_t number, version;
    const char *app, *function;
    bool ready, frozen, runner;
    int stop_signal;
    int64_t started_wall_ms;
};
must_check struct error *container_host_adopt(struct container_host *host,
                                              const struct container_events *events, void *owner,
                                              void (*found)(void *owner, struct container *container,
                                                            const struct container_found *found));

/* Replaces the owner that the events give back: in `found`, each container gets its own. */
void container_owner_set(struct container *container, void *owner);

must_check struct error *container_doze_check(const struct container_host *host); /* why nothing dozes here */
/* Whether this machine has such a GPU, described by CDI. FAILED_PRECONDITION: what is missing. */
must_check struct error *container_gpu_check(struct container_host *host, const char *gpu);
char *container_gpus(const struct container *container); /* which it has, in words; owned. NULL: none */

/* ---- doctor: what this machine can and can't do ---- */
struct container_check {
    const char *name;  /* "cgroups", "overlay", ... */
    bool ok, needed;   /* not ok and not needed: something works less well */
    char *found, *fix; /* owned by the list; fix NULL where ok */
};
struct container_checks {
    struct container_check *check;
    size_t count;
};
void container_doctor(const char *runtime, struct container_checks *ret_checks);
void container_checks_done(struct container_checks *checks);
