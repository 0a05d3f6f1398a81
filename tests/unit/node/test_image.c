/* From an image to a container that runs from its layers. */
#include <sys/socket.h>

#include "../container/house.h"
#include "../image/lab.h"
#include "node.h"

struct life {
    struct house *house;
    int ready, exited;
    char *text;
};

static void on_created_n(void *owner, uint64_t container) {
    (void)owner, (void)container;
}
static void on_ready_n(void *owner, uint64_t container) {
    struct life *life = owner;
    (void)container;
    life->ready++;
    io_loop_stop(life->house->loop);
}
static void on_exited_n(void *owner, uint64_t container, bool was_ready, const char *text) {
    struct life *life = owner;
    (void)container, (void)was_ready;
    life->exited++;
    life->text = mem_string(text);
    io_loop_stop(life->house->loop);
}
static void on_freeze_failed_n(void *owner, uint64_t container) {
    (void)owner, (void)container;
}
static void on_pressure_n(void *owner) {
    (void)owner;
}
static const struct node_events node_events = {on_created_n, on_ready_n, on_exited_n, on_freeze_failed_n,
                                               on_pressure_n};

static void test_a_registry_image_runs(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    const char *name = getenv("LAB_IMAGE");
    if (!name) skip();
    struct house *house = house_new(NULL);
    struct life life = {.house = house};
    struct lab lab = {.loop = house->loop, .deadline = house->deadline, .dir = house->dir};
    scoped_string char *logs = path_join(house->state_dir, "logs"),
                       *volumes = path_join(house->state_dir, "volumes");
    struct node *node = node_new(&(struct node_options){.loop = house->loop,
                                                        .host = house->host,
                                                        .logs_dir = logs,
                                                        .volumes_dir = volumes,
                                                        .step_numbers = 1000});
    struct image_pair mirror = {"docker.io", "http://127.0.0.1:5551"};
    lab.options.mirrors = &mirror, lab.options.mirror_count = 1;
    lab.options.runner = node_image_runner(node);
    lab_open(&lab);
    node_images_set(node, lab.store);
    node_events_set(node, &node_events, &life);
    struct lab_job job = {.lab = &lab};
    image_pull(lab.store, &(struct image_pull){.name = name}, &lab_events, &job);
    io_timer_free(house->deadline);
    lab.deadline = io_timer_new(house->loop, lab_on_deadline, &lab);
    lab_await(&lab, &job);
    printf("%s%s\n", job.lines.data, job.error ? error_text(job.error) : "pulled");
    scoped(core_function) struct core_function *function = core_function_new("tests", "py");
    free(function->image);
    function->image = mem_string(name);
    function->port = 8000;
    function->startup_timeout_ms = 20000;
    function->command = mem_array(6, sizeof(char *));
    function->command[0] = mem_string("python3");
    function->command[1] = mem_string("-c");
    function->command[2] = mem_string("import os;print(os.environ, os.listdir('/'))");
    assert_ok(node_function_check(node, function));
    node_create(node, 1, function, 1, true);
    while (!life.exited) io_loop_run(house->loop);
    printf("%s\n", life.text);
    node_free(node);
    image_store_free(lab.store);
    io_timer_free(lab.deadline);
    house->deadline = NULL;
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_registry_image_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
