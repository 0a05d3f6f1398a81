/* A child process and its end.
 *
 * The happy path: spawn; output comes; the process exits and its output ends, in either order; `done`. It can
 * end otherwise: there is no such program (told in the next round of the loop); the deadline kills it; the
 * caller frees it (killed, reaped here, not told). Output is not waited for once the process has gone and a
 * grandchild still holds the pipe: what is there by then is what counts. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#define OUTPUT_DEFAULT 65536

struct io_child {
    struct io_loop *loop;
    uv_process_t process;
    uv_timer_t deadline;
    uv_pipe_t output;
    int handles; /* open ones; the object goes with the last */
    bool running, exited, timed_out, told, freed;
    int64_t exit_status;
    int signal;
    struct text text;
    size_t output_limit;
    char buffer[4096];
    struct error *error;
    void (*done)(void *owner, struct io_child_end *end);
    void *owner;
};

static void tell(struct io_child *child) {
    if (child->told || child->freed) return;
    child->told = true;
    struct io_child_end end = {
        .exit_code = child->error || child->signal ? -1 : (int)child->exit_status,
        .signal = child->signal,
        .output = text_span(&child->text),
        .error = take(child->error),
    };
    if (child->timed_out) {
        error_free(end.error);
        end.error = error_new(ERROR_DEADLINE_EXCEEDED, "it did not end in time and was killed");
    }
    child->done(child->owner, &end);
}

static void on_closed(uv_handle_t *handle) {
    struct io_child *child = handle->data;
    if (--child->handles > 0) return;
    tell(child);
    error_free(child->error);
    text_done(&child->text);
    free(child);
}

static void close_all(struct io_child *child) {
    uv_handle_t *handles[] = {(uv_handle_t *)&child->process, (uv_handle_t *)&child->deadline,
                              (uv_handle_t *)&child->output};
    for (size_t i = 0; i < COUNT(handles); i++)
        if (!uv_is_closing(handles[i])) uv_close(handles[i], on_closed);
}

static void keep(struct io_child *child, struct span bytes) {
    text_add(&child->text, bytes);
    if (child->text.size > child->output_limit)
        text_remove_front(&child->text, child->text.size - child->output_limit);
}

/* What is in the pipe when the process is gone. */
static void drain(struct io_child *child) {
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&child->output, &fd) != 0) return;
    for (;;) {
        ssize_t got = read(fd, child->buffer, sizeof child->buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return;
        keep(child, (struct span){child->buffer, (size_t)got});
    }
}

static void on_exited(uv_process_t *process, int64_t exit_status, int signal) {
    struct io_child *child = process->data;
    child->exited = true;
    child->exit_status = exit_status;
    child->signal = signal;
    drain(child);
    close_all(child);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct io_child *child = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(child->buffer, sizeof child->buffer);
}

static void on_output(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer) {
    struct io_child *child = stream->data;
    if (got > 0) keep(child, (struct span){buffer->base, (size_t)got});
    if (got < 0) uv_read_stop(stream);
}

static void on_deadline(uv_timer_t *timer) {
    struct io_child *child = timer->data;
    child->timed_out = true;
    uv_process_kill(&child->process, SIGKILL);
}

static void on_not_spawned(void *owner) {
    close_all(owner);
}

/* The child's stdio: given fds, the capturing pipe's other end, or /dev/null. */
static void place_fds(const struct io_child_options *options, int capture, uv_stdio_container_t *stdio) {
    const int given[3] = {options->stdin_fd, options->stdout_fd, options->stderr_fd};
    for (int i = 0; i < 3; i++) {
        int fd = given[i] >= 0 ? given[i] : i > 0 ? capture : -1;
        stdio[i].flags =
            fd >= 0 ? UV_INHERIT_FD : UV_IGNORE; /* libuv opens /dev/null for an ignored one of the three */
        stdio[i].data.fd = fd;
    }
    for (size_t i = 0; i < options->extra_count; i++) {
        stdio[3 + i].flags = UV_INHERIT_FD;
        stdio[3 + i].data.fd = options->extra_fds[i];
    }
}

static int spawn(struct io_child *child, const struct io_child_options *options) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    uv_pipe_open(&child->output, ends[0]);
    uv_stdio_container_t *stdio = mem_array(3 + options->extra_count, sizeof *stdio);
    place_fds(options, ends[1], stdio);
    uv_process_options_t uv = {
        .exit_cb = on_exited,
        .file = options->argv[0],
        .args = (char **)options->argv,
        .env = (char **)options->envp,
        .cwd = options->directory,
        .stdio_count = (int)(3 + options->extra_count),
        .stdio = stdio,
    };
    int failed = uv_spawn(&child->loop->uv, &child->process, &uv);
    free(stdio);
    close(ends[1]);
    return failed;
}

struct io_child *io_child_start(struct io_loop *loop, const struct io_child_options *options) {
    struct io_child *child = NEW(struct io_child);
    child->loop = loop;
    child->done = options->done;
    child->owner = options->owner;
    child->output_limit = options->output_limit_bytes ? options->output_limit_bytes : OUTPUT_DEFAULT;
    child->handles = 3;
    uv_timer_init(&loop->uv, &child->deadline);
    uv_pipe_init(&loop->uv, &child->output, 0);
    child->deadline.data = child->output.data = child;
    int failed = spawn(child, options);
    child->process.data = child; /* uv_spawn has initialised the handle, also where it failed */
    if (failed) {
        child->error = error_errno(-failed, "run %s", options->argv[0]);
        io_defer(loop, on_not_spawned, child);
        return child;
    }
    child->running = true;
    uv_read_start((uv_stream_t *)&child->output, on_allocate, on_output);
    if (options->deadline_ms > 0)
        uv_timer_start(&child->deadline, on_deadline, (uint64_t)options->deadline_ms, 0);
    return child;
}

int io_child_pid(const struct io_child *child) {
    return child->running ? child->process.pid : 0;
}

void io_child_kill(struct io_child *child, int signo) {
    if (child->running && !child->exited) uv_process_kill(&child->process, signo);
}

void io_child_free(struct io_child *child) {
    if (!child || child->freed) return;
    child->freed = true;
    io_child_kill(child, SIGKILL); /* its exit closes the handles, and the last of them frees the object */
}
