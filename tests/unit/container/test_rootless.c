/* Without root: the same containers, in a user namespace. Two kinds of machine: one that gives its user
 * nothing, and one that gave it more users (/etc/subuid) and a cgroup, as systemd does. Each in a process of
 * its own, which gives up root first. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "inside.h"
#include "power.h"

enum { USER = 61234 };

static void copy(const char *from_dir, const char *to_dir, const char *name) {
    scoped_string char *from = path_join(from_dir, name), *to = path_join(to_dir, name);
    scoped_text struct text bytes = {0};
    assert_ok(file_read(from, 64 << 20, &bytes));
    assert_ok(file_replace(to, text_span(&bytes), 0755));
}

/* ---- what is the same on both ---- */

static void test_it_serves_and_ends(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("serves");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    ASSERT_SERVES(guest);
    container_signal(guest.container, SIGTERM);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.signal, SIGTERM);
    container_free(guest.container);
    guest_create(house, &guest, function, 2, false);
    AWAIT(guest, created);
    container_start(guest.container);
    AWAIT_READY(guest);
    guest_end(&guest);
    house_free(house);
}

static void test_it_is_as_confined_as_with_root(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *data = path_join(house->dir, "data");
    assert_ok(dir_make(data, 0755));
    scoped(core_function) struct core_function *function = shell_function(
        "asked",
        "id -u; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/class/net;"
        "touch /usr/x; echo kept > /data/file; cat /data/file; echo > /dev/null; head -c 3 /dev/zero | wc -c;"
        "hostname; cat /proc/1/comm; ls /root /tmp; cat /etc/shadow; cat /part/file");
    const struct container_mount mounts[] = {{.source = data, .destination = "/data"},
                                             {.source = house->dir, .destination = "/part", .below = "data"}};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, mounts, COUNT(mounts));
    AWAIT(guest, exited);
    scoped_string char *said = guest_output(house, "asked");
    assert_string_equal(said, "0\nCapEff:\t00000000800405fb\nNoNewPrivs:\t1\nSeccomp:\t2\nlo\n"
                              "touch: cannot touch '/usr/x': Read-only file system\nkept\n3\nasked\ninit\n"
                              "/root:\n\n/tmp:\ncat: /etc/shadow: No such file or directory\nkept");
    container_free(guest.container);
    scoped_string char *file = path_join(data, "file");
    struct stat status;
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_uid, 0); /* seen from in here; outside it is ours */
    house_free(house);
}

static void test_images_are_directories_here_too(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *image = path_join(house->dir, "image"), *srv = path_join(image, "srv/tiny");
    assert_ok(dir_make(srv, 0755));
    scoped(core_function) struct core_function *function = server_function("image");
    const char *layers[] = {image};
    struct container_mount server = {
        .source = house->server_dir, .destination = "/srv/tiny", .read_only = true};
    for (int writable = 0; writable < 2; writable++) {
        struct guest guest = {.house = house};
        function->writable_rootfs = writable;
        guest.container = container_create(house->host,
                                           &(struct container_spec){.number = (uint64_t)writable + 1,
                                                                    .function = function,
                                                                    .layers = layers,
                                                                    .layer_count = 1,
                                                                    .mounts = &server,
                                                                    .mount_count = 1},
                                           true, &house_events, &guest);
        AWAIT_READY(guest);
        ASSERT_SERVES(guest);
        guest_end(&guest);
    }
    house_free(house);
}

static void make_file(const char *layer, const char *name) {
    scoped_string char *path = path_join(layer, name), *folder = mem_string(path);
    *strrchr(folder, '/') = '\0';
    assert_ok(dir_make(folder, 0755));
    assert_ok(file_replace(path, SPAN("x"), 0644));
}

/* A directory that is removed and made anew hides the image's, as one does that unpacking marked so. */
static void test_directories_hide_those_below(void **unused) {
    NEEDS_ROOT();
    static const struct container_mount programs[] = {{"/usr", "/usr", true, NULL},
                                                      {"/bin", "/bin", true, NULL},
                                                      {"/lib", "/lib", true, NULL},
                                                      {"/lib64", "/lib64", true, NULL}};
    struct house *house = house_new(NULL);
    scoped_string char *low = path_join(house->dir, "low"), *top = path_join(house->dir, "top"),
                       *marked = path_join(top, "marked");
    make_file(low, "marked/old"), make_file(low, "again/old"), make_file(top, "marked/new");
    assert_int_equal(setxattr(marked, "user.overlay.opaque", "y", 1, 0), 0);
    scoped(core_function) struct core_function *function = shell_function(
        "hides", "ls /marked; rm -r /again && mkdir /again && touch /again/new && ls -A /again");
    const char *const layers[] = {top, low};
    for (int writable = 1; writable >= 0; writable--) {
        struct guest guest = {.house = house};
        function->writable_rootfs = writable;
        guest.container = container_create(house->host,
                                           &(struct container_spec){.number = (uint64_t)writable + 1,
                                                                    .function = function,
                                                                    .layers = layers,
                                                                    .layer_count = 2,
                                                                    .mounts = programs,
                                                                    .mount_count = COUNT(programs)},
                                           true, &house_events, &guest);
        AWAIT(guest, exited);
        assert_string_equal(guest.error, "");
        container_free(guest.container);
    }
    scoped_string char *said = guest_output(house, "hides");
    assert_string_equal(said, "new\nnew\nnew\n"
                              "rm: cannot remove '/again/old': Read-only file system");
    house_free(house);
}

static void on_found(void *owner, struct container *container, const struct container_found *found) {
    struct guest *guest = owner;
    (void)found;
    guest->container = container;
}

static void test_the_next_daemon_adopts(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("stays");
    struct guest guest, found = {.house = house};
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    house_close(house);
    house_open(house);
    assert_ok(container_host_adopt(house->host, &house_events, &found, on_found));
    assert_non_null(found.container);
    ASSERT_SERVES(found);
    guest_end(&found);
    house_free(house);
}

/* ---- a machine that gives nothing ---- */

static void test_what_there_is_not_is_told(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("limited");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT_READY(guest);
    assert_error(container_freeze(guest.container), ERROR_FAILED_PRECONDITION, "no cgroup was given");
    assert_ok(container_thaw(guest.container)); /* as every stop does: it is no reason to kill it */
    ASSERT_SERVES(guest);
    guest_end(&guest);

    function->memory_bytes = 64 << 20;
    guest_create(house, &guest, function, 2, true);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "no cgroup controller 'memory'"));
    container_free(guest.container);

    scoped(core_function) struct core_function *other = shell_function("other", "id -u");
    other->user = mem_string("1234");
    guest_create(house, &guest, other, 3, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 126);
    scoped_string char *tail = logs_tail(house->logs_dir, "tests", "other", "3", 1, 4096);
    assert_non_null(strstr(tail, "/etc/subuid"));
    container_free(guest.container);

    if (access("/dev/net/tun", R_OK | W_OK)) { /* as where slirp4netns is not installed */
        scoped(core_function) struct core_function *outgoing = shell_function("outgoing", "true");
        outgoing->network = CORE_NETWORK_OUTBOUND;
        guest_create(house, &guest, outgoing, 4, true);
        AWAIT(guest, exited);
        assert_non_null(strstr(guest.error, "no outbound network: slirp4netns: "));
        container_free(guest.container);
        outgoing->network =
            CORE_NETWORK_IF_THERE; /* who did not ask for it goes on without, and it is told */
        guest_create(house, &guest, outgoing, 5, true);
        AWAIT(guest, exited);
        assert_string_equal(guest.error, "");
        assert_int_equal(guest.end.exit_code, 0);
        assert_non_null(strstr(guest.shut_in, "no outbound network: slirp4netns: "));
        container_free(guest.container);
    }
    house_free(house);
}

/* ---- a machine with more users and a cgroup ---- */

static void test_other_users_and_the_freezer(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *other = shell_function("other", "id -u; id -g; id -G");
    other->user = mem_string("1234:1235");
    scoped_string char *said = house_run(house, other, 1);
    assert_string_equal(said, "1234\n1235\n1235");
    scoped(core_function) struct core_function *function = server_function("dozes");
    struct guest guest;
    guest_create(house, &guest, function, 2, true);
    AWAIT_READY(guest);
    assert_ok(container_freeze(guest.container));
    int fd = ask_frozen(&guest);
    assert_ok(container_thaw(guest.container));
    assert_answered(fd);
    assert_ok(container_freeze(guest.container));
    guest_end(&guest);
    house_free(house);
}

/* ---- the way out, without root: as far as this machine's user gets ---- */
static char here[16]; /* an address of this machine that is not its loopback; empty: it has none */
static int here_port;

static void find_address(void) {
    struct ifaddrs *all = NULL;
    assert_int_equal(getifaddrs(&all), 0);
    for (struct ifaddrs *one = all; one && !here[0]; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) &&
            !(one->ifa_flags & IFF_LOOPBACK))
            inet_ntop(AF_INET, &((struct sockaddr_in *)one->ifa_addr)->sin_addr, here, sizeof here);
    freeifaddrs(all);
}

static pid_t serve_here(const char *dir) {
    scoped_string char *server = path_join(dir, "tiny_server");
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t size = sizeof any;
    scoped_fd int listener = socket(AF_INET, SOCK_STREAM, 0);
    find_address();
    assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&any, &size), 0);
    here_port = ntohs(any.sin_port);
    pid_t pid = fork();
    if (pid > 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (listener != 3 && dup2(listener, 3) != 3) _exit(1);
    setenv("LISTEN_FDS", "1", 1);
    execl(server, server, NULL);
    _exit(1);
}

/* The slirp4netns of a container, by the namespace that its line of arguments names. */
static size_t slirps(int pid) {
    scoped_string char *netns = mem_printf("/proc/%d/ns/net", pid);
    size_t count = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        scoped_string char *path = mem_printf("/proc/%s/cmdline", entry->d_name);
        scoped_text struct text line = {0};
        scoped(error) struct error *none =
            entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? file_read(path, 1 << 16, &line) : NULL;
        count += !none && line.size > 0 && strcmp(line.data, "slirp4netns") == 0 &&
                 memmem(line.data, line.size, netns, strlen(netns) + 1) != NULL;
    }
    closedir(proc);
    return count;
}

static void test_the_way_out(void **unused) {
    NEEDS_ROOT();
    if (access("/usr/bin/slirp4netns", X_OK) || !here[0]) {
        print_message("skipped: the package slirp4netns is not here, or this machine has no network\n");
        skip();
    }
    struct house *house = house_new(NULL);
    scoped_string char *script = mem_printf(
        "cat /etc/resolv.conf; exec python3 -c \"import socket\n"
        "s = socket.create_connection(('%s', %d), 5)\n"
        "s.send(b'GET / HTTP/1.1\\r\\n\\r\\n'); print(s.recv(1000).split(b'\\r\\n\\r\\n')[1].decode())\n"
        "try: socket.create_connection(('10.0.2.2', %d), 1); print('loopback')\n"
        "except OSError: print('no loopback')\"",
        here, here_port, here_port);
    scoped(core_function) struct core_function *function = shell_function("goes-out", script);
    function->network = CORE_NETWORK_OUTBOUND;
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, "nameserver 10.0.2.3\nhello\n\nno loopback");
    scoped(core_function) struct core_function *server = server_function("stays");
    server->network = CORE_NETWORK_OUTBOUND;
    struct guest guest, found = {.house = house};
    guest_create(house, &guest, server, 2, true);
    AWAIT_READY(guest);
    int pid = container_pid(guest.container);
    assert_int_equal(slirps(pid), 1);
    house_close(house); /* it outlives the daemon, and goes with the container */
    assert_int_equal(slirps(pid), 1);
    house_open(house);
    assert_ok(container_host_adopt(house->host, &house_events, &found, on_found));
    guest_end(&found);
    for (int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS; slirps(pid) > 0; wait_a_moment())
        if (clock_monotonic_ms() > until_ms) fail_msg("slirp4netns is left behind");
    house_free(house);
}

static void test_ranges_of_users(void **unused) {
    (void)unused;
    static const char text[] = "# comment\nroot:1:2\nann:100000:65536\n1001:200000:10\nbad:x:1\nnone:5:0\n";
    uint64_t range[2];
    assert_true(userns_find_range(text, "ann", 1000, range));
    assert_int_equal(range[0], 100000);
    assert_int_equal(range[1], 65536);
    assert_true(userns_find_range(text, "bob", 1001, range));
    assert_int_equal(range[0], 200000);
    assert_false(userns_find_range(text, "bad", 7, range));
    assert_false(userns_find_range(text, "none", 7, range));
    assert_false(userns_find_range("", "", 7, range));
}

/* ---- a process for each ---- */

static const struct CMUnitTest poor_tests[] = {
    cmocka_unit_test(test_it_serves_and_ends),
    cmocka_unit_test(test_it_is_as_confined_as_with_root),
    cmocka_unit_test(test_images_are_directories_here_too),
    cmocka_unit_test(test_directories_hide_those_below),
    cmocka_unit_test(test_the_next_daemon_adopts),
    cmocka_unit_test(test_what_there_is_not_is_told),
};
static const struct CMUnitTest rich_tests[] = {
    cmocka_unit_test(test_it_serves_and_ends),
    cmocka_unit_test(test_it_is_as_confined_as_with_root),
    cmocka_unit_test(test_images_are_directories_here_too),
    cmocka_unit_test(test_directories_hide_those_below),
    cmocka_unit_test(test_the_next_daemon_adopts),
    cmocka_unit_test(test_other_users_and_the_freezer),
    cmocka_unit_test(test_the_way_out),
};

static char *own_group; /* the one given to the user; NULL: none */

static void replace_file(const char *dir, const char *path, const char *content) {
    scoped_string char *file = mem_printf("%s%s", dir, strrchr(path, '/'));
    assert_ok(file_replace(file, span_of(content), 0644));
    if (access(path, F_OK)) assert_ok(file_replace(path, SPAN(""), 0644));
    assert_int_equal(mount(file, path, NULL, MS_BIND, NULL), 0);
}

static void give_users_and_group(const char *dir) {
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    replace_file(dir, "/etc/passwd", "root:x:0:0::/root:/bin/sh\nguest:x:61234:61234::/tmp:/bin/sh\n");
    replace_file(dir, "/etc/subuid", "guest:300000:65536\n");
    replace_file(dir, "/etc/subgid", "guest:300000:65536\n");
    scoped_string char *tun = path_join(dir, "tun"); /* most machines let every user have it */
    if (mknod(tun, S_IFCHR | 0666, makedev(10, 200)) == 0 && chmod(tun, 0666) == 0)
        (void)mount(tun, "/dev/net/tun", NULL, MS_BIND, NULL);
    const char *root = access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) == 0 ? "/sys/fs/cgroup/unified"
                                                                                : "/sys/fs/cgroup";
    own_group = mem_printf("%s/%s", root, strrchr(dir, '/') + 1);
    scoped_string char *procs = path_join(own_group, "cgroup.procs");
    assert_int_equal(mkdir(own_group, 0755), 0);
    assert_int_equal(chown(own_group, USER, USER), 0);
    assert_int_equal(chown(procs, USER, USER), 0);
    assert_ok(file_poke(procs, "0"));
}

static void live_without_root(const char *dir, bool rich) {
    if (rich) give_users_and_group(dir);
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(setresgid(USER, USER, USER), 0);
    assert_int_equal(setresuid(USER, USER, USER), 0);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1),
                     0); /* or the helper could not look at us, as it can at any user */
    setenv("TMPDIR", dir, 1);
    setenv("CATNAP_BIN", dir, 1);
    setenv("CATNAP_FIXTURES", dir, 1);
    assert_ok(container_enter_user_namespace());
    int failed = rich ? cmocka_run_group_tests_name("container rootless with users", rich_tests, NULL, NULL)
                      : cmocka_run_group_tests_name("container rootless", poor_tests, NULL, NULL);
    fflush(NULL);
    _exit(failed ? 1 : 0);
}

static bool users_may_have_namespaces(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(setresuid(USER, USER, USER) || unshare(CLONE_NEWUSER) ? 1 : 0);
    int status = -1;
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void without_root(bool rich) {
    if (!users_may_have_namespaces()) {
        print_message("skipped: this machine gives users no namespaces\n");
        skip();
    }
    scoped_string char *id = random_id("catnap-rootless"), *dir = mem_printf("/tmp/%s", id);
    assert_ok(dir_make(dir, 0755));
    copy(environment("CATNAP_BIN", "."), dir, "catnap-init");
    copy(environment("CATNAP_FIXTURES", "tests/unit"), dir, "tiny_server");
    assert_int_equal(chown(dir, USER, USER), 0);
    fflush(NULL);
    pid_t server = serve_here(dir), pid = fork();
    if (pid == 0) live_without_root(dir, rich);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    kill(server, SIGKILL);
    assert_int_equal(waitpid(server, NULL, 0), server);
    assert_int_equal(status, 0);
    assert_ok(tree_remove(dir));
    static const char *const roots[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    for (size_t i = 0; i < COUNT(roots); i++) {
        scoped_string char *leaf = mem_printf("%s/%s/daemon", roots[i], id),
                           *group = mem_printf("%s/%s", roots[i], id);
        (void)rmdir(leaf);
        int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
        while (file_exists(group) && rmdir(group)) { /* it is busy until the last process is gone for good */
            if (clock_monotonic_ms() > until_ms) fail_msg("%s is left behind", group);
            wait_a_moment();
            (void)rmdir(leaf);
        }
    }
}

static void test_a_machine_that_gives_nothing(void **unused) {
    NEEDS_ROOT();
    without_root(false);
}
static void test_a_machine_that_gives_users_and_a_cgroup(void **unused) {
    NEEDS_ROOT();
    if (access("/usr/bin/newuidmap", X_OK)) {
        print_message("skipped: the package uidmap is not here\n");
        skip();
    }
    without_root(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_of_users),
        cmocka_unit_test(test_a_machine_that_gives_nothing),
        cmocka_unit_test(test_a_machine_that_gives_users_and_a_cgroup),
    };
    return cmocka_run_group_tests_name("container without root", tests, NULL, NULL);
}
