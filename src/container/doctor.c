/* doctor: what this machine can and can't do for containers, with the way to get what is missing.
 *
 * Looks, and changes nothing: no group is made, nothing is mounted. What it calls needed is what a daemon
 * cannot start without; the rest costs a feature, and the text says which. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "inside.h"

#define TEXT_MAX (1 << 20) /* of a file in /proc */

/* `found` and `fix` are owned by the list from here on. */
static void add(struct container_checks *checks, const char *name, bool ok, bool needed, char *found,
                const char *fix) {
    checks->check = mem_grow(checks->check, checks->count + 1, sizeof *checks->check);
    checks->check[checks->count++] = (struct container_check){
        .name = name, .ok = ok, .needed = needed, .found = found, .fix = ok ? NULL : mem_string(fix)};
}

static char *read_text(const char *path) {
    struct text text = {0};
    error_free(file_read(path, TEXT_MAX, &text));
    return text_take(&text);
}

static bool has_word(const char *text, const char *word) {
    size_t size = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += size) {
        bool begins = at == text || strchr(" \t\n", at[-1]);
        if (begins && (!at[size] || strchr(" \t\n", at[size]))) return true;
    }
    return false;
}

static void check_user(struct container_checks *checks) {
    struct utsname system;
    bool root = geteuid() == 0;
    uname(&system);
    add(checks, "root", root, true,
        root ? mem_printf("yes; Linux %s", system.release) : mem_printf("no: user %u", (unsigned)geteuid()),
        "start catnap with sudo; containers without root are not built");
}

static void check_programs(struct container_checks *checks, const char *runtime) {
    char self[4096] = "";
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = size > 0 ? strrchr(self, '/') : NULL;
    scoped_string char *init =
        mem_printf("%.*s/catnap-init", slash ? (int)(slash - self) : 0, slash ? self : "");
    bool has_init = access(init, X_OK) == 0;
    add(checks, "catnap-init", has_init, true, mem_printf("%s%s", has_init ? "" : "not at ", init),
        "install catnap-init beside catnap; it is the first process of each container");
    char *path = host_program_find(runtime);
    scoped_string char *fix =
        mem_printf("Debian: apt-get install %s; another one is named by `runtime:` in catnapd.yaml",
                   strcmp(runtime, "runc") == 0 ? "runc" : "crun");
    add(checks, "runtime", path != NULL, true, path ? path : mem_printf("there is no '%s'", runtime), fix);
}

/* "memory, cpu" of those that `has` names; the others too, for the text of what is missing. */
static char *list(const bool has[CGROUP_CONTROLLERS], bool wanted) {
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};
    struct text text = {0};
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (has[c] == wanted) text_printf(&text, "%s%s", text.size ? ", " : "", names[c]);
    return text_take(&text);
}

static void check_cgroups(struct container_checks *checks) {
    scoped_string char *mounts = read_text("/proc/self/mountinfo"), *own = read_text("/proc/self/cgroup");
    struct cgroup_host groups;
    bool has[CGROUP_CONTROLLERS];
    cgroup_find(mounts, own, "x", &groups);
    scoped_string char *point =
        groups.unified ? mem_string_n(groups.unified, strlen(groups.unified) - strlen("/x")) : NULL;
    scoped_string char *file = point ? path_join(point, "cgroup.controllers") : mem_string("");
    scoped_string char *v2 = read_text(file);
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};
    bool all = true;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        has[c] = groups.controller[c] || has_word(v2, names[c]);
        all = all && has[c];
    }
    add(checks, "freezer", groups.unified || groups.freezer, true,
        point            ? mem_printf("cgroup v2 at %s", point)
        : groups.freezer ? mem_string("cgroup v1")
                         : mem_string("no cgroup hierarchy can freeze"),
        "mount -t cgroup2 none /sys/fs/cgroup");
    scoped_string char *missing = list(has, false), *there = list(has, true);
    scoped_string char *fix = mem_printf("limits by %s are not kept; on the kernel's command line "
                                         "cgroup_enable=memory, or systemd: Delegate=yes",
                                         missing);
    add(checks, "limits", all, false, mem_printf("%s", *there ? there : "none"), fix);
    cgroup_host_done(&groups);
}

static void check_kernel(struct container_checks *checks) {
    static const char *const names[] = {"pid", "mnt", "ipc", "uts", "net", "cgroup"};
    struct text missing = {0};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        if (!file_exists(path)) text_printf(&missing, "%s%s", missing.size ? ", " : "no ", names[i]);
    }
    bool all = missing.size == 0;
    text_add_string(&missing, all ? "pid, mnt, ipc, uts, net, cgroup" : "");
    add(checks, "namespaces", all, true, text_take(&missing), "a kernel with all of CONFIG_NAMESPACES");
    scoped_string char *filesystems = read_text("/proc/filesystems");
    bool overlay = has_word(filesystems, "overlay");
    add(checks, "overlay", overlay, false,
        mem_string(overlay ? "yes" : "no: only the image `host` can be used"), "modprobe overlay");
}

static void check_extras(struct container_checks *checks) {
    char *nft = host_program_find("nft");
    add(checks, "outbound", nft != NULL, false,
        nft ? nft : mem_string("no nft: `network: outbound` can't be had"),
        "Debian: apt-get install nftables");
    struct sysinfo memory = {0};
    sysinfo(&memory);
    uint64_t swap_mib = ((uint64_t)memory.totalswap * memory.mem_unit) >> 20;
    add(checks, "swap", swap_mib > 0, false,
        swap_mib ? mem_printf("%llu MiB", (unsigned long long)swap_mib)
                 : mem_string("none: a dozing app gives back its files' pages only"),
        "zram or a swap file; Debian: apt-get install zram-tools");
    glob_t found = {0};
    bool cdi = glob("/etc/cdi/*.json", 0, NULL, &found) == 0 ||
               glob("/var/run/cdi/*.json", GLOB_APPEND, NULL, &found) == 0;
    bool card = file_exists("/dev/nvidiactl");
    const char *words = cdi    ? "described by CDI"
                        : card ? "NVIDIA's, without a CDI description: `gpu:` can't be had"
                               : "none";
    add(checks, "gpu", cdi || !card, false, mem_string(words),
        "nvidia-ctk cdi generate --format=json --output=/etc/cdi/nvidia.json");
    globfree(&found);
}

void container_doctor(const char *runtime, struct container_checks *ret_checks) {
    *ret_checks = (struct container_checks){0};
    check_user(ret_checks);
    check_programs(ret_checks, runtime);
    check_cgroups(ret_checks);
    check_kernel(ret_checks);
    check_extras(ret_checks);
}

void container_checks_done(struct container_checks *checks) {
    for (size_t i = 0; i < checks->count; i++) {
        free(checks->check[i].found);
        free(checks->check[i].fix);
    }
    free(checks->check);
    *checks = (struct container_checks){0};
}
