/* Listeners and the set of connections. Accepts in batches; stops at the limit of connections, or for a
 * moment when the process has no file descriptor left, and goes on by itself.
 *
 * The memory of a server outlives grpc_server_free until its last connection and call have let go of it. */
#include "inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define ACCEPT_BATCH 64
#define ACCEPT_RETRY_MS 100

struct listener {
    uv_poll_t poll;
    struct grpc_server *server;
    struct list node;
    int fd;
    void *tag;
    struct tls *tls;
    int64_t keepalive_ms;
    size_t gzip_from_bytes;
};

static void on_listener(uv_poll_t *poll, int status, int events);

static bool may_accept(const struct grpc_server *server) {
    return !server->closing && server->connection_count < server->limits.connections &&
           !io_timer_armed(server->retry);
}

static void set_accepting(struct grpc_server *server) {
    bool accepting = may_accept(server);
    if (accepting == server->accepting) return;
    server->accepting = accepting;
    LIST_EACH(node, &server->listeners) {
        struct listener *listener = CONTAINER_OF(node, struct listener, node);
        if (accepting) {
            uv_poll_start(&listener->poll, UV_READABLE, on_listener);
        } else {
            uv_poll_stop(&listener->poll);
        }
    }
}

static void on_retry(void *owner) {
    set_accepting(owner);
}

static void take_up(struct listener *listener, int fd, const struct sockaddr_storage *peer) {
    char text[IO_ADDRESS_TEXT_SIZE];
    io_address_text(peer, text, sizeof text);
    SSL *ssl = listener->tls ? tls_accept(listener->tls, TLS_HTTP2) : NULL;
    if (listener->tls && !ssl) {
        close(fd);
        return;
    }
    int64_t keepalive_ms = listener->keepalive_ms;
    if (keepalive_ms == 0)
        keepalive_ms = peer->ss_family == AF_UNIX ? GRPC_NEVER : listener->server->limits.keepalive_ms;
    conn_open(listener->server, &(struct conn_options){.fd = fd,
                                                       .ssl = ssl,
                                                       .tag = listener->tag,
                                                       .keepalive_ms = keepalive_ms,
                                                       .gzip_from_bytes = listener->gzip_from_bytes,
                                                       .peer = text});
}

static void on_listener(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct listener *listener = CONTAINER_OF(poll, struct listener, poll);
    struct grpc_server *server = listener->server;
    for (int i = 0; i < ACCEPT_BATCH && may_accept(server); i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof peer;
        int fd = accept4(listener->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0 && errno != EAGAIN) {
            scoped(error) struct error *error = error_errno(errno, "accept");
            log_warn("grpc", "%s; %zu connections are open", error->message, server->connection_count);
            io_timer_arm(server->retry, ACCEPT_RETRY_MS);
        }
        if (fd < 0) break;
        take_up(listener, fd, &peer);
    }
    set_accepting(server);
}

static void on_idle(uv_idle_t *idle) {
    (void)idle; /* it only keeps the loop from sleeping while there is something to do */
}

/* Runs right before the loop sleeps. What is added meanwhile has its turn in the next round, so that a fast
 * reader of an endless stream cannot keep the others from theirs. */
static void on_prepare(uv_prepare_t *prepare) {
    struct grpc_server *server = prepare->data;
    if (list_empty(&server->dirty)) return;
    struct list round;
    list_init(&round);
    while (!list_empty(&server->dirty)) {
        struct list *first = server->dirty.next;
        list_remove(first);
        list_append(&round, first);
    }
    server_ref(server); /* a callback may free it */
    while (!list_empty(&round)) {
        struct list *first = round.next;
        list_remove(first);
        conn_settle(CONTAINER_OF(first, struct conn, dirty));
    }
    if (!server->gone && list_empty(&server->dirty)) uv_idle_stop(server->idle);
    server_unref(server);
}

void server_mark(struct grpc_server *server, struct list *node) {
    if (!list_empty(node) || server->gone) return;
    list_append(&server->dirty, node);
    uv_idle_start(server->idle, on_idle);
}

static void usual_limits(struct grpc_limits *limits) {
    if (limits->message_bytes == 0) limits->message_bytes = 100 << 20;
    if (limits->metadata_bytes == 0) limits->metadata_bytes = 64 << 10;
    if (limits->window_bytes == 0) limits->window_bytes = 64 << 20;
    if (limits->window_bytes > INT32_MAX) limits->window_bytes = INT32_MAX;
    if (limits->held_bytes == 0) limits->held_bytes = 1 << 30;
    if (limits->calls == 0) limits->calls = 16384;
    if (limits->greeting_timeout_ms == 0) limits->greeting_timeout_ms = 20000;
    if (limits->keepalive_ms == 0) limits->keepalive_ms = 30000;
    if (limits->keepalive_timeout_ms == 0) limits->keepalive_timeout_ms = 30000;
    if (limits->connections == 0) { /* the rest of the process needs descriptors too */
        struct rlimit files = {.rlim_cur = 1024};
        getrlimit(RLIMIT_NOFILE, &files);
        limits->connections = files.rlim_cur > 131072 ? 65536 : (uint32_t)files.rlim_cur / 2;
    }
}

struct grpc_server *grpc_server_new(const struct grpc_server_options *options) {
    struct grpc_server *server = NEW(struct grpc_server);
    server->io = options->loop;
    server->uv = io_loop_uv(options->loop);
    server->limits = options->limits;
    usual_limits(&server->limits);
    server->on_call = options->on_call;
    server->owner = options->owner;
    server->references = 1;
    server->accepting = true;
    server->retry = io_timer_new(options->loop, on_retry, server);
    dues_init(&server->dues, options->loop);
    list_init(&server->listeners);
    list_init(&server->connections);
    list_init(&server->dirty);
    server->scratch = mem_new(SCRATCH_BYTES);
    server->callbacks = session_callbacks();
    server->option = session_option(&server->limits);
    server->prepare = NEW(uv_prepare_t);
    server->idle = NEW(uv_idle_t);
    uv_prepare_init(server->uv, server->prepare);
    uv_idle_init(server->uv, server->idle);
    server->prepare->data = server;
    uv_prepare_start(server->prepare, on_prepare);
    uv_unref((uv_handle_t *)server->prepare);
    return server;
}

void server_ref(struct grpc_server *server) {
    server->references++;
}

void server_unref(struct grpc_server *server) {
    if (--server->references > 0) return;
    free(server->scratch);
    free(server);
}

static void on_listener_closed(uv_handle_t *handle) {
    free(CONTAINER_OF((uv_poll_t *)handle, struct listener, poll));
}

static void listener_close(struct listener *listener) {
    list_remove(&listener->node);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    io_door_close(listener->server->io, listener->fd);
}

static struct error *listen_on(struct grpc_server *server, const struct grpc_listener *options, int fd) {
    struct listener *listener = NEW(struct listener);
    int status = uv_poll_init(server->uv, &listener->poll, fd);
    if (status < 0) {
        free(listener);
        io_door_close(server->io, fd);
        return error_errno(-status, "watch a listening socket");
    }
    listener->server = server;
    listener->fd = fd;
    listener->tls = options->tls;
    listener->tag = options->tag;
    listener->keepalive_ms = options->keepalive_ms;
    listener->gzip_from_bytes = options->gzip_from_bytes;
    list_append(&server->listeners, &listener->node);
    if (server->accepting) uv_poll_start(&listener->poll, UV_READABLE, on_listener);
    return NULL;
}

struct error *grpc_server_listen_on(struct grpc_server *server, const struct grpc_listener *options,
                                    uint16_t *ret_port) {
    scoped_fd int fd = options->address ? -1 : options->fd;
    if (options->address) {
        TRY_PLAIN(
            io_door_open(server->io, options->address, options->mode ? options->mode : 0600, &fd, ret_port));
    } else if (ret_port) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        getsockname(fd, (struct sockaddr *)&address, &size);
        *ret_port = io_address_port(&address);
    }
    return listen_on(server, options, take_fd(&fd));
}

struct error *grpc_server_listen(struct grpc_server *server, const char *address, void *tag,
                                 uint16_t *ret_port) {
    return grpc_server_listen_on(server, &(struct grpc_listener){.address = address, .tag = tag}, ret_port);
}

struct error *grpc_server_listen_fd(struct grpc_server *server, int fd, void *tag) {
    return grpc_server_listen_on(server, &(struct grpc_listener){.fd = fd, .tag = tag}, NULL);
}

/* The next connection of that tag, or any; NULL: there is none left. */
static struct conn *next_of(struct grpc_server *server, const void *tag, bool any) {
    LIST_EACH(node, &server->connections) {
        struct conn *conn = CONTAINER_OF(node, struct conn, node);
        if (any || conn->tag == tag) return conn;
    }
    return NULL;
}

void grpc_server_unlisten(struct grpc_server *server, void *tag, bool cut) {
    LIST_EACH_SAFE(node, next, &server->listeners) {
        struct listener *listener = CONTAINER_OF(node, struct listener, node);
        if (listener->tag == tag) listener_close(listener);
    }
    server_ref(server);
    for (struct conn *conn; cut && (conn = next_of(server, tag, false));)
        conn_cut(conn); /* the list is read anew each time: who is told may change it */
    server_unref(server);
}

static void on_closed(void *owner) {
    struct grpc_server *server = owner;
    void (*closed)(void *) = take(server->closed); /* freed meanwhile: there is none */
    if (closed) closed(server->owner);
    server_unref(server);
}

static void tell_closed(struct grpc_server *server) {
    if (!server->closed) return;
    server_ref(server);
    io_defer(server->io, on_closed, server);
}

void server_conn_gone(struct grpc_server *server) {
    server->connection_count--;
    if (server->gone) return;
    set_accepting(server);
    if (server->closing && server->connection_count == 0) tell_closed(server);
}

void grpc_server_close(struct grpc_server *server, void (*closed)(void *owner)) {
    server->closing = true;
    server->closed = closed;
    LIST_EACH_SAFE(node, next, &server->listeners) listener_close(CONTAINER_OF(node, struct listener, node));
    LIST_EACH_SAFE(node, next, &server->connections)
    conn_part(CONTAINER_OF(node, struct conn, node));
    if (server->connection_count == 0) tell_closed(server);
}

static void on_handle_closed(uv_handle_t *handle) {
    free(handle);
}

void grpc_server_free(struct grpc_server *server) {
    if (!server) return;
    server->closing = true;
    server->closed = NULL;
    LIST_EACH_SAFE(node, next, &server->listeners) listener_close(CONTAINER_OF(node, struct listener, node));
    for (struct conn *conn; (conn = next_of(server, NULL, true));) conn_cut(conn);
    server->gone = true;
    io_timer_free(take(server->retry));
    dues_done(&server->dues);
    uv_close((uv_handle_t *)server->prepare, on_handle_closed);
    uv_close((uv_handle_t *)server->idle, on_handle_closed);
    nghttp2_session_callbacks_del(server->callbacks);
    nghttp2_option_del(server->option);
    server_unref(server);
}

size_t grpc_server_connections(const struct grpc_server *server) {
    return server->connection_count;
}
size_t grpc_server_calls(const struct grpc_server *server) {
    return server->call_count;
}
