/* The house of the gateway's tests: a loop, a gateway on a free port, and the listening socket of an app. */
#pragma once
#include "fake_pool.h"
#include "gateway.h"
#include "peer.h"

struct world {
    struct io_loop *loop;
    struct gateway *gateway;
    int listener;
    uint16_t port;
};

static inline int setup_with(void **state, struct gateway_options options) {
    struct world *world = NEW(struct world);
    world->loop = io_loop_new();
    struct pool *pool = fake_pool_start();
    world->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(world->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(world->listener, 16), 0);
    getsockname(world->listener, (struct sockaddr *)&address, &size);
    pool->port = ntohs(address.sin_port);
    options.loop = world->loop;
    options.pool = pool;
    world->gateway = gateway_new(&options);
    assert_ok(gateway_listen(world->gateway, "127.0.0.1:0"));
    world->port = gateway_port(world->gateway);
    *state = world;
    return 0;
}

static inline int teardown(void **state) {
    struct world *world = *state;
    gateway_free(world->gateway);
    assert_int_equal(fake_pool_waiting(), 0); /* no ticket outlives its request */
    io_loop_free(world->loop);
    close(world->listener);
    free(world);
    return 0;
}

/* The app's end of a connection that the gateway opened. */
static inline void app_accept(struct world *world, struct peer *app) {
    *app = (struct peer){.loop = world->loop};
    app->fd = accept4(world->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(app->fd >= 0);
    assert_ok(io_watch_new(world->loop, app->fd, IO_READABLE, peer_ready, app, &app->watch));
    app->deadline = io_timer_new(world->loop, peer_late, app);
}

/* Runs the loop until what is in it was handled. */
static inline void turn(struct world *world, struct peer *peer) {
    for (int i = 0; i < 20; i++) {
        io_timer_arm(peer->deadline, 0);
        io_loop_run(world->loop);
        peer->late = false;
    }
}

static inline void forget(struct peer *peer) {
    text_clear(&peer->got);
}
