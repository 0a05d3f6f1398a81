/* slot: a place for a container, made before anybody needs it: cgroups, a box, a launcher waiting in them.
 *
 *   made -> ready (the launcher says so) -> taken by a container
 * A launcher that dies before it was taken takes its slot along; those who wait for one are told why. Kept
 * ready: as many as the host wants; more are made while containers wait, up to BURST at a time. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "inside.h"

enum { BURST = 16, RUNTIME_LOG_MAX = 65536, LAUNCHER_END_MS = 1000, SEND_BYTES = 256 * 1024 };

char *slot_file(const struct slot *slot, const char *name) {
    return path_join(slot->box, name);
}

char *slot_runtime_log(const struct slot *slot) {
    scoped_string char *path = slot_file(slot, "runtime.log");
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, RUNTIME_LOG_MAX, &text);
    struct span said = failed ? SPAN("") : span_trim(text_span(&text));
    if (said.size > 2000) said = (struct span){said.data + said.size - 2000, 2000};
    char *line = said.size ? span_string(said) : mem_string("it said nothing");
    for (char *newline = line; (newline = strchr(newline, '\n'));) *newline = ';';
    return line;
}

static struct slot *slot_new(struct container_host *host, char *taken_name) {
    struct slot *slot = NEW(struct slot);
    slot->host = host;
    slot->name = taken_name;
    slot->box = mem_printf("%s/c/%s", host->run_dir, slot->name);
    slot->socket_fd = -1;
    list_init(&slot->node);
    return slot;
}

struct slot *slot_of(struct container_host *host, const char *name) {
    return slot_new(host, mem_string(name));
}

static void stop_watching(struct slot *slot) {
    io_watch_free(take(slot->watch));
    scoped_fd_close(&slot->socket_fd);
    slot->socket_fd = -1;
}

void slot_free(struct slot *slot) {
    if (!slot) return;
    list_remove(&slot->node);
    stop_watching(slot);
    io_child_free(slot->launcher);
    free(slot->name);
    free(slot->box);
    free(slot);
}

void slot_remove(struct slot *slot) {
    int pid = slot->launcher ? io_child_pid(slot->launcher) : 0;
    scoped_fd int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (slot->launcher) io_child_kill(slot->launcher, SIGKILL);
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    if (pidfd >= 0) (void)poll(&end, 1, LAUNCHER_END_MS);
    if (!cgroup_remove(&slot->host->groups, slot->name, LAUNCHER_END_MS))
        log_warn("container", "the cgroups of %s stay: something in them does not end", slot->name);
    error_free(tree_remove(slot->box));
    slot_free(slot);
}

static void on_launcher_end(void *owner, struct io_child_end *end) {
    struct slot *slot = owner;
    struct container_host *host = slot->host;
    slot->launcher = NULL;
    scoped(error) struct error *failed = end->error;
    stop_watching(slot);
    if (slot->container) {
        life_created(slot->container, end);
        return;
    }
    char *said = slot_runtime_log(slot);
    scoped_string char *because = failed ? error_text(failed) : take(said);
    free(said);
    slot_remove(slot);
    host_no_launcher(host, because);
}

static void on_ready(void *owner, unsigned events) {
    struct slot *slot = owner;
    char word[16];
    (void)events;
    ssize_t got = recv(slot->socket_fd, word, sizeof word, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    io_watch_set(slot->watch, 0); /* its end is told by its process */
    if (got <= 0) return;
    slot->ready = true;
    host_pump(slot->host);
}

static must_check struct error *launch(struct slot *slot, int their_end) {
    struct container_host *host = slot->host;
    char *dirs[CGROUP_DIRS_MAX];
    size_t count = cgroup_dirs(&host->groups, slot->name, dirs);
    const bool hide = host->kind == RUNTIME_CRUN && host->groups.hide;
    const char *argv[6 + CGROUP_DIRS_MAX + 1] = {host->init_path,    "launch",
                                                 slot->box,          host->init_path,
                                                 host->runtime_path, hide ? host->groups.hide : "-"};
    for (size_t i = 0; i < count; i++) argv[6 + i] = dirs[i];
    slot->launcher = io_child_start(host->loop, &(struct io_child_options){.argv = argv,
                                                                           .stdin_fd = -1,
                                                                           .stdout_fd = -1,
                                                                           .stderr_fd = -1,
                                                                           .extra_fds = &their_end,
                                                                           .extra_count = 1,
                                                                           .done = on_launcher_end,
                                                                           .owner = slot});
    for (size_t i = 0; i < count; i++) free(dirs[i]);
    return io_watch_new(host->loop, slot->socket_fd, IO_READABLE, on_ready, slot, &slot->watch);
}

static must_check struct error *make(struct slot *slot) {
    scoped_string char *fifo = slot_file(slot, "ready");
    TRY_PLAIN(cgroup_make(&slot->host->groups, slot->name));
    TRY_PLAIN(dir_make(slot->box, 0700));
    if (mkfifo(fifo, 0600)) return error_errno(errno, "make %s", fifo);
    int ends[2], bytes = SEND_BYTES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return error_errno(errno, "make a socket for a launcher");
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    slot->socket_fd = ends[0];
    struct error *failed = launch(slot, ends[1]);
    close(ends[1]);
    return failed;
}

static size_t length(const struct list *list) {
    size_t count = 0;
    LIST_EACH(node, list) count++;
    return count;
}

void slot_refill(struct container_host *host) {
    size_t waiting = length(&host->waiting), have = length(&host->slots);
    size_t wanted = host->launchers + (waiting < BURST ? waiting : BURST);
    for (; have < wanted; have++) {
        struct slot *slot =
            slot_new(host, mem_printf("%s-%llu", host->epoch, (unsigned long long)++host->slots_made));
        list_append(&host->slots, &slot->node);
        scoped(error) struct error *failed = make(slot);
        if (!failed) continue;
        scoped_string char *because = error_text(failed);
        slot_remove(slot);
        host_no_launcher(host, because);
        return;
    }
}

struct slot *slot_take(struct container_host *host) {
    LIST_EACH(node, &host->slots) {
        struct slot *slot = CONTAINER_OF(node, struct slot, node);
        if (!slot->ready) continue;
        list_remove(node);
        return slot;
    }
    return NULL;
}

struct error *slot_send(struct slot *slot, struct span job) {
    ssize_t sent = send(slot->socket_fd, job.data, job.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == (ssize_t)job.size) return NULL;
    return error_errno(sent < 0 ? errno : EMSGSIZE, "give the launcher its job of %zu bytes", job.size);
}
