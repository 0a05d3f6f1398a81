/* A machine for containers, for tests: a host on a loop, its directories, guests (containers and what was
 * told of them), and waiting for events with a deadline.
 *
 * Real containers need root; without it each test says so and is skipped. house_free looks for what was left
 * behind: processes, cgroups, mounts, interfaces, nft tables, files. */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "container.h"
#include "logs.h"
#include "test.h"

/* How long a test waits for what must come; longer on an emulated machine. */
#define PATIENCE_MS patience_ms()
static inline int patience_ms(void) {
    const char *seconds = getenv("CATNAP_TEST_PATIENCE_S");
    return seconds ? 1000 * (int)strtol(seconds, NULL, 10) : 30000;
}

struct house {
    struct io_loop *loop;
    struct io_timer *deadline;
    struct container_host *host;
    char *dir, *state_dir, *run_dir, *logs_dir, *cgroup, *bin, *server_dir;
    const char *runtime;
    uint64_t log_file_bytes;
    bool timed_out;
};
struct guest { /* one container, and what was told of it */
    struct house *house;
    struct container *container;
    int created, ready, exited;
    struct container_end end; /* without the error, whose text is `error` */
    char error[4096];
    char shut_in[512];
};

static inline void on_deadline(void *owner) {
    struct house *house = owner;
    house->timed_out = true;
    io_loop_stop(house->loop);
}

/* Each event ends the run of the loop, and the waiter looks. */
static inline void on_created(void *owner, struct container *container) {
    struct guest *guest = owner;
    guest->container = container;
    guest->created++;
    io_loop_stop(guest->house->loop);
}
static inline void on_ready(void *owner, struct container *container) {
    struct guest *guest = owner;
    guest->container = container;
    guest->ready++;
    io_loop_stop(guest->house->loop);
}
static inline void on_exited(void *owner, struct container *container, const struct container_end *end) {
    struct guest *guest = owner;
    guest->container = container;
    guest->exited++;
    guest->end = *end;
    scoped_string char *text = end->error ? error_text(end->error) : NULL;
    snprintf(guest->error, sizeof guest->error, "%s", text ? text : "");
    guest->end.error = NULL;
    io_loop_stop(guest->house->loop);
}
static inline void on_shut_in(void *owner, struct container *container, const struct error *why) {
    struct guest *guest = owner;
    (void)container;
    scoped_string char *text = error_text(why);
    snprintf(guest->shut_in, sizeof guest->shut_in, "%s", text);
}
static const struct container_events house_events = {
    .created = on_created, .ready = on_ready, .exited = on_exited, .shut_in = on_shut_in};

static inline void await(struct house *house, const int *count, int wanted, const char *what) {
    house->timed_out = false;
    io_timer_arm(house->deadline, PATIENCE_MS);
    while (*count < wanted && !house->timed_out) io_loop_run(house->loop);
    io_timer_stop(house->deadline);
    if (*count < wanted) fail_msg("waited in vain for: %s", what);
}
#define AWAIT(GUEST, COUNTER) await((GUEST).house, &(GUEST).COUNTER, 1, #GUEST "." #COUNTER)
/* Ready, or the test fails with what was said instead. */
#define AWAIT_READY(GUEST)                                                                                   \
    do {                                                                                                     \
        while (!(GUEST).ready && !(GUEST).exited) await_any(&(GUEST));                                       \
        if (!(GUEST).ready)                                                                                  \
            fail_msg("it ended instead: %s (exit code %d, signal %d)", (GUEST).error, (GUEST).end.exit_code, \
                     (GUEST).end.signal);                                                                    \
    } while (0)
static inline void await_any(struct guest *guest) {
    struct house *house = guest->house;
    house->timed_out = false;
    io_timer_arm(house->deadline, PATIENCE_MS);
    io_loop_run(house->loop);
    io_timer_stop(house->deadline);
    if (house->timed_out) fail_msg("neither ready nor gone in time");
}

static inline void pass_time(struct house *house, int64_t ms) {
    io_timer_arm(house->deadline, ms);
    for (house->timed_out = false; !house->timed_out;) io_loop_run(house->loop);
}

static inline const char *environment(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static inline struct error *house_try_open(struct house *house) {
    scoped_string char *init = path_join(house->bin, "catnap-init");
    house->loop = io_loop_new();
    house->deadline = io_timer_new(house->loop, on_deadline, house);
    return container_host_open(&(struct container_host_options){.loop = house->loop,
                                                                .state_dir = house->state_dir,
                                                                .run_dir = house->run_dir,
                                                                .runtime = house->runtime,
                                                                .init_path = init,
                                                                .cgroup = house->cgroup,
                                                                .log_file_bytes = house->log_file_bytes},
                               &house->host);
}
static inline void house_open(struct house *house) {
    assert_ok(house_try_open(house));
}

static int houses; /* one that a failed test left open has children yet */

/* Everything but a host. */
static inline struct house *house_plan(const char *runtime) {
    struct house *house = NEW(struct house);
    scoped_string char *id = random_id("catnap-test");
    house->dir = mem_printf("%s/%s", environment("TMPDIR", "/tmp"), id);
    house->state_dir = path_join(house->dir, "state");
    house->run_dir = path_join(house->dir, "run");
    house->logs_dir = path_join(house->state_dir, "logs");
    house->cgroup = mem_string(id);
    house->bin = mem_string(environment("CATNAP_BIN", "."));
    house->server_dir = mem_string(environment("CATNAP_FIXTURES", "tests/unit"));
    houses++;
    house->runtime = runtime;
    house->log_file_bytes = 256 * 1024;
    assert_ok(dir_make(house->state_dir, 0755));
    assert_ok(dir_make(house->run_dir, 0700));
    return house;
}
static inline struct house *house_new(const char *runtime) {
    struct house *house = house_plan(runtime);
    house_open(house);
    return house;
}

/* Nearly as a kill of the daemon: what runs goes on. */
static inline void house_close(struct house *house) {
    container_host_free(house->host);
    io_timer_free(house->deadline);
    io_loop_run(house->loop); /* what is still being cleared away */
    io_loop_free(house->loop);
    house->loop = NULL;
}

/* ---- nothing is left behind ---- */
static inline void no_trace_in(const char *file, const char *of) {
    scoped_text struct text text = {0};
    assert_ok(file_read(file, 8 << 20, &text));
    if (text.data && strstr(text.data, of)) fail_msg("%s is left behind in %s", of, file);
}

/* A zombie is none of ours: catnap-init is the child of whoever adopts orphans on this machine. */
static inline bool lives_in(const char *pid, const char *group) {
    scoped_string char *path = mem_printf("/proc/%s/cgroup", pid),
                       *stat_path = mem_printf("/proc/%s/stat", pid);
    scoped_text struct text groups = {0}, status = {0};
    scoped(error) struct error *gone = file_read(path, 1 << 16, &groups);
    if (gone || !groups.data || !strstr(groups.data, group)) return false;
    scoped(error) struct error *gone_now = file_read(stat_path, 1 << 16, &status);
    const char *after_name = gone_now || !status.data ? NULL : strrchr(status.data, ')');
    return after_name && strncmp(after_name, ") Z", 3) != 0;
}

static inline void no_process_in(const char *group) {
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    for (struct dirent *entry; (entry = readdir(proc));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && lives_in(entry->d_name, group))
            fail_msg("process %s is left behind", entry->d_name);
    closedir(proc);
}

static inline void no_group_below(const char *directory, const char *name) {
    DIR *hierarchies = opendir(directory);
    scoped_string char *own = path_join(directory, name);
    if (file_exists(own)) fail_msg("%s is left behind", own);
    for (struct dirent *entry; hierarchies && (entry = readdir(hierarchies));) {
        scoped_string char *group = mem_printf("%s/%s/%s", directory, entry->d_name, name);
        if (entry->d_name[0] != '.' && file_exists(group)) fail_msg("%s is left behind", group);
    }
    if (hierarchies) closedir(hierarchies);
}

static inline void house_free(struct house *house) {
    if (!house) return;
    if (house->loop) house_close(house);
    no_process_in(house->cgroup);
    no_group_below("/sys/fs/cgroup", house->cgroup);
    no_trace_in("/proc/self/mountinfo", house->dir);
    if (houses-- == 1) assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child that nobody reaped */
    assert_ok(tree_remove(house->dir));
    free(house->dir), free(house->state_dir), free(house->run_dir), free(house->logs_dir),
        free(house->cgroup), free(house->bin), free(house->server_dir);
    free(house);
}

/* ---- guests ---- */
static inline void set_command(struct core_function *function, const char *const *words, size_t count) {
    for (char **word = function->command; *word; word++) free(*word);
    free(function->command);
    function->command = mem_array(count + 1, sizeof *function->command);
    for (size_t i = 0; i < count; i++) function->command[i] = mem_string(words[i]);
}
static inline struct core_function *server_function(const char *name) {
    struct core_function *function = core_function_new("tests", name);
    set_command(function, (const char *const[]){"/srv/tiny/tiny_server"}, 1);
    function->port = 8000;
    function->startup_timeout_ms = PATIENCE_MS;
    return function;
}
static inline struct core_function *plain_shell_function(const char *name, const char *script) {
    struct core_function *function = core_function_new("tests", name);
    set_command(function, (const char *const[]){"/bin/sh", "-c", script}, 3);
    return function;
}
/* Both streams in one: what comes by two pipes at the same time has no order. */
static inline struct core_function *shell_function(const char *name, const char *script) {
    scoped_string char *merged = mem_printf("exec 2>&1; %s", script);
    return plain_shell_function(name, merged);
}

/* With the server's directory at /srv/tiny, and the mounts that come after it. */
static inline void guest_create_with(struct house *house, struct guest *guest,
                                     const struct core_function *function, uint64_t number, bool start,
                                     const struct container_mount *more, size_t count) {
    struct container_mount mounts[8] = {
        {.source = house->server_dir, .destination = "/srv/tiny", .read_only = true}};
    assert_true(count < COUNT(mounts));
    for (size_t i = 0; i < count; i++) mounts[1 + i] = more[i];
    *guest = (struct guest){.house = house};
    guest->container = container_create(
        house->host,
        &(struct container_spec){
            .number = number, .version = 1, .function = function, .mounts = mounts, .mount_count = 1 + count},
        start, &house_events, guest);
}
static inline void guest_create(struct house *house, struct guest *guest,
                                const struct core_function *function, uint64_t number, bool start) {
    guest_create_with(house, guest, function, number, start, NULL, 0);
}

static inline void guest_end(struct guest *guest) { /* killed, gone, freed */
    container_kill(guest->container);
    AWAIT(*guest, exited);
    container_free(take(guest->container));
}

static inline void add_output(void *owner, const struct logs_line *line) {
    struct text *text = owner;
    if (line->stream == 's') return;
    if (text->size) text_add_char(text, '\n');
    text_add(text, line->text);
}
/* What it wrote, both streams, lines joined by newlines. Owned. */
static inline char *guest_output(const struct house *house, const char *function) {
    struct text text = {0};
    assert_ok(logs_read(&(struct logs_query){.dir = house->logs_dir, .app = "tests", .function = function},
                        add_output, &text));
    return text_take(&text);
}

/* Runs it to its end, which must be a good one, and gives what it wrote. Owned. */
static inline char *house_run_with(struct house *house, const struct core_function *function, uint64_t number,
                                   const struct container_mount *mounts, size_t count) {
    struct guest guest;
    guest_create_with(house, &guest, function, number, true, mounts, count);
    AWAIT(guest, exited);
    char *output = guest_output(house, function->name);
    if (guest.end.exit_code != 0)
        fail_msg("exit code %d, signal %d: %s %s", guest.end.exit_code, guest.end.signal, guest.error,
                 output);
    container_free(guest.container);
    return output;
}
static inline char *house_run(struct house *house, const struct core_function *function, uint64_t number) {
    return house_run_with(house, function, number, NULL, 0);
}

/* A child's end may interrupt a wait. */
static inline bool await_fd(int fd, short events, int patience_ms) {
    struct pollfd wanted = {.fd = fd, .events = events};
    int result;
    while ((result = poll(&wanted, 1, patience_ms)) < 0 && errno == EINTR) {
    }
    return result > 0;
}

/* The answer's body, or what went wrong. Owned. */
static inline char *guest_get(const struct guest *guest, const char *path) {
    scoped_fd int fd = -1;
    scoped(error) struct error *failed = container_connect(guest->container, 8000, &fd);
    if (failed) return error_text(failed);
    scoped_string char *request = mem_printf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    (void)await_fd(fd, POLLOUT, PATIENCE_MS);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) return mem_string("not sent");
    char answer[4096];
    if (!await_fd(fd, POLLIN, PATIENCE_MS)) return mem_string("no answer in time");
    ssize_t got = read(fd, answer, sizeof answer - 1);
    if (got <= 0) return mem_string("cut off");
    answer[got] = '\0';
    const char *body = strstr(answer, "\r\n\r\n");
    return mem_string(body ? body + 4 : answer);
}
#define ASSERT_SERVES(GUEST)                                  \
    do {                                                      \
        scoped_string char *body_ = guest_get(&(GUEST), "/"); \
        assert_string_equal(body_, "hello\n");                \
    } while (0)

static inline bool can_contain(void) {
    return geteuid() == 0 && (access("/usr/bin/crun", X_OK) == 0 || access("/usr/local/bin/crun", X_OK) == 0);
}
#define NEEDS_ROOT()                                                        \
    do {                                                                    \
        (void)unused;                                                       \
        if (!can_contain()) {                                               \
            print_message("skipped: real containers need root and crun\n"); \
            skip();                                                         \
        }                                                                   \
    } while (0)
