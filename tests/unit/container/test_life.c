/* The life of real containers: created, started, ready, talked to, ended, and nothing left of them. */
#include <sys/socket.h>

#include "house.h"

static void test_a_server_of_the_host_image_becomes_ready_and_answers(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("hello");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, true, &seen);
    AWAIT(house, seen.seen.ready, 1);
    assert_int_equal(seen.seen.created, 0);
    assert_true(container_pid(container) > 1);
    assert_true(container_memory_bytes(container) > 0);
    scoped_string char *body = house_get(container, 8000, "/");
    assert_string_equal(body, "hello\n");
    container_kill(container);
    AWAIT(house, seen.seen.exited, 1);
    assert_int_equal(seen.seen.end.signal, SIGKILL);
    assert_true(seen.seen.end.was_ready);
    assert_null(seen.seen.end_error);
    container_free(container);
    house_free(house);
}

static void test_a_primed_one_waits_until_it_is_started(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("primed");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, false, &seen);
    AWAIT(house, seen.seen.created, 1);
    assert_string_equal(container_stage(container), "created");
    container_start(container);
    AWAIT(house, seen.seen.ready, 1);
    container_signal(container, SIGTERM);
    AWAIT(house, seen.seen.exited, 1);
    assert_int_equal(seen.seen.end.signal, SIGTERM);
    container_free(container);
    house_free(house);
}

static void test_a_primed_one_can_be_killed(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("primed");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, false, &seen);
    AWAIT(house, seen.seen.created, 1);
    container_kill(container);
    AWAIT(house, seen.seen.exited, 1);
    assert_false(seen.seen.end.was_ready);
    container_free(container);
    house_free(house);
}

static void test_one_that_is_being_created_can_be_killed(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("early");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, true, &seen);
    container_kill(container);
    AWAIT(house, seen.seen.exited, 1);
    assert_non_null(strstr(seen.seen.end_error, "killed"));
    container_free(container);
    house_free(house);
}

static void test_a_command_that_exits_at_once_tells_its_code_and_its_last_words(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("exits");
    core_function_env_add(function, "TINY_EXIT", "7");
    core_function_env_add(function, "TINY_SAY", "no model here");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 12, true, &seen);
    AWAIT(house, seen.seen.exited, 1);
    assert_int_equal(seen.seen.end.exit_code, 7);
    assert_int_equal(seen.seen.end.signal, 0);
    assert_false(seen.seen.end.was_ready);
    scoped_string char *logs = path_join(house->state_dir, "logs");
    scoped_string char *tail = logs_tail(logs, "tests", "exits", "12", 5, 4096);
    assert_string_equal(tail, "no model here\nexited with code 7");
    container_free(container);
    house_free(house);
}

static void test_a_command_that_does_not_exist_is_told_as_such(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("missing");
    free(function->command[0]);
    function->command[0] = mem_string("/srv/tiny/no-such-program");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, true, &seen);
    AWAIT(house, seen.seen.exited, 1);
    assert_int_equal(seen.seen.end.exit_code, 127);
    scoped_string char *logs = path_join(house->state_dir, "logs");
    scoped_string char *tail = logs_tail(logs, "tests", "missing", "1", 2, 4096);
    assert_non_null(strstr(tail, "cannot run '/srv/tiny/no-such-program': No such file or directory"));
    container_free(container);
    house_free(house);
}

static void test_what_cannot_be_created_says_why(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("broken");
    struct seen_in seen = {.house = house};
    struct container_mount nowhere = {.source = "/no/such/directory", .destination = "/data"};
    struct container *container = container_create(
        house->host,
        &(struct container_spec){.number = 1, .function = function, .mounts = &nowhere, .mount_count = 1},
        true, &house_events, &seen);
    AWAIT(house, seen.seen.exited, 1);
    assert_non_null(strstr(seen.seen.end_error, "/no/such/directory"));
    container_free(container);
    house_free(house);
}

static void test_a_crash_is_told_by_its_signal(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("crashes");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, true, &seen);
    AWAIT(house, seen.seen.ready, 1);
    scoped_string char *body = house_get(container, 8000, "/crash");
    assert_string_equal(body, "cut off");
    AWAIT(house, seen.seen.exited, 1);
    assert_int_equal(seen.seen.end.signal, SIGSEGV);
    assert_false(seen.seen.end.oom_killed);
    container_free(container);
    house_free(house);
}

static void test_too_much_memory_is_told_as_such(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("greedy");
    function->memory_bytes = 32 << 20;
    core_function_env_add(function, "TINY_ALLOCATE_MB", "200");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, true, &seen);
    AWAIT(house, seen.seen.exited, 1);
    assert_int_equal(seen.seen.end.signal, SIGKILL);
    assert_true(seen.seen.end.oom_killed);
    container_free(container);
    house_free(house);
}

static void test_nobody_listens_is_unavailable(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("other-port");
    struct seen_in seen = {0};
    struct container *container = house_create(house, function, 1, true, &seen);
    AWAIT(house, seen.seen.ready, 1);
    int fd;
    assert_error(container_connect(container, 8001, &fd), ERROR_UNAVAILABLE, "port 8001");
    container_kill(container);
    AWAIT(house, seen.seen.exited, 1);
    assert_error(container_connect(container, 8000, &fd), ERROR_UNAVAILABLE, "not running");
    container_free(container);
    house_free(house);
}

static void test_many_at_once_all_come_up(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    enum { MANY = 12 };
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("many");
    struct seen_in seen[MANY] = {0};
    struct container *containers[MANY];
    for (int i = 0; i < MANY; i++)
        containers[i] = house_create(house, function, (uint64_t)i + 1, true, &seen[i]);
    for (int i = 0; i < MANY; i++) AWAIT(house, seen[i].seen.ready, 1);
    for (int i = 0; i < MANY; i++) container_kill(containers[i]);
    for (int i = 0; i < MANY; i++) {
        AWAIT(house, seen[i].seen.exited, 1);
        container_free(containers[i]);
    }
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_server_of_the_host_image_becomes_ready_and_answers),
        cmocka_unit_test(test_a_primed_one_waits_until_it_is_started),
        cmocka_unit_test(test_a_primed_one_can_be_killed),
        cmocka_unit_test(test_one_that_is_being_created_can_be_killed),
        cmocka_unit_test(test_a_command_that_exits_at_once_tells_its_code_and_its_last_words),
        cmocka_unit_test(test_a_command_that_does_not_exist_is_told_as_such),
        cmocka_unit_test(test_what_cannot_be_created_says_why),
        cmocka_unit_test(test_a_crash_is_told_by_its_signal),
        cmocka_unit_test(test_too_much_memory_is_told_as_such),
        cmocka_unit_test(test_nobody_listens_is_unavailable),
        cmocka_unit_test(test_many_at_once_all_come_up),
    };
    return cmocka_run_group_tests_name("container life", tests, NULL, NULL);
}
