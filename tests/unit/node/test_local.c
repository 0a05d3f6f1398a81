/* This machine as a node: nap's numbers become containers with their images and volumes, and every end is
 * told in a sentence. */
#include "house.h"
#include "node.h"
#include "store.h"
#include "volume.h"

struct flat { /* a house with a node in it */
    struct house *house;
    struct node *node;
    struct store *store;
    struct volumes *volumes;
    char *volumes_dir;
    int created, ready, exited;
    bool was_ready;
    char text[4096];
};

static void on_node_created(void *owner, uint64_t container) {
    struct flat *flat = owner;
    (void)container;
    flat->created++;
    io_loop_stop(flat->house->loop);
}
static void on_node_ready(void *owner, uint64_t container) {
    struct flat *flat = owner;
    (void)container;
    flat->ready++;
    io_loop_stop(flat->house->loop);
}
static void on_node_exited(void *owner, uint64_t container, bool was_ready, const char *text) {
    struct flat *flat = owner;
    (void)container;
    flat->exited++;
    flat->was_ready = was_ready;
    snprintf(flat->text, sizeof flat->text, "%s", text);
    io_loop_stop(flat->house->loop);
}
static void on_freeze_failed(void *owner, uint64_t container) {
    (void)owner;
    fail_msg("container %d can't be frozen", (int)container);
}
static void on_pressure(void *owner) {
    (void)owner;
}
static const struct node_events events = {.created = on_node_created,
                                          .ready = on_node_ready,
                                          .exited = on_node_exited,
                                          .freeze_failed = on_freeze_failed,
                                          .pressure = on_pressure};

static void node_open(struct flat *flat) {
    assert_ok(store_open(flat->house->loop, flat->house->dir, &flat->store));
    assert_ok(volumes_open(
        &(struct volumes_options){.loop = flat->house->loop, .store = flat->store, .dir = flat->volumes_dir},
        &flat->volumes));
    flat->node = node_new(&(struct node_options){.loop = flat->house->loop,
                                                 .host = flat->house->host,
                                                 .volumes = flat->volumes,
                                                 .logs_dir = flat->house->logs_dir});
    node_events_set(flat->node, &events, flat);
}
static struct flat flat_new(void) {
    struct flat flat = {.house = house_new(NULL)};
    flat.volumes_dir = path_join(flat.house->dir, "volumes");
    return flat;
}
static void node_close(struct flat *flat) {
    node_free(flat->node);
    volumes_free(flat->volumes);
    store_free(flat->store);
}
static void flat_free(struct flat *flat) {
    node_close(flat);
    free(flat->volumes_dir);
    house_free(flat->house);
}
#define AWAIT_NODE(FLAT, COUNTER) await((FLAT).house, &(FLAT).COUNTER, 1, #COUNTER)

/* The server by a volume, as a user would do it. */
static struct core_function *served(const struct flat *flat, const char *name) {
    struct core_function *function = server_function(name);
    core_function_volume_add(function, "/srv/tiny", flat->house->server_dir, true);
    return function;
}

static void test_a_stop_is_asked_for(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function = served(&flat, "stops");
    node_create(flat.node, 7, function, 1, true);
    AWAIT_NODE(flat, ready);
    int fd = -1;
    assert_ok(node_connect(flat.node, 7, 8000, &fd));
    close(fd);
    assert_true(node_pid(flat.node, 7) > 1);
    assert_true(node_memory_bytes(flat.node, 7) > 0);
    assert_string_equal(node_stage(flat.node, 7), "ready");
    node_stop(flat.node, 7);
    AWAIT_NODE(flat, exited);
    assert_string_equal(flat.text, "catnap ended it");
    assert_true(flat.was_ready);
    assert_null(node_stage(flat.node, 7));
    flat_free(&flat);
}

/* nap lets the grace pass between the two. */
static void test_who_ignores_it_is_killed(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function = served(&flat, "stubborn");
    core_function_env_add(function, "TINY_IGNORE_TERM", "1");
    node_create(flat.node, 7, function, 1, true);
    AWAIT_NODE(flat, ready);
    node_freeze(flat.node, 7);
    node_stop(flat.node, 7); /* hears it, frozen or not */
    pass_time(flat.house, 50);
    assert_int_equal(flat.exited, 0);
    node_kill(flat.node, 7);
    AWAIT_NODE(flat, exited);
    assert_string_equal(flat.text, "catnap ended it: it did not end when it was asked to");
    flat_free(&flat);
}

static void test_ends_are_told_with_the_last_words(void **unused) {
    NEEDS_ROOT();
    static const struct {
        const char *name, *script, *text;
        uint64_t memory_bytes;
    } rows[] = {
        {"exits", "echo one; echo two >&2; sleep 0.05; echo three; exit 3",
         "it exited with code 3; the last lines of its log:\none\ntwo\nthree", 0},
        {"silent", "exit 0", "it exited with code 0", 0},
        {"crashes", "echo before; kill -SEGV $$",
         "it was ended by signal 11 (Segmentation fault); the last lines of its "
         "log:\nbefore",
         0},
        {"greedy", "exec python3 -c 'x = b\"x\" * 300_000_000'",
         "it was killed for using more memory than its limit", 48 << 20},
        {"missing", "exec /no/such/program",
         "it exited with code 127; the last lines of its log:\n"
         "/bin/sh: 1: exec: /no/such/program: not found",
         0},
    };
    struct flat flat = flat_new();
    node_open(&flat);
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped(core_function) struct core_function *function = shell_function(rows[i].name, rows[i].script);
        function->memory_bytes = rows[i].memory_bytes;
        flat.exited = 0;
        node_create(flat.node, i + 1, function, 1, true);
        AWAIT_NODE(flat, exited);
        assert_string_equal(flat.text, rows[i].text);
    }
    flat_free(&flat);
}

/* The end stands in the log too, once, for who looks later. */
static void test_the_end_is_the_last_line_of_the_log(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function = shell_function("exits", "echo words; exit 3");
    node_create(flat.node, 1, function, 1, true);
    AWAIT_NODE(flat, exited);
    scoped_string char *tail = logs_tail(flat.house->logs_dir, "tests", "exits", "1", 10, 4096);
    assert_string_equal(tail, "words\nit exited with code 3");
    flat_free(&flat);
}

static void test_what_cannot_even_begin_is_told_as_an_end(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function = shell_function("image", "true");
    free(function->image);
    function->image = mem_string("/no/such/image");
    node_create(flat.node, 1, function, 1, true);
    assert_int_equal(flat.exited, 0); /* not within the call */
    AWAIT_NODE(flat, exited);
    assert_non_null(strstr(flat.text, "/no/such/image"));
    scoped(core_function) struct core_function *volume = shell_function("volume", "true");
    core_function_volume_add(volume, "/data", "/no/such/directory", false);
    flat.exited = 0;
    node_create(flat.node, 2, volume, 1, true);
    AWAIT_NODE(flat, exited);
    assert_non_null(strstr(flat.text, "/no/such/directory"));
    flat_free(&flat);
}

static void test_a_function_is_looked_at_before_it_is_accepted(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *good = served(&flat, "good");
    assert_ok(node_function_check(flat.node, good));
    scoped(core_function) struct core_function *image = served(&flat, "image");
    free(image->image);
    image->image = mem_string("/no/such/image");
    assert_error(node_function_check(flat.node, image), ERROR_NOT_FOUND, "/no/such/image");
    scoped(core_function) struct core_function *volume = served(&flat, "volume");
    core_function_volume_add(volume, "/data", "/no/such/directory", false);
    assert_error(node_function_check(flat.node, volume), ERROR_NOT_FOUND, "/no/such/directory");
    flat_free(&flat);
}

static void test_a_volume_outlives_its_containers(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function =
        shell_function("keeps", "cat /data/count 2>/dev/null; echo more >> /data/count");
    core_function_volume_add(function, "/data", "kept", false);
    for (uint64_t i = 1; i <= 3; i++) {
        flat.exited = 0;
        node_create(flat.node, i, function, 1, true);
        AWAIT_NODE(flat, exited);
    }
    struct volume *volume = volume_find(flat.volumes, VOLUME_MAIN, "kept");
    assert_non_null(volume);
    scoped_string char *said = guest_output(flat.house, "keeps"),
                       *file = path_join(volume_live_path(volume), "count");
    assert_string_equal(said, "more\nmore\nmore");
    assert_true(file_exists(file));
    flat_free(&flat);
}

static void test_a_primed_one_may_be_started_before_it_is_there(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function = served(&flat, "primed");
    node_create(flat.node, 1, function, 1, false);
    node_start(flat.node, 1);
    AWAIT_NODE(flat, ready);
    assert_int_equal(flat.created, 0);
    node_create(flat.node, 2, function, 1, false);
    AWAIT_NODE(flat, created);
    assert_string_equal(node_stage(flat.node, 2), "created");
    node_kill(flat.node, 2);
    AWAIT_NODE(flat, exited);
    flat.exited = 0;
    node_kill(flat.node, 1);
    AWAIT_NODE(flat, exited);
    flat_free(&flat);
}

/* A number that is gone: its end was told, or is on the way. */
static void test_numbers_that_are_gone_are_no_error(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    int fd;
    node_start(flat.node, 99);
    node_freeze(flat.node, 99);
    node_thaw(flat.node, 99);
    node_reclaim(flat.node, 99);
    node_stop(flat.node, 99);
    node_kill(flat.node, 99);
    assert_int_equal(node_pid(flat.node, 99), 0);
    assert_int_equal(node_memory_bytes(flat.node, 99), 0);
    assert_error(node_connect(flat.node, 99, 8000, &fd), ERROR_UNAVAILABLE, "gone");
    flat_free(&flat);
}

static void on_found(void *owner, const struct node_found *found) {
    struct node_found *kept = owner;
    assert_string_equal(found->app, "tests");
    assert_string_equal(found->function, "stays");
    *kept = *found;
}

static void test_the_next_node_finds_what_runs(void **unused) {
    NEEDS_ROOT();
    struct flat flat = flat_new();
    node_open(&flat);
    scoped(core_function) struct core_function *function = served(&flat, "stays");
    node_create(flat.node, 41, function, 5, true);
    AWAIT_NODE(flat, ready);
    int pid = node_pid(flat.node, 41);
    node_close(&flat);
    house_close(flat.house);
    house_open(flat.house);
    node_open(&flat);
    struct node_found found = {0};
    assert_ok(node_adopt(flat.node, on_found, &found));
    assert_int_equal(found.container, 41);
    assert_int_equal(found.version, 5);
    assert_true(found.ready);
    assert_int_equal(node_pid(flat.node, 41), pid);
    node_stop(flat.node, 41);
    AWAIT_NODE(flat, exited);
    assert_string_equal(flat.text, "catnap ended it");
    flat_free(&flat);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stop_is_asked_for),
        cmocka_unit_test(test_who_ignores_it_is_killed),
        cmocka_unit_test(test_ends_are_told_with_the_last_words),
        cmocka_unit_test(test_the_end_is_the_last_line_of_the_log),
        cmocka_unit_test(test_what_cannot_even_begin_is_told_as_an_end),
        cmocka_unit_test(test_a_function_is_looked_at_before_it_is_accepted),
        cmocka_unit_test(test_a_volume_outlives_its_containers),
        cmocka_unit_test(test_a_primed_one_may_be_started_before_it_is_there),
        cmocka_unit_test(test_numbers_that_are_gone_are_no_error),
        cmocka_unit_test(test_the_next_node_finds_what_runs),
    };
    return cmocka_run_group_tests_name("node local", tests, NULL, NULL);
}
