/* A machine for containers, for tests: a host on a loop, its directories, and waiting for events with a
 * deadline.
 *
 * Real containers need root; without it each test says so and is skipped. */
#pragma once
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "container.h"
#include "logs.h"
#include "test.h"

enum { PATIENCE_MS = 20000 };

struct seen { /* of one container */
    int created, ready, exited;
    struct container_end end;
    char *end_error;
};
struct house {
    struct io_loop *loop;
    struct io_timer *deadline;
    struct container_host *host;
    char *dir, *state_dir, *run_dir, *cgroup, *bin, *server_dir;
    const char *runtime;
    bool timed_out;
    const int *awaited;
    struct seen *expected;
};

static inline void on_deadline(void *owner) {
    struct house *house = owner;
    house->timed_out = true;
    io_loop_stop(house->loop);
}

/* The containers' owner is their `seen`; each event ends the run of the loop, and the waiter looks. */
struct seen_in {
    struct house *house;
    struct seen seen;
};
static inline void on_created(void *owner, struct container *container) {
    struct seen_in *in = owner;
    (void)container;
    in->seen.created++;
    io_loop_stop(in->house->loop);
}
static inline void on_ready(void *owner, struct container *container) {
    struct seen_in *in = owner;
    (void)container;
    in->seen.ready++;
    io_loop_stop(in->house->loop);
}
static inline void on_exited(void *owner, struct container *container, const struct container_end *end) {
    struct seen_in *in = owner;
    (void)container;
    in->seen.exited++;
    in->seen.end = *end;
    in->seen.end.error = NULL;
    in->seen.end_error = end->error ? error_text(end->error) : NULL;
    io_loop_stop(in->house->loop);
}
static const struct container_events house_events = {on_created, on_ready, on_exited};

static inline void await(struct house *house, const int *count, int wanted, const char *what) {
    house->timed_out = false;
    io_timer_arm(house->deadline, PATIENCE_MS);
    while (*count < wanted && !house->timed_out) io_loop_run(house->loop);
    io_timer_stop(house->deadline);
    if (*count < wanted) fail_msg("waited in vain for: %s", what);
}
#define AWAIT(HOUSE, COUNTER, WANTED) await(HOUSE, &(COUNTER), WANTED, #COUNTER)

static inline const char *environment(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static inline void house_open(struct house *house) {
    scoped_string char *init = path_join(house->bin, "catnap-init");
    house->loop = io_loop_new();
    house->deadline = io_timer_new(house->loop, on_deadline, house);
    assert_ok(container_host_open(&(struct container_host_options){.loop = house->loop,
                                                                   .state_dir = house->state_dir,
                                                                   .run_dir = house->run_dir,
                                                                   .runtime = house->runtime,
                                                                   .init_path = init,
                                                                   .cgroup = house->cgroup,
                                                                   .log_file_bytes = 256 * 1024},
                                  &house->host));
}

static inline struct house *house_new(const char *runtime) {
    struct house *house = NEW(struct house);
    scoped_string char *id = random_id("catnap-test");
    house->dir = mem_printf("%s/%s", environment("TMPDIR", "/tmp"), id);
    house->state_dir = path_join(house->dir, "state");
    house->run_dir = path_join(house->dir, "run");
    house->cgroup = mem_string(id);
    house->bin = mem_string(environment("CATNAP_BIN", "."));
    house->server_dir = mem_string(environment("CATNAP_FIXTURES", "tests/unit"));
    house->runtime = runtime;
    assert_ok(dir_make(house->state_dir, 0755));
    assert_ok(dir_make(house->run_dir, 0700));
    house_open(house);
    return house;
}

/* As a kill of the daemon would: what runs goes on. */
static inline void house_close(struct house *house) {
    container_host_free(house->host);
    io_timer_free(house->deadline);
    io_loop_run(house->loop); /* what is still being cleared away */
    io_loop_free(house->loop);
}

static inline void house_free(struct house *house) {
    if (!house) return;
    house_close(house);
    assert_ok(tree_remove(house->dir));
    static const char *const groups[] = {"unified", "memory", "cpu", "pids", "."};
    for (size_t i = 0; i < COUNT(groups); i++) {
        scoped_string char *group = mem_printf("/sys/fs/cgroup/%s/%s", groups[i], house->cgroup);
        if (file_exists(group)) fail_msg("%s was left behind", group);
    }
    free(house->dir), free(house->state_dir), free(house->run_dir), free(house->cgroup), free(house->bin),
        free(house->server_dir);
    free(house);
}

static inline struct core_function *server_function(const char *name) {
    struct core_function *function = core_function_new("tests", name);
    function->image = mem_string("host");
    function->command = mem_array(2, sizeof *function->command);
    function->command[0] = mem_string("/srv/tiny/tiny_server");
    function->port = 8000;
    function->startup_timeout_ms = PATIENCE_MS;
    return function;
}

static inline struct container *house_create(struct house *house, const struct core_function *function,
                                             uint64_t number, bool start, struct seen_in *seen) {
    struct container_mount server = {
        .source = house->server_dir, .destination = "/srv/tiny", .read_only = true};
    seen->house = house;
    return container_create(
        house->host,
        &(struct container_spec){
            .number = number, .version = 1, .function = function, .mounts = &server, .mount_count = 1},
        start, &house_events, seen);
}

/* The answer's body, or what went wrong. Owned. */
static inline char *house_get(struct container *container, uint16_t port, const char *path) {
    scoped_fd int fd = -1;
    struct error *failed = container_connect(container, port, &fd);
    if (failed) {
        char *text = error_text(failed);
        error_free(failed);
        return text;
    }
    scoped_string char *request = mem_printf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    struct pollfd writable = {.fd = fd, .events = POLLOUT}, readable = {.fd = fd, .events = POLLIN};
    (void)poll(&writable, 1, PATIENCE_MS);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) return mem_string("not sent");
    char answer[4096];
    if (poll(&readable, 1, PATIENCE_MS) <= 0) return mem_string("no answer in time");
    ssize_t got = read(fd, answer, sizeof answer - 1);
    if (got <= 0) return mem_string("cut off");
    answer[got] = '\0';
    const char *body = strstr(answer, "\r\n\r\n");
    return mem_string(body ? body + 4 : answer);
}

static inline bool can_contain(void) {
    return geteuid() == 0 && access("/usr/bin/crun", X_OK) == 0;
}
#define NEEDS_ROOT()                                                        \
    do {                                                                    \
        if (!can_contain()) {                                               \
            print_message("skipped: real containers need root and crun\n"); \
            skip();                                                         \
        }                                                                   \
    } while (0)
