/* exec: a command in a container that runs already.
 *
 * The OCI runtime's own `exec`, on the way there through catnap-init (`enter`), so that the command is in the
 * container's cgroups and namespaces from its first moment, and once inside through catnap-init again
 * (`exec`), which is under the app's user and filter. The container's own process in config.json is the
 * pattern: variables, directory, limits. A terminal comes as OCI runtimes hand it over: by a socket.
 *
 *   begun --says that it runs--> running --the runtime ends--> ended
 *     '--the runtime ends first, or says why not--> `started` with the error, and no `exited` */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "inside.h"

enum { IN, OUT, ERR, STATUS, PIPES, SAID_MAX = 4096 };

struct container_exec {
    struct list node;            /* in container->execs */
    struct container *container; /* NULL: it is gone */
    struct container_exec_options options;
    char *name; /* of its files in the box */
    char *box;
    struct io_child *child;
    int ours[PIPES]; /* our ends; -1: given away, or there is none */
    int console_fd;  /* listens for the terminal; -1 */
    struct io_watch *status_watch, *console_watch;
    struct text said; /* by descriptor 3 */
    bool status_ended, started, ended;
    int code; /* ended: of the runtime, which is the command's */
};

static char *file_of(const struct container_exec *exec, const char *suffix) {
    return mem_printf("%s/%s.%s", exec->box, exec->name, suffix);
}

static void remove_files(const struct container_exec *exec) {
    static const char *const suffixes[] = {"json", "pid", "sock"};
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        scoped_string char *path = file_of(exec, suffixes[i]);
        (void)unlink(path);
    }
}

void container_exec_free(struct container_exec *exec) {
    if (!exec) return;
    container_exec_kill(exec);
    list_remove(&exec->node);
    io_watch_free(exec->status_watch), io_watch_free(exec->console_watch);
    io_child_free(exec->child);
    for (int i = 0; i < PIPES; i++) scoped_fd_close(&exec->ours[i]);
    scoped_fd_close(&exec->console_fd);
    remove_files(exec);
    text_done(&exec->said);
    free(exec->name), free(exec->box);
    free(exec);
}

void exec_container_gone(struct container *container) {
    while (!list_empty(&container->execs)) {
        struct container_exec *exec = CONTAINER_OF(container->execs.next, struct container_exec, node);
        list_remove(&exec->node);
        exec->container = NULL;
    }
}

/* While the runtime waits for it, its number is its own; the group goes along. */
void container_exec_kill(struct container_exec *exec) {
    if (!exec->child) return;
    scoped_string char *path = file_of(exec, "pid");
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 64, &text);
    uint64_t pid = 0;
    if (!failed && span_to_u64(span_trim(text_span(&text)), &pid) && pid > 1 && pid < INT32_MAX) {
        (void)kill(-(pid_t)pid, SIGKILL);
        (void)kill((pid_t)pid, SIGKILL);
    } else {
        io_child_kill(exec->child, SIGKILL);
    }
}

/* ---- the terminal ---- */

static int receive_terminal(int listener) {
    char byte[256];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec bytes = {byte, sizeof byte};
    struct msghdr message = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    scoped_fd int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int terminal = -1;
    if (fd < 0 || recvmsg(fd, &message, MSG_CMSG_CLOEXEC) <= 0) return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS) memcpy(&terminal, CMSG_DATA(head), sizeof terminal);
    return terminal;
}

static void take_terminal(struct container_exec *exec) {
    if (exec->console_fd < 0 || exec->ours[OUT] >= 0) return;
    int terminal = receive_terminal(exec->console_fd);
    if (terminal < 0) return;
    io_watch_free(take(exec->console_watch));
    const struct winsize size = {.ws_row = exec->options.command.rows,
                                 .ws_col = exec->options.command.columns};
    if (size.ws_row && size.ws_col) (void)ioctl(terminal, TIOCSWINSZ, &size);
    (void)fcntl(terminal, F_SETFL, O_NONBLOCK);
    exec->ours[OUT] = terminal;
    exec->ours[IN] = fcntl(terminal, F_DUPFD_CLOEXEC, 3);
}

/* ---- how it came to run, or not ---- */

static char *last_words(struct container_exec *exec) {
    char said[SAID_MAX];
    ssize_t size = exec->ours[ERR] >= 0 ? read(exec->ours[ERR], said, sizeof said) : 0;
    struct span words = span_trim((struct span){said, size > 0 ? (size_t)size : 0});
    return words.size ? span_string(words) : mem_string("it said nothing");
}

static void tell_started(struct container_exec *exec, struct error *taken_error) {
    if (exec->started) {
        error_free(taken_error);
        return;
    }
    exec->started = true;
    int in = exec->ours[IN], out = exec->ours[OUT], err = exec->ours[ERR];
    if (taken_error) {
        exec->options.started(exec->options.owner, taken_error, -1, -1, -1);
        return;
    }
    exec->ours[IN] = exec->ours[OUT] = exec->ours[ERR] = -1;
    exec->options.started(exec->options.owner, NULL, in, out, err);
}

/* Whether it runs, or not. */
static void look(struct container_exec *exec) {
    bool needs_terminal = exec->options.command.terminal && exec->ours[OUT] < 0;
    if (exec->started || exec->said.size < 2) return; /* "s", and more comes */
    if (exec->said.data[1] != '\n')
        tell_started(exec, error_new(ERROR_NOT_FOUND, "%s", exec->said.data + 1));
    else if (!needs_terminal)
        tell_started(exec, NULL);
}

static void read_status(struct container_exec *exec) {
    for (;;) {
        char *at = text_reserve(&exec->said, 512);
        ssize_t got = read(exec->ours[STATUS], at, 511);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got > 0 && exec->said.size < SAID_MAX) exec->said.size += (size_t)got;
        exec->said.data[exec->said.size] = '\0';
        if (got > 0) continue;
        exec->status_ended = true;
        io_watch_free(take(exec->status_watch));
        return;
    }
}

/* The runtime and what is said come in either order; `end` waits for a word about how it began. */
static void go_on(struct container_exec *exec) {
    bool ended = exec->ended, failed = exec->said.size > 1 && exec->said.data[1] != '\n';
    if (failed) { /* the owner may free it when it is told */
        look(exec);
        return;
    }
    look(exec);
    if (!exec->started && ended && exec->status_ended) {
        scoped_string char *words = last_words(exec);
        tell_started(exec,
                     error_new(ERROR_FAILED_PRECONDITION, "the command could not be started: %s", words));
        return;
    }
    if (exec->started && ended) exec->options.exited(exec->options.owner, exec->code);
}

static void on_status(void *owner, unsigned events) {
    struct container_exec *exec = owner;
    (void)events;
    read_status(exec);
    go_on(exec);
}

static void on_end(void *owner, struct io_child_end *end) {
    struct container_exec *exec = owner;
    exec->child = NULL;
    exec->ended = true;
    exec->code = end->signal ? 128 + end->signal : end->exit_code;
    scoped(error) struct error *failed = take(end->error);
    remove_files(exec);
    if (exec->status_watch) read_status(exec);
    take_terminal(exec); /* of a command that was quicker than we are */
    if (failed) exec->status_ended = true;
    go_on(exec);
}

static void on_console(void *owner, unsigned events) {
    struct container_exec *exec = owner;
    (void)events;
    take_terminal(exec);
    go_on(exec);
}

/* The path may be longer than an address can be: it is named by the directory's descriptor. */
static must_check struct error *listen_for_terminal(struct container_exec *exec) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    scoped_fd int directory = open(exec->box, O_PATH | O_DIRECTORY | O_CLOEXEC);
    exec->console_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int size = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s.sock", directory,
                        exec->name);
    if (directory < 0 || exec->console_fd < 0 || size >= (int)sizeof address.sun_path ||
        bind(exec->console_fd, (struct sockaddr *)&address, sizeof address) || listen(exec->console_fd, 1))
        return error_errno(errno, "a socket for the terminal");
    return io_watch_new(exec->container->host->loop, exec->console_fd, IO_READABLE, on_console, exec,
                        &exec->console_watch);
}

/* ---- what is run ---- */

static json_t *arguments(const struct container_exec *exec, const json_t *run) {
    json_t *args = json_pack("[s, s]", "/.catnap/init", "exec"), *word;
    bool keep_home = false;
    for (size_t i = 0; (word = json_array_get(run, i)) && strcmp(json_string_value(word), "--") != 0; i++) {
        const char *text = json_string_value(word);
        keep_home |= strcmp(text, "--keep-home") == 0;
        if (strncmp(text, "--user=", 7) == 0 || strncmp(text, "--oom-score=", 12) == 0)
            json_array_append(args, word);
    }
    for (const char *const *env = exec->options.command.env; env && *env; env++)
        keep_home |= strncmp(*env, "HOME=", 5) == 0;
    if (keep_home) json_array_append_new(args, json_string("--keep-home"));
    json_array_append_new(args, json_string("--"));
    for (const char *const *argv = exec->options.command.argv; *argv; argv++)
        json_array_append_new(args, json_string(*argv));
    return args;
}

static void add_environment(json_t *env, const char *const *more) {
    for (; more && *more; more++) {
        size_t name = strcspn(*more, "=") + 1;
        for (size_t at = json_array_size(env); at-- > 0;)
            if (strncmp(json_string_value(json_array_get(env, at)), *more, name) == 0)
                json_array_remove(env, at);
        json_array_append_new(env, json_string(*more));
    }
}

static must_check struct error *write_process(const struct container_exec *exec) {
    scoped_string char *config_path = path_join(exec->box, "config.json"), *path = file_of(exec, "json");
    scoped_json json_t *config = json_load_file(config_path, 0, NULL);
    json_t *process = json_object_get(config, "process");
    if (!process) return error_new(ERROR_INTERNAL, "%s can't be read", config_path);
    const struct core_command *command = &exec->options.command;
    json_object_set_new(process, "args", arguments(exec, json_object_get(process, "args")));
    json_object_set_new(process, "terminal", json_boolean(command->terminal));
    if (command->terminal && command->rows && command->columns)
        json_object_set_new(process, "consoleSize",
                            json_pack("{s:i, s:i}", "height", command->rows, "width", command->columns));
    if (command->workdir) json_object_set_new(process, "cwd", json_string(command->workdir));
    add_environment(json_object_get(process, "env"), command->env);
    scoped_string char *text = json_dumps(process, JSON_COMPACT);
    if (!text) return error_new(ERROR_INVALID_ARGUMENT, "a text of the command is not UTF-8");
    scoped_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return error_errno(errno, "write %s", path);
    return NULL;
}

static must_check struct error *make_pipes(struct container_exec *exec, int theirs[PIPES]) {
    for (int i = 0; i < PIPES; i++) {
        int ends[2];
        bool wanted = i == STATUS || i == ERR || !exec->options.command.terminal;
        if (!wanted) continue;
        if (pipe2(ends, O_CLOEXEC)) return error_errno(errno, "a pipe");
        exec->ours[i] = ends[i == IN], theirs[i] = ends[i != IN];
        (void)fcntl(exec->ours[i], F_SETFL, O_NONBLOCK);
    }
    return NULL;
}

static void spawn(struct container_exec *exec, const int theirs[PIPES]) {
    struct container_host *host = exec->container->host;
    scoped_string char *pid = mem_printf("%d", exec->container->pid), *json = file_of(exec, "json"),
                       *pid_file = file_of(exec, "pid"), *console = file_of(exec, "sock"),
                       *root = path_join(host->run_dir, "runtime");
    char *dirs[CGROUP_DIRS_MAX];
    size_t count = cgroup_dirs(&host->groups, exec->container->slot->name, dirs), used = 0;
    const bool crun = host->kind == RUNTIME_CRUN, hide = crun && host->groups.hide;
    const char *argv[CGROUP_DIRS_MAX + 24];
    argv[used++] = host->init_path, argv[used++] = "enter", argv[used++] = pid;
    argv[used++] = hide ? host->groups.hide : "-";
    for (size_t i = 0; i < count; i++) argv[used++] = dirs[i];
    argv[used++] = "--", argv[used++] = host->runtime_path, argv[used++] = "--root", argv[used++] = root;
    if (crun) argv[used++] = "--cgroup-manager=disabled";
    argv[used++] = "exec", argv[used++] = "--process", argv[used++] = json;
    argv[used++] = "--pid-file", argv[used++] = pid_file, argv[used++] = "--preserve-fds=1";
    if (exec->options.command.terminal) argv[used++] = "--console-socket", argv[used++] = console;
    argv[used++] = exec->container->id, argv[used] = NULL;
    const bool merged = exec->options.command.stderr_to_stdout && !exec->options.command.terminal;
    exec->child =
        io_child_start(host->loop, &(struct io_child_options){.argv = argv,
                                                              .directory = "/",
                                                              .stdin_fd = theirs[IN],
                                                              .stdout_fd = theirs[OUT],
                                                              .stderr_fd = merged ? theirs[OUT] : theirs[ERR],
                                                              .extra_fds = &theirs[STATUS],
                                                              .extra_count = 1,
                                                              .done = on_end,
                                                              .owner = exec});
    for (size_t i = 0; i < count; i++) free(dirs[i]);
}

static must_check struct error *begin(struct container_exec *exec) {
    struct container *container = exec->container;
    int theirs[PIPES] = {-1, -1, -1, -1};
    if (container->frozen) TRY_PLAIN(container_thaw(container));
    TRY_PLAIN(write_process(exec));
    if (exec->options.command.terminal) TRY_PLAIN(listen_for_terminal(exec));
    struct error *failed = make_pipes(exec, theirs);
    if (!failed)
        failed = io_watch_new(container->host->loop, exec->ours[STATUS], IO_READABLE, on_status, exec,
                              &exec->status_watch);
    if (!failed) spawn(exec, theirs);
    for (int i = 0; i < PIPES; i++) scoped_fd_close(&theirs[i]);
    return failed;
}

struct error *container_exec(struct container *container, const struct container_exec_options *options,
                             struct container_exec **ret_exec) {
    if (container->life < LIFE_STARTING || container->life >= LIFE_ENDING || container->kill_wanted)
        return error_new(ERROR_FAILED_PRECONDITION, "the container is not running");
    /* The others hand a terminal over only when they leave the command alone, and its end with it. */
    if (options->command.terminal && container->host->kind != RUNTIME_CRUN)
        return error_new(ERROR_UNIMPLEMENTED, "a terminal in a container needs the runtime crun; this is %s",
                         container->host->runtime);
    struct container_exec *exec = NEW(struct container_exec);
    exec->container = container;
    exec->options = *options;
    exec->console_fd = -1;
    for (int i = 0; i < PIPES; i++) exec->ours[i] = -1;
    exec->name = mem_printf("exec-%llu", (unsigned long long)++container->exec_count);
    exec->box = mem_string(container->slot->box);
    list_append(&container->execs, &exec->node);
    struct error *failed = begin(exec);
    /* Borrowed for the call. */
    exec->options.command.argv = exec->options.command.env = NULL;
    exec->options.command.workdir = NULL;
    if (failed)
        container_exec_free(exec);
    else
        *ret_exec = exec;
    return failed;
}
