/* spec: config.json, and the job for the launcher.
 *
 * What the runtime makes: pid, mount and cgroup namespaces, the mounts, capabilities, masked paths. What the
 * launcher has made already is inherited and so not named: network, ipc and uts namespaces, cgroups, the root
 * file system. The app's seccomp filter is installed by catnap-init, which needs calls that the app must not
 * have. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "inside.h"

enum { FILES_MAX = 65536, OOM_SCORE = 500 };
#define PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static json_t *strings(const char *const *items, size_t count) {
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(array, json_string(items[i]));
    return array;
}

static void add_mount(json_t *mounts, const char *to, const char *type, const char *from,
                      const char *options) {
    json_t *list = json_array();
    struct span rest = span_of(options);
    while (rest.data) {
        struct span option = span_cut(&rest, ',');
        json_array_append_new(list, json_stringn(option.data, option.size));
    }
    json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:o}", "destination", to, "type", type, "source",
                                            from, "options", list));
}

/* So that what sizes itself by its limits finds them. v1: its own groups, each where programs look for it.
 * v2: the group that is the root in there, which for runtimes that make one of their own lies below the
 * limits. */
static void add_cgroups(const struct container *container, json_t *mounts) {
    static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};
    const struct cgroup_host *groups = &container->host->groups;
    if (groups->controller_v2[CGROUP_MEMORY]) {
        scoped_string char *slot = path_join(groups->unified, container->slot->name);
        if (container->host->kind == RUNTIME_CRUN)
            add_mount(mounts, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro");
        else
            add_mount(mounts, "/sys/fs/cgroup", "bind", slot, "bind,nosuid,noexec,nodev,ro");
        return;
    }
    add_mount(mounts, "/sys/fs/cgroup", "tmpfs", "tmpfs", "nosuid,noexec,nodev,mode=755,size=64k,ro");
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (!groups->controller[c] || groups->controller_v2[c]) continue;
        scoped_string char *from = path_join(groups->controller[c], container->slot->name),
                           *to = path_join("/sys/fs/cgroup", names[c]);
        add_mount(mounts, to, "bind", from, "bind,nosuid,noexec,nodev,ro");
    }
}

static bool own_etc(const struct container *container) {
    return container->layer_count > 0;
}

/* The host image's /tmp and the like were mounted by the launcher. */
static json_t *mounts_of(const struct container *container) {
    json_t *mounts = json_array();
    add_mount(mounts, "/proc", "proc", "proc", "nosuid,noexec,nodev");
    add_mount(mounts, "/dev", "tmpfs", "tmpfs", "nosuid,noexec,strictatime,mode=755,size=65536k");
    add_mount(mounts, "/dev/pts", "devpts", "devpts",
              container->host->one_user ? "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"
                                        : "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
    add_mount(mounts, "/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777");
    add_mount(mounts, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
    add_mount(mounts, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
    add_cgroups(container, mounts);
    if (own_etc(container) && !container->function->writable_rootfs) {
        add_mount(mounts, "/tmp", "tmpfs", "tmpfs", "nosuid,nodev,mode=1777");
        add_mount(mounts, "/var/tmp", "tmpfs", "tmpfs", "nosuid,nodev,mode=1777");
        add_mount(mounts, "/run", "tmpfs", "tmpfs", "nosuid,nodev,mode=755");
    }
    scoped_string char *hosts = slot_file(container->slot, "hosts"),
                       *resolv = slot_file(container->slot, "resolv.conf");
    if (own_etc(container)) add_mount(mounts, "/etc/hosts", "bind", hosts, "bind,ro,nosuid,nodev");
    if (container->function->network != CORE_NETWORK_NONE)
        add_mount(mounts, "/etc/resolv.conf", "bind", resolv, "bind,ro,nosuid,nodev");
    for (size_t i = 0, below = 0; i < container->mount_count; i++) {
        const struct container_mount *mount = &container->mounts[i];
        scoped_string char *name = mem_printf("below/%zu", below), *found = slot_file(container->slot, name);
        add_mount(mounts, mount->destination, "bind", mount->below ? found : mount->source,
                  mount->read_only ? "rbind,ro,nosuid,nodev" : "rbind,rw,nosuid,nodev");
        below += mount->below ? 1 : 0;
    }
    return mounts;
}

static void add_own_environment(json_t *env, const struct core_function *function, const char *id) {
    json_array_append_new(env, json_string("PATH=" PATH));
    json_array_append_new(env, json_string("LANG=C.UTF-8"));
    json_array_append_new(env,
                          json_string("PYTHONUNBUFFERED=1")); /* a pipe is no reason to keep a log back */
    json_array_append_new(env, json_sprintf("CATNAP_APP=%s", function->app));
    json_array_append_new(env, json_sprintf("CATNAP_FUNCTION=%s", function->name));
    json_array_append_new(env, json_sprintf("CATNAP_CONTAINER=%s", id));
    if (function->port) json_array_append_new(env, json_sprintf("PORT=%u", function->port));
}

static json_t *environment(const struct container *container) {
    const struct core_function *function = container->function;
    json_t *env = json_array();
    if (!container->plain_env) add_own_environment(env, function, container->id);
    for (size_t i = 0; i < function->env_count; i++) { /* the last of a name is the one that counts */
        for (size_t at = json_array_size(env); at-- > 0;) {
            const char *old = json_string_value(json_array_get(env, at));
            size_t size = strlen(function->env[i].name);
            if (strncmp(old, function->env[i].name, size) == 0 && old[size] == '=')
                json_array_remove(env, at);
        }
        json_array_append_new(env, json_sprintf("%s=%s", function->env[i].name, function->env[i].value));
    }
    return env;
}

static json_t *arguments(const struct container *container) {
    /* A runner is heard by the daemon: its init waits for a word that never comes. */
    static const char *const ready[] = {[CORE_READY_PORT] = "port",
                                        [CORE_READY_NOTIFY] = "notify",
                                        [CORE_READY_SOCKET] = "socket",
                                        [CORE_READY_RUNNER] = "notify"};
    const struct core_function *function = container->function;
    json_t *args = json_array();
    const char *head[] = {"/.catnap/init", "run",     "--log",
                          container->id,   "--ready", ready[function->readiness]};
    for (size_t i = 0; i < COUNT(head); i++) json_array_append_new(args, json_string(head[i]));
    json_array_append_new(
        args, json_sprintf("--log-bytes=%llu", (unsigned long long)container->host->log_file_bytes));
    json_array_append_new(args, json_sprintf("--startup-ms=%lld", (long long)function->startup_timeout_ms));
    json_array_append_new(args, json_sprintf("--oom-score=%d", OOM_SCORE));
    if (function->port) json_array_append_new(args, json_sprintf("--port=%u", function->port));
    if (function->user) json_array_append_new(args, json_sprintf("--user=%s", function->user));
    for (size_t i = 0; i < function->env_count; i++) /* runtimes set one of their own where we name none */
        if (strcmp(function->env[i].name, "HOME") == 0)
            json_array_append_new(args, json_string("--keep-home"));
    json_array_append_new(args, json_string("--"));
    for (char **word = function->command; *word; word++) json_array_append_new(args, json_string(*word));
    return args;
}

static json_t *capabilities(void) {
    static const char *const kept[] = {"CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
                                       "CAP_KILL",    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",   "CAP_SETGID",
                                       "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT"};
    json_t *sets = json_object();
    static const char *const names[] = {"bounding", "effective", "permitted"};
    for (size_t i = 0; i < COUNT(names); i++) json_object_set_new(sets, names[i], strings(kept, COUNT(kept)));
    return sets;
}

/* More than our own hard limit is not ours to give. */
static json_t *limits(void) {
    struct rlimit files = {.rlim_max = FILES_MAX};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    json_int_t most = files.rlim_max < FILES_MAX ? (json_int_t)files.rlim_max : FILES_MAX;
    return json_pack("[{s:s, s:I, s:I}, {s:s, s:i, s:i}]", "type", "RLIMIT_NOFILE", "soft", most, "hard",
                     most, "type", "RLIMIT_CORE", "soft", 0, "hard", 0);
}

static json_t *process_of(const struct container *container) {
    const struct core_function *function = container->function;
    return json_pack("{s:b, s:{s:i, s:i}, s:o, s:o, s:s, s:o, s:o, s:b}", "terminal", 0, "user", "uid", 0,
                     "gid", 0, "args", arguments(container), "env", environment(container), "cwd",
                     function->workdir ? function->workdir : "/", "capabilities", capabilities(), "rlimits",
                     limits(), "noNewPrivileges", 1);
}

static json_t *linux_of(const struct container *container) {
    static const char *const masked[] = {
        "/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
        "/proc/scsi",          "/proc/interrupts", "/sys/firmware",     "/sys/devices/virtual/powercap"};
    static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                            "/proc/sysrq-trigger"};
    json_t *part = json_pack("{s:[{s:s},{s:s},{s:s}], s:o, s:o}", "namespaces", "type", "pid", "type",
                             "mount", "type", "cgroup", "maskedPaths", strings(masked, COUNT(masked)),
                             "readonlyPaths", strings(read_only, COUNT(read_only)));
    /* crun is told to leave cgroups alone. Others make one; below ours it is inside of our limits. */
    if (container->host->kind != RUNTIME_CRUN)
        json_object_set_new(part, "cgroupsPath",
                            json_sprintf("/%s/%s/r", container->host->cgroup, container->slot->name));
    return part;
}

static must_check struct error *write_beside(const struct container *container, const char *name,
                                             struct span content) {
    scoped_string char *path = slot_file(container->slot, name);
    FILE *file = fopen(path, "we");
    if (!file) return error_errno(errno, "write %s", path);
    bool written = fwrite(content.data, 1, content.size, file) == content.size;
    written = fclose(file) == 0 && written;
    return written ? NULL : error_errno(errno, "write %s", path);
}

struct error *spec_write(struct container *container) {
    const struct core_function *function = container->function;
    scoped_string char *root = slot_file(container->slot, container->layer_count ? "rootfs" : "host");
    scoped_json json_t *config =
        json_pack("{s:s, s:{s:s, s:b}, s:o, s:o, s:o}", "ociVersion", "1.0.0", "root", "path", root,
                  "readonly", !function->writable_rootfs, "process", process_of(container), "mounts",
                  mounts_of(container), "linux", linux_of(container));
    if (!config)
        return error_new(ERROR_INVALID_ARGUMENT, "%s/%s: a text in it is not UTF-8", function->app,
                         function->name);
    if (function->gpu) TRY(gpu_give(container, config), "gpu %s", function->gpu);
    if (own_etc(container)) {
        scoped_string char *hosts = mem_printf("127.0.0.1 localhost %s\n::1 localhost\n", function->name);
        TRY_PLAIN(write_beside(container, "hosts", span_of(hosts)));
    }
    if (function->network != CORE_NETWORK_NONE) {
        scoped_text struct text ours = {0};
        TRY_PLAIN(file_read("/etc/resolv.conf", 1 << 16, &ours));
        scoped_string char *resolv = container->host->in_userns
                                         ? mem_string(slirp_resolv_conf)
                                         : network_resolv_conf(ours.data ? ours.data : "");
        TRY_PLAIN(write_beside(container, "resolv.conf", span_of(resolv)));
    }
    scoped_string char *text = json_dumps(config, JSON_COMPACT);
    return write_beside(container, "config.json", span_of(text));
}

static void add_item(struct text *job, const char *key, const char *value) {
    text_printf(job, "%s%s", key, value);
    text_add_char(job, '\0');
}

char *spec_logs_dir(const struct container *container) {
    return mem_printf("%s/logs/%s/%s", container->host->state_dir, container->function->app,
                      container->function->name);
}

void spec_job(const struct container *container, struct text *job) {
    const struct container_host *host = container->host;
    scoped_string char *logs = spec_logs_dir(container), *root = path_join(host->run_dir, "runtime");
    scoped_string char *pid = slot_file(container->slot, "pid");
    add_item(job, "logs=", logs);
    for (size_t i = 0; i < container->layer_count; i++) add_item(job, "layer=", container->layers[i]);
    for (char **graft = container->grafts; graft && *graft; graft++) add_item(job, "graft=", *graft);
    if (container->function->writable_rootfs) add_item(job, "writable", "");
    if (container->upper) add_item(job, "upper=", container->upper);
    for (size_t i = 0; i < container->mount_count; i++) {
        if (!container->mounts[i].below) continue;
        add_item(job, "tree=", container->mounts[i].source);
        add_item(job, "below=", container->mounts[i].below);
    }
    add_item(job, "hostname=", container->function->name);
    if (container->network_index) network_job(host, container->network_index, job);
    add_item(job, "exec", "");
    /* A keyring of its own is of no use (the filter lets nobody ask for keys), is counted against its user,
     * and may not be had inside of another container. */
    const char *crun[] = {host->runtime_path,          "--root",           root,
                          "--cgroup-manager=disabled", "create",           "--bundle",
                          container->slot->box,        "--pid-file",       pid,
                          "--preserve-fds=2",          "--no-new-keyring", container->id};
    for (size_t i = 0; i < COUNT(crun); i++)
        if ((i != 3 && i != 10) || host->kind == RUNTIME_CRUN) add_item(job, crun[i], "");
}

void spec_delete_argv(const struct container *container, const char *root, const char *argv[8]) {
    const char *all[] = {container->host->runtime, "--root", root, "delete", "--force", container->id, NULL};
    for (size_t i = 0; i < COUNT(all); i++) argv[i] = all[i];
}
