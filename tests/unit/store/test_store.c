/* The store's promises, one by one: what was told is there, also for the next daemon; what is wrong is told
 * and changes nothing. */
#include "store.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

struct world {
    struct io_loop *loop;
    struct store *store;
    char dir[64];
    unsigned done, refused;
    struct error *error;
    struct text loaded;
};

static int set_up(void **state) {
    struct world *world = NEW(struct world);
    snprintf(world->dir, sizeof world->dir, "/tmp/catnap-store-XXXXXX");
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
    error_free(world->error);
    text_done(&world->loaded);
    free(world);
    return 0;
}

static void open_again(struct world *world) {
    store_free(take(world->store));
    assert_ok(store_open(world->loop, world->dir, &world->store));
}

static void on_done(void *owner, struct error *error) {
    struct world *world = owner;
    error_free(world->error);
    world->error = error;
    if (--world->done == 0) io_loop_stop(world->loop);
}

/* io keeps no loop alive for the writer; a timer that nobody waits for does. */
static void wait_done(struct world *world) {
    scoped(io_timer) struct io_timer *timer = io_timer_new(world->loop, NULL, NULL);
    io_timer_arm(timer, 60 * 1000);
    io_loop_run(world->loop);
    assert_int_equal(world->done, 0);
}

static struct core_app *app_named(const char *name, const char *word) {
    struct core_app *app = core_app_new(name);
    struct core_function *function = core_function_new(name, "f");
    free(function->command);
    function->command = mem_array(2, sizeof *function->command);
    function->command[0] = mem_string(word);
    function->port = 8000;
    core_app_add(app, function);
    return app;
}

static void put(struct world *world, const char *name, const char *word) {
    scoped(core_app) struct core_app *app = app_named(name, word);
    app->version = store_version_next(world->store);
    world->done++;
    store_app_put(world->store, app, on_done, world);
}

static void on_loaded(void *owner, struct core_app *app) {
    struct world *world = owner;
    text_printf(&world->loaded, "%s=%s@%d ", app->name, app->functions[0]->command[0], (int)app->version);
    core_app_free(app);
}

static const char *load(struct world *world) {
    text_clear(&world->loaded);
    text_add_string(&world->loaded, "");
    assert_ok(store_apps_load(world->store, on_loaded, world));
    return world->loaded.size ? world->loaded.data : "";
}

static void test_what_was_put_is_there_for_the_next_daemon(void **state) {
    struct world *world = *state;
    open_again(world);
    put(world, "b", "one");
    put(world, "a", "two");
    put(world, "b", "three");
    wait_done(world);
    assert_null(world->error);
    open_again(world);
    assert_string_equal(load(world), "a=two@2 b=three@3 ");
    assert_int_equal(store_version_next(world->store), 4);
    world->done = 1;
    store_app_remove(world->store, "a", on_done, world);
    wait_done(world);
    open_again(world);
    assert_string_equal(load(world), "b=three@3 ");
}

static void test_what_is_kept_is_for_its_owner_only(void **state) {
    struct world *world = *state;
    assert_int_equal(chmod(world->dir, 0755), 0);
    open_again(world);
    DIR *entries = opendir(world->dir);
    unsigned seen = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct stat at;
        if (entry->d_name[0] == '.') continue;
        assert_int_equal(fstatat(dirfd(entries), entry->d_name, &at, 0), 0);
        assert_int_equal(at.st_mode & 077, 0);
        seen++;
    }
    closedir(entries);
    assert_true(seen >= 3); /* the database, its log, the lock */
}

static void test_versions_grow_although_their_app_is_gone(void **state) {
    struct world *world = *state;
    open_again(world);
    put(world, "a", "x");
    wait_done(world);
    world->done = 1;
    store_app_remove(world->store, "a", on_done, world);
    wait_done(world);
    open_again(world);
    assert_int_equal(store_version_next(world->store), 2);
}

static void test_what_is_queued_is_written_before_the_end(void **state) {
    struct world *world = *state;
    open_again(world);
    put(world, "a", "x");
    open_again(world); /* without a round of the loop: done never comes */
    assert_string_equal(load(world), "a=x@1 ");
}

static void test_what_is_queued_is_told_before_the_rooms_that_wait_go(void **state) {
    struct world *world = *state;
    open_again(world);
    for (int i = 0; i < 40; i++) put(world, "a", "command");
    store_settle(world->store);
    assert_int_equal(world->done, 0);
    assert_null(world->error);
    store_settle(world->store); /* nothing is queued: at once */
}

static void test_a_second_daemon_is_refused_with_the_pid_of_the_first(void **state) {
    struct world *world = *state;
    open_again(world);
    struct store *other = NULL;
    scoped_string char *pid = mem_printf("(pid %d) uses %s", (int)getpid(), world->dir);
    assert_error(store_open(world->loop, world->dir, &other), ERROR_FAILED_PRECONDITION, pid);
    store_free(take(world->store));
    assert_ok(store_open(world->loop, world->dir, &world->store));
}

static void run_sql(struct world *world, const char *sql) {
    scoped_string char *path = path_join(world->dir, "catnap.db");
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void test_the_state_of_a_newer_catnap_is_left_alone(void **state) {
    struct world *world = *state;
    open_again(world);
    store_free(take(world->store));
    run_sql(world, "PRAGMA user_version = 99");
    assert_error(store_open(world->loop, world->dir, &world->store), ERROR_FAILED_PRECONDITION,
                 "a newer catnap wrote this state");
}

static void test_the_state_of_an_older_catnap_is_brought_up_to_date(void **state) {
    struct world *world = *state;
    open_again(world);
    put(world, "a", "x");
    wait_done(world);
    store_free(take(world->store));
    run_sql(world, "DROP TABLE wake; DROP TABLE record; PRAGMA user_version = 1");
    open_again(world);
    assert_string_equal(load(world), "a=x@1 ");
    const struct store_wake wake = {1, 2, "thaw"};
    store_wake_add(world->store, "a", "f", &wake);
    open_again(world);
    struct store_wake wakes[4];
    assert_int_equal(store_wakes(world->store, "a", "f", wakes, 4), 1);
}

static void test_a_file_that_is_no_database_is_told(void **state) {
    struct world *world = *state;
    scoped_string char *path = path_join(world->dir, "catnap.db");
    assert_ok(file_replace(
        path,
        SPAN("this is by no means a database, but it is long enough to be looked at as one, with its "
             "hundred bytes of a head and some more"),
        0600));
    assert_error(store_open(world->loop, world->dir, &world->store), ERROR_DATA_LOSS, "catnap.db");
}

static void test_an_app_that_cannot_be_read_is_named(void **state) {
    struct world *world = *state;
    open_again(world);
    run_sql(world, "INSERT INTO app VALUES ('odd', 1, '{\"name\": 7}')");
    assert_error(store_apps_load(world->store, on_loaded, world), ERROR_INVALID_ARGUMENT,
                 "the stored app 'odd'");
}

static void test_numbers_are_never_given_twice(void **state) {
    struct world *world = *state;
    uint64_t first = 0, second = 0, third = 0;
    open_again(world);
    assert_ok(store_numbers(world->store, 1000, &first));
    assert_ok(store_numbers(world->store, 10, &second));
    open_again(world);
    assert_ok(store_numbers(world->store, 1, &third));
    assert_int_equal(first, 1);
    assert_int_equal(second, 1001);
    assert_int_equal(third, 1011);
}

static void test_the_last_wakes_of_a_function_are_kept(void **state) {
    struct world *world = *state;
    open_again(world);
    for (int i = 1; i <= STORE_WAKES_KEPT + 8; i++) {
        struct store_wake wake = {.wall_ms = i, .duration_us = 100 * i, .kind = "start"};
        store_wake_add(world->store, "a", "f", &wake);
    }
    store_wake_add(world->store, "a", "g", &(struct store_wake){7, 8, "thaw"});
    open_again(world);
    struct store_wake wakes[64];
    assert_int_equal(store_wakes(world->store, "a", "f", wakes, 64), STORE_WAKES_KEPT);
    assert_int_equal(wakes[0].wall_ms, STORE_WAKES_KEPT + 8);
    assert_int_equal(wakes[0].duration_us, 100 * (STORE_WAKES_KEPT + 8));
    assert_int_equal(store_wakes(world->store, "a", "g", wakes, 64), 1);
    assert_string_equal(wakes[0].kind, "thaw");
    assert_int_equal(store_wakes(world->store, "nobody", "g", wakes, 64), 0);
}

static void test_blobs_come_back_as_they_were(void **state) {
    struct world *world = *state;
    open_again(world);
    char digest[SHA256_HEX_SIZE], again[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(world->store, SPAN("meow"), digest));
    assert_ok(store_blob_put(world->store, SPAN("meow"), again));
    assert_string_equal(digest, again);
    assert_true(store_blob_exists(world->store, digest));
    scoped_text struct text bytes = {0};
    assert_ok(store_blob_get(world->store, digest, 100, &bytes));
    assert_true(span_is(text_span(&bytes), "meow"));
    assert_error(store_blob_get(world->store, digest, 3, &bytes), ERROR_RESOURCE_EXHAUSTED, "blob sha256:");
    assert_error(store_blob_get(world->store, "../../etc/passwd", 3, &bytes), ERROR_INVALID_ARGUMENT,
                 "is no SHA-256");
    digest[0] = digest[0] == '0' ? '1' : '0';
    assert_error(store_blob_get(world->store, digest, 100, &bytes), ERROR_NOT_FOUND, digest);
}

static void test_a_blob_in_pieces_is_held_against_its_digest(void **state) {
    struct world *world = *state;
    open_again(world);
    char digest[SHA256_HEX_SIZE], wanted[SHA256_HEX_SIZE];
    sha256_of(SPAN("hello"), wanted);
    struct store_blob_writer *writer = NULL;
    assert_ok(store_blob_begin(world->store, &writer));
    assert_ok(store_blob_add(writer, SPAN("hel")));
    assert_ok(store_blob_add(writer, SPAN("lo")));
    assert_ok(store_blob_end(writer, wanted, digest));
    store_blob_writer_free(writer);
    assert_true(store_blob_exists(world->store, wanted));
    assert_ok(store_blob_begin(world->store, &writer));
    assert_ok(store_blob_add(writer, SPAN("other")));
    assert_error(store_blob_end(writer, wanted, digest), ERROR_INVALID_ARGUMENT, "these bytes are sha256:");
    store_blob_writer_free(writer);
    assert_false(store_blob_exists(world->store, digest));
}

static void test_a_blob_that_rotted_is_found_out(void **state) {
    struct world *world = *state;
    open_again(world);
    char digest[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(world->store, SPAN("meow"), digest));
    scoped_string char *path = store_blob_path(world->store, digest);
    assert_int_equal(unlink(path), 0);
    assert_ok(file_replace(path, SPAN("m?ow"), 0600));
    scoped_text struct text bytes = {0};
    assert_error(store_blob_get(world->store, digest, 100, &bytes), ERROR_DATA_LOSS, "its bytes are others");
    assert_false(store_blob_exists(world->store, digest));
    assert_ok(store_blob_put(world->store, SPAN("meow"), digest));
    assert_true(store_blob_exists(world->store, digest));
}

static void on_maybe_refused(void *owner, struct error *error) {
    struct world *world = owner;
    if (error) assert_int_equal(error->code, ERROR_RESOURCE_EXHAUSTED);
    world->refused += error != NULL;
    error_free(error);
    if (--world->done == 0) io_loop_stop(world->loop);
}

static void test_more_writes_than_may_wait_are_refused(void **state) {
    enum { WAITING_MAX = 10000, IN_THE_MAKING_MAX = 256, MORE = 50 };
    struct world *world = *state;
    open_again(world);
    scoped_string char *path = path_join(world->dir, "catnap.db");
    sqlite3 *other = NULL; /* holds the writer up */
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    scoped(core_app) struct core_app *app = app_named("a", "x");
    world->done = WAITING_MAX + IN_THE_MAKING_MAX + MORE;
    for (unsigned i = world->done; i > 0; i--) store_app_put(world->store, app, on_maybe_refused, world);
    sqlite3_close(other);
    wait_done(world);
    assert_true(world->refused >= MORE);
    assert_string_equal(load(world), "a=x@0 ");
}

#define STORY(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
static void on_record(void *owner, const char *key, struct span value) {
    struct world *world = owner;
    text_printf(&world->loaded, "%s=" SPAN_FORMAT " ", key, SPAN_ARGS(value));
}

static const char *records(struct world *world, const char *kind) {
    text_clear(&world->loaded);
    text_add_string(&world->loaded, "");
    assert_ok(store_records_load(world->store, kind, on_record, world));
    return world->loaded.size ? world->loaded.data : "";
}

static void test_records_come_and_go_together(void **state) {
    struct world *world = *state;
    open_again(world);
    const struct store_record first[] = {
        {"thing", "b", SPAN("1")}, {"thing", "a", SPAN("")}, {"other", "a", SPAN("3")}};
    world->done++;
    store_records_write(world->store, first, COUNT(first), on_done, world);
    wait_done(world);
    assert_null(world->error);
    open_again(world);
    assert_string_equal(records(world, "thing"), "a= b=1 ");
    const struct store_record second[] = {
        {"thing", "b", {NULL, 0}}, {"thing", "c", SPAN("x")}, {"thing", "a", SPAN("2")}};
    world->done++;
    store_records_write(world->store, second, COUNT(second), on_done, world);
    wait_done(world);
    open_again(world);
    assert_string_equal(records(world, "thing"), "a=2 c=x ");
    assert_string_equal(records(world, "other"), "a=3 ");
}

/* ---- while the daemon runs ---- */

static bool on_ranged(void *owner, const char *key, struct span value) {
    on_record(owner, key, value);
    return true;
}

static const char *ranged(struct world *world, const struct store_range *range) {
    text_clear(&world->loaded);
    text_add_string(&world->loaded, "");
    assert_ok(store_records_read(world->store, range, on_ranged, world));
    return world->loaded.data;
}

static void test_records_are_read_by_the_beginning_of_their_key(void **state) {
    struct world *world = *state;
    open_again(world);
    const struct store_record first[] = {{"call", "fc-a", SPAN("1")},    {"call", "fc-a/i1", SPAN("2")},
                                         {"call", "fc-a/i2", SPAN("3")}, {"call", "fc-ab", SPAN("4")},
                                         {"call", "fc-b/i1", SPAN("5")}, {"other", "fc-a/i1", SPAN("6")}};
    world->done++;
    store_records_write_soon(world->store, first, COUNT(first), on_done, world);
    wait_done(world);
    assert_string_equal(ranged(world, &(struct store_range){.kind = "call", .prefix = "fc-a/"}),
                        "fc-a/i1=2 fc-a/i2=3 ");
    assert_string_equal(
        ranged(world, &(struct store_range){.kind = "call", .prefix = "fc-a/", .after = "fc-a/i1"}),
        "fc-a/i2=3 ");
    assert_string_equal(ranged(world, &(struct store_range){.kind = "call", .limit = 2, .keys_only = true}),
                        "fc-a= fc-a/i1= ");
    scoped_text struct text value = {0};
    bool found = false;
    assert_ok(store_record_get(world->store, "call", "fc-ab", &value, &found));
    assert_true(found && span_is(text_span(&value), "4"));
    assert_ok(store_record_get(world->store, "call", "fc-none", &value, &found));
    assert_false(found);
    const struct store_record gone[] = {{"call", "fc-a", {NULL, 0}}, {"call", "fc-a/", STORE_BELOW}};
    world->done++;
    store_records_write_soon(world->store, gone, COUNT(gone), on_done, world);
    wait_done(world);
    assert_null(world->error);
    assert_string_equal(records(world, "call"), "fc-ab=4 fc-b/i1=5 ");
    assert_string_equal(records(world, "other"), "fc-a/i1=6 ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(test_what_was_put_is_there_for_the_next_daemon),
        STORY(test_what_is_kept_is_for_its_owner_only),
        STORY(test_versions_grow_although_their_app_is_gone),
        STORY(test_what_is_queued_is_written_before_the_end),
        STORY(test_what_is_queued_is_told_before_the_rooms_that_wait_go),
        STORY(test_a_second_daemon_is_refused_with_the_pid_of_the_first),
        STORY(test_the_state_of_a_newer_catnap_is_left_alone),
        STORY(test_the_state_of_an_older_catnap_is_brought_up_to_date),
        STORY(test_a_file_that_is_no_database_is_told),
        STORY(test_an_app_that_cannot_be_read_is_named),
        STORY(test_numbers_are_never_given_twice),
        STORY(test_the_last_wakes_of_a_function_are_kept),
        STORY(test_blobs_come_back_as_they_were),
        STORY(test_a_blob_in_pieces_is_held_against_its_digest),
        STORY(test_a_blob_that_rotted_is_found_out),
        STORY(test_records_come_and_go_together),
        STORY(test_records_are_read_by_the_beginning_of_their_key),
        STORY(test_more_writes_than_may_wait_are_refused),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
