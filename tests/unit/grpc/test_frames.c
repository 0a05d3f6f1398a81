/* What a client may do wrong, frame by frame, and what it is told: tables of bytes and answers. Then what
 * HTTP/2 asks of a server: windows, pings, limits. */
#include "h2.h"

struct world {
    struct io_loop *loop;
    struct grpc_server *server;
    struct h2 client;
    uint16_t port;
};

static void on_one(struct grpc_call *call, struct span message, struct error *error) {
    if (error) {
        grpc_call_end(call, error);
    } else {
        grpc_call_answer(call, message);
    }
}

static void on_call(void *owner, struct grpc_call *call) {
    (void)owner;
    grpc_call_read_one(call, on_one);
}

static void begin(struct world *world, struct grpc_limits limits) {
    *world = (struct world){.loop = io_loop_new()};
    world->server = grpc_server_new(&(struct grpc_server_options){
        .loop = world->loop, .limits = limits, .on_call = on_call, .owner = world});
    assert_ok(grpc_server_listen(world->server, "127.0.0.1:0", world, &world->port));
    h2_connect(&world->client, world->loop, world->port);
}

static void end(struct world *world) {
    h2_close(&world->client);
    grpc_server_free(world->server);
    io_loop_free(world->loop);
}

/* Another client finds the server as it should be. */
static void goes_on(struct world *world) {
    struct h2 other;
    h2_connect(&other, world->loop, world->port);
    h2_hello(&other, (struct span){0});
    h2_head(&other, 1, H2_POST("One"), false);
    h2_message(&other, 1, SPAN("still here"), true);
    h2_wait(&other, "grpc-status: 0");
    assert_true(other.data[0].size == 15 && strcmp(other.data[0].data + 5, "still here") == 0);
    h2_close(&other);
}

static void test_a_call_whose_bytes_come_one_by_one(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){0});
    scoped_text struct text bytes = {0}, block = {0}, message = {0};
    text_add(&bytes, SPAN(NGHTTP2_CLIENT_MAGIC));
    h2_add_frame(&bytes, NGHTTP2_SETTINGS, 0, 0, (struct span){0});
    h2_add_block(&block, H2_POST("One"));
    h2_add_frame(&bytes, NGHTTP2_HEADERS, 4, 1, text_span(&block));
    text_add(&message, SPAN("\0\0\0\0\3abc"));
    h2_add_frame(&bytes, NGHTTP2_DATA, 0, 1, text_span(&message));
    h2_add_frame(&bytes, NGHTTP2_DATA, 1, 1, (struct span){0});
    for (size_t i = 0; i < bytes.size; i++) {
        h2_send(&world.client, (struct span){bytes.data + i, 1});
        struct io_timer *round = io_timer_new(world.loop, h2_late, &world.client);
        io_timer_arm(round, 0); /* the server reads each by itself */
        io_loop_run(world.loop);
        io_timer_free(round);
        world.client.late = false;
    }
    h2_wait(&world.client, "grpc-status: 0");
    assert_true(h2_has(&world.client, ":status: 200\ncontent-type: application/grpc\n"));
    assert_memory_equal(world.client.data[0].data, "\0\0\0\0\3abc", 8);
    end(&world);
}

/* ---- heads ---- */

#define HEAD(PATH, MORE) ":method: POST\n:scheme: http\n:path: " PATH "\n:authority: here\n" MORE
#define TYPE "content-type: application/grpc\n"

static void test_heads_that_are_refused_and_the_connection_goes_on(void **unused) {
    (void)unused;
    static const struct {
        const char *fields, *told, *also;
    } rows[] = {
        {":method: GET\n:scheme: http\n:path: /a/b\n:authority: here\n" TYPE, ":status: 405", "allow: POST"},
        {":method: OPTIONS\n:scheme: http\n:path: *\n:authority: here\n", ":status: 405", ""},
        {HEAD("/a/b", ""), ":status: 415", "content-type: text/plain"},
        {HEAD("/a/b", "content-type: application/grpcx\n"), ":status: 415", ""},
        {HEAD("/a/b", "content-type: application/json\n"), ":status: 415", ""},
        {HEAD("/a", TYPE), "grpc-status: 12", "content-type: application/grpc\n"},
        {HEAD("/", TYPE), "grpc-status: 12", ""},
        {HEAD("/a/", TYPE), "grpc-status: 12", ""},
        {HEAD("//b", TYPE), "grpc-status: 12", ""},
        {HEAD("/a/b/c", TYPE), "grpc-status: 12", "'/a/b/c' is no path"},
        {HEAD("/a/b", TYPE "grpc-timeout: soon\n"), "grpc-status: 3", "'soon'"},
        {HEAD("/a/b", TYPE "grpc-encoding: zstd\n"), "grpc-status: 12",
         "grpc-accept-encoding: identity,gzip"},
        {"x: y\n" HEAD("/a/b", TYPE), "RST_STREAM 1 code 1", ""},
        {":method: POST\n:scheme: http\n:authority: here\n" TYPE, "RST_STREAM 1 code 1", ""},
        {HEAD("/a/b", TYPE "Upper: case\n"), "RST_STREAM 1 code 1", ""},
        {HEAD("/a/b", TYPE "connection: close\n"), "RST_STREAM 1 code 1", ""},
        {HEAD("/a/b", TYPE "content-length: 1\ncontent-length: 2\n"), "RST_STREAM 1 code 1", ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world world;
        begin(&world, (struct grpc_limits){0});
        h2_hello(&world.client, (struct span){0});
        h2_head(&world.client, 1, rows[i].fields, true);
        h2_wait(&world.client, rows[i].told);
        if (!h2_has(&world.client, rows[i].also)) fail_msg("row %zu: %s", i, world.client.story.data);
        h2_head(&world.client, 3, HEAD("/a/b", TYPE), false);
        h2_message(&world.client, 3, SPAN("x"), true);
        h2_wait(&world.client, "HEADERS 3 end\ngrpc-status: 0");
        end(&world);
    }
}

static void test_who_speaks_http_is_answered_in_http(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){0});
    h2_hello(&world.client, (struct span){0});
    h2_head(&world.client, 1, ":method: GET\n:scheme: http\n:path: /\n:authority: here\n", true);
    h2_wait(&world.client, "DATA 1 23 end");
    assert_string_equal(world.client.data[0].data, "A gRPC call is a POST.\n");
    h2_head(&world.client, 3, ":method: HEAD\n:scheme: http\n:path: /\n:authority: here\n", true);
    h2_wait(&world.client, "HEADERS 3 end\n:status: 405");
    assert_false(h2_has(&world.client, "grpc-status"));
    end(&world);
}

static void test_a_content_type_may_have_more_behind_it(void **unused) {
    (void)unused;
    static const char *const types[] = {"application/grpc", "application/grpc+proto",
                                        "application/grpc;charset=utf-8"};
    for (size_t i = 0; i < COUNT(types); i++) {
        struct world world;
        begin(&world, (struct grpc_limits){0});
        scoped_string char *fields = mem_printf(HEAD("/a/b", "content-type: %s\n"), types[i]);
        h2_hello(&world.client, (struct span){0});
        h2_head(&world.client, 1, fields, false);
        h2_message(&world.client, 1, SPAN(""), true);
        h2_wait(&world.client, "grpc-status: 0");
        end(&world);
    }
}

static void test_a_deadline_that_has_passed_ends_the_call_at_once(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){0});
    h2_hello(&world.client, (struct span){0});
    h2_head(&world.client, 1, H2_POST("One") "grpc-timeout: 1n\n", false);
    h2_wait(&world.client, "grpc-status: 4\ngrpc-message: the deadline of the call passed");
    end(&world);
}

static void test_metadata_has_a_bound(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){.metadata_bytes = 40000});
    scoped_string char *large = mem_new(20001);
    memset(large, 'v', 20000);
    scoped_string char *one = mem_printf(H2_POST("One") "x-one: %.15000s\n", large);
    h2_hello(&world.client, (struct span){0});
    h2_head(&world.client, 1, one, false);
    h2_message(&world.client, 1, SPAN("x"), true);
    h2_wait(&world.client, "HEADERS 1 end\ngrpc-status: 0");
    scoped_text struct text block = {0};
    scoped_string char *two = mem_printf(H2_POST("One") "x-one: %s\nx-two: %s\n", large, large);
    h2_add_block(&block, two);
    struct span rest = text_span(&block);
    for (int type = NGHTTP2_HEADERS; rest.size > 0; type = NGHTTP2_CONTINUATION) {
        struct span part = {rest.data, rest.size < 16384 ? rest.size : 16384};
        rest.data += part.size;
        rest.size -= part.size;
        h2_frame(&world.client, type, rest.size == 0 ? 4 : 0, 3, part);
    }
    h2_wait(&world.client,
            "grpc-status: 8\ngrpc-message: the metadata of the call is larger than 40000 bytes");
    end(&world);
}

/* ---- bodies ---- */

#define M "\0\0\0\0\1m"

static void test_bodies_that_are_no_message(void **unused) {
    (void)unused;
    static const struct {
        struct span body;
        const char *more, *told;
    } rows[] = {
        {{0}, "", "grpc-status: 12\ngrpc-message: the method takes one message, and the request has none"},
        {{M M, 12},
         "",
         "grpc-status: 12\ngrpc-message: the method takes one message, and the request has more"},
        {{M "\0", 7}, "", "grpc-status: 12"},
        {{"\0\0\0\0\5four", 9},
         "",
         "grpc-status: 13\ngrpc-message: the request ends in the middle of a message"},
        {{"\0\0\0", 3}, "", "grpc-status: 13"},
        {{"\7\0\0\0\1x", 6}, "", "grpc-status: 13\ngrpc-message: a message begins with the byte 7"},
        {{"\1\0\0\0\1x", 6}, "", "grpc-status: 13\ngrpc-message: a message says that it is packed"},
        {{"\1\0\0\0\1x", 6}, "grpc-encoding: identity\n", "grpc-status: 13"},
        {{"\1\0\0\0\5noise", 10},
         "grpc-encoding: gzip\n",
         "grpc-status: 13\ngrpc-message: the message is no gzip"},
        {{"\0\1\0\0\0", 5},
         "",
         "grpc-status: 8\ngrpc-message: the message has 16777216 bytes; at most 1000 are"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world world;
        begin(&world, (struct grpc_limits){.message_bytes = 1000});
        scoped_string char *fields = mem_printf(H2_POST("One") "%s", rows[i].more);
        h2_hello(&world.client, (struct span){0});
        h2_head(&world.client, 1, fields, false);
        h2_frame(&world.client, NGHTTP2_DATA, 1, 1, rows[i].body);
        h2_wait(&world.client, rows[i].told);
        h2_head(&world.client, 3, H2_POST("One"), false);
        h2_message(&world.client, 3, SPAN("x"), true);
        h2_wait(&world.client, "HEADERS 3 end\ngrpc-status: 0");
        end(&world);
    }
}

/* ---- frames ---- */

static void test_frames_that_end_the_connection(void **unused) {
    (void)unused;
    static const struct {
        int type, flags;
        uint32_t stream;
        struct span payload;
        const char *told;
    } rows[] = {
        {NGHTTP2_DATA, 0, 0, {"x", 1}, "GOAWAY last 0 code 1"},
        {NGHTTP2_HEADERS, 4, 2, {"\x83", 1}, "GOAWAY last 0 code 1"},
        {NGHTTP2_HEADERS, 4, 1, {"\xff\xff\xff\xff\xff\xff", 6}, "GOAWAY last 1 code 9"},
        {NGHTTP2_PING, 0, 0, {"short", 5}, "GOAWAY last 0 code 6"},
        {NGHTTP2_SETTINGS, 0, 0, {"\0\4\xff\xff\xff\xff", 6}, "GOAWAY last 0 code 3"},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, {"\0\0\0\0", 4}, "GOAWAY last 0 code 1"},
        {NGHTTP2_CONTINUATION, 4, 1, {"", 0}, "GOAWAY last 0 code 1"},
        {NGHTTP2_PUSH_PROMISE, 4, 1, {"\0\0\0\2", 4}, "GOAWAY last 0 code 1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world world;
        begin(&world, (struct grpc_limits){0});
        h2_hello(&world.client, (struct span){0});
        h2_frame(&world.client, rows[i].type, rows[i].flags, rows[i].stream, rows[i].payload);
        h2_wait(&world.client, NULL);
        if (!h2_has(&world.client, rows[i].told)) fail_msg("row %zu: %s", i, world.client.story.data);
        goes_on(&world);
        end(&world);
    }
}

static void test_who_does_not_greet_is_let_go(void **unused) {
    (void)unused;
    static const struct span first[] = {{"", 0}, {"PRI * HTTP/2.0\r\n", 16}, {NGHTTP2_CLIENT_MAGIC, 24}};
    for (size_t i = 0; i < COUNT(first); i++) {
        struct world world;
        begin(&world, (struct grpc_limits){.greeting_timeout_ms = 50});
        h2_send(&world.client, first[i]);
        h2_wait(&world.client, NULL);
        goes_on(&world);
        end(&world);
    }
}

static void test_other_protocols_are_cut_or_told(void **unused) {
    (void)unused;
    static const struct {
        struct span bytes;
        const char *told;
    } rows[] = {
        {{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27}, "HTTP/1.1 505 "},
        {{"PUT /", 5}, "speaks gRPC"},
        {{"PRI * HTTP/3.0\r\n", 16}, "speaks gRPC"},
        {{"\x16\x03\x01\x02\x00\x01", 6}, ""},
        {{"\0\0\0\0\0", 5}, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world world;
        begin(&world, (struct grpc_limits){0});
        h2_send(&world.client, rows[i].bytes);
        shutdown(world.client.fd, SHUT_WR);
        h2_wait(&world.client, NULL);
        const char *got = world.client.raw.data ? world.client.raw.data : "";
        if (!strstr(got, rows[i].told) || (rows[i].told[0] == '\0' && world.client.raw.size > 0))
            fail_msg("row %zu: '%s'", i, got);
        end(&world);
    }
}

/* ---- windows, pings, limits ---- */

static void test_no_more_is_sent_than_the_client_has_room_for(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){0});
    h2_hello(&world.client, SPAN("\0\4\0\0\0\12")); /* ten bytes a stream */
    h2_head(&world.client, 1, H2_POST("One"), false);
    h2_message(&world.client, 1, SPAN("0123456789abcdef"), true);
    h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_wait(&world.client, "DATA 1 10\n");
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 1, SPAN("\0\0\0\12"));
    h2_wait(&world.client, "DATA 1 10\nDATA 1 10\n");
    assert_false(h2_has(&world.client, "grpc-status"));
    h2_frame(&world.client, NGHTTP2_WINDOW_UPDATE, 0, 1, SPAN("\0\0\0\1"));
    h2_wait(&world.client, "DATA 1 1\nHEADERS 1 end\ngrpc-status: 0");
    assert_string_equal(world.client.data[0].data + 5, "0123456789abcdef");
    end(&world);
}

static void test_pings_are_answered_however_many(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){0});
    h2_hello(&world.client, (struct span){0});
    h2_head(&world.client, 1, H2_POST("One"), false);
    for (int i = 0; i < 500; i++) h2_frame(&world.client, NGHTTP2_PING, 0, 0, SPAN("12345678"));
    h2_message(&world.client, 1, SPAN("x"), true);
    h2_wait(&world.client, "grpc-status: 0");
    int acks = 0;
    for (const char *at = world.client.story.data; (at = strstr(at, "PING ack")); at++) acks++;
    assert_int_equal(acks, 500);
    assert_false(h2_has(&world.client, "GOAWAY"));
    end(&world);
}

static void test_a_silent_client_is_pinged_while_it_has_calls_and_cut_when_it_stays_silent(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){.keepalive_ms = 30, .keepalive_timeout_ms = 100});
    h2_hello(&world.client, (struct span){0});
    h2_head(&world.client, 1, H2_POST("One"), false);
    h2_wait(&world.client, "PING\n");
    h2_frame(&world.client, NGHTTP2_PING, 1, 0, SPAN("\0\0\0\0\0\0\0\0"));
    text_clear(&world.client.story);
    h2_wait(&world.client, "PING\n"); /* the answer counted: it was not cut, but asked again */
    assert_int_equal(grpc_server_connections(world.server), 1);
    h2_wait(&world.client, NULL);
    assert_int_equal(grpc_server_connections(world.server), 0);
    assert_int_equal(grpc_server_calls(world.server), 0);
    end(&world);
}

static void test_an_idle_client_is_asked_to_come_again(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){.idle_timeout_ms = 30, .keepalive_ms = 5});
    h2_hello(&world.client, (struct span){0});
    h2_head(&world.client, 1, H2_POST("One"), false);
    h2_message(&world.client, 1, SPAN("x"), true);
    h2_wait(&world.client, "grpc-status: 0");
    h2_wait(&world.client, NULL);
    assert_true(h2_has(&world.client, "GOAWAY last 1 code 0"));
    end(&world);
}

static void test_calls_beyond_a_limit_that_the_client_does_not_know_yet_are_refused_untouched(void **unused) {
    (void)unused;
    struct world world;
    begin(&world, (struct grpc_limits){.calls = 2});
    h2_hello(&world.client, (struct span){0});
    for (uint32_t stream = 1; stream <= 5; stream += 2) h2_head(&world.client, stream, H2_POST("One"), false);
    h2_wait(&world.client, "RST_STREAM 5 code 7");
    assert_int_equal(grpc_server_calls(world.server), 2);
    h2_message(&world.client, 1, SPAN("x"), true);
    h2_wait(&world.client, "HEADERS 1 end\ngrpc-status: 0");
    h2_head(&world.client, 7, H2_POST("One"), false);
    h2_message(&world.client, 7, SPAN("x"), true);
    h2_wait(&world.client, "HEADERS 7 end\ngrpc-status: 0");
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_whose_bytes_come_one_by_one),
        cmocka_unit_test(test_heads_that_are_refused_and_the_connection_goes_on),
        cmocka_unit_test(test_who_speaks_http_is_answered_in_http),
        cmocka_unit_test(test_a_content_type_may_have_more_behind_it),
        cmocka_unit_test(test_a_deadline_that_has_passed_ends_the_call_at_once),
        cmocka_unit_test(test_metadata_has_a_bound),
        cmocka_unit_test(test_bodies_that_are_no_message),
        cmocka_unit_test(test_frames_that_end_the_connection),
        cmocka_unit_test(test_who_does_not_greet_is_let_go),
        cmocka_unit_test(test_other_protocols_are_cut_or_told),
        cmocka_unit_test(test_no_more_is_sent_than_the_client_has_room_for),
        cmocka_unit_test(test_pings_are_answered_however_many),
        cmocka_unit_test(test_a_silent_client_is_pinged_while_it_has_calls_and_cut_when_it_stays_silent),
        cmocka_unit_test(test_an_idle_client_is_asked_to_come_again),
        cmocka_unit_test(test_calls_beyond_a_limit_that_the_client_does_not_know_yet_are_refused_untouched),
    };
    return cmocka_run_group_tests_name("grpc frames", tests, NULL, NULL);
}
