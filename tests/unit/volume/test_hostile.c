/* Live trees in which a container plants what should lead outside, hang us, or tear what is read. */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

/* A directory that is not of the volume, with a file that nobody may read or change through it. */
static char *outside(const struct place *place) {
    char *dir = path_join(place->dir, "outside");
    scoped_string char *secret = path_join(dir, "secret");
    assert_ok(dir_make(dir, 0755));
    assert_ok(file_replace(secret, SPAN("secret"), 0644));
    return dir;
}

static void assert_untouched(const char *dir) {
    scoped_string char *secret = path_join(dir, "secret");
    scoped_text struct text text = {0};
    assert_ok(file_read(secret, 100, &text));
    assert_string_equal(text.data, "secret");
    DIR *list = opendir(dir);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(list));) count += entry->d_name[0] != '.';
    closedir(list);
    assert_int_equal(count, 1);
}

static void test_links_that_lead_outside_are_never_followed(void **state) {
    struct place *place = *state;
    scoped_string char *out = outside(place);
    struct volume *volume = new_volume(place, "data");
    scoped_string char *directory = live(volume, "d"), *file = live(volume, "f"), *up = live(volume, "up"),
                       *secret = path_join(out, "secret");
    assert_int_equal(symlink(out, directory), 0);
    assert_int_equal(symlink(secret, file), 0);
    assert_int_equal(symlink("../../../outside/secret", up), 0);
    assert_error(put(place, volume, "d/new", "x", true), ERROR_FAILED_PRECONDITION, "no directory");
    assert_ok(commit(place, volume));
    assert_error(put(place, volume, "d/new", "x", true), ERROR_FAILED_PRECONDITION, "d is a link");
    scoped_text struct text text = {0};
    assert_error(read_committed(place, volume, "f", &text), ERROR_FAILED_PRECONDITION, "out of the volume");
    assert_error(read_committed(place, volume, "up", &text), ERROR_FAILED_PRECONDITION, "out of the volume");
    assert_error(read_committed(place, volume, "d/secret", &text), ERROR_FAILED_PRECONDITION, "out of");
    assert_error(remove_path(place, volume, "d/secret", true), ERROR_NOT_FOUND, "d/secret");
    assert_untouched(out);
    assert_ok(put(place, volume, "f", "mine", true)); /* takes the link's place */
    assert_ok(remove_path(place, volume, "d", true));
    assert_live(volume, "f", "mine");
    assert_untouched(out);
}

static void test_links_within_the_volume_are_followed_when_read(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    dir_live(volume, "blobs");
    dir_live(volume, "snapshots/main");
    write_live(volume, "blobs/abc", "model");
    scoped_string char *file = live(volume, "snapshots/main/m"), *dir = live(volume, "current"),
                       *loop = live(volume, "loop"), *here = live(volume, "blobs/here");
    assert_int_equal(symlink("../../blobs/abc", file), 0);
    assert_int_equal(symlink("snapshots/./main", dir), 0);
    assert_int_equal(symlink("loop", loop), 0);
    assert_int_equal(symlink("./", here), 0);
    assert_ok(commit(place, volume));
    static const char *const paths[] = {"snapshots/main/m", "current/m", "/current//m",
                                        "blobs/here/here/abc"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        scoped_text struct text text = {0};
        assert_ok(read_committed(place, volume, paths[i], &text));
        assert_string_equal(text.data, "model");
    }
    scoped_text struct text text = {0};
    assert_error(read_committed(place, volume, "loop", &text), ERROR_FAILED_PRECONDITION, "loop");
    assert_error(read_committed(place, volume, "blobs/here", &text), ERROR_FAILED_PRECONDITION,
                 "blobs/here is a directory");
}

/* What is no file is left out; opening a pipe without a writer would wait for ever. */
static void test_pipes_sockets_and_devices_are_left_out(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    scoped_string char *pipe = live(volume, "pipe"), *device = live(volume, "device"),
                       *at = live(volume, "socket");
    write_live(volume, "a", "one");
    assert_int_equal(mkfifo(pipe, 0644), 0);
    (void)!mknod(device, S_IFCHR | 0666, 0x501); /* needs root */
    scoped_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(at) < sizeof address.sun_path);
    memcpy(address.sun_path, at, strlen(at));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_ok(commit(place, volume));
    assert_committed(place, volume, "a=one");
    assert_ok(put(place, volume, "pipe", "a file now", true));
    assert_live(volume, "pipe", "a file now");
}

static void test_each_name_of_a_hard_link_is_a_file(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    scoped_string char *a = live(volume, "a"), *b = live(volume, "b");
    write_live(volume, "a", "one");
    assert_int_equal(link(a, b), 0);
    assert_ok(commit(place, volume));
    assert_committed(place, volume, "a=one b=one");
    assert_ok(put(place, volume, "b", "two", true));
    assert_live(volume, "a", "one");
    assert_committed(place, volume, "a=one b=two");
}

static void test_names_of_any_bytes(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    static const char *const names[] = {"\1", "\n", " x ", "\xff\xfe", "a\tb", "\xc3\xa4"};
    for (size_t i = 0; i < COUNT(names); i++) {
        write_live(volume, names[i], "x");
        scoped_string char *link = mem_printf("%s/%s-", volume_live_path(volume), names[i]);
        assert_int_equal(symlink("\xff \n", link), 0);
    }
    assert_ok(commit(place, volume));
    place_again(place);
    volume = volume_find(place->volumes, NULL, "data");
    for (size_t i = 0; i < COUNT(names); i++) {
        scoped_text struct text text = {0};
        assert_ok(read_committed(place, volume, names[i], &text));
        assert_string_equal(text.data, "x");
    }
    scoped_text struct text all = {0};
    assert_ok(listed(place, volume, "", true, &all));
    assert_non_null(strstr(all.data, "\xff\xfe->\xff \n"));
}

static void test_directories_without_end(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    assert_ok(commit(place, volume));
    scoped_text struct text path = {0};
    for (size_t i = 0; i < 300; i++) {
        text_add_string(&path, "d/");
        dir_live(volume, path.data);
    }
    assert_error(commit(place, volume), ERROR_RESOURCE_EXHAUSTED, "directories more than 200 deep");
    assert_committed(place, volume, "a=one");
}

static void test_a_file_of_holes(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    scoped_string char *path = live(volume, "sparse");
    scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, 200 << 20), 0);
    assert_int_equal(pwrite(fd, "x", 1, 100 << 20), 1);
    assert_ok(commit(place, volume));
    volume_open(volume, "sparse", on_content, place);
    assert_ok(answer(place));
    struct stat at;
    assert_int_equal(fstat(place->content.fd, &at), 0);
    close(place->content.fd);
    assert_int_equal(at.st_size, 200 << 20);
    assert_true(at.st_blocks * 512 < 2 << 20);
    if (ftruncate(fd, (off_t)VOLUME_FILE_BYTES_MAX + 1) != 0) return; /* not on this file system */
    assert_error(commit(place, volume), ERROR_RESOURCE_EXHAUSTED, "sparse has 1099511627777 bytes");
}

/* ---- while a container is at it ---- */

/* A child that has nothing of ours open and does not outlive us. */
static pid_t fork_container(int first, int second) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(first, 100) < 0 || dup2(second, 101) < 0) _exit(1);
    close_range(3, 99, 0);
    close_range(102, ~0U, 0);
    return 0;
}

static pid_t container(void (*run)(const char *tree, const char *out), const char *tree, const char *out) {
    pid_t pid = fork_container(0, 0);
    if (pid > 0) return pid;
    for (;;) run(tree, out);
}
static void end(pid_t pid) {
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* "d" is a directory, then a link to the outside, then a directory. */
static void swap_directory(const char *tree, const char *out) {
    scoped_string char *d = path_join(tree, "d"), *e = path_join(tree, "e");
    (void)!mkdir(e, 0755);
    (void)!rename(e, d);
    scoped_string char *old = path_join(tree, "old");
    (void)!rename(d, old);
    (void)!symlink(out, d);
    (void)!unlink(d);
    (void)!rename(old, d);
}

/* Refused, or not there at that moment, is fine; anything else is not. */
static bool went_well(struct error *error) {
    bool good = !error;
    if (error && error->code != ERROR_FAILED_PRECONDITION && error->code != ERROR_NOT_FOUND)
        fail_msg("%s", error_text(error));
    error_free(error);
    return good;
}

static void test_a_directory_that_becomes_a_link_under_our_hands(void **state) {
    struct place *place = *state;
    scoped_string char *out = outside(place);
    struct volume *volume = new_volume(place, "data");
    dir_live(volume, "d");
    pid_t pid = container(swap_directory, volume_live_path(volume), out);
    size_t done = 0;
    for (int i = 0; i < 300; i++) {
        char path[32];
        snprintf(path, sizeof path, "d/%d", i);
        done += went_well(put(place, volume, path, "x", true));
        (void)went_well(commit(place, volume));
        error_free(remove_path(place, volume, path, true));
    }
    end(pid);
    assert_untouched(out);
    assert_true(done > 0);
    scoped_text struct text all = {0};
    assert_ok(commit(place, volume));
    assert_ok(listed(place, volume, "", true, &all));
    assert_null(strstr(all.data, "secret="));
}

#define PAIRS 100

/* Each of many directories changes places with a link to the outside, in one step, all the time. */
static void exchange(const char *tree, const char *out) {
    (void)out;
    for (size_t i = 0; i < PAIRS; i++) {
        char a[128], b[128];
        snprintf(a, sizeof a, "%s/d%zu", tree, i);
        snprintf(b, sizeof b, "%s/l%zu", tree, i);
        (void)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
    }
}

static void test_a_walk_never_leaves_the_tree(void **state) {
    struct place *place = *state;
    scoped_string char *out = outside(place);
    struct volume *volume = new_volume(place, "data");
    for (size_t i = 0; i < PAIRS; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%zu", i);
        dir_live(volume, name);
        scoped_string char *link = mem_printf("%s/l%zu", volume_live_path(volume), i);
        assert_int_equal(symlink(out, link), 0);
    }
    pid_t pid = container(exchange, volume_live_path(volume), out);
    for (int i = 0; i < 50; i++) {
        assert_ok(commit(place, volume));
        scoped_text struct text all = {0};
        assert_ok(listed(place, volume, "", true, &all));
        assert_null(strstr(all.data, "secret="));
    }
    end(pid);
    assert_untouched(out);
}

static void rewrite(const char *tree, const char *out) {
    (void)out;
    static unsigned round;
    static char bytes[300000];
    scoped_string char *path = path_join(tree, "busy"), *other = path_join(tree, "other");
    memset(bytes, 'a' + (int)(round++ % 26), sizeof bytes);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    (void)!ftruncate(fd, (off_t)(100000 + round * 37 % 200000));
    (void)!pwrite(fd, bytes, 100000 + round * 37 % 200000, 0);
    close(fd);
    (void)!rename(path, other);
    (void)!rename(other, path);
}

/* However torn, what is committed is what its digest says, and the rest of the tree is whole. */
static void test_a_file_that_never_stands_still(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "calm", "one");
    pid_t pid = container(rewrite, volume_live_path(volume), "");
    for (int i = 0; i < 100; i++) {
        assert_ok(commit(place, volume));
        scoped_text struct text calm = {0}, busy = {0};
        assert_ok(read_committed(place, volume, "calm", &calm));
        assert_string_equal(calm.data, "one");
        struct error *error = read_committed(place, volume, "busy", &busy);
        if (error) { /* between its two names */
            assert_int_equal(error->code, ERROR_NOT_FOUND);
            error_free(error);
            continue;
        }
        char digest[SHA256_HEX_SIZE];
        sha256_of(text_span(&busy), digest);
        assert_string_equal(digest, place->content.digest);
        assert_int_equal(busy.size, place->content.size_bytes);
    }
    end(pid);
}

/* ---- a volume that is deleted under a running container ---- */

static void test_a_mounted_tree_stays_until_the_container_ends(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    scoped_string char *point = path_join(place->dir, "mount"), *file = path_join(point, "a");
    assert_ok(dir_make(point, 0755));
    int ready[2], deleted[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(deleted), 0);
    pid_t pid = fork_container(ready[1], deleted[0]);
    if (pid == 0) {
        char byte = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                            mount(volume_live_path(volume), point, NULL, MS_BIND, NULL) == 0
                        ? 'y'
                        : 'n';
        if (write(100, &byte, 1) != 1 || read(101, &byte, 1) != 1) _exit(1);
        _exit(file_exists(file) ? 0 : 2);
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    volume_delete(volume, on_answer, place);
    assert_ok(answer(place));
    assert_null(volume_find(place->volumes, NULL, "data"));
    assert_ok(make_volume(place, NULL, "data", false)); /* the name is free */
    place_again(place);                                 /* the next daemon leaves it alone too */
    assert_int_equal(write(deleted[1], "x", 1), 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    scoped_string char *trash = mem_printf("%s/volumes/.trash", place->dir);
    if (byte == 'n') skip(); /* not root */
    assert_int_equal(status, 0);
    volumes_unmounted(place->volumes);
    while (rmdir(trash) != 0) { /* it goes when it is empty */
        assert_true(errno == ENOTEMPTY);
        let_live(place, 10);
    }
}

int main(void) {
    log_level_set(LOG_ERROR);
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_links_that_lead_outside_are_never_followed),
        TEST(test_links_within_the_volume_are_followed_when_read),
        TEST(test_pipes_sockets_and_devices_are_left_out),
        TEST(test_each_name_of_a_hard_link_is_a_file),
        TEST(test_names_of_any_bytes),
        TEST(test_directories_without_end),
        TEST(test_a_file_of_holes),
        TEST(test_a_directory_that_becomes_a_link_under_our_hands),
        TEST(test_a_walk_never_leaves_the_tree),
        TEST(test_a_file_that_never_stands_still),
        TEST(test_a_mounted_tree_stays_until_the_container_ends),
    };
    return cmocka_run_group_tests_name("volume hostile", tests, NULL, NULL);
}
