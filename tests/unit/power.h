/* Freezing, told by tests of more than one kind of machine: what the kernel says of a container's processes.
 */
#pragma once
#include <time.h>

#include "house.h"

static inline void wait_a_moment(void) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The state of a process as the kernel tells it to all: R, S, D, T, Z; for a frozen one D (v1) or S within
 * the freezer (v2), so the group is asked too. */
static inline bool group_is_frozen(int pid) {
    scoped_string char *own = mem_printf("/proc/%d/cgroup", pid);
    scoped_text struct text groups = {0};
    scoped(error) struct error *failed = file_read(own, 1 << 16, &groups);
    struct span rest = text_span(&groups);
    while (!failed && rest.data) {
        struct span line = span_cut(&rest, '\n'), hierarchy = span_cut(&line, ':'),
                    kind = span_cut(&line, ':');
        bool v2 = span_is(hierarchy, "0");
        if (!v2 && !span_is(kind, "freezer")) continue;
        static const char *const places[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup",
                                             "/sys/fs/cgroup/freezer"};
        for (size_t i = 0; i < COUNT(places); i++) {
            scoped_string char *file = mem_printf("%s" SPAN_FORMAT "/%s", places[i], SPAN_ARGS(line),
                                                  v2 ? "cgroup.events" : "freezer.state");
            scoped_text struct text state = {0};
            scoped(error) struct error *none = file_read(file, 4096, &state);
            if (!none && strstr(state.data, v2 ? "frozen 1" : "FROZEN")) return true;
        }
    }
    return false;
}

static inline void await_frozen(const struct guest *guest) {
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!group_is_frozen(container_pid(guest->container))) {
        if (clock_monotonic_ms() > until_ms) fail_msg("it does not freeze");
        wait_a_moment();
    }
}

/* A request that is sent while nobody can answer. */
static inline int ask_frozen(const struct guest *guest) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = -1;
    assert_ok(container_connect(guest->container, 8000, &fd));
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    assert_false(await_fd(fd, POLLIN, 50));
    return fd;
}
static inline void assert_answered(int taken_fd) {
    char text[512];
    assert_true(await_fd(taken_fd, POLLIN, PATIENCE_MS));
    assert_true(read(taken_fd, text, sizeof text) > 0);
    close(taken_fd);
}
