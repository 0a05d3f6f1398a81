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

static json_t *applied(const char *text, bool yaml, uint64_t wanted, uint64_t *chosen) {
    json_t *config = json_object();
    *chosen = 0;
    assert_ok(cdi_apply_text(span_of(text), yaml, wanted, chosen, config));
    return config;
}

static void test_yaml_and_json_say_the_same(void **unused) {
    (void)unused;
    uint64_t chosen, chosen_too;
    scoped_json json_t *from_json = applied(as_json, false, 2, &chosen);
    scoped_json json_t *from_yaml = applied(as_yaml, true, 2, &chosen_too);
    assert_int_equal(chosen, 2);
    assert_int_equal(chosen_too, 2);
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
    scoped_json json_t *config = applied(as_json, false, 1, &chosen);
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
        {IN_DEVICE("{\"deviceNodes\":[{}]}"), "devices[0]: deviceNodes: one without a path", false},
        {IN_DEVICE("{\"deviceNodes\":[{\"path\":\"/dev/no-such-device\"}]}"), "/dev/no-such-device: No such",
         false},
        {IN_DEVICE("{\"mounts\":[{\"hostPath\":\"/x\"}]}"), "hostPath or containerPath is missing", false},
        {IN_DEVICE("{\"hooks\":[{\"path\":\"/x\"}]}"), "hookName or path is missing", false},
        {IN_DEVICE("{\"env\":[7]}"), "not NAME=VALUE", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_json json_t *config = json_object();
        uint64_t chosen = 0;
        scoped(error) struct error *failed =
            cdi_apply_text(span_of(rows[i].text), rows[i].yaml, 1, &chosen, config);
        scoped_string char *said = failed ? error_text(failed) : mem_string("nothing");
        if (!strstr(said, rows[i].complaint)) fail_msg("%s: '%s'", rows[i].text, said);
    }
}

static void test_other_kinds_are_not_gpus(void **unused) {
    (void)unused;
    static const char *const texts[] = {"{\"kind\":\"vendor.com/nic\",\"devices\":[{\"name\":\"0\"}]}", "[]",
                                        "{}", "{\"kind\":\"x/gpu\",\"devices\":7}", "{\"kind\":\"x/gpu\"}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        uint64_t chosen;
        scoped_json json_t *config = applied(texts[i], false, 1, &chosen);
        assert_int_equal(chosen, 0);
        assert_int_equal(json_object_size(config), 0);
    }
}

static void test_too_few_and_none_are_told(void **unused) {
    (void)unused;
    scoped_string char *id = random_id("catnap-cdi"), *dir = mem_printf("/tmp/%s", id),
                       *file = path_join(dir, "nvidia.yaml");
    scoped_json json_t *config = json_object();
    const char *const none[] = {"/no/such/directory", NULL}, *const dirs[] = {dir, NULL};
    assert_error(cdi_apply_from(none, "any", config), ERROR_FAILED_PRECONDITION, "nvidia-ctk cdi generate");
    assert_ok(dir_make(dir, 0755));
    assert_ok(file_replace(file, span_of(as_yaml), 0644));
    assert_error(cdi_apply_from(dirs, "H100:3", config), ERROR_FAILED_PRECONDITION, "describes 2 of 3");
    assert_error(cdi_apply_from(dirs, "any:0", config), ERROR_INVALID_ARGUMENT, "a count from 1");
    assert_error(cdi_apply_from(dirs, "any:many", config), ERROR_INVALID_ARGUMENT, "a count from 1");
    assert_ok(cdi_apply_from(dirs, "H100:2", config));
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
        cmocka_unit_test(test_too_few_and_none_are_told),
        cmocka_unit_test(test_devices_are_there_and_work),
    };
    return cmocka_run_group_tests_name("container cdi", tests, NULL, NULL);
}
