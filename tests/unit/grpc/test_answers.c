/* How calls are answered: heads and trailers, senders that are stopped and go on, answers that nobody takes.
 */
#include "world.h"

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

static void begin_only(struct world *world, struct grpc_call *call) {
    (void)world;
    grpc_call_on_drained(call, on_drained);
    grpc_call_header_add(call, "x-first", SPAN("head"));
    grpc_call_begin(call);
    grpc_call_pause(call, true);
    grpc_call_read(call, on_message, on_end);
}

static void test_a_stream_goes_out_as_it_is_made_and_who_was_not_stopped_is_not_told_to_go_on(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, begin_only, (struct grpc_limits){0});
    start(&world, 1);
    h2_wait(&world.client, "HEADERS 1\n:status: 200\ncontent-type: application/grpc\nx-first: head\n");
    assert_true(grpc_call_send(world.call, SPAN("one")));
    h2_wait(&world.client, "DATA 1 8\n");
    assert_true(grpc_call_send(world.call, SPAN("two")));
    h2_wait(&world.client, "DATA 1 8\nDATA 1 8\n");
    grpc_call_pause(world.call, false);
    expect(&world, "end");
    assert_string_equal(world.said.data, "message:x end ");
    reset(&world, 1, 8);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "PING ack");
    assert_string_equal(world.said.data, "message:x end ");
    grpc_call_end(world.call, NULL);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_before_anything_was_sent_is_one_head),
        cmocka_unit_test(test_what_still_comes_for_an_answered_call_is_taken_for_a_while),
        cmocka_unit_test(test_a_call_that_is_released_unanswered_is_reset),
        cmocka_unit_test(test_a_sender_is_stopped_and_goes_on_when_the_client_has_room),
        cmocka_unit_test(test_a_stream_goes_out_as_it_is_made_and_who_was_not_stopped_is_not_told_to_go_on),
        cmocka_unit_test(test_who_waits_for_room_is_told_when_the_client_is_gone),
        cmocka_unit_test(test_a_deadline_in_the_middle_of_a_message_resets),
        cmocka_unit_test(test_an_answer_that_is_not_taken_by_its_deadline_is_dropped),
    };
    return cmocka_run_group_tests_name("grpc answers", tests, NULL, NULL);
}
