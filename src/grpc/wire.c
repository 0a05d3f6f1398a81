/* Sockets and TLS: see wire.h. Level-triggered; one read a turn, so that a busy connection does not keep the
 * others from theirs. TLS runs on the socket itself, without a copy between. */
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define SPARE_BYTES 4096 /* a buffer for output that grew beyond it is given back once empty */

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct wire *wire) {
    int events = 0;
    if (!wire->ended) {
        if (!wire->read_stopped || wire->shaking) events |= UV_READABLE;
        if (wire_backlog(wire) > 0 && !wire->shaking) events |= UV_WRITABLE;
        if (wire->write_to_read) events |= UV_WRITABLE;
    }
    if (wire->closed || events == wire->polled) return;
    wire->polled = events;
    if (events == 0) {
        uv_poll_stop(&wire->poll);
    } else {
        uv_poll_start(&wire->poll, events, on_poll);
    }
}

static void fail(struct wire *wire, struct error *error) {
    if (wire->ended || wire->closed) {
        error_free(error);
        return;
    }
    wire->ended = true;
    poll_for(wire);
    wire->events->ended(wire, error);
}

/* What SSL_get_error says, as an error; NULL and *ret_again: later. NULL without: the other side closed. */
static struct error *tls_error(struct wire *wire, int result, const char *what, bool *ret_again) {
    int why = errno, kind = SSL_get_error(wire->ssl, result);
    *ret_again = kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
    if (*ret_again || kind == SSL_ERROR_ZERO_RETURN) return NULL;
    unsigned long code = ERR_peek_error();
    ERR_clear_error();
    if (kind == SSL_ERROR_SYSCALL && why != 0) return error_errno(why, "%s", what);
    if (code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return NULL;
    enum error_code said =
        ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST ? ERROR_INVALID_ARGUMENT : ERROR_UNAVAILABLE;
    const char *reason = ERR_reason_error_string(code);
    return error_new(said, "%s: %s", what, reason ? reason : "TLS failed");
}

static void shake(struct wire *wire) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_accept(wire->ssl);
    wire->write_to_read = result != 1 && SSL_get_error(wire->ssl, result) == SSL_ERROR_WANT_WRITE;
    if (result == 1) {
        wire->shaking = false;
        poll_for(wire);
        if (wire_backlog(wire) > 0) wire->events->writable(wire);
        return;
    }
    bool again;
    struct error *error = tls_error(wire, result, "the handshake of TLS", &again);
    if (again) {
        poll_for(wire);
    } else {
        fail(wire, error);
    }
}

static void take_in(struct wire *wire) {
    char *scratch = (char *)(uintptr_t)wire->scratch.data;
    if (!wire->ssl) {
        ssize_t got = read(wire->fd, scratch, wire->scratch.size);
        if (got > 0)
            wire->events->bytes(wire, (struct span){scratch, (size_t)got});
        else if (got == 0)
            fail(wire, NULL);
        else if (errno != EAGAIN && errno != EINTR)
            fail(wire, error_errno(errno, "read"));
        return;
    }
    int got;
    bool again = false;
    do { /* what TLS has unpacked already makes no socket readable: all of that is read now */
        size_t filled = 0;
        struct error *error = NULL;
        do {
            ERR_clear_error();
            errno = 0;
            got = SSL_read(wire->ssl, scratch + filled, (int)(wire->scratch.size - filled));
            if (got > 0) filled += (size_t)got;
        } while (got > 0 && filled < wire->scratch.size);
        wire->write_to_read = got <= 0 && SSL_get_error(wire->ssl, got) == SSL_ERROR_WANT_WRITE;
        if (got <= 0) error = tls_error(wire, got, "read", &again);
        if (filled > 0) wire->events->bytes(wire, (struct span){scratch, filled});
        if (got <= 0 && !again) fail(wire, error);
    } while (got > 0 && !wire->closed && !wire->ended && SSL_pending(wire->ssl) > 0);
    if (!wire->closed) poll_for(wire);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct wire *wire = CONTAINER_OF(poll, struct wire, poll);
    if (status < 0) { /* an error is pending on the socket */
        int pending = 0;
        socklen_t size = sizeof pending;
        wire->polled = 0;
        getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &pending, &size);
        fail(wire, pending ? error_errno(pending, "connection") : NULL);
        return;
    }
    if (wire->shaking) {
        shake(wire);
        return;
    }
    if (events & UV_WRITABLE && wire_backlog(wire) > 0) wire->events->writable(wire);
    if (wire->closed || wire->ended) return;
    if ((events & UV_READABLE && !wire->read_stopped) || (events & UV_WRITABLE && wire->write_to_read))
        take_in(wire);
}

struct error *wire_open(struct wire *wire, uv_loop_t *loop, int fd, SSL *ssl, struct span scratch,
                        const struct wire_events *events) {
    wire->fd = fd;
    wire->events = events;
    wire->scratch = scratch;
    int status = uv_poll_init(loop, &wire->poll, fd);
    if (status < 0 || (ssl && SSL_set_fd(ssl, fd) != 1)) {
        SSL_free(ssl);
        close(fd);
        return error_errno(status < 0 ? -status : ENOMEM, "watch a socket");
    }
    wire->ssl = ssl;
    wire->shaking = ssl != NULL;
    int yes = 1; /* fails on a Unix socket, which has no such delay */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    /* A dead client that has no calls is noticed by the kernel, which wakes nobody for it. */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    poll_for(wire);
    return NULL;
}

static void on_closed(uv_handle_t *handle) {
    struct wire *wire = CONTAINER_OF((uv_poll_t *)handle, struct wire, poll);
    SSL_free(take(wire->ssl));
    text_done(&wire->out);
    wire->events->freed(wire);
}

void wire_close(struct wire *wire) {
    if (wire->closed) return;
    wire->closed = true;
    uv_close((uv_handle_t *)&wire->poll, on_closed);
    close(wire->fd);
}

struct text *wire_out(struct wire *wire) {
    if (wire->out.capacity == 0) text_reserve(&wire->out, 500);
    return &wire->out;
}

/* One write. Returns how much; 0 and NULL: later. */
static struct error *put(struct wire *wire, size_t *ret_put) {
    const char *from = wire->out.data + wire->sent;
    *ret_put = 0;
    if (!wire->ssl) {
        ssize_t sent = send(wire->fd, from, wire_backlog(wire), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN)
            return error_errno(errno, "send");
        if (sent > 0) *ret_put = (size_t)sent;
        return NULL;
    }
    ERR_clear_error();
    errno = 0;
    int sent = SSL_write(wire->ssl, from, wire_backlog(wire) > INT_MAX ? INT_MAX : (int)wire_backlog(wire));
    if (sent > 0) {
        *ret_put = (size_t)sent;
        return NULL;
    }
    bool again;
    struct error *error = tls_error(wire, sent, "send", &again);
    return error || again ? error : error_new(ERROR_UNAVAILABLE, "send: the other side closed");
}

struct error *wire_push(struct wire *wire) {
    if (wire->closed || wire->ended || wire->shaking) return NULL;
    for (size_t sent = 1; sent > 0 && wire_backlog(wire) > 0;) {
        TRY_PLAIN(put(wire, &sent));
        wire->sent += sent;
    }
    if (wire_backlog(wire) == 0) {
        wire->sent = 0;
        if (wire->out.capacity > SPARE_BYTES)
            text_done(&wire->out);
        else
            text_clear(&wire->out);
    } else if (wire->sent > WIRE_BACKLOG_BYTES) {
        text_remove_front(&wire->out, wire->sent);
        wire->sent = 0;
    }
    poll_for(wire);
    return NULL;
}

void wire_read_stop(struct wire *wire, bool stopped) {
    wire->read_stopped = stopped;
    poll_for(wire);
}

void wire_shut(struct wire *wire) {
    if (wire->closed || wire->shut || wire->shaking) return;
    wire->shut = true;
    if (wire->ssl) SSL_shutdown(wire->ssl);
    shutdown(wire->fd, SHUT_WR);
}
