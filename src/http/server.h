/* The server's own structures, shared by its files: server.c (listeners), connection.c (bytes in), exchange.c
 * (a request and its body), answer.c (bytes out). */
#pragma once
#include "body.h"
#include "wire.h"

struct listener;
struct http_server {
    struct hub *hub;
    struct io_loop *io;
    struct http_limits limits;
    void (*on_request)(void *owner, struct http_exchange *exchange);
    void *owner;
    struct list listeners, connections;
    size_t connection_count, held_bytes;
    bool closing, accepting;
    void (*closed)(void *owner);
    struct telling *telling; /* of `closed`, in the next round; NULL: not yet */
    int64_t full_told_ms;    /* when the log last heard that no more may come */
    struct io_timer *retry;  /* accept failed for want of file descriptors */
};

enum connection_state {
    CONNECTION_HEAD,     /* between requests, or in a head */
    CONNECTION_EXCHANGE, /* a request is at work; its body may still come */
    CONNECTION_DISCARD,  /* answered before the body was read: what is left of it is thrown away */
    CONNECTION_RAW,      /* upgraded: bytes, no messages */
    CONNECTION_LINGER,   /* the last answer is out; what comes is thrown away, so that no reset overtakes the
                            answer */
};
struct connection {
    struct wire wire;
    struct list node;
    struct http_server *server; /* NULL once the server is gone */
    enum connection_state state;
    struct text pending; /* read and not yet used */
    struct head_scan scan;
    struct body body;
    struct http_exchange *exchange;
    void *tag;
    uint64_t discarded;
    size_t held; /* of its request's body, in the server's held_bytes */
    bool processing, close_after, shut;
    bool asked; /* it brought a request already */
    bool last;  /* the server closes: one request more */
    char peer[72];
};

struct http_exchange {
    struct connection *connection; /* NULL: the client is gone, or all was answered */
    struct io_loop *io;
    void *tag;
    void *owner;
    bool secure; /* came by TLS */
    struct arena *arena;
    struct http_head head;
    char *peer;
    /* the body */
    void (*data)(struct http_exchange *exchange, struct span bytes);
    void (*end)(struct http_exchange *exchange, struct error *error);
    void (*done)(struct http_exchange *exchange, struct span body, struct error *error);
    struct text collected;
    size_t limit_bytes;
    bool reading, paused, body_told, continued, overlong;
    int body_status; /* the answer to a body that could not be had; 0: none such */
    struct http_field *trailers;
    size_t trailer_count;
    /* the answer */
    void (*gone)(struct http_exchange *exchange);
    void (*drained)(struct http_exchange *exchange);
    bool begun, chunked, bodiless, raw;
    int64_t left; /* of an answer with a length; -1: not known */
    bool is_gone;
    size_t head_bytes;
    struct http_field fields[]; /* and behind them the bytes of the head */
};

/* connection.c */
void connection_open(struct http_server *server, int fd, SSL *taken_ssl, void *tag, const char *peer);
void connection_process(struct connection *connection); /* takes up what is pending, before the loop sleeps */
/* The exchange has its answer: on to the next request, or to the end. */
void connection_answered(struct connection *connection);
void connection_cut(struct connection *connection);
bool connection_holds(struct connection *connection, size_t bytes); /* false: all hold too much already */
void connection_refuse(struct connection *connection, int status, struct error *error); /* error taken */

/* exchange.c */
struct http_exchange *exchange_new(struct connection *connection, struct span head, size_t lines,
                                   struct error **ret_error);
void exchange_free(struct http_exchange *exchange);
void exchange_gone(struct http_exchange *exchange); /* the connection ended under it */
void exchange_piece(struct http_exchange *exchange, struct span bytes);
void exchange_overlong(struct http_exchange *exchange);
void exchange_body_end(struct http_exchange *exchange, struct error *error);

/* answer.c */
void answer_simple(struct connection *connection, int status,
                   struct error *error); /* without an exchange; closes */

/* misplaced.c */
void answer_misplaced(struct http_exchange *exchange); /* asked in the clear where TLS is spoken */

/* server.c */
void server_connection_gone(struct connection *connection);
