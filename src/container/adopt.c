/* adopt: what an earlier daemon left behind.
 *
 * Every box that is not ours is looked at: a living process with the recorded start time that was started is
 * a container and is taken over; everything else is killed and cleared away: containers that were never
 * started, dead ones, launchers' leftovers. A container found frozen stays so; its owner thaws it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "inside.h"

static bool ours(const struct container_host *host, const char *name) {
    size_t size = strlen(host->epoch);
    return strncmp(name, host->epoch, size) == 0 && name[size] == '-';
}

static struct container *take_over(struct container_host *host, struct slot *slot,
                                   const struct record *record, const struct container_events *events,
                                   void *owner) {
    struct container *container = life_found(host, events, owner);
    container->number = record->number;
    container->version = record->version;
    snprintf(container->id, sizeof container->id, "%llu", (unsigned long long)record->number);
    container->function = core_function_new(record->app, record->function);
    container->function->port = record->port;
    container->function->doze_signal = record->doze_signal;
    container->function->stop_signal = record->stop_signal;
    container->function->runner = record->runner;
    container->started_wall_ms = record->started_wall_ms;
    container->pid = record->pid;
    container->slot = slot;
    slot->container = container;
    container->start = true;
    container->life = LIFE_STARTING;
    if (record->network_index) network_adopt(host, record->network_index);
    container->network_index = record->network_index;
    container->gpus = record->gpus;
    list_append(&host->containers, &container->node);
    return container;
}

/* The pidfd is opened first and the start time read then: what is seen is the process that the pidfd means.
 */
static bool lives(struct container *container, const struct record *record) {
    scoped(error) struct error *failed = life_watch(container);
    return !failed && process_start_ticks(record->pid) == record->start_ticks;
}

static void
look_at(struct container_host *host, const char *name, const struct container_events *events, void *owner,
        void (*found)(void *owner, struct container *container, const struct container_found *found)) {
    struct slot *slot = slot_of(host, name);
    struct record record;
    scoped(error) struct error *failed = record_read(slot->box, &record);
    struct state state = state_read(slot->box);
    bool candidate = !failed && state.started && process_start_ticks(record.pid) == record.start_ticks;
    struct container *container = candidate ? take_over(host, slot, &record, events, owner) : NULL;
    if (container && !lives(container, &record)) {
        container->slot = NULL;
        network_give(host, container->network_index);
        life_free(container);
        slot->container = container = NULL;
    }
    if (!container) {
        end_sweep(host, slot, record.id ? record.id : "");
    } else {
        bool frozen = cgroup_frozen(&host->groups, slot->name);
        container->frozen = frozen;
        if (state.ready) container->life = LIFE_READY;
        container->was_ready = state.ready;
        found(owner, container,
              &(struct container_found){.number = record.number,
                                        .version = record.version,
                                        .app = record.app,
                                        .function = record.function,
                                        .ready = state.ready,
                                        .frozen = frozen,
                                        .runner = record.runner,
                                        .stop_signal = record.stop_signal,
                                        .started_wall_ms = record.started_wall_ms});
    }
    record_done(&record);
}

static must_check struct error *empty_trash(struct container_host *host) {
    scoped_string char *trash = path_join(host->run_dir, "trash");
    TRY_PLAIN(tree_remove(trash));
    return dir_make(trash, 0700);
}

static bool is_known(const struct container_host *host, const char *id) {
    LIST_EACH(node, &host->containers)
    if (strcmp(CONTAINER_OF(node, struct container, node)->id, id) == 0) return true;
    return false;
}

/* What crun kept of a container whose daemon was killed before it had written which one it was. */
static void sweep_runtime(const struct container_host *host) {
    scoped_string char *all = path_join(host->run_dir, "runtime");
    DIR *directory = host->kind == RUNTIME_CRUN ? opendir(all) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || is_known(host, entry->d_name)) continue;
        scoped_string char *path = path_join(all, entry->d_name);
        error_free(tree_remove(path));
    }
    if (directory) closedir(directory);
}

struct error *container_host_adopt(struct container_host *host, const struct container_events *events,
                                   void *owner,
                                   void (*found)(void *owner, struct container *container,
                                                 const struct container_found *found)) {
    scoped_string char *boxes = path_join(host->run_dir, "c");
    TRY(empty_trash(host), "clear away");
    DIR *directory = opendir(boxes);
    if (!directory) return error_errno(errno, "open %s", boxes);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && !ours(host, entry->d_name))
            look_at(host, entry->d_name, events, owner, found);
    closedir(directory);
    sweep_runtime(host);
    return NULL;
}
