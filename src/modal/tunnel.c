/* tunnel: a port of a container at a port of this machine, at the gateway's address. Bytes as they are, both
 * ways; who speaks TLS speaks it with the program inside. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define TUNNELS_MAX 64 /* of one container */
#define PIPES_MAX 256  /* connections of one tunnel */
#define RETRY_MS 100   /* after an accept for which there was no descriptor */

struct tunnel {
    struct list node; /* in modal->tunnels */
    struct modal *modal;
    uint64_t container;
    uint16_t port, outside;
    int fd;
    struct io_watch *watch;
    struct io_timer *retry;
    struct list pipes;
    size_t pipe_count;
};
struct pipe { /* one connection */
    struct list node;
    struct tunnel *tunnel;
    struct end {
        int fd;
        struct io_watch *watch;
        bool closed; /* nothing more comes from it */
        size_t from, size;
        char bytes[16384]; /* what came from it and goes to the other */
    } end[2];
};

static void pipe_free(struct pipe *pipe) {
    list_remove(&pipe->node);
    pipe->tunnel->pipe_count--;
    for (int i = 0; i < 2; i++) {
        io_watch_free(pipe->end[i].watch);
        if (pipe->end[i].fd >= 0) close(pipe->end[i].fd);
    }
    free(pipe);
}

/* From one end to the other as far as it goes. False: the connection broke. */
static bool move(struct end *from, struct end *to) {
    for (;;) {
        if (from->size == 0 && !from->closed) {
            ssize_t got = recv(from->fd, from->bytes, sizeof from->bytes, MSG_DONTWAIT);
            if (got < 0 && errno != EAGAIN && errno != EINTR) return false;
            if (got < 0) return true;
            from->from = 0;
            from->size = (size_t)got;
            from->closed = got == 0;
            if (got == 0) (void)shutdown(to->fd, SHUT_WR);
        }
        if (from->size == 0) return true;
        ssize_t put = send(to->fd, from->bytes + from->from, from->size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (put < 0) return true;
        from->from += (size_t)put;
        from->size -= (size_t)put;
    }
}

static void on_pipe(void *owner, unsigned events) {
    struct pipe *pipe = owner;
    struct end *a = &pipe->end[0], *b = &pipe->end[1];
    (void)events;
    if (!move(a, b) || !move(b, a) || (a->closed && b->closed)) {
        pipe_free(pipe);
        return;
    }
    for (int i = 0; i < 2; i++) {
        struct end *own = &pipe->end[i], *other = &pipe->end[1 - i];
        io_watch_set(own->watch, (own->size == 0 && !own->closed ? (unsigned)IO_READABLE : 0u) |
                                     (other->size > 0 ? (unsigned)IO_WRITABLE : 0u));
    }
}

static void on_retry(void *owner) {
    struct tunnel *tunnel = owner;
    io_watch_set(tunnel->watch, IO_READABLE);
}

static void on_accept(void *owner, unsigned events) {
    struct tunnel *tunnel = owner;
    (void)events;
    scoped_fd int fd = accept4(tunnel->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int inside = -1;
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        io_watch_set(tunnel->watch, 0); /* or it would be told again and again */
        io_timer_arm(tunnel->retry, RETRY_MS);
    }
    if (fd < 0 || tunnel->pipe_count >= PIPES_MAX) return;
    struct error *error = node_connect(tunnel->modal->node, tunnel->container, tunnel->port, &inside);
    if (error) {
        error_free(error); /* nobody listens: the client sees its connection end */
        return;
    }
    struct pipe *pipe = NEW(struct pipe);
    pipe->tunnel = tunnel;
    pipe->end[0].fd = take_fd(&fd), pipe->end[1].fd = inside;
    list_append(&tunnel->pipes, &pipe->node);
    tunnel->pipe_count++;
    for (int i = 0; i < 2 && !error; i++)
        error = io_watch_new(tunnel->modal->loop, pipe->end[i].fd, IO_READABLE, on_pipe, pipe,
                             &pipe->end[i].watch);
    if (error) pipe_free(pipe);
    error_free(error);
}

static void tunnel_free(struct tunnel *tunnel) {
    while (!list_empty(&tunnel->pipes)) pipe_free(CONTAINER_OF(tunnel->pipes.next, struct pipe, node));
    list_remove(&tunnel->node);
    io_watch_free(tunnel->watch);
    io_timer_free(tunnel->retry);
    if (tunnel->fd >= 0) close(tunnel->fd);
    free(tunnel);
}

uint16_t tunnel_of(const struct modal *modal, uint64_t container, uint16_t port) {
    LIST_EACH(node, &modal->tunnels) {
        const struct tunnel *tunnel = CONTAINER_OF(node, struct tunnel, node);
        if (tunnel->container == container && tunnel->port == port) return tunnel->outside;
    }
    return 0;
}

static size_t count_of(const struct modal *modal, uint64_t container) {
    size_t count = 0;
    LIST_EACH(node, &modal->tunnels) count += CONTAINER_OF(node, struct tunnel, node)->container == container;
    return count;
}

struct error *tunnel_open(struct modal *modal, uint64_t container, uint16_t port, uint16_t *ret_outside) {
    *ret_outside = tunnel_of(modal, container, port);
    if (*ret_outside) return NULL;
    if (count_of(modal, container) >= TUNNELS_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "a container has %d ports forwarded at most", TUNNELS_MAX);
    struct span host = host_of(span_of(modal->gateway ? modal->gateway : "127.0.0.1:0"));
    scoped_string char *address = mem_printf(SPAN_FORMAT ":0", SPAN_ARGS(host));
    int fd = -1;
    TRY(io_listen(address, 0, &fd, ret_outside), "a tunnel to port %u", port);
    struct tunnel *tunnel = NEW(struct tunnel);
    *tunnel = (struct tunnel){
        .modal = modal, .container = container, .port = port, .outside = *ret_outside, .fd = fd};
    tunnel->retry = io_timer_new(modal->loop, on_retry, tunnel);
    list_init(&tunnel->pipes);
    list_append(&modal->tunnels, &tunnel->node);
    struct error *error = io_watch_new(modal->loop, fd, IO_READABLE, on_accept, tunnel, &tunnel->watch);
    if (error) tunnel_free(tunnel);
    return error;
}

void tunnels_close(struct modal *modal, uint64_t container, uint16_t port_or_0) {
    LIST_EACH_SAFE(node, next, &modal->tunnels) {
        struct tunnel *tunnel = CONTAINER_OF(node, struct tunnel, node);
        if (tunnel->container == container && (!port_or_0 || tunnel->port == port_or_0)) tunnel_free(tunnel);
    }
}

void tunnels_free(struct modal *modal) {
    while (!list_empty(&modal->tunnels)) tunnel_free(CONTAINER_OF(modal->tunnels.next, struct tunnel, node));
}

/* Where the gateway listens, as who asks reaches it: on every address it is the one that this call came by.
 */
const char *tunnel_host(struct rpc *rpc) {
    struct span host = host_of(span_of(rpc->modal->gateway ? rpc->modal->gateway : ""));
    if (host.size > 0 && !span_is(host, "0.0.0.0") && !span_is(host, "[::]"))
        return arena_string(rpc_arena(rpc), host);
    struct span authority = grpc_call_authority(rpc->call);
    if (rpc->task || authority.size == 0) return "127.0.0.1";
    return arena_string(rpc_arena(rpc), host_of(authority));
}

/* ---- modal.forward: a container opens one for itself ---- */

static void start(struct rpc *rpc, const void *message) {
    const Modal__TunnelStartRequest *request = message;
    uint16_t outside = 0;
    struct error *error =
        request->port == 0 || request->port > 65535
            ? error_new(ERROR_INVALID_ARGUMENT, "%u is no port", request->port)
        : tunnel_of(rpc->modal, rpc->task->container, (uint16_t)request->port)
            ? error_new(ERROR_ALREADY_EXISTS, "port %u is forwarded already", request->port)
            : tunnel_open(rpc->modal, rpc->task->container, (uint16_t)request->port, &outside);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__TunnelStartResponse answer = MODAL__TUNNEL_START_RESPONSE__INIT;
    answer.host = answer.unencrypted_host = (char *)tunnel_host(rpc);
    answer.has_port = answer.has_unencrypted_port = true;
    answer.port = answer.unencrypted_port = outside;
    rpc_answer(rpc, &answer);
}

static void stop(struct rpc *rpc, const void *message) {
    const Modal__TunnelStopRequest *request = message;
    Modal__TunnelStopResponse answer = MODAL__TUNNEL_STOP_RESPONSE__INIT;
    answer.has_exists = true;
    answer.exists = request->port && request->port < 65536 &&
                    tunnel_of(rpc->modal, rpc->task->container, (uint16_t)request->port) != 0;
    if (answer.exists) tunnels_close(rpc->modal, rpc->task->container, (uint16_t)request->port);
    rpc_answer(rpc, &answer);
}

const struct rpc_method tunnel_methods[] = {
    {"TunnelStart", &modal__tunnel_start_request__descriptor, start, RPC_TASK_ONLY},
    {"TunnelStop", &modal__tunnel_stop_request__descriptor, stop, RPC_TASK_ONLY},
    {0},
};
