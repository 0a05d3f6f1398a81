/* The life of real containers: created, started, ready, talked to, ended, and nothing left of them. */
#include "house.h"

static void test_a_server_of_the_host_image_becomes_ready_and_answers(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("hello");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    assert_int_equal(guest.created, 0);
    assert_true(container_pid(guest.container) > 1);
    assert_true(container_memory_bytes(guest.container) > 0);
    scoped_string char *body = guest_get(&guest, "/");
    assert_string_equal(body, "hello\n");
    container_kill(guest.container);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGKILL);
    assert_true(guest.end.was_ready);
    assert_string_equal(guest.error, "");
    container_free(guest.container);
    house_free(house);
}

static void test_a_primed_one_waits_until_it_is_started(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("primed");
    struct guest guest;
    guest_create(house, &guest, function, 1, false);
    AWAIT(guest, created);
    assert_string_equal(container_stage(guest.container), "created");
    container_start(guest.container);
    AWAIT_READY(guest);
    container_signal(guest.container, SIGTERM);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGTERM);
    container_free(guest.container);
    house_free(house);
}

static void test_a_primed_one_can_be_killed(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("primed");
    struct guest guest;
    guest_create(house, &guest, function, 1, false);
    AWAIT(guest, created);
    container_kill(guest.container);
    AWAIT(guest, exited);
    assert_false(guest.end.was_ready);
    container_free(guest.container);
    house_free(house);
}

static void test_one_that_is_being_created_can_be_killed(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("early");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    container_kill(guest.container);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "killed"));
    container_free(guest.container);
    house_free(house);
}

/* Whatever the moment: before it has a place, in the middle of its creation, just started. */
static void test_one_can_be_killed_at_any_moment(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("early");
    for (int after_ms = 0; after_ms < 12; after_ms++) {
        struct guest guest;
        guest_create(house, &guest, function, (uint64_t)after_ms + 1, true);
        pass_time(house, after_ms);
        container_kill(guest.container);
        AWAIT(guest, exited);
        assert_int_equal(guest.exited, 1);
        container_free(guest.container);
    }
    house_free(house);
}

static void test_a_command_that_exits_at_once_tells_its_code_and_its_last_words(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("exits");
    core_function_env_add(function, "TINY_EXIT", "7");
    core_function_env_add(function, "TINY_SAY", "no model here");
    struct guest guest;
    guest_create(house, &guest, function, 12, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 7);
    assert_int_equal(guest.end.signal, 0);
    assert_false(guest.end.was_ready);
    scoped_string char *tail = logs_tail(house->logs_dir, "tests", "exits", "12", 5, 4096);
    assert_string_equal(tail, "no model here");
    container_free(guest.container);
    house_free(house);
}

static void test_a_command_that_does_not_exist_is_told_as_such(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("missing");
    free(function->command[0]);
    function->command[0] = mem_string("/srv/tiny/no-such-program");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 127);
    scoped_string char *tail = logs_tail(house->logs_dir, "tests", "missing", "1", 2, 4096);
    assert_non_null(strstr(tail, "cannot run '/srv/tiny/no-such-program': No such file or directory"));
    container_free(guest.container);
    house_free(house);
}

static void test_what_cannot_be_created_says_why(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("broken");
    struct container_mount nowhere = {.source = "/no/such/directory", .destination = "/data"};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &nowhere, 1);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "/no/such/directory"));
    container_free(guest.container);
    house_free(house);
}

static void test_a_crash_is_told_by_its_signal(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("crashes");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    scoped_string char *body = guest_get(&guest, "/crash");
    assert_string_equal(body, "cut off");
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGSEGV);
    assert_false(guest.end.oom_killed);
    container_free(guest.container);
    house_free(house);
}

static void test_nobody_listens_is_unavailable(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("other-port");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    int fd;
    assert_error(container_connect(guest.container, 8001, &fd), ERROR_UNAVAILABLE, "port 8001");
    container_kill(guest.container);
    AWAIT(guest, exited);
    assert_error(container_connect(guest.container, 8000, &fd), ERROR_UNAVAILABLE, "not running");
    container_free(guest.container);
    house_free(house);
}

static void test_many_at_once_all_come_up(void **unused) {
    NEEDS_ROOT();
    enum { MANY = 12 };
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("many");
    struct guest guests[MANY];
    for (int i = 0; i < MANY; i++) guest_create(house, &guests[i], function, (uint64_t)i + 1, true);
    for (int i = 0; i < MANY; i++) AWAIT_READY(guests[i]);
    for (int i = 0; i < MANY; i++) container_kill(guests[i].container);
    for (int i = 0; i < MANY; i++) guest_end(&guests[i]);
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_server_of_the_host_image_becomes_ready_and_answers),
        cmocka_unit_test(test_a_primed_one_waits_until_it_is_started),
        cmocka_unit_test(test_a_primed_one_can_be_killed),
        cmocka_unit_test(test_one_that_is_being_created_can_be_killed),
        cmocka_unit_test(test_one_can_be_killed_at_any_moment),
        cmocka_unit_test(test_a_command_that_exits_at_once_tells_its_code_and_its_last_words),
        cmocka_unit_test(test_a_command_that_does_not_exist_is_told_as_such),
        cmocka_unit_test(test_what_cannot_be_created_says_why),
        cmocka_unit_test(test_a_crash_is_told_by_its_signal),
        cmocka_unit_test(test_nobody_listens_is_unavailable),
        cmocka_unit_test(test_many_at_once_all_come_up),
    };
    return cmocka_run_group_tests_name("container life", tests, NULL, NULL);
}
