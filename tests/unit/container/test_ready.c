/* When an app is ready, by each of the ways to say so; and what its first process does for it: signals are
 * passed on, orphans reaped. */
#include "power.h"

static void serve_until_ready(struct core_function *function) {
    struct house *house = house_new(NULL);
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    ASSERT_SERVES(guest);
    guest_end(&guest);
    house_free(house);
}

static void test_an_app_that_listens_late(void **unused) {
    NEEDS_ROOT();
    scoped(core_function) struct core_function *function = server_function("late");
    core_function_env_add(function, "TINY_START_MS", "300");
    serve_until_ready(function);
}

static void test_an_app_that_listens_on_ipv6_alone(void **unused) {
    NEEDS_ROOT();
    scoped(core_function) struct core_function *function = server_function("six");
    core_function_env_add(function, "TINY_V6", "1");
    serve_until_ready(function);
}

static void test_a_child_may_be_the_one_who_listens(void **unused) {
    NEEDS_ROOT();
    scoped(core_function) struct core_function *function =
        shell_function("parent", "/srv/tiny/tiny_server & wait");
    function->port = 8000;
    serve_until_ready(function);
}

static void test_another_port_is_not_the_one(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "two-ports", "PORT=9000 /srv/tiny/tiny_server & until test -e /data/go; do sleep 0.01; done;"
                     "exec /srv/tiny/tiny_server");
    function->port = 8000;
    struct container_mount data = {.source = house->dir, .destination = "/data"};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &data, 1);
    int fd = -1;
    for (int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS; fd < 0;) { /* the other port is there, ... */
        if (clock_monotonic_ms() > until_ms) fail_msg("nobody listens on the other port");
        pass_time(house, 1);
        error_free(container_connect(guest.container, 9000, &fd));
    }
    close(fd);
    pass_time(house, 60);
    assert_int_equal(guest.ready, 0); /* ... and is not taken for the right one */
    scoped_string char *go = path_join(house->dir, "go");
    assert_ok(file_replace(go, SPAN(""), 0644));
    AWAIT_READY(guest);
    guest_end(&guest);
    house_free(house);
}

/* Each listen(2) asks our filter; an app that goes on listening is never left waiting for an answer. */
static void test_listening_again_and_again_goes_on_working(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "listens", "exec python3 -c \"import socket\n"
                   "for i in range(300): socket.create_server(('127.0.0.1', 8000 + i)).close()\n"
                   "print('all of them')\"");
    function->port = 8000;
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "all of them");
    house_free(house);
}

static void test_an_app_that_says_so_itself(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("notifies", "exec python3 -c \"import os, socket, time\n"
                                   "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
                                   "s.connect(os.environ['NOTIFY_SOCKET'].replace('@', chr(0)))\n"
                                   "s.send(b'STATUS=loading')\n"
                                   "l = socket.create_server(('127.0.0.1', 8000))\n"
                                   "while not os.path.exists('/data/go'): time.sleep(0.01)\n"
                                   "s.send(b'STATUS=here\\nREADY=1')\n"
                                   "time.sleep(1000)\"");
    function->port = 8000;
    function->readiness = CORE_READY_NOTIFY;
    struct container_mount data = {.source = house->dir, .destination = "/data"};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &data, 1);
    int fd = -1;
    for (int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS; fd < 0;) {
        if (clock_monotonic_ms() > until_ms) fail_msg("nobody listens");
        pass_time(house, 1);
        error_free(container_connect(guest.container, 8000, &fd));
    }
    close(fd);
    assert_int_equal(guest.ready, 0); /* it accepts, but it did not say so */
    scoped_string char *go = path_join(house->dir, "go");
    assert_ok(file_replace(go, SPAN(""), 0644));
    AWAIT_READY(guest);
    guest_end(&guest);
    house_free(house);
}

/* The socket is there before the app: a request that comes first waits in its queue. */
static void test_a_socket_that_is_handed_over(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "activated", "test $LISTEN_PID = $$ && echo for me; echo $LISTEN_FDS;"
                     "until test -e /data/go; do sleep 0.01; done; exec /srv/tiny/tiny_server");
    function->port = 8000;
    function->readiness = CORE_READY_SOCKET;
    struct container_mount data = {.source = house->dir, .destination = "/data"};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &data, 1);
    AWAIT_READY(guest);
    int fd = ask_frozen(&guest); /* nobody answers yet */
    scoped_string char *go = path_join(house->dir, "go"), *said = NULL;
    assert_ok(file_replace(go, SPAN(""), 0644));
    assert_answered(fd);
    said = guest_output(house, "activated");
    assert_string_equal(said, "for me\n1");
    guest_end(&guest);
    house_free(house);
}

static void test_a_command_without_a_port_is_ready_at_once(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("works", "exec sleep 1000");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    guest_end(&guest);
    house_free(house);
}

static void test_we_can_listen_in_there(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("calls", "exec python3 -c \"import socket, time\n"
                                "while True:\n"
                                "    try: s = socket.create_connection(('127.0.0.1', 8123)); break\n"
                                "    except OSError: time.sleep(0.01)\n"
                                "s.send(b'hello'); print(s.recv(10).decode())\"");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    int listener = -1, busy = -1;
    char word[16] = "";
    assert_ok(container_listen(guest.container, 8123, &listener));
    assert_error(container_listen(guest.container, 8123, &busy), ERROR_ALREADY_EXISTS, "port 8123");
    assert_true(await_fd(listener, POLLIN, PATIENCE_MS));
    scoped_fd int fd = accept(listener, NULL, NULL);
    assert_true(await_fd(fd, POLLIN, PATIENCE_MS));
    assert_int_equal(read(fd, word, sizeof word), 5);
    assert_string_equal(word, "hello");
    assert_int_equal(write(fd, "and back", 8), 8);
    AWAIT(guest, exited);
    scoped_string char *said = guest_output(house, "calls");
    assert_string_equal(said, "and back");
    close(listener);
    container_free(guest.container);
    house_free(house);
}

/* ---- signals and orphans ---- */

static void await_output(struct house *house, const char *function, const char *wanted) {
    for (int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;;) {
        scoped_string char *said = guest_output(house, function);
        if (strstr(said, wanted)) return;
        if (clock_monotonic_ms() > until_ms) fail_msg("'%s' instead of '%s'", said, wanted);
        pass_time(house, 1);
    }
}

static void test_signals_reach_the_app(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "hears",
        "for s in HUP USR1 USR2 WINCH; do trap \"echo heard $s\" $s; done; trap 'echo ends; exit 9' TERM;"
        "echo listens; while :; do sleep 0.01; done");
    static const struct {
        int signo;
        const char *answer;
    } signals[] = {
        {SIGHUP, "heard HUP"}, {SIGUSR1, "heard USR1"}, {SIGUSR2, "heard USR2"}, {SIGWINCH, "heard WINCH"}};
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    await_output(house, "hears", "listens");
    for (size_t i = 0; i < COUNT(signals); i++) {
        container_signal(guest.container, signals[i].signo);
        await_output(house, "hears", signals[i].answer);
    }
    container_signal(guest.container, SIGTERM);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 9);
    await_output(house, "hears", "ends");
    container_free(guest.container);
    house_free(house);
}

static void test_who_ignores_the_end_is_killed(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("stubborn");
    core_function_env_add(function, "TINY_IGNORE_TERM", "1");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    container_signal(guest.container, SIGTERM);
    ASSERT_SERVES(guest);
    guest_end(&guest);
    assert_int_equal(guest.end.signal, SIGKILL);
    house_free(house);
}

/* At whatever moment it comes, an end that is asked for is an end: also before the app exists. */
static void test_an_early_end_is_not_lost(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("early", "exec sleep 1000");
    for (int after_us = 0; after_us < 3000; after_us += 150) {
        struct guest guest;
        guest_create(house, &guest, function, (uint64_t)after_us + 1, false);
        AWAIT(guest, created);
        container_start(guest.container);
        nanosleep(&(struct timespec){.tv_nsec = after_us * 1000}, NULL);
        container_signal(guest.container, SIGTERM);
        AWAIT(guest, exited);
        container_free(guest.container);
    }
    house_free(house);
}

static void test_orphans_are_reaped(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("orphans", "exec python3 -c \"import glob, os, time\n"
                                  "for i in range(50):\n"
                                  "    if os.fork() == 0:\n"
                                  "        if os.fork() == 0: time.sleep(0.05)\n"
                                  "        os._exit(0)\n"
                                  "    os.wait()\n"
                                  "def processes(): return len(glob.glob('/proc/[0-9]*'))\n"
                                  "while processes() > 2: time.sleep(0.01)\n"
                                  "print('none left')\"");
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "none left");
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_app_that_listens_late),
        cmocka_unit_test(test_an_app_that_listens_on_ipv6_alone),
        cmocka_unit_test(test_a_child_may_be_the_one_who_listens),
        cmocka_unit_test(test_another_port_is_not_the_one),
        cmocka_unit_test(test_listening_again_and_again_goes_on_working),
        cmocka_unit_test(test_an_app_that_says_so_itself),
        cmocka_unit_test(test_a_socket_that_is_handed_over),
        cmocka_unit_test(test_a_command_without_a_port_is_ready_at_once),
        cmocka_unit_test(test_we_can_listen_in_there),
        cmocka_unit_test(test_signals_reach_the_app),
        cmocka_unit_test(test_who_ignores_the_end_is_killed),
        cmocka_unit_test(test_an_early_end_is_not_lost),
        cmocka_unit_test(test_orphans_are_reaped),
    };
    return cmocka_run_group_tests_name("container ready", tests, NULL, NULL);
}
