/* slirp: the way out without root: slirp4netns, a process for each container that speaks TCP/IP to it over a
 * tap device and opens plain sockets on this machine.
 *
 * It must outlive the daemon as the container does, so catnap-init detaches it; its process id lies in
 * BOX/slirp.pid, and whoever clears the box away ends it. It reaches what this machine's user reaches, but
 * for the loopback. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "inside.h"

enum { READY_MS = 10000, END_MS = 1000 };

const char *const slirp_resolv_conf = "nameserver 10.0.2.3\n"; /* slirp4netns asks this machine's */

static void on_detached(void *owner, struct io_child_end *end) {
    struct container *container = owner;
    container->helper = NULL;
    struct error *failed = NULL;
    if (end->error) failed = error_wrap(end->error, "no outbound network");
    struct span said = span_trim(end->output), first = span_cut(&said, '\n');
    if (!failed && end->exit_code != 0)
        failed =
            error_new(ERROR_FAILED_PRECONDITION,
                      "no outbound network: slirp4netns: " SPAN_FORMAT " (catnap doctor)", SPAN_ARGS(first));
    container->way_out(container, failed);
}

void slirp_start(struct container *container,
                 void (*done)(struct container *container, struct error *taken)) {
    scoped_string char *pid_file = slot_file(container->slot, "slirp.pid"),
                       *log = slot_file(container->slot, "slirp.log"),
                       *netns = mem_printf("/proc/%d/ns/net", container->pid);
    const char *argv[] = {container->host->init_path,
                          "detach",
                          pid_file,
                          log,
                          "slirp4netns",
                          "--configure",
                          "--mtu=65520",
                          "--ready-fd=3",
                          "--disable-host-loopback",
                          "--netns-type=path",
                          netns,
                          "tap0",
                          NULL};
    container->way_out = done;
    container->helper =
        io_child_start(container->host->loop, &(struct io_child_options){.argv = argv,
                                                                         .stdin_fd = -1,
                                                                         .stdout_fd = -1,
                                                                         .stderr_fd = -1,
                                                                         .deadline_ms = READY_MS,
                                                                         .done = on_detached,
                                                                         .owner = container});
}

/* Its number may be another's by now: the name decides. */
static bool is_slirp(uint64_t pid) {
    scoped_string char *path = mem_printf("/proc/%llu/comm", (unsigned long long)pid);
    scoped_text struct text name = {0};
    scoped(error) struct error *gone = file_read(path, 64, &name);
    return !gone && span_is(span_trim(text_span(&name)), "slirp4netns");
}

void slirp_stop(const char *box) {
    scoped_string char *path = path_join(box, "slirp.pid");
    scoped_text struct text text = {0};
    scoped(error) struct error *none = file_read(path, 32, &text);
    uint64_t pid = 0;
    if (none || !span_to_u64(span_trim(text_span(&text)), &pid) || pid < 2 || pid > INT32_MAX) return;
    scoped_fd int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (pidfd < 0 || !is_slirp(pid) || syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0)) return;
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    (void)poll(&end, 1, END_MS);
}
