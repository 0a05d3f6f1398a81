/* What nobody needs goes, what anybody may need stays: also where the process ends before any of the
 * removals. */
#include "store.h"
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct world {
    struct io_loop *loop;
    struct store *store;
    char dir[64];
    struct error *error;
    size_t removed;
    char kept[100]; /* who keeps it in memory: text with names in it */
};

static int set_up(void **state) {
    struct world *world = NEW(struct world);
    snprintf(world->dir, sizeof world->dir, "/tmp/catnap-sweep-XXXXXX");
    if (!mkdtemp(world->dir)) return -1;
    world->loop = io_loop_new();
    *state = world;
    return 0;
}

static int tear_down(void **state) {
    struct world *world = *state;
    store_free(world->store);
    io_loop_free(world->loop);
    error_free(tree_remove(world->dir));
    free(world);
    return 0;
}

static void add_names(void *owner, struct text *names) {
    store_names_add(names, span_of(((struct world *)owner)->kept));
}

static void open_again(struct world *world) {
    store_free(take(world->store));
    assert_ok(store_open(world->loop, world->dir, &world->store));
    store_blobs_keep(world->store, add_names, world);
}

static void put(struct world *world, const char *text, bool old, char digest[SHA256_HEX_SIZE]) {
    assert_ok(store_blob_put(world->store, span_of(text), digest));
    scoped_string char *path = store_blob_path(world->store, digest);
    struct timespec times[2] = {{1000000, 0}, {1000000, 0}};
    if (old) assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void on_written(void *owner, struct error *error) {
    struct world *world = owner;
    assert_null(error);
    io_loop_stop(world->loop);
}

static void on_swept(void *owner, struct error *error, size_t count, uint64_t bytes) {
    struct world *world = owner;
    (void)bytes;
    assert_null(error);
    world->removed = count;
    io_loop_stop(world->loop);
}

static void run(struct world *world) {
    scoped(io_timer) struct io_timer *timer = io_timer_new(world->loop, NULL, NULL);
    io_timer_arm(timer, 60 * 1000);
    io_loop_run(world->loop);
}

static void sweep(struct world *world) {
    assert_true(store_blobs_sweep(world->store, 3600, on_swept, world));
    run(world);
}

static bool there(struct world *world, const char *digest) {
    scoped_string char *path = store_blob_path(world->store, digest);
    return file_exists(path);
}

struct blobs {
    char old[3][SHA256_HEX_SIZE], fresh[SHA256_HEX_SIZE], used[SHA256_HEX_SIZE], recorded[SHA256_HEX_SIZE],
        kept[SHA256_HEX_SIZE];
};

static void some_of_each(struct world *world, struct blobs *blobs) {
    put(world, "one", true, blobs->old[0]);
    put(world, "two", true, blobs->old[1]);
    put(world, "three", true, blobs->old[2]);
    put(world, "fresh", false, blobs->fresh);
    put(world, "used", true, blobs->used);
    put(world, "recorded", true, blobs->recorded);
    put(world, "kept", true, blobs->kept);
    assert_true(store_blob_exists(world->store, blobs->used));
    snprintf(world->kept, sizeof world->kept,
             "\x12\x46"
             "bl-%s",
             blobs->kept);
    scoped_string char *value = mem_printf("{\"result\": \"bl-%s\"}", blobs->recorded);
    const struct store_record record = {"call", "fc-1", span_of(value)};
    store_records_write(world->store, &record, 1, on_written, world);
    run(world);
}

static void expect(struct world *world, const struct blobs *blobs) {
    for (size_t i = 0; i < COUNT(blobs->old); i++) assert_false(there(world, blobs->old[i]));
    assert_true(there(world, blobs->fresh));
    assert_true(there(world, blobs->used));
    assert_true(there(world, blobs->recorded));
    assert_true(there(world, blobs->kept));
}

static void test_what_nobody_needs_goes(void **state) {
    struct world *world = *state;
    struct blobs blobs;
    open_again(world);
    some_of_each(world, &blobs);
    sweep(world);
    assert_int_equal(world->removed, 3);
    expect(world, &blobs);
    sweep(world);
    assert_int_equal(world->removed, 0);
}

static void test_what_is_let_go_of_goes_the_next_time(void **state) {
    struct world *world = *state;
    struct blobs blobs;
    open_again(world);
    some_of_each(world, &blobs);
    sweep(world);
    const struct store_record record = {"call", "fc-1", {NULL, 0}};
    store_records_write(world->store, &record, 1, on_written, world);
    run(world);
    world->kept[0] = '\0';
    sweep(world);
    assert_int_equal(world->removed, 2);
    assert_false(there(world, blobs.recorded));
    assert_false(there(world, blobs.kept));
}

static void test_one_sweep_at_a_time_and_none_beyond_the_store(void **state) {
    struct world *world = *state;
    struct blobs blobs;
    open_again(world);
    some_of_each(world, &blobs);
    world->removed = 77;
    assert_true(store_blobs_sweep(world->store, 3600, on_swept, world));
    assert_false(store_blobs_sweep(world->store, 3600, on_swept, world));
    open_again(world); /* waits for it; its end is not told */
    sweep(world);
    assert_true(world->removed <= 3);
    expect(world, &blobs);
}

/* ---- killed before the n-th removal ---- */

static struct store_calls calls;
static unsigned left;

static int unlink_or_end(const char *path) {
    if (left-- == 0) _exit(9);
    return unlink(path);
}

static void test_a_kill_before_each_removal(void **state) {
    struct world *world = *state;
    struct blobs blobs;
    open_again(world);
    some_of_each(world, &blobs);
    store_free(take(world->store));
    for (unsigned lives = 0; lives < COUNT(blobs.old); lives++) {
        pid_t child = fork();
        if (child == 0) {
            calls = *store_calls_now();
            calls.unlink = unlink_or_end;
            left = 1; /* each life removes one */
            store_calls_set(&calls);
            struct io_loop *loop = io_loop_new();
            world->loop = loop;
            if (store_open(loop, world->dir, &world->store)) _exit(1);
            store_blobs_keep(world->store, add_names, world);
            store_blobs_sweep(world->store, 3600, on_swept, world);
            run(world);
            _exit(world->removed <= 1 ? 9 : 2);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    }
    open_again(world);
    sweep(world);
    assert_int_equal(world->removed, 0);
    expect(world, &blobs);
}

static void test_names_in_bytes(void **state) {
    (void)state;
    scoped_text struct text names = {0};
    char digest[SHA256_HEX_SIZE];
    sha256_of(SPAN("x"), digest);
    scoped_string char *bytes = mem_printf("bl-bl-%s bl-%.63s bl-", digest, digest);
    store_names_add(&names, span_of(bytes));
    assert_int_equal(names.size, 64);
    assert_memory_equal(names.data, digest, 64);
    store_names_add(&names, SPAN(""));
    store_names_add(&names, (struct span){NULL, 0});
    assert_int_equal(names.size, 64);
}

#define STORY(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(test_what_nobody_needs_goes),
        STORY(test_what_is_let_go_of_goes_the_next_time),
        STORY(test_one_sweep_at_a_time_and_none_beyond_the_store),
        STORY(test_a_kill_before_each_removal),
        STORY(test_names_in_bytes),
    };
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
