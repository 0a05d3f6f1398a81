/* The process dies, or the disk is full, before the first write, the second, the third, ... until one run
 * needs no more of them.
 *
 * Each time the next daemon must find what was acknowledged, and at most one step more. */
#include "store.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum fault { FAULT_KILL, FAULT_DISK_FULL };

/* Of the child only; SQLite's and our own writes call these without an owner. */
static long writes_left;
static enum fault fault;

static bool falls(void) {
    long left = __atomic_sub_fetch(&writes_left, 1, __ATOMIC_SEQ_CST);
    if (left >= 0) return false;
    if (fault == FAULT_KILL) kill(getpid(), SIGKILL);
    errno = ENOSPC;
    return true;
}
static ssize_t faulty_write(int fd, const void *bytes, size_t size) {
    return falls() ? -1 : write(fd, bytes, size);
}
static ssize_t faulty_pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    return falls() ? -1 : pwrite(fd, bytes, size, offset);
}
static int faulty_fsync(int fd) {
    return falls() ? -1 : fsync(fd);
}
static int faulty_ftruncate(int fd, off_t size) {
    return fault == FAULT_KILL && falls() ? -1 : ftruncate(fd, size);
}
static int faulty_rename(const char *from, const char *to) {
    return falls() ? -1 : rename(from, to);
}
static int faulty_unlink(const char *path) {
    return fault == FAULT_KILL && falls() ? -1 : unlink(path);
}
static int faulty_renameat(int from_fd, const char *from, int to_fd, const char *to) {
    return falls() ? -1 : renameat(from_fd, from, to_fd, to);
}

static const struct store_calls faulty = {faulty_write,  faulty_pwrite, faulty_fsync,   faulty_ftruncate,
                                          faulty_rename, faulty_unlink, faulty_renameat};

/* What the state is after each step. */
static const char *const story[] = {
    "", "a=1 ", "a=1 b=2 ", "a=1 b=2 blob ", "a=3 b=2 blob ", "b=2 blob ", "b=2 c=1001 blob ",
};
#define STEPS (COUNT(story) - 1)

static void put(struct store *store, const char *name, uint64_t version, void (*done)(void *, struct error *),
                void *owner) {
    scoped(core_app) struct core_app *app = core_app_new(name);
    app->version = version;
    core_app_add(app, core_function_new(name, "f"));
    store_app_put(store, app, done, owner);
}

struct life {
    struct io_loop *loop;
    struct store *store;
    int tell_fd;
    size_t step;
};

static void go_on(void *owner, struct error *error) {
    struct life *life = owner;
    bool first = life->step == 0;
    if (error) { /* the text is told, and the life ends there */
        scoped_string char *text = error_text(error);
        dprintf(life->tell_fd, "%s: %s\n", error_code_name(error->code), text);
        error_free(error);
        io_loop_stop(life->loop);
        return;
    }
    if (!first) dprintf(life->tell_fd, "+");
    uint64_t number = 0;
    char digest[SHA256_HEX_SIZE];
    switch (++life->step) {
    case 1: put(life->store, "a", 1, go_on, life); break;
    case 2: put(life->store, "b", 2, go_on, life); break;
    case 3: go_on(life, store_blob_put(life->store, SPAN("blob"), digest)); break;
    case 4: put(life->store, "a", 3, go_on, life); break;
    case 5: store_app_remove(life->store, "a", go_on, life); break;
    case 6:
        error = store_numbers(life->store, 1000, &number);
        if (error)
            go_on(life, error);
        else
            put(life->store, "c", number + 1000, go_on, life);
        break;
    default: io_loop_stop(life->loop); break;
    }
}

static void live(const char *dir, int tell_fd) {
    struct life life = {.loop = io_loop_new(), .tell_fd = tell_fd};
    store_calls_set(&faulty);
    struct error *error = store_open(life.loop, dir, &life.store);
    struct io_timer *timer = io_timer_new(life.loop, NULL, NULL);
    io_timer_arm(timer, 60 * 1000);
    bool opened = !error;
    go_on(&life, error);
    if (opened) io_loop_run(life.loop);
    store_free(life.store);
    dprintf(tell_fd, ".");
}

static void on_loaded(void *owner, struct core_app *app) {
    text_printf(owner, "%s=%d ", app->name, (int)app->version);
    core_app_free(app);
}

static void look(const char *dir, struct text *found) {
    struct io_loop *loop = io_loop_new();
    struct store *store = NULL;
    assert_ok(store_open(loop, dir, &store));
    assert_ok(store_apps_load(store, on_loaded, found));
    char digest[SHA256_HEX_SIZE];
    sha256_of(SPAN("blob"), digest);
    if (store_blob_exists(store, digest)) {
        scoped_text struct text bytes = {0};
        assert_ok(store_blob_get(store, digest, 100, &bytes));
        text_add_string(found, "blob ");
    }
    text_add_string(found, "");
    store_free(store);
    io_loop_free(loop);
}

/* Whether the child came to the end of its story. */
static bool one_life(long writes, enum fault which) {
    /* In memory where there is such a place: a thousand fsyncs would be all that this test does. */
    char dir[64];
    snprintf(dir, sizeof dir, "%s/catnap-crash-XXXXXX", file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
    int tell[2];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pipe(tell), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        writes_left = writes;
        fault = which;
        live(dir, tell[1]);
        _exit(0);
    }
    close(tell[1]);
    char told[2048] = "";
    size_t size = 0;
    for (ssize_t got; (got = read(tell[0], told + size, sizeof told - 1 - size)) > 0;) size += (size_t)got;
    close(tell[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    size_t acknowledged = strspn(told, "+");
    if (which == FAULT_KILL && !WIFSIGNALED(status) && acknowledged < STEPS)
        fail_msg("%ld writes: %s", writes, told);
    if (which == FAULT_DISK_FULL && acknowledged < STEPS &&
        (!strstr(told, "RESOURCE_EXHAUSTED: ") || told[strlen(told) - 1] != '.'))
        fail_msg("a full disk after %ld writes: '%s', status %d", writes, told, status);
    scoped_text struct text found = {0};
    look(dir, &found);
    bool fits = strcmp(found.data ? found.data : "", story[acknowledged]) == 0;
    if (!fits && acknowledged < STEPS)
        fits = strcmp(found.data ? found.data : "", story[acknowledged + 1]) == 0;
    if (!fits)
        fail_msg("%ld writes, %zu steps acknowledged: found '%s'; told '%s'", writes, acknowledged,
                 found.data, told);
    error_free(tree_remove(dir));
    return acknowledged == STEPS && !WIFSIGNALED(status);
}

static void test_killed_before_any_write_it_keeps_what_it_acknowledged(void **unused) {
    (void)unused;
    long writes = 0;
    while (!one_life(writes, FAULT_KILL)) assert_true(++writes < 1000);
    assert_true(writes > 30); /* the faults were in the way of the writes */
    print_message("%ld writes\n", writes);
}

static void test_on_a_full_disk_it_refuses_and_keeps_what_it_had(void **unused) {
    (void)unused;
    long writes = 0;
    while (!one_life(writes, FAULT_DISK_FULL)) assert_true(++writes < 1000);
    assert_true(writes > 20);
    print_message("%ld writes\n", writes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_before_any_write_it_keeps_what_it_acknowledged),
        cmocka_unit_test(test_on_a_full_disk_it_refuses_and_keeps_what_it_had),
    };
    return cmocka_run_group_tests_name("store crash", tests, NULL, NULL);
}
