/* Manifests as rows: what stands in the file, and the text that its author gets. */
#include "manifest.h"
#include "test.h"

static const char *variable(void *owner, const char *name) {
    (void)owner;
    if (strcmp(name, "PORT") == 0) return "9000";
    if (strcmp(name, "EMPTY") == 0) return "";
    if (strcmp(name, "HOME") == 0) return "/home/cat";
    if (strcmp(name, "BAD") == 0) return "\xff\xfe";
    return NULL;
}

static struct error *parse(const char *yaml, struct core_app **ret_app) {
    return manifest_parse(span_of(yaml), "a.yaml", variable, NULL, ret_app);
}

#define HEAD "app: a\nfunctions:\n  f:\n"
#define GOOD HEAD "    command: [x]\n    port: 1\n"

struct row {
    const char *yaml;
    const char *text;
};
static const struct row bad[] = {
    {"", "a.yaml:1:1: the file is empty"},
    {"just words", "a.yaml:1:1: `app:` and `functions:` are expected, not a single value"},
    {"app: a", "a.yaml:1:1: functions: missing"},
    {"functions: {}", "a.yaml:1:1: app: missing"},
    {"app: a\nfunctions: {}", "a.yaml:2:12: functions: the app 'a' has none"},
    {"app: A b\nfunctions: {}", "a.yaml:1:6: app: 'A b' is no name"},
    {"app: a\nfunctions: [f]", "a.yaml:2:12: functions: a map is expected"},
    {"app: a\nfunction: {}", "a.yaml:2:1: unknown key 'function'; did you mean 'functions'?"},
    {HEAD "    comand: [x]\n    port: 1\n", "a.yaml:4:5: unknown key 'comand'; did you mean 'command'?"},
    {GOOD "    colour: red\n", "a.yaml:6:5: unknown key 'colour'"},
    {GOOD "    maxinputs: 3\n", "did you mean 'max_inputs'?"},
    {HEAD "    port: 1\n", "a.yaml:3:3: functions.f: command: missing"},
    {HEAD "    port: 1\n    command: []\n", "a.yaml:5:14: functions.f: command: missing"},
    {HEAD "    command: [x]\n", "a.yaml:3:3: functions.f: port: missing"},
    {HEAD "    command: python3 -m x\n    port: 1\n", "a.yaml:4:14: command: a list is expected"},
    {HEAD "    command: [[x]]\n    port: 1\n",
     "a.yaml:4:15: command: a single value is expected, not a list"},
    {HEAD "    command: [x, ]\n    port: 70000\n",
     "a.yaml:5:11: port: 70000 is out of range; from 1 to 65535"},
    {HEAD "    command: [x]\n    port: 0\n", "a.yaml:5:11: port: 0 is out of range"},
    {HEAD "    command: [x]\n    port: -1\n", "a.yaml:5:11: port: -1 is out of range"},
    {HEAD "    command: [x]\n    port: 99999999999999999999999\n", "is out of range; from 1 to 65535"},
    {HEAD "    command: [x]\n    port: http\n", "a.yaml:5:11: port: a whole number is expected, not 'http'"},
    {HEAD "    command: [x]\n    port: [1]\n", "a.yaml:5:11: port: a single value is expected, not a list"},
    {HEAD "    command: [x]\n    port:\n", "port: the value is missing"},
    {GOOD "    port: 2\n", "a.yaml:6:5: 'port' stands here twice; the first is in line 5"},
    {GOOD "  f:\n    command: [x]\n    port: 1\n", "a.yaml:6:3: 'f' stands here twice"},
    {GOOD "    env: {A: 1, A: 2}\n", "a.yaml:6:17: 'A' stands here twice"},
    {GOOD "    env: [A=1]\n", "a.yaml:6:10: env: a map is expected"},
    {GOOD "    env: {A: [1]}\n", "a.yaml:6:14: env.A: a single value is expected, not a list"},
    {GOOD "    volumes: {data: v}\n", "a.yaml:6:14: functions.f: volumes: 'data' is not absolute"},
    {GOOD "    volumes: {/data: {read_only: true}}\n", "`volume:` is missing"},
    {GOOD "    volumes: {/data: {volume: v, readonly: true}}\n",
     "unknown key 'readonly'; did you mean 'read_only'?"},
    {GOOD "    volumes: {/data: {volume: v, read_only: 1}}\n",
     "read_only: true or false is expected, not '1'"},
    {GOOD "    volumes: {/data: {volume: v, sub_path: ../x}}\n",
     "sub_path: '../x' is no directory below the volume's root"},
    {GOOD "    doze_after: soon\n", "a.yaml:6:17: doze_after: 'soon' is no duration"},
    {GOOD "    timeout: never\n", "a.yaml:6:14: functions.f: timeout: 'never' won't do"},
    {GOOD "    memory: lots\n", "a.yaml:6:13: memory: 'lots' is no size"},
    {GOOD "    cpu: fast\n", "a.yaml:6:10: cpu: a number of processors is expected"},
    {GOOD "    doze_signal: NAP\n", "a.yaml:6:18: doze_signal: 'NAP' is no signal"},
    {GOOD "    ready: soon\n", "a.yaml:6:12: ready: 'soon' is not known; port, notify or socket"},
    {GOOD "    network: inbound\n", "network: 'inbound' is not known; none or outbound"},
    {GOOD "    pin: maybe\n", "a.yaml:6:10: pin: true or false is expected, not 'maybe'"},
    {GOOD "    max_inputs: 0\n", "a.yaml:6:17: functions.f: max_inputs: 0 is out of range"},
    {GOOD "    min_containers: 2\n",
     "a.yaml:6:21: functions.f: min_containers: 2 is out of range; from 0 to 1"},
    {GOOD "    publish: 80\n  g:\n    command: [x]\n    port: 1\n    publish: 80\n",
     "a.yaml:10:14: functions.g: publish: port 80"},
    {GOOD "    workdir: ${NOPE}\n", "a.yaml:6:14: the variable NOPE is not set"},
    {GOOD "    workdir: ${}\n", "'${}' can't be read"},
    {GOOD "    workdir: ${A?b}\n", "'${A?b}' can't be read"},
    {GOOD "    workdir: /${HOME\n", "a } is missing"},
    {GOOD "    workdir: /${BAD}\n", "is no UTF-8 text"},
    {GOOD "    workdir: !!str /x\n", "a.yaml:6:14: tags"},
    {GOOD "    <<: *x\n", "a.yaml:6:9: there is no anchor of this name"},
    {GOOD "    env: &e {A: *e}\n", "a.yaml:6:17: this alias stands inside of what it stands for"},
    {GOOD "    workdir: \"/a\\0b\"\n", "a NUL byte"},
    {GOOD "---\napp: b\n", "a.yaml:6:1: a second document"},
    {"app: a\n\tfunctions: {}", "a.yaml:2:1: found a tab character"},
    {"app: [a", "a.yaml:2:1: did not find expected ',' or ']' while parsing a flow sequence"},
    {"[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", "nested too deeply"},
    {"? [a]\n: b", "a.yaml:1:3: a key must be a word"},
};

static void test_what_is_wrong_is_told_with_its_place(void **unused) {
    (void)unused;
    size_t wrong = 0;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct core_app *app = NULL;
        struct error *error = parse(bad[i].yaml, &app);
        if (!error) fail_msg("no complaint about:\n%s", bad[i].yaml);
        assert_null(app);
        assert_int_equal(error->code, ERROR_INVALID_ARGUMENT);
        if (!strstr(error->message, bad[i].text)) {
            print_error("'%s'\ninstead of '%s' for\n%s\n", error->message, bad[i].text, bad[i].yaml);
            wrong++;
        }
        error_free(error);
    }
    assert_int_equal(wrong, 0);
}

static void test_several_complaints_come_at_once(void **unused) {
    (void)unused;
    struct core_app *app = NULL;
    struct error *error = parse(HEAD "    comand: [x]\n    port: 70000\n    pin: 7\n", &app);
    assert_non_null(error);
    assert_string_equal(error->message, "a.yaml:4:5: unknown key 'comand'; did you mean 'command'?\n"
                                        "a.yaml:5:11: port: 70000 is out of range; from 1 to 65535\n"
                                        "a.yaml:6:10: pin: true or false is expected, not '7'");
    error_free(error);
}

static void test_many_complaints_are_cut(void **unused) {
    (void)unused;
    scoped_text struct text yaml = {0};
    text_add_string(&yaml, GOOD);
    for (int i = 0; i < 25; i++) text_printf(&yaml, "    zzzzzzzz%d: 1\n", i);
    struct core_app *app = NULL;
    struct error *error = parse(yaml.data, &app);
    assert_non_null(error);
    assert_non_null(strstr(error->message, "\na.yaml: and 15 more"));
    error_free(error);
}

static void test_every_key_arrives(void **unused) {
    (void)unused;
    scoped(core_app) struct core_app *app = NULL;
    assert_ok(parse(
        HEAD
        "    image: /srv/rootfs\n    command: [sh, -c, 'echo $HOME $${X} ${PORT}']\n"
        "    env: {A: true, B: '', C: \"${EMPTY:-x}\"}\n    workdir: ${HOME}\n    user: 1000:1000\n"
        "    volumes:\n      /data: {volume: store, sub_path: users/ann}\n      /models: {volume: "
        "\"${HOME}/models\", read_only: true}\n"
        "    port: ${PORT}\n    publish: ${NOPE:-8080}\n    label: hello\n    ready: notify\n"
        "    network: outbound\n    writable_rootfs: true\n    gpu: any\n    memory: 1.5G\n    cpu: 0.5\n"
        "    pids: 100\n    doze_signal: SIGUSR1\n    max_containers: 3\n    min_containers: 1\n    "
        "buffer_containers: 2\n"
        "    max_inputs: 10\n    target_inputs: 5\n    queue: 7\n    doze_after: 250ms\n"
        "    scaledown_window: never\n    startup_timeout: 1h30m\n    timeout: 6\n    stop_grace: 5s\n"
        "    group: gpu\n    pin: true\n    prime: true\n",
        &app));
    const struct core_function *f = core_app_find(app, "f");
    assert_string_equal(f->image, "/srv/rootfs");
    assert_string_equal(f->command[2], "echo $HOME ${X} 9000");
    assert_null(f->command[3]);
    assert_int_equal(f->env_count, 3);
    assert_string_equal(f->env[0].value, "true");
    assert_string_equal(f->env[1].value, "");
    assert_string_equal(f->env[2].value, "x");
    assert_string_equal(f->workdir, "/home/cat");
    assert_string_equal(f->user, "1000:1000");
    assert_int_equal(f->volume_count, 2);
    assert_string_equal(f->volumes[0].sub_path, "users/ann");
    assert_string_equal(f->volumes[1].volume, "/home/cat/models");
    assert_true(f->volumes[1].read_only && !f->volumes[0].read_only);
    assert_int_equal(f->port, 9000);
    assert_int_equal(f->publish, 8080);
    assert_string_equal(f->label, "hello");
    assert_int_equal(f->readiness, CORE_READY_NOTIFY);
    assert_int_equal(f->network, CORE_NETWORK_OUTBOUND);
    assert_true(f->writable_rootfs && f->pin && f->prime);
    assert_string_equal(f->gpu, "any");
    assert_int_equal(f->memory_bytes, 1536 << 20);
    assert_int_equal(f->cpu_milli, 500);
    assert_int_equal(f->pids_max, 100);
    assert_int_equal(f->doze_signal, 10);
    assert_int_equal(f->max_containers, 3);
    assert_int_equal(f->min_containers, 1);
    assert_int_equal(f->buffer_containers, 2);
    assert_int_equal(f->max_inputs, 10);
    assert_int_equal(f->target_inputs, 5);
    assert_int_equal(f->queue_max, 7);
    assert_int_equal(f->doze_after_ms, 250);
    assert_true(f->scaledown_window_ms == CORE_NEVER);
    assert_int_equal(f->startup_timeout_ms, 5400000);
    assert_int_equal(f->timeout_ms, 6000);
    assert_int_equal(f->stop_grace_ms, 5000);
    assert_string_equal(f->group, "gpu");
}

static void test_anchors_are_followed(void **unused) {
    (void)unused;
    scoped(core_app) struct core_app *app = NULL;
    assert_ok(parse(GOOD "    env: &e {A: '$${B}'}\n  g:\n    command: [y]\n    port: 2\n    env: *e\n    "
                         "socket_activation: true\n",
                    &app));
    assert_string_equal(app->functions[0]->env[0].value, "${B}");
    assert_string_equal(app->functions[1]->env[0].value, "${B}");
    assert_int_equal(app->functions[1]->readiness, CORE_READY_SOCKET);
}

static void test_a_bomb_of_aliases_is_refused(void **unused) {
    (void)unused;
    scoped_text struct text yaml = {0};
    text_add_string(&yaml, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++)
        text_printf(&yaml, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1,
                    i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    struct core_app *app = NULL;
    assert_error(parse(yaml.data, &app), ERROR_INVALID_ARGUMENT, "too much: more than 20000 values");
}

static void test_a_file_beyond_the_limit_is_refused(void **unused) {
    (void)unused;
    scoped_text struct text yaml = {0};
    while (yaml.size <= MANIFEST_BYTES_MAX) text_add_string(&yaml, "# nothing but comments\n");
    struct core_app *app = NULL;
    assert_error(manifest_parse(text_span(&yaml), "a.yaml", NULL, NULL, &app), ERROR_INVALID_ARGUMENT,
                 "a manifest has at most");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(test_several_complaints_come_at_once),
        cmocka_unit_test(test_many_complaints_are_cut),
        cmocka_unit_test(test_every_key_arrives),
        cmocka_unit_test(test_anchors_are_followed),
        cmocka_unit_test(test_a_bomb_of_aliases_is_refused),
        cmocka_unit_test(test_a_file_beyond_the_limit_is_refused),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
