/* launch: a process made before anybody needs it.
 *
 * At once: into its cgroups (an attach can wait milliseconds for the kernel, here nobody waits with it), own
 * mount, network, ipc and uts namespaces, loopback up, the host image's root file system built. Then it says
 * "ready" on fd 3 and blocks. With the job it finishes the root file system and becomes the OCI runtime, so
 * the container is never, not for a moment, outside of its limits, and every mount lives in the container's
 * mount namespace and dies with it. Its stderr is BOX/runtime.log, read when it fails. Without a job it ends
 * with the daemon: the socket says so.
 *
 * The job: strings, each ended by NUL. "logs=DIR", "layer=DIR"... (top first; none: the host image),
 * "graft=DIR"... (see layers.c), "writable", "upper=DIR" (kept, instead of one in the box), "hostname=NAME",
 * "veth=HOST_NAME HOST_IP OWN_IP" (addresses as numbers), "tree=DIR" and "below=PATH" (see below.c), then
 * "exec" and the runtime's arguments. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOCKET_FD = 3, JOB_MAX = 128 * 1024, ARGUMENTS_MAX = 64 };

struct launch {
    const char *box, *init, *runtime, *hide;
    int host_netns;
};
struct job {
    const char *logs, *hostname, *veth;
    struct layers layers;
    struct below below;
    char *argv[ARGUMENTS_MAX + 1];
};

int launch_enter_cgroup(const char *directory) {
    char path[4096];
    snprintf(path, sizeof path, "%s/cgroup.procs", directory);
    if (write_file(AT_FDCWD, path, "0", 0)) return complain("enter %s: %s", directory, strerror(errno));
    return 0;
}

/* crun does not start where it sees both cgroup versions; nobody but itself loses sight of this one. In a
 * user namespace what was mounted outside can't be unmounted, but covered. */
int launch_hide(const char *path) {
    if (umount2(path, MNT_DETACH) == 0) return 0;
    return mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k");
}

/* A runtime must not be written to by what it runs, so it makes a copy of itself, or a read-only mount, and
 * starts again from there; unless it finds itself on such a mount. This one is made while nobody waits. */
void launch_protect(const char *program) {
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount(program, program, NULL, MS_BIND, NULL)) return; /* then it protects itself */
    (void)mount_setattr(AT_FDCWD, program, 0, &read_only, sizeof read_only);
}

static int make_namespaces(struct launch *launch) {
    launch->host_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS))
        return complain("new namespaces: %s", strerror(errno));
    /* What the host unmounts later must go here too, or it could not be ejected. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL)) return complain("own mounts: %s", strerror(errno));
    if (launch->hide && launch_hide(launch->hide))
        return complain("hide %s: %s", launch->hide, strerror(errno));
    launch_protect(launch->runtime);
    if (loopback_up()) return complain("loopback: %s", strerror(errno));
    return 0;
}

static const char *value_of(const char *item, const char *key) {
    size_t size = strlen(key);
    return strncmp(item, key, size) == 0 && item[size] == '=' ? item + size + 1 : NULL;
}

static int parse_job(char *text, size_t size, struct job *job) {
    size_t arguments = 0;
    bool in_arguments = false;
    const char *tree = NULL;
    for (char *item = text; item < text + size; item += strlen(item) + 1) {
        const char *value;
        if (in_arguments) {
            if (arguments == ARGUMENTS_MAX) return complain("too many arguments for the runtime");
            job->argv[arguments++] = item;
        } else if ((value = value_of(item, "logs"))) {
            job->logs = value;
        } else if ((value = value_of(item, "hostname"))) {
            job->hostname = value;
        } else if ((value = value_of(item, "veth"))) {
            job->veth = value;
        } else if ((value = value_of(item, "upper"))) {
            job->layers.kept = value;
        } else if (value_of(item, "layer")) {
            if (job->layers.count == LAYERS_MAX) return complain("more than %d layers", LAYERS_MAX);
            job->layers.layers[job->layers.count++] = item + strlen("layer=");
        } else if (value_of(item, "graft")) {
            if (job->layers.graft_count == GRAFTS_MAX) return complain("more than %d grafts", GRAFTS_MAX);
            job->layers.grafts[job->layers.graft_count++] = item + strlen("graft=");
        } else if ((value = value_of(item, "tree"))) {
            tree = value;
        } else if ((value = value_of(item, "below"))) {
            if (job->below.count == BELOW_MAX) return complain("more than %d parts of volumes", BELOW_MAX);
            job->below.tree[job->below.count] = tree;
            job->below.path[job->below.count++] = value;
        } else if (strcmp(item, "writable") == 0) {
            job->layers.writable = true;
        } else if (strcmp(item, "exec") == 0) {
            in_arguments = true;
        }
    }
    return arguments > 0 && job->logs ? 0 : complain("a job without a runtime");
}

static int make_veth(const struct launch *launch, const char *text) {
    struct veth veth = {.host_netns = launch->host_netns};
    char *rest;
    size_t name = strcspn(text, " ");
    if (name >= sizeof veth.host_name) return complain("veth: %s", text);
    memcpy(veth.host_name, text, name);
    veth.host_ip = (uint32_t)strtoul(text + name, &rest, 10);
    veth.own_ip = (uint32_t)strtoul(rest, NULL, 10);
    return veth_make(&veth);
}

static int to_fd(const char *path, int flags, int wanted) {
    int fd = open(path, flags, 0644);
    if (fd < 0) return complain("%s: %s", path, strerror(errno));
    if (fd == wanted) return 0;
    if (dup2(fd, wanted) < 0) return complain("%s: %s", path, strerror(errno));
    close(fd);
    return 0;
}

static int carry_out(struct launch *launch, struct job *job) {
    if (job->layers.count > 0 && rootfs_layers(launch->box, &job->layers, launch->init)) return -1;
    if (below_mount(launch->box, &job->below)) return -1;
    if (job->hostname && sethostname(job->hostname, strlen(job->hostname)))
        return complain("hostname: %s", strerror(errno));
    if (job->veth && make_veth(launch, job->veth)) return -1;
    if (to_fd(job->logs, O_RDONLY | O_DIRECTORY, LOGS_FD) ||
        to_fd(launch->box, O_RDONLY | O_DIRECTORY, BOX_FD))
        return -1;
    if (close_range(BOX_FD + 1, ~0U, 0)) return complain("close_range: %s", strerror(errno));
    if (chdir(launch->box)) return complain("%s: %s", launch->box, strerror(errno));
    /* Nothing of the daemon's surroundings may steer the runtime (LISTEN_FDS, NOTIFY_SOCKET, proxies). */
    char *const clean[] = {(char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                           NULL};
    execvpe(job->argv[0], job->argv, clean);
    return complain("run %s: %s", job->argv[0], strerror(errno));
}

int launch_main(int argc, char **argv) {
    static char text[JOB_MAX];
    static struct job job;
    if (argc < 5) return complain("launch BOX INIT RUNTIME HIDE|- CGROUP..."), 2;
    struct launch launch = {
        .box = argv[1], .init = argv[2], .runtime = argv[3], .hide = strcmp(argv[4], "-") ? argv[4] : NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid(); /* Ctrl-C at the daemon's terminal, or its hangup, is for the daemon, not for containers */
    umask(022);
    char log[4096];
    snprintf(log, sizeof log, "%s/runtime.log", launch.box);
    if (to_fd("/dev/null", O_RDWR, 0) || to_fd(log, O_WRONLY | O_CREAT | O_APPEND, 1) || dup2(1, 2) < 0)
        return 125;
    for (int i = 5; i < argc; i++)
        if (launch_enter_cgroup(argv[i])) return 125;
    if (make_namespaces(&launch) || rootfs_host(launch.box, launch.init)) return 125;
    if (send(SOCKET_FD, "ready", 5, MSG_NOSIGNAL) != 5) return 0;
    ssize_t size = recv(SOCKET_FD, text, sizeof text - 1, 0);
    if (size <= 0) return 0;
    if (parse_job(text, (size_t)size, &job)) return 125;
    carry_out(&launch, &job);
    return 125;
}
