/* wire: one connected socket, in the clear or under TLS. Bytes in as they come, gathered bytes out. Knows
 * nothing of HTTP/2. The owner embeds it; its memory is freed in `freed`, after the loop has let go of the
 * socket. */
#pragma once
#include "grpc.h"

#include <openssl/ssl.h>
#include <uv.h>

#define WIRE_BACKLOG_BYTES (256 * 1024) /* with that much unsent, no more is made */

struct wire;
struct wire_events {
    void (*bytes)(struct wire *wire, struct span bytes); /* in the scratch: keep what you can't use */
    /* NULL: the other side closed. Taken. Nothing more is read or sent; close it. */
    void (*ended)(struct wire *wire, struct error *error);
    void (*writable)(struct wire *wire); /* after wire_push left something: some of it went out now */
    void (*freed)(struct wire *wire);
};
struct wire {
    const struct wire_events *events;
    uv_poll_t poll;
    int fd;
    int polled;
    SSL *ssl;            /* NULL: in the clear */
    struct span scratch; /* borrowed; everybody reads into the same */
    struct text out;
    size_t sent;        /* of out */
    bool shaking;       /* the handshake of TLS is under way */
    bool read_stopped;  /* by wire_read_stop */
    bool write_to_read; /* TLS wants to send before it can read */
    bool shut, ended, closed;
};
/* fd taken, ssl taken (NULL: none). */
must_check struct error *wire_open(struct wire *wire, uv_loop_t *loop, int fd, SSL *ssl, struct span scratch,
                                   const struct wire_events *events);
void wire_close(struct wire *wire);       /* idempotent; `freed` follows in a later round */
struct text *wire_out(struct wire *wire); /* add to it, then wire_push */
static inline size_t wire_backlog(const struct wire *wire) {
    return wire->out.size - wire->sent;
}
/* Sends what it can. An error is owned by the caller, who closes. */
must_check struct error *wire_push(struct wire *wire);
void wire_read_stop(struct wire *wire, bool stopped);
void wire_shut(struct wire *wire); /* our side says that it is done; all was pushed */
