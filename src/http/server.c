/* Listeners and the set of connections. Accepts in batches; stops accepting at the limit of connections, or
 * for a moment when the process has no file descriptor left, and goes on by itself. */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tls.h"

#define ACCEPT_BATCH 64
#define ACCEPT_RETRY_MS 100
#define FULL_TOLD_MS 60000

struct listener {
    uv_poll_t poll;
    struct http_server *server;
    struct list node;
    int fd;
    void *tag;
    struct tls *tls;
};

static void on_listener(uv_poll_t *poll, int status, int events);

static bool may_accept(const struct http_server *server) {
    return !server->closing && server->connection_count < server->limits.connections &&
           !io_timer_armed(server->retry);
}

/* Who can't get in sees nothing but a silence: the one who runs this has to hear of it, but not each time. */
static void tell_full(struct http_server *server) {
    int64_t now_ms = io_now_ms(server->io);
    bool full = !server->closing && server->connection_count >= server->limits.connections;
    if (!full || (server->full_told_ms && now_ms - server->full_told_ms < FULL_TOLD_MS)) return;
    server->full_told_ms = now_ms;
    log_warn("http", "%zu connections are open, as many as may be: more have to wait",
             server->connection_count);
}

static void set_accepting(struct http_server *server) {
    bool accepting = may_accept(server);
    if (accepting == server->accepting) return;
    server->accepting = accepting;
    tell_full(server);
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

static void take_up(struct listener *listener, int fd, const char *peer) {
    SSL *ssl = listener->tls ? tls_accept(listener->tls, TLS_HTTP1) : NULL;
    if (listener->tls && !ssl) {
        close(fd);
        return;
    }
    connection_open(listener->server, fd, ssl, listener->tag, peer);
}

static void on_listener(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct listener *listener = CONTAINER_OF(poll, struct listener, poll);
    struct http_server *server = listener->server;
    for (int i = 0; i < ACCEPT_BATCH && server->accepting; i++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int fd = accept4(listener->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0 && errno != EAGAIN) {
            scoped(error) struct error *error = error_errno(errno, "accept");
            log_warn("http", "%s; %zu connections are open", error->message, server->connection_count);
            io_timer_arm(server->retry, ACCEPT_RETRY_MS);
        }
        if (fd < 0) break;
        char text[IO_ADDRESS_TEXT_SIZE];
        io_address_text(&peer, text, sizeof text);
        take_up(listener, fd, text);
        if (!may_accept(server)) break;
    }
    set_accepting(server);
}

struct http_server *http_server_new(const struct http_server_options *options) {
    struct http_server *server = NEW(struct http_server);
    server->io = options->loop;
    server->hub = hub_new(options->loop);
    server->limits = options->limits;
    server->on_request = options->on_request;
    server->owner = options->owner;
    server->accepting = true;
    server->retry = io_timer_new(options->loop, on_retry, server);
    list_init(&server->listeners);
    list_init(&server->connections);
    struct http_limits *limits = &server->limits;
    if (limits->head_bytes == 0) limits->head_bytes = 65536;
    if (limits->held_bytes == 0) limits->held_bytes = 512 << 20;
    int64_t *wait_ms = server->hub->wait_ms;
    if (limits->head_timeout_ms > 0) wait_ms[WAIT_HEAD] = limits->head_timeout_ms;
    if (limits->idle_timeout_ms > 0) wait_ms[WAIT_IDLE] = limits->idle_timeout_ms;
    if (limits->body_timeout_ms > 0) wait_ms[WAIT_BODY] = limits->body_timeout_ms;
    if (limits->write_timeout_ms > 0) wait_ms[WAIT_WRITE] = limits->write_timeout_ms;
    if (limits->connections == 0) {
        /* A connection may need a second descriptor on its way to whoever answers, and the rest of the
         * process some too. */
        struct rlimit files = {.rlim_cur = 1024};
        getrlimit(RLIMIT_NOFILE, &files);
        limits->connections =
            files.rlim_cur > 131328 ? 65536 : (uint32_t)(files.rlim_cur - files.rlim_cur / 8) / 2;
    }
    return server;
}

static void on_listener_closed(uv_handle_t *handle) {
    free(CONTAINER_OF((uv_poll_t *)handle, struct listener, poll));
}

static void listener_close(struct listener *listener) {
    list_remove(&listener->node);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    io_door_close(listener->server->io, listener->fd);
}

static struct error *listen_on(struct http_server *server, int fd, const struct http_listener *options) {
    struct listener *listener = NEW(struct listener);
    int status = uv_poll_init(server->hub->uv, &listener->poll, fd);
    if (status < 0) {
        free(listener);
        io_door_close(server->io, fd);
        return error_errno(-status, "watch a listening socket");
    }
    listener->server = server;
    listener->fd = fd;
    listener->tag = options->tag;
    listener->tls = options->tls;
    list_append(&server->listeners, &listener->node);
    if (server->accepting) uv_poll_start(&listener->poll, UV_READABLE, on_listener);
    return NULL;
}

struct error *http_server_listen_fd(struct http_server *server, int fd, void *tag) {
    return listen_on(server, fd, &(struct http_listener){.tag = tag});
}

struct error *http_server_listen_on(struct http_server *server, const struct http_listener *listener,
                                    uint16_t *ret_port) {
    int fd;
    TRY_PLAIN(io_door_open(server->io, listener->address, 0600, &fd, ret_port));
    return listen_on(server, fd, listener);
}

struct error *http_server_listen(struct http_server *server, const char *address, void *tag,
                                 uint16_t *ret_port) {
    return http_server_listen_on(server, &(struct http_listener){.address = address, .tag = tag}, ret_port);
}

void http_server_unlisten(struct http_server *server, void *tag) {
    LIST_EACH_SAFE(node, next, &server->listeners) {
        struct listener *listener = CONTAINER_OF(node, struct listener, node);
        if (listener->tag == tag) listener_close(listener);
    }
}

struct telling {
    struct http_server *server; /* NULL: freed meanwhile */
};

static void on_told(void *owner) {
    struct telling *telling = owner;
    struct http_server *server = telling->server;
    free(telling);
    if (!server) return;
    server->telling = NULL;
    void (*closed)(void *) = take(server->closed);
    if (closed) closed(server->owner);
}

static void tell_closed(struct http_server *server) {
    if (!server->closing || !server->closed || server->telling || server->connection_count > 0) return;
    server->telling = NEW(struct telling);
    server->telling->server = server;
    io_defer(server->io, on_told, server->telling);
}

void server_connection_gone(struct connection *connection) {
    struct http_server *server = connection->server;
    list_remove(&connection->node);
    connection->server = NULL;
    server->connection_count--;
    set_accepting(server);
    tell_closed(server);
}

/* Who connected and has not asked yet, or whose next request is here unread, was not told that it is too
 * late.
 */
static bool request_comes(const struct connection *connection) {
    char byte;
    return !connection->asked || connection->pending.size > 0 ||
           recv(connection->wire.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

void http_server_close(struct http_server *server, void (*closed)(void *owner)) {
    server->closing = true;
    server->closed = closed;
    LIST_EACH_SAFE(node, next, &server->listeners) listener_close(CONTAINER_OF(node, struct listener, node));
    LIST_EACH_SAFE(node, next, &server->connections) {
        struct connection *connection = CONTAINER_OF(node, struct connection, node);
        if (connection->state != CONNECTION_HEAD) continue;
        if (wire_backlog(&connection->wire) == 0 && request_comes(connection)) {
            connection->last = true;
            hub_wait_start(server->hub, &connection->wire.read_wait, WAIT_LINGER);
            continue;
        }
        if (wire_backlog(&connection->wire) == 0) {
            connection_cut(connection);
        } else { /* the end of its last answer is still on the way */
            connection->close_after = true;
            connection_process(connection);
        }
    }
    tell_closed(server);
}

void http_server_free(struct http_server *server) {
    if (!server) return;
    server->closing = true;
    server->closed = NULL;
    if (server->telling) server->telling->server = NULL;
    LIST_EACH_SAFE(node, next, &server->listeners) listener_close(CONTAINER_OF(node, struct listener, node));
    while (!list_empty(&server->connections))
        connection_cut(CONTAINER_OF(server->connections.next, struct connection, node));
    io_timer_free(server->retry);
    hub_unref(server->hub);
    free(server);
}

size_t http_server_connections(const struct http_server *server) {
    return server->connection_count;
}
