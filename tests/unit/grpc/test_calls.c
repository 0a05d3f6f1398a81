/* The life of calls seen by their owner: what is told when, what may be done in which callback, what is
 * freed, and servers that go while something happens. */
#include "world.h"

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

static void read_the_first(struct world *world, struct grpc_call *call) {
    if (span_is(grpc_call_method(call), "First")) {
        world->first = call;
        return;
    }
    grpc_call_read_one(world->first, on_done);
    hold(world, call);
}

static void test_a_call_that_is_cancelled_before_it_is_told_what_came_is_told_nothing(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, read_the_first, (struct grpc_limits){0});
    scoped_text struct text all = {0}, block = {0}, other = {0};
    h2_add_block(&block, H2_POST("First"));
    h2_add_block(&other, H2_POST("Other"));
    h2_add_frame(&all, NGHTTP2_HEADERS, 4, 1, text_span(&block));
    h2_add_frame(&all, NGHTTP2_DATA, 1, 1, SPAN("\0\0\0\0\1x"));
    h2_add_frame(&all, NGHTTP2_HEADERS, 4, 3, text_span(&other));
    h2_add_frame(&all, NGHTTP2_RST_STREAM, 0, 1, SPAN("\0\0\0\10"));
    h2_add_frame(&all, NGHTTP2_DATA, 1, 3, SPAN("\0\0\0\0\1y"));
    h2_send(&world.client, text_span(&all)); /* all in one read */
    expect(&world, "done:y");
    assert_string_equal(world.said.data, "done:y ");
    assert_int_equal(grpc_server_calls(world.server), 1);
    grpc_call_answer(world.call, SPAN("z"));
    h2_wait(&world.client, "HEADERS 3 end\ngrpc-status: 0");
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
    world.on_call = hold; /* what was too much is not held any more */
    start(&world, 9);
    expect(&world, "done:x");
    grpc_call_answer(world.call, SPAN("y"));
    for (uint32_t stream = 1; stream <= 5; stream += 2) reset(&world, stream, 8);
    expect(&world, "CANCELLED CANCELLED CANCELLED");
    assert_int_equal(grpc_server_calls(world.server), 0);
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

static void test_a_client_that_just_connected_when_the_server_closes_is_told_and_not_cut(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, hold, (struct grpc_limits){0});
    struct h2 late;
    h2_connect(&late, world.loop, world.port);
    h2_wait(&world.client, "SETTINGS ack");
    while (grpc_server_connections(world.server) < 2) { /* nothing of the second client came yet */
        h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
        text_clear(&world.client.story);
        h2_wait(&world.client, "PING ack");
    }
    grpc_server_close(world.server, on_closed);
    h2_hello(&late, (struct span){0});
    h2_head(&late, 1, H2_POST("One"), true);
    h2_wait(&late, NULL);
    assert_true(h2_has(&late, "GOAWAY last 0 code 0"));
    assert_int_equal(world.said.size, 0);
    h2_close(&late);
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
        cmocka_unit_test(test_a_call_that_is_cancelled_before_it_is_told_what_came_is_told_nothing),
        cmocka_unit_test(test_what_came_before_it_is_read_is_kept_and_told_later),
        cmocka_unit_test(test_a_paused_call_takes_one_window_and_no_more_and_its_neighbours_go_on),
        cmocka_unit_test(test_a_reader_may_take_messages_one_by_one),
        cmocka_unit_test(test_request_bytes_in_memory_have_a_bound),
        cmocka_unit_test(test_a_listener_may_be_cut_in_its_own_call),
        cmocka_unit_test(test_a_server_may_be_freed_in_a_message),
        cmocka_unit_test(test_a_closing_server_lets_calls_end_and_refuses_new_ones),
        cmocka_unit_test(test_a_client_that_just_connected_when_the_server_closes_is_told_and_not_cut),
        cmocka_unit_test(test_a_server_without_calls_closes_at_once),
    };
    return cmocka_run_group_tests_name("grpc calls", tests, NULL, NULL);
}
