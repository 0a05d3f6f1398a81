/* Clients as the gateway sees them: what they may say about themselves, how slow and how many they may be,
 * and what ends with them. */
#include "house.h"
#include "inside.h"
#include "server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define IDLE_CONNECTIONS 10000
#define IDLE_BYTES_MAX 2048 /* of memory, for a connection on which nothing goes on */

static int setup(void **state) {
    return setup_with(state, (struct gateway_options){0});
}
static int setup_impatient(void **state) {
    return setup_with(state, (struct gateway_options){.limits = {.head_bytes = 2048,
                                                                 .head_timeout_ms = 30,
                                                                 .idle_timeout_ms = 30,
                                                                 .body_timeout_ms = 30,
                                                                 .write_timeout_ms = 30}});
}

static void ask(struct world *world, struct peer *client, struct peer *app, struct span request) {
    peer_open(client, world->loop, world->port);
    peer_send(client, request);
    turn(world, client);
    app_accept(world, app);
}

static void settle(struct world *world, size_t connections) {
    struct io_timer *timer = io_timer_new(world->loop, (void (*)(void *))io_loop_stop, world->loop);
    for (int i = 0; i < 10000 && http_server_connections(world->gateway->server) != connections; i++) {
        io_timer_arm(timer, 1);
        io_loop_run(world->loop);
    }
    io_timer_free(timer);
    assert_int_equal(http_server_connections(world->gateway->server), connections);
}

/* A client with that address, as the server would have it from accept. */
static void peer_from(struct peer *peer, struct world *world, const char *address) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    *peer = (struct peer){.loop = world->loop, .fd = pair[0]};
    assert_ok(io_watch_new(world->loop, peer->fd, IO_READABLE, peer_ready, peer, &peer->watch));
    peer->deadline = io_timer_new(world->loop, peer_late, peer);
    connection_open(world->gateway->server, pair[1], NULL, NULL, address);
}

/* clang-format off */
static void test_who_says_whom_it_forwards_is_believed_on_this_machine_only(void **state) {
    struct world *world = *state;
    static const char said[] = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
                               "X-Forwarded-Host: shop.example\r\n";
    static const struct { const char *peer, *fields, *got[3]; } rows[] = {
        {"127.0.0.1:5", said, {"X-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n", "X-Forwarded-Proto: https\r\n",
                               "X-Forwarded-Host: shop.example\r\n"}},
        {"[::1]:5", said, {"X-Forwarded-For: 1.2.3.4, ::1\r\n", "X-Forwarded-Proto: https\r\n",
                           "X-Forwarded-Host: shop.example\r\n"}},
        {"unix", said, {"X-Forwarded-For: 1.2.3.4, unix\r\n", "X-Forwarded-Proto: https\r\n",
                        "X-Forwarded-Host: shop.example\r\n"}},
        {"127.0.0.1:5", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8, 9.9.9.9\r\n",
         {"X-Forwarded-For: 1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1\r\n", "", ""}},
        {"203.0.113.9:5", said, {"X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-Proto: http\r\n",
                                 "X-Forwarded-Host: app.x\r\n"}},
        {"[2001:db8::7]:5", said, {"X-Forwarded-For: 2001:db8::7\r\n", "X-Forwarded-Proto: http\r\n",
                                   "X-Forwarded-Host: app.x\r\n"}},
        {"1127.0.0.1:5", said, {"X-Forwarded-For: 1127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n",
                                "X-Forwarded-Host: app.x\r\n"}},
        {"203.0.113.9:5", "X_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: https\r\n",
         {"X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Host: app.x\r\n"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct peer client, app;
        peer_from(&client, world, rows[i].peer);
        peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n"));
        peer_send(&client, span_of(rows[i].fields));
        peer_send(&client, SPAN("\r\n"));
        turn(world, &client);
        app_accept(world, &app);
        peer_wait(&app, "\r\n\r\n");
        for (size_t n = 0; n < COUNT(rows[i].got); n++)
            if (!strstr(app.got.data, rows[i].got[n]))
                fail_msg("from %s: '%s' expected: %s", rows[i].peer, rows[i].got[n], app.got.data);
        if (strcasestr(app.got.data, "6.6.6.6") || strcasestr(app.got.data, "_proto"))
            fail_msg("from %s: %s", rows[i].peer, app.got.data);
        peer_close(&app);
        peer_close(&client);
    }
}

static void test_fields_of_one_hop_end_there(void **state) {
    struct world *world = *state;
    static const struct { const char *sent, *gone, *stays; } up[] = {
        {"Connection: close\r\n", "close", ""},
        {"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-Stay: 2\r\n", "X-Hop", "X-Stay: 2\r\n"},
        {"Connection: keep-alive\r\nConnection: X-Hop\r\nX-Hop: 1\r\n", "X-Hop", ""},
        {"Connection: X-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789\r\n"
         "X-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789: 1\r\n", "X-0", ""},
        {"Keep-Alive: timeout=5\r\n", "Keep-Alive", ""},
        {"Proxy-Authorization: secret\r\n", "secret", ""},
        {"Proxy-Connection: keep-alive\r\n", "Proxy-", ""},
        {"Upgrade: h2c\r\nHTTP2-Settings: x\r\n", "h2c", ""},
        {"TE: trailers, deflate\r\n", "deflate", "TE: trailers\r\n"},
        {"TE: deflate\r\n", "TE:", ""},
        {"Authorization: mine\r\nCookie: a=b\r\n", "\r\nConnection",
         "Authorization: mine\r\nCookie: a=b\r\n"},
    };
    static const struct { const char *sent, *gone, *stays; } down[] = {
        {"Connection: X-Hop\r\nX-Hop: 1\r\nX-Stay: 2\r\n", "X-Hop", "X-Stay: 2\r\n"},
        {"Keep-Alive: timeout=5\r\nConnection: keep-alive\r\n", "Keep-Alive", ""},
        {"Proxy-Authenticate: Basic\r\n", "Proxy-", ""},
        {"Upgrade: h2\r\n", "Upgrade", ""},
        {"Set-Cookie: a\r\nSet-Cookie: b\r\n", "\r\nConnection", "Set-Cookie: a\r\nSet-Cookie: b\r\n"},
        {"Date: then\r\nServer: app\r\n", "GMT", "Date: then\r\nServer: app\r\n"},
    };
    for (size_t i = 0; i < COUNT(up) || i < COUNT(down); i++) {
        struct peer client, app;
        peer_open(&client, world->loop, world->port);
        peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n"));
        peer_send(&client, span_of(i < COUNT(up) ? up[i].sent : ""));
        peer_send(&client, SPAN("\r\n"));
        turn(world, &client);
        app_accept(world, &app);
        peer_wait(&app, "\r\n\r\n");
        if (i < COUNT(up) && (strcasestr(app.got.data, up[i].gone) || !strstr(app.got.data, up[i].stays)))
            fail_msg("'%s' went up as: %s", up[i].sent, app.got.data);
        peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"));
        peer_send(&app, span_of(i < COUNT(down) ? down[i].sent : ""));
        peer_send(&app, SPAN("\r\n"));
        peer_wait(&client, "\r\n\r\n");
        const char *got = client.got.data;
        if (i > 0 && i < COUNT(down) && (strcasestr(got, down[i].gone) || !strstr(got, down[i].stays)))
            fail_msg("'%s' came down as: %s", down[i].sent, client.got.data);
        peer_close(&app);
        peer_close(&client);
    }
}
/* clang-format on */

static void test_only_a_navigation_sees_the_page(void **state) {
    struct world *world = *state;
    static const char *const rows[] = {
        "Accept: text/html\r\n",                                    /* a program that likes HTML */
        "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n",            /* a script on a page */
        "Accept: application/json\r\nSec-Fetch-Mode: navigate\r\n", /* would not show it */
        "",
    };
    fake_pool.state = NAP_ASLEEP;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct peer client;
        peer_open(&client, world->loop, world->port);
        peer_send(&client, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n"));
        peer_send(&client, span_of(rows[i]));
        peer_send(&client, SPAN("\r\n"));
        turn(world, &client);
        assert_int_equal(fake_pool_waiting(), 1); /* held */
        assert_int_equal(client.got.size, 0);
        peer_close(&client);
        settle(world, 0);
        assert_int_equal(fake_pool_waiting(), 0);
    }
}

/* ---- slow ---- */

static void test_slow_clients_are_let_go_and_their_apps_with_them(void **state) {
    struct world *world = *state;
    struct peer client, app;
    scoped_string char *in_head =
        peer_ask(world->loop, world->port, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\nX: "));
    assert_non_null(strstr(in_head, "HTTP/1.1 408 "));
    ask(world, &client, &app, SPAN("POST / HTTP/1.1\r\nHost: app.x\r\nContent-Length: 9\r\n\r\nabc"));
    peer_wait(&client, "HTTP/1.1 408 "); /* the rest does not come */
    peer_wait(&app, NULL);
    peer_close(&app);
    peer_close(&client);
}

static void test_a_client_that_takes_nothing_is_let_go(void **state) {
    struct world *world = *state;
    struct peer client, app;
    scoped_text struct text much = {0};
    ask(world, &client, &app, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    io_watch_set(client.watch, 0); /* it reads no more */
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
    memset(text_reserve(&much, 4096), 'x', 4096);
    int flags = fcntl(app.fd, F_GETFL);
    fcntl(app.fd, F_SETFL, flags | O_NONBLOCK);
    for (int i = 0; i < 100000 && !app.closed; i++) { /* until the gateway ends it */
        ssize_t sent = send(app.fd, "1000\r\n", 6, MSG_NOSIGNAL);
        if (sent == 6) send(app.fd, much.data, 4096, MSG_NOSIGNAL);
        io_timer_arm(app.deadline, sent == 6 ? 0 : 5);
        io_loop_run(world->loop);
        app.late = false;
    }
    assert_true(app.closed);
    assert_int_equal(fake_pool_waiting(), 0); /* and its slot is free */
    peer_close(&app);
    peer_close(&client);
}

static void test_a_head_beyond_the_limit_goes_no_further(void **state) {
    struct world *world = *state;
    scoped_text struct text bytes = {0};
    text_add_string(&bytes, "GET / HTTP/1.1\r\nHost: app.x\r\nX: ");
    for (int i = 0; i < 3000; i++) text_add_char(&bytes, 'x');
    text_add_string(&bytes, "\r\n\r\n");
    scoped_string char *answer = peer_ask(world->loop, world->port, text_span(&bytes));
    assert_non_null(strstr(answer, "HTTP/1.1 431 "));
    assert_int_equal(fake_pool.made, 0);
}

/* ---- many ---- */

static size_t resident_bytes(void) {
    scoped_text struct text text = {0};
    assert_ok(file_read("/proc/self/statm", 4096, &text));
    struct span rest = text_span(&text);
    uint64_t pages = 0;
    span_cut(&rest, ' ');
    span_to_u64(span_cut(&rest, ' '), &pages);
    return (size_t)pages * 4096;
}

/* In a process of their own: the limit of descriptors is one of each process. Ends when its standard input
 * does. */
static pid_t idle_clients(uint16_t port, int *ret_leash) {
    int leash[2];
    assert_int_equal(pipe2(leash, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) {
        close(leash[0]);
        *ret_leash = leash[1];
        return child;
    }
    close(leash[1]);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < IDLE_CONNECTIONS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) _exit(1);
    }
    char byte;
    _exit(read(leash[0], &byte, 1) == 0 ? 0 : 1);
}

static void test_ten_thousand_idle_connections(void **state) {
    struct world *world = *state;
    int leash, status;
    size_t before = resident_bytes();
    pid_t child = idle_clients(world->port, &leash);
    settle(world, IDLE_CONNECTIONS);
#ifndef __SANITIZE_ADDRESS__
    assert_true((resident_bytes() - before) / IDLE_CONNECTIONS < IDLE_BYTES_MAX);
#else
    (void)before;
#endif
    struct peer client, app; /* one more is served as if it were alone */
    ask(world, &client, &app, SPAN("GET / HTTP/1.1\r\nHost: app.x\r\n\r\n"));
    peer_wait(&app, "\r\n\r\n");
    peer_send(&app, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    peer_wait(&client, "\r\n\r\nok");
    peer_close(&app);
    peer_close(&client);
    close(leash);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    settle(world, 0);
}

static int setup_many(void **state) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < IDLE_CONNECTIONS + 100) skip();
    return setup_with(state, (struct gateway_options){.limits = {.connections = IDLE_CONNECTIONS + 10,
                                                                 .head_timeout_ms = 600000}});
}

/* Who comes when there is no place waits for one; it is neither refused nor lost. */
static void test_one_connection_too_many_waits_for_its_turn(void **state) {
    struct world *world = *state;
    struct peer first, second, third;
    peer_open(&first, world->loop, world->port);
    peer_open(&second, world->loop, world->port);
    peer_open(&third, world->loop, world->port);
    peer_send(&third, SPAN("GET / HTTP/1.1\r\nHost: nobody.x\r\nConnection: close\r\n\r\n"));
    settle(world, 2);
    turn(world, &third);
    assert_int_equal(third.got.size, 0);
    peer_close(&first);
    peer_wait(&third, "HTTP/1.1 404 ");
    peer_close(&second);
    peer_close(&third);
}

static int setup_two(void **state) {
    return setup_with(state, (struct gateway_options){.limits = {.connections = 2}});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_says_whom_it_forwards_is_believed_on_this_machine_only,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields_of_one_hop_end_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_a_navigation_sees_the_page, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_clients_are_let_go_and_their_apps_with_them,
                                        setup_impatient, teardown),
        cmocka_unit_test_setup_teardown(test_a_client_that_takes_nothing_is_let_go, setup_impatient,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_head_beyond_the_limit_goes_no_further, setup_impatient,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_ten_thousand_idle_connections, setup_many, teardown),
        cmocka_unit_test_setup_teardown(test_one_connection_too_many_waits_for_its_turn, setup_two, teardown),
    };
    return cmocka_run_group_tests_name("gateway clients", tests, NULL, NULL);
}
