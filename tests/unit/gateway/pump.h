/* One end of a connection through which more flows than anybody may hold: sends a head and then a pattern, as
 * fast as it is taken; reads, when it reads at all, and checks that the pattern comes as it was sent. */
#pragma once
#include "house.h"

#include <fcntl.h>

#define PATTERN_BYTES 65521 /* a prime: a piece that is lost or told twice does not fit */
#define WAITS_MS 20000      /* for what must come */
#define STALLS_MS 100       /* for what must not */

struct pump {
    struct io_loop *loop;
    struct io_watch *watch;
    int fd;
    struct text head, got_head; /* to be sent, and what came */
    size_t head_sent;
    uint64_t to_send, sent, to_receive, received; /* of the pattern */
    bool reads, closed;
    bool echoes;              /* sends what it got, no faster */
    bool listens_first;       /* sends nothing before it got all */
    const struct pump *other; /* the one that gets what is sent here */
    uint64_t most_under_way;
};

static inline const char *pattern(void) {
    static char bytes[2 * PATTERN_BYTES]; /* twice, so that a piece begins anywhere */
    if (bytes[0]) return bytes;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)((i % PATTERN_BYTES) * 2654435761u >> 24 | 1);
    return bytes;
}

static inline void pump_take(struct pump *pump) {
    char bytes[65536];
    ssize_t size = read(pump->fd, bytes, sizeof bytes);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        pump->closed = true;
        return;
    }
    size_t at = 0;
    while (at < (size_t)size && !span_ends(text_span(&pump->got_head), "\r\n\r\n"))
        text_add_char(&pump->got_head, bytes[at++]);
    for (size_t piece; at < (size_t)size; at += piece, pump->received += piece) {
        piece = (size_t)size - at < PATTERN_BYTES ? (size_t)size - at : PATTERN_BYTES;
        if (memcmp(bytes + at, pattern() + pump->received % PATTERN_BYTES, piece) != 0)
            fail_msg("what came is not what was sent, near byte %llu", (unsigned long long)pump->received);
    }
}

static inline void pump_give(struct pump *pump) {
    if (pump->head_sent < pump->head.size) {
        ssize_t sent = send(pump->fd, pump->head.data + pump->head_sent, pump->head.size - pump->head_sent,
                            MSG_NOSIGNAL);
        if (sent > 0) pump->head_sent += (size_t)sent;
        return;
    }
    uint64_t left = (pump->echoes ? pump->received : pump->to_send) - pump->sent;
    size_t size = left < PATTERN_BYTES ? (size_t)left : PATTERN_BYTES;
    ssize_t sent = send(pump->fd, pattern() + pump->sent % PATTERN_BYTES, size, MSG_NOSIGNAL);
    if (sent > 0) pump->sent += (uint64_t)sent;
    uint64_t under_way = pump->sent - (pump->other ? pump->other->received : 0);
    if (under_way > pump->most_under_way) pump->most_under_way = under_way;
}

static inline bool pump_gives(const struct pump *pump) {
    uint64_t to_send = pump->echoes ? pump->received : pump->to_send;
    if (pump->listens_first && pump->received < pump->to_receive) return false;
    return pump->head_sent < pump->head.size || pump->sent < to_send;
}

static inline void pump_watch(struct pump *pump) {
    bool reads = pump->reads && !pump->closed;
    io_watch_set(pump->watch,
                 (reads ? IO_READABLE : 0u) | (pump_gives(pump) && !pump->closed ? IO_WRITABLE : 0u));
}

static inline void pump_ready(void *owner, unsigned events) {
    struct pump *pump = owner;
    if (events & (IO_READABLE | IO_HANGUP) && pump->reads) pump_take(pump);
    if (events & IO_WRITABLE && !pump->closed) pump_give(pump);
    pump_watch(pump);
}

static inline void pump_begin(struct pump *pump, struct io_loop *loop, int fd, const char *head) {
    pump->loop = loop;
    pump->fd = fd;
    text_add_string(&pump->head, head);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_ok(io_watch_new(loop, fd, 0, pump_ready, pump, &pump->watch));
    pump_watch(pump);
}

static inline int pump_connect(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline void pump_stop(void *owner) {
    io_loop_stop(owner);
}

static inline bool pump_done(const struct pump *pump) {
    return pump->received >= pump->to_receive && !pump_gives(pump);
}

/* Until both have what they want, or nothing moves for that long: what is expected to go on gets all the time
 * it needs, what is expected to stop is only as far as it comes meanwhile. */
static inline void pump_run(struct pump *a, struct pump *b, int64_t patience_ms) {
    struct io_timer *timer = io_timer_new(a->loop, pump_stop, a->loop);
    uint64_t before = 0;
    int64_t moved_ms = clock_monotonic_ms();
    while (!(pump_done(a) && pump_done(b))) {
        io_timer_arm(timer, 1);
        io_loop_run(a->loop);
        uint64_t now = a->sent + a->received + b->sent + b->received + a->head_sent + b->head_sent;
        if (now != before) moved_ms = clock_monotonic_ms();
        if (clock_monotonic_ms() - moved_ms > patience_ms) break;
        before = now;
    }
    io_timer_free(timer);
}

static inline void pump_end(struct pump *pump) {
    io_watch_free(pump->watch);
    close(pump->fd);
    text_done(&pump->head);
    text_done(&pump->got_head);
}
