/* Another OCI runtime by configuration: runc passes the same main tests; what is no runtime is told as such.
 */
#include "power.h"

#define MIB (UINT64_C(1) << 20)
#define NEEDS_RUNC()                                                       \
    NEEDS_ROOT();                                                          \
    if (access("/usr/sbin/runc", X_OK) && access("/usr/bin/runc", X_OK)) { \
        print_message("skipped: the package runc is not here\n");          \
        skip();                                                            \
    }

static void test_runc_starts_serves_and_ends(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = server_function("runs");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    ASSERT_SERVES(guest);
    assert_true(container_memory_bytes(guest.container) > 0);
    container_signal(guest.container, SIGTERM);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGTERM);
    container_free(guest.container);
    house_free(house);
}

static void test_runc_waits_when_primed(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = server_function("primed");
    struct guest started, ended;
    guest_create(house, &started, function, 1, false);
    guest_create(house, &ended, function, 2, false);
    AWAIT(started, created);
    AWAIT(ended, created);
    assert_string_equal(container_stage(started.container), "created");
    container_start(started.container);
    AWAIT_READY(started);
    ASSERT_SERVES(started);
    guest_end(&ended);
    guest_end(&started);
    house_free(house);
}

static void test_runc_keeps_limits_and_takes_rights(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = shell_function(
        "inside", "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/class/net;"
                  "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null;"
                  "echo $HOME; touch /usr/x; hostname; cat /proc/1/comm");
    function->memory_bytes = 100 * MIB;
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said,
                        "CapEff:\t00000000800405fb\nCapBnd:\t00000000800405fb\nNoNewPrivs:\t1\nSeccomp:\t2\n"
                        "lo\n104857600\n/root\ntouch: cannot touch '/usr/x': Read-only file system\n"
                        "inside\ninit");
    house_free(house);
}

static void test_runc_tells_ends_as_they_are(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *exits = server_function("exits");
    core_function_env_add(exits, "TINY_EXIT", "7");
    scoped(core_function) struct core_function *greedy = server_function("greedy");
    greedy->memory_bytes = 32 * MIB;
    core_function_env_add(greedy, "TINY_ALLOCATE_MB", "200");
    struct guest guest;
    guest_create(house, &guest, exits, 1, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 7);
    container_free(guest.container);
    guest_create(house, &guest, greedy, 2, true);
    AWAIT(guest, exited);
    assert_true(guest.end.oom_killed);
    container_free(guest.container);
    house_free(house);
}

static void test_runc_says_why_it_cannot(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = server_function("broken");
    struct container_mount nowhere = {.source = "/no/such/directory", .destination = "/data"};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &nowhere, 1);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "/no/such/directory"));
    container_free(guest.container);
    house_free(house);
}

static void test_runc_containers_doze_and_die_frozen(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    assert_ok(container_freeze(guest.container));
    int fd = ask_frozen(&guest);
    assert_ok(container_thaw(guest.container));
    assert_answered(fd);
    assert_ok(container_freeze(guest.container));
    guest_end(&guest);
    house_free(house);
}

static void on_found(void *owner, struct container *container, const struct container_found *found) {
    struct guest *guest = owner;
    guest->container = container;
    guest->ready = found->ready;
}

static void test_runc_containers_are_adopted(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = server_function("stays");
    struct guest first, primed, found = {.house = house};
    guest_create(house, &first, function, 1, true);
    guest_create(house, &primed, function, 2, false);
    AWAIT_READY(first);
    AWAIT(primed, created);
    house_close(house);
    house_open(house);
    assert_ok(container_host_adopt(house->host, &house_events, &found, on_found));
    assert_true(found.ready);
    ASSERT_SERVES(found);
    guest_end(&found);
    house_free(house);
}

static void test_runc_can_be_killed_at_any_moment(void **unused) {
    NEEDS_RUNC();
    struct house *house = house_new("runc");
    scoped(core_function) struct core_function *function = server_function("early");
    for (int after_ms = 0; after_ms < 100; after_ms += 9) {
        struct guest guest;
        guest_create(house, &guest, function, (uint64_t)after_ms + 1, true);
        pass_time(house, after_ms);
        guest_end(&guest);
    }
    house_free(house);
}

/* ---- no runtime ---- */

static void test_a_runtime_that_does_not_exist(void **unused) {
    NEEDS_ROOT();
    static const struct {
        const char *runtime, *text;
    } rows[] = {
        {"no-such-runtime", "there is no OCI runtime 'no-such-runtime'"},
        {"/usr/bin/no-such-runtime", "there is no OCI runtime '/usr/bin/no-such-runtime'"},
        {"/etc/passwd", "there is no OCI runtime '/etc/passwd'"}, /* not a program */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct house *house = house_plan(rows[i].runtime);
        assert_error(house_try_open(house), ERROR_FAILED_PRECONDITION, rows[i].text);
        house_close(house);
        house_free(house);
    }
}

/* A program that is none: each container's end says what it said. */
static void test_a_program_that_is_no_runtime(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan(NULL);
    scoped_string char *runtime = path_join(house->dir, "mine");
    static const char script[] = "#!/bin/sh\necho 'I am no runtime' >&2\nexit 3\n";
    assert_ok(file_replace(runtime, SPAN(script), 0755));
    house->runtime = runtime;
    house_open(house);
    scoped(core_function) struct core_function *function = server_function("lost");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "mine could not create it: I am no runtime"));
    container_free(guest.container);
    house_free(house);
}

static void test_a_runtime_that_claims_success(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan("true");
    house_open(house);
    scoped(core_function) struct core_function *function = server_function("lost");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "true made no process"));
    container_free(guest.container);
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runc_starts_serves_and_ends),
        cmocka_unit_test(test_runc_waits_when_primed),
        cmocka_unit_test(test_runc_keeps_limits_and_takes_rights),
        cmocka_unit_test(test_runc_tells_ends_as_they_are),
        cmocka_unit_test(test_runc_says_why_it_cannot),
        cmocka_unit_test(test_runc_containers_doze_and_die_frozen),
        cmocka_unit_test(test_runc_containers_are_adopted),
        cmocka_unit_test(test_runc_can_be_killed_at_any_moment),
        cmocka_unit_test(test_a_runtime_that_does_not_exist),
        cmocka_unit_test(test_a_program_that_is_no_runtime),
        cmocka_unit_test(test_a_runtime_that_claims_success),
    };
    return cmocka_run_group_tests_name("container runtime", tests, NULL, NULL);
}
