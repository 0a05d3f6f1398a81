/* GPUs by the Container Device Interface: edits to the runtime's configuration, from JSON and YAML; played by
 * /dev/zero and /dev/full. */
#include <sched.h>
#include <sys/mount.h>

#include "house.h"
#include "inside.h"

/* clang-format off */
static const char as_json[] =
    "{\"cdiVersion\":\"0.5.0\",\"kind\":\"nvidia.com/gpu\",\"containerEdits\":{"
    "\"env\":[\"NVIDIA_VISIBLE_DEVICES=void\"],"
    "\"mounts\":[{\"hostPath\":\"/etc/services\",\"containerPath\":\"/opt/driver.so\","
    "\"options\":[\"ro\",\"bind\"]}],"
    "\"hooks\":[{\"hookName\":\"createContainer\",\"path\":\"/bin/cat\",\"args\":[\"cat\",\"-n\"],"
    "\"timeout\":5}],"
    "\"deviceNodes\":[{\"path\":\"/dev/fakectl\",\"hostPath\":\"/dev/null\"}]},\"devices\":["
    "{\"name\":\"0\",\"containerEdits\":{"
    "\"deviceNodes\":[{\"path\":\"/dev/fake0\",\"hostPath\":\"/dev/zero\"}]}},"
    "{\"name\":\"1\",\"containerEdits\":{"
    "\"deviceNodes\":[{\"path\":\"/dev/fake1\",\"hostPath\":\"/dev/full\"}]}},"
    "{\"name\":\"all\",\"containerEdits\":{"
    "\"deviceNodes\":[{\"path\":\"/dev/fake0\"},{\"path\":\"/dev/fake1\"}]}}]}";
static const char as_yaml[] =
    "---\n"
    "cdiVersion: 0.5.0\n"
    "kind: nvidia.com/gpu\n"
    "containerEdits:\n"
    "  env:\n"
    "  - NVIDIA_VISIBLE_DEVICES=void\n"
    "  mounts:\n"
    "  - hostPath: /etc/services\n"
    "    containerPath: /opt/driver.so\n"
    "    options: [ro, bind]\n"
    "  hooks:\n"
    "  - hookName: createContainer\n"
    "    path: /bin/cat\n"
    "    args: [\"cat\", -n]\n"
    "    timeout: 5\n"
    "  deviceNodes:\n"
    "  - path: /dev/fakectl\n"
    "    hostPath: /dev/null\n"
    "devices:\n"
    "- name: \"0\"\n"
    "  containerEdits: {deviceNodes: [{path: /dev/fake0, hostPath: /dev/zero}]}\n"
    "- name: 1\n"
    "  containerEdits:\n"
    "    deviceNodes:\n"
    "    - path: /dev/fake1\n"
    "      hostPath: /dev/full\n"
    "- name: all\n"
    "  containerEdits: {deviceNodes: [{path: /dev/fake0}, {path: /dev/fake1}]}\n";
/* clang-format on */

/* `wanted` of what the text describes, chosen as for a machine of which nothing more is known. */
static json_t *applied(const char *text, bool yaml, const char *wanted, uint64_t *cards) {
    static const struct gpus unknown;
    static const unsigned nobody[CDI_CARDS_MAX];
    json_t *config = json_object();
    struct cdi cdi = {0};
    *cards = 0;
    cdi_add_text(&cdi, "gpus", span_of(text), yaml);
    assert_int_equal(cdi.left_out.size, 0);
    error_free(gpus_choose(&unknown, cdi.cards, nobody, wanted, cards));
    assert_ok(cdi_apply(&cdi, *cards, config));
    cdi_done(&cdi);
    return config;
}

static void test_yaml_and_json_say_the_same(void **unused) {
    (void)unused;
    uint64_t chosen, chosen_too;
    scoped_json json_t *from_json = applied(as_json, false, "any:2", &chosen);
    scoped_json json_t *from_yaml = applied(as_yaml, true, "any:2", &chosen_too);
    assert_int_equal(chosen, 3);
    assert_int_equal(chosen_too, 3);
    assert_true(json_equal(from_json, from_yaml));
    assert_int_equal(json_array_size(json_object_get(json_object_get(from_json, "linux"), "devices")), 3);
    json_t *hooks = json_object_get(json_object_get(from_json, "hooks"), "createContainer");
    assert_int_equal(json_array_size(hooks), 1); /* what all have in common comes once */
    assert_null(json_object_get(json_array_get(hooks, 0), "hookName"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(hooks, 0), "timeout")), 5);
}

static void test_as_many_as_were_asked_for(void **unused) {
    (void)unused;
    uint64_t chosen;
    scoped_json json_t *config = applied(as_json, false, "T4", &chosen);
    assert_int_equal(chosen, 1);
    json_t *devices = json_object_get(json_object_get(config, "linux"), "devices");
    assert_int_equal(json_array_size(devices), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(devices, 1), "path")), "/dev/fake0");
}

static void test_what_is_wrong_is_told_with_its_place(void **unused) {
    (void)unused;
#define IN_DEVICE(EDITS) "{\"kind\":\"x/gpu\",\"devices\":[{\"name\":\"0\",\"containerEdits\":" EDITS "}]}"
    static const struct {
        const char *text, *complaint;
        bool yaml;
    } rows[] = {
        {"{\"kind\": ", "line 1: ", false},
        {"", "line 1: ", false},
        {"", "an empty file", true},
        {"kind: [", "line 2: ", true},
        {"a: &x [1]\nb: *x\n", "line 2: an alias", true},
        {"[a]: b", "a key that is no text", true},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "too deep", true},
        {IN_DEVICE("{\"deviceNodes\":[{}]}"), "devices: 0: deviceNodes: one without a path", false},
        {IN_DEVICE("{\"deviceNodes\":[{\"path\":\"/dev/no-such-device\"}]}"), "/dev/no-such-device: No such",
         false},
        {IN_DEVICE("{\"mounts\":[{\"hostPath\":\"/x\"}]}"), "hostPath or containerPath is missing", false},
        {IN_DEVICE("{\"hooks\":[{\"path\":\"/x\"}]}"), "hookName or path is missing", false},
        {IN_DEVICE("{\"env\":[7]}"), "not NAME=VALUE", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cdi cdi = {0};
        cdi_add_text(&cdi, "broken", span_of(rows[i].text), rows[i].yaml);
        assert_int_equal(cdi.cards, 0);
        const char *said = cdi.left_out.size ? cdi.left_out.data : "nothing";
        if (strncmp(said, "broken: ", 8) != 0 || !strstr(said, rows[i].complaint))
            fail_msg("%s: '%s'", rows[i].text, said);
        cdi_add_text(&cdi, "good", span_of(as_yaml), true); /* the same numbers, by another file */
        assert_int_equal(cdi.cards, 3);
        cdi_done(&cdi);
    }
}

static void test_other_kinds_are_not_gpus(void **unused) {
    (void)unused;
    static const char *const texts[] = {"{\"kind\":\"vendor.com/nic\",\"devices\":[{\"name\":\"0\"}]}", "[]",
                                        "{}", "{\"kind\":\"x/gpu\",\"devices\":7}", "{\"kind\":\"x/gpu\"}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        uint64_t chosen;
        scoped_json json_t *config = applied(texts[i], false, "any", &chosen);
        assert_int_equal(chosen, 0);
        assert_int_equal(json_object_size(config), 0);
    }
}

static const char tool_says[] = "0, 15360, Tesla T4\n1, 24564, NVIDIA GeForce RTX 4090\n"
                                "2, 81559, NVIDIA H100 80GB HBM3\n3, [N/A], broken\nnonsense\n99, 1, far\n";

/* A machine of four cards; "1,2" are the numbers that are given. */
static void test_a_card_with_that_much_memory_is_given(void **unused) {
    (void)unused;
    static const struct {
        const char *gpu, *given, *complaint;
    } rows[] = {
        {"any", "GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB)", NULL}, /* nobody has it yet */
        {"T4", "GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB)", NULL},
        {"t4:3",
         "GPU 0 (Tesla T4, 15360 MiB), GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB), "
         "GPU 2 (NVIDIA H100 80GB HBM3, 81559 MiB)",
         NULL},
        {"A10G", "GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB)", NULL},
        {"A100-80GB", "GPU 2 (NVIDIA H100 80GB HBM3, 81559 MiB)", NULL},
        {"RTX-4090", "GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB)", NULL},
        {"H100!", "GPU 2 (NVIDIA H100 80GB HBM3, 81559 MiB)", NULL},
        {"T4!:1", "GPU 0 (Tesla T4, 15360 MiB)", NULL},
        {"L4+", "GPU 1 (NVIDIA GeForce RTX 4090, 24564 MiB)", NULL},
        {"A100-80GB!", NULL, "1 of the kind A100-80GB! is wanted, this machine has 0"},
        {"H10!", NULL, "this machine has 0"},
        {"T4!:2", NULL, "2 of the kind T4! are wanted, this machine has 1"},
        {"H100:2", NULL,
         "2 of the kind H100 are wanted, this machine has 1; it has GPU 0 (Tesla T4, 15360 MiB), "},
        {"H200", NULL, "1 of the kind H200 is wanted, this machine has 0"},
        {"GTX-1080", NULL, "1 of the kind GTX-1080 is wanted, this machine has 0"},
        {"any:0", NULL, "a count from 1"},
        {"any:many", NULL, "a count from 1"},
    };
    const unsigned users[CDI_CARDS_MAX] = {[0] = 2, [2] = 1};
    struct gpus gpus = {0};
    gpus_parse(span_of(tool_says), &gpus);
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t cards = 0;
        scoped(error) struct error *failed = gpus_choose(&gpus, 7, users, rows[i].gpu, &cards);
        scoped_string char *said = failed ? error_text(failed) : gpus_words(&gpus, cards);
        if (!!failed != !!rows[i].complaint || (failed && !strstr(said, rows[i].complaint)) ||
            (!failed && strcmp(said, rows[i].given) != 0))
            fail_msg("%s: %s", rows[i].gpu, said);
    }
    uint64_t cards;
    assert_error(gpus_choose(&gpus, 0, users, "any", &cards), ERROR_FAILED_PRECONDITION,
                 "nvidia-ctk cdi generate");
}

/* Asked once a boot; a tool that fails or that hangs up says nothing, and then any card will do. */
static void test_the_tool_is_asked_once(void **unused) {
    (void)unused;
    scoped_string char *id = random_id("catnap-gpus"), *dir = mem_printf("/tmp/%s", id),
                       *tool = path_join(dir, "tool"), *kept = path_join(dir, "kept"),
                       *asked = path_join(dir, "asked");
    struct gpus gpus;
    assert_ok(dir_make(dir, 0755));
    gpus_find(tool, kept, &gpus);
    assert_int_equal(gpus.card[0].mib, 0);
    scoped_string char *failing = mem_string("#!/bin/sh\necho '0, 5, x'\nexit 9\n");
    scoped_string char *working =
        mem_printf("#!/bin/sh\necho \"$*\" >> %s\necho '1, 15360, Tesla T4'\n", asked);
    assert_ok(file_replace(tool, span_of(failing), 0755));
    gpus_find(tool, kept, &gpus);
    assert_int_equal(gpus.card[0].mib, 0);
    assert_false(file_exists(kept));
    assert_ok(file_replace(tool, span_of(working), 0755));
    for (int i = 0; i < 2; i++) {
        gpus_find(tool, kept, &gpus);
        assert_int_equal(gpus.card[1].mib, 15360);
        assert_string_equal(gpus.card[1].name, "Tesla T4");
    }
    scoped_text struct text times = {0};
    assert_ok(file_read(asked, 4096, &times));
    assert_string_equal(times.data, "--query-gpu=index,memory.total,name --format=csv,noheader,nounits\n");
    assert_ok(file_replace(kept, SPAN("another boot\n0, 7, old\n"), 0600));
    gpus_find(tool, kept, &gpus);
    assert_int_equal(gpus.card[0].mib, 0);
    assert_int_equal(gpus.card[1].mib, 15360);
    assert_ok(tree_remove(dir));
}

/* With a real runtime: the devices are there and work, and so do the mounts. In a process that sees /run/cdi.
 */
static void see_devices(const char *runtime) {
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) _exit(3);
    if (mount("tmpfs", "/run", "tmpfs", 0, NULL)) _exit(3);
    assert_ok(dir_make("/run/cdi", 0755));
    assert_ok(file_replace("/run/cdi/nvidia.yaml", span_of(as_yaml), 0644));
    struct house *house = house_new(runtime);
    scoped(core_function) struct core_function *function = shell_function(
        "gpu",
        "head -c 2 /dev/fake0 | wc -c; head -c 1 /dev/zero > /dev/fake1; echo > /dev/fakectl && echo ctl;"
        "echo $NVIDIA_VISIBLE_DEVICES; grep -c http /opt/driver.so; exit 0");
    function->gpu = mem_string("any:2");
    scoped_string char *said = house_run(house, function, 1);
    bool good =
        strstr(said, "2\n") == said && strstr(said, "No space left on device") && strstr(said, "ctl\nvoid\n");
    if (!good) fprintf(stderr, "%s\n", said);
    assert_ok(container_gpu_check(house->host, "any"));
    assert_ok(file_replace("/run/cdi/nvidia.yaml",
                           SPAN("kind: nvidia.com/gpu\ndevices:\n- name: 0\n  containerEdits: {deviceNodes: "
                                "[{path: /dev/gone0}]}\n"),
                           0644));
    assert_error(container_gpu_check(house->host, "any"), ERROR_FAILED_PRECONDITION, "/dev/gone0");
    assert_ok(file_replace("/run/cdi/broken.json", SPAN("{"), 0644));
    assert_ok(file_replace("/run/cdi/nvidia.yaml", span_of(as_yaml), 0644));
    assert_ok(container_gpu_check(house->host, "any:2"));
    assert_error(container_gpu_check(house->host, "any:3"), ERROR_FAILED_PRECONDITION,
                 "left out: /var/run/cdi/broken.json: line 1");
    house_free(house);
    _exit(good ? 0 : 1);
}

static void devices_of(const char *runtime) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) see_devices(runtime);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_devices_are_there_and_work(void **unused) {
    NEEDS_ROOT();
    devices_of("crun");
    if (access("/usr/sbin/runc", X_OK) == 0 || access("/usr/bin/runc", X_OK) == 0) devices_of("runc");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml_and_json_say_the_same),
        cmocka_unit_test(test_as_many_as_were_asked_for),
        cmocka_unit_test(test_what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(test_other_kinds_are_not_gpus),
        cmocka_unit_test(test_a_card_with_that_much_memory_is_given),
        cmocka_unit_test(test_the_tool_is_asked_once),
        cmocka_unit_test(test_devices_are_there_and_work),
    };
    return cmocka_run_group_tests_name("container cdi", tests, NULL, NULL);
}
