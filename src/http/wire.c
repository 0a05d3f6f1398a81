/* One connected socket: see wire.h.
 *
 * Read interest stays registered while a request is at work, since taking it away and giving it back would
 * cost two system calls a request; only when bytes really come that nobody wants it is withdrawn. The end of
 * the other side is seen either way. */
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define DIRECT_BYTES 16384 /* a piece of this size is sent from where it lies */

static void poll_for(struct wire *wire, int events);

static void fail(struct wire *wire, struct error *error) {
    if (wire->ended || wire->closed) {
        error_free(error);
        return;
    }
    wire->ended = true;
    hub_wait_stop(&wire->write_wait);
    poll_for(wire, 0);
    wire->events->ended(wire, error);
}

static void on_write_expired(struct hub_waiter *waiter, enum hub_wait kind) {
    (void)kind;
    struct wire *wire = CONTAINER_OF(waiter, struct wire, write_wait);
    fail(wire,
         error_new(ERROR_DEADLINE_EXCEEDED, "the other side took none of the %zu bytes due to it for %d s",
                   wire_backlog(wire), (int)(wire->hub->wait_ms[WAIT_WRITE] / 1000)));
}

/* Empty spans may have no data, and null is not even to be moved by nothing. */
static struct span behind(struct span bytes, size_t offset) {
    return (struct span){bytes.data ? bytes.data + offset : NULL, bytes.size - offset};
}

/* Mostly there is one part: that is cheaper to tell the kernel. */
static ssize_t send_both(struct wire *wire, struct span first, struct span second) {
    int fd = wire->fd;
    if (wire->ssl) return secure_send(wire, first.size > 0 ? first : second);
    if (second.size == 0) return send(fd, first.data, first.size, MSG_NOSIGNAL);
    if (first.size == 0) return send(fd, second.data, second.size, MSG_NOSIGNAL);
    struct iovec parts[2] = {{(void *)(uintptr_t)first.data, first.size},
                             {(void *)(uintptr_t)second.data, second.size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* What is left in `out` and behind it `more`. Returns how much of `more` went out. */
static size_t push(struct wire *wire, struct span more) {
    size_t taken = 0;
    while (!wire->ended && !wire->closed && !wire->failed && !wire->shaking) {
        struct span waiting = behind(text_span(&wire->out), wire->sent), rest = behind(more, taken);
        if (waiting.size + rest.size == 0) break;
        ssize_t sent = send_both(wire, waiting, rest);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN)) break;
        if (sent < 0) {
            wire->failed = true;
            wire->error = error_errno(errno, "send");
            hub_mark(wire->hub, &wire->dirty);
            break;
        }
        size_t from_out = (size_t)sent < waiting.size ? (size_t)sent : waiting.size;
        bool whole = (size_t)sent == waiting.size + rest.size;
        wire->sent += from_out;
        taken += (size_t)sent - from_out;
        if (wire->write_wait.kind == WAIT_WRITE) hub_wait_start(wire->hub, &wire->write_wait, WAIT_WRITE);
        if (!whole && !wire->ssl) break; /* the socket is full; TLS sends a record at a time */
    }
    if (wire->sent == wire->out.size) {
        wire->sent = 0;
        hub_text_return(wire->hub, &wire->out);
        hub_wait_stop(&wire->write_wait);
    }
    return taken;
}

/* After a push: is the loop to tell when more can be sent, and does somebody wait for room? */
static void after_push(struct wire *wire) {
    if (wire->ended || wire->closed || wire->failed || wire->shaking) return;
    if (wire_backlog(wire) > 0) {
        if (wire->write_wait.kind != WAIT_WRITE) hub_wait_start(wire->hub, &wire->write_wait, WAIT_WRITE);
        poll_for(wire, wire->polled | UV_WRITABLE);
        if (wire->sent > WIRE_BACKLOG_BYTES) {
            text_remove_front(&wire->out, wire->sent);
            wire->sent = 0;
        }
    } else if (wire->polled & UV_WRITABLE) {
        poll_for(wire, wire->polled & ~UV_WRITABLE);
    }
    bool room = wire->stopped && wire_backlog(wire) < WIRE_BACKLOG_BYTES / 2;
    bool finished = wire->finishing && wire_backlog(wire) == 0;
    if (room) wire->stopped = false;
    if (finished) wire->finishing = false;
    if (room || finished) wire->events->drained(wire);
}

/* One read. False: nothing more is to be read now. */
static bool take_in_piece(struct wire *wire, bool hangup) {
    size_t appetite = wire->events->appetite(wire);
    if (appetite == 0) {
        bool ends = wire->events->hangup_ends(wire);
        if (hangup && ends) {
            fail(wire, NULL);
        } else {
            poll_for(wire, (wire->polled & UV_WRITABLE) | (ends ? UV_DISCONNECT : 0));
        }
        return false;
    }
    if (appetite > HUB_SCRATCH_BYTES) appetite = HUB_SCRATCH_BYTES;
    ssize_t got = wire->ssl ? secure_recv(wire, wire->hub->scratch, appetite)
                            : recv(wire->fd, wire->hub->scratch, appetite, 0);
    if (got > 0) {
        wire->events->bytes(wire, (struct span){wire->hub->scratch, (size_t)got});
    } else if (got == 0) {
        fail(wire, NULL);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(wire, error_errno(errno, "read"));
    }
    return got > 0 && wire->ssl && !wire->closed && !wire->ended && SSL_pending(wire->ssl) > 0;
}

static void take_in(struct wire *wire, bool hangup) {
    while (take_in_piece(wire, hangup)) continue;
    if (wire->write_to_read && !wire->closed && !wire->ended) poll_for(wire, wire->polled | UV_WRITABLE);
}

static void shake(struct wire *wire) {
    int done = secure_shake(wire);
    if (done < 0) {
        fail(wire, errno ? error_errno(errno, "the handshake of TLS") : NULL);
    } else {
        poll_for(wire, UV_READABLE | (wire->write_to_read ? UV_WRITABLE : 0));
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct wire *wire = CONTAINER_OF(poll, struct wire, poll);
    wire->hub->settled = false;
    if (status < 0) { /* an error is pending on the socket; reading tells which */
        wire->polled = 0;
        int pending = 0;
        socklen_t size = sizeof pending;
        getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &pending, &size);
        fail(wire, pending ? error_errno(pending, "connection") : NULL);
        return;
    }
    if (wire->shaking) {
        shake(wire);
        return;
    }
    int reading = UV_READABLE | UV_DISCONNECT | (wire->write_to_read ? UV_WRITABLE : 0);
    if (events & UV_WRITABLE) {
        push(wire, (struct span){0});
        after_push(wire);
    }
    if (!wire->closed && !wire->ended && events & reading)
        take_in(wire, events & UV_DISCONNECT && !(events & UV_READABLE));
}

static void poll_for(struct wire *wire, int events) {
    if (wire->closed || events == wire->polled) return;
    wire->polled = events;
    if (events == 0) {
        uv_poll_stop(&wire->poll);
    } else {
        uv_poll_start(&wire->poll, events, on_poll);
    }
}

struct error *wire_open(struct wire *wire, struct hub *hub, int fd, SSL *ssl,
                        const struct wire_events *events) {
    wire->fd = fd;
    wire->events = events;
    list_init(&wire->dirty);
    list_init(&wire->read_wait.node);
    list_init(&wire->write_wait.node);
    wire->write_wait.expired = on_write_expired;
    int status = uv_poll_init(hub->uv, &wire->poll, fd);
    if (status < 0) {
        SSL_free(ssl);
        close(fd);
        return error_errno(-status, "watch a socket");
    }
    wire->hub = hub_ref(hub);
    if (ssl && !secure_open(wire, ssl)) {
        wire->failed = true; /* told before the loop sleeps */
        wire->error = error_new(ERROR_RESOURCE_EXHAUSTED, "no memory for TLS");
        hub_mark(hub, &wire->dirty);
    }
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes,
               sizeof yes); /* fails on a Unix socket, which has no such delay */
    poll_for(wire, UV_READABLE);
    return NULL;
}

static void on_closed(uv_handle_t *handle) {
    struct wire *wire = CONTAINER_OF((uv_poll_t *)handle, struct wire, poll);
    struct hub *hub = wire->hub;
    SSL_free(take(wire->ssl));
    text_done(&wire->out);
    error_free(take(wire->error));
    wire->events->freed(wire);
    hub_unref(hub);
}

void wire_close(struct wire *wire) {
    if (wire->closed) return;
    wire->closed = true;
    list_remove(&wire->dirty);
    hub_wait_stop(&wire->read_wait);
    hub_wait_stop(&wire->write_wait);
    text_done(&wire->out);
    uv_close((uv_handle_t *)&wire->poll, on_closed);
    close(wire->fd);
}

void wire_want(struct wire *wire) {
    if (wire->ended) return;
    poll_for(wire, (wire->polled & ~UV_DISCONNECT) | UV_READABLE);
    if (wire->closed || !wire->ssl || wire->shaking || SSL_pending(wire->ssl) == 0) return;
    wire->unread = true;
    hub_mark(wire->hub, &wire->dirty);
}

void wire_shut(struct wire *wire) {
    if (wire->closed) return;
    if (wire->ssl && !wire->shaking && !wire->ended) SSL_shutdown(wire->ssl);
    ERR_clear_error();
    shutdown(wire->fd, SHUT_WR);
}

void wire_resume(struct wire *wire) {
    if (wire->closed) return;
    wire->resuming = true;
    hub_mark(wire->hub, &wire->dirty);
}

void wire_finish(struct wire *wire) {
    wire->finishing = true;
    if (!wire->closed) hub_mark(wire->hub, &wire->dirty);
}

struct text *wire_out(struct wire *wire) {
    if (wire->out.capacity == 0) wire->out = hub_text_borrow(wire->hub);
    if (!wire->closed) hub_mark(wire->hub, &wire->dirty);
    return &wire->out;
}

bool wire_write(struct wire *wire, struct span bytes) {
    if (wire->ended || wire->closed || wire->failed)
        return true; /* nobody will ever take it; who cares is told by `ended` */
    if (bytes.size >= DIRECT_BYTES && !(wire->polled & UV_WRITABLE)) {
        size_t taken = push(wire, bytes);
        bytes.data += taken;
        bytes.size -= taken;
        if (wire->failed) return true;
    }
    if (bytes.size > 0) text_add(wire_out(wire), bytes);
    if (wire_backlog(wire) <= WIRE_BACKLOG_BYTES) return true;
    wire->stopped = true;
    return false;
}

void wire_settle(struct wire *wire) {
    if (wire->resuming) {
        wire->resuming = false;
        if (!wire->ended) wire->events->resume(wire);
    }
    if (wire->unread) {
        wire->unread = false;
        if (!wire->closed && !wire->ended) take_in(wire, false);
    }
    if (wire->closed || wire->ended) return;
    if (wire->failed) {
        fail(wire, take(wire->error));
        return;
    }
    if (!(wire->polled & UV_WRITABLE)) push(wire, (struct span){0});
    after_push(wire);
}
