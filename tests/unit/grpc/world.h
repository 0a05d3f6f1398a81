/* A server whose owner writes down what it was told, and a client that writes frames, so that each end comes
 * at the moment that the test wants. `said` has a word for each thing told, in order. */
#pragma once
#include "h2.h"

struct world {
    struct io_loop *loop;
    struct grpc_server *server;
    struct h2 client;
    uint16_t port;
    void (*on_call)(struct world *world, struct grpc_call *call);
    struct grpc_call *call, *first; /* call: the latest */
    struct text said;               /* what the owner was told, in order */
    bool closed;
};

static inline void on_call(void *owner, struct grpc_call *call) {
    struct world *world = owner;
    grpc_call_owner_set(call, world);
    world->call = call;
    world->on_call(world, call);
}

static inline void begin(struct world *world, void (*told)(struct world *, struct grpc_call *),
                         struct grpc_limits limits) {
    *world = (struct world){.loop = io_loop_new(), .on_call = told};
    world->server = grpc_server_new(&(struct grpc_server_options){
        .loop = world->loop, .limits = limits, .on_call = on_call, .owner = world});
    assert_ok(grpc_server_listen(world->server, "127.0.0.1:0", world, &world->port));
    h2_connect(&world->client, world->loop, world->port);
    h2_hello(&world->client, (struct span){0});
}

static inline void end(struct world *world) {
    h2_close(&world->client);
    grpc_server_free(world->server);
    io_loop_free(world->loop);
    text_done(&world->said);
}

static inline void say(struct grpc_call *call, const char *what, struct span bytes) {
    struct world *world = grpc_call_owner(call);
    text_add_string(&world->said, what);
    text_add(&world->said, (struct span){bytes.data, bytes.size < 20 ? bytes.size : 0});
    text_add_char(&world->said, ' ');
    io_loop_stop(world->loop); /* the test looks */
}

/* Runs the loop until the owner was told that. */
static inline void expect(struct world *world, const char *said) {
    io_timer_arm(world->client.deadline, 10000);
    while (!world->client.late && !(world->said.size > 0 && strstr(world->said.data, said)))
        io_loop_run(world->loop);
    io_timer_stop(world->client.deadline);
    if (world->client.late) fail_msg("waited for '%s', told '%s'", said, world->said.data);
}

static inline void on_cancelled(struct grpc_call *call) {
    say(call, error_code_name(grpc_call_cancelled(call)), (struct span){0});
}

static inline void on_done(struct grpc_call *call, struct span message, struct error *error) {
    say(call, error ? error->message : "done:", message);
    error_free(error);
}

static inline void on_message(struct grpc_call *call, struct span message) {
    say(call, "message:", message);
}

static inline void on_end(struct grpc_call *call, struct error *error) {
    say(call, error ? error->message : "end", (struct span){0});
    error_free(error);
}

static inline void hold(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_on_cancelled(call, on_cancelled);
    grpc_call_read_one(call, on_done);
}

static inline void start(struct world *world, uint32_t stream) {
    h2_head(&world->client, stream, H2_POST("One"), false);
    h2_message(&world->client, stream, SPAN("x"), true);
}

static inline void reset(struct world *world, uint32_t stream, uint32_t code) {
    const char payload[4] = {0, 0, 0, (char)code};
    h2_frame(&world->client, NGHTTP2_RST_STREAM, 0, stream, (struct span){payload, 4});
}
