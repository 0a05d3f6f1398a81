/* The server against raw bytes: what is one request, what is none, and what a connection lives through. */
#include "http.h"
#include "peer.h"

struct world {
    struct io_loop *loop;
    struct http_server *server;
    uint16_t port;
    int gone, requests;
    bool over;
    struct http_exchange *held;
};

static struct world *world_of(struct http_exchange *exchange) {
    return http_exchange_tag(exchange);
}

static void echo(struct http_exchange *exchange, struct span body, struct error *error) {
    if (error) {
        http_respond_error(exchange, error);
        return;
    }
    static const char *const fields[] = {"X-Echo", "yes", NULL};
    http_respond(exchange, 200, fields, body);
}

static void on_piece(struct http_exchange *exchange, struct span bytes) {
    http_respond_write(exchange, bytes);
}

static void on_piece_end(struct http_exchange *exchange, struct error *error) {
    assert_null(error);
    size_t count;
    const struct http_field *trailers = http_exchange_trailers(exchange, &count);
    http_respond_end_trailers(exchange, trailers, count);
}

static void on_gone(struct http_exchange *exchange) {
    struct world *world = world_of(exchange);
    world->gone++;
    world->held = NULL;
    http_exchange_release(exchange);
    if (!world->over) io_loop_stop(world->loop);
}

static void on_request(void *owner, struct http_exchange *exchange) {
    struct world *world = owner;
    world->requests++;
    struct span path = http_exchange_path(exchange);
    if (span_is(path, "/echo")) {
        http_exchange_read_all(exchange, 100000, echo);
    } else if (span_is(path, "/stream")) {
        http_respond_begin(exchange, 200, NULL, HTTP_CHUNKED);
        http_exchange_read(exchange, on_piece, on_piece_end);
    } else if (span_is(path, "/hold")) {
        world->held = exchange;
        http_exchange_on_gone(exchange, on_gone);
        io_loop_stop(world->loop);
    } else if (span_is(path, "/short")) {
        http_respond_begin(exchange, 200, NULL, 10);
        http_respond_write(exchange, SPAN("abc"));
        http_respond_end(exchange);
    } else if (span_is(path, "/upgrade")) {
        struct http_field fields[] = {{SPAN("Upgrade"), SPAN("echo")}};
        http_respond_upgrade(exchange, &(struct http_head){.fields = fields, .field_count = 1});
        http_exchange_read(exchange, on_piece, on_piece_end);
    } else {
        http_respond(exchange, 200, NULL, path);
    }
}

static int setup_with(void **state, struct http_limits limits) {
    struct world *world = NEW(struct world);
    world->loop = io_loop_new();
    world->server = http_server_new(&(struct http_server_options){
        .loop = world->loop, .limits = limits, .on_request = on_request, .owner = world});
    assert_ok(http_server_listen(world->server, "127.0.0.1:0", world, &world->port));
    *state = world;
    return 0;
}

static int setup(void **state) {
    return setup_with(state, (struct http_limits){.head_bytes = 4096});
}
static int setup_impatient(void **state) {
    return setup_with(
        state, (struct http_limits){.head_timeout_ms = 20, .idle_timeout_ms = 20, .body_timeout_ms = 20});
}
static int setup_small(void **state) {
    return setup_with(state, (struct http_limits){.held_bytes = 100000});
}
static int setup_patient(void **state) { /* with somebody who says something all the time */
    return setup_with(state, (struct http_limits){.head_timeout_ms = 300, .idle_timeout_ms = 300});
}

static int teardown(void **state) {
    struct world *world = *state;
    world->over = true;
    http_server_free(world->server);
    io_loop_free(world->loop);
    free(world);
    return 0;
}

#define POST "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* clang-format off */
static void test_each_head_gets_its_status(void **state) {
    struct world *world = *state;
    static const struct { const char *bytes; int status; } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200},
        {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200},
        {"GET / HTTP/1.0\r\n\r\n", 200},
        {"GET http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200},
        {"GET / HTTP/1.1\r\n\r\n", 400},                                               /* no Host */
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: a\n\n", 400},                                          /* bare LF */
        {"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc: d\r\n\r\n", 400},                      /* bare CR */
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},                      /* folded */
        {"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400},              /* blank before the colon */
        {"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400},                             /* no name */
        {"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400},
        {"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\r\n\r\n", 505},                                                        /* HTTP/0.9 */
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"FETCH / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400},
        {POST "Content-Length: 1, 1\r\n\r\na", 400},
        {POST "Content-Length: +1\r\n\r\na", 400},
        {POST "Content-Length: -1\r\n\r\na", 400},
        {POST "Content-Length: 0x1\r\n\r\na", 400},
        {POST "Content-Length: 99999999999999999999\r\n\r\na", 400},
        {POST "Content-Length: 18446744073709551615\r\n\r\na", 400},
        {POST "Content-Length:\r\n\r\na", 400},
        {POST "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
        {POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
        {POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding:\x0b" "chunked\r\n\r\n0\r\n\r\n", 400},
        {CHUNKED "0x1\r\na\r\n0\r\n\r\n", 400},
        {CHUNKED "1\na\r\n0\r\n\r\n", 400},
        {CHUNKED "1 \r\na\r\n0\r\n\r\n", 400},
        {CHUNKED "1\r\nab\r\n0\r\n\r\n", 400},
        {CHUNKED "1;a\nb\r\na\r\n0\r\n\r\n", 400},
        {CHUNKED "-1\r\na\r\n0\r\n\r\n", 400},
        {CHUNKED "fffffffffffffffff\r\na\r\n0\r\n\r\n", 400},
        {CHUNKED "0\r\nX: a\n\r\n\r\n", 400},
        {CHUNKED "0\r\n: a\r\n\r\n", 400},
        {POST "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0\r\nX: a\r\n\r\n", 200},
        {POST "Connection: close\r\nExpect: a-lot\r\nContent-Length: 1\r\n\r\na", 417},
        {POST "Connection: close\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n", 413},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *answer = peer_ask(world->loop, world->port, span_of(rows[i].bytes));
        char expected[16];
        char minor = strstr(rows[i].bytes, "HTTP/1.0") && rows[i].status == 200 ? '0' : '1';
        snprintf(expected, sizeof expected, "HTTP/1.%c %d ", minor, rows[i].status);
        if (strncmp(answer, expected, strlen(expected)) != 0)
            fail_msg("'%s' gets '%s' instead of '%s'", rows[i].bytes, answer, expected);
    }
}
/* clang-format on */

static void test_a_head_beyond_the_limit(void **state) {
    struct world *world = *state;
    scoped_text struct text bytes = {0};
    text_add_string(&bytes, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    for (int i = 0; i < 5000; i++) text_add_char(&bytes, 'x');
    scoped_string char *endless = peer_ask(world->loop, world->port, text_span(&bytes));
    assert_non_null(strstr(endless, "HTTP/1.1 431 "));
    text_add_string(&bytes, "\nY: a\n\n"); /* what is wrong behind the limit does not count */
    scoped_string char *broken = peer_ask(world->loop, world->port, text_span(&bytes));
    assert_non_null(strstr(broken, "HTTP/1.1 431 "));
    text_clear(&bytes);
    text_add_string(&bytes, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 250; i++) text_add_string(&bytes, "X: x\r\n");
    text_add_string(&bytes, "\r\n");
    scoped_string char *many = peer_ask(world->loop, world->port, text_span(&bytes));
    assert_non_null(strstr(many, "HTTP/1.1 431 "));
    assert_int_equal(world->requests, 0);
}

static void test_a_request_that_comes_byte_by_byte(void **state) {
    struct world *world = *state;
    static const char bytes[] = POST "Transfer-Encoding: "
                                     "chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
    struct peer peer;
    peer_open(&peer, world->loop, world->port);
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        peer_send(&peer, (struct span){bytes + i, 1});
        io_timer_arm(peer.deadline, 0); /* one round of the loop */
        io_loop_run(world->loop);
        peer.late = false;
    }
    peer_wait(&peer, "abcde");
    peer_close(&peer);
}

static void test_pipelined_requests_are_answered_in_order(void **state) {
    struct world *world = *state;
    scoped_string char *answer =
        peer_ask(world->loop, world->port,
                 SPAN("GET /a HTTP/1.1\r\nHost: a\r\n\r\n" POST "Content-Length: 3\r\n\r\nbbb"
                      "POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET"
                      "GET /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                      "GET /e HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(world->requests, 4); /* nothing behind Connection: close */
    const char *a = strstr(answer, "\r\n\r\n/a"), *b = strstr(answer, "\r\n\r\nbbb"),
               *c = strstr(answer, "\r\n\r\n/c"), *d = strstr(answer, "\r\n\r\n/d");
    assert_true(a && b && c && d && a < b && b < c && c < d);
    assert_non_null(strstr(d - 100, "Connection: close\r\n"));
}

static void test_all_bodies_that_are_gathered_have_a_bound_together(void **state) {
    struct world *world = *state;
    scoped_string char *part = mem_array(1, 60001);
    memset(part, 'x', 60000);
    struct peer first, second;
    peer_open(&first, world->loop, world->port);
    peer_send(&first, SPAN(POST "Content-Length: 60001\r\n\r\n"));
    peer_send(&first, span_of(part));
    free(peer_ask(world->loop, world->port, SPAN("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")));
    peer_open(&second, world->loop, world->port);
    peer_send(&second, SPAN(POST "Content-Length: 60001\r\n\r\n"));
    peer_send(&second, span_of(part));
    peer_wait(&second, "try again");
    assert_non_null(strstr(second.got.data, "HTTP/1.1 503 "));
    peer_close(&second);
    peer_send(&first, SPAN("y")); /* what was held before is not given up for it */
    peer_wait(&first, "xy");
    peer_close(&first);
    for (int i = 0; i < 3; i++) { /* and counts no more */
        peer_open(&second, world->loop, world->port);
        peer_send(&second, SPAN(POST "Content-Length: 60001\r\n\r\n"));
        peer_send(&second, span_of(part));
        peer_send(&second, SPAN("z"));
        peer_wait(&second, "xz");
        peer_close(&second);
    }
}

static void test_a_client_that_leaves_is_told_once(void **state) {
    struct world *world = *state;
    struct peer peer;
    peer_open(&peer, world->loop, world->port);
    peer_send(&peer, SPAN("GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    io_loop_run(world->loop);
    assert_non_null(world->held);
    peer_close(&peer);
    io_loop_run(world->loop);
    assert_int_equal(world->gone, 1);
    assert_int_equal(world->requests, 1);
}

static void test_a_waiting_client_gets_100_and_then_its_answer(void **state) {
    struct world *world = *state;
    struct peer peer;
    peer_open(&peer, world->loop, world->port);
    peer_send(&peer, SPAN(POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    peer_wait(&peer, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_send(&peer, SPAN("abc"));
    peer_wait(&peer, "\r\n\r\nabc");
    assert_non_null(strstr(peer.got.data, "HTTP/1.1 200 OK"));
    assert_null(strstr(peer.got.data, "Connection: close"));
    peer_close(&peer);
}

static void test_head_and_short_bodies(void **state) {
    struct world *world = *state;
    scoped_string char *head = peer_ask(world->loop, world->port,
                                        SPAN("HEAD /abc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert_non_null(strstr(head, "Content-Length: 4\r\n"));
    assert_true(span_ends(span_of(head), "\r\n\r\n"));
    scoped_string char *cut =
        peer_ask(world->loop, world->port, SPAN("GET /short HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_null(strstr(cut, "abc\r\n")); /* and the connection ended: the client can tell that it is broken */
}

static void test_a_streamed_body_goes_back_with_its_trailers(void **state) {
    struct world *world = *state;
    struct peer peer;
    peer_open(&peer, world->loop, world->port);
    peer_send(&peer,
              SPAN("POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
    peer_wait(&peer, "5\r\nhello\r\n");
    peer_send(&peer, SPAN("0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n"));
    peer_wait(&peer, "0\r\nX-Sum: 1\r\n\r\n");
    peer_close(&peer);
}

static void test_after_an_upgrade_bytes_are_bytes(void **state) {
    struct world *world = *state;
    struct peer peer;
    peer_open(&peer, world->loop, world->port);
    peer_send(&peer,
              SPAN("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nGET /"));
    peer_wait(&peer, "\r\n\r\nGET /");
    peer_send(&peer, SPAN("\x01\x02"));
    peer_wait(&peer, "\x01\x02");
    shutdown(peer.fd, SHUT_WR);
    peer_wait(&peer, NULL);
    assert_non_null(strstr(
        peer.got.data, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"));
    peer_close(&peer);
}

static void test_slow_clients_are_let_go(void **state) {
    struct world *world = *state;
    scoped_string char *in_head = peer_ask(world->loop, world->port, SPAN("GET / HTTP/1.1\r\nHos"));
    assert_non_null(strstr(in_head, "HTTP/1.1 408 "));
    scoped_string char *in_body =
        peer_ask(world->loop, world->port, SPAN(POST "Content-Length: 5\r\n\r\nab"));
    assert_non_null(strstr(in_body, "HTTP/1.1 408 "));
    scoped_string char *silent = peer_ask(world->loop, world->port, SPAN(""));
    assert_string_equal(silent, "");
    scoped_string char *idle = peer_ask(world->loop, world->port, SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_non_null(strstr(idle, "HTTP/1.1 200 "));
}

static void test_empty_lines_keep_no_connection(void **state) {
    struct world *world = *state;
    struct peer peer;
    peer_open(&peer, world->loop, world->port);
    for (int i = 0; i < 5000 && !peer.closed; i++) {
        peer_send(&peer, SPAN("\r\n"));
        io_timer_arm(peer.deadline, 2);
        io_loop_run(world->loop);
        peer.late = false;
    }
    assert_true(peer.closed);
    assert_int_equal(peer.got.size, 0);
    peer_close(&peer);
}

static void on_closed(void *owner) {
    io_loop_stop(((struct world *)owner)->loop);
}

static void test_closing_lets_a_busy_connection_finish(void **state) {
    struct world *world = *state;
    struct peer busy, idle;
    peer_open(&idle, world->loop, world->port);
    peer_send(&idle, SPAN("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"));
    peer_wait(&idle, "/x");
    peer_open(&busy, world->loop, world->port);
    peer_send(&busy, SPAN("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
    io_loop_run(world->loop);
    http_server_close(world->server, on_closed);
    peer_wait(&idle, NULL);
    http_respond(world->held, 200, NULL, SPAN("late"));
    peer_wait(&busy, NULL);
    assert_non_null(strstr(busy.got.data, "late"));
    while (http_server_connections(world->server) > 0) io_loop_run(world->loop);
    peer_close(&busy);
    peer_close(&idle);
}

static void test_a_taken_port_and_a_dead_socket(void **state) {
    struct world *world = *state;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", world->port);
    assert_error(http_server_listen(world->server, address, world, NULL), ERROR_ALREADY_EXISTS,
                 "taken by another process");
    assert_error(http_server_listen(world->server, "300.0.0.1:80", world, NULL), ERROR_NOT_FOUND,
                 "300.0.0.1");
    assert_error(http_server_listen(world->server, "80", world, NULL), ERROR_INVALID_ARGUMENT, "no address");
    char path[] = "/tmp/http_test_XXXXXX";
    assert_non_null(mkdtemp(path));
    scoped_string char *socket_path = path_join(path, "s");
    assert_ok(http_server_listen(world->server, socket_path, world, NULL));
    assert_error(http_server_listen(world->server, socket_path, world, NULL), ERROR_ALREADY_EXISTS,
                 "already");
    http_server_unlisten(world->server, world);
    assert_false(file_exists(socket_path));
    assert_ok(tree_remove(path));
}

struct asked {
    struct io_loop *loop;
    int status;
    struct text body;
    struct error *error;
};

static void on_asked(void *owner, struct http_answer *answer) {
    struct asked *asked = owner;
    asked->status = answer->status;
    text_add(&asked->body, answer->body);
    asked->error = answer->error;
    io_loop_stop(asked->loop);
}

static void test_the_small_client_asks(void **state) {
    struct world *world = *state;
    char address[32];
    snprintf(address, sizeof address, "localhost:%u", world->port);
    struct asked asked = {.loop = world->loop};
    const char *const fields[] = {"X-A", "b", NULL};
    struct http_ask_options options = {.loop = world->loop,
                                       .address = address,
                                       .method = "POST",
                                       .target = "/echo",
                                       .fields = fields,
                                       .body = SPAN("hello"),
                                       .timeout_ms = 10000,
                                       .done = on_asked,
                                       .owner = &asked};
    http_ask_start(&options);
    io_loop_run(world->loop);
    assert_null(asked.error);
    assert_int_equal(asked.status, 200);
    assert_string_equal(asked.body.data, "hello");

    options.address = "127.0.0.1:1";
    http_ask_start(&options);
    io_loop_run(world->loop);
    assert_error(asked.error, ERROR_UNAVAILABLE, "127.0.0.1:1");

    options.address = "/nowhere/socket";
    http_ask_start(&options);
    io_loop_run(world->loop);
    assert_error(asked.error, ERROR_NOT_FOUND, "/nowhere/socket");

    options.address = address;
    options.target = "/hold";
    options.timeout_ms = 20;
    http_ask_start(&options);
    io_loop_run(world->loop); /* the request is there */
    io_loop_run(world->loop); /* the deadline or the end of the client, and the other after it */
    if (!asked.error) io_loop_run(world->loop);
    assert_error(asked.error, ERROR_DEADLINE_EXCEEDED, "within 20 ms");
    http_ask_free(http_ask_start(&options)); /* given up at once: no callback */
    text_done(&asked.body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_head_gets_its_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_head_beyond_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_that_comes_byte_by_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelined_requests_are_answered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_bodies_that_are_gathered_have_a_bound_together, setup_small,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_client_that_leaves_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_waiting_client_gets_100_and_then_its_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_and_short_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_streamed_body_goes_back_with_its_trailers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_after_an_upgrade_bytes_are_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_clients_are_let_go, setup_impatient, teardown),
        cmocka_unit_test_setup_teardown(test_empty_lines_keep_no_connection, setup_patient, teardown),
        cmocka_unit_test_setup_teardown(test_closing_lets_a_busy_connection_finish, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_taken_port_and_a_dead_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_small_client_asks, setup, teardown),
    };
    return cmocka_run_group_tests_name("http server", tests, NULL, NULL);
}
