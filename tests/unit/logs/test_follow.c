/* Logs that are followed before there is anything: the first container's words come when they are written. */
#include "logs.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

struct world {
    struct io_loop *loop;
    char dir[64];
    char *logs; /* not there yet */
    struct logs_follow *follow;
    struct io_timer *later, *deadline;
    struct text seen;
    const char *wanted;
};

static void write_line(struct world *world, const char *function, const char *text) {
    scoped_string char *folder = mem_printf("%s/app/%s", world->logs, function);
    scoped_string char *path = mem_printf("%s/1.log", folder);
    assert_ok(dir_make(folder, 0700));
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "2026-01-02T03:04:05.678Z out %s\n", text);
    fclose(file);
}

static void on_line(void *owner, const struct logs_line *line) {
    struct world *world = owner;
    text_add(&world->seen, line->text);
    text_add_char(&world->seen, ' ');
    if (strstr(world->seen.data, world->wanted)) io_loop_stop(world->loop);
}

static void on_deadline(void *owner) {
    struct world *world = owner;
    fail_msg("'%s' did not come; seen: '%s'", world->wanted, world->seen.data ? world->seen.data : "");
}

static void on_later(void *owner) {
    write_line(owner, "f", "first");
}

static int set_up(void **state) {
    struct world *world = NEW(struct world);
    snprintf(world->dir, sizeof world->dir, "/tmp/catnap-logs-XXXXXX");
    if (!mkdtemp(world->dir)) return -1;
    world->loop = io_loop_new();
    world->logs = path_join(world->dir, "logs");
    world->later = io_timer_new(world->loop, on_later, world);
    world->deadline = io_timer_new(world->loop, on_deadline, world);
    const struct logs_query query = {.dir = world->logs, .app = "app"};
    assert_ok(logs_follow_start(world->loop, &query, on_line, world, &world->follow));
    *state = world;
    return 0;
}

static int tear_down(void **state) {
    struct world *world = *state;
    logs_follow_free(world->follow);
    io_timer_free(world->later);
    io_timer_free(world->deadline);
    io_loop_free(world->loop);
    error_free(tree_remove(world->dir));
    text_done(&world->seen);
    free(world->logs);
    free(world);
    return 0;
}

static void wait_for(struct world *world, const char *wanted) {
    world->wanted = wanted;
    io_timer_arm(world->deadline, 30 * 1000);
    io_loop_run(world->loop);
}

static void test_folders_that_come_later_are_followed(void **state) {
    struct world *world = *state;
    io_timer_arm(world->later, 50); /* after the first reading */
    wait_for(world, "first");
    write_line(world, "g", "second");
    wait_for(world, "second");
    write_line(world, "f", "third");
    wait_for(world, "third");
    assert_string_equal(world->seen.data, "first second third ");
}

static void test_folders_that_come_before_the_first_reading_are_followed(void **state) {
    struct world *world = *state;
    write_line(world, "f", "first"); /* its news comes together with the first reading */
    wait_for(world, "first");
    write_line(world, "f", "second");
    wait_for(world, "second");
    assert_string_equal(world->seen.data, "first second ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_folders_that_come_later_are_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders_that_come_before_the_first_reading_are_followed, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("follow", tests, NULL, NULL);
}
