/* Bodies on their way through the gateway: as they come, both ways, never whole, and who is slow slows the
 * other. */
#include "pump.h"

#include <sys/resource.h>

#define GIGABYTE (1024ull * 1024 * 1024)
#define UNDER_WAY_MAX (24ull * 1024 * 1024) /* four socket buffers as large as the kernel lets them grow */
#define HELD_MAX_KB (16 * 1024)

static int setup(void **state) {
    return setup_with(state, (struct gateway_options){0});
}

static int accept_app(struct world *world) {
    int fd = accept4(world->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* A POST and its answer, each with a body of that size. */
static void open_both(struct world *world, struct pump *client, struct pump *app, uint64_t up,
                      uint64_t down) {
    char request[200], answer[100];
    snprintf(request, sizeof request, "POST / HTTP/1.1\r\nHost: app.x\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)up);
    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)down);
    *client = (struct pump){.to_send = up, .to_receive = down, .other = app};
    *app = (struct pump){.to_send = down, .to_receive = up, .other = client, .listens_first = down == 0};
    struct peer knock;
    pump_begin(client, world->loop, pump_connect(world->port), request);
    peer_open(&knock, world->loop, world->port); /* its timer turns the loop */
    turn(world, &knock);
    peer_close(&knock);
    pump_begin(app, world->loop, accept_app(world), answer);
}

static void test_a_gigabyte_each_way_in_bounded_memory(void **state) {
    struct world *world = *state;
    struct pump client, app;
    struct rusage before, after;
    open_both(world, &client, &app, GIGABYTE, GIGABYTE);
    getrusage(RUSAGE_SELF, &before);
    app.echoes = true; /* an answer that is whole before the request would be the end of both */
    client.reads = app.reads = true;
    pump_watch(&client);
    pump_watch(&app);
    pump_run(&client, &app, WAITS_MS);
    getrusage(RUSAGE_SELF, &after);
    assert_true(app.received == GIGABYTE);
    assert_true(client.received == GIGABYTE);
    assert_true(client.most_under_way <= UNDER_WAY_MAX);
    assert_true(app.most_under_way <= UNDER_WAY_MAX);
#ifndef __SANITIZE_ADDRESS__ /* its quarantine keeps what was freed */
    assert_true(after.ru_maxrss - before.ru_maxrss < HELD_MAX_KB);
#endif
    pump_end(&client);
    pump_end(&app);
}

static void test_an_app_that_does_not_read_stops_its_client(void **state) {
    struct world *world = *state;
    struct pump client, app;
    open_both(world, &client, &app, 4 * UNDER_WAY_MAX, 0);
    pump_run(&client, &app, STALLS_MS);
    assert_true(client.sent < UNDER_WAY_MAX);
    app.reads = client.reads = true;
    pump_watch(&app);
    pump_watch(&client);
    pump_run(&client, &app, WAITS_MS);
    assert_true(app.received == 4 * UNDER_WAY_MAX);
    pump_end(&client);
    pump_end(&app);
}

static void test_a_client_that_does_not_read_stops_its_app(void **state) {
    struct world *world = *state;
    struct pump client, app;
    open_both(world, &client, &app, 0, 4 * UNDER_WAY_MAX);
    app.reads = true;
    pump_watch(&app);
    pump_run(&client, &app, STALLS_MS);
    assert_true(app.sent < UNDER_WAY_MAX);
    client.reads = true;
    pump_watch(&client);
    pump_run(&client, &app, WAITS_MS);
    assert_true(client.received == 4 * UNDER_WAY_MAX);
    pump_end(&client);
    pump_end(&app);
}

/* ---- forms of bodies ---- */

static void ask(struct world *world, struct peer *client, struct peer *app, struct span request) {
    peer_open(client, world->loop, world->port);
    peer_send(client, request);
    turn(world, client);
    app_accept(world, app);
}

static void test_chunks_go_up_as_they_come_and_trailers_behind_them(void **state) {
    struct world *world = *state;
    struct peer client, app;
    ask(world, &client, &app,
        SPAN("POST / HTTP/1.1\r\nHost: app.x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
             "3;a=b\r\nabc\r\n"));
    peer_wait(&app, "\r\n\r\n3\r\nabc\r\n"); /* not the end yet */
    assert_non_null(strstr(app.got.data, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(app.got.data, "Trailer: X-Sum\r\n"));
    peer_send(&client, SPAN("2\r\nde\r\n"));
    peer_wait(&app, "3\r\nabc\r\n2\r\nde\r\n");
    peer_send(&client, SPAN("0\r\nX-Sum: 1\r\nTransfer-Encoding: x\r\n\r\n"));
    peer_wait(&app, "2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"); /* a trailer that is framing ends here */
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"));
    peer_wait(&client, "\r\n\r\n1\r\nx\r\n");
    peer_send(&app, SPAN("0\r\nX-End: y\r\n\r\n"));
    peer_wait(&client, "0\r\nX-End: y\r\n\r\n");
    peer_close(&app);
    peer_close(&client);
}

/* clang-format off */
static void test_answers_that_have_no_body(void **state) {
    struct world *world = *state;
    static const struct { const char *request, *answer, *head; } rows[] = {
        {"HEAD / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5\r\n"},
        {"HEAD / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         "Transfer-Encoding: chunked\r\n"},
        {"GET / HTTP/1.1\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n"},
        {"GET / HTTP/1.1\r\n", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", "ETag: \"a\"\r\n"},
        {"POST / HTTP/1.1\r\nContent-Length: 0\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         "Content-Length: 0\r\n"},
    };
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    for (size_t i = 0; i < COUNT(rows); i++) { /* all on one connection, on both sides */
        forget(&client);
        peer_send(&client, span_of(rows[i].request));
        peer_send(&client, SPAN("Host: app.x\r\n\r\n"));
        turn(world, &client);
        if (i == 0) app_accept(world, &app);
        peer_wait(&app, "\r\n\r\n");
        forget(&app);
        peer_send(&app, span_of(rows[i].answer));
        peer_wait(&client, "\r\n\r\n");
        if (!strstr(client.got.data, rows[i].head) || !span_ends(text_span(&client.got), "\r\n\r\n"))
            fail_msg("'%s' comes as '%s'", rows[i].answer, client.got.data);
    }
    assert_int_equal(fake_pool.connected, 1);
    peer_close(&app);
    peer_close(&client);
}

static void test_bodies_are_framed_anew_for_who_reads_them(void **state) {
    struct world *world = *state;
    static const struct { const char *request, *answer, *got; bool client_closes; } rows[] = {
        /* until the app closes: in chunks for those who know them */
        {"GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n\r\nabc", "\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n", "HTTP/1.0 200 OK\r\n\r\nabc", "\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
        /* and until we close for those who don't */
        {"GET / HTTP/1.0\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "Connection: close\r\n\r\nabc", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
         "Connection: keep-alive\r\n\r\nabc", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct peer client, app;
        peer_open(&client, world->loop, world->port);
        peer_send(&client, span_of(rows[i].request));
        peer_send(&client, SPAN("Host: app.x\r\n\r\n"));
        turn(world, &client);
        app_accept(world, &app);
        peer_wait(&app, "\r\n\r\n");
        peer_send(&app, span_of(rows[i].answer));
        peer_close(&app);
        peer_wait(&client, rows[i].got);
        if (rows[i].client_closes) peer_wait(&client, NULL);
        assert_true(span_ends(text_span(&client.got), rows[i].got));
        peer_close(&client);
    }
}
/* clang-format on */

/* ---- Expect, upgrade ---- */

static void test_who_is_refused_before_its_body_need_not_send_it(void **state) {
    struct world *world = *state;
    struct peer client, app;
    ask(world, &client, &app,
        SPAN("PUT / HTTP/1.1\r\nHost: app.x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    peer_wait(&app, "\r\n\r\n");
    peer_send(&app, SPAN("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"));
    peer_wait(&client, "\r\n\r\nno");
    assert_null(strstr(client.got.data, "100 Continue"));
    peer_wait(&client, NULL); /* whether the body comes is not known: only a new connection is sure */
    peer_wait(&app, NULL);
    peer_close(&app);
    peer_close(&client);
}

static void test_an_app_that_never_says_100_gets_the_body_all_the_same(void **state) {
    struct world *world = *state;
    struct peer client, app;
    ask(world, &client, &app,
        SPAN("PUT / HTTP/1.1\r\nHost: app.x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    peer_wait(&client, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_send(&client, SPAN("body"));
    peer_wait(&app, "\r\n\r\nbody");
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    peer_wait(&client, "HTTP/1.1 200 OK\r\n");
    peer_close(&app);
    peer_close(&client);
}

static void test_an_upgrade_that_the_app_does_not_want_is_an_answer_like_others(void **state) {
    struct world *world = *state;
    struct peer client, app;
    ask(world, &client, &app,
        SPAN("GET / HTTP/1.1\r\nHost: app.x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"));
    peer_wait(&app, "Upgrade: websocket\r\n");
    peer_send(&app, SPAN("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nUpgrade: other\r\n\r\nno"));
    peer_wait(&client, "\r\n\r\nno");
    forget(&client);
    peer_send(&client, SPAN("GET /next HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    peer_wait(&app, "GET /next");
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    peer_wait(&client, "\r\n\r\nok");
    peer_close(&app);
    peer_close(&client);
}

static void test_a_pipe_has_backpressure_too(void **state) {
    struct world *world = *state;
    struct pump client = {.to_send = 4 * UNDER_WAY_MAX};
    struct pump app = {.to_send = 4 * UNDER_WAY_MAX, .to_receive = 4 * UNDER_WAY_MAX};
    struct peer knock;
    client.to_receive = app.to_send;
    pump_begin(&client, world->loop, pump_connect(world->port),
               "GET / HTTP/1.1\r\nHost: app.x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    peer_open(&knock, world->loop, world->port);
    turn(world, &knock);
    peer_close(&knock);
    pump_begin(&app, world->loop, accept_app(world),
               "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    pump_run(&client, &app, STALLS_MS);
    assert_true(client.sent < UNDER_WAY_MAX);
    assert_true(app.sent < UNDER_WAY_MAX);
    client.reads = app.reads = true;
    pump_watch(&client);
    pump_watch(&app);
    pump_run(&client, &app, WAITS_MS);
    assert_true(client.received == client.to_receive && app.received == app.to_receive);
    pump_end(&client);
    pump_end(&app);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_gigabyte_each_way_in_bounded_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_app_that_does_not_read_stops_its_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_client_that_does_not_read_stops_its_app, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks_go_up_as_they_come_and_trailers_behind_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_have_no_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies_are_framed_anew_for_who_reads_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_is_refused_before_its_body_need_not_send_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_app_that_never_says_100_gets_the_body_all_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_upgrade_that_the_app_does_not_want_is_an_answer_like_others,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_pipe_has_backpressure_too, setup, teardown),
    };
    return cmocka_run_group_tests_name("gateway streams", tests, NULL, NULL);
}
