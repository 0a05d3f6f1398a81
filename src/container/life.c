/* life: from container_create to the moment its process is gone.
 *
 *   waiting -> creating -> created -> starting -> ready -> ending -> gone
 *      '----------'-----------'----------'-------------------^     (it failed, it was killed, it exited)
 * waiting: no slot yet. creating: the launcher mounts and the OCI runtime creates; ends with the runtime's
 * process. created: the container's first process waits at the runtime's exec.fifo, in all its namespaces and
 * limits; starting it is one byte. ready: its init says so through a fifo. However it ends, end.c clears away
 * and tells `exited`. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "inside.h"

enum { CREATE_MS = 60000, LAUNCHER_FAILED = 125 /* catnap-init launch, before it became the runtime */ };

static void on_timer(void *owner);

struct container *life_found(struct container_host *host, const struct container_events *events,
                             void *owner) {
    struct container *container = NEW(struct container);
    container->host = host;
    container->events = events;
    container->owner = owner;
    container->pidfd = container->netns_fd = container->ready_fd = -1;
    container->timer = io_timer_new(host->loop, on_timer, container);
    container->end.exit_code = -1;
    list_init(&container->node);
    list_init(&container->execs);
    host->references++;
    return container;
}

struct container *container_create(struct container_host *host, const struct container_spec *spec, bool start,
                                   const struct container_events *events, void *owner) {
    struct container *container = life_found(host, events, owner);
    container->number = spec->number;
    container->version = spec->version;
    snprintf(container->id, sizeof container->id, "%llu", (unsigned long long)spec->number);
    container->function = core_function_copy(spec->function);
    container->layers = mem_array(spec->layer_count + 1, sizeof *container->layers);
    for (size_t i = 0; i < spec->layer_count; i++) container->layers[i] = mem_string(spec->layers[i]);
    container->layer_count = spec->layer_count;
    size_t grafts = 0;
    while (spec->grafts && spec->grafts[grafts]) grafts++;
    container->grafts = mem_array(grafts + 1, sizeof *container->grafts);
    for (size_t i = 0; i < grafts; i++) container->grafts[i] = mem_string(spec->grafts[i]);
    container->upper = mem_string(spec->upper);
    container->plain_env = spec->plain_env;
    container->mounts = mem_array(spec->mount_count + 1, sizeof *container->mounts);
    for (size_t i = 0; i < spec->mount_count; i++)
        container->mounts[i] =
            (struct container_mount){.source = mem_string(spec->mounts[i].source),
                                     .destination = mem_string(spec->mounts[i].destination),
                                     .read_only = spec->mounts[i].read_only,
                                     .below = mem_string(spec->mounts[i].below)};
    container->mount_count = spec->mount_count;
    container->start = start;
    container->started_wall_ms = clock_wall_ms();
    io_timer_arm(container->timer, CREATE_MS);
    list_append(&host->waiting, &container->node);
    host_pump(host);
    return container;
}

void life_free(struct container *container) {
    struct container_host *host = container->host;
    list_remove(&container->node);
    exec_container_gone(container);
    io_watch_free(container->pid_watch), io_watch_free(container->ready_watch);
    io_timer_free(container->timer);
    io_child_free(container->helper);
    scoped_fd_close(&container->pidfd), scoped_fd_close(&container->netns_fd),
        scoped_fd_close(&container->ready_fd);
    slot_free(container->slot);
    core_function_free(container->function);
    for (size_t i = 0; i < container->layer_count; i++) free(container->layers[i]);
    for (size_t i = 0; i < container->mount_count; i++)
        free((char *)container->mounts[i].source), free((char *)container->mounts[i].destination),
            free((char *)container->mounts[i].below);
    for (char **graft = container->grafts; graft && *graft; graft++) free(*graft);
    free(container->grafts), free(container->layers), free(container->mounts), free(container->upper);
    error_free(container->end.error);
    free(container);
    host_unref(host);
}

void container_free(struct container *container) {
    if (!container) return;
    if (container->life == LIFE_ENDING) {
        container->freed = true; /* a worker still has its names */
        return;
    }
    life_free(container);
}

/* Once: later reasons are consequences of the first. */
void life_fail(struct container *container, struct error *taken_error) {
    if (container->life >= LIFE_ENDING || container->end.error)
        error_free(taken_error);
    else
        container->end.error = taken_error;
    end_begin(container);
}

struct error *life_no_way_out(struct container *container, struct error *taken_why) {
    if (container->function->network != CORE_NETWORK_IF_THERE) return taken_why;
    container->shut_in = true;
    if (container->events->shut_in) container->events->shut_in(container->owner, container, taken_why);
    error_free(taken_why);
    return NULL;
}

static must_check struct error *take_way_out(struct container *container) {
    struct container_host *host = container->host;
    if (container->function->network == CORE_NETWORK_NONE || container->shut_in || host->in_userns)
        return NULL;
    struct error *failed = network_take(host, &container->network_index);
    return failed ? life_no_way_out(container, failed) : NULL;
}

static must_check struct error *give_job(struct container *container) {
    struct container_host *host = container->host;
    scoped_text struct text job = {0};
    scoped_string char *logs = spec_logs_dir(container);
    TRY_PLAIN(cgroup_limit(&host->groups, container->slot->name, container->function));
    TRY_PLAIN(dir_make(logs, 0755));
    TRY_PLAIN(take_way_out(container));
    TRY_PLAIN(spec_write(container));
    if (container->gpus && container->events->given) container->events->given(container->owner, container);
    spec_job(container, &job);
    return slot_send(container->slot, text_span(&job));
}

void life_take_slot(struct container *container, struct slot *slot) {
    container->slot = slot;
    container->life = LIFE_CREATING;
    slot->container = container;
    struct error *failed = give_job(container);
    if (failed) life_fail(container, error_wrap(failed, "prepare the container"));
}

static must_check struct error *read_pid(struct container *container) {
    scoped_string char *path = slot_file(container->slot, "pid");
    scoped_text struct text text = {0};
    uint64_t pid;
    TRY_PLAIN(file_read(path, 64, &text));
    if (!span_to_u64(span_trim(text_span(&text)), &pid) || pid < 2 || pid > INT32_MAX)
        return error_new(ERROR_INTERNAL, "%s holds no process id", path);
    container->pid = (int)pid;
    return NULL;
}

static void on_pid(void *owner, unsigned events) {
    struct container *container = owner;
    (void)events;
    (void)waitpid(container->pid, NULL, WNOHANG); /* our child where we are the one who adopts orphans */
    end_begin(container);
}

void life_tell_ready(struct container *container) {
    if (container->life >= LIFE_READY) return;
    container->life = LIFE_READY;
    container->was_ready = true;
    container->events->ready(container->owner, container);
}

static void on_ready_byte(void *owner, unsigned events) {
    struct container *container = owner;
    char byte;
    (void)events;
    if (read(container->ready_fd, &byte, 1) < 0 && (errno == EAGAIN || errno == EINTR)) return;
    io_watch_free(take(container->ready_watch));
    scoped_fd_close(&container->ready_fd);
    container->ready_fd = -1;
    struct state state = state_read(container->slot->box); /* an end without a byte is no readiness */
    if (state.ready) life_tell_ready(container);
}

/* Our own reading end would see a hang-up as long as nobody writes: it is opened for both and so waits in
 * peace. */
static must_check struct error *watch_ready(struct container *container) {
    scoped_string char *fifo = slot_file(container->slot, "ready");
    container->ready_fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (container->ready_fd < 0) return error_errno(errno, "open %s", fifo);
    return io_watch_new(container->host->loop, container->ready_fd, IO_READABLE, on_ready_byte, container,
                        &container->ready_watch);
}

struct error *life_watch(struct container *container) {
    char netns[48];
    container->pidfd = (int)syscall(SYS_pidfd_open, container->pid, 0);
    if (container->pidfd < 0) return error_errno(errno, "watch process %d", container->pid);
    snprintf(netns, sizeof netns, "/proc/%d/ns/net", container->pid);
    container->netns_fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (container->netns_fd < 0) return error_errno(errno, "open %s", netns);
    TRY_PLAIN(watch_ready(container));
    return io_watch_new(container->host->loop, container->pidfd, IO_READABLE, on_pid, container,
                        &container->pid_watch);
}

static must_check struct error *created(struct container *container, const struct io_child_end *end) {
    if (end->exit_code != 0) {
        scoped_string char *said = slot_runtime_log(container->slot);
        const char *who = end->exit_code == LAUNCHER_FAILED ? "its launcher" : container->host->runtime;
        return error_new(ERROR_FAILED_PRECONDITION, "%s could not create it: %s", who, said);
    }
    TRY(read_pid(container), "%s made no process", container->host->runtime);
    TRY_PLAIN(life_watch(container));
    return record_write(container);
}

static void go_on(struct container *container, struct error *taken_failed) {
    if (taken_failed) {
        life_fail(container, taken_failed);
        return;
    }
    io_timer_stop(container->timer);
    container->life = LIFE_CREATED;
    if (container->start)
        container_start(container);
    else if (container->events->created)
        container->events->created(container->owner, container);
}

static void on_way_out(struct container *container, struct error *taken_failed) {
    go_on(container, taken_failed ? life_no_way_out(container, taken_failed) : NULL);
}

void life_created(struct container *container, const struct io_child_end *end) {
    if (container->life != LIFE_CREATING) return;
    struct error *failed = created(container, end);
    if (!failed && container->function->network != CORE_NETWORK_NONE && container->host->in_userns)
        slirp_start(container, on_way_out);
    else
        go_on(container, failed);
}

/* What `crun start` does, without the four milliseconds of running it: the container waits at the reading end
 * of a fifo. */
static must_check struct error *open_gate(const struct container *container) {
    scoped_string char *fifo = mem_printf("%s/runtime/%s/exec.fifo", container->host->run_dir, container->id);
    scoped_fd int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "open %s", fifo);
    return write(fd, "0", 1) == 1 ? NULL : error_errno(errno, "start by %s", fifo);
}

static void on_started(void *owner, struct io_child_end *end) {
    struct container *container = owner;
    scoped(error) struct error *failed = end->error;
    container->helper = NULL;
    if (failed || end->exit_code != 0)
        life_fail(container, error_new(ERROR_FAILED_PRECONDITION, "%s could not start it: " SPAN_FORMAT,
                                       container->host->runtime, SPAN_ARGS(span_trim(end->output))));
}

static void start_by_runtime(struct container *container) {
    struct container_host *host = container->host;
    scoped_string char *root = path_join(host->run_dir, "runtime");
    const char *argv[] = {host->runtime, "--root", root, "start", container->id, NULL};
    container->helper = io_child_start(host->loop, &(struct io_child_options){.argv = argv,
                                                                              .stdin_fd = -1,
                                                                              .stdout_fd = -1,
                                                                              .stderr_fd = -1,
                                                                              .deadline_ms = CREATE_MS,
                                                                              .done = on_started,
                                                                              .owner = container});
}

void container_start(struct container *container) {
    container->start = true;
    if (container->life != LIFE_CREATED) return; /* not yet: life_created comes here again */
    container->life = LIFE_STARTING;
    container->started_wall_ms = clock_wall_ms();
    scoped(error) struct error *failed = container->host->kind == RUNTIME_CRUN ? open_gate(container) : NULL;
    if (failed || container->host->kind != RUNTIME_CRUN) start_by_runtime(container);
}

void container_ready(struct container *container) {
    if (container->life != LIFE_STARTING) return;
    scoped_string char *path = slot_file(container->slot, "state");
    scoped_fd int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    static const char line[] = "ready\n";
    if (fd < 0 || write(fd, line, sizeof line - 1) < 0)
        log_warn("container", "%s: that it is ready could not be kept for a restart", container->id);
    life_tell_ready(container);
}

static void on_timer(void *owner) {
    struct container *container = owner;
    if (container->life <= LIFE_CREATING) {
        life_fail(container,
                  error_new(ERROR_DEADLINE_EXCEEDED, "it was not created within %d s", CREATE_MS / 1000));
        return;
    }
    if (!container->frozen || container->life >= LIFE_ENDING) return;
    scoped(error) struct error *failed = cgroup_freeze(&container->host->groups, container->slot->name, true);
    if (!failed) return;
    scoped_string char *text = error_text(failed);
    log_warn("container", "%s is not frozen: %s", container->id, text);
}

uint64_t container_number(const struct container *container) {
    return container->number;
}
int container_pid(const struct container *container) {
    return container->pid;
}
void container_owner_set(struct container *container, void *owner) {
    container->owner = owner;
}

uint64_t container_memory_bytes(const struct container *container) {
    return container->slot ? cgroup_memory_bytes(&container->host->groups, container->slot->name) : 0;
}

char *container_upper(const struct container *container) {
    if (!container->slot || container->layer_count == 0 || !container->function->writable_rootfs) return NULL;
    return container->upper ? path_join(container->upper, "u") : slot_file(container->slot, "upper/u");
}

const char *container_stage(const struct container *container) {
    static const char *const stages[] = {
        "waiting for a place", "creating", "created", "starting", "ready", "ending", "gone"};
    return stages[container->life];
}
