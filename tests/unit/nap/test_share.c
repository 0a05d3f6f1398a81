/* Days of several pools that share a node: its places, its memory, groups, primed containers, a restart. */
#include "world.h"

/* clang-format off */
static void test_pressure_takes_the_dozing_ones_first(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[3]->pin = true;
    world.functions[1]->doze_after_ms = NAP_NEVER;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, SET, 3, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 2, 2, "start 2", 0}, {0, WORK, 3, 3, "start 3", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {1, READY, 0, 2, "grant 2 in 2", 0},
        {1, READY, 0, 3, "grant 3 in 3", 0}, {2, PRESSURE, 0, 0, "", 0}, /* all have work */
        {3, DONE, 0, 1, "", 0}, {4, DONE, 0, 2, "", 0}, {5, DONE, 0, 3, "", 0},
        {104, TIMER, 0, 0, "freeze 2", 0}, {105, TIMER, 0, 0, "freeze 3", 0},
        {106, PRESSURE, 0, 0, "stop 2", 0}, {107, PRESSURE, 0, 0, "stop 1", 0}, {108, PRESSURE, 0, 0, "", 0},
        {109, EXIT, 0, 1, "", 0}, {110, EXIT, 0, 2, "", 0});
    world_done(&world);
}

static void test_pressure_takes_a_quarter_and_leaves_what_is_kept(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_inputs = 1;
    world.functions[1]->max_containers = 6;
    world.functions[1]->min_containers = 2;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "start 1, start 2", 0},
        {0, WORK, 1, 1, "", 0}, {0, WORK, 1, 2, "", 0}, {0, WORK, 1, 3, "start 3", 0},
        {0, WORK, 1, 4, "start 4", 0}, {0, WORK, 1, 5, "start 5", 0}, {0, WORK, 1, 6, "start 6", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {1, READY, 0, 2, "grant 2 in 2", 0},
        {1, READY, 0, 3, "grant 3 in 3", 0}, {1, READY, 0, 4, "grant 4 in 4", 0},
        {1, READY, 0, 5, "grant 5 in 5", 0}, {1, READY, 0, 6, "grant 6 in 6", 0},
        {2, DONE, 0, 6, "", 0}, {3, DONE, 0, 5, "", 0}, {4, DONE, 0, 4, "", 0}, {5, DONE, 0, 3, "", 0},
        {6, DONE, 0, 2, "", 0}, {7, DONE, 0, 1, "", 0},
        {8, PRESSURE, 0, 0, "stop 6, stop 5", 0}, {9, PRESSURE, 0, 0, "stop 4", 0},
        {10, PRESSURE, 0, 0, "stop 3", 0}, {11, PRESSURE, 0, 0, "", 0});
    world_done(&world);
}

static void test_places_on_the_node_go_round(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.containers_max = 2, .reclaim_after_ms = NAP_NEVER});
    world.functions[1]->max_containers = 5;
    world.functions[1]->max_inputs = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, SET, 3, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {1, WORK, 1, 2, "start 2", 0},
        {2, WORK, 1, 3, "", 0}, {2, WORK, 1, 4, "", 0}, {2, WORK, 1, 5, "", 0}, {2, WORK, 1, 6, "", 0},
        {3, WORK, 2, 7, "", 0}, {4, READY, 0, 1, "grant 1 in 1", 0}, {4, READY, 0, 2, "grant 2 in 2", 0},
        {4, DONE, 0, 1, "grant 3 in 1", 0}, {4, DONE, 0, 2, "grant 4 in 2", 0},
        {5, EXIT, 0, 1, "refuse 3: the container ended while it worked, start 3", 0}, /* 1 is first in line */
        {6, READY, 0, 3, "grant 5 in 3", 0},
        {7, EXIT, 0, 2, "refuse 4: the container ended while it worked, start 4", 0}, /* it had one: now 2 */
        {8, READY, 0, 4, "grant 7 in 4", 0}, {9, DONE, 0, 7, "stop 4", 0}, /* idle ones make room */
        {10, WORK, 3, 8, "", 0}, {11, EXIT, 0, 4, "start 5", 0}, {12, READY, 0, 5, "grant 6 in 5", 0},
        {13, DONE, 0, 6, "stop 5", 0}, {14, EXIT, 0, 5, "start 6", 0}, {15, READY, 0, 6, "grant 8 in 6", 0});
    world_done(&world);
}

static void test_who_makes_room_is_the_least_recently_used(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.containers_max = 2, .reclaim_after_ms = NAP_NEVER});
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, SET, 3, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 2, 2, "start 2", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {1, READY, 0, 2, "grant 2 in 2", 0},
        {2, DONE, 0, 2, "", 0}, {3, DONE, 0, 1, "", 0}, {4, WORK, 2, 3, "grant 3 in 2", 0},
        {5, DONE, 0, 3, "", 0},
        {6, WORK, 3, 4, "stop 1", 0}, {7, WORK, 3, 5, "", 0}, /* one place, one stop */
        {8, EXIT, 0, 1, "start 3", 0}, {9, READY, 0, 3, "grant 4 in 3, grant 5 in 3", 0});
    world_done(&world);
}

static void test_functions_of_a_group_take_turns(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->group = mem_string("gpu");
    world.functions[2]->group = mem_string("gpu");
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {1, READY, 0, 1, "grant 1 in 1", 0}, {2, WORK, 2, 2, "", 0},
        {3, WORK, 1, 3, "", 0},            /* there is a slot, but 2 came before 3 */
        {4, WORK, 2, 4, "", 50}, {5, DONE, 0, 1, "stop 1", 0},
        {50, TIMER, 0, 0, "refuse 4: another app of its group was busy", 0},
        {51, EXIT, 0, 1, "start 2", 0}, {52, READY, 0, 2, "grant 2 in 2", 0}, {53, WORK, 2, 5, "", 0},
        {54, DONE, 0, 2, "stop 2", 0}, {55, EXIT, 0, 2, "start 3", 0}, {56, READY, 0, 3, "grant 3 in 3", 0},
        {57, DONE, 0, 3, "stop 3", 0}, {58, EXIT, 0, 3, "start 4", 0}, {59, READY, 0, 4, "grant 5 in 4", 0},
        {60, DONE, 0, 5, "", 0}, {160, TIMER, 0, 0, "freeze 4", 0}, {161, WORK, 1, 6, "stop 4", 0},
        {162, CANCEL, 0, 6, "", 0}, {163, EXIT, 0, 4, "", 0},
        {170, WORK, 1, 7, "start 5", 0}, {171, CANCEL, 0, 7, "", 0}, {172, WORK, 2, 8, "stop 5", 0},
        {173, FAIL, 0, 5, "start 6", 0});
    world_done(&world);
}

static void test_a_group_and_its_versions_exclude_one_another_too(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->group = mem_string("gpu");
    world.functions[2]->group = mem_string("gpu");
    world.functions[2]->min_containers = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 1}, {0, SET, 2, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0}, {0, TIMER, 0, 0, "", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {2, SET, 1, 0, "", 2}, {2, TIMER, 0, 0, "", 0},
        {3, WORK, 1, 2, "", 0},
        {4, DONE, 0, 1, "stop 1", 0}, {5, EXIT, 0, 1, "start 2", 0}, {6, READY, 0, 2, "grant 2 in 2", 0},
        {7, SLEEP, 1, 0, "", 0}, {8, DONE, 0, 2, "stop 2", 0},
        {9, EXIT, 0, 2, "start 3", 0},
        {10, READY, 0, 3, "", 0}, /* min_containers, where nobody is in the way */
        {11, WAKE, 1, 0, "stop 3", 0}, {12, EXIT, 0, 3, "start 4", 0}, {13, READY, 0, 4, "", 0});
    world_done(&world);
}

static void test_a_pinned_one_is_stopped_for_nobody(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.containers_max = 1, .reclaim_after_ms = NAP_NEVER});
    world.functions[1]->pin = true;
    world.functions[1]->group = mem_string("gpu");
    world.functions[2]->group = mem_string("gpu");
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, SET, 3, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {1, READY, 0, 1, "grant 1 in 1", 0}, {2, DONE, 0, 1, "", 0},
        {3, WORK, 2, 2, "", 50}, {4, WORK, 3, 3, "", 60}, {5, WORK, 1, 4, "grant 4 in 1", 0},
        {6, DONE, 0, 4, "", 0},
        {50, TIMER, 0, 0, "refuse 2: another app of its group was busy", 0},
        {60, TIMER, 0, 0, "refuse 3: no container was free in time", 0});
    world_done(&world);
}

/* Three of a group that has the turn of one: the others are in line for nothing. */
static void test_who_yields_makes_nobody_leave(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.containers_max = 2, .reclaim_after_ms = NAP_NEVER});
    world.functions[1]->max_containers = 2;
    world.functions[1]->max_inputs = 1;
    for (int i = 2; i < 4; i++) world.functions[i]->group = mem_string("gpu");
    world.functions[3]->min_containers = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 1, 2, "start 2", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {1, READY, 0, 2, "grant 2 in 2", 0},
        {2, SET, 3, 0, "", 0}, {2, TIMER, 0, 0, "", 0}, /* 3 is in line, and nobody is idle */
        {3, WORK, 2, 3, "", 0},                         /* now 2 has the turn, and 3 wants no place */
        {4, DONE, 0, 1, "stop 1", 0}, {5, DONE, 0, 2, "", 0}, /* one leaves, not two */
        {6, EXIT, 0, 1, "start 3", 0}, {7, READY, 0, 3, "grant 3 in 3", 0});
    world_done(&world);
}

static void test_a_group_that_lives_is_in_line_for_nothing_else(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.containers_max = 2, .reclaim_after_ms = NAP_NEVER});
    world.functions[1]->max_containers = 2;
    world.functions[1]->max_inputs = 1;
    world.functions[1]->min_containers = 1;
    for (int i = 2; i < 4; i++) {
        world.functions[i]->group = mem_string("gpu");
        world.functions[i]->min_containers = 1;
    }
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "start 1", 0}, {0, WORK, 1, 1, "", 0},
        {0, WORK, 1, 2, "start 2", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {1, READY, 0, 2, "grant 2 in 2", 0},
        {2, SET, 2, 0, "", 0}, {2, SET, 3, 0, "", 0}, {2, TIMER, 0, 0, "", 0},
        {3, EXIT, 0, 1, "refuse 1: the container ended while it worked, 1000 ms, start 3", 0},
        {4, WORK, 1, 3, "", 0}, {5, DONE, 0, 2, "grant 3 in 2", 0}, {6, DONE, 0, 3, "", 0});
    assert_int_equal(view(&world, 1).state, NAP_AWAKE); /* 3 wants no place while 2 lives: nobody leaves */
    world_done(&world);
}

static void test_turns_are_settled_before_anybody_yields(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->group = mem_string("gpu");
    world.functions[2]->group = mem_string("gpu");
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, READY, 0, 1, "grant 1 in 1", 0}, {1, WORK, 2, 2, "", 5000},
        /* 1 gets idle and 2 stops waiting at once: there is nobody to yield to */
        {5000, TIMER, 0, 0, "refuse 1: the work took longer than its timeout, "
                            "refuse 2: another app of its group was busy", 0},
        {5010, WORK, 1, 3, "grant 3 in 1", 0});
    world_done(&world);
}

static void test_who_loses_its_last_one_while_it_backs_off_refuses_at_once(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->group = mem_string("gpu");
    world.functions[2]->group = mem_string("gpu");
    world.functions[1]->max_containers = 2;
    world.functions[1]->max_inputs = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {1, READY, 0, 1, "grant 1 in 1", 0},
        {2, WORK, 1, 2, "start 2", 0}, {3, FAIL, 0, 2, "", 0}, {4, CANCEL, 0, 2, "", 0},
        {5, WORK, 2, 3, "", 0}, {6, WORK, 1, 4, "", 0},
        {7, DONE, 0, 1, "stop 1, refuse 4: the last start failed a moment ago, 996 ms", 0});
    world_done(&world);
}

static void test_primed_containers(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.primed_max = 1, .reclaim_after_ms = NAP_NEVER});
    for (int i = 1; i < 3; i++) world.functions[i]->prime = true;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, SET, 2, 0, "", 0}, {0, TIMER, 0, 0, "prime 1", 0},
        {5, CREATED, 0, 1, "", 0});
    assert_int_equal(view(&world, 1).state, NAP_PRIMED_STATE);
    DAY(&world,
        {10, WORK, 1, 1, "start 1, prime 2", 0}, {11, READY, 0, 1, "grant 1 in 1", 0},
        {12, WORK, 2, 2, "start 2", 0}, {13, CREATED, 0, 2, "", 0}, /* was not even there yet */
        {14, READY, 0, 2, "grant 2 in 2", 0}, {15, DONE, 0, 2, "", 0}, {16, DONE, 0, 1, "", 0},
        {17, SLEEP, 2, 0, "stop 2", 0}, {18, EXIT, 0, 2, "prime 3", 0}, {19, SLEEP, 1, 0, "stop 1", 0},
        {20, EXIT, 0, 1, "stop 3, prime 4", 0}, /* used later than the other */
        {21, EXIT, 0, 3, "", 0}, {22, CREATED, 0, 4, "", 0}, {23, SET, 1, 0, "stop 4, prime 5", 2},
        {23, TIMER, 0, 0, "", 0}, {24, EXIT, 0, 4, "stop 5, prime 6", 0}, {25, EXIT, 0, 5, "", 0},
        {26, FAIL, 0, 6, "prime 7", 0}); /* could not be created: the next best, and not the same again */
    world_done(&world);
}

static void test_adoption_after_a_restart(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.first_container = 5, .reclaim_after_ms = NAP_NEVER});
    world.functions[1]->min_containers = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 1}, {0, SET, 2, 0, "", 2}, {0, ADOPT, 1, 40, "", 1},
        {0, ADOPT, 2, 41, "stop 41", 0}, {0, ADOPT, 9, 42, "kill 42", 0},
        {0, TIMER, 0, 0, "", 0}, /* no start for min_containers: there is one */
        {5, WORK, 1, 1, "thaw 40, grant 1 in 40", 0}, {6, WORK, 2, 2, "start 43", 0},
        {7, EXIT, 0, 41, "", 0},
        {8, STOP, 1, 0, "stop 40", 0}, {9, ADOPT, 1, 44, "stop 44", 0}); /* the user was faster */
    world_done(&world);
}
/* clang-format on */

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pressure_takes_the_dozing_ones_first),
        cmocka_unit_test(test_pressure_takes_a_quarter_and_leaves_what_is_kept),
        cmocka_unit_test(test_places_on_the_node_go_round),
        cmocka_unit_test(test_who_makes_room_is_the_least_recently_used),
        cmocka_unit_test(test_functions_of_a_group_take_turns),
        cmocka_unit_test(test_a_group_and_its_versions_exclude_one_another_too),
        cmocka_unit_test(test_a_pinned_one_is_stopped_for_nobody),
        cmocka_unit_test(test_who_yields_makes_nobody_leave),
        cmocka_unit_test(test_a_group_that_lives_is_in_line_for_nothing_else),
        cmocka_unit_test(test_turns_are_settled_before_anybody_yields),
        cmocka_unit_test(test_who_loses_its_last_one_while_it_backs_off_refuses_at_once),
        cmocka_unit_test(test_primed_containers),
        cmocka_unit_test(test_adoption_after_a_restart),
    };
    return cmocka_run_group_tests_name("nap share", tests, NULL, NULL);
}
