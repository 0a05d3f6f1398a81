/* Days of one pool, told as tables: starts, grants, bedtimes, failures, versions, the user's verbs. */
#include "world.h"

/* clang-format off */
static void test_a_day_with_a_doze(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0},            {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0},    {1, WORK, 1, 2, "", 0},
        {2, WORK, 1, 3, "", 0}, {300, READY, 0, 1, "grant 1 in 1, grant 2 in 1", 0},
        {400, DONE, 0, 1, "grant 3 in 1", 0}, {410, DONE, 0, 2, "", 0},
        {420, DONE, 0, 3, "", 0},         {470, TIMER, 0, 0, "", 0}, /* too early: bedtime stays */
        {520, TIMER, 0, 0, "freeze 1", 0},
        {600, WORK, 1, 4, "thaw 1, grant 4 in 1", 0}, {650, TIMER, 0, 0, "", 0}, /* overtaken by the work */
        {700, DONE, 0, 4, "", 0},         {800, TIMER, 0, 0, "freeze 1", 0},
        {1000, TIMER, 0, 0, "reclaim 1", 0},
        {1300, TIMER, 0, 0, "stop 1", 0}, /* 600 ms from the last work, not from the freezer */
        {1310, WORK, 1, 5, "", 0},        {1350, TIMER, 0, 0, "kill 1", 0},
        {1351, EXIT, 0, 1, "start 2", 0}, {1400, READY, 0, 2, "grant 5 in 2", 0},
        {1450, DONE, 0, 5, "", 0},        {1550, TIMER, 0, 0, "freeze 2", 0});
    assert_int_equal(view(&world, 1).state, NAP_DOZING);
    world_done(&world);
}

static void test_an_app_that_cannot_start(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    static const struct moment failed = {6, WORK, 1, 2,
                                         "refuse 2: the last start failed a moment ago, 999 ms", 0};
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {5, FAIL, 0, 1, "refuse 1: the container could not be started, 1000 ms", 0});
    live(&world, &failed, 1);
    assert_int_equal(view(&world, 1).state, NAP_FAILED);
    assert_int_equal(view(&world, 1).retry_ms, 999);
    DAY(&world,
        {1005, TIMER, 0, 0, "", 0}, {1005, WORK, 1, 3, "start 2", 0}, {1006, WORK, 1, 4, "", 0},
        {2005, TIMER, 0, 0, "stop 2, refuse 3: the container did not become ready in time, 2000 ms, "
                            "refuse 4: the container did not become ready in time, 2000 ms", 0},
        {2010, FAIL, 0, 2, "", 0}, /* the end of one given up is not another failure */
        {4005, TIMER, 0, 0, "", 0}, {4005, WORK, 1, 5, "start 3", 0}, {4006, READY, 0, 3, "grant 5 in 3", 0},
        {4007, DONE, 0, 5, "", 0}, {4107, TIMER, 0, 0, "freeze 3", 0}, {4110, EXIT, 0, 3, "", 0},
        {4120, WORK, 1, 6, "start 4", 0},
        {4130, FAIL, 0, 4, "refuse 6: the container could not be started, 1000 ms", 0});
    /* success had begun it anew */
    world_done(&world);
}

static void test_backoff_doubles_up_to_its_end(void **unused) {
    (void)unused;
    struct world world = world_new(&(struct nap_config){.backoff_first_ms = 10, .backoff_max_ms = 35});
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0},
        {0, FAIL, 0, 1, "refuse 1: the container could not be started, 10 ms", 0},
        {9, WORK, 1, 2, "refuse 2: the last start failed a moment ago, 1 ms", 0}, {10, TIMER, 0, 0, "", 0},
        {10, WORK, 1, 3, "start 2", 0},
        {10, FAIL, 0, 2, "refuse 3: the container could not be started, 20 ms", 0},
        {30, TIMER, 0, 0, "", 0},
        {30, WORK, 1, 4, "start 3", 0},
        {30, FAIL, 0, 3, "refuse 4: the container could not be started, 35 ms", 0},
        {65, TIMER, 0, 0, "", 0},
        {65, WORK, 1, 5, "start 4", 0},
        {65, FAIL, 0, 4, "refuse 5: the container could not be started, 35 ms", 0},
        {66, WAKE, 1, 0, "start 5", 0}, /* the user knows better */
        {70, FAIL, 0, 5, "", 0},
        {79, WORK, 1, 6, "refuse 6: the last start failed a moment ago, 1 ms", 0});
    world_done(&world);
}

static void test_one_that_falls_over_before_any_work_counts_as_failed(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->min_containers = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "start 1", 0}, {10, READY, 0, 1, "", 0},
        {20, EXIT, 0, 1, "", 0},
        {1020, TIMER, 0, 0, "start 2", 0}, {1030, READY, 0, 2, "", 0}, {1040, EXIT, 0, 2, "", 0},
        {3040, TIMER, 0, 0, "start 3", 0}, {3050, READY, 0, 3, "", 0}, {3150, TIMER, 0, 0, "freeze 3", 0},
        {3350, TIMER, 0, 0, "reclaim 3", 0},
        {9000, EXIT, 0, 3, "start 4", 0}); /* after a while it is an accident: at once */
    world_done(&world);
}

static void test_failed_starts_do_not_hurt_who_is_served_by_others(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 2;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0}, {1, WORK, 1, 2, "", 0},
        {2, WORK, 1, 3, "start 2", 0}, {3, FAIL, 0, 2, "", 0}, {4, WORK, 1, 4, "", 0},
        {5, READY, 0, 1, "grant 1 in 1, grant 2 in 1, start 3", 0});
    world_done(&world);
}

static void test_scaling_out_counts_those_that_start(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 3;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 1, 2, "", 0}, {0, WORK, 1, 3, "start 2", 0},
        {0, WORK, 1, 4, "", 0},
        {0, WORK, 1, 5, "start 3", 0}, {0, WORK, 1, 6, "", 0}, {0, WORK, 1, 7, "", 0}, {0, WORK, 1, 8, "", 0},
        {9, READY, 0, 2, "grant 1 in 2, grant 2 in 2", 0}, {9, READY, 0, 1, "grant 3 in 1, grant 4 in 1", 0},
        {9, READY, 0, 3, "grant 5 in 3, grant 6 in 3", 0},
        {10, DONE, 0, 6, "grant 7 in 3", 0}, {11, DONE, 0, 1, "grant 8 in 2", 0},
        {12, DONE, 0, 8, "", 0}, {13, DONE, 0, 2, "", 0},
        {14, WORK, 1, 9, "grant 9 in 2", 0}, {15, DONE, 0, 9, "", 0}, {16, DONE, 0, 3, "", 0},
        {17, WORK, 1, 10, "grant 10 in 1", 0}, /* the fullest with room, so that 2 can doze */
        {115, TIMER, 0, 0, "freeze 2", 0}, {315, TIMER, 0, 0, "reclaim 2", 0},
        {615, TIMER, 0, 0, "stop 2", 0});
    world_done(&world);
}

static void test_above_the_target_work_is_granted_while_the_next_one_starts(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 2;
    world.functions[1]->max_inputs = 4;
    world.functions[1]->target_inputs = 2;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {2, WORK, 1, 2, "grant 2 in 1", 0},
        {3, WORK, 1, 3, "grant 3 in 1, start 2", 0}, {4, READY, 0, 2, "", 0},
        {5, WORK, 1, 4, "grant 4 in 2", 0}, {6, WORK, 1, 5, "grant 5 in 2", 0},
        {7, WORK, 1, 6, "grant 6 in 2", 0},
        {8, WORK, 1, 7, "grant 7 in 1", 0}, /* the emptiest, 1 or 2, from here on */
        {9, WORK, 1, 8, "grant 8 in 2", 0}, {10, WORK, 1, 9, "", 0}, {11, DONE, 0, 4, "grant 9 in 2", 0});
    world_done(&world);
}

static void test_a_thaw_is_better_than_a_crowd(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 3;
    world.functions[1]->max_inputs = 2;
    world.functions[1]->target_inputs = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {0, WORK, 1, 2, "start 2", 0},
        {0, WORK, 1, 3, "start 3", 0}, {1, READY, 0, 1, "grant 1 in 1, grant 2 in 1", 0},
        {2, READY, 0, 2, "grant 3 in 2", 0}, {3, READY, 0, 3, "", 0}, {4, CANCEL, 0, 3, "", 0},
        {103, TIMER, 0, 0, "freeze 3", 0}, {104, TIMER, 0, 0, "freeze 2", 0},
        {105, WORK, 1, 4, "thaw 2, grant 4 in 2", 0}, {106, WORK, 1, 5, "thaw 3, grant 5 in 3", 0},
        {107, WORK, 1, 6, "grant 6 in 2", 0});
    world_done(&world);
}

static void test_waits_and_work_have_their_deadlines(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_inputs = 1;
    world.functions[1]->queue_max = 2;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 500},
        {0, WORK, 1, 2, "", 200},
        {1, WORK, 1, 3, "refuse 3: too many requests wait already", 0},
        {200, TIMER, 0, 0, "refuse 2: no container was free in time", 0},
        {300, READY, 0, 1, "grant 1 in 1", 0}, {310, WORK, 1, 4, "", 0}, {320, CANCEL, 0, 4, "", 0},
        {330, WORK, 1, 5, "", 9000},
        {5300, TIMER, 0, 0, "refuse 1: the work took longer than its timeout, grant 5 in 1", 0},
        {5301, DONE, 0, 1, "", 0},
        {5310, DONE, 0, 5, "", 0}, {5310, DONE, 0, 5, "", 0}, {5410, TIMER, 0, 0, "freeze 1", 0});
    world_done(&world);
}

static void test_a_container_that_dies_takes_its_work_along(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {5, READY, 0, 1, "grant 1 in 1", 0},
        {6, WORK, 1, 2, "grant 2 in 1", 0}, {7, WORK, 1, 3, "", 0}, {8, DONE, 0, 2, "grant 3 in 1", 0},
        {9, WORK, 1, 4, "", 0},
        {20, EXIT, 0, 1, "refuse 1: the container ended while it worked, "
                         "refuse 3: the container ended while it worked, "
                         "start 2", 0},
        {30, READY, 0, 2, "grant 4 in 2", 0}, {31, DONE, 0, 1, "", 0});
    world_done(&world);
}

static void test_min_containers_stay_but_may_doze(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->min_containers = 1;
    world.functions[1]->max_containers = 2;
    world.functions[1]->max_inputs = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "start 1", 0}, {5, READY, 0, 1, "", 0},
        {105, TIMER, 0, 0, "freeze 1", 0},
        {305, TIMER, 0, 0, "reclaim 1", 0},
        {2000, WORK, 1, 1, "thaw 1, grant 1 in 1", 0}, {2001, WORK, 1, 2, "start 2", 0},
        {2002, READY, 0, 2, "grant 2 in 2", 0},
        {2005, DONE, 0, 2, "", 0}, {2006, WORK, 1, 3, "grant 3 in 2", 0},
        {2010, DONE, 0, 1, "", 0}, {2110, TIMER, 0, 0, "freeze 1", 0}, {2310, TIMER, 0, 0, "reclaim 1", 0},
        {2610, TIMER, 0, 0, "stop 1", 0}, {2611, EXIT, 0, 1, "", 0}, /* 2 works, and it is enough */
        {2700, EXIT, 0, 2, "refuse 3: the container ended while it worked, start 3", 0});
    world_done(&world);
}

static void test_a_start_that_nobody_waits_for_goes_on(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {5, CANCEL, 0, 1, "", 0},
        {100, READY, 0, 1, "", 0}, {110, WORK, 1, 2, "grant 2 in 1", 0}, {120, DONE, 0, 2, "", 0},
        {220, TIMER, 0, 0, "freeze 1", 0});
    world_done(&world);
}

static void test_the_freezer_that_failed_is_tried_after_the_next_work(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {0, READY, 0, 1, "grant 1 in 1", 0},
        {10, DONE, 0, 1, "", 0}, {110, TIMER, 0, 0, "freeze 1", 0}, {111, UNFREEZABLE, 0, 1, "", 0},
        {400, WORK, 1, 2, "grant 2 in 1", 0}, {410, UNFREEZABLE, 0, 1, "", 0}, {420, DONE, 0, 2, "", 0},
        {520, TIMER, 0, 0, "freeze 1", 0}, {521, UNFREEZABLE, 0, 1, "", 0}, {1020, TIMER, 0, 0, "stop 1", 0});
    world_done(&world);
}

static void test_a_new_version_takes_over(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 1}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0},
        {10, SET, 1, 0, "", 2}, {10, TIMER, 0, 0, "", 0},
        {11, WORK, 1, 2, "start 2", 0}, /* the old one works on, and takes nothing new */
        {20, READY, 0, 2, "grant 2 in 2", 0}, {30, DONE, 0, 1, "stop 1", 0}, {31, EXIT, 0, 1, "", 0},
        {40, DONE, 0, 2, "", 0}, {50, SET, 1, 0, "", 2}, {50, TIMER, 0, 0, "", 0}, /* only limits: it stays */
        {60, SET, 1, 0, "stop 2", 3}, {60, TIMER, 0, 0, "", 0}, {110, TIMER, 0, 0, "kill 2", 0},
        {1110, TIMER, 0, 0, "kill 2", 0}, {1120, EXIT, 0, 2, "", 0});
    world_done(&world);
}

static void test_limits_that_shrink(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_inputs = 1;
    world.functions[1]->max_containers = 3;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {0, WORK, 1, 2, "start 2", 0},
        {0, WORK, 1, 3, "start 3", 0}, {1, READY, 0, 1, "grant 1 in 1", 0},
        {1, READY, 0, 2, "grant 2 in 2", 0},
        {1, READY, 0, 3, "grant 3 in 3", 0}, {2, DONE, 0, 1, "", 0});
    world.functions[1]->max_containers = 1;
    DAY(&world,
        {3, SET, 1, 0, "stop 1", 0}, {3, TIMER, 0, 0, "", 0}, {4, WORK, 1, 4, "", 0},
        {5, DONE, 0, 2, "grant 4 in 2", 0}, {6, DONE, 0, 3, "stop 3", 0}, {7, EXIT, 0, 1, "", 0},
        {8, EXIT, 0, 3, "", 0});
    world_done(&world);
}

static void test_the_users_verbs(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->min_containers = 1;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "start 1", 0}, {1, READY, 0, 1, "", 0},
        {2, DOZE, 1, 0, "freeze 1", 0}, {3, DOZE, 1, 0, "", 0}, {4, WAKE, 1, 0, "thaw 1", 0},
        {4, WAKE, 1, 0, "", 0},
        {5, WORK, 1, 1, "grant 1 in 1", 0}, {6, DOZE, 1, 0, "", 0}, {7, SLEEP, 1, 0, "", 0},
        {8, DONE, 0, 1, "stop 1", 0}, {9, EXIT, 0, 1, "", 0}, /* min_containers is not kept while it sleeps */
        {10, WORK, 1, 2, "start 2", 0}, {11, READY, 0, 2, "grant 2 in 2", 0}, {12, SLEEP, 1, 0, "", 0},
        {13, WORK, 1, 3, "grant 3 in 2", 0}, {14, DONE, 0, 3, "", 0},
        {15, DONE, 0, 2, "", 0}, /* a request ended the sleep */
        {16, WORK, 1, 4, "grant 4 in 2", 0}, {16, WORK, 1, 5, "grant 5 in 2", 0}, {16, WORK, 1, 6, "", 0},
        {17, STOP, 1, 0, "refuse 6: the app was stopped, stop 2", 0},
        {18, WORK, 1, 7, "refuse 7: the app was stopped", 0}, {19, DONE, 0, 4, "", 0},
        {20, EXIT, 0, 2, "refuse 5: the app was stopped", 0}, {21, WAKE, 1, 0, "start 3", 0},
        {22, SLEEP, 1, 0, "stop 3", 0}, {23, WAKE, 1, 0, "", 0}, {24, EXIT, 0, 3, "start 4", 0});
    assert_int_equal(view(&world, 1).state, NAP_STARTING);
    world_done(&world);
}

static void test_an_app_that_is_removed(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    struct nap_pool_view seen;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0},
        {2, WORK, 1, 2, "grant 2 in 1", 0}, {2, WORK, 1, 3, "", 0},
        {3, REMOVE, 1, 0, "refuse 3: the app was removed, stop 1", 0},
        {4, WORK, 1, 4, "refuse 4: the app was removed", 0}, {5, DONE, 0, 1, "", 0},
        {53, TIMER, 0, 0, "kill 1", 0},
        {54, EXIT, 0, 1, "refuse 2: the app was removed", 0},
        {55, WORK, 1, 5, "refuse 5: the app was removed", 0});
    assert_false(nap_pool_view(world.nap, 1, 55, &seen));
    assert_true(nap_deadline_ms(world.nap) == NAP_NEVER);
    world_done(&world);
}

static void test_a_wake_that_the_user_takes_back_wakes_nobody_later(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {1, WAKE, 1, 0, "start 1", 0},
        {2, STOP, 1, 0, "stop 1", 0}, {3, EXIT, 0, 1, "", 0},
        {10, WAKE, 1, 0, "start 2", 0}, {11, SLEEP, 1, 0, "stop 2", 0}, {12, EXIT, 0, 2, "", 0});
    assert_true(nap_deadline_ms(world.nap) == NAP_NEVER);
    world_done(&world);
}

static void test_who_is_needed_keeps_no_bedtime_of_the_spare(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 4;
    world.functions[1]->max_inputs = 1;
    world.functions[1]->doze_after_ms = NAP_NEVER;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 1, 2, "start 2", 0}, {0, WORK, 1, 3, "start 3", 0},
        {0, WORK, 1, 4, "start 4", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {1, READY, 0, 2, "grant 2 in 2", 0},
        {1, READY, 0, 3, "grant 3 in 3", 0}, {1, READY, 0, 4, "grant 4 in 4", 0},
        {2, DONE, 0, 1, "", 0}, {3, DONE, 0, 2, "", 0}, {4, DONE, 0, 3, "", 0}, {5, DONE, 0, 4, "", 0});
    world.functions[1]->min_containers = 4; /* from here on all four are kept */
    DAY(&world, {6, SET, 1, 0, "", 0}, {6, TIMER, 0, 0, "", 0}, {7, PRESSURE, 0, 0, "", 0});
    assert_true(nap_deadline_ms(world.nap) == NAP_NEVER);
    world_done(&world);
}

static void test_who_was_at_work_in_a_failed_start_is_told_for_how_long(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {0, WORK, 1, 2, "", 0}, {0, WORK, 1, 3, "", 0},
        {1, READY, 0, 1, "grant 1 in 1, grant 2 in 1", 0},
        {2, EXIT, 0, 1, "refuse 1: the container ended while it worked, 1000 ms, "
                        "refuse 2: the container ended while it worked, 1000 ms, "
                        "refuse 3: the container could not be started, 1000 ms", 0});
    world_done(&world);
}

static void test_no_retry_is_promised_for_what_waiting_does_not_heal(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 2;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0},
        {0, WORK, 1, 1, "start 1", 0}, {0, WORK, 1, 2, "", 0}, {0, WORK, 1, 3, "start 2", 0},
        {1, FAIL, 0, 2, "", 0}, /* it backs off, but 1 may come yet */
        {2, STOP, 1, 0, "refuse 1: the app was stopped, refuse 2: the app was stopped, "
                        "refuse 3: the app was stopped, stop 1", 0},
        {3, WORK, 1, 4, "refuse 4: the app was stopped", 0}, {4, REMOVE, 1, 0, "", 0},
        {5, WORK, 1, 5, "refuse 5: the app was removed", 0});
    world_done(&world);
}

static void test_one_set_again_after_its_removal_is_a_new_one(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, TIMER, 0, 0, "", 0}, {0, WORK, 1, 1, "start 1", 0},
        {1, READY, 0, 1, "grant 1 in 1", 0}, {2, DONE, 0, 1, "", 0}, {3, STOP, 1, 0, "stop 1", 0},
        {4, REMOVE, 1, 0, "", 0}, {5, SET, 1, 0, "", 2}, {5, TIMER, 0, 0, "", 0},
        {6, WORK, 1, 2, "start 2", 0});
    world_done(&world);
}

static void test_time_never_goes_backwards(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    DAY(&world, {1000, SET, 1, 0, "", 0}, {1000, TIMER, 0, 0, "", 0}, {500, WORK, 1, 1, "start 1", 0});
    assert_true(nap_deadline_ms(world.nap) == 2000);
    world_done(&world);
}
/* clang-format on */

/* clang-format off */
static void test_work_goes_on_in_an_adopted_container(void **unused) {
    (void)unused;
    struct world world = world_new(&plain);
    world.functions[1]->max_containers = 3;
    DAY(&world,
        {0, SET, 1, 0, "", 0}, {0, ADOPT, 1, 7, "", 0}, {0, ADOPT, 1, 8, "", 0},
        {0, RESUME, 1, 1, "grant 1 in 7", 7}, {0, RESUME, 1, 2, "grant 2 in 7", 7},
        {0, RESUME, 1, 3, "grant 3 in 8", 9}, /* that one is gone: any will do */
        {0, TIMER, 0, 0, "", 0}, {50, DONE, 0, 3, "", 0},
        {60, WORK, 1, 4, "grant 4 in 8", 0}, {70, DONE, 0, 4, "", 0}, {80, EXIT, 0, 8, "", 0},
        {90, EXIT, 0, 7, "refuse 1: the container ended while it worked, "
                         "refuse 2: the container ended while it worked", 0});
    world_done(&world);
}
/* clang-format on */

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_day_with_a_doze),
        cmocka_unit_test(test_an_app_that_cannot_start),
        cmocka_unit_test(test_backoff_doubles_up_to_its_end),
        cmocka_unit_test(test_one_that_falls_over_before_any_work_counts_as_failed),
        cmocka_unit_test(test_failed_starts_do_not_hurt_who_is_served_by_others),
        cmocka_unit_test(test_scaling_out_counts_those_that_start),
        cmocka_unit_test(test_above_the_target_work_is_granted_while_the_next_one_starts),
        cmocka_unit_test(test_a_thaw_is_better_than_a_crowd),
        cmocka_unit_test(test_waits_and_work_have_their_deadlines),
        cmocka_unit_test(test_a_container_that_dies_takes_its_work_along),
        cmocka_unit_test(test_min_containers_stay_but_may_doze),
        cmocka_unit_test(test_a_start_that_nobody_waits_for_goes_on),
        cmocka_unit_test(test_the_freezer_that_failed_is_tried_after_the_next_work),
        cmocka_unit_test(test_a_new_version_takes_over),
        cmocka_unit_test(test_limits_that_shrink),
        cmocka_unit_test(test_the_users_verbs),
        cmocka_unit_test(test_an_app_that_is_removed),
        cmocka_unit_test(test_a_wake_that_the_user_takes_back_wakes_nobody_later),
        cmocka_unit_test(test_who_is_needed_keeps_no_bedtime_of_the_spare),
        cmocka_unit_test(test_who_was_at_work_in_a_failed_start_is_told_for_how_long),
        cmocka_unit_test(test_no_retry_is_promised_for_what_waiting_does_not_heal),
        cmocka_unit_test(test_one_set_again_after_its_removal_is_a_new_one),
        cmocka_unit_test(test_time_never_goes_backwards),
        cmocka_unit_test(test_work_goes_on_in_an_adopted_container),
    };
    return cmocka_run_group_tests_name("nap", tests, NULL, NULL);
}
