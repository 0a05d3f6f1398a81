/* Bytes on their way into a parser that sits behind a socket: all at once, or in pieces that a seed cuts.
 *
 * The harness has one end of a socket pair, the code under test the other, in a loop that is turned until
 * nothing moves any more. What counts as movement is told by the target: `moved` grows with each callback. */
#pragma once
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#define STILL_TURNS 4 /* a byte needs two turns at most from one end of a pair to the other */

struct pipe_end {
    struct io_loop *loop;
    struct io_timer *timer;
    int fd;
    uint64_t moved;
    struct text got; /* what came back */
};

static inline void pipe_stop(void *owner) {
    io_loop_stop(((struct pipe_end *)owner)->loop);
}

/* Returns the other end, non-blocking. */
static inline int pipe_open(struct pipe_end *pipe, struct io_loop *loop) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) abort();
    *pipe = (struct pipe_end){.loop = loop, .fd = pair[0]};
    pipe->timer = io_timer_new(loop, pipe_stop, pipe);
    return pair[1];
}

static inline void pipe_take(struct pipe_end *pipe) {
    char bytes[65536];
    for (ssize_t size; (size = read(pipe->fd, bytes, sizeof bytes)) > 0; pipe->moved++)
        text_add(&pipe->got, (struct span){bytes, (size_t)size});
}

static inline void pipe_turn(struct pipe_end *pipe) {
    uint64_t before = pipe->moved;
    for (int still = 0; still < STILL_TURNS; still++) {
        io_timer_arm(pipe->timer, 0);
        io_loop_run(pipe->loop);
        pipe_take(pipe);
        if (pipe->moved != before) still = -1;
        before = pipe->moved;
    }
}

/* What does not fit at once waits for its turn; a closed other end takes nothing. */
static inline void pipe_put(struct pipe_end *pipe, struct span bytes) {
    while (bytes.size > 0) {
        ssize_t sent = send(pipe->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) break;
        if (sent > 0) {
            bytes.data += sent;
            bytes.size -= (size_t)sent;
        }
        uint64_t before = pipe->moved;
        pipe_turn(pipe);
        if (sent < 0 && pipe->moved == before) break; /* nobody reads: it is over for them */
    }
    pipe_turn(pipe);
}

static inline void pipe_close(struct pipe_end *pipe) {
    shutdown(pipe->fd, SHUT_WR);
    pipe_turn(pipe);
    close(pipe->fd);
    pipe_turn(pipe);
    io_timer_free(pipe->timer);
}

/* Cuts a piece of 1 to about 40 bytes, now and then a long one. */
static inline struct span pipe_cut(struct span *bytes, uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    size_t size = (*seed >> 16) % 8 == 0 ? (*seed >> 20) % 2048 : (*seed >> 20) % 40;
    if (++size > bytes->size) size = bytes->size;
    struct span piece = {bytes->data, size};
    bytes->data += size;
    bytes->size -= size;
    return piece;
}

static inline bool text_same(const struct text *a, const struct text *b) {
    return span_equal(text_span(a), text_span(b));
}
