/* Limits: in force, seen from inside, and without a moment outside of them. Too much is told as such. */
#include "house.h"

#define MIB (UINT64_C(1) << 20)

static void test_limits_are_read_from_inside(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "limited", "cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes\n"
                   "cat pids.max 2>/dev/null || cat pids/pids.max\n"
                   "cat cpu.max 2>/dev/null || echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us)\n"
                   "echo 9 2>/dev/null > pids/pids.max || echo 9 2>/dev/null > pids.max || echo fixed");
    function->memory_bytes = 100 * MIB;
    function->cpu_milli = 750;
    function->pids_max = 33;
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "104857600\n33\n75000 100000\nfixed");
    house_free(house);
}

static void test_processes_beyond_the_limit_are_refused(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("forks", "exec python3 -c \"import os, time\n"
                                "children = 0\n"
                                "try:\n"
                                "    while children < 200:\n"
                                "        if os.fork() == 0: time.sleep(100)\n"
                                "        children += 1\n"
                                "except BlockingIOError: print('refused')\n"
                                "print(10 < children < 20)\n"
                                "os._exit(0)\"");
    function->pids_max = 20;
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "refused\nTrue");
    house_free(house);
}

static void test_processor_time_is_held_back(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("burns", "cd /sys/fs/cgroup; test -e cpu.stat || cd cpu\n"
                                "until grep -q '^nr_throttled [1-9]' cpu.stat; do :; done; echo throttled");
    function->cpu_milli = 250;
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "throttled");
    house_free(house);
}

static void test_too_much_memory_is_told_as_such(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("greedy");
    function->memory_bytes = 32 * MIB;
    core_function_env_add(function, "TINY_MEMORY_MB", "200");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    scoped_string char *body = guest_get(&guest, "/memory");
    assert_string_equal(body, "cut off");
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGKILL);
    assert_true(guest.end.oom_killed);
    assert_true(guest.end.was_ready);
    container_free(guest.container);
    house_free(house);
}

/* Being killed is not running out of memory, also where a limit was set. */
static void test_a_kill_is_not_told_as_too_much_memory(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("killed");
    function->memory_bytes = 32 * MIB;
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    container_kill(guest.container);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGKILL);
    assert_false(guest.end.oom_killed);
    container_free(guest.container);
    house_free(house);
}

/* The app may bear the loss of one of its processes: it goes on, and its own end is told as what it is. */
static void test_a_child_that_took_too_much_is_the_apps_business(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "parent",
        "sh -c 'echo 1000 > /proc/self/oom_score_adj; exec python3 -c \"x = b\\\"x\\\" * 300_000_000\"';"
        "echo the child ended with $?; exit 5"); /* the score: so that the kernel takes the child */
    function->memory_bytes = 48 * MIB;
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    scoped_string char *said = guest_output(house, "parent");
    assert_non_null(strstr(said, "the child ended with 137"));
    assert_int_equal(guest.end.exit_code, 5);
    assert_false(guest.end.oom_killed);
    container_free(guest.container);
    house_free(house);
}

static void test_the_least_memory_that_may_be_asked_for_is_enough_to_start(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("small");
    function->memory_bytes = 4 * MIB;
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    ASSERT_SERVES(guest);
    guest_end(&guest);
    house_free(house);
}

/* The runtime is a script that notes down where it is and what limits hold there, and goes on as the real
 * one. */
static void test_not_even_the_runtime_is_outside_of_the_limits(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan(NULL);
    scoped_string char *runtime = path_join(house->dir, "crun"), *notes = path_join(house->dir, "notes");
    scoped_string char *script =
        mem_printf("#!/bin/sh\n"
                   "for procs in $(find /sys/fs/cgroup -name cgroup.procs -path '*/%1$s/*'); do\n"
                   "    grep -qx $$ $procs || continue; cd $(dirname $procs)\n"
                   "    cat memory.limit_in_bytes memory.max pids.max 2>/dev/null >> %2$s; done\n"
                   "exec crun \"$@\"\n",
                   house->cgroup, notes);
    assert_ok(file_replace(runtime, span_of(script), 0755));
    house->runtime = runtime;
    house_open(house);
    scoped(core_function) struct core_function *function = server_function("watched");
    function->memory_bytes = 64 * MIB;
    function->pids_max = 77;
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    scoped_text struct text noted = {0};
    assert_ok(file_read(notes, 4096, &noted));
    assert_non_null(strstr(noted.data, "67108864\n"));
    assert_non_null(strstr(noted.data, "77\n"));
    guest_end(&guest);
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_are_read_from_inside),
        cmocka_unit_test(test_processes_beyond_the_limit_are_refused),
        cmocka_unit_test(test_processor_time_is_held_back),
        cmocka_unit_test(test_too_much_memory_is_told_as_such),
        cmocka_unit_test(test_a_kill_is_not_told_as_too_much_memory),
        cmocka_unit_test(test_a_child_that_took_too_much_is_the_apps_business),
        cmocka_unit_test(test_the_least_memory_that_may_be_asked_for_is_enough_to_start),
        cmocka_unit_test(test_not_even_the_runtime_is_outside_of_the_limits),
    };
    return cmocka_run_group_tests_name("container limits", tests, NULL, NULL);
}
