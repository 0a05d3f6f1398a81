/* doctor: what this machine can and can't do is told with the way to get it, and looking changes nothing. */
#include <sched.h>
#include <sys/mount.h>

#include "house.h"

static const struct container_check *find(const struct container_checks *checks, const char *name) {
    for (size_t i = 0; i < checks->count; i++)
        if (strcmp(checks->check[i].name, name) == 0) return &checks->check[i];
    fail_msg("nothing is said of %s", name);
    return NULL;
}

static void test_everything_is_looked_at(void **unused) {
    NEEDS_ROOT();
    static const char *const names[] = {"root",     "catnap-init", "runtime",    "freezer",
                                        "limits",   "namespaces",  "overlay",    "seccomp",
                                        "outbound", "swap",        "registries", "gpu"};
    struct container_checks checks;
    container_doctor("crun", &checks);
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct container_check *check = find(&checks, names[i]);
        assert_true(check->found[0]);
        assert_int_equal(check->fix == NULL, check->ok); /* what is missing comes with the way to get it */
        if (check->fix) assert_true(check->fix[0]);
    }
    assert_true(find(&checks, "runtime")->ok); /* or these tests would not run */
    assert_true(find(&checks, "namespaces")->ok);
    assert_true(find(&checks, "freezer")->ok);
    assert_non_null(strstr(find(&checks, "runtime")->found, "crun version"));
    container_checks_done(&checks);
}

static void test_a_runtime_that_is_missing_or_broken(void **unused) {
    NEEDS_ROOT();
    static const struct {
        const char *runtime, *found;
    } rows[] = {{"no-such-runtime", "there is no 'no-such-runtime'"},
                {"/no/such/path", "there is no '/no/such/path'"},
                {"/etc/passwd", "there is no '/etc/passwd'"},
                {"false", "false does not run"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct container_checks checks;
        container_doctor(rows[i].runtime, &checks);
        const struct container_check *check = find(&checks, "runtime");
        assert_false(check->ok);
        assert_true(check->needed);
        if (!strstr(check->found, rows[i].found)) fail_msg("'%s'", check->found);
        assert_non_null(strstr(check->fix, "apt-get install crun"));
        container_checks_done(&checks);
    }
}

/* On a machine that was taken apart, in a process of its own. */
static void lacks(int (*take_away)(void), const char *name, const char *fix) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct container_checks checks;
        if (take_away()) _exit(2);
        container_doctor("crun", &checks);
        const struct container_check *check = find(&checks, name);
        _exit(!check->ok && strstr(check->fix, fix) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) fail_msg("%s: that it is missing is not told as it should be (%d)", name, status);
}

static int own_mounts(void) {
    return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}
static int take_cgroups(void) {
    return own_mounts() || umount2("/sys/fs/cgroup", MNT_DETACH);
}
static int take_path(void) {
    return setenv("PATH", "/nowhere", 1);
}
/* Docker is such a neighbour. */
static int let_a_neighbour_drop_packets(void) {
    if (unshare(CLONE_NEWNET)) return 1;
    pid_t pid = fork();
    if (pid == 0)
        execlp("nft", "nft",
               "table ip filter {\nchain FORWARD { type filter hook forward priority 0; policy drop; }\n}",
               NULL);
    int status = -1;
    return waitpid(pid, &status, 0) != pid || status;
}

static void test_what_is_taken_away_is_missed(void **unused) {
    NEEDS_ROOT();
    lacks(take_cgroups, "freezer", "mount -t cgroup2");
    lacks(take_cgroups, "limits", "memory, cpu, pids");
    lacks(take_path, "outbound", "apt-get install nftables");
    lacks(let_a_neighbour_drop_packets, "outbound", "FORWARD -i 'cnap+' -j ACCEPT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_looked_at),
        cmocka_unit_test(test_a_runtime_that_is_missing_or_broken),
        cmocka_unit_test(test_what_is_taken_away_is_missed),
    };
    return cmocka_run_group_tests_name("container doctor", tests, NULL, NULL);
}
