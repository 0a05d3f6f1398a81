/* The gateway between a raw client and a raw app, with a pool that does what the test says. The app is a
 * listening socket: what it got and what it says is written out byte by byte. */
#include "house.h"

static int setup(void **state) {
    return setup_with(state, (struct gateway_options){0});
}
static int setup_small(void **state) {
    return setup_with(state, (struct gateway_options){.body_bytes = 10, .keepalive_ms = 10});
}

static void test_head_and_body_go_through_and_connections_are_kept(void **state) {
    struct world *world = *state;
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("POST /a?b HTTP/1.1\r\nHost: app.x\r\nContent-Length: 3\r\nConnection: "
                            "keep-alive, x-hop\r\nX-Hop: 1\r\n"
                            "X-Forwarded-For: 1.2.3.4\r\nx_forwarded_for: 6.6.6.6\r\nTE: gzip, "
                            "trailers\r\nX-Keep: 2\r\n\r\nabc"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "\r\n\r\nabc");
    assert_true(span_starts(text_span(&app.got), "POST /a?b HTTP/1.1\r\nHost: app.x\r\n"));
    assert_non_null(strstr(app.got.data, "\r\nTE: trailers\r\n"));
    assert_non_null(strstr(app.got.data, "\r\nX-Keep: 2\r\n"));
    assert_non_null(strstr(app.got.data, "\r\nX-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n"));
    assert_non_null(strstr(app.got.data, "\r\nX-Forwarded-Proto: http\r\n"));
    assert_non_null(strstr(app.got.data, "\r\nX-Forwarded-Host: app.x\r\n"));
    assert_non_null(strstr(app.got.data, "\r\nContent-Length: 3\r\n"));
    assert_null(strcasestr(app.got.data, "x-hop"));
    peer_send(&app, SPAN("HTTP/1.1 201 Made\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: "
                         "timeout=5\r\nX-A: b\r\n\r\nok"));
    peer_wait(&client, "\r\n\r\nok");
    assert_non_null(strstr(client.got.data, "HTTP/1.1 201 Made\r\n"));
    assert_non_null(strstr(client.got.data, "X-A: b\r\n"));
    assert_null(strcasestr(client.got.data, "keep-alive"));
    assert_int_equal(fake_pool.done, 1);

    forget(&app);
    forget(&client);
    peer_send(&client, SPAN("GET /second HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    peer_wait(&app, "GET /second");
    peer_send(&app,
              SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"));
    peer_wait(&client, "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
    assert_int_equal(fake_pool.connected, 1); /* the same connection */
    peer_close(&app);
    peer_close(&client);
}

static void test_a_kept_connection_that_died_is_replaced_unseen(void **state) {
    struct world *world = *state;
    struct peer client, app, second;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("GET /1 HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "GET /1");
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"));
    peer_wait(&client, "\r\n\r\n1");
    peer_send(&client, SPAN("GET /2 HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    peer_wait(&app, "GET /2");
    peer_close(&app); /* read, but not a byte of an answer */
    turn(world, &client);
    app_accept(world, &second);
    peer_wait(&second, "GET /2");
    peer_send(&second, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"));
    peer_wait(&client, "\r\n\r\n2");
    assert_int_equal(fake_pool.made, 2); /* it kept its slot */
    peer_close(&second);
    peer_close(&client);
}

static void test_a_post_is_not_sent_twice(void **state) {
    struct world *world = *state;
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("POST /1 HTTP/1.1\r\nHost: app.x\r\nContent-Length: 0\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "POST /1");
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"));
    peer_wait(&client, "\r\n\r\n1");
    peer_send(&client,
              SPAN("POST /2 HTTP/1.1\r\nHost: app.x\r\nAccept: text/plain\r\nContent-Length: 1\r\n\r\nx"));
    peer_wait(&app, "POST /2");
    peer_close(&app);
    turn(world, &client); /* the pool may know why, in a moment */
    fake_pool_refuse(NAP_REASON_CONTAINER_DIED, "app.serve: the container ended: killed by signal 11", 0);
    peer_wait(&client, "killed by signal 11");
    assert_non_null(strstr(client.got.data, "HTTP/1.1 502 "));
    assert_non_null(strstr(client.got.data, "Content-Type: text/plain"));
    peer_close(&client);
}

static void test_an_unreachable_container_means_another_slot(void **state) {
    static const char *const news[] = {"the pool tells that it died", NULL /* nobody tells anything */};
    struct world *world = *state;
    for (size_t i = 0; i < COUNT(news); i++) {
        struct peer client, app;
        fake_pool.made = 0;
        fake_pool.refused_port = 1;
        peer_open(&client, world->loop, world->port);
        peer_send(&client, SPAN("POST / HTTP/1.1\r\nHost: app.x\r\nContent-Length: 2\r\n\r\nhi"));
        turn(world, &client);
        assert_int_equal(fake_pool.made, 1); /* its slot is not asked for again at once */
        if (news[i]) {
            fake_pool_refuse(NAP_REASON_CONTAINER_DIED, news[i], 0);
        } else {
            for (int round = 0; fake_pool.made < 2 && round < 500; round++) {
                io_timer_arm(client.deadline, 10);
                io_loop_run(world->loop);
            }
            client.late = false;
        }
        app_accept(world, &app);
        peer_wait(&app, "\r\n\r\nhi");
        assert_int_equal(fake_pool.made, 2);
        peer_close(&app);
        peer_wait(&client, "CONTAINER_BROKE");
        assert_non_null(strstr(client.got.data, "HTTP/1.1 502 "));
        peer_close(&client);
    }
}

static void test_what_may_have_killed_its_container_is_not_given_to_another(void **state) {
    struct world *world = *state;
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("GET /1 HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "GET /1");
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"));
    peer_wait(&client, "\r\n\r\n1");
    peer_send(&client, SPAN("GET /crash HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    peer_wait(&app, "GET /crash");
    fake_pool.refused_port = 1; /* the app is gone: the kept connection breaks, and there is no new one */
    peer_close(&app);
    turn(world, &client);
    fake_pool_refuse(NAP_REASON_CONTAINER_DIED, "app.serve: the container ended: killed by signal 6", 0);
    peer_wait(&client, "killed by signal 6");
    assert_non_null(strstr(client.got.data, "HTTP/1.1 502 "));
    assert_int_equal(fake_pool.made, 2);
    peer_close(&client);
}

static void test_requests_wait_for_the_wake_and_a_client_that_leaves_waits_no_more(void **state) {
    struct world *world = *state;
    struct peer held, leaving, app;
    fake_pool.state = NAP_ASLEEP;
    peer_open(&held, world->loop, world->port);
    peer_open(&leaving, world->loop, world->port);
    peer_send(&held, SPAN("POST / HTTP/1.1\r\nHost: app.x\r\nContent-Length: 5\r\n\r\nhello"));
    peer_send(&leaving, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    turn(world, &held);
    assert_int_equal(fake_pool_waiting(), 2);
    peer_close(&leaving);
    turn(world, &held);
    assert_int_equal(fake_pool_waiting(), 1);
    fake_pool_wake();
    turn(world, &held);
    app_accept(world, &app);
    peer_wait(&app, "\r\n\r\nhello");
    peer_close(&held); /* and one that leaves while the app works takes the app's connection with it */
    peer_wait(&app, NULL);
    assert_int_equal(fake_pool_waiting(), 0);
    peer_close(&app);
}

/* clang-format off */
static void test_refusals_have_status_reason_and_retry_after(void **state) {
    struct world *world = *state;
    static const struct { enum nap_reason reason; int64_t retry_ms; const char *status, *needle; } rows[] = {
        {NAP_REASON_QUEUE_FULL, 0, "503", "Retry-After: 1\r\n"},
        {NAP_REASON_BACKOFF, 4200, "503", "Retry-After: 5\r\n"},
        {NAP_REASON_START_FAILED, 0, "503", "\"reason\":\"START_FAILED\""},
        {NAP_REASON_START_TIMEOUT, 0, "504", "\"code\":\"DEADLINE_EXCEEDED\""},
        {NAP_REASON_TIMEOUT, 0, "504", "\"reason\":\"TIMEOUT\""},
        {NAP_REASON_CONTAINER_DIED, 0, "502", "\"error\":\"why \\\"it\\\" is\""},
        {NAP_REASON_REMOVED, 0, "404", "REMOVED"},
        {NAP_REASON_STOPPED, 0, "503", "STOPPED"},
        {NAP_REASON_BUSY_GROUP, 100, "503", "\"retry_after_ms\":100"},
    };
    fake_pool.state = NAP_ASLEEP;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct peer client;
        peer_open(&client, world->loop, world->port);
        peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\nConnection: close\r\n\r\n"));
        turn(world, &client);
        fake_pool_refuse(rows[i].reason, "why \"it\" is", rows[i].retry_ms);
        peer_wait(&client, NULL);
        char status[24];
        snprintf(status, sizeof status, "HTTP/1.1 %s ", rows[i].status);
        if (!strstr(client.got.data, status) || !strstr(client.got.data, rows[i].needle))
            fail_msg("%s and '%s' expected: %s", status, rows[i].needle, client.got.data);
        peer_close(&client);
    }
}
/* clang-format on */

static void test_a_browser_sees_a_page_while_others_are_held(void **state) {
    struct world *world = *state;
    fake_pool.state = NAP_ASLEEP;
    scoped_string char *page = peer_ask(world->loop, world->port,
                                        SPAN("GET / HTTP/1.1\r\nHost: app.x\r\nConnection: close\r\nAccept: "
                                             "text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\n\r\n"));
    assert_non_null(strstr(page, "HTTP/1.1 503 "));
    assert_non_null(strstr(page, "app is waking up"));
    assert_non_null(strstr(page, "Stage: mounting"));
    assert_non_null(strstr(page, "It usually takes 1.5 s"));
    assert_int_equal(fake_pool.wakes, 1);
    assert_int_equal(fake_pool_waiting(), 0);
    scoped_string char *nowhere =
        peer_ask(world->loop, world->port, SPAN("GET / HTTP/1.1\r\nHost: <b>\r\n\r\n"));
    assert_non_null(strstr(nowhere, "HTTP/1.1 400 "));
    scoped_string char *unknown =
        peer_ask(world->loop, world->port,
                 SPAN("GET / HTTP/1.1\r\nHost: other.x\r\nConnection: close\r\nAccept: text/html\r\n\r\n"));
    assert_non_null(strstr(unknown, "HTTP/1.1 404 "));
    assert_non_null(strstr(unknown, "catnap ps"));
    assert_null(strstr(unknown, "serve"));
}

static void test_an_event_stream_that_asks_for_comments_gets_them(void **state) {
    struct world *world = *state;
    struct peer client, app;
    fake_pool.state = NAP_ASLEEP;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\nAccept: text/event-stream\r\nCatnap-Keepalive: "
                            "comments\r\n\r\n"));
    peer_wait(&client, "\r\na\r\n: waking\n\n\r\na\r\n: waking\n\n");
    fake_pool_wake();
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "GET /");
    peer_send(
        &app,
        SPAN("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: 1\n\n"));
    peer_wait(&client, "data: 1\n\n\r\n0\r\n\r\n");
    peer_close(&client);
    peer_open(&client, world->loop, world->port);
    fake_pool.state = NAP_ASLEEP;
    peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\nAccept: text/event-stream\r\nCatnap-Keepalive: "
                            "comments\r\n\r\n"));
    peer_wait(&client, ": waking");
    fake_pool_refuse(NAP_REASON_START_FAILED, "it broke", 0);
    peer_wait(&client, "event: error\ndata: {\"error\":\"it broke\"");
    peer_close(&app);
    peer_close(&client);
}

static void test_100_continue_is_the_apps_word(void **state) {
    struct world *world = *state;
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    peer_send(&client,
              SPAN("PUT /x HTTP/1.1\r\nHost: app.x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "Expect: 100-continue\r\n");
    assert_int_equal(client.got.size, 0);
    peer_send(&app, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
    peer_wait(&client, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_send(&client, SPAN("body"));
    peer_wait(&app, "\r\n\r\nbody");
    peer_send(&app, SPAN("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"));
    peer_wait(&client, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n");
    assert_null(strstr(client.got.data, "Content-Length"));
    peer_close(&app);
    peer_close(&client);
}

static void test_an_upgrade_is_a_pipe_both_ways(void **state) {
    struct world *world = *state;
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("GET /ws HTTP/1.1\r\nHost: app.x\r\nConnection: Upgrade\r\nUpgrade: "
                            "websocket\r\nSec-WebSocket-Key: k\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "Connection: Upgrade\r\n\r\n");
    assert_non_null(strstr(app.got.data, "Upgrade: websocket\r\n"));
    peer_send(
        &app,
        SPAN("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst"));
    peer_wait(&client, "\r\n\r\nfirst");
    peer_send(&client, SPAN("GET / HTTP/1.1\r\n\r\n\x81"));
    peer_wait(&app, "\r\n\r\nGET / HTTP/1.1\r\n\r\n\x81");
    peer_send(&client, SPAN("last"));
    shutdown(client.fd, SHUT_WR);
    peer_wait(&app, NULL);
    assert_true(span_ends(text_span(&app.got), "last"));
    peer_close(&app);
    turn(world, &client);
    assert_int_equal(fake_pool_waiting(), 0);
    peer_close(&client);
}

static void test_bodies_over_the_limit_are_refused(void **state) {
    struct world *world = *state;
    scoped_string char *declared = peer_ask(
        world->loop, world->port,
        SPAN("POST / HTTP/1.1\r\nHost: app.x\r\nContent-Length: 11\r\nConnection: close\r\n\r\n01234567890"));
    assert_non_null(strstr(declared, "HTTP/1.1 413 "));
    scoped_string char *chunked =
        peer_ask(world->loop, world->port,
                 SPAN("POST / HTTP/1.1\r\nHost: app.x\r\nTransfer-Encoding: chunked\r\nConnection: "
                      "close\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"));
    assert_non_null(strstr(chunked, "HTTP/1.1 413 "));
}

/* clang-format off */
static void test_answers_that_are_no_http_become_502(void **state) {
    struct world *world = *state;
    static const struct { const char *answer, *needle; } rows[] = {
        {"hello\r\n\r\n", "NO_HTTP"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "NO_HTTP"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "NO_HTTP"},
        {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "NO_HTTP"},
        {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "NO_HTTP"},
        {"HTTP/1.1 002 OK\r\nContent-Length: 0\r\n\r\n", "NO_HTTP"},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "NO_HTTP"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct peer client, app;
        peer_open(&client, world->loop, world->port);
        peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n\r\n"));
        turn(world, &client);
        app_accept(world, &app);
        peer_send(&app, span_of(rows[i].answer));
        peer_wait(&client, rows[i].needle);
        if (!strstr(client.got.data, "HTTP/1.1 502 "))
            fail_msg("'%s' gives %s", rows[i].answer, client.got.data);
        peer_close(&app);
        peer_close(&client);
    }
}
/* clang-format on */

static void test_an_answer_cut_in_the_middle_is_seen_as_broken(void **state) {
    struct world *world = *state;
    struct peer client, app;
    peer_open(&client, world->loop, world->port);
    peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    peer_wait(&client, "abc");
    peer_close(&app);
    peer_wait(&client, NULL);
    assert_false(span_ends(text_span(&client.got), "0\r\n\r\n"));
    peer_close(&client);
}

static void test_published_ports_open_and_close_with_their_functions(void **state) {
    struct world *world = *state;
    struct peer client, app;
    int probe = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(probe, (struct sockaddr *)&address, size), 0);
    getsockname(probe, (struct sockaddr *)&address, &size);
    uint16_t port = ntohs(address.sin_port);
    fake_pool.function.spec.publish = port;
    fake_pool.changed(fake_pool.changed_owner);
    assert_non_null(strstr(gateway_publish_trouble(world->gateway, port), "taken")); /* the probe has it */
    close(probe);
    fake_pool.changed(fake_pool.changed_owner);
    assert_null(gateway_publish_trouble(world->gateway, port));
    peer_open(&client, world->loop, port);
    peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: whatever\r\n\r\n"));
    turn(world, &client);
    app_accept(world, &app);
    peer_wait(&app, "Host: whatever\r\n");
    fake_pool.function.spec.publish = 0;
    fake_pool.changed(fake_pool.changed_owner);
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); /* what is at work ends well */
    peer_wait(&client, "\r\n\r\nok");
    peer_close(&app);
    peer_close(&client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_head_and_body_go_through_and_connections_are_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_kept_connection_that_died_is_replaced_unseen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_post_is_not_sent_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_unreachable_container_means_another_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_may_have_killed_its_container_is_not_given_to_another,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_requests_wait_for_the_wake_and_a_client_that_leaves_waits_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_have_status_reason_and_retry_after, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_browser_sees_a_page_while_others_are_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_event_stream_that_asks_for_comments_gets_them, setup_small,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_100_continue_is_the_apps_word, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_upgrade_is_a_pipe_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies_over_the_limit_are_refused, setup_small, teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_are_no_http_become_502, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_answer_cut_in_the_middle_is_seen_as_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_published_ports_open_and_close_with_their_functions, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("gateway", tests, NULL, NULL);
}
