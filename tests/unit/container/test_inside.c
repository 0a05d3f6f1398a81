/* What an app finds around it: few rights, a read-only root, its own /tmp, /etc, processes and network; its
 * environment, directory, user and volumes. Told by a shell in the container. */
#include <sys/syscall.h>

#include "house.h"

/* Runs the script in a new house and compares what it said. */
static void says(const char *script, const char *expected) {
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("asked", script);
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, expected);
    house_free(house);
}

static void test_rights_are_few_and_cannot_be_regained(void **unused) {
    NEEDS_ROOT();
    says("grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status",
         "CapInh:\t0000000000000000\nCapPrm:\t00000000800405fb\nCapEff:\t00000000800405fb\n"
         "CapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2");
}

static void test_another_user_has_no_rights_at_all(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("user", "id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status");
    function->user = mem_string("1234:5678");
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "1234\n5678\n5678\n/tmp\nCapEff:\t0000000000000000");
    house_free(house);
}

static void test_a_user_by_name_gets_its_home_and_group(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("named", "id -un; id -gn; echo $HOME");
    function->user = mem_string("nobody");
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "nobody\nnogroup\n/nonexistent");
    house_free(house);
}

static void test_an_unknown_user_is_told_as_such(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("stranger", "true");
    function->user = mem_string("nosuchuser");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 126);
    scoped_string char *tail = logs_tail(house->logs_dir, "tests", "stranger", "1", 1, 4096);
    assert_non_null(strstr(tail, "user 'nosuchuser': not in the container's /etc/passwd"));
    container_free(guest.container);
    house_free(house);
}

/* What reaches out of a container, each by the call that would do it. */
static void test_the_kernel_is_out_of_reach(void **unused) {
    NEEDS_ROOT();
    static const struct {
        const char *name, *arguments, *answer;
        int number;
    } calls[] = {
        {"mount", "b'none', b'/tmp', b'tmpfs', 0, None", "Operation not permitted", SYS_mount},
        {"unshare", "0x10000000", "Operation not permitted", SYS_unshare},
        {"setns", "0, 0", "Operation not permitted", SYS_setns},
        {"bpf", "0, 0, 0", "Operation not permitted", SYS_bpf},
        {"keyctl", "0, 0, 0", "Operation not permitted", SYS_keyctl},
        {"io_uring_setup", "1, 0", "Operation not permitted", SYS_io_uring_setup},
        {"reboot", "0", "Operation not permitted", SYS_reboot},
        {"kexec_load", "0, 0, 0, 0", "Operation not permitted", SYS_kexec_load},
        {"clone into a user namespace", "0x10000000 | 17, 0, 0, 0, 0", "Operation not permitted", SYS_clone},
        {"clone3", "0, 0", "Function not implemented", SYS_clone3},
        {"settimeofday", "0, 0", "Operation not permitted", SYS_settimeofday},
        {"pivot_root", "b'/', b'/'", "Operation not permitted", SYS_pivot_root},
        {"init_module", "0, 0, b''", "Operation not permitted", SYS_init_module},
        {"a socket to the hypervisor", "40, 1, 0", "Operation not permitted", SYS_socket},
        {"a raw socket", "17, 3, 0", "Operation not permitted", SYS_socket},
        {"a device", "-100, b'/tmp/kmem', 0o20666, 0x102", "Operation not permitted", SYS_mknodat},
        {"a call of the future", "0", "Function not implemented", 999},
        {"a personality", "0x0200000", "Operation not permitted", SYS_personality},
        {"getpid", "", "allowed", SYS_getpid},
    };
    scoped_text struct text script = {0}, expected = {0};
    text_add_string(&script,
                    "python3 - <<'END'\n"
                    "import ctypes, os\n"
                    "libc = ctypes.CDLL(None, use_errno=True)\n"
                    "def ask(name, *arguments):\n"
                    "    good = libc.syscall(*arguments) >= 0\n"
                    "    print(name + ':', 'allowed' if good else os.strerror(ctypes.get_errno()))\n");
    for (size_t i = 0; i < COUNT(calls); i++) {
        text_printf(&script, "ask('%s', %d%s%s)\n", calls[i].name, calls[i].number,
                    calls[i].arguments[0] ? ", " : "", calls[i].arguments);
        text_printf(&expected, "%s%s: %s", i ? "\n" : "", calls[i].name, calls[i].answer);
    }
    text_add_string(&script, "END");
    says(script.data, expected.data);
}

static void test_the_root_is_read_only_and_the_usual_places_are_its_own(void **unused) {
    NEEDS_ROOT();
    says("for place in / /usr /etc /var /srv /opt /.catnap /usr/bin/sh /proc/sys /sys; do\n"
         "    test -w $place && echo \"$place can be written\"; done\n"
         "for place in /tmp /var/tmp /run /root /dev/shm; do\n"
         "    ls -A $place; echo text > $place/file || echo \"$place cannot be written\"; done; ls -d "
         "/home/*; true",
         "ls: cannot access '/home/*': No such file or directory");
}

static void test_private_places_are_not_shared(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *first = shell_function("first", "echo mine > /tmp/file");
    scoped(core_function) struct core_function *second =
        shell_function("second", "ls -A /tmp /var/tmp /run /root");
    scoped_string char *nothing = house_run(house, first, 1), *listed = house_run(house, second, 2);
    assert_string_equal(nothing, "");
    assert_string_equal(listed, "/root:\n\n/run:\n\n/tmp:\n\n/var/tmp:");
    house_free(house);
}

static void test_etc_is_minimal_and_holds_no_secrets(void **unused) {
    NEEDS_ROOT();
    says(
        "for name in shadow gshadow sudoers ssh ssl/private pki/tls/private machine-id crontab hostname; do\n"
        "    test -e /etc/$name && echo \"/etc/$name is there\"; done\n"
        "cut -d: -f1 /etc/passwd; cat /etc/resolv.conf; ls /etc | wc -l | grep -qE '^(1?[0-9]|2[0-9])$' && "
        "echo few",
        "root\ndaemon\nnobody\nfew");
}

static void test_only_its_own_processes_are_seen(void **unused) {
    NEEDS_ROOT();
    says("cat /proc/1/comm; set -- /proc/[0-9]*; echo $#; readlink /proc/1/root || echo hidden; readlink "
         "/proc/self/fd/0;"
         "ls /proc/self/fd | tr '\\n' ' '; echo; hostname; kill -9 1; echo $?",
         "init\n2\nhidden\n/dev/null\n0 1 2 3 \nasked\n0");
}

static void test_the_network_is_loopback_alone(void **unused) {
    NEEDS_ROOT();
    says("ls /sys/class/net; cat /sys/class/net/lo/operstate; cat /proc/net/route | wc -l;"
         "python3 -c \"import socket; s = socket.create_server(('127.0.0.1', 4000)); \\\n"
         "c = socket.create_connection(('127.0.0.1', 4000)); print('loopback'); \\\n"
         "socket.create_connection(('192.0.2.1', 80), 5)\" 2>&1 | grep -E 'loopback|unreachable'",
         "lo\nunknown\n1\nloopback\nOSError: [Errno 101] Network is unreachable");
}

static void test_environment_and_directory(void **unused) {
    NEEDS_ROOT();
    setenv("CATNAP_TEST_SECRET", "of the daemon", 1);
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("surroundings", "pwd; env | sort");
    function->workdir = mem_string("/usr/lib");
    function->port = 0;
    core_function_env_add(function, "GREETING", "h\xc3\xa9llo = \"world\"");
    core_function_env_add(function, "LANG", "de_DE.UTF-8");
    core_function_env_add(function, "PATH", "/usr/bin:/bin");
    scoped_string char *said = house_run(house, function, 7);
    assert_string_equal(said, "/usr/lib\nCATNAP_APP=tests\nCATNAP_CONTAINER=7\nCATNAP_FUNCTION=surroundings\n"
                              "GREETING=h\xc3\xa9llo = \"world\"\nHOME=/root\nLANG=de_DE.UTF-8\n"
                              "PATH=/usr/bin:/bin\nPWD=/usr/lib\nPYTHONUNBUFFERED=1");
    house_free(house);
}

/* As the common container engines do. */
static void test_a_working_directory_that_is_missing_is_made(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("nowhere", "pwd");
    function->workdir = mem_string("/made/for/it");
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "/made/for/it");
    house_free(house);
}

static void test_volumes_read_write_and_read_only(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *data = path_join(house->dir, "data"), *file = path_join(data, "greeting");
    assert_ok(dir_make(data, 0755));
    assert_ok(file_replace(file, SPAN("hello\n"), 0644));
    scoped(core_function) struct core_function *function =
        shell_function("volumes", "cat /data/greeting; echo more >> /data/greeting; touch /srv/deep/down/x;"
                                  "cat /etc/one-file; grep -E ' /(data|srv/deep/down) ' /proc/self/mounts | "
                                  "cut -d' ' -f4 | grep -o '^rw,nosuid,nodev\\|^ro,nosuid,nodev'");
    const struct container_mount mounts[] = {
        {.source = data, .destination = "/data"},
        {.source = data, .destination = "/srv/deep/down", .read_only = true},
        {.source = file, .destination = "/etc/one-file", .read_only = true}};
    scoped_string char *said = house_run_with(house, function, 1, mounts, COUNT(mounts));
    assert_string_equal(said, "hello\ntouch: cannot touch '/srv/deep/down/x': Read-only file system\n"
                              "hello\nmore\nrw,nosuid,nodev\nro,nosuid,nodev");
    scoped_text struct text kept = {0};
    assert_ok(file_read(file, 4096, &kept));
    assert_string_equal(kept.data, "hello\nmore\n");
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights_are_few_and_cannot_be_regained),
        cmocka_unit_test(test_another_user_has_no_rights_at_all),
        cmocka_unit_test(test_a_user_by_name_gets_its_home_and_group),
        cmocka_unit_test(test_an_unknown_user_is_told_as_such),
        cmocka_unit_test(test_the_kernel_is_out_of_reach),
        cmocka_unit_test(test_the_root_is_read_only_and_the_usual_places_are_its_own),
        cmocka_unit_test(test_private_places_are_not_shared),
        cmocka_unit_test(test_etc_is_minimal_and_holds_no_secrets),
        cmocka_unit_test(test_only_its_own_processes_are_seen),
        cmocka_unit_test(test_the_network_is_loopback_alone),
        cmocka_unit_test(test_environment_and_directory),
        cmocka_unit_test(test_a_working_directory_that_is_missing_is_made),
        cmocka_unit_test(test_volumes_read_write_and_read_only),
    };
    return cmocka_run_group_tests_name("container inside", tests, NULL, NULL);
}
