/* grpc: gRPC over HTTP/2 (nghttp2), the server's side. No protobuf and no policy: a message is bytes; which
 * methods exist, who may call them and what they answer is decided by the rooms above.
 *
 * A call is one request: its metadata, then messages in, messages out, and exactly one end with a status.
 * Sources of the format: grpc/doc/PROTOCOL-HTTP2.md, statuscodes.md, compression.md; RFC 9113.
 * One thread, the loop's. No callback runs inside the call that asked for it, but these tell at once, inside:
 * grpc_server_unlisten with `cut` and grpc_server_free tell `on_cancelled` of the calls that they cut. */
#pragma once
#include "io.h"

#define GRPC_NEVER INT64_MAX

/* ---- server ---- */
struct grpc_server;
struct grpc_call;
struct tls; /* tls.h */

struct grpc_limits {
    size_t message_bytes;  /* one request message, as sent and as unpacked; 0: 100 MiB. Beyond: the call
                              ends RESOURCE_EXHAUSTED, and the text tells both sizes */
    size_t metadata_bytes; /* a request's header fields; 0: 64 KiB. Beyond: RESOURCE_EXHAUSTED */
    uint32_t window_bytes; /* what a client may send to one call ahead of its reader; 0: 64 MiB */
    size_t held_bytes;     /* request bytes in memory, all calls together; 0: 1 GiB. Beyond: UNAVAILABLE */
    uint32_t calls;        /* at once on one connection; 0: 16384. Told to the client, which waits */
    uint32_t connections;  /* at once; 0: what the process's limit of files allows. Beyond: accept waits */
    int64_t greeting_timeout_ms;  /* from accept to the client's first SETTINGS, TLS included; 0: 20 s */
    int64_t idle_timeout_ms;      /* a connection without calls gets GOAWAY; 0: never (the kernel's keep-alive
                                     notices dead ones) */
    int64_t keepalive_ms;         /* silence on a connection that has calls, then a PING; 0: 30 s */
    int64_t keepalive_timeout_ms; /* silence after that PING, then its calls end; 0: 30 s */
};

struct grpc_server_options {
    struct io_loop *loop;
    struct grpc_limits limits;
    /* The request's head is there and well-formed; messages are read when they are asked for. Called for
     * every path: an unknown service or method is the owner's to refuse (UNIMPLEMENTED). */
    void (*on_call)(void *owner, struct grpc_call *call);
    void *owner;
};
struct grpc_server *grpc_server_new(const struct grpc_server_options *options);

struct grpc_listener {
    const char
        *address;    /* ADDR:PORT, [ADDR6]:PORT (PORT 0: any free one), or the path of a Unix socket (contains
                        '/'; an old one nobody listens on is replaced). NULL: `fd` */
    int fd;          /* where address is NULL: bound and listening, taken; a path it has is left alone */
    unsigned mode;   /* of a Unix socket made here; 0: 0600 */
    void *tag;       /* comes back by grpc_call_tag: which listener took it */
    struct tls *tls; /* borrowed, outlives the listener; NULL: in the clear, HTTP/2 by prior knowledge */
    /* A peer that may be frozen for hours and is alive still (a container) answers no PING. 0: as the
     * server's limits on TCP, none on Unix sockets, where the kernel tells a dead peer; GRPC_NEVER: none;
     * else instead. */
    int64_t keepalive_ms;
    size_t gzip_from_bytes; /* answers of that size are compressed where the client takes it; 0: never */
};
/* Taken already: ALREADY_EXISTS, and the text says what to do. ret_port may be NULL. */
must_check struct error *grpc_server_listen_on(struct grpc_server *server,
                                               const struct grpc_listener *listener, uint16_t *ret_port);
must_check struct error *grpc_server_listen(struct grpc_server *server, const char *address, void *tag,
                                            uint16_t *ret_port);
must_check struct error *grpc_server_listen_fd(struct grpc_server *server, int fd, void *tag); /* taken */
/* No new connections by listeners of that tag. `cut`: those that came by it end now, their calls are told
 * `on_cancelled` before this returns; else they go on, and keep the tag. */
void grpc_server_unlisten(struct grpc_server *server, void *tag, bool cut);
/* No new connections and calls. A connection without calls gets GOAWAY now, others after their last call; a
 * call that comes meanwhile is refused so that its client asks again elsewhere. Then `closed` (may be NULL).
 * Long polls are the owner's to answer; who won't wait for the rest frees the server. */
void grpc_server_close(struct grpc_server *server, void (*closed)(void *owner));
void grpc_server_free(
    struct grpc_server *server); /* cuts what is left; calls not ended yet may still be ended */
size_t grpc_server_connections(const struct grpc_server *server);
size_t grpc_server_calls(const struct grpc_server *server); /* those not ended by their owner */

/* ---- a call: what was asked. Spans are valid until the call is ended. ---- */
struct span grpc_call_path(const struct grpc_call *call);    /* "/modal.client.ModalClient/AppCreate" */
struct span grpc_call_service(const struct grpc_call *call); /* "modal.client.ModalClient" */
struct span grpc_call_method(const struct grpc_call *call);  /* "AppCreate" */
/* First value of that name (lower case); data NULL: none. Of a name that ends in -bin: decoded; what is no
 * base64 counts as none. */
struct span grpc_call_metadata(const struct grpc_call *call, const char *name);
/* All in order, as sent (-bin not decoded), with user-agent and the like, without pseudo fields. */
bool grpc_call_metadata_at(const struct grpc_call *call, size_t i, struct span *ret_name,
                           struct span *ret_value);
struct span grpc_call_authority(const struct grpc_call *call);
int64_t grpc_call_deadline_ms(const struct grpc_call *call); /* as clock_monotonic_ms; GRPC_NEVER: none */
int64_t
grpc_call_left_ms(const struct grpc_call *call); /* until the deadline, at least 0; GRPC_NEVER: none */
void *grpc_call_tag(const struct grpc_call *call);
const char *grpc_call_peer(const struct grpc_call *call);    /* "127.0.0.1:4711", "unix" */
uint64_t grpc_call_connection(const struct grpc_call *call); /* its number, from 1; never used again */
bool grpc_call_secure(const struct grpc_call *call);         /* came by TLS */
struct io_loop *grpc_call_loop(const struct grpc_call *call);
struct arena *grpc_call_arena(struct grpc_call *call); /* dies with the call */
void grpc_call_owner_set(struct grpc_call *call, void *owner);
void *grpc_call_owner(const struct grpc_call *call);

/* ---- its end ----
 * Each call is ended by exactly one of grpc_call_answer, grpc_call_end and grpc_call_release; don't touch it
 * afterwards. All of them, and send, are fine after `on_cancelled` too; then nothing is sent.
 *
 * `on_cancelled` is told at most once, and only before that end: the client cancelled (CANCELLED), its
 * deadline passed (DEADLINE_EXCEEDED, which the client is told by the room), or its connection ended
 * (UNAVAILABLE). No other callback of the call comes after it. Where none is set, a call that ends so while
 * it waits for what the client sends is released by the room, who waits for `drained` is told it once more,
 * and otherwise the answer is taken and dropped. */
void grpc_call_on_cancelled(struct grpc_call *call, void (*cancelled)(struct grpc_call *call));
/* 0: it is still wanted; else why not, as above. */
enum error_code grpc_call_cancelled(const struct grpc_call *call);

/* ---- reading. A message span is valid for the callback. ----
 * Errors that come by `done` and `on_end` are owned by the callback, and grpc_call_end(call, error) is the
 * right answer to them: RESOURCE_EXHAUSTED (too large), INTERNAL (broken framing or compression),
 * UNIMPLEMENTED (not exactly one message where one is expected), UNAVAILABLE (held_bytes). */
/* For methods whose request is one message (unary, server-streaming). Once, when the client has sent it all.
 * On an error `message` is empty (data NULL); an empty message has size 0 and data not NULL. */
void grpc_call_read_one(struct grpc_call *call,
                        void (*done)(struct grpc_call *call, struct span message, struct error *error));
/* For methods whose request is a stream: each message, then `on_end` once (error NULL: the client sent them
 * all). The call goes on after `on_end`. */
void grpc_call_read(struct grpc_call *call, void (*on_message)(struct grpc_call *call, struct span message),
                    void (*on_end)(struct grpc_call *call, struct error *error));
/* While paused nothing is told, and the client can send at most window_bytes. May be called in `on_message`.
 */
void grpc_call_pause(struct grpc_call *call, bool paused);

/* ---- answering. Bytes given are copied. ---- */
/* One message and OK: the whole answer of a unary or client-streaming method. Ends the call. */
void grpc_call_answer(struct grpc_call *call, struct span message);
/* One message of several. False: more than 256 KiB wait for the client (its windows, its socket): stop until
 * `drained`. What is sent in spite of that is kept, so that one message may be of any size. */
bool grpc_call_send(struct grpc_call *call, struct span message);
/* After a send that returned false, once little waits. */
void grpc_call_on_drained(struct grpc_call *call, void (*drained)(struct grpc_call *call));
/* After all that was sent. NULL: OK; else error->code, and error_text as the message (cut at 4 KiB). Takes
 * the error. What the client still sends is not waited for. Ends the call. */
void grpc_call_end(struct grpc_call *call, struct error *error);
/* After `on_cancelled`: gives the call back. Before it: resets the stream, the client sees CANCELLED. */
void grpc_call_release(struct grpc_call *call);
/* Rarely needed: initial metadata, before the first send; the head goes with the first message, or now by
 * begin. The value of a name that ends in -bin is any bytes and is encoded here. Of others it is printable
 * ASCII; what is not goes out percent-encoded. */
void grpc_call_header_add(struct grpc_call *call, const char *name, struct span value);
void grpc_call_begin(struct grpc_call *call);
/* Trailing metadata, sent with the status: any time before the end. Values as above.
 * "grpc-status-details-bin" takes a google.rpc.Status. */
void grpc_call_trailer_add(struct grpc_call *call, const char *name, struct span value);
/* As grpc-message is written, '%' included: for trailers whose reader decodes that. */
void grpc_percent_encode(struct span bytes, struct text *text);
