/* The nouns: what a function may be, how it is written down, which change needs another container. */
#include "core.h"
#include "test.h"

static struct core_function *good_function(void) {
    static const char *const words[] = {"tabby", "serve", "--port", "8000"};
    struct core_function *function = core_function_new("copycat", "serve");
    free(function->command);
    function->command = mem_array(COUNT(words) + 1, sizeof *function->command);
    for (size_t i = 0; i < COUNT(words); i++) function->command[i] = mem_string(words[i]);
    function->port = 8000;
    return function;
}

static void set_string(char **field, const char *value) {
    free(*field);
    *field = mem_string(value);
}

static void test_durations_as_people_write_them(void **unused) {
    (void)unused;
    static const struct {
        const char *written;
        int64_t ms; /* -1: refused */
    } rows[] = {
        {"10s", 10000},
        {"2m", 120000},
        {"1h30m", 5400000},
        {"250ms", 250},
        {"never", CORE_NEVER},
        {"5", 5000},
        {"0", 0},
        {"1.5s", 1500},
        {"0.25", 250},
        {" 3s ", 3000},
        {"1d", 86400000},
        {"1m1ms", 60001},
        {"1.001", 1001},
        {"", -1},
        {"s", -1},
        {"10x", -1},
        {"-1s", -1},
        {"1h 30m", -1},
        {"5s5s", -1},
        {"30m1h", -1},
        {"1.", -1},
        {"1.2345s", -1},
        {"1s5", -1},
        {"367d", -1},
        {"99999999999999999999s", -1},
        {"Never", -1},
        {"366d", 31622400000},
        {"366d1ms", -1},
        {".5", -1},
        {"10000000d", -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t ms = -1;
        struct error *error = core_duration_parse(rows[i].written, &ms);
        if (error) ms = -1;
        error_free(error);
        if (ms != rows[i].ms) fail_msg("'%s' gives %lld", rows[i].written, (long long)ms);
    }
    int64_t ms = 0;
    assert_error(core_duration_parse("soon", &ms), ERROR_INVALID_ARGUMENT,
                 "'soon' is no duration; e.g. 250ms");
}

static void test_sizes_as_people_write_them(void **unused) {
    (void)unused;
    static const struct {
        const char *written;
        int64_t bytes; /* -1: refused */
    } rows[] = {
        {"512", 512},
        {"512M", 512LL << 20},
        {"2GiB", 2LL << 30},
        {"1.5G", 3LL << 29},
        {"1k", 1024},
        {"1 MB", 1 << 20},
        {"7B", 7},
        {"1T", 1LL << 40},
        {"0", 0},
        {"", -1},
        {"M", -1},
        {"1X", -1},
        {"-1", -1},
        {"1MM", -1},
        {"1024T", 1LL << 50},
        {"1025T", -1},
        {"1.2.3G", -1},
        {"1Gib", 1LL << 30},
        {"9999999999999999999999", -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t bytes = 0;
        struct error *error = core_size_parse(rows[i].written, &bytes);
        int64_t got = error ? -1 : (int64_t)bytes;
        error_free(error);
        if (got != rows[i].bytes) fail_msg("'%s' gives %lld", rows[i].written, (long long)got);
    }
}

static void test_the_defaults_are_allowed(void **unused) {
    (void)unused;
    scoped(core_function) struct core_function *function = good_function();
    assert_ok(core_function_check(function));
    assert_string_equal(function->image, "host");
    assert_int_equal(function->max_inputs, 1);
    assert_int_equal(function->queue_max, 1000);
}

#define REFUSED(CHANGE, NEEDLE)                                               \
    do {                                                                      \
        scoped(core_function) struct core_function *f = good_function();      \
        CHANGE;                                                               \
        assert_error(core_function_check(f), ERROR_INVALID_ARGUMENT, NEEDLE); \
    } while (0)
#define ALLOWED(CHANGE)                                                  \
    do {                                                                 \
        scoped(core_function) struct core_function *f = good_function(); \
        CHANGE;                                                          \
        assert_ok(core_function_check(f));                               \
    } while (0)

static void test_what_a_function_may_not_be(void **unused) {
    (void)unused;
    REFUSED(set_string(&f->name, "Serve"), "functions: 'Serve' is no name");
    REFUSED(set_string(&f->name, "-a"), "functions: '-a' is no name");
    REFUSED(set_string(&f->name, ""), "a name is missing");
    REFUSED(set_string(&f->name, "a2345678901234567890123456789012345678901234567890123456789012345"),
            "at most 64");
    REFUSED(set_string(&f->image, NULL), "image: missing");
    REFUSED(set_string(&f->image, "/a/../b"), "image: '/a/../b' has '..' in it");
    REFUSED(set_string(&f->image, "a b"), "image: 'a b' is neither");
    REFUSED(set_string(&f->command[0], ""), "command: its first word is empty");
    REFUSED(
        {
            free(f->command[0]);
            f->command[0] = NULL;
            for (int i = 1; i < 4; i++) free(f->command[i]);
        },
        "command: missing");
    REFUSED(core_function_env_add(f, "A=B", "x"), "env: 'A=B' is no name");
    REFUSED(
        {
            core_function_env_add(f, "A", "x");
            core_function_env_add(f, "A", "y");
        },
        "env.A: told twice");
    REFUSED(set_string(&f->workdir, "data"), "workdir: 'data' is not absolute");
    REFUSED(set_string(&f->user, "1000:x"), "user: '1000:x' is not UID");
    REFUSED(core_function_volume_add(f, "/", "v", false), "volumes: / can't be a volume");
    REFUSED(core_function_volume_add(f, "data", "v", false), "volumes: 'data' is not absolute");
    REFUSED(core_function_volume_add(f, "/data", "V!", false), "volumes: 'V!' is no name");
    REFUSED((core_function_volume_add(f, "/data", "v", false), core_function_volume_sub_path(f, "a/../..")),
            "volumes: sub_path: 'a/../..' is no directory below");
    REFUSED(
        {
            core_function_volume_add(f, "/d", "a", false);
            core_function_volume_add(f, "/d", "b", false);
        },
        "told twice");
    REFUSED(f->port = 0, "port: missing");
    REFUSED(set_string(&f->label, "a_b"), "label: 'a_b' is no part of a host name");
    REFUSED(set_string(&f->gpu, "any:0"), "gpu: 'any:0' is no GPU");
    REFUSED(set_string(&f->gpu, "!"), "gpu: '!' is no GPU");
    REFUSED(set_string(&f->gpu, "H!00"), "gpu: 'H!00' is no GPU");
    REFUSED(f->memory_bytes = 1000, "memory: 1000 is out of range");
    REFUSED(f->cpu_milli = 1, "cpu: 1 thousandths");
    REFUSED(f->pids_max = 1, "pids: 1 is out of range");
    REFUSED(f->max_containers = 0, "max_containers: 0 is out of range; from 1 to 1000");
    REFUSED(f->min_containers = 2, "min_containers: 2 is out of range; from 0 to 1");
    REFUSED(f->buffer_containers = 2, "buffer_containers: 2 is out of range; from 0 to 1");
    REFUSED(f->max_inputs = 0, "max_inputs: 0 is out of range");
    REFUSED(f->target_inputs = 2, "target_inputs: 2 is out of range; from 0 to 1");
    REFUSED(f->queue_max = 0, "queue: 0 is out of range");
    REFUSED(f->startup_timeout_ms = CORE_NEVER, "startup_timeout: 'never' won't do");
    REFUSED(f->timeout_ms = 0, "timeout: too short");
    REFUSED(f->stop_grace_ms = INT64_C(40) * 24 * 3600 * 1000, "stop_grace: too long");
    REFUSED(set_string(&f->group, "G"), "group: 'G' is no name");
    REFUSED(f->doze_signal = 65, "doze_signal: 65 is no signal");
}

static void test_what_a_function_may_be(void **unused) {
    (void)unused;
    ALLOWED(set_string(&f->image, "docker.io/library/alpine:3.19@sha256:abc"));
    ALLOWED(set_string(&f->image, "/srv/rootfs"));
    ALLOWED(set_string(&f->user, "1000:1000"));
    ALLOWED(set_string(&f->user, "www-data"));
    ALLOWED(set_string(&f->gpu, "A100-80GB:2"));
    ALLOWED(core_function_volume_add(f, "/data", "/srv/data", true));
    ALLOWED(set_string(&f->gpu, "H100!:2"));
    ALLOWED(set_string(&f->gpu, "B200+"));
    ALLOWED(f->doze_after_ms = CORE_NEVER);
    ALLOWED(f->scaledown_window_ms = 0);
    ALLOWED({
        f->max_inputs = 10;
        f->target_inputs = 8;
        f->max_containers = 3;
        f->min_containers = 3;
    });
}

static void test_an_app_names_what_is_wrong_in_it(void **unused) {
    (void)unused;
    scoped(core_app) struct core_app *app = core_app_new("copycat");
    assert_error(core_app_check(app), ERROR_INVALID_ARGUMENT, "functions: the app 'copycat' has none");
    core_app_add(app, good_function());
    assert_ok(core_app_check(app));
    core_app_add(app, good_function());
    assert_error(core_app_check(app), ERROR_INVALID_ARGUMENT, "functions.serve: told twice");
    struct core_function *second = app->functions[1];
    set_string(&second->name, "index");
    second->publish = app->functions[0]->publish = 8080;
    assert_error(core_app_check(app), ERROR_INVALID_ARGUMENT,
                 "functions.index: publish: port 8080 is that of serve");
    second->publish = 8081;
    set_string(&second->app, "other");
    assert_error(core_app_check(app), ERROR_INVALID_ARGUMENT, "belongs to 'other'");
    set_string(&second->app, "copycat");
    second->port = 0;
    assert_error(core_app_check(app), ERROR_INVALID_ARGUMENT, "functions.index: port: missing");
    assert_ptr_equal(core_app_find(app, "index"), second);
    assert_null(core_app_find(app, "nothing"));
}

static void test_an_app_survives_being_written_down(void **unused) {
    (void)unused;
    scoped(core_app) struct core_app *app = core_app_new("copycat");
    struct core_function *function = good_function();
    app->version = 7;
    core_app_add(app, function);
    core_function_env_add(function, "A", "1\n\"");
    core_function_volume_add(function, "/data", "copycat-data", true);
    core_function_volume_sub_path(function, "users/ann");
    function->readiness = CORE_READY_NOTIFY;
    function->network = CORE_NETWORK_OUTBOUND;
    function->doze_after_ms = CORE_NEVER;
    function->memory_bytes = UINT64_C(3) << 30;
    function->pin = function->prime = true;
    set_string(&function->group, "gpu");
    scoped_json json_t *json = core_app_to_json(app);
    scoped_string char *once = json_dumps(json, JSON_SORT_KEYS);
    scoped_json json_t *parsed = json_loads(once, 0, NULL);
    scoped(core_app) struct core_app *again = NULL;
    assert_ok(core_app_from_json(parsed, &again));
    assert_ok(core_app_check(again));
    scoped_json json_t *json_again = core_app_to_json(again);
    scoped_string char *twice = json_dumps(json_again, JSON_SORT_KEYS);
    assert_string_equal(once, twice);
    assert_int_equal(again->version, 7);
    assert_true(again->functions[0]->doze_after_ms == CORE_NEVER);
    assert_true(core_function_same_container(function, again->functions[0]));
    scoped(core_app) struct core_app *copy = core_app_copy(app);
    scoped_json json_t *json_copy = core_app_to_json(copy);
    assert_true(json_equal(json, json_copy));
}

static void test_json_of_another_daemon(void **unused) {
    (void)unused;
    static const struct {
        const char *json;
        const char *needle; /* NULL: taken */
    } rows[] = {
        {"{\"name\":\"a\",\"functions\":[]}", NULL},
        {"{\"name\":\"a\",\"newer\":1,\"functions\":[{\"name\":\"f\",\"newer\":{}}]}", NULL},
        {"[]", "an app is an object"},
        {"{\"functions\":[]}", "name: missing"},
        {"{\"name\":1,\"functions\":[]}", "name: missing, or no text"},
        {"{\"name\":\"a\"}", "functions: a list"},
        {"{\"name\":\"a\",\"functions\":[1]}", "number 1 is no object"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":null}]}", "name: missing"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"port\":65536}]}",
         "functions.f: port: 65536 is out of range"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"port\":\"1\"}]}", "port: a whole number"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"pin\":1}]}", "pin: true or false"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"network\":\"x\"}]}", "network: 'x' is none"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"timeout\":-1}]}", "timeout: -1 is out of range"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"command\":[1]}]}", "command: a list of text"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"command\":{}}]}", "command: a list"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"env\":[{}]}]}", "env: a list of {name, value}"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"volumes\":[{\"path\":\"/a\"}]}]}",
         "volumes: a list of"},
        {"{\"name\":\"a\",\"functions\":[{\"name\":\"f\",\"app\":null,\"image\":7}]}", "image: text"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_json json_t *json = json_loads(rows[i].json, 0, NULL);
        scoped(core_app) struct core_app *app = NULL;
        if (rows[i].needle)
            assert_error(core_app_from_json(json, &app), ERROR_INVALID_ARGUMENT, rows[i].needle);
        else
            assert_ok(core_app_from_json(json, &app));
    }
}

static void test_which_change_needs_another_container(void **unused) {
    (void)unused;
    scoped(core_function) struct core_function *a = good_function();
    scoped(core_function) struct core_function *b = core_function_copy(a);
    b->max_inputs = 9;
    b->timeout_ms = b->doze_after_ms = 1;
    b->publish = 8080;
    b->pin = true;
    set_string(&b->group, "g");
    assert_true(core_function_same_container(a, b));
    b->port = 1;
    assert_false(core_function_same_container(a, b));
    b->port = a->port;
    b->network = CORE_NETWORK_OUTBOUND;
    assert_false(core_function_same_container(a, b));
    b->network = a->network;
    set_string(&b->command[1], "download");
    assert_false(core_function_same_container(a, b));
    set_string(&b->command[1], "serve");
    assert_true(core_function_same_container(a, b));
    core_function_env_add(b, "A", "1");
    assert_false(core_function_same_container(a, b));
    core_function_env_add(a, "A", "2");
    assert_false(core_function_same_container(a, b));
    set_string(&a->env[0].value, "1");
    assert_true(core_function_same_container(a, b));
    core_function_volume_add(a, "/d", "v", false);
    assert_false(core_function_same_container(a, b));
    core_function_volume_add(b, "/d", "v", true);
    assert_false(core_function_same_container(a, b));
    b->volumes[0].read_only = false;
    assert_true(core_function_same_container(a, b));
    core_function_volume_sub_path(b, "users/ann");
    assert_false(core_function_same_container(a, b));
    assert_true(core_function_shape(a) != core_function_shape(b));
}

static void test_host_labels(void **unused) {
    (void)unused;
    scoped(core_function) struct core_function *function = core_function_new("copy_cat", "serve.v2");
    scoped_string char *plain = core_function_label(function, "Ann");
    assert_string_equal(plain, "ann--copy-cat-serve-v2");
    set_string(&function->name, "a-function-with-a-very-long-name-that-does-not-fit-into-a-label-1");
    scoped_string char *first = core_function_label(function, "ann");
    set_string(&function->name, "a-function-with-a-very-long-name-that-does-not-fit-into-a-label-2");
    scoped_string char *second = core_function_label(function, "ann");
    assert_int_equal(strlen(first), 63);
    assert_string_not_equal(first, second);
    set_string(&function->label, "short");
    scoped_string char *own = core_function_label(function, "ann");
    assert_string_equal(own, "short");
    set_string(&function->label, NULL);
    set_string(&function->name, "x_");
    scoped_string char *trimmed = core_function_label(function, "_");
    assert_string_equal(trimmed, "copy-cat-x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_as_people_write_them),
        cmocka_unit_test(test_sizes_as_people_write_them),
        cmocka_unit_test(test_the_defaults_are_allowed),
        cmocka_unit_test(test_what_a_function_may_not_be),
        cmocka_unit_test(test_what_a_function_may_be),
        cmocka_unit_test(test_an_app_names_what_is_wrong_in_it),
        cmocka_unit_test(test_an_app_survives_being_written_down),
        cmocka_unit_test(test_json_of_another_daemon),
        cmocka_unit_test(test_which_change_needs_another_container),
        cmocka_unit_test(test_host_labels),
    };
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
