/* node, this machine: nap's numbers to containers of the container room.
 *
 * Knows how a function becomes a container's specification (image, volumes) and how an end is told in a
 * sentence. Holds one object per living container and frees it after `exited`. */
#include "inside.h"
#include "logs.h"
#include "volume.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define TAIL_LINES 10
#define TAIL_BYTES 2048

/* ---- memory pressure: the kernel's own measure (PSI), told by an event ---- */

static void on_pressure(void *owner, unsigned events) {
    struct node *node = owner;
    if (events & IO_PRIORITY) node->events.pressure(node->owner);
}

/* Tasks stalled for memory 150 ms of any second. Without PSI there is no early word: limits and the OOM
 * killer remain. */
static void pressure_watch(struct node *node) {
    static const char trigger[] = "some 150000 1000000";
    node->pressure_fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (node->pressure_fd < 0) return;
    struct error *error = NULL;
    if (write(node->pressure_fd, trigger, sizeof trigger) > 0)
        error = io_watch_new(node->loop, node->pressure_fd, IO_PRIORITY, on_pressure, node, &node->pressure);
    if (node->pressure) return;
    error_free(error);
    close(node->pressure_fd);
    node->pressure_fd = -1;
}

struct node *node_new(const struct node_options *options) {
    struct node *node = NEW(struct node);
    node->loop = options->loop;
    node->host = options->host;
    node->volumes = options->volumes;
    node->logs_dir = mem_string(options->logs_dir);
    node->locals = table_new();
    steps_init(node, options->step_numbers);
    pressure_watch(node);
    return node;
}

void node_images_set(struct node *node, struct image_store *images) {
    node->images = images;
}

void node_events_set(struct node *node, const struct node_events *events, void *owner) {
    node->events = *events;
    node->owner = owner;
}

static void local_free(struct local *local) {
    container_free(local->container);
    free(local->app);
    free(local->function);
    error_free(local->failure);
    free(local);
}

void node_free(struct node *node) {
    if (!node) return;
    void *value;
    for (size_t i = 0; table_next(node->locals, &i, NULL, &value);) local_free(value);
    table_free(node->locals);
    steps_free(node);
    io_watch_free(node->pressure);
    if (node->pressure_fd >= 0) close(node->pressure_fd);
    free(node->logs_dir);
    free(node);
}

struct local *local_find(const struct node *node, uint64_t number) {
    return table_get(node->locals, number);
}

struct local *local_new(struct node *node, uint64_t number, const char *app, const char *function) {
    struct local *local = NEW(struct local);
    local->node = node;
    local->number = number;
    local->app = mem_string(app);
    local->function = mem_string(function);
    table_put(node->locals, number, local);
    return local;
}

/* ---- how it ended, as a sentence ---- */

/* By the signal that we sent; one that crashes on its way out crashed. */
static bool ended_by_us(const struct local *local, const struct container_end *end) {
    return (local->killed && end->signal == SIGKILL) || (local->stopped && end->signal == local->stop_signal);
}

static void tell_end(struct text *text, const struct local *local, const struct container_end *end) {
    if (end->error) {
        scoped_string char *why = error_text(end->error);
        text_add_string(text, why);
    } else if (end->oom_killed) {
        text_add_string(text, "it was killed for using more memory than its limit");
    } else if (end->signal && ended_by_us(local, end)) {
        text_add_string(text, local->stopped && local->killed ? NODE_ENDED_IT
                                  ": it did not end when it was asked to"
                                                              : NODE_ENDED_IT);
    } else if (end->signal) {
        text_printf(text, "it was ended by signal %d (%s)", end->signal, strsignal(end->signal));
    } else if (end->exit_code >= 0) {
        text_printf(text, "it exited with code %d", end->exit_code);
    } else {
        text_add_string(text, "it ended, and how is not known");
    }
}

static void tell_exited(struct local *local, const struct container_end *end) {
    struct node *node = local->node;
    if (local->step) {
        table_remove(node->locals, local->number);
        local_free(local);
        return;
    }
    scoped_text struct text text = {0};
    tell_end(&text, local, end);
    char name[24];
    snprintf(name, sizeof name, "%llu", (unsigned long long)local->number);
    scoped_string char *tail =
        logs_tail(node->logs_dir, local->app, local->function, name, TAIL_LINES, TAIL_BYTES);
    logs_say(node->logs_dir, local->app, local->function, name, text.data);
    if (tail[0]) text_printf(&text, "; the last lines of its log:\n%s", tail);
    bool was_ready = end->was_ready;
    uint64_t number = local->number;
    bool runner = local->runner;
    if (local->lone) {
        const struct node_lone_end told = {end->exit_code, end->signal, end->oom_killed, text.data};
        local->lone->exited(local->lone_owner, number, &told);
    }
    oldlogs_ended(node, local);
    table_remove(node->locals, number);
    local_free(local);
    volumes_unmounted(node->volumes);
    if (node->images) image_unuse(node->images, number);
    node->events.exited(node->owner, number, was_ready, text.data);
    /* Only now: the work that it lost asks for a slot at once, and must not be given one of the dead. */
    if (runner && node->runner) node->runner->exited(node->runner_owner, number, text.data);
}

static void note(const struct local *local, const char *text) {
    char name[24];
    snprintf(name, sizeof name, "%llu", (unsigned long long)local->number);
    logs_say(local->node->logs_dir, local->app, local->function, name, text);
}

static void on_given(void *owner, struct container *container) {
    scoped_string char *gpus = container_gpus(container), *text = mem_printf("it has %s", gpus);
    note(owner, text);
}

static void on_shut_in(void *owner, struct container *container, const struct error *why) {
    (void)container;
    scoped_string char *text = error_text(why);
    note(owner, text);
}

static void on_created(void *owner, struct container *container) {
    (void)container;
    struct local *local = owner;
    if (local->lone) return;
    local->node->events.created(local->node->owner, local->number);
}
static void on_ready(void *owner, struct container *container) {
    (void)container;
    struct local *local = owner;
    if (local->lone) {
        local->ready = true;
        local->lone->ready(local->lone_owner, local->number);
        return;
    }
    local->node->events.ready(local->node->owner, local->number);
}
static void on_exited(void *owner, struct container *container, const struct container_end *end) {
    (void)container;
    tell_exited(owner, end);
}
static const struct container_events container_events = {on_created, on_ready, on_exited, on_given,
                                                         on_shut_in};

static void on_failed(void *owner) {
    struct local *local = owner;
    struct container_end end = {.exit_code = -1, .error = local->failure};
    tell_exited(local, &end);
}

/* ---- from a function to a container ---- */

static void mount_add(struct root *root, char *taken_source, const struct core_volume_mount *mount) {
    root->mounts = mem_grow(root->mounts, root->mount_count + 1, sizeof *root->mounts);
    root->mounts[root->mount_count++] = (struct container_mount){
        taken_source, mem_string(mount->path), mount->read_only, mem_string(mount->sub_path)};
}

static struct error *create(struct local *local, const struct core_function *asked, uint64_t version,
                            bool start) {
    struct node *node = local->node;
    scoped(core_function) struct core_function *function = core_function_copy(asked);
    if (asked->runner) {
        if (!node->runner) return error_new(ERROR_FAILED_PRECONDITION, "nobody here runs such functions");
        TRY_PLAIN(node->runner->prepare(node->runner_owner, local->number, function));
        local->runner = true;
    }
    struct root root;
    TRY_PLAIN(root_make(node->images, function, &root));
    struct error *error = NULL;
    if (root.image_id) image_use(node->images, local->number, root.image_id);
    if (!function->command[0])
        error = error_new(ERROR_INVALID_ARGUMENT, "command: missing, and image %s names no program",
                          function->image);
    for (size_t i = 0; i < function->volume_count && !error; i++) {
        char *source = NULL;
        error = volume_directory(node->volumes, &function->volumes[i], &source);
        if (!error) mount_add(&root, source, &function->volumes[i]);
    }
    if (!error) {
        const struct container_spec spec = {
            .number = local->number,
            .version = version,
            .function = function,
            .layers = (const char *const *)root.layers.layer,
            .layer_count = root.layers.count,
            .grafts = (const char *const *)root.layers.grafts,
            .mounts = root.mounts,
            .mount_count = root.mount_count,
        };
        local->container = container_create(node->host, &spec, start, &container_events, local);
    }
    root_done(&root);
    return error;
}

struct error *node_doze_check(const struct node *node) {
    return container_doze_check(node->host);
}

struct error *node_gpu_check(const struct node *node, const char *gpu) {
    return container_gpu_check(node->host, gpu);
}

struct error *node_function_check(struct node *node, const struct core_function *function) {
    struct root root;
    scoped(core_function) struct core_function *copy = core_function_copy(function);
    TRY(root_make(node->images, copy, &root), "function %s", function->name);
    root_done(&root);
    if (!copy->command[0])
        return error_new(ERROR_INVALID_ARGUMENT,
                         "function %s: command: missing, and image %s names no program", function->name,
                         function->image);
    for (size_t i = 0; i < function->volume_count; i++)
        TRY(volume_check(node->volumes, &function->volumes[i]), "function %s", function->name);
    return NULL;
}

void local_begin(struct local *local, const struct core_function *function, uint64_t version, bool start) {
    local->stop_signal = function->stop_signal;
    local->failure = create(local, function, version, start);
    if (local->failure) io_defer(local->node->loop, on_failed, local);
}

void node_create(struct node *node, uint64_t container, const struct core_function *function,
                 uint64_t version, bool start) {
    local_begin(local_new(node, container, function->app, function->name), function, version, start);
}

void node_runner_set(struct node *node, const struct node_runner *runner, void *owner) {
    node->runner = runner;
    node->runner_owner = owner;
}

void node_ready(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return;
    local->ready = true;
    container_ready(local->container);
}

void node_start(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (local && local->container) container_start(local->container);
}

/* ---- the rest of its life; a number that is gone is no error: its `exited` is on the way or was told ----
 */

void node_freeze(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return;
    scoped(error) struct error *error = container_freeze(local->container);
    if (!error) return;
    scoped_string char *text = error_text(error);
    scoped(error) struct error *never = node_doze_check(node); /* that was told at the start */
    log_write(never || error->code == ERROR_ABORTED ? LOG_DEBUG : LOG_WARN, "node",
              "container %llu can't doze: %s", (unsigned long long)container, text);
    node->events.freeze_failed(node->owner, container);
}

void node_thaw(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return;
    scoped(error) struct error *error = container_thaw(local->container);
    if (!error) return;
    /* A container that can't be thawed can't serve either: ending it is what lets its function wake again. */
    scoped_string char *text = error_text(error);
    log_error("node", "container %llu can't be thawed and is killed: %s", (unsigned long long)container,
              text);
    container_kill(local->container);
}

void node_reclaim(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (local && local->container) container_reclaim(local->container);
}
void node_stop(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return;
    local->stopped = true;
    if (!local->runner || !node->runner) {
        container_signal(local->container, local->stop_signal);
    } else if (local->ready) {
        node_thaw(node, container); /* or it would not hear */
        node->runner->stop(node->runner_owner, container);
    } else { /* it only starts: nothing to finish, and its user need not hear of an interrupted import */
        local->stopped = false;
        node_kill(node, container);
    }
}
void node_kill(struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return;
    local->killed = true;
    container_kill(local->container);
}

struct error *node_connect(struct node *node, uint64_t container, uint16_t port, int *ret_fd) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return error_new(ERROR_UNAVAILABLE, "the container is gone");
    return container_connect(local->container, port, ret_fd);
}

struct error *node_listen(struct node *node, uint64_t container, uint16_t port, int *ret_fd) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return error_new(ERROR_UNAVAILABLE, "the container is gone");
    return container_listen(local->container, port, ret_fd);
}

int node_pid(const struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    return local && local->container ? container_pid(local->container) : 0;
}
uint64_t node_memory_bytes(const struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    return local && local->container ? container_memory_bytes(local->container) : 0;
}
char *node_upper(const struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    return local && local->container ? container_upper(local->container) : NULL;
}
const char *node_stage(const struct node *node, uint64_t container) {
    struct local *local = local_find(node, container);
    return local && local->container ? container_stage(local->container) : NULL;
}

/* ---- adoption ---- */

struct adoption {
    struct node *node;
    void (*found)(void *owner, const struct node_found *found);
    void *owner;
};

static void on_found(void *owner, struct container *container, const struct container_found *found) {
    struct adoption *adoption = owner;
    struct local *local = local_new(adoption->node, found->number, found->app, found->function);
    local->container = container;
    local->stop_signal = found->stop_signal;
    local->runner = found->runner;
    local->ready = found->ready;
    container_owner_set(container, local);
    local->step = strcmp(found->app, STEP_APP) == 0 || found->version == LONE_VERSION;
    if (local->step) {
        container_kill(container);
        return;
    }
    if (found->runner && adoption->node->runner)
        adoption->node->runner->adopted(adoption->node->runner_owner, found->number, found->app,
                                        found->function);
    const struct node_found told = {
        .container = found->number,
        .version = found->version,
        .app = local->app,
        .function = local->function,
        .ready = found->ready,
        .frozen = found->frozen,
        .started_wall_ms = found->started_wall_ms,
    };
    adoption->found(adoption->owner, &told);
}

static bool lives(void *owner, uint64_t container) {
    const struct node *node = owner;
    return local_find(node, container) != NULL;
}

struct error *node_adopt(struct node *node, void (*found)(void *owner, const struct node_found *found),
                         void *owner) {
    struct adoption adoption = {node, found, owner};
    TRY_PLAIN(container_host_adopt(node->host, &container_events, &adoption, on_found));
    if (node->images) image_uses_retain(node->images, lives, node);
    oldlogs_look(node);
    return NULL;
}
