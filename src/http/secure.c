/* TLS under a wire: the handshake, and reading and writing with the manners of the system's own calls. What
 * TLS unpacks it hands out at once, but for the rest of one record. A client that speaks in the clear to a
 * port of TLS is let through, marked: it gets an answer in words (misplaced.c). */
#include "wire.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define HANDSHAKE 0x16 /* the first byte of whoever speaks TLS */

bool secure_open(struct wire *wire, SSL *ssl) {
    if (SSL_set_fd(ssl, wire->fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return false;
    }
    wire->ssl = ssl;
    wire->shaking = true;
    return true;
}

/* -1 with errno, or 0: the other side closed. */
static ssize_t said(struct wire *wire, int result) {
    int why = errno, kind = SSL_get_error(wire->ssl, result);
    unsigned long code = ERR_peek_error();
    ERR_clear_error();
    wire->write_to_read = kind == SSL_ERROR_WANT_WRITE;
    if (kind == SSL_ERROR_ZERO_RETURN) return 0;
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (kind == SSL_ERROR_SYSCALL && why != 0) {
        errno = why;
        return -1;
    }
    if (code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return 0;
    errno = EPROTO;
    return -1;
}

ssize_t secure_recv(struct wire *wire, char *buffer, size_t size) {
    ERR_clear_error();
    errno = 0;
    int got = SSL_read(wire->ssl, buffer, (int)size);
    wire->write_to_read = false;
    return got > 0 ? got : said(wire, got);
}

ssize_t secure_send(struct wire *wire, struct span bytes) {
    ERR_clear_error();
    errno = 0;
    bool write_to_read = wire->write_to_read;
    int sent = SSL_write(wire->ssl, bytes.data, bytes.size > INT_MAX ? INT_MAX : (int)bytes.size);
    ssize_t result = sent > 0 ? sent : said(wire, sent);
    wire->write_to_read = write_to_read; /* a writer is waited for anyway */
    if (result == 0) errno = EPIPE;
    return result == 0 ? -1 : result;
}

int secure_shake(struct wire *wire) {
    unsigned char first;
    ssize_t got = SSL_in_before(wire->ssl) ? recv(wire->fd, &first, 1, MSG_PEEK) : 1;
    if (got <= 0) {
        if (got == 0) errno = 0;
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    if (SSL_in_before(wire->ssl) && first != HANDSHAKE) {
        SSL_free(take(wire->ssl));
        wire->shaking = false;
        wire->misplaced = true;
        return 1;
    }
    ERR_clear_error();
    errno = 0;
    int result = SSL_accept(wire->ssl);
    wire->write_to_read = false;
    if (result == 1) {
        wire->shaking = false;
        return 1;
    }
    if (said(wire, result) < 0) return errno == EAGAIN ? 0 : -1;
    errno = 0;
    return -1;
}
