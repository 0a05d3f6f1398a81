/* power: freezing, thawing, giving memory back, signals and killing: what is done to a living container. */
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "inside.h"

enum { DOZE_SIGNAL_MS = 20, RECLAIM_STEPS = 1024, RECLAIM_MS = 60000 };

static bool alive(const struct container *container) {
    return container->life >= LIFE_CREATED && container->life < LIFE_ENDING;
}

static void send_signal(const struct container *container, int signo) {
    (void)syscall(SYS_pidfd_send_signal, container->pidfd, signo, NULL, 0);
}

struct error *container_freeze(struct container *container) {
    if (!alive(container))
        return error_new(ERROR_FAILED_PRECONDITION, "container %s is not running", container->id);
    if (!list_empty(&container->execs))
        return error_new(ERROR_ABORTED, "a command runs in container %s", container->id);
    const struct cgroup_host *groups = &container->host->groups;
    if (!container->function->doze_signal || !cgroup_can_freeze(groups)) {
        struct error *failed = cgroup_freeze(groups, container->slot->name, true);
        container->frozen = !failed;
        return failed;
    }
    container->frozen = true;
    /* The app's own doing comes first; a thaw in between cancels the freezer. */
    send_signal(container, container->function->doze_signal);
    io_timer_arm(container->timer, DOZE_SIGNAL_MS);
    return NULL;
}

struct error *container_thaw(struct container *container) {
    if (!alive(container))
        return error_new(ERROR_FAILED_PRECONDITION, "container %s is not running", container->id);
    container->frozen = false;
    const struct cgroup_host *groups = &container->host->groups;
    struct error *failed = /* what nothing can freeze is as good as thawed */
        cgroup_can_freeze(groups) ? cgroup_freeze(groups, container->slot->name, false) : NULL;
    io_timer_stop(container->timer);
    if (container->life == LIFE_READY)
        io_child_free(take(container->helper)); /* reclaiming stops where it is */
    return failed;
}

static bool machine_swaps(void) {
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read("/proc/swaps", 65536, &text);
    struct span rest = text_span(&text), line = {NULL, 0};
    if (failed) return false;
    (void)span_cut(&rest, '\n'); /* the heading */
    line = span_cut(&rest, '\n');
    return line.data && line.size > 0;
}

static void on_reclaimed(void *owner, struct io_child_end *end) {
    struct container *container = owner;
    container->helper = NULL;
    error_free(end->error); /* what could be given was given */
}

/* The writes block for milliseconds a megabyte and end only by a signal: a process of its own, killed when
 * someone wakes the app. */
void container_reclaim(struct container *container) {
    if (container->life != LIFE_READY || container->helper || !machine_swaps()) return;
    const char *word, *argv[3 + RECLAIM_STEPS + 1] = {container->host->init_path, "poke"};
    scoped_string char *file = cgroup_reclaim_file(&container->host->groups, container->slot->name, &word);
    if (!file) return;
    size_t steps = container->host->groups.controller_v2[CGROUP_MEMORY] ? RECLAIM_STEPS : 1;
    argv[2] = file;
    for (size_t i = 0; i < steps; i++) argv[3 + i] = word;
    container->helper =
        io_child_start(container->host->loop, &(struct io_child_options){.argv = argv,
                                                                         .stdin_fd = -1,
                                                                         .stdout_fd = -1,
                                                                         .stderr_fd = -1,
                                                                         .deadline_ms = RECLAIM_MS,
                                                                         .done = on_reclaimed,
                                                                         .owner = container});
}

/* Has catnap-init begun, who passes signals on? */
static bool hears(const struct container *container) {
    return container->life > LIFE_STARTING ||
           (container->life == LIFE_STARTING && state_read(container->slot->box).started);
}

void container_signal(struct container *container, int signo) {
    if (container->life >= LIFE_ENDING) return;
    if (!hears(container)) { /* nothing of the app is there that could end well, or could be told anything */
        if (signo == SIGTERM || signo == SIGINT || signo == SIGQUIT) container_kill(container);
        return;
    }
    if (container->frozen) error_free(container_thaw(container));
    send_signal(container, signo);
}

void container_kill(struct container *container) {
    container->kill_wanted = true;
    if (container->life < LIFE_CREATED) {
        life_fail(container, error_new(ERROR_CANCELLED, "it was killed before it was created"));
        return;
    }
    if (!alive(container)) return;
    send_signal(container, SIGKILL);
    cgroup_kill(&container->host->groups, container->slot->name);
}
