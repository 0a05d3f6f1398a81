/* wire: one connected socket. Gathers output, reads when its owner wants bytes, notices the other side's end.
 * Knows nothing of HTTP. The owner embeds it; memory is freed by `freed`, after the loop has let go of the
 * socket. */
#pragma once
#include "hub.h"

#include <openssl/ssl.h>

#define WIRE_BACKLOG_BYTES (256 * 1024) /* more than this waiting: the writer is asked to stop */

struct wire;
struct wire_events {
    /* How many bytes may be read now; 0: none, and ask again after wire_want. */
    size_t (*appetite)(struct wire *wire);
    /* While nothing is read: does the other side's end end all at once, though unread bytes may stand before
     * it? */
    bool (*hangup_ends)(struct wire *wire);
    void (*bytes)(struct wire *wire, struct span bytes); /* in the hub's scratch: keep what you can't use */
    void (*ended)(struct wire *wire,
                  struct error *error); /* NULL: the other side closed. Taken. Nothing more is read or sent */
    void (*resume)(struct wire *wire);  /* after wire_resume, before the loop sleeps */
    void (*drained)(struct wire *wire); /* the backlog fell, after a write that said stop; or all is out,
                                           after wire_finish */
    void (*freed)(struct wire *wire);
};
struct wire {
    struct hub *hub;
    const struct wire_events *events;
    uv_poll_t poll;
    int fd;
    int polled;
    SSL *ssl; /* NULL: in the clear */
    struct list dirty;
    struct hub_waiter read_wait, write_wait; /* the owner sets `expired` of the first */
    struct text out;
    size_t sent; /* of out */
    bool resuming, closed, ended;
    bool shaking;       /* the handshake of TLS is under way */
    bool misplaced;     /* came in the clear where TLS is spoken */
    bool write_to_read; /* TLS wants to send before it can read */
    bool unread;        /* TLS has unpacked more than was wanted: that makes no socket readable */
    bool stopped;       /* a writer waits for `drained` */
    bool finishing;     /* `drained` when all is out */
    bool failed; /* sending failed with `error`; told before the loop sleeps, not inside a writer's call */
    struct error *error;
};
must_check struct error *wire_open(struct wire *wire, struct hub *hub, int fd, SSL *ssl,
                                   const struct wire_events *events); /* fd and ssl (NULL: none) taken */
void wire_close(struct wire *wire); /* idempotent; `freed` follows in a later round */
void wire_want(struct wire *wire);  /* appetite may have grown */
void wire_resume(struct wire *wire);
/* false: more than WIRE_BACKLOG_BYTES wait. Large pieces go out at once, small ones before the loop sleeps.
 */
bool wire_write(struct wire *wire, struct span bytes);
struct text *wire_out(struct wire *wire); /* to build small output in place; sent before the loop sleeps */
void wire_finish(struct wire *wire);      /* `drained` once all is out */
static inline size_t wire_backlog(const struct wire *wire) {
    return wire->out.size - wire->sent;
}
void wire_shut(struct wire *wire);   /* our side says that it is done; all is out */
void wire_settle(struct wire *wire); /* for the hub */

/* secure.c: TLS with the manners of recv(2), send(2); errno EPROTO: it is no TLS, or broken. */
must_check bool secure_open(struct wire *wire, SSL *taken_ssl);
ssize_t secure_recv(struct wire *wire, char *buffer, size_t size);
ssize_t secure_send(struct wire *wire, struct span bytes);
/* 1: the handshake is done, or the other side speaks in the clear (misplaced); 0: goes on; -1: errno, 0 where
 * the other side closed. */
int secure_shake(struct wire *wire);
