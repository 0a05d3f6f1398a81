/* Days of pools whose caller turns the knobs: work that lingers for more of its batch, containers kept beyond
 * what the work needs. */
#include "world.h"

/* clang-format off */
static void test_who_lingers_wakes_a_container_but_is_granted_when_ripe(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", -50},      /* the start does not wait */
        {20, READY, 0, 1, "", 0},             /* ready first: it lingers still */
        {50, TIMER, 0, 0, "grant 1 in 1", 0},
        {51, WORK, 1, 2, "", -500}, {60, RIPE, 0, 2, "grant 2 in 1", 0}, /* its batch is whole */
        {60, RIPE, 0, 2, "", 0},              /* of one at work: nothing */
        {70, DONE, 0, 1, "", 0}, {70, DONE, 0, 2, "", 0},
        {80, WORK, 1, 3, "", -10}, {81, CANCEL, 0, 3, "", 0}, {81, RIPE, 0, 3, "", 0});
    assert_int_equal(view(&world, 1).waiting + view(&world, 1).working, 0);
    world_done(&world);
}

static void test_a_start_that_took_longer_is_not_followed_by_lingering(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", -50}, {50, TIMER, 0, 0, "", 0}, {300, READY, 0, 1, "grant 1 in 1", 0});
    world_done(&world);
}

static void test_nobody_is_thawed_for_who_lingers(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {10, READY, 0, 1, "grant 1 in 1", 0}, {20, DONE, 0, 1, "", 0}, {120, TIMER, 0, 0, "freeze 1", 0},
        {130, WORK, 1, 2, "", -40}, {150, WORK, 1, 3, "", -40}, /* who came later waits behind it */
        {170, TIMER, 0, 0, "thaw 1, grant 2 in 1", 0}, {190, TIMER, 0, 0, "grant 3 in 1", 0});
    world_done(&world);
}

static void test_a_wait_that_ends_before_it_is_ripe(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    const struct nap_event event = {.kind = NAP_WORK_ARRIVED, .pool = 1, .ticket = 1, .ripe_ms = 60,
                                    .deadline_ms = 40};
    DAY(&world, {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0});
    assert_int_equal(nap_step(world.nap, &event, 0).action[0].verb, NAP_START);
    DAY(&world,
        {5, READY, 0, 1, "", 0}, {40, TIMER, 0, 0, "refuse 1: no container was free in time", 0});
    world_done(&world);
}

static void test_short_work_is_done_by_those_that_are_up_first(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.starting_max = 2, .reclaim_after_ms = NAP_NEVER});
    world.functions[1]->max_inputs = 1, world.functions[1]->max_containers = 9;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 1, 2, "start 2", 0}, {0, WORK, 1, 3, "", 0},
        {0, WORK, 1, 4, "", 0}, {0, WORK, 1, 5, "", 0},
        {10, READY, 0, 1, "grant 1 in 1, start 3", 0},    /* two are starting again */
        {12, DONE, 0, 1, "grant 2 in 1", 0},
        {14, DONE, 0, 2, "grant 3 in 1", 0},
        {20, READY, 0, 2, "grant 4 in 2", 0},             /* with the third there are enough */
        {22, DONE, 0, 3, "grant 5 in 1", 0});
    assert_int_equal(view(&world, 1).containers, 3);
    world_done(&world);
}

static void test_who_leaves_takes_no_more_work(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 2;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {10, READY, 0, 1, "grant 1 in 1", 0},
        {20, LEAVES, 0, 1, "", 0}, {21, LEAVES, 0, 1, "", 0},
        {30, WORK, 1, 2, "start 2", 0},       /* beside a free slot of who leaves */
        {40, DONE, 0, 1, "stop 1", 0}, {50, READY, 0, 2, "grant 2 in 2", 0},
        {60, EXIT, 0, 1, "", 0}, {61, LEAVES, 0, 1, "", 0},
        {70, DONE, 0, 2, "", 0}, {80, LEAVES, 0, 2, "stop 2", 0}, /* it is idle */
        {90, WORK, 1, 3, "start 3", 0}, {95, EXIT, 0, 2, "", 0});
    world_done(&world);
}

static void test_a_buffer_is_kept_while_there_is_work(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    struct core_function *function = world.functions[1];
    function->max_inputs = 1, function->max_containers = 4, function->buffer_containers = 2;
    function->doze_after_ms = NAP_NEVER;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, /* nothing to do: none */
        {0, WORK, 1, 1, "start 1, start 2, start 3", 0}, {5, READY, 0, 1, "grant 1 in 1", 0},
        {6, READY, 0, 2, "", 0}, {7, READY, 0, 3, "", 0},
        {10, WORK, 1, 2, "grant 2 in 2, start 4", 0},   /* at once, and the buffer is filled up */
        {11, WORK, 1, 3, "grant 3 in 3", 0},            /* max_containers is max_containers */
        {12, READY, 0, 4, "", 0},
        {900, DONE, 0, 3, "", 0},
        {1000, DONE, 0, 2, "stop 4", 0}, {1001, EXIT, 0, 4, "", 0}, /* one too many: 4 was idle the longest */
        {2000, DONE, 0, 1, "", 0},
        {2010, WORK, 1, 4, "grant 4 in 1", 0},          /* a short pause costs the buffer nothing */
        {2020, DONE, 0, 4, "", 0},
        {2620, TIMER, 0, 0, "stop 1, stop 2, stop 3", 0});
    world_done(&world);
}
/* clang-format on */

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_lingers_wakes_a_container_but_is_granted_when_ripe),
        cmocka_unit_test(test_a_start_that_took_longer_is_not_followed_by_lingering),
        cmocka_unit_test(test_nobody_is_thawed_for_who_lingers),
        cmocka_unit_test(test_a_wait_that_ends_before_it_is_ripe),
        cmocka_unit_test(test_short_work_is_done_by_those_that_are_up_first),
        cmocka_unit_test(test_who_leaves_takes_no_more_work),
        cmocka_unit_test(test_a_buffer_is_kept_while_there_is_work),
    };
    return cmocka_run_group_tests_name("nap knobs", tests, NULL, NULL);
}
