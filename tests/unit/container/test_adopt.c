/* Containers outlive the daemon: one host is killed in the middle of its life, the next finds what it left.
 */
#include "power.h"

enum { SERVING = 1, DOZING, PRIMED, HALF_MADE, NOT_READY, DIES_MEANWHILE };

static struct core_function *late_function(void) {
    struct core_function *function =
        shell_function("late", "until test -e /data/go; do sleep 0.01; done; exec /srv/tiny/tiny_server");
    function->port = 8000;
    function->startup_timeout_ms = PATIENCE_MS;
    return function;
}

/* A daemon's life up to the moment in which it is killed; in a process of its own. */
static void first_life(struct house *house, int tell_fd) {
    struct guest serving, dozing, primed, half_made, not_ready, dies;
    struct core_function *function = server_function("adopted"), *late = late_function();
    struct container_mount data = {.source = house->dir, .destination = "/data"};
    house_open(house);
    guest_create(house, &serving, function, SERVING, true);
    guest_create(house, &dozing, function, DOZING, true);
    guest_create(house, &primed, function, PRIMED, false);
    guest_create(house, &dies, function, DIES_MEANWHILE, true);
    guest_create_with(house, &not_ready, late, NOT_READY, true, &data, 1);
    AWAIT_READY(serving);
    AWAIT_READY(dozing);
    AWAIT(primed, created);
    AWAIT_READY(dies);
    assert_ok(container_freeze(dozing.container));
    await_frozen(&dozing);
    while (strcmp(container_stage(not_ready.container), "starting") != 0) pass_time(house, 1);
    guest_create(house, &half_made, function, HALF_MADE, true);
    int pids[] = {container_pid(serving.container), container_pid(dozing.container),
                  container_pid(dies.container)};
    assert_int_equal(write(tell_fd, pids, sizeof pids), sizeof pids);
    pause();
}

static void live_and_be_killed(struct house *house, int ret_pids[3]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t daemon = fork();
    assert_true(daemon >= 0);
    if (daemon == 0) {
        first_life(house, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], ret_pids, 3 * sizeof *ret_pids), 3 * sizeof *ret_pids);
    close(ends[0]);
    assert_int_equal(kill(daemon, SIGKILL), 0);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
}

struct adoption {
    struct house *house;
    struct guest guests[DIES_MEANWHILE + 1];
    bool ready[DIES_MEANWHILE + 1], frozen[DIES_MEANWHILE + 1];
    int found;
};

static void on_found(void *owner, struct container *container, const struct container_found *found) {
    struct adoption *adoption = owner;
    assert_in_range(found->number, SERVING, DIES_MEANWHILE);
    struct guest *guest = &adoption->guests[found->number];
    *guest = (struct guest){.house = adoption->house, .container = container};
    adoption->ready[found->number] = found->ready;
    adoption->frozen[found->number] = found->frozen;
    adoption->found++;
    assert_int_equal(found->version, 1);
    assert_string_equal(found->app, "tests");
    container_owner_set(container, guest);
}

static void adopt(struct adoption *adoption, struct house *house) {
    *adoption = (struct adoption){.house = house};
    house_open(house);
    assert_ok(container_host_adopt(house->host, &house_events, adoption, on_found));
}

static void test_what_runs_goes_on_and_is_found(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan(NULL);
    int pids[3];
    live_and_be_killed(house, pids);
    kill(pids[2], SIGKILL);
    scoped_string char *pid = mem_printf("%d", pids[2]);
    while (lives_in(pid, house->cgroup)) wait_a_moment();
    struct adoption adoption;
    adopt(&adoption, house);
    assert_int_equal(adoption.found, 3); /* neither the primed one, nor the half made one, nor the dead one */
    struct guest *serving = &adoption.guests[SERVING], *dozing = &adoption.guests[DOZING],
                 *late = &adoption.guests[NOT_READY];
    assert_int_equal(container_pid(serving->container), pids[0]);
    assert_true(adoption.ready[SERVING] && !adoption.frozen[SERVING]);
    ASSERT_SERVES(*serving);

    assert_true(adoption.ready[DOZING] && adoption.frozen[DOZING]);
    assert_ok(container_thaw(dozing->container));
    ASSERT_SERVES(*dozing);

    assert_false(adoption.ready[NOT_READY]);
    scoped_string char *go = path_join(house->dir, "go");
    assert_ok(file_replace(go, SPAN(""), 0644));
    AWAIT_READY(*late);
    ASSERT_SERVES(*late);

    scoped_string char *cut = guest_get(serving, "/exit");
    AWAIT(*serving, exited);
    assert_int_equal(serving->end.exit_code, 3);
    assert_true(serving->end.was_ready);
    container_free(serving->container);
    guest_end(dozing);
    guest_end(late);
    house_free(house);
}

static void test_a_frozen_one_that_was_adopted_can_be_killed(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan(NULL);
    int pids[3];
    live_and_be_killed(house, pids);
    struct adoption adoption;
    adopt(&adoption, house);
    for (int i = SERVING; i <= DIES_MEANWHILE; i++)
        if (adoption.guests[i].container) guest_end(&adoption.guests[i]);
    house_free(house);
}

/* Nobody adopts them, yet nothing of the dead daemon's own is left but what runs. */
static void test_a_normal_end_leaves_them_running_too(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("stays");
    struct guest guest;
    guest_create(house, &guest, function, SERVING, true);
    AWAIT_READY(guest);
    house_close(house);
    struct adoption adoption;
    adopt(&adoption, house);
    assert_int_equal(adoption.found, 1);
    ASSERT_SERVES(adoption.guests[SERVING]);
    guest_end(&adoption.guests[SERVING]);
    house_free(house);
}

/* A box whose record names a living process that is none of its own: not ours to adopt, let alone to kill. */
static void test_a_strangers_process_is_left_alone(void **unused) {
    NEEDS_ROOT();
    static const char *const records[] = {
        ("{\"app\":\"tests\",\"function\":\"f\",\"id\":\"1\",\"slot\":\"s-old-1\",\"number\":1,\"version\":1,"
         "\"pid\":%d,\"start_ticks\":1,\"started_wall_ms\":1,\"port\":8000,\"doze_signal\":0,\"network\":0}"),
        "{\"app\":\"tests\",\"pid\":%d}", "no JSON at all %d", ""};
    struct house *house = house_plan(NULL);
    pid_t stranger = fork();
    if (stranger == 0) pause(), _exit(0);
    for (size_t i = 0; i < COUNT(records); i++) {
        scoped_string char *box = mem_printf("%s/c/s-old-%zu", house->run_dir, i);
        scoped_string char *record = path_join(box, "record.json"), *state = path_join(box, "state");
        scoped_text struct text text = {0};
        struct span format = span_of(records[i]), before = span_cut(&format, '%');
        text_add(&text, before);
        if (format.data) text_printf(&text, "%d%s", stranger, format.data + 1);
        assert_ok(dir_make(box, 0700));
        assert_ok(file_replace(record, text_span(&text), 0600));
        assert_ok(file_replace(state, SPAN("started\nready\n"), 0600));
    }
    struct adoption adoption;
    adopt(&adoption, house);
    assert_int_equal(adoption.found, 0);
    house_close(house);
    assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);
    kill(stranger, SIGKILL);
    assert_int_equal(waitpid(stranger, NULL, 0), stranger);
    assert_false(file_exists(house->run_dir)); /* nothing of the boxes is left */
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_runs_goes_on_and_is_found),
        cmocka_unit_test(test_a_frozen_one_that_was_adopted_can_be_killed),
        cmocka_unit_test(test_a_normal_end_leaves_them_running_too),
        cmocka_unit_test(test_a_strangers_process_is_left_alone),
    };
    return cmocka_run_group_tests_name("container adopt", tests, NULL, NULL);
}
