/* A machine with cgroup v1 alone: its own freezer, and no way to kill a group at once. Played where both
 * versions are, by taking v2 away from this process. */
#include <sched.h>
#include <sys/mount.h>

#include "power.h"

static bool v1_alone; /* this process sees no v2 */

#define NEEDS_V1()                                                         \
    NEEDS_ROOT();                                                          \
    if (!v1_alone) {                                                       \
        print_message("skipped: this machine has no cgroup v1 freezer\n"); \
        skip();                                                            \
    }

static void test_it_serves_and_is_limited(void **unused) {
    NEEDS_V1();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("serves");
    function->memory_bytes = 64 << 20;
    function->cpu_milli = 1000;
    function->pids_max = 50;
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

static void test_it_dozes(void **unused) {
    NEEDS_V1();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    for (int i = 0; i < 10; i++) {
        assert_ok(container_freeze(guest.container));
        await_frozen(&guest);
        int fd = ask_frozen(&guest);
        assert_ok(container_thaw(guest.container));
        assert_answered(fd);
    }
    guest_end(&guest);
    house_free(house);
}

/* SIGKILL alone does not end what is frozen here. */
static void test_a_frozen_one_dies(void **unused) {
    NEEDS_V1();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("many", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    assert_ok(container_freeze(guest.container));
    await_frozen(&guest);
    guest_end(&guest);
    assert_int_equal(guest.end.signal, SIGKILL);
    house_free(house);
}

/* Children come faster than a list of them can be read. */
static void test_what_keeps_forking_dies(void **unused) {
    NEEDS_V1();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("forks", "fork() { while :; do /bin/true & done; }; fork & fork & fork & wait");
    function->pids_max = 60;
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    pass_time(house, 50);
    guest_end(&guest);
    house_free(house);
}

static void on_found(void *owner, struct container *container, const struct container_found *found) {
    struct guest *guest = owner;
    guest->container = container;
    assert_true(found->frozen);
}

static void test_a_frozen_one_is_adopted(void **unused) {
    NEEDS_V1();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("stays");
    struct guest guest, found = {.house = house};
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    assert_ok(container_freeze(guest.container));
    await_frozen(&guest);
    house_close(house);
    house_open(house);
    assert_ok(container_host_adopt(house->host, &house_events, &found, on_found));
    assert_ok(container_thaw(found.container));
    ASSERT_SERVES(found);
    guest_end(&found);
    house_free(house);
}

static void test_one_can_be_killed_at_any_moment(void **unused) {
    NEEDS_V1();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("early");
    for (int after_ms = 0; after_ms < 12; after_ms++) {
        struct guest guest;
        guest_create(house, &guest, function, (uint64_t)after_ms + 1, true);
        pass_time(house, after_ms);
        guest_end(&guest);
    }
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_serves_and_is_limited),
        cmocka_unit_test(test_it_dozes),
        cmocka_unit_test(test_a_frozen_one_dies),
        cmocka_unit_test(test_what_keeps_forking_dies),
        cmocka_unit_test(test_a_frozen_one_is_adopted),
        cmocka_unit_test(test_one_can_be_killed_at_any_moment),
    };
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        v1_alone = umount2("/sys/fs/cgroup/unified", MNT_DETACH) == 0 &&
                   access("/sys/fs/cgroup/freezer/cgroup.procs", F_OK) == 0;
    return cmocka_run_group_tests_name("container v1", tests, NULL, NULL);
}
