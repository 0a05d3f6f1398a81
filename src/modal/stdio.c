/* stdio: what a command writes and reads, between a pipe (or a terminal) and calls that come and go.
 *
 * Output is kept by its offset, so that a reader whose connection broke goes on where it was. Where nobody
 * reads, an exec's command waits once AHEAD bytes are here (a pipe's own manner); a sandbox's output drops
 * what is oldest instead. What was read is kept for another BEHIND bytes. Input is written as fast as the
 * command takes it. */
#include "sandbox.h"

#include <errno.h>
#include <stdlib.h>

#define AHEAD_BYTES (8u << 20)
#define BEHIND_BYTES (1u << 20)
#define PIECE_BYTES 65536
#define STDIN_WAITS_MAX (64u << 20)

/* ---- output ---- */

void stdio_init(struct stdio *stdio, struct modal *modal, bool drops, void *owner) {
    *stdio = (struct stdio){.modal = modal, .drops = drops, .owner = owner, .fd = -1};
    list_init(&stdio->readers);
}

void stdio_done(struct stdio *stdio) {
    io_watch_free(take(stdio->watch));
    scoped_fd_close(&stdio->fd);
    stdio->fd = -1;
    rpc_held_end(&stdio->readers, ERROR_NOT_FOUND, "the command is gone");
    text_done(&stdio->kept);
}

static void forget(struct stdio *stdio) {
    size_t most = stdio->drops ? AHEAD_BYTES : BEHIND_BYTES;
    uint64_t behind = stdio->drops                ? stdio->kept.size
                      : stdio->sent > stdio->base ? stdio->sent - stdio->base
                                                  : 0;
    if (behind <= most + BEHIND_BYTES) return; /* in large steps: each moves what stays */
    size_t gone = (size_t)behind - most;
    text_remove_front(&stdio->kept, gone);
    stdio->base += gone;
}

static bool full(const struct stdio *stdio) {
    uint64_t end = stdio->base + stdio->kept.size;
    return !stdio->drops && end - stdio->sent > AHEAD_BYTES;
}

static void on_drained(struct grpc_call *call) {
    struct rpc *rpc = grpc_call_owner(call);
    struct stdio_reader *reader = rpc->owner;
    reader->choked = false;
    stdio_pump(reader->stdio);
}

static void feed(struct stdio *stdio, struct rpc *rpc) {
    struct stdio_reader *reader = rpc->owner;
    uint64_t end = stdio->base + stdio->kept.size;
    if (reader->at < stdio->base) reader->at = stdio->base;
    while (!reader->choked && reader->at < end) {
        struct span piece = {stdio->kept.data + (reader->at - stdio->base), (size_t)(end - reader->at)};
        if (piece.size > PIECE_BYTES) piece.size = PIECE_BYTES;
        size_t taken = piece.size;
        reader->choked = !reader->send(rpc, reader, piece, &taken);
        if (taken == 0) break; /* half a character: the rest is on its way */
        reader->at += taken;
    }
    if (reader->at > stdio->sent) stdio->sent = reader->at;
    if (stdio->ended && !reader->choked) reader->finish(rpc, reader);
}

void stdio_pump(struct stdio *stdio) {
    LIST_EACH_SAFE(node, next, &stdio->readers) feed(stdio, CONTAINER_OF(node, struct rpc, node));
    forget(stdio);
    if (stdio->watch) io_watch_set(stdio->watch, full(stdio) ? 0 : IO_READABLE);
    if (stdio->settled) stdio->settled(stdio->owner);
}

void stdio_read(struct stdio *stdio, struct rpc *rpc, struct stdio_reader *reader, double hold_ms,
                void (*expired)(struct rpc *rpc)) {
    reader->stdio = stdio;
    stdio->was_read = true;
    rpc_hold(rpc, &stdio->readers, reader, hold_ms, expired);
    grpc_call_on_drained(rpc->call, on_drained);
    stdio_pump(stdio);
}

static void add(struct stdio *stdio, struct span bytes) {
    text_add(&stdio->kept, bytes);
    if (stdio->seen) stdio->seen(stdio->owner, stdio, bytes);
}

/* False: it has ended. */
static bool fill(struct stdio *stdio, size_t most) {
    char bytes[PIECE_BYTES];
    for (size_t got_all = 0; got_all < most;) {
        ssize_t got = read(stdio->fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return true;
        if (got <= 0) return false; /* of a terminal: EIO when nobody has its other end */
        add(stdio, (struct span){bytes, (size_t)got});
        got_all += (size_t)got;
    }
    return true;
}

static void close_it(struct stdio *stdio) {
    io_watch_free(take(stdio->watch));
    scoped_fd_close(&stdio->fd);
    stdio->fd = -1;
}

static void on_readable(void *owner, unsigned events) {
    struct stdio *stdio = owner;
    (void)events;
    if (!fill(stdio, PIECE_BYTES)) close_it(stdio); /* ended is told when the command has ended */
    stdio_pump(stdio);
}

void stdio_open(struct stdio *stdio, int taken_fd) {
    stdio->fd = taken_fd;
    if (taken_fd < 0) return;
    scoped(error) struct error *error =
        io_watch_new(stdio->modal->loop, taken_fd, IO_READABLE, on_readable, stdio, &stdio->watch);
    if (error) close_it(stdio);
}

/* What is there when the command has ended is all; who it left behind may still hold the pipe. */
void stdio_end(struct stdio *stdio) {
    if (stdio->ended) return;
    if (stdio->fd >= 0) (void)fill(stdio, 4 * AHEAD_BYTES);
    close_it(stdio);
    stdio->ended = true;
    stdio_pump(stdio);
}

/* ---- input ---- */

void stdin_done(struct stdin_pipe *in) {
    io_watch_free(take(in->watch));
    if (in->fd >= 0) close(in->fd);
    in->fd = -1;
    text_done(&in->waits);
}

static void flush(struct stdin_pipe *in) {
    while (in->fd >= 0 && in->waits.size > 0) {
        ssize_t put = write(in->fd, in->waits.data, in->waits.size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) break;
        if (put < 0) {
            in->broken = true;
            text_clear(&in->waits);
            break;
        }
        text_remove_front(&in->waits, (size_t)put);
    }
    if (in->watch) io_watch_set(in->watch, in->waits.size > 0 ? IO_WRITABLE : 0);
    if (in->waits.size > 0) return;
    if (in->fd >= 0 && ((in->eof && !in->terminal) || in->broken)) stdin_done(in);
}

static void on_writable(void *owner, unsigned events) {
    (void)events;
    flush(owner);
}

void stdin_open(struct stdin_pipe *in, struct modal *modal, int taken_fd, bool terminal) {
    in->fd = taken_fd;
    in->terminal = terminal;
    if (taken_fd >= 0) error_free(io_watch_new(modal->loop, taken_fd, 0, on_writable, in, &in->watch));
    flush(in);
}

struct error *stdin_room(const struct stdin_pipe *in) {
    if (in->waits.size <= STDIN_WAITS_MAX) return NULL;
    return error_new(ERROR_RESOURCE_EXHAUSTED, "the command has not read its last %zu bytes of input",
                     in->waits.size);
}

struct error *stdin_write(struct stdin_pipe *in, uint64_t offset, struct span bytes, bool eof) {
    if (offset > in->taken)
        return error_new(ERROR_INVALID_ARGUMENT, "input from byte %llu on, but only %llu came before",
                         (unsigned long long)offset, (unsigned long long)in->taken);
    uint64_t again = in->taken - offset; /* of a call that was repeated */
    struct span fresh =
        again < bytes.size ? (struct span){bytes.data + again, bytes.size - (size_t)again} : (struct span){0};
    if (fresh.size > 0 && (in->broken || in->eof))
        return error_new(ERROR_FAILED_PRECONDITION, "the command's input is closed");
    text_add(&in->waits, fresh);
    in->taken += fresh.size;
    if (eof && !in->eof && in->terminal) text_add_char(&in->waits, 4); /* a terminal's end of input */
    in->eof |= eof;
    flush(in);
    return NULL;
}
