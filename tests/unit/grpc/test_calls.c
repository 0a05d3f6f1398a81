/* The life of calls seen by their owner: what is told when, what may be done in which callback, what is
 * freed. The client writes frames, so that each end comes at the moment that the test wants. */
#include "h2.h"

struct world {
    struct io_loop *loop;
    struct grpc_server *server;
    struct h2 client;
    uint16_t port;
    void (*on_call)(struct world *world, struct grpc_call *call);
    struct grpc_call *call;
    struct text said; /* what the owner was told, in order */
    bool closed;
};

static void on_call(void *owner, struct grpc_call *call) {
    struct world *world = owner;
    grpc_call_owner_set(call, world);
    world->call = call;
    world->on_call(world, call);
}

static void begin(struct world *world, void (*told)(struct world *, struct grpc_call *),
                  struct grpc_limits limits) {
    *world = (struct world){.loop = io_loop_new(), .on_call = told};
    world->server = grpc_server_new(&(struct grpc_server_options){
        .loop = world->loop, .limits = limits, .on_call = on_call, .owner = world});
    assert_ok(grpc_server_listen(world->server, "127.0.0.1:0", world, &world->port));
    h2_connect(&world->client, world->loop, world->port);
    h2_hello(&world->client, (struct span){0});
}

static void end(struct world *world) {
    h2_close(&world->client);
    grpc_server_free(world->server);
    io_loop_free(world->loop);
    text_done(&world->said);
}

static void say(struct grpc_call *call, const char *what, struct span bytes) {
    struct world *world = grpc_call_owner(call);
    text_add_string(&world->said, what);
    text_add(&world->said, (struct span){bytes.data, bytes.size < 20 ? bytes.size : 0});
    text_add_char(&world->said, ' ');
    io_loop_stop(world->loop); /* the test looks */
}

/* Runs the loop until the owner was told that. */
static void expect(struct world *world, const char *said) {
    io_timer_arm(world->client.deadline, 10000);
    while (!world->client.late && !(world->said.size > 0 && strstr(world->said.data, said)))
        io_loop_run(world->loop);
    io_timer_stop(world->client.deadline);
    if (world->client.late) fail_msg("waited for '%s', told '%s'", said, world->said.data);
}

static void on_cancelled(struct grpc_call *call) {
    say(call, error_code_name(grpc_call_cancelled(call)), (struct span){0});
}

static void on_done(struct grpc_call *call, struct span message, struct error *error) {
    say(call, error ? error->message : "done:", message);
    error_free(error);
}

static void on_message(struct grpc_call *call, struct span message) {
    say(call, "message:", message);
}

static void on_end(struct grpc_call *call, struct error *error) {
    say(call, error ? error->message : "end", (struct span){0});
    error_free(error);
}

static void hold(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_on_cancelled(call, on_cancelled);
    grpc_call_read_one(call, on_done);
}

static void start(struct world *world, uint32_t stream) {
    h2_head(&world->client, stream, H2_POST("One"), false);
    h2_message(&world->client, stream, SPAN("x"), true);
}

static void reset(struct world *world, uint32_t stream, uint32_t code) {
    const char payload[4] = {0, 0, 0, (char)code};
    h2_frame(&world->client, NGHTTP2_RST_STREAM, 0, stream, (struct span){payload, 4});
}

static void test_a_reset_of_any_code_cancels_and_what_is_answered_then_goes_nowhere(void **unused) {
    (void)unused;
    for (uint32_t code = 0; code <= 8; code += 8) {
        struct world world;
        begin(&world, hold, (struct grpc_limits){0});
        start(&world, 1);
        expect(&world, "done:x");
        reset(&world, 1, code);
        expect(&world, "CANCELLED");
        assert_int_equal(grpc_server_calls(world.server), 1);
        assert_true(grpc_call_send(world.call, SPAN("nobody")));
        grpc_call_trailer_add(world.call, "x", SPAN("y"));
        grpc_call_answer(world.call, SPAN("nobody"));
        assert_int_equal(grpc_server_calls(world.server), 0);
        start(&world, 3);
        expect(&world, "done:x CANCELLED done:x");
        grpc_call_answer(world.call, SPAN("somebody"));
        h2_wait(&world.client, "HEADERS 3 end\ngrpc-status: 0");
        assert_false(h2_has(&world.client, "HEADERS 1"));
        end(&world);
    }
}

static void test_a_deadline_is_told_to_both_sides_once(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, hold, (struct grpc_limits){0});
    h2_head(&world.client, 1, H2_POST("One") "grpc-timeout: 30m\n", false);
    expect(&world, "DEADLINE_EXCEEDED ");
    assert_int_equal(grpc_call_left_ms(world.call), 0);
    h2_wait(&world.client, "HEADERS 1 end\n:status: 200\ncontent-type: application/grpc\ngrpc-status: 4");
    reset(&world, 1, 8);
    start(&world, 3);
    struct grpc_call *first = world.call;
    expect(&world, "done:x");
    assert_string_equal(world.said.data, "DEADLINE_EXCEEDED done:x ");
    grpc_call_end(first, error_new(ERROR_INTERNAL, "too late"));
    grpc_call_end(world.call, NULL);
    h2_wait(&world.client, "HEADERS 3 end");
    end(&world);
}

static void test_a_lost_connection_ends_its_calls(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, hold, (struct grpc_limits){0});
    start(&world, 1);
    expect(&world, "done:x");
    shutdown(world.client.fd, SHUT_RDWR);
    expect(&world, "UNAVAILABLE");
    assert_int_equal(grpc_server_connections(world.server), 0);
    grpc_call_release(world.call);
    end(&world);
}

static void test_a_server_that_is_freed_tells_its_calls_which_may_outlive_it(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, hold, (struct grpc_limits){0});
    start(&world, 1);
    expect(&world, "done:x");
    grpc_server_free(world.server);
    assert_string_equal(world.said.data, "done:x UNAVAILABLE ");
    assert_string_equal(grpc_call_peer(world.call) ? "peer" : "", "peer");
    assert_true(span_is(grpc_call_method(world.call), "One"));
    h2_wait(&world.client, NULL);
    grpc_call_answer(world.call, SPAN("nobody"));
    world.server = NULL;
    end(&world);
}

static void just_read(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_read_one(call, on_done);
}

static void test_without_on_cancelled_a_call_that_waits_for_its_message_goes_by_itself(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, just_read, (struct grpc_limits){0});
    h2_head(&world.client, 1, H2_POST("One"), false);
    reset(&world, 1, 8);
    start(&world, 3);
    expect(&world, "done:x");
    assert_int_equal(grpc_server_calls(world.server), 1); /* the first is gone */
    reset(&world, 3, 8);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    assert_int_equal(grpc_server_calls(world.server), 1); /* this one has its message: its owner ends it */
    grpc_call_answer(world.call, SPAN("nobody"));
    end(&world);
}

static void nothing(struct world *world, struct grpc_call *call) {
    (void)call;
    io_loop_stop(world->loop);
}

static void test_who_reads_a_call_that_is_gone_already_leaks_nothing(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, nothing, (struct grpc_limits){0});
    start(&world, 1);
    reset(&world, 1, 8);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    assert_int_equal(grpc_call_cancelled(world.call), ERROR_CANCELLED);
    grpc_call_read_one(world.call, on_done);
    assert_int_equal(grpc_server_calls(world.server), 1); /* not inside the call that asked */
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "WINDOW_UPDATE 0 67043329\nPING ack");
    assert_int_equal(grpc_server_calls(world.server), 0);
    end(&world);
}

static void test_what_came_before_it_is_read_is_kept_and_told_later(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, nothing, (struct grpc_limits){0});
    start(&world, 1);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    grpc_call_read_one(world.call, on_done);
    assert_int_equal(world.said.size, 0); /* not inside the call that asked */
    expect(&world, "done:x");
    grpc_call_answer(world.call, SPAN("y"));
    h2_wait(&world.client, "grpc-status: 0");
    end(&world);
}

static void let_go(struct grpc_call *call) {
    on_cancelled(call);
    grpc_call_release(call);
}

static void read_paused(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_on_cancelled(call, let_go);
    grpc_call_pause(call, true);
    grpc_call_read(call, on_message, on_end);
}

static void test_a_paused_call_takes_one_window_and_no_more_and_its_neighbours_go_on(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, read_paused, (struct grpc_limits){.window_bytes = 65535});
    scoped_string char *zeros = mem_new(16384);
    h2_head(&world.client, 1, H2_POST("Many"), false);
    for (int i = 0; i < 4; i++)
        h2_message(&world.client, 1, (struct span){zeros, i < 3 ? 16379 : 16378}, false);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "WINDOW_UPDATE 0 "); /* the connection's room is back ... */
    assert_false(h2_has(&world.client, "WINDOW_UPDATE 1 "));
    struct grpc_call *first = world.call;
    world.on_call = hold;
    start(&world, 3);
    expect(&world, "done:x");
    grpc_call_answer(world.call, SPAN("y"));
    grpc_call_pause(first, false);
    expect(&world, "message: message: message: message: ");
    h2_wait(&world.client, "WINDOW_UPDATE 1 "); /* ... and now the call's */
    h2_message(&world.client, 1, SPAN("last"), true);
    expect(&world, "message:last end");
    grpc_call_end(first, NULL);
    h2_wait(&world.client, "HEADERS 1 end");
    end(&world);
}

static void pause_after(struct grpc_call *call, struct span message) {
    say(call, "message:", message);
    grpc_call_pause(call, true);
}

static void read_one_by_one(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_on_cancelled(call, on_cancelled);
    grpc_call_read(call, pause_after, on_end);
}

static void test_a_reader_may_take_messages_one_by_one(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, read_one_by_one, (struct grpc_limits){0});
    h2_head(&world.client, 1, H2_POST("Many"), false);
    h2_frame(&world.client, NGHTTP2_DATA, 1, 1, SPAN("\0\0\0\0\1a\0\0\0\0\1b\0\0\0\0\0\0\0\0\0\1c"));
    static const char *const steps[] = {"message:a ", "message:b ", "message: ", "message:c ", "end "};
    for (size_t i = 0; i < COUNT(steps); i++) {
        expect(&world, steps[i]);
        assert_string_equal(world.said.data, steps[i]);
        text_clear(&world.said);
        grpc_call_pause(world.call, false);
    }
    grpc_call_end(world.call, NULL);
    h2_wait(&world.client, "grpc-status: 0");
    end(&world);
}

static void test_request_bytes_in_memory_have_a_bound(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, read_paused, (struct grpc_limits){.held_bytes = 50000});
    scoped_string char *zeros = mem_new(16384);
    for (uint32_t stream = 1; stream <= 7; stream += 2) {
        h2_head(&world.client, stream, H2_POST("Many"), false);
        h2_message(&world.client, stream, (struct span){zeros, 16379}, stream == 7);
    }
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    grpc_call_pause(world.call, false); /* the last one was too much: as soon as it is read it is told so */
    expect(&world, "the server holds 0 MiB of requests that were not read yet");
    grpc_call_end(world.call, error_new(ERROR_UNAVAILABLE, "full"));
    h2_wait(&world.client, "HEADERS 7 end\n:status: 200\ncontent-type: application/grpc\ngrpc-status: 14");
    for (uint32_t stream = 1; stream <= 5; stream += 2) reset(&world, stream, 8);
    expect(&world, "CANCELLED CANCELLED CANCELLED");
    assert_int_equal(grpc_server_calls(world.server), 0);
    end(&world);
}

/* ---- answers ---- */

static void refuse(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_trailer_add(call, "X-Why", SPAN("because\xff"));
    grpc_call_trailer_add(call, "some-bin", SPAN("\0\1"));
    grpc_call_end(call, error_wrap(error_new(ERROR_NOT_FOUND, "no such thing"), "look it up"));
}

static void test_an_error_before_anything_was_sent_is_one_head(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, refuse, (struct grpc_limits){0});
    start(&world, 1);
    h2_wait(&world.client, "HEADERS 1 end\n:status: 200\ncontent-type: application/grpc\ngrpc-status: 5\n"
                           "grpc-message: look it up: no such thing\nx-why: because%FF\nsome-bin: AAE\n");
    end(&world);
}

static void test_what_still_comes_for_an_answered_call_is_taken_for_a_while(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, refuse, (struct grpc_limits){0});
    scoped_string char *zeros = mem_new(16384);
    h2_head(&world.client, 1, H2_POST("Many"), false);
    h2_wait(&world.client, "grpc-status: 5");
    h2_frame(&world.client, NGHTTP2_SETTINGS, 1, 0,
             (struct span){0}); /* our windows are as it said from here on */
    for (int i = 0; i < 60; i++) h2_frame(&world.client, NGHTTP2_DATA, 0, 1, (struct span){zeros, 16384});
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    assert_false(
        h2_has(&world.client, "RST_STREAM")); /* less than a mebibyte: a reset could overtake the answer */
    for (int i = 0; i < 10; i++) h2_frame(&world.client, NGHTTP2_DATA, 0, 1, (struct span){zeros, 16384});
    h2_wait(&world.client, "RST_STREAM 1 code 0");
    end(&world);
}

static void let_it_go(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_release(call);
}

static void test_a_call_that_is_released_unanswered_is_reset(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, let_it_go, (struct grpc_limits){0});
    start(&world, 1);
    h2_wait(&world.client, "RST_STREAM 1 code 8");
    assert_int_equal(grpc_server_calls(world.server), 0);
    end(&world);
}

static void on_drained(struct grpc_call *call) {
    say(call, "drained", (struct span){0});
}

static void send_much(struct world *world, struct grpc_call *call) {
    scoped_string char *zeros = mem_new(100000);
    grpc_call_on_drained(call, on_drained);
    grpc_call_begin(call);
    for (int i = 0; i < 3; i++)
        say(call, grpc_call_send(call, (struct span){zeros, 100000}) ? "more" : "stop", (struct span){0});
    (void)world;
}

static void test_a_sender_is_stopped_and_goes_on_when_the_client_has_room(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, send_much, (struct grpc_limits){0});
    start(&world, 1);
    expect(&world, "more more stop");
    h2_wait(&world.client, "DATA 1 ");
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 1, SPAN("\0\1\0\0"));
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 0, SPAN("\0\1\0\0"));
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    assert_string_equal(world.said.data, "more more stop "); /* 130 KiB went out, more than half waits */
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 1, SPAN("\0\1\0\0"));
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 0, SPAN("\0\1\0\0"));
    expect(&world, "more more stop drained ");
    grpc_call_end(world.call, NULL);
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 1, SPAN("\0\2\0\0"));
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 0, SPAN("\0\2\0\0"));
    h2_wait(&world.client, "HEADERS 1 end\ngrpc-status: 0");
    assert_int_equal(world.client.data[0].size, 3 * 100005);
    end(&world);
}

static void test_who_waits_for_room_is_told_when_the_client_is_gone(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, send_much, (struct grpc_limits){0});
    start(&world, 1);
    expect(&world, "more more stop");
    reset(&world, 1, 8);
    expect(&world, "drained");
    assert_true(grpc_call_send(world.call, SPAN("into the void")));
    grpc_call_end(world.call, NULL);
    end(&world);
}

static void test_a_deadline_in_the_middle_of_a_message_resets(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, send_much, (struct grpc_limits){0});
    h2_head(&world.client, 1, H2_POST("One") "grpc-timeout: 50m\n", true);
    h2_wait(&world.client, "RST_STREAM 1 code 8");
    assert_int_equal(grpc_call_cancelled(world.call), ERROR_DEADLINE_EXCEEDED);
    grpc_call_end(world.call, NULL);
    end(&world);
}

static void answer_large(struct world *world, struct grpc_call *call) {
    (void)world;
    scoped_string char *zeros = mem_new(100000);
    grpc_call_answer(call, (struct span){zeros, 100000});
}

static void test_an_answer_that_is_not_taken_by_its_deadline_is_dropped(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, answer_large, (struct grpc_limits){0});
    h2_head(&world.client, 1, H2_POST("One") "grpc-timeout: 50m\n", true);
    h2_wait(&world.client, "RST_STREAM 1 code 8");
    end(&world);
}

/* ---- servers that go while something happens ---- */

static void cut_all(struct world *world, struct grpc_call *call) {
    grpc_call_on_cancelled(call, let_go);
    grpc_call_read_one(call, on_done);
    grpc_server_unlisten(world->server, world, true);
    assert_int_equal(grpc_server_connections(world->server), 0);
}

static void test_a_listener_may_be_cut_in_its_own_call(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, cut_all, (struct grpc_limits){0});
    start(&world, 1);
    start(&world, 3);
    h2_wait(&world.client, NULL);
    assert_string_equal(world.said.data, "UNAVAILABLE ");
    end(&world);
}

static void free_all(struct grpc_call *call, struct span message) {
    struct world *world = grpc_call_owner(call);
    say(call, "message:", message);
    grpc_server_free(take(world->server));
}

static void read_and_free(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_on_cancelled(call, let_go);
    grpc_call_read(call, free_all, on_end);
}

static void test_a_server_may_be_freed_in_a_message(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, read_and_free, (struct grpc_limits){0});
    h2_head(&world.client, 1, H2_POST("Many"), false);
    h2_frame(&world.client, NGHTTP2_DATA, 1, 1, SPAN("\0\0\0\0\1a\0\0\0\0\1b"));
    h2_wait(&world.client, NULL);
    assert_string_equal(world.said.data, "message:a UNAVAILABLE ");
    end(&world);
}

static void on_closed(void *owner) {
    struct world *world = owner;
    world->closed = true;
    io_loop_stop(world->loop);
}

static void test_a_closing_server_lets_calls_end_and_refuses_new_ones(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, hold, (struct grpc_limits){0});
    start(&world, 1);
    expect(&world, "done:x");
    grpc_server_close(world.server, on_closed);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    assert_false(h2_has(&world.client, "GOAWAY")); /* some clients would drop the call that runs */
    start(&world, 3);
    h2_wait(&world.client, "GOAWAY last 1 code 0"); /* now it must be: the new one is for somebody else */
    assert_false(world.closed);
    grpc_call_answer(world.call, SPAN("y"));
    h2_wait(&world.client, NULL);
    assert_true(h2_has(&world.client, "HEADERS 1 end\ngrpc-status: 0"));
    assert_string_equal(world.said.data, "done:x ");
    shutdown(world.client.fd, SHUT_RDWR);
    while (!world.closed) io_loop_run(world.loop);
    assert_int_equal(grpc_server_connections(world.server), 0);
    end(&world);
}

static void test_a_server_without_calls_closes_at_once(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, hold, (struct grpc_limits){0});
    h2_wait(&world.client, "SETTINGS ack");
    grpc_server_close(world.server, on_closed);
    h2_wait(&world.client, NULL);
    assert_true(h2_has(&world.client, "GOAWAY last 0 code 0"));
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reset_of_any_code_cancels_and_what_is_answered_then_goes_nowhere),
        cmocka_unit_test(test_a_deadline_is_told_to_both_sides_once),
        cmocka_unit_test(test_a_lost_connection_ends_its_calls),
        cmocka_unit_test(test_a_server_that_is_freed_tells_its_calls_which_may_outlive_it),
        cmocka_unit_test(test_without_on_cancelled_a_call_that_waits_for_its_message_goes_by_itself),
        cmocka_unit_test(test_who_reads_a_call_that_is_gone_already_leaks_nothing),
        cmocka_unit_test(test_what_came_before_it_is_read_is_kept_and_told_later),
        cmocka_unit_test(test_a_paused_call_takes_one_window_and_no_more_and_its_neighbours_go_on),
        cmocka_unit_test(test_a_reader_may_take_messages_one_by_one),
        cmocka_unit_test(test_request_bytes_in_memory_have_a_bound),
        cmocka_unit_test(test_an_error_before_anything_was_sent_is_one_head),
        cmocka_unit_test(test_what_still_comes_for_an_answered_call_is_taken_for_a_while),
        cmocka_unit_test(test_a_call_that_is_released_unanswered_is_reset),
        cmocka_unit_test(test_a_sender_is_stopped_and_goes_on_when_the_client_has_room),
        cmocka_unit_test(test_who_waits_for_room_is_told_when_the_client_is_gone),
        cmocka_unit_test(test_a_deadline_in_the_middle_of_a_message_resets),
        cmocka_unit_test(test_an_answer_that_is_not_taken_by_its_deadline_is_dropped),
        cmocka_unit_test(test_a_listener_may_be_cut_in_its_own_call),
        cmocka_unit_test(test_a_server_may_be_freed_in_a_message),
        cmocka_unit_test(test_a_closing_server_lets_calls_end_and_refuses_new_ones),
        cmocka_unit_test(test_a_server_without_calls_closes_at_once),
    };
    return cmocka_run_group_tests_name("grpc calls", tests, NULL, NULL);
}
