/* Sockets and TLS: see line.h. Level-triggered; one read a turn, so that a busy connection does not keep the
 * others from theirs. TLS runs on the socket itself, without a copy between. */
#include "line.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define SPARE_BYTES 4096 /* a buffer for output that grew beyond it is given back once empty */

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct line *line) {
    int events = 0;
    if (!line->ended) {
        if (!line->read_stopped || line->shaking) events |= UV_READABLE;
        if (line_backlog(line) > 0 && !line->shaking) events |= UV_WRITABLE;
        if (line->write_to_read) events |= UV_WRITABLE;
    }
    if (line->closed || events == line->polled) return;
    line->polled = events;
    if (events == 0) {
        uv_poll_stop(&line->poll);
    } else {
        uv_poll_start(&line->poll, events, on_poll);
    }
}

static void fail(struct line *line, struct error *error) {
    if (line->ended || line->closed) {
        error_free(error);
        return;
    }
    line->ended = true;
    poll_for(line);
    line->events->ended(line, error);
}

/* What SSL_get_error says, as an error; NULL and *ret_again: later. NULL without: the other side closed. */
static struct error *tls_error(struct line *line, int result, const char *what, bool *ret_again) {
    int why = errno, kind = SSL_get_error(line->ssl, result);
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

static void shake(struct line *line) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_accept(line->ssl);
    line->write_to_read = result != 1 && SSL_get_error(line->ssl, result) == SSL_ERROR_WANT_WRITE;
    if (result == 1) {
        line->shaking = false;
        poll_for(line);
        if (line_backlog(line) > 0) line->events->writable(line);
        return;
    }
    bool again;
    struct error *error = tls_error(line, result, "the handshake of TLS", &again);
    if (again) {
        poll_for(line);
    } else {
        fail(line, error);
    }
}

static void take_in(struct line *line) {
    char *scratch = (char *)(uintptr_t)line->scratch.data;
    if (!line->ssl) {
        ssize_t got = read(line->fd, scratch, line->scratch.size);
        if (got > 0)
            line->events->bytes(line, (struct span){scratch, (size_t)got});
        else if (got == 0)
            fail(line, NULL);
        else if (errno != EAGAIN && errno != EINTR)
            fail(line, error_errno(errno, "read"));
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
            got = SSL_read(line->ssl, scratch + filled, (int)(line->scratch.size - filled));
            if (got > 0) filled += (size_t)got;
        } while (got > 0 && filled < line->scratch.size);
        line->write_to_read = got <= 0 && SSL_get_error(line->ssl, got) == SSL_ERROR_WANT_WRITE;
        if (got <= 0) error = tls_error(line, got, "read", &again);
        if (filled > 0) line->events->bytes(line, (struct span){scratch, filled});
        if (got <= 0 && !again) fail(line, error);
    } while (got > 0 && !line->closed && !line->ended && SSL_pending(line->ssl) > 0);
    if (!line->closed) poll_for(line);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct line *line = CONTAINER_OF(poll, struct line, poll);
    if (status < 0) { /* an error is pending on the socket */
        int pending = 0;
        socklen_t size = sizeof pending;
        line->polled = 0;
        getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &pending, &size);
        fail(line, pending ? error_errno(pending, "connection") : NULL);
        return;
    }
    if (line->shaking) {
        shake(line);
        return;
    }
    if (events & UV_WRITABLE && line_backlog(line) > 0) line->events->writable(line);
    if (line->closed || line->ended) return;
    if ((events & UV_READABLE && !line->read_stopped) || (events & UV_WRITABLE && line->write_to_read))
        take_in(line);
}

struct error *line_open(struct line *line, uv_loop_t *loop, int fd, SSL *ssl, struct span scratch,
                        const struct line_events *events) {
    line->fd = fd;
    line->events = events;
    line->scratch = scratch;
    int status = uv_poll_init(loop, &line->poll, fd);
    if (status < 0 || (ssl && SSL_set_fd(ssl, fd) != 1)) {
        SSL_free(ssl);
        close(fd);
        return error_errno(status < 0 ? -status : ENOMEM, "watch a socket");
    }
    line->ssl = ssl;
    line->shaking = ssl != NULL;
    int yes = 1; /* fails on a Unix socket, which has no such delay */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    /* A dead client that has no calls is noticed by the kernel, which wakes nobody for it. */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    poll_for(line);
    return NULL;
}

static void on_closed(uv_handle_t *handle) {
    struct line *line = CONTAINER_OF((uv_poll_t *)handle, struct line, poll);
    SSL_free(take(line->ssl));
    text_done(&line->out);
    line->events->freed(line);
}

void line_close(struct line *line) {
    if (line->closed) return;
    line->closed = true;
    uv_close((uv_handle_t *)&line->poll, on_closed);
    close(line->fd);
}

struct text *line_out(struct line *line) {
    if (line->out.capacity == 0) text_reserve(&line->out, 500);
    return &line->out;
}

/* One write. Returns how much; 0 and NULL: later. */
static struct error *put(struct line *line, size_t *ret_put) {
    const char *from = line->out.data + line->sent;
    *ret_put = 0;
    if (!line->ssl) {
        ssize_t sent = send(line->fd, from, line_backlog(line), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN)
            return error_errno(errno, "send");
        if (sent > 0) *ret_put = (size_t)sent;
        return NULL;
    }
    ERR_clear_error();
    errno = 0;
    int sent = SSL_write(line->ssl, from, line_backlog(line) > INT_MAX ? INT_MAX : (int)line_backlog(line));
    if (sent > 0) {
        *ret_put = (size_t)sent;
        return NULL;
    }
    bool again;
    struct error *error = tls_error(line, sent, "send", &again);
    return error || again ? error : error_new(ERROR_UNAVAILABLE, "send: the other side closed");
}

struct error *line_push(struct line *line) {
    if (line->closed || line->ended || line->shaking) return NULL;
    for (size_t sent = 1; sent > 0 && line_backlog(line) > 0;) {
        TRY_PLAIN(put(line, &sent));
        line->sent += sent;
    }
    if (line_backlog(line) == 0) {
        line->sent = 0;
        if (line->out.capacity > SPARE_BYTES)
            text_done(&line->out);
        else
            text_clear(&line->out);
    } else if (line->sent > LINE_BACKLOG_BYTES) {
        text_remove_front(&line->out, line->sent);
        line->sent = 0;
    }
    poll_for(line);
    return NULL;
}

void line_read_stop(struct line *line, bool stopped) {
    line->read_stopped = stopped;
    poll_for(line);
}

void line_shut(struct line *line) {
    if (line->closed || line->shut || line->shaking) return;
    line->shut = true;
    if (line->ssl) SSL_shutdown(line->ssl);
    shutdown(line->fd, SHUT_WR);
}
