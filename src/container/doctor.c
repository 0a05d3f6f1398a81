/* doctor: what this machine can and can't do for containers, with the way to get what is missing.
 *
 * Looks, and tries in processes of its own (probe.c); changes nothing. What it calls needed is what a daemon
 * cannot start without; the rest costs a feature, and the text says which. */
#include <errno.h>
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

static const char *text_of(int errno_value) {
    return errno_value == 0 ? "yes" : strerrorname_np(errno_value);
}

static void check_user(struct container_checks *checks) {
    struct utsname system;
    uname(&system);
    if (geteuid() == 0) {
        add(checks, "root", true, true, mem_printf("yes; Linux %s", system.release), NULL);
        return;
    }
    int refused = probe(PROBE_USER_NAMESPACE);
    char *found = refused
                      ? mem_printf("no: user %u, and user namespaces are refused (%s); Linux %s", geteuid(),
                                   text_of(refused), system.release)
                      : mem_printf("no: user %u, in user namespaces; Linux %s", geteuid(), system.release);
    add(checks, "root", !refused, true, found,
        "start catnap with sudo, or allow user namespaces: sysctl user.max_user_namespaces=65536, "
        "kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 "
        "(Ubuntu)");
    uint64_t users = userns_range_size();
    add(checks, "users", users > 0, false,
        users ? mem_printf("%llu of /etc/subuid", (unsigned long long)users)
              : mem_string("one: `user:` can't be another than 0"),
        "Debian: apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
        "USER");
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
    scoped_string char *path = host_program_find(runtime);
    scoped_string char *version =
        path ? probe_first_line((const char *const[]){path, "--version", NULL}) : mem_string("");
    scoped_string char *fix =
        mem_printf("Debian: apt-get install %s; another one is named by `runtime:` in catnapd.yaml",
                   strcmp(runtime, "runc") == 0 ? "runc" : "crun");
    char *found = !path         ? mem_printf("there is no '%s'", runtime)
                  : !version[0] ? mem_printf("%s does not run", path)
                                : mem_printf("%s: %s", path, version);
    add(checks, "runtime", version[0], true, found, fix);
}

/* "memory, cpu" of those that `has` names; the others too, for the text of what is missing. */
static char *list(const bool has[CGROUP_CONTROLLERS], bool wanted) {
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};
    struct text text = {0};
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (has[c] == wanted) text_printf(&text, "%s%s", text.size ? ", " : "", names[c]);
    return text_take(&text);
}

/* Where our group would go: what was given to us, or, for root, the whole. */
static char *place_of(struct cgroup_host *groups) {
    char *given = cgroup_given(groups);
    if (given || geteuid() != 0 || !groups->unified) return given;
    return mem_string_n(groups->unified, strlen(groups->unified) - strlen("/x"));
}

static void check_cgroups(struct container_checks *checks) {
    scoped_string char *mounts = read_text("/proc/self/mountinfo"), *own = read_text("/proc/self/cgroup");
    const bool root = geteuid() == 0;
    struct cgroup_host groups;
    bool has[CGROUP_CONTROLLERS], all = true;
    cgroup_find(mounts, own, "x", &groups);
    scoped_string char *place = place_of(&groups),
                       *file = place ? path_join(place, "cgroup.controllers") : NULL;
    scoped_string char *v2 = file ? read_text(file) : mem_string("");
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        has[c] = (root && groups.controller[c]) || has_word(v2, names[c]);
        all = all && has[c];
    }
    const char *delegate = "start it with systemd-run --user --scope -p Delegate=yes";
    add(checks, "freezer", place || (root && groups.freezer), root,
        place                    ? mem_printf("cgroup v2 at %s", place)
        : root && groups.freezer ? mem_string("cgroup v1")
        : root                   ? mem_string("no cgroup hierarchy can freeze")
                                 : mem_string("no cgroup was given to this user: apps do not doze"),
        root ? "mount -t cgroup2 none /sys/fs/cgroup" : delegate);
    scoped_string char *missing = list(has, false), *there = list(has, true);
    scoped_string char *fix =
        root ? mem_printf("limits by %s are not kept; on the kernel's command line cgroup_enable=memory, "
                          "or systemd: Delegate=yes",
                          missing)
             : mem_printf("limits by %s are not kept; %s", missing, delegate);
    add(checks, "limits", all, false, mem_printf("%s", *there ? there : "none"), fix);
    cgroup_host_done(&groups);
}

static void check_kernel(struct container_checks *checks) {
    int refused = probe(PROBE_NAMESPACES);
    add(checks, "namespaces", !refused, true,
        refused ? mem_printf("refused: %s", text_of(refused)) : mem_string("pid, mnt, ipc, uts, net, cgroup"),
        "a kernel with all of CONFIG_NAMESPACES; in a container: --privileged");
    refused = probe(PROBE_OVERLAY);
    add(checks, "overlay", !refused, false,
        refused ? mem_printf("no (%s): only the image `host` can be used", text_of(refused))
                : mem_string("yes"),
        "modprobe overlay");
    refused = probe(PROBE_NOTIFICATIONS);
    add(checks, "seccomp", !refused, false,
        refused ? mem_printf("no notifications (%s): that an app listens is found by asking every 5 ms",
                             text_of(refused))
                : mem_string("with notifications: an app is ready the moment it listens"),
        "Linux 5.5 or later with CONFIG_SECCOMP_FILTER");
}

/* Docker and others let nothing through that they do not know. */
static bool forwarding_is_dropped(void) {
    scoped_string char *chain = probe_first_line(
        (const char *const[]){"sh", "-c", "nft list chain ip filter FORWARD | grep policy", NULL});
    return strstr(chain, "policy drop") != NULL;
}

static void check_outbound_of_user(struct container_checks *checks) {
    scoped_string char *slirp = host_program_find("slirp4netns");
    bool tun = access("/dev/net/tun", R_OK | W_OK) == 0;
    add(checks, "outbound", slirp && tun, false,
        !slirp ? mem_string("no slirp4netns: `network: outbound` can't be had without root")
        : !tun ? mem_string("slirp4netns; but this user may not open /dev/net/tun")
               : mem_printf("%s", slirp),
        slirp ? "as root: modprobe tun; chmod 666 /dev/net/tun" : "Debian: apt-get install slirp4netns");
}

static void check_outbound(struct container_checks *checks) {
    if (geteuid() != 0) {
        check_outbound_of_user(checks);
        return;
    }
    int no_nft = probe(PROBE_NFT), no_veth = probe(PROBE_VETH);
    bool dropped = !no_nft && forwarding_is_dropped();
    char *found = no_nft == ENOENT ? mem_string("no nft: `network: outbound` can't be had")
                  : no_nft         ? mem_printf("the kernel refuses nft's rules (%s)", text_of(no_nft))
                  : no_veth        ? mem_printf("the kernel makes no veth (%s)", text_of(no_veth))
                  : dropped        ? mem_string("nft, veth; but another program drops what is forwarded")
                                   : mem_string("nft, veth");
    add(checks, "outbound", !no_nft && !no_veth && !dropped, false, found,
        no_nft == ENOENT ? "Debian: apt-get install nftables"
        : no_nft         ? "modprobe nf_tables nft_masq nft_ct (CONFIG_NFT_MASQ, CONFIG_NFT_NAT)"
        : no_veth        ? "modprobe veth (and apt-get install iproute2 for this check)"
                  : "iptables -I FORWARD -i 'cnap+' -j ACCEPT; iptables -I FORWARD -o 'cnap+' -j ACCEPT");
}

static void check_gpu(struct container_checks *checks) {
    struct cdi cdi;
    gpu_described(&cdi);
    const bool card = file_exists("/dev/nvidiactl");
    struct text words = {0};
    if (cdi.cards)
        text_printf(&words, "%d described by CDI", __builtin_popcountll(cdi.cards));
    else
        text_printf(&words, "%s", card ? "NVIDIA's, without a CDI description: `gpu:` can't be had" : "none");
    struct span rest = text_span(&cdi.left_out);
    while (rest.size) {
        struct span line = span_cut(&rest, '\n');
        text_printf(&words, "; left out: " SPAN_FORMAT, SPAN_ARGS(line));
    }
    add(checks, "gpu", !cdi.left_out.size && (cdi.cards || !card), false, text_take(&words),
        "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
    cdi_done(&cdi);
}

static void check_extras(struct container_checks *checks) {
    struct sysinfo memory = {0};
    sysinfo(&memory);
    uint64_t swap_mib = ((uint64_t)memory.totalswap * memory.mem_unit) >> 20;
    add(checks, "swap", swap_mib > 0, false,
        swap_mib ? mem_printf("%llu MiB", (unsigned long long)swap_mib)
                 : mem_string("none: a dozing app keeps its memory"),
        "zram or a swap file; Debian: apt-get install zram-tools");
    scoped_string char *skopeo = host_program_find("skopeo");
    add(checks, "registries", skopeo, false,
        skopeo ? mem_string(skopeo) : mem_string("no skopeo: `image:` can't be pulled from a registry"),
        "Debian: apt-get install skopeo");
    check_gpu(checks);
}

void container_doctor(const char *runtime, struct container_checks *ret_checks) {
    *ret_checks = (struct container_checks){0};
    check_user(ret_checks);
    check_programs(ret_checks, runtime);
    check_cgroups(ret_checks);
    check_kernel(ret_checks);
    check_outbound(ret_checks);
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
