/* container: what the container room adds to an app's start, in interleaved rounds.
 *
 * One line a round on stdout, in milliseconds to the first byte of an answer: `floor` (the same server,
 * exec'ed in bare namespaces by hand, connected to when it listens), `cold` (container_create with start),
 * `primed` (container_start of a created one), `thaw` (of a frozen one). Before each a pause, as between real
 * wakes: the kernel's grace periods count. Arguments: rounds, the pause in ms, the OCI runtime. Run by
 * container.py. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "container.h"

struct bench {
    struct io_loop *loop;
    struct container_host *host;
    struct core_function *function;
    const char *server;
    int created, ready, exited;
    uint64_t number;
    int64_t ready_us;
};

static void die(const char *what) {
    perror(what);
    exit(1);
}
static void check(struct error *failed) {
    if (!failed) return;
    scoped_string char *text = error_text(failed);
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static void on_created(void *owner, struct container *container) {
    (void)container;
    ((struct bench *)owner)->created = 1;
    io_loop_stop(((struct bench *)owner)->loop);
}
static void on_ready(void *owner, struct container *container) {
    (void)container;
    struct bench *bench = owner;
    bench->ready = 1;
    bench->ready_us = clock_monotonic_us();
    io_loop_stop(bench->loop);
}
static void on_exited(void *owner, struct container *container, const struct container_end *end) {
    (void)container;
    scoped_string char *text = end->error ? error_text(end->error) : NULL;
    if (text) fprintf(stderr, "%s\n", text);
    ((struct bench *)owner)->exited = 1;
    io_loop_stop(((struct bench *)owner)->loop);
}
static const struct container_events events = {.created = on_created, .ready = on_ready, .exited = on_exited};

static void await(struct bench *bench, const int *flag) {
    while (!*flag && !bench->exited) io_loop_run(bench->loop);
    if (!*flag) exit(1);
}

static void on_pause(void *owner) {
    io_loop_stop(owner);
}
static void pause_ms(struct bench *bench, int64_t ms) {
    scoped(io_timer) struct io_timer *timer = io_timer_new(bench->loop, on_pause, bench->loop);
    io_timer_arm(timer, ms);
    io_loop_run(bench->loop);
}

static void ask(int fd) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[512];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0) die("send");
    if (poll(&wait, 1, 10000) <= 0 || read(fd, answer, sizeof answer) <= 0) die("answer");
    close(fd);
}

/* ---- by hand ---- */
static int bare(void *server) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    char *environment[] = {(char[]){"PORT=8000"}, NULL}, *argv[] = {server, NULL};
    (void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    (void)ioctl(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), SIOCSIFFLAGS, &request);
    execve(server, argv, environment);
    _exit(127);
}

static double floor_ms(struct bench *bench) {
    static char stack[65536] __attribute__((aligned(16)));
    const int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(8000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int64_t began_us = clock_monotonic_us();
    pid_t pid = clone(bare, stack + sizeof stack, namespaces | SIGCHLD, (void *)bench->server);
    if (pid < 0) die("clone");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    int theirs = open(path, O_RDONLY | O_CLOEXEC);
    if (setns(theirs, CLONE_NEWNET)) die("setns");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (setns(own, CLONE_NEWNET)) die("setns");
    while (connect(fd, (struct sockaddr *)&to, sizeof to))
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    ask(fd);
    double took = (double)(clock_monotonic_us() - began_us) / 1000;
    kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    close(own), close(theirs);
    return took;
}

/* ---- by the room ---- */
static struct container *create(struct bench *bench, bool start) {
    bench->created = bench->ready = bench->exited = 0;
    scoped_string char *directory =
        mem_string_n(bench->server, (size_t)(strrchr(bench->server, '/') - bench->server));
    struct container_mount mount = {.source = directory, .destination = "/srv/tiny", .read_only = true};
    return container_create(bench->host,
                            &(struct container_spec){.number = ++bench->number,
                                                     .version = 1,
                                                     .function = bench->function,
                                                     .mounts = &mount,
                                                     .mount_count = 1},
                            start, &events, bench);
}

static double answered_ms(struct container *container, int64_t began_us) {
    int fd;
    check(container_connect(container, 8000, &fd));
    ask(fd);
    return (double)(clock_monotonic_us() - began_us) / 1000;
}

static void finish(struct bench *bench, struct container *container) {
    container_kill(container);
    while (!bench->exited) io_loop_run(bench->loop);
    container_free(container);
}

static void round_of(struct bench *bench, int64_t pause) {
    pause_ms(bench, pause);
    double bare_ms = floor_ms(bench);
    pause_ms(bench, pause);
    int64_t began_us = clock_monotonic_us();
    struct container *container = create(bench, true);
    await(bench, &bench->ready);
    double cold_ready = (double)(bench->ready_us - began_us) / 1000, cold = answered_ms(container, began_us);
    finish(bench, container);

    container = create(bench, false);
    await(bench, &bench->created);
    pause_ms(bench, pause);
    began_us = clock_monotonic_us();
    container_start(container);
    await(bench, &bench->ready);
    double primed_ready = (double)(bench->ready_us - began_us) / 1000,
           primed = answered_ms(container, began_us);

    pause_ms(bench, pause);
    check(container_freeze(container));
    pause_ms(bench, pause);
    began_us = clock_monotonic_us();
    check(container_thaw(container));
    double thaw = answered_ms(container, began_us);
    finish(bench, container);
    printf("%.3f %.3f %.3f %.3f %.3f %.3f\n", bare_ms, cold_ready, cold, primed_ready, primed, thaw);
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct bench bench = {.loop = io_loop_new()};
    if (argc < 6) return fprintf(stderr, "container ROUNDS PAUSE_MS RUNTIME INIT SERVER\n"), 2;
    scoped_string char *id = random_id("catnap-bench"), *directory = mem_printf("/tmp/%s", id),
                       *run = path_join(directory, "run");
    check(dir_make(run, 0700));
    bench.server = argv[5];
    check(container_host_open(&(struct container_host_options){.loop = bench.loop,
                                                               .state_dir = directory,
                                                               .run_dir = run,
                                                               .runtime = argv[3],
                                                               .init_path = argv[4],
                                                               .cgroup = id},
                              &bench.host));
    bench.function = core_function_new("bench", "tiny");
    bench.function->image = mem_string("host");
    bench.function->command = mem_array(2, sizeof *bench.function->command);
    bench.function->command[0] = mem_string("/srv/tiny/tiny_server");
    bench.function->port = 8000;
    bench.function->memory_bytes = 256 << 20;
    bench.function->cpu_milli = 2000;
    bench.function->startup_timeout_ms = 10000;
    long rounds = strtol(argv[1], NULL, 10), pause = strtol(argv[2], NULL, 10);
    for (long i = 0; i < rounds; i++) round_of(&bench, pause);
    container_host_free(bench.host);
    io_loop_run(bench.loop);
    io_loop_free(bench.loop);
    core_function_free(bench.function);
    check(tree_remove(directory));
    return 0;
}
