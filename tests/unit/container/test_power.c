/* Dozing: frozen, given back, thawed; signals and kills reach who is frozen. */
#include <sys/swap.h>

#include "power.h"

static void frozen_server(struct house *house, struct core_function *function, struct guest *guest) {
    guest_create(house, guest, function, 1, true);
    AWAIT_READY(*guest);
    assert_ok(container_freeze(guest->container));
    await_frozen(guest);
}

static void test_a_frozen_one_answers_once_it_is_thawed(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    frozen_server(house, function, &guest);
    int fd = ask_frozen(&guest);
    assert_ok(container_thaw(guest.container));
    assert_answered(fd);
    ASSERT_SERVES(guest);
    assert_false(group_is_frozen(container_pid(guest.container)));
    guest_end(&guest);
    house_free(house);
}

static void test_freezing_and_thawing_may_be_repeated(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    frozen_server(house, function, &guest);
    for (int i = 0; i < 50; i++) {
        assert_ok(container_freeze(guest.container)); /* also one that is frozen */
        assert_ok(container_thaw(guest.container));
        assert_ok(container_thaw(guest.container));
        ASSERT_SERVES(guest);
    }
    guest_end(&guest);
    house_free(house);
}

static void test_a_frozen_one_can_be_killed(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    frozen_server(house, function, &guest);
    container_kill(guest.container);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGKILL);
    assert_error(container_freeze(guest.container), ERROR_FAILED_PRECONDITION, "not running");
    assert_error(container_thaw(guest.container), ERROR_FAILED_PRECONDITION, "not running");
    container_free(guest.container);
    house_free(house);
}

static void test_a_frozen_one_hears_a_signal(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    frozen_server(house, function, &guest);
    container_signal(guest.container, SIGTERM);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGTERM);
    container_free(guest.container);
    house_free(house);
}

static void wait_for_output(struct house *house, const char *function, const char *expected) {
    for (int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;;) {
        scoped_string char *said = guest_output(house, function);
        if (strcmp(said, expected) == 0) return;
        if (clock_monotonic_ms() > until_ms) fail_msg("'%s' instead of '%s'", said, expected);
        wait_a_moment();
    }
}

static void run_until_frozen(struct guest *guest) {
    while (!group_is_frozen(container_pid(guest->container))) pass_time(guest->house, 1);
}

static void test_the_doze_signal_comes_before_the_freezer(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "tidies", "trap 'echo gives back' USR2; echo lives; while :; do sleep 1000 & wait $!; done");
    function->doze_signal = SIGUSR2;
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    wait_for_output(house, "tidies", "lives");
    assert_ok(container_freeze(guest.container));
    run_until_frozen(&guest);
    assert_ok(container_thaw(guest.container));
    wait_for_output(house, "tidies", "lives\ngives back");
    guest_end(&guest);
    house_free(house);
}

/* Between the signal and the freezer lies a moment; who is woken in it is not frozen after it. */
static void test_a_thaw_before_the_freezer_cancels_it(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("undecided");
    function->doze_signal = SIGURG; /* which a program ignores unless it asks */
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    assert_ok(container_freeze(guest.container));
    assert_ok(container_thaw(guest.container));
    pass_time(house, 100);
    assert_false(group_is_frozen(container_pid(guest.container)));
    ASSERT_SERVES(guest);
    guest_end(&guest);
    house_free(house);
}

/* ---- giving memory back ---- */

/* Swap of our own for the length of a test; one that fails gives it back too. */
static char swap_file[256];

static int swap_off(void **unused) {
    (void)unused;
    if (swap_file[0]) assert_int_equal(swapoff(swap_file), 0);
    (void)unlink(swap_file);
    swap_file[0] = '\0';
    return 0;
}

static bool swap_on(void) { /* false: this machine does not let us */
    scoped_string char *name = random_id("catnap-swap");
    snprintf(swap_file, sizeof swap_file, "%s/%s", environment("TMPDIR", "/tmp"), name);
    scoped_string char *command = mem_printf(
        "(dd if=/dev/zero of=%1$s bs=1M count=128 && chmod 600 %1$s && mkswap %1$s) >/dev/null 2>&1",
        swap_file);
    const char *argv[] = {"sh", "-c", command, NULL};
    pid_t pid = fork();
    if (pid == 0) execvp("sh", (char **)argv), _exit(127);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status == 0 && swapon(swap_file, 0) == 0) return true;
    (void)unlink(swap_file);
    swap_file[0] = '\0';
    return false;
}

static void reclaim(uint64_t megabytes, bool to_the_end) {
    if (!swap_on()) {
        print_message("skipped: no swap can be made on this machine\n");
        skip();
    }
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("large");
    scoped_string char *size = mem_printf("%llu", (unsigned long long)megabytes);
    core_function_env_add(function, "TINY_ALLOCATE_MB", size);
    struct guest guest;
    frozen_server(house, function, &guest);
    uint64_t before = container_memory_bytes(guest.container);
    assert_true(before > megabytes << 20);
    container_reclaim(guest.container);
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (to_the_end && container_memory_bytes(guest.container) > before / 4) {
        if (clock_monotonic_ms() > until_ms) fail_msg("nothing is given back");
        pass_time(house, 5);
    }
    assert_true(group_is_frozen(container_pid(guest.container)));
    assert_ok(container_thaw(guest.container));
    ASSERT_SERVES(guest);
    guest_end(&guest);
    house_free(house);
}
static void test_a_frozen_ones_memory_goes_to_swap(void **unused) {
    NEEDS_ROOT();
    reclaim(48, true);
}
static void test_a_thaw_does_not_wait_for_the_rest(void **unused) {
    NEEDS_ROOT();
    reclaim(96, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frozen_one_answers_once_it_is_thawed),
        cmocka_unit_test(test_freezing_and_thawing_may_be_repeated),
        cmocka_unit_test(test_a_frozen_one_can_be_killed),
        cmocka_unit_test(test_a_frozen_one_hears_a_signal),
        cmocka_unit_test(test_the_doze_signal_comes_before_the_freezer),
        cmocka_unit_test(test_a_thaw_before_the_freezer_cancels_it),
        cmocka_unit_test_teardown(test_a_frozen_ones_memory_goes_to_swap, swap_off),
        cmocka_unit_test_teardown(test_a_thaw_does_not_wait_for_the_rest, swap_off),
    };
    return cmocka_run_group_tests_name("container power", tests, NULL, NULL);
}
