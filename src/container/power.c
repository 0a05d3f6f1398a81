/* power: freezing, thawing, giving memory back, signals, killing, and connecting: what is done to a living
 * container. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
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
    struct error *failed = cgroup_freeze(&container->host->groups, container->slot->name, false);
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

/* Loopback decides within the call; only a full queue of the app's leaves it open, and then the socket's
 * owner waits. */
static int settled(int fd, const struct sockaddr *address, socklen_t size) {
    if (connect(fd, address, size) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    struct pollfd now = {.fd = fd, .events = POLLOUT};
    int result = 0;
    socklen_t length = sizeof result;
    if (poll(&now, 1, 0) <= 0) return 0;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &length) ? errno : result;
}

struct error *container_connect(struct container *container, uint16_t port, int *ret_fd) {
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr *addresses[] = {(struct sockaddr *)&v4, (struct sockaddr *)&v6};
    const socklen_t sizes[] = {sizeof v4, sizeof v6};
    if (container->netns_fd < 0 || container->life >= LIFE_ENDING)
        return error_new(ERROR_UNAVAILABLE, "container %s is not running", container->id);
    int failed = 0, on = 1;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        scoped_fd int fd = -1;
        TRY(foreign_socket(container->host, container->netns_fd, addresses[i]->sa_family, &fd),
            "container %s", container->id);
        failed = settled(fd, addresses[i], sizes[i]);
        if (failed) continue;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *ret_fd = take_fd(&fd);
        return NULL;
    }
    return error_new(ERROR_UNAVAILABLE, "nobody listens on port %u in container %s: %s", port, container->id,
                     strerror(failed));
}

struct error *container_listen(struct container *container, uint16_t port, int *ret_fd) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    scoped_fd int fd = -1;
    int on = 1;
    if (container->netns_fd < 0 || container->life >= LIFE_ENDING)
        return error_new(ERROR_UNAVAILABLE, "container %s is not running", container->id);
    TRY_PLAIN(foreign_socket(container, AF_INET, &fd));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) || listen(fd, SOMAXCONN))
        return error_errno(errno, "listen on port %u in container %s", port, container->id);
    *ret_fd = take_fd(&fd);
    return NULL;
}
