/* line: one connected socket, in the clear or under TLS. Bytes in as they come, gathered bytes out. Knows
 * nothing of HTTP/2. The owner embeds it; its memory is freed in `freed`, after the loop has let go of the
 * socket. */
#pragma once
#include "grpc.h"

#include <openssl/ssl.h>
#include <uv.h>

#define LINE_BACKLOG_BYTES (256 * 1024) /* with that much unsent, no more is made */

struct line;
struct line_events {
    void (*bytes)(struct line *line, struct span bytes); /* in the scratch: keep what you can't use */
    /* NULL: the other side closed. Taken. Nothing more is read or sent; close it. */
    void (*ended)(struct line *line, struct error *error);
    void (*writable)(struct line *line); /* after line_push left something: some of it went out now */
    void (*freed)(struct line *line);
};
struct line {
    const struct line_events *events;
    uv_poll_t poll;
    int fd;
    int polled;
    SSL *ssl;            /* NULL: in the clear */
    struct span scratch; /* borrowed; everybody reads into the same */
    struct text out;
    size_t sent;        /* of out */
    bool shaking;       /* the handshake of TLS is under way */
    bool read_stopped;  /* by line_read_stop */
    bool write_to_read; /* TLS wants to send before it can read */
    bool shut, ended, closed;
};
/* fd taken, ssl taken (NULL: none). */
must_check struct error *line_open(struct line *line, uv_loop_t *loop, int fd, SSL *ssl, struct span scratch,
                                   const struct line_events *events);
void line_close(struct line *line);       /* idempotent; `freed` follows in a later round */
struct text *line_out(struct line *line); /* add to it, then line_push */
static inline size_t line_backlog(const struct line *line) {
    return line->out.size - line->sent;
}
/* Sends what it can. An error is owned by the caller, who closes. */
must_check struct error *line_push(struct line *line);
void line_read_stop(struct line *line, bool stopped);
void line_shut(struct line *line); /* our side says that it is done; all was pushed */
