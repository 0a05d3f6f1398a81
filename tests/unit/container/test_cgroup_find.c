/* Where groups go on the machines that there are, from the texts that the kernel shows of them. */
#include "inside.h"
#include "test.h"

/* clang-format off */
#define V1(ID, WHAT) \
    ID " 23 0:" ID " / /sys/fs/cgroup/" WHAT " rw,nosuid shared:9 - cgroup cgroup rw," WHAT "\n"
#define ROOT "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n" \
             "23 22 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
#define TMPFS "24 23 0:22 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755\n"

static const struct {
    const char *machine, *mountinfo, *own;
    const char *unified, *freezer, *memory, *cpu, *pids, *hide, *delegated;
    size_t v1;
} rows[] = {
    {"pure v2 with systemd, started from a shell",
     ROOT "25 23 0:23 / /sys/fs/cgroup rw,nosuid shared:8 - cgroup2 cgroup2 rw,nsdelegate\n",
     "0::/user.slice/user-0.slice/session-3.scope\n",
     .unified = "/sys/fs/cgroup/catnap-1",
     .delegated = "/sys/fs/cgroup/user.slice/user-0.slice/session-3.scope"},
    {"pure v2, a unit with Delegate=yes",
     ROOT "25 23 0:23 / /sys/fs/cgroup rw shared:8 - cgroup2 cgroup2 rw\n",
     "0::/system.slice/catnap.service\n",
     .unified = "/sys/fs/cgroup/catnap-1", .delegated = "/sys/fs/cgroup/system.slice/catnap.service"},
    {"pure v2 without a service manager",
     ROOT "25 23 0:23 / /sys/fs/cgroup rw - cgroup2 none rw\n", "0::/\n",
     .unified = "/sys/fs/cgroup/catnap-1"},
    {"hybrid of systemd: v2 without controllers beside v1",
     ROOT TMPFS "25 24 0:23 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n"
     V1("26", "memory") V1("27", "cpu,cpuacct") V1("28", "pids") V1("29", "freezer") V1("30", "devices"),
     "12:memory:/\n4:cpu,cpuacct:/\n0::/init.scope\n",
     .unified = "/sys/fs/cgroup/unified/catnap-1", .memory = "/sys/fs/cgroup/memory/catnap-1",
     .cpu = "/sys/fs/cgroup/cpu,cpuacct/catnap-1", .pids = "/sys/fs/cgroup/pids/catnap-1",
     .hide = "/sys/fs/cgroup/unified", .delegated = "/sys/fs/cgroup/unified/init.scope", .v1 = 5},
    {"pure v1",
     ROOT TMPFS V1("26", "memory") V1("27", "cpu,cpuacct") V1("28", "pids") V1("29", "freezer"),
     "12:memory:/user.slice\n", .freezer = "/sys/fs/cgroup/freezer/catnap-1",
     .memory = "/sys/fs/cgroup/memory/catnap-1", .cpu = "/sys/fs/cgroup/cpu,cpuacct/catnap-1",
     .pids = "/sys/fs/cgroup/pids/catnap-1", .v1 = 4},
    {"in a container on v2: own namespace, the group is the root",
     "700 600 0:60 / / rw - overlay overlay rw,lowerdir=/a:/b\n"
     "701 700 0:24 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n", "0::/\n",
     .unified = "/sys/fs/cgroup/catnap-1"},
    {"in a container on v2: the host's namespace, only the own group mounted",
     "700 600 0:60 / / rw - overlay overlay rw\n"
     "701 700 0:24 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/abc\n",
     .unified = "/sys/fs/cgroup/catnap-1"},
    {"in a container on v2: a mount from outside of the own namespace",
     "700 600 0:60 / / rw - overlay overlay rw\n"
     "701 700 0:24 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/../other\n",
     .unified = "/sys/fs/cgroup/catnap-1"},
    {"a read-only v2 is none that could be used",
     "700 600 0:60 / / rw - overlay overlay rw\n"
     "701 700 0:24 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n", "0::/\n", .v1 = 0},
    {"read-only v1, as the common engines mount it",
     "700 600 0:60 / / rw - overlay overlay rw\n"
     "701 700 0:30 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n",
     "5:memory:/docker/abc\n", .v1 = 0},
    {"a mount point with a blank in its name",
     ROOT "25 23 0:23 / /mnt/c\\040group rw - cgroup2 none rw\n", "0::/\n",
     .unified = "/mnt/c group/catnap-1"},
    {"nothing at all", ROOT, "", .v1 = 0},
    {"texts that are none", "\n \nx y z\n1 2 3 4 5 6 - \n- - - - -\n", "0::\n::\n", .v1 = 0},
};
/* clang-format on */

static void same(const char *machine, const char *what, const char *got, const char *expected) {
    if (!got && !expected) return;
    if (!got || !expected || strcmp(got, expected) != 0)
        fail_msg("%s: %s is %s instead of %s", machine, what, got ? got : "none",
                 expected ? expected : "none");
}

static void test_every_kind_of_machine(void **unused) {
    (void)unused;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cgroup_host groups;
        const char *machine = rows[i].machine;
        cgroup_find(rows[i].mountinfo, rows[i].own, "catnap-1", &groups);
        same(machine, "v2", groups.unified, rows[i].unified);
        same(machine, "the freezer", groups.freezer, rows[i].freezer);
        same(machine, "memory", groups.controller[CGROUP_MEMORY], rows[i].memory);
        same(machine, "cpu", groups.controller[CGROUP_CPU], rows[i].cpu);
        same(machine, "pids", groups.controller[CGROUP_PIDS], rows[i].pids);
        same(machine, "what is hidden", groups.hide, rows[i].hide);
        same(machine, "what is delegated", groups.delegated, rows[i].delegated);
        size_t v1 = 0;
        while (groups.v1[v1]) v1++;
        if (v1 != rows[i].v1) fail_msg("%s: %zu v1 hierarchies instead of %zu", machine, v1, rows[i].v1);
        cgroup_host_done(&groups);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kind_of_machine)};
    return cmocka_run_group_tests_name("container cgroup_find", tests, NULL, NULL);
}
