/* host: what this machine gives to containers, and the meeting of containers that wait with slots that are
 * ready. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "inside.h"

enum { LAUNCHERS = 2, LOG_FILE_BYTES = 8 << 20, REFILL_MS = 30 };

static enum runtime_kind kind_of(const char *runtime) {
    const char *slash = strrchr(runtime, '/'), *name = slash ? slash + 1 : runtime;
    if (strcmp(name, "crun") == 0) return RUNTIME_CRUN;
    return strcmp(name, "runc") == 0 ? RUNTIME_RUNC : RUNTIME_OTHER;
}

char *host_program_find(const char *program) {
    if (strchr(program, '/')) return access(program, X_OK) == 0 ? mem_string(program) : NULL;
    const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"; /* the launcher's */
    struct span rest = span_of(path);
    while (rest.data) {
        struct span directory = span_cut(&rest, ':');
        char *candidate = mem_printf(SPAN_FORMAT "/%s", SPAN_ARGS(directory), program);
        if (access(candidate, X_OK) == 0) return candidate;
        free(candidate);
    }
    return NULL;
}

static must_check struct error *check_needs(const struct container_host_options *options,
                                            const char *runtime) {
    if (geteuid() != 0)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "containers need root, or container_enter_user_namespace before any thread is made");
    scoped_string char *path = host_program_find(runtime);
    if (!path)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "there is no OCI runtime '%s'. Debian: apt-get install crun", runtime);
    if (access(options->init_path, X_OK))
        return error_errno(errno, "catnap-init, the first process of each container, at %s",
                           options->init_path);
    return NULL;
}

static void on_refill(void *owner) {
    slot_refill(owner);
}

static const char *const dir_names[] = {"c", "runtime", "trash"};

static must_check struct error *make_dirs(const struct container_host *host) {
    for (size_t i = 0; i < COUNT(dir_names); i++) {
        scoped_string char *path = path_join(host->run_dir, dir_names[i]);
        TRY_PLAIN(dir_make(path, 0700));
    }
    return NULL;
}

/* Only what is empty: containers that are left are found by what lies there. */
static void remove_dirs(const struct container_host *host) {
    for (size_t i = 0; i < COUNT(dir_names); i++) {
        scoped_string char *path = path_join(host->run_dir, dir_names[i]);
        (void)rmdir(path);
    }
    (void)rmdir(host->run_dir);
}

struct error *container_host_open(const struct container_host_options *options,
                                  struct container_host **ret_host) {
    const char *runtime = options->runtime ? options->runtime : "crun";
    TRY_PLAIN(check_needs(options, runtime));
    struct container_host *host = NEW(struct container_host);
    host->references = 1;
    host->loop = options->loop;
    host->state_dir = mem_string(options->state_dir);
    host->run_dir = mem_string(options->run_dir);
    host->runtime = mem_string(runtime);
    host->runtime_path = host_program_find(runtime);
    host->kind = kind_of(runtime);
    host->init_path = mem_string(options->init_path);
    host->cgroup = mem_string(options->cgroup);
    host->launchers = options->launchers ? options->launchers : LAUNCHERS;
    host->log_file_bytes = options->log_file_bytes ? options->log_file_bytes : LOG_FILE_BYTES;
    host->epoch = random_id("s");
    list_init(&host->slots), list_init(&host->waiting), list_init(&host->containers);
    host->refill = io_timer_new(host->loop, on_refill, host);
    host->in_userns = userns_inside();
    host->one_user = host->in_userns && !userns_has_users();
    host->own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    struct error *failed = make_dirs(host);
    if (!failed) failed = cgroup_host_open(options->cgroup, &host->groups);
    if (failed) {
        container_host_free(host);
        return error_wrap(failed, "containers");
    }
    cgroup_tell_lacks(&host->groups);
    network_resume(host);
    scoped_string char *gpus = path_join(host->state_dir, "gpus");
    gpus_find("nvidia-smi", gpus, &host->gpus);
    io_timer_arm(host->refill, 0);
    *ret_host = host;
    return NULL;
}

struct error *container_doze_check(const struct container_host *host) {
    return cgroup_freeze_check(&host->groups);
}

void host_unref(struct container_host *host) {
    if (--host->references > 0) return;
    network_free(host);
    foreign_free(host->foreign);
    cgroup_host_remove(&host->groups);
    cgroup_host_done(&host->groups);
    scoped_fd_close(&host->own_netns);
    remove_dirs(host);
    free(host->state_dir), free(host->run_dir), free(host->runtime), free(host->runtime_path),
        free(host->init_path), free(host->cgroup), free(host->epoch), free(host->gpus_told);
    free(host);
}

void container_host_free(struct container_host *host) {
    if (!host) return;
    LIST_EACH_SAFE(node, next, &host->slots) slot_remove(CONTAINER_OF(node, struct slot, node));
    LIST_EACH_SAFE(node, next, &host->waiting) container_free(CONTAINER_OF(node, struct container, node));
    LIST_EACH_SAFE(node, next, &host->containers) container_free(CONTAINER_OF(node, struct container, node));
    io_timer_free(take(host->refill));
    network_stop(host);
    host_unref(host);
}

/* The first who waits and may begin; those who need the way out wait until there is one. */
static struct container *next_waiting(struct container_host *host) {
    LIST_EACH(node, &host->waiting) {
        struct container *container = CONTAINER_OF(node, struct container, node);
        bool stays = container->function->network == CORE_NETWORK_NONE || container->shut_in;
        if (stays || network_prepared(host)) return container;
    }
    return NULL;
}

void host_pump(struct container_host *host) {
    for (struct container *container; (container = next_waiting(host));) {
        struct slot *slot = slot_take(host);
        if (!slot) {
            slot_refill(host);
            return;
        }
        list_remove(&container->node);
        list_append(&host->containers, &container->node);
        life_take_slot(container, slot);
    }
    /* Not at once: who has just been woken needs the processors first. */
    if (host->refill && !io_timer_armed(host->refill)) io_timer_arm(host->refill, REFILL_MS);
}

void host_no_launcher(struct container_host *host, const char *text) {
    if (list_empty(&host->waiting)) log_warn("container", "no launcher could be made ahead: %s", text);
    LIST_EACH_SAFE(node, next, &host->waiting) {
        list_remove(node);
        list_append(&host->containers, node);
        life_fail(
            CONTAINER_OF(node, struct container, node),
            error_new(ERROR_FAILED_PRECONDITION, "a place for the container could not be made: %s", text));
    }
}
