/* io: the few shapes in which we use libuv.
 *
 * One loop, one thread. Timers, watched file descriptors, signals, child processes and work on other threads;
 * each is an opaque object whose callback gets its `owner` back. No callback runs inside the call that
 * started it.
 * `_free` may be called at any time, also inside the object's own callback; no callback comes after it. */
#pragma once
#include "base.h"

struct io_loop;
struct io_loop *io_loop_new(void);
void io_loop_run(struct io_loop *loop);  /* until io_loop_stop, or nothing is left to wait for */
void io_loop_stop(struct io_loop *loop); /* from a callback */
/* Runs what is still to be closed, then frees. Everything made on the loop must have been freed before. */
void io_loop_free(struct io_loop *loop);
DEFINE_SCOPED(io_loop)
/* The time at the start of this round of the loop; cheap. Same clock as clock_monotonic_ms. */
int64_t io_now_ms(const struct io_loop *loop);
/* The uv_loop_t *, for the rooms that may name libuv (http, grpc). */
void *io_loop_uv(struct io_loop *loop);

/* ---- timer: one shot ---- */
struct io_timer;
struct io_timer *io_timer_new(struct io_loop *loop, void (*fire)(void *owner), void *owner);
void io_timer_arm(struct io_timer *timer, int64_t delay_ms); /* replaces what was armed; <= 0: next round */
void io_timer_stop(struct io_timer *timer);
bool io_timer_armed(const struct io_timer *timer);
void io_timer_free(struct io_timer *timer);
DEFINE_SCOPED(io_timer)

/* ---- rest ---- */
/* `fire` comes when nothing has happened on the loop for so long; again after something happened. */
struct io_rest;
struct io_rest *io_rest_new(struct io_loop *loop, int64_t delay_ms, void (*fire)(void *owner), void *owner);
void io_rest_free(struct io_rest *rest);
DEFINE_SCOPED(io_rest)

/* ---- alarm: at a time of the wall clock (ms since 1970) ---- */
/* `fire` comes then, at once where that has passed, and whenever the clock is set while it is armed: look
 * what the time is. A machine that was suspended at that time: when it goes on. */
struct io_alarm;
must_check struct error *io_alarm_new(struct io_loop *loop, void (*fire)(void *owner), void *owner,
                                      struct io_alarm **ret_alarm);
void io_alarm_set(struct io_alarm *alarm, int64_t wall_ms); /* replaces what was set */
void io_alarm_stop(struct io_alarm *alarm);
void io_alarm_free(struct io_alarm *alarm);
DEFINE_SCOPED(io_alarm)

/* ---- watch: a file descriptor that becomes readable or writable. Level-triggered. ---- */
enum io_events {
    IO_READABLE = 1,
    IO_WRITABLE = 2,
    IO_HANGUP = 4,
    IO_PRIORITY = 8 /* POLLPRI: cgroup and proc files */
};
struct io_watch;
/* fd is borrowed and must stay open until io_watch_free. One watch per fd. `events` 0: made, but idle. */
must_check struct error *io_watch_new(struct io_loop *loop, int fd, unsigned events,
                                      void (*ready)(void *owner, unsigned events), void *owner,
                                      struct io_watch **ret_watch);
void io_watch_set(struct io_watch *watch, unsigned events);
void io_watch_free(struct io_watch *watch); /* then the fd may be closed at once */
DEFINE_SCOPED(io_watch)

/* ---- signal: to this process ---- */
struct io_signal;
struct io_signal *io_signal_new(struct io_loop *loop, int signo, void (*received)(void *owner, int signo),
                                void *owner);
void io_signal_free(struct io_signal *signal);

/* ---- address: HOST:PORT, [HOST6]:PORT, or the path of a Unix socket (contains '/') ---- */
struct sockaddr_storage; /* <sys/socket.h> is for those who look inside */
/* Numbers and `localhost` only; a name is NOT_FOUND. An empty host is every IPv4 address. */
must_check struct error *io_address_parse(const char *text, struct sockaddr_storage *ret_address,
                                          uint32_t *ret_size);
bool io_address_split(const char *text, char *host, size_t host_size, uint16_t *ret_port);
#define IO_ADDRESS_TEXT_SIZE 72
void io_address_text(const struct sockaddr_storage *address, char *text,
                     size_t size);                                /* "unix" for all of those */
uint16_t io_address_port(const struct sockaddr_storage *address); /* 0 of a Unix socket */
/* A socket that listens there, non-blocking. Port 0: any free one. `mode` is that of a Unix socket; an old
 * one that nobody listens on is replaced. Taken already: ALREADY_EXISTS, and the text says what to do. */
must_check struct error *io_listen(const char *address, unsigned mode, int *ret_fd, uint16_t *ret_port);

/* ---- door: a socket that listens and that somebody else may hold while this process is away ---- */
/* Who started us may have brought sockets along (LISTEN_FDS), and may keep those that we open later for the
 * next one of us (NOTIFY_SOCKET: sd_notify(3)'s FDSTORE): systemd, or `catnap hold`. Takes these variables
 * out of the environment. Before the first door. */
void io_doors_take(struct io_loop *loop);
char *io_door_named(struct io_loop *loop,
                    const char *name); /* its address; owned; NULL: none has that name */
/* As io_listen, or the one that is held already. With a port 0 it is held by nobody. */
must_check struct error *io_door_open(struct io_loop *loop, const char *address, unsigned mode, int *ret_fd,
                                      uint16_t *ret_port);
/* For good, with the file of a Unix socket that we made; or, after io_doors_keep, only for this process. A
 * socket that is no door is closed. */
void io_door_close(struct io_loop *loop, int fd);
void io_doors_settle(struct io_loop *loop); /* all doors are open: what nobody asked for is closed for good */
void io_doors_keep(struct io_loop *loop);   /* another one comes after us */
/* Some came along that an earlier life of this daemon opened: who started us starts us again. */
bool io_doors_inherited(const struct io_loop *loop);
void io_doors_tell(struct io_loop *loop, const char *state); /* "READY=1" and the like, to who started us */

/* ---- defer: once, in the next round of the loop; from the loop's thread ---- */
void io_defer(struct io_loop *loop, void (*run)(void *owner), void *owner);

/* ---- post: from any thread into the loop; keeps the loop alive until io_post_free ---- */
struct io_post;
struct io_post *io_post_new(struct io_loop *loop, void (*run)(void *owner), void *owner);
void io_post_send(struct io_post *post);  /* thread-safe; several sends may be one run */
void io_post_unref(struct io_post *post); /* it no longer keeps the loop alive */
void io_post_free(struct io_post *post);

/* ---- work: blocking work on another thread, its end on the loop ---- */
struct io_work {
    void (*work)(struct io_work *work); /* on a worker thread: touches only what this work owns */
    void (*done)(struct io_work *work); /* on the loop, exactly once; may free the struct around it */
    struct error *error;                /* set by `work`, owned by whoever reads it in `done` */
    void *owner;
    void *inside; /* io's own */
};
void io_work_start(struct io_loop *loop, struct io_work *work); /* borrowed until done */

/* ---- child: a process and its end, with a deadline ---- */
struct io_child_end;
struct io_child_options {
    const char *const *argv; /* NULL-terminated, argv[0] looked up in PATH; borrowed for the call */
    const char *const *envp; /* NULL-terminated; NULL: ours */
    const char *directory;   /* NULL: ours */
    int stdin_fd;            /* -1: /dev/null. Borrowed, dup'ed into the child */
    int stdout_fd;           /* -1: captured */
    int stderr_fd;           /* -1: captured (with stdout, as it comes) */
    const int *extra_fds;    /* become 3, 4, ... in the child; borrowed for the call */
    size_t extra_count;
    size_t output_limit_bytes; /* captured output beyond it is dropped from the front; 0: 64 KiB */
    int64_t deadline_ms;       /* from now; then SIGKILL and DEADLINE_EXCEEDED. 0: none */
    void (*done)(void *owner, struct io_child_end *end);
    void *owner;
};
struct io_child_end {
    int exit_code;      /* -1 where a signal ended it or it never ran */
    int signal;         /* 0 where it exited by itself */
    struct span output; /* captured; borrowed for the call */
    struct error
        *error; /* could not run, or deadline; owned by the callback. A non-zero exit is no error here. */
};
struct io_child;
/* "No such program" too comes through `done`. The object lives until done has returned or io_child_free. */
struct io_child *io_child_start(struct io_loop *loop, const struct io_child_options *options);
int io_child_pid(const struct io_child *child);        /* 0 when it could not be started */
void io_child_kill(struct io_child *child, int signo); /* done still comes */
void io_child_free(struct io_child *child);            /* kills; no done; reaped by io */
