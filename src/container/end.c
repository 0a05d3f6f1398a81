/* end: a container's process is gone, or was never made: clear away, then tell.
 *
 * Nothing of it is left when `exited` is told: processes (the kernel ended them with the first one of the pid
 * namespace), mounts (they lived in its mount namespace), cgroups, the runtime's directory. A worker waits
 * for the cgroups, which stay busy for some milliseconds. The box goes to RUN_DIR/trash by a rename and is
 * deleted after the telling. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

enum { PATIENCE_MS = 5000, DELETE_MS = 20000 };

/* ---- the trash ---- */
struct trash {
    struct io_work work;
    struct container_host *host;
    char *path;
};

static void trash_remove(struct io_work *work) {
    struct trash *trash = work->owner;
    work->error = tree_remove(trash->path);
}

static void on_trash_removed(struct io_work *work) {
    struct trash *trash = work->owner;
    scoped_string char *text = work->error ? error_text(work->error) : NULL;
    if (text) log_warn("container", "remains stay behind: %s", text);
    error_free(work->error);
    host_unref(trash->host);
    free(trash->path);
    free(trash);
}

static void trash_start(struct container_host *host, const char *slot) {
    struct trash *trash = NEW(struct trash);
    trash->host = host;
    trash->path = mem_printf("%s/trash/%s", host->run_dir, slot);
    trash->work = (struct io_work){.work = trash_remove, .done = on_trash_removed, .owner = trash};
    host->references++;
    io_work_start(host->loop, &trash->work);
}

/* ---- on a worker ---- */
static void clear_away(struct container_host *host, const struct slot *slot, const char *id) {
    slirp_stop(slot->box);
    cgroup_kill(&host->groups, slot->name);
    if (!cgroup_remove(&host->groups, slot->name, PATIENCE_MS))
        log_warn("container", "the cgroups of container %s stay: something in them does not end", id);
    scoped_string char *runtime = mem_printf("%s/runtime/%s", host->run_dir, id);
    if (id[0]) error_free(tree_remove(runtime));
    scoped_string char *trash = mem_printf("%s/trash/%s", host->run_dir, slot->name);
    if (rename(slot->box, trash)) error_free(tree_remove(slot->box));
}

static void learn_end(struct container *container) {
    struct container_end *end = &container->end;
    struct state state = state_read(container->slot->box);
    bool ran = container->pid > 0;
    if (state.exited) {
        end->exit_code = state.exit_code;
        end->signal = state.signal;
    } else if (ran && state.started) {
        end->signal = SIGKILL; /* its init would have told anything else */
    } else if (ran && container->start && !end->error && !container->kill_wanted) {
        scoped_string char *said = slot_runtime_log(container->slot);
        end->error = error_new(ERROR_INTERNAL, "its first process did not start: %s", said);
    } else if (ran) {
        end->signal = SIGKILL;
    }
    end->oom_killed = ran && end->signal == SIGKILL && container->oom_kills > 0;
}

static void work(struct io_work *work_) {
    struct container *container = work_->owner;
    if (!container->slot) return;
    learn_end(container);
    clear_away(container->host, container->slot, container->id);
}

/* ---- on the loop ---- */
static void on_worked(struct io_work *work_) {
    struct container *container = work_->owner;
    struct container_host *host = container->host;
    if (container->slot) trash_start(host, container->slot->name);
    if (container->network_index) network_give(host, container->network_index);
    container->life = LIFE_GONE;
    container->end.was_ready = container->was_ready;
    if (container->freed)
        life_free(container);
    else
        container->events->exited(container->owner, container, &container->end);
}

static void start_work(struct container *container) {
    container->work = (struct io_work){.work = work, .done = on_worked, .owner = container};
    io_work_start(container->host->loop, &container->work);
}

static void on_deleted(void *owner, struct io_child_end *end) {
    struct container *container = owner;
    container->helper = NULL;
    error_free(end->error);
    start_work(container);
}

/* crun keeps nothing but a directory, which we remove ourselves; other runtimes know best what they made. */
static void delete_by_runtime(struct container *container) {
    const char *argv[8];
    scoped_string char *root = path_join(container->host->run_dir, "runtime");
    spec_delete_argv(container, root, argv);
    container->helper =
        io_child_start(container->host->loop, &(struct io_child_options){.argv = argv,
                                                                         .stdin_fd = -1,
                                                                         .stdout_fd = -1,
                                                                         .stderr_fd = -1,
                                                                         .deadline_ms = DELETE_MS,
                                                                         .done = on_deleted,
                                                                         .owner = container});
}

void end_begin(struct container *container) {
    if (container->life >= LIFE_ENDING) return;
    container->life = LIFE_ENDING;
    /* Out of the queue: a slot that comes free while the worker is at it belongs to somebody who still waits.
     */
    list_remove(&container->node);
    list_append(&container->host->containers, &container->node);
    io_timer_stop(container->timer);
    io_watch_free(take(container->pid_watch));
    io_watch_free(take(container->ready_watch));
    io_child_free(take(container->helper));
    if (container->slot) io_child_free(take(container->slot->launcher));
    if (container->slot) /* before the runtime removes what counts them */
        container->oom_kills = cgroup_oom_kills(&container->host->groups, container->slot->name);
    /* Without a cgroup only the runtime knows what it has begun. */
    const struct container_host *host = container->host;
    if (container->slot && (host->kind != RUNTIME_CRUN || !cgroup_can_freeze(&host->groups)))
        delete_by_runtime(container);
    else
        start_work(container);
}

/* ---- what an earlier daemon left dead ---- */
struct sweep {
    struct io_work work;
    struct container_host *host;
    struct slot *slot;
    char *id;
};

static void sweep_work(struct io_work *work_) {
    struct sweep *sweep = work_->owner;
    clear_away(sweep->host, sweep->slot, sweep->id);
}

static void on_swept(struct io_work *work_) {
    struct sweep *sweep = work_->owner;
    trash_start(sweep->host, sweep->slot->name);
    slot_free(sweep->slot);
    host_unref(sweep->host);
    free(sweep->id);
    free(sweep);
}

void end_sweep(struct container_host *host, struct slot *slot, const char *id) {
    struct sweep *sweep = NEW(struct sweep);
    sweep->host = host;
    sweep->slot = slot;
    sweep->id = mem_string(id);
    sweep->work = (struct io_work){.work = sweep_work, .done = on_swept, .owner = sweep};
    host->references++;
    io_work_start(host->loop, &sweep->work);
}
