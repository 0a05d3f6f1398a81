/* A raw client in the loop of the test: sends bytes as they stand, gathers what comes, and runs the loop
 * until a needle has come or the other side closed. A test that waits in vain fails after ten seconds and
 * shows what came. */
#pragma once
#include "io.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

struct peer {
    struct io_loop *loop;
    struct io_watch *watch;
    struct io_timer *deadline;
    struct text got;
    const char *needle;
    int fd;
    bool closed, late;
};

static inline bool peer_has(struct peer *peer) {
    return peer->needle && peer->got.size > 0 && strstr(peer->got.data, peer->needle);
}

static inline void peer_ready(void *owner, unsigned events) {
    (void)events;
    struct peer *peer = owner;
    char bytes[65536];
    ssize_t size = read(peer->fd, bytes, sizeof bytes);
    if (size > 0) text_add(&peer->got, (struct span){bytes, (size_t)size});
    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        peer->closed = true;
        io_watch_set(peer->watch, 0);
    }
    if (peer->closed || peer_has(peer)) io_loop_stop(peer->loop);
}

static inline void peer_late(void *owner) {
    struct peer *peer = owner;
    peer->late = true;
    io_loop_stop(peer->loop);
}

static inline void peer_open(struct peer *peer, struct io_loop *loop, uint16_t port) {
    *peer = (struct peer){.loop = loop};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(peer->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_ok(io_watch_new(loop, peer->fd, IO_READABLE, peer_ready, peer, &peer->watch));
    peer->deadline = io_timer_new(loop, peer_late, peer);
}

static inline void peer_send(struct peer *peer, struct span bytes) {
    while (bytes.size > 0) { /* what does not fit at once is for the tests of backpressure, not for this */
        ssize_t sent = send(peer->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0) return; /* refused in the middle: the answer tells */
        bytes.data += sent;
        bytes.size -= (size_t)sent;
    }
}

/* Runs the loop until `needle` (NULL: the end) is among what came. */
static inline void peer_wait(struct peer *peer, const char *needle) {
    peer->needle = needle;
    if (peer->closed || peer_has(peer)) return;
    io_timer_arm(peer->deadline, 10000);
    io_loop_run(peer->loop);
    io_timer_stop(peer->deadline);
    if (peer->late)
        fail_msg("waited for '%s', got '%s'", needle ? needle : "(end)",
                 peer->got.data ? peer->got.data : "");
}

static inline void peer_close(struct peer *peer) {
    io_watch_free(peer->watch);
    io_timer_free(peer->deadline);
    close(peer->fd);
    text_done(&peer->got);
}

/* A round trip on a connection of its own; the answer (all of it, to the end of the connection) is owned by
 * the caller. */
static inline char *peer_ask(struct io_loop *loop, uint16_t port, struct span bytes) {
    struct peer peer;
    peer_open(&peer, loop, port);
    peer_send(&peer, bytes);
    peer_wait(&peer, NULL);
    char *answer = span_string(text_span(&peer.got));
    peer_close(&peer);
    return answer;
}
