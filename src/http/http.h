/* http: HTTP/1.1 on llhttp, both ends. No policy: who may ask what, and what is answered, is decided by the
 * rooms above.
 *
 * Server: an exchange is one request and its answer. The body is read when it is asked for (backpressure),
 * the answer may be written whole or as a stream. Client: a request to a host or a Unix socket, or one over a
 * connected socket that the caller made (the gateway's way into containers), kept alive by the caller's pool.
 * Smuggling is refused: conflicting Content-Length and Transfer-Encoding, bare CR, obs-fold, bad chunk sizes
 * are 400. */
#pragma once
#include "io.h"

/* ---- heads: the first lines of a message, read or to be written ---- */
struct http_field {
    struct span name, value;
};
enum { HTTP_CHUNKED = -1, HTTP_UNTIL_CLOSE = -2 }; /* lengths that are not known beforehand */
struct http_head {
    struct span method, target; /* of a request */
    int status;                 /* of an answer */
    struct span reason;
    int minor; /* HTTP/1.minor */
    const struct http_field *fields;
    size_t field_count;
    int64_t length_bytes; /* of the body: bytes, HTTP_CHUNKED, HTTP_UNTIL_CLOSE */
    bool keep_alive;      /* the sender means to go on with this connection */
    bool upgrade;         /* Connection: upgrade, and an Upgrade field; in an answer: 101 */
    bool expect_continue;
};
struct span http_head_field(const struct http_head *head,
                            const char *name); /* first of that name; data NULL: none */
/* Whether a comma-separated list field has that element, in any of its lines. */
bool http_head_lists(const struct http_head *head, const char *name, const char *element);

/* ---- server ---- */
struct http_server;
struct http_exchange;

struct http_limits {
    size_t head_bytes;       /* request line and headers; 0: 64 KiB. Beyond: 431 */
    int64_t head_timeout_ms; /* from the first byte (or accept) to a whole head; 0: 30 s. Then 408 or close */
    int64_t idle_timeout_ms; /* between requests on a connection; 0: 75 s */
    int64_t body_timeout_ms; /* longest silence while a body is read; 0: 60 s */
    int64_t
        write_timeout_ms; /* longest time in which the client takes nothing of what is due to it; 0: 60 s */
    size_t held_bytes;    /* of bodies that are gathered, of all requests together; 0: 512 MiB. Beyond: 503 */
    uint32_t connections; /* at once; 0: 65536 less what is needed. Beyond: accept waits */
};

struct http_server_options {
    struct io_loop *loop;
    struct http_limits limits;
    /* The head is whole. The exchange lives until it was answered and `gone` or the end was told; see
     * http_exchange_release. */
    void (*on_request)(void *owner, struct http_exchange *exchange);
    void *owner;
};
struct http_server *http_server_new(const struct http_server_options *options);
/* ADDR:PORT, [ADDR6]:PORT, or a path of a Unix socket (contains '/'; an old one nobody listens on is
 * replaced; mode 0600). May be called several times; `tag` comes back by http_exchange_tag (which listener
 * took it). PORT 0: any free one. Taken already: ALREADY_EXISTS, and the text says which and what to do. */
must_check struct error *http_server_listen(struct http_server *server, const char *address, void *tag,
                                            uint16_t *ret_port);
must_check struct error *http_server_listen_fd(struct http_server *server, int fd, void *tag); /* taken */
struct tls;                                                                                    /* tls.h */
struct http_listener {
    const char *address;
    void *tag;
    struct tls *tls; /* borrowed, outlives the listener; NULL: in the clear. Who comes in the clear
                        nevertheless is led to https, or told */
};
must_check struct error *http_server_listen_on(struct http_server *server,
                                               const struct http_listener *listener, uint16_t *ret_port);
void http_server_unlisten(struct http_server *server, void *tag);
/* No new connections; idle ones close, busy ones end after their answer, those that have not asked yet may do
 * so within 2 s; then `closed` (may be NULL). */
void http_server_close(struct http_server *server, void (*closed)(void *owner));
void http_server_free(struct http_server *server); /* cuts what is left */
size_t http_server_connections(const struct http_server *server);

/* The request; spans are valid until the exchange is released. */
struct span http_exchange_method(const struct http_exchange *exchange);
struct span http_exchange_target(const struct http_exchange *exchange); /* as sent: path and query */
struct span http_exchange_path(const struct http_exchange *exchange);   /* undecoded, before '?' */
struct span http_exchange_query(const struct http_exchange *exchange);  /* after '?', may be empty */
struct span http_exchange_header(const struct http_exchange *exchange,
                                 const char *name); /* first of that name; data NULL: none */
bool http_exchange_header_at(const struct http_exchange *exchange, size_t i, struct span *ret_name,
                             struct span *ret_value);
int64_t
http_exchange_length(const struct http_exchange *exchange); /* declared body: bytes, 0 none, -1 chunked */
const char *http_exchange_peer(const struct http_exchange *exchange); /* "127.0.0.1:4711", "unix" */
bool http_exchange_secure(const struct http_exchange *exchange);      /* came by TLS */
void *http_exchange_tag(const struct http_exchange *exchange);
const struct http_head *http_exchange_head(const struct http_exchange *exchange);
struct span http_exchange_host(
    const struct http_exchange *exchange); /* of an absolute target, else of Host; may be empty */
struct io_loop *http_exchange_loop(const struct http_exchange *exchange);
struct arena *http_exchange_arena(struct http_exchange *exchange); /* dies with the exchange */
void http_exchange_owner_set(struct http_exchange *exchange, void *owner);
void *http_exchange_owner(const struct http_exchange *exchange);

/* Each exchange is ended by exactly one call: http_respond..., http_respond_end, http_respond_abort or
 * http_exchange_release; the latter three are fine after `gone` too, then nothing is sent. Where no `gone` is
 * set, a client that leaves while its body is read releases the exchange; otherwise the answer is taken and
 * dropped.
 *
 * The client went away before the answer was complete. Called at most once; the exchange stays valid until
 * ended as above. */
void http_exchange_on_gone(struct http_exchange *exchange, void (*gone)(struct http_exchange *exchange));
/* Whole body: at most `limit_bytes`, else the answer 413 is for the caller to give (error
 * RESOURCE_EXHAUSTED). On an error body is empty; error is owned by the callback. Not called after `gone`.
 * Sends 100-continue when the client waits for it. */
void http_exchange_read_all(struct http_exchange *exchange, size_t limit_bytes,
                            void (*done)(struct http_exchange *exchange, struct span body,
                                         struct error *error));
/* Streamed body: `data` for each piece (bytes valid for the call), `end` once (error NULL: complete; owned by
 * the callback). */
void http_exchange_read(struct http_exchange *exchange,
                        void (*data)(struct http_exchange *exchange, struct span bytes),
                        void (*end)(struct http_exchange *exchange, struct error *error));
void http_exchange_pause(struct http_exchange *exchange, bool paused);
/* Fields behind a chunked body; valid from `end` on. */
const struct http_field *http_exchange_trailers(const struct http_exchange *exchange, size_t *ret_count);
bool http_exchange_body_pending(const struct http_exchange *exchange); /* not all of it was read */

/* The answer. Header `fields` are "Name", "value" pairs ended by NULL; Content-Length, Transfer-Encoding,
 * Date and Connection are set here. HEAD and 204/304 get no body. After the last byte the exchange releases
 * itself: don't touch it. */
void http_respond(struct http_exchange *exchange, int status, const char *const *fields, struct span body);
void http_respond_json(struct http_exchange *exchange, int status, json_t *taken_json);
/* {"error": text, "code": NAME} with error_http(code); 413, 408 or 400 where the body could not be had. Takes
 * the error. */
void http_respond_error(struct http_exchange *exchange, struct error *error);
/* length_bytes -1: chunked (or until close for HTTP/1.0). */
void http_respond_begin(struct http_exchange *exchange, int status, const char *const *fields,
                        int64_t length_bytes);
/* Copies what can't be sent at once. Returns false when more than 256 KiB wait: stop until `drained`. */
bool http_respond_write(struct http_exchange *exchange, struct span bytes);
void http_respond_on_drained(struct http_exchange *exchange, void (*drained)(struct http_exchange *exchange));
void http_respond_end(struct http_exchange *exchange);
/* The same with a head made of spans: status, fields and length_bytes count. Framing fields among them are
 * left out. */
void http_respond_head(struct http_exchange *exchange, const struct http_head *head);
void http_respond_interim(struct http_exchange *exchange,
                          const struct http_head *head); /* 1xx but 101; HTTP/1.0 gets none */
void http_respond_end_trailers(struct http_exchange *exchange, const struct http_field *fields, size_t count);
/* 101 with these fields; from here on http_exchange_read gives, and http_respond_write sends, raw bytes.
 * `end` of the read is the client's end; http_respond_end sends what is left and closes. */
void http_respond_upgrade(struct http_exchange *exchange, const struct http_head *head);
void http_respond_abort(
    struct http_exchange *exchange); /* cuts the connection: the client sees that the answer is broken */
/* After `gone`: gives the exchange back. Before it: as abort. */
void http_exchange_release(struct http_exchange *exchange);
const char *http_status_text(int status);

/* ---- WebSocket (RFC 6455): frames on an exchange that http_respond_upgrade handed over ---- */
struct http_socket_reader; /* a client's frames, put together to messages */
enum http_socket_event {
    HTTP_SOCKET_TEXT,
    HTTP_SOCKET_BYTES,
    HTTP_SOCKET_PING,
    HTTP_SOCKET_PONG,
    HTTP_SOCKET_CLOSE /* data: two bytes of a code, or none */
};
struct http_socket_reader *http_socket_reader_new(size_t limit_bytes,
                                                  void (*event)(void *owner, enum http_socket_event event,
                                                                struct span data),
                                                  void *owner);
/* INVALID_ARGUMENT: no WebSocket, or over the limit; the connection is to be closed with *ret_code. The
 * reader must live on while `event` is told. */
must_check struct error *http_socket_read(struct http_socket_reader *reader, struct span bytes,
                                          unsigned *ret_code);
void http_socket_reader_free(struct http_socket_reader *reader);
void http_socket_frame(struct text *out, enum http_socket_event kind, struct span data);
char *http_socket_accept(struct span key); /* Sec-WebSocket-Accept; owned */

/* ---- client, small: one request, whole answer (the command line, tests). The gateway's streaming client is
 * below it. ---- */
struct http_answer {
    int status;
    struct span body;    /* borrowed for the call */
    struct error *error; /* could not be asked or answered; owned by the callback */
};
struct http_ask_options {
    struct io_loop *loop;
    const char *address; /* "HOST:PORT" or a path of a Unix socket */
    const char *method, *target;
    const char *const *fields; /* pairs, NULL-terminated; NULL: none */
    struct span body;          /* borrowed until done */
    int64_t timeout_ms;        /* 0: none */
    size_t body_limit_bytes;   /* 0: 64 MiB */
    void (*data)(void *owner,
                 struct span bytes); /* where set: pieces as they come, and answer.body stays empty */
    void (*done)(void *owner, struct http_answer *answer);
    void *owner;
};
struct http_ask;
struct http_ask *http_ask_start(const struct http_ask_options *options); /* lives until done, or: */
void http_ask_free(struct http_ask *ask);                                /* no done */
int http_ask_status(const struct http_ask *ask); /* of the answer; known from the first `data` on */

/* ---- client, streaming: requests one after the other over one connection that the caller made ---- */
struct http_client; /* what its links share */
struct http_link;
struct http_client_options {
    struct io_loop *loop;
    struct http_server
        *server; /* NULL, or the server whose buffers are shared: what is read here is mostly sent there */
    size_t head_bytes; /* of an answer; 0: 64 KiB. Not looked at where a server is given: its limit counts */
};
struct http_client *http_client_new(const struct http_client_options *options);
void http_client_free(struct http_client *client); /* after its links */

/* All spans are valid for the call. No callback comes from inside a call on the link. */
struct http_link_events {
    /* The head of the answer; before it perhaps interim ones (status 1xx). 101 where asked for by `upgrade`:
     * bytes follow as data. */
    void (*head)(void *owner, struct http_link *link, const struct http_head *head);
    void (*data)(void *owner, struct http_link *link, struct span bytes);
    /* Once a request. NULL: the answer is whole. Else the link is over: UNAVAILABLE (died), INVALID_ARGUMENT
     * (no HTTP). Owned. */
    void (*end)(void *owner, struct http_link *link, struct error *error);
    void (*drained)(void *owner, struct http_link *link); /* after a write that returned false */
    /* No request was at work, and the other side closed, or none came for the idle timeout. */
    void (*lost)(void *owner, struct http_link *link);
};
/* fd: taken; connected or connecting, non-blocking. */
must_check struct error *http_link_new(struct http_client *client, int fd,
                                       const struct http_link_events *events, struct http_link **ret_link);
void http_link_owner_set(struct http_link *link, void *owner);
/* head: method, target, fields, length_bytes (framing fields among them are left out), expect_continue,
 * upgrade. */
void http_link_request(struct http_link *link, const struct http_head *head);
bool http_link_write(struct http_link *link, struct span bytes); /* false: stop until `drained` */
/* The request is whole. After an upgrade: what was written goes out, then our half of the connection closes.
 */
void http_link_finish(struct http_link *link, const struct http_field *trailers, size_t count);
void http_link_pause(struct http_link *link, bool paused);
const struct http_field *http_link_trailers(const struct http_link *link,
                                            size_t *ret_count); /* from `end` on */
bool http_link_answered(const struct http_link *link);          /* a byte of the current answer came */
bool http_link_reusable(
    const struct http_link *link); /* after `end`: both sides are whole and mean to go on */
uint64_t http_link_requests(const struct http_link *link); /* made on it so far */
void http_link_free(struct http_link *link);               /* cuts what is at work; no callback */
