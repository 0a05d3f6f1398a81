/* The room's own structures, shared by its files:
 *
 *   server.c (listeners, the set of connections) > connection.c (a socket's life: greeting, keep-alive,
 * GOAWAY) > session.c (nghttp2's callbacks) > head.c, read.c, answer.c, call.c (one call: asked, read,
 * answered, ended)
 *
 * What is to be sent or told is put on lists and done before the loop sleeps: many answers, one write. */
#pragma once
#include "due.h"
#include "line.h"
#include "message.h"
#include "tls.h"

#include <nghttp2/nghttp2.h>

#define SCRATCH_BYTES (256 * 1024)
#define FRAME_BYTES \
    (1024 * 1024)               /* Python's clients work by the frame: fewer and larger ones cost them less */
#define SEND_BYTES (256 * 1024) /* more than this waiting in a call: its sender is asked to stop */
#define DISCARD_BYTES                                                                                  \
    (1024 * 1024)              /* what may still come for a call that was answered, before it is reset \
                                */
#define LINGER_MS 10000        /* ... and how long */
#define STATUS_TEXT_BYTES 4096 /* of grpc-message; clients take heads of 8 KiB and more */

struct grpc_server {
    struct io_loop *io;
    uv_loop_t *uv;
    struct grpc_limits limits;
    void (*on_call)(void *owner, struct grpc_call *call);
    void *owner;
    void (*closed)(void *owner);
    unsigned references; /* the owner, each connection, each call */
    bool closing, gone, accepting;
    struct list listeners, connections;
    size_t connection_count, call_count, held_bytes;
    uint64_t last_number;
    struct io_timer *retry; /* accept failed for want of file descriptors */
    struct dues dues;
    struct list dirty; /* connections with something to do before the loop sleeps */
    uv_prepare_t *prepare;
    uv_idle_t *idle;
    bool settled; /* this round's list was worked off: what comes now needs another round */
    char *scratch;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
};
/* server.c */
void server_ref(struct grpc_server *server);
void server_unref(struct grpc_server *server);
void server_mark(struct grpc_server *server, struct list *node);
void server_conn_gone(struct grpc_server *server);

enum conn_state {
    CONN_GREETING, /* TLS, the preface, the client's SETTINGS */
    CONN_OPEN,
    CONN_LEAVING, /* GOAWAY was made; no new calls; closed after the last */
    CONN_LINGER   /* all is out: what comes is thrown away, so that no reset overtakes it */
};
struct conn {
    struct line line;
    struct list node, dirty;
    struct grpc_server *server;
    nghttp2_session *session;
    enum conn_state state;
    void *tag;
    struct list calls, todo; /* todo: calls with something to tell before the loop sleeps */
    struct due due;          /* greeting, keep-alive, idle or linger, whichever the state has */
    int64_t heard_ms, keepalive_ms;
    int64_t pinged_ms; /* 0 where no PING is on its way */
    int64_t idle_ms;   /* since when it has no calls; 0: it has some */
    size_t gzip_from_bytes;
    unsigned preface; /* bytes of it that came */
    int32_t last_stream;
    uint64_t number;
    bool secure;
    char peer[IO_ADDRESS_TEXT_SIZE];
};
struct conn_options {
    int fd;
    SSL *ssl;
    void *tag;
    int64_t keepalive_ms;
    size_t gzip_from_bytes;
    const char *peer;
};
/* connection.c */
void conn_open(struct grpc_server *server, const struct conn_options *options);
void conn_cut(struct conn *conn); /* tells its calls */
void conn_mark(struct conn *conn);
void conn_settle(struct conn *conn); /* for the server's list */
void conn_leave(struct conn *conn);  /* GOAWAY; closed after its last call */
void conn_part(struct conn *conn);   /* the server closes: leaves soon, where it has no calls */
/* All was said, or is in the line: our half is closed, and the other side's end is waited for a moment. */
void conn_linger(struct conn *conn);
void conn_call_opened(struct conn *conn);
void conn_call_gone(struct conn *conn);
void conn_greeted(struct conn *conn); /* the client's SETTINGS came */
/* session.c */
nghttp2_session_callbacks *session_callbacks(void);
nghttp2_option *session_option(const struct grpc_limits *limits);
must_check struct error *session_open(struct conn *conn);
/* refuse.c: those who speak something else */
void refuse_other_protocol(struct conn *conn, struct span first_bytes);
void refuse_plaintext(struct conn *conn);

struct field {
    struct field *next;
    struct span name, value;
};
struct field_list {
    struct field *first, *last;
    size_t count;
};
enum reading {
    READ_NOT,
    READ_ONE,
    READ_MANY,
    READ_TOLD
}; /* told: done or on_end was called, nothing comes */
struct grpc_call {
    struct grpc_server *server;
    struct conn *conn; /* NULL: the stream is closed */
    int32_t stream;
    unsigned references; /* its owner, its stream, and who calls into it */
    struct list node, todo;
    struct due due; /* the deadline; after the end, how long the client's rest is waited for */
    int64_t deadline_ms;
    struct arena *arena;
    void *owner, *tag;
    const char *peer;
    uint64_t number;
    bool secure;
    enum error_code cancelled;
    void (*on_cancelled)(struct grpc_call *call);
    /* the head */
    struct field_list fields;
    size_t field_bytes;
    struct span http_method, path, service, method, authority;
    bool fields_overlong, accepts_gzip, told_accept;
    /* the request */
    enum reading reading;
    bool paused, input_ended, have_one, resuming;
    bool overfull; /* there was no room for it: told as soon as it is read */
    struct message_reader reader;
    struct text pending; /* bytes nobody read yet; at most the stream's window */
    size_t held_bytes;   /* as counted in the server */
    size_t discarded_bytes;
    void (*done)(struct grpc_call *call, struct span message, struct error *error);
    void (*on_message)(struct grpc_call *call, struct span message);
    void (*on_end)(struct grpc_call *call, struct error *error);
    /* the answer */
    struct field_list headers, trailers;
    struct text out;
    size_t sent; /* of out */
    bool begun, deferred, stopped;
    bool closing; /* the status is decided, or the stream reset: nothing is added any more */
    bool ended;   /* its owner is done with it, or it never had one */
    bool plain;   /* no gRPC: ends with its bytes */
    bool all_sent;
    enum error_code status;
    struct text status_text;
    void (*drained)(struct grpc_call *call);
};
/* call.c */
struct grpc_call *call_open(struct conn *conn, int32_t stream);
void call_ref(struct grpc_call *call);
void call_unref(struct grpc_call *call);
void call_stream_closed(struct grpc_call *call, enum error_code why);
void call_input_ended(struct grpc_call *call);
void call_todo(struct grpc_call *call); /* call_tell for it before the loop sleeps */
void call_tell(struct grpc_call *call);
void call_finish(struct grpc_call *call); /* the owner's end; one reference less */
void call_release_later(struct grpc_call *call);
void call_linger(struct grpc_call *call); /* all was answered, the client still sends */
void field_add(struct arena *arena, struct field_list *list, struct span name, struct span value);
struct span field_get(const struct field_list *list, struct span name);
/* head.c */
void head_field(struct grpc_call *call, struct span name, struct span value);
void head_complete(struct grpc_call *call); /* refuses it, or tells the owner */
/* read.c */
void read_bytes(struct grpc_call *call, struct span bytes);
void read_resume(struct grpc_call *call);
void read_drop(struct grpc_call *call); /* nobody will read it */
/* answer.c */
void answer_status(struct grpc_call *call, enum error_code code, struct span text); /* code 0: OK */
void answer_refuse(struct grpc_call *call, enum error_code code, const char *format, ...) printf_like(3, 4);
void answer_plain(struct grpc_call *call, int http_status, const char *text);
void answer_reset(struct grpc_call *call, uint32_t http2_code);
ssize_t answer_take(struct grpc_call *call, size_t length, uint32_t *flags); /* nghttp2 asks for DATA */
void answer_put(struct grpc_call *call, const uint8_t *head, size_t length);
