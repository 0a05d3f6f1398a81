/* The process dies, or the disk is full, before the first write, the second, the third, ... until one run
 * needs no more of them. The next daemon must find the last version that was acknowledged, or the one after
 * it, whole; and a live tree that has what was put, copied and removed with it. */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum fault { FAULT_KILL, FAULT_DISK_FULL };

/* Of the child only; the workers, the store's thread and SQLite call these without an owner. */
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

/* What is committed after each step, by the name of the volume. */
static const char *const story[] = {
    "",
    "v:",
    "v: a=1",
    "v: a=1 b=2",
    "v: a=3 b=2",
    "v: a=3 b=4 d/ d/e=5 d/f/ d/f/g=2",
    "v: a=3 b=4 c/ c/e=5 c/f/ c/f/g=2 d/ d/e=5 d/f/ d/f/g=2",
    "v: a=3 b=4 c/ c/e=5 c/f/ c/f/g=2",
    "w: a=3 b=4 c/ c/e=5 c/f/ c/f/g=2",
    "w: a=3 b=4 c/ c/e=5 c/f/ c/f/g=2",
    "",
};
#define STEPS (COUNT(story) - 1)

struct life {
    struct place place;
    const char *dir;
    struct volume *volume;
    int tell_fd;
    size_t step;
};

static void go_on(void *owner, struct error *error);

static void on_made(void *owner, struct error *error, struct volume *volume) {
    ((struct life *)owner)->volume = volume;
    go_on(owner, error);
}
static void on_placed(void *owner, struct error *error, const struct volume_missing *missing, size_t count) {
    assert_int_equal(count, 0);
    (void)missing;
    go_on(owner, error);
}

static void put_some(struct life *life, const char *const paths[], const char *const bytes[], size_t count) {
    struct volume_file files[3];
    char digests[3][SHA256_HEX_SIZE];
    for (size_t i = 0; i < count; i++) {
        struct error *error = store_blob_put(life->place.store, span_of(bytes[i]), digests[i]);
        if (error) {
            go_on(life, error);
            return;
        }
        files[i] = (struct volume_file){.path = paths[i], .digest = digests[i]};
    }
    volume_put(life->volume, files, count, true, on_placed, life);
}

/* A container's write, in one: the kill may be another thread's, which still has to do for an earlier step.
 */
static void replace_live(const struct life *life, const char *path, const char *bytes) {
    scoped_string char *fresh = path_join(life->dir, "fresh"), *at = live(life->volume, path);
    assert_ok(file_replace(fresh, span_of(bytes), 0644));
    assert_int_equal(rename(fresh, at), 0);
}

static void go_on(void *owner, struct error *error) {
    struct life *life = owner;
    if (error) { /* the text is told, and the life ends there */
        scoped_string char *text = error_text(error);
        dprintf(life->tell_fd, "%s: %s\n", error_code_name(error->code), text);
        error_free(error);
        io_loop_stop(life->place.loop);
        return;
    }
    if (life->step > 0) dprintf(life->tell_fd, "+");
    switch (++life->step) {
    case 1: volume_create(life->place.volumes, &(struct volume_options){.name = "v"}, on_made, life); break;
    case 2:
        replace_live(life, "a", "1");
        volume_commit(life->volume, go_on, life);
        break;
    case 3: put_some(life, (const char *const[]){"b"}, (const char *const[]){"2"}, 1); break;
    case 4:
        replace_live(life, "a", "3");
        volume_commit(life->volume, go_on, life);
        break;
    case 5:
        put_some(life, (const char *const[]){"b", "d/e", "d/f/g"}, (const char *const[]){"4", "5", "2"}, 3);
        break;
    case 6: volume_copy(life->volume, (const char *const[]){"d"}, 1, "c", true, go_on, life); break;
    case 7: volume_remove(life->volume, "d", true, go_on, life); break;
    case 8: volume_rename(life->volume, "w", go_on, life); break;
    case 9: volumes_collect(life->place.volumes, go_on, life); break;
    case 10: volume_delete(life->volume, go_on, life); break;
    default: io_loop_stop(life->place.loop); break;
    }
}

static void live_through(const char *dir, int tell_fd) {
    struct life life = {.tell_fd = tell_fd, .dir = dir};
    struct place *place = &life.place;
    log_level_set((enum log_level)(LOG_ERROR + 1));
    store_calls_set(&faulty);
    place->loop = io_loop_new();
    place->patience = io_timer_new(place->loop, (void (*)(void *))abort, NULL);
    io_timer_arm(place->patience, 60 * 1000);
    scoped_string char *volumes = path_join(dir, "volumes");
    struct error *error = store_open(place->loop, dir, &place->store);
    if (!error)
        error = volumes_open(
            &(struct volumes_options){.loop = place->loop, .store = place->store, .dir = volumes},
            &place->volumes);
    bool opened = !error;
    go_on(&life, error);
    if (opened) io_loop_run(place->loop);
    place_close(place);
    dprintf(tell_fd, ".");
}

/* "name: what it has" of each volume; `dash`: of the live tree as well, by one more commit. */
static void tell_state(struct place *place, bool commit_first, struct text *text) {
    struct volume *volume;
    for (size_t i = 0; (volume = volumes_next(place->volumes, &i));) {
        struct volume_view view;
        volume_view(volume, &view);
        text_printf(text, "%s:", view.name);
        if (commit_first) assert_ok(commit(place, volume));
        scoped_text struct text found = {0};
        assert_ok(listed(place, volume, "", true, &found));
        text_printf(text, "%s%s", found.size ? " " : "", found.data);
    }
    text_add_char(text, '\n');
}

static size_t entries_of(const char *dir, const char *name) {
    scoped_string char *path = mem_printf("%s/volumes/%s", dir, name);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

/* In a child of its own, so that no thread is there when the next life forks off. */
static void look(const char *dir, int tell_fd) {
    struct place place = {0};
    log_level_set(LOG_ERROR);
    snprintf(place.dir, sizeof place.dir, "%s", dir);
    place_open(&place);
    scoped_text struct text text = {0};
    tell_state(&place, false, &text);
    tell_state(&place, true, &text);
    size_t volumes = 0;
    for (size_t i = 0; volumes_next(place.volumes, &i);) volumes++;
    text_printf(&text, "%zu trees too many, %zu unfinished\n", entries_of(dir, ".trees") - volumes,
                entries_of(dir, ".new"));
    place_close(&place);
    assert_int_equal(write(tell_fd, text.data, text.size), (ssize_t)text.size);
}

/* What the child tells until its end. */
static int in_child(void (*run)(const char *dir, int tell_fd), const char *dir, char *told, size_t capacity) {
    int tell[2], status = 0;
    assert_int_equal(pipe(tell), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(tell[0]);
        run(dir, tell[1]);
        _exit(0);
    }
    close(tell[1]);
    size_t size = 0;
    for (ssize_t got; (got = read(tell[0], told + size, capacity - 1 - size)) > 0;) size += (size_t)got;
    told[size] = '\0';
    close(tell[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* `found`: what is committed, what it becomes with the live tree, and what is left lying about. */
static void judge(long writes, const char *told, char *found, size_t acknowledged) {
    struct span rest = span_of(found);
    scoped_string char *committed = span_string(span_cut(&rest, '\n')),
                       *live = span_string(span_cut(&rest, '\n')), *left = span_string(span_cut(&rest, '\n'));
    size_t at = acknowledged;
    if (strcmp(committed, story[at]) != 0 && at < STEPS) at++;
    bool good = strcmp(committed, story[at]) == 0;
    /* What a container wrote last may not have been committed yet; the rest is as committed. */
    bool ahead = (at == 1 || at == 3) && strcmp(live, story[at + 1]) == 0;
    good = good && (ahead || strcmp(live, story[at]) == 0);
    good = good && strcmp(left, "0 trees too many, 0 unfinished") == 0;
    if (!good)
        fail_msg("%ld writes, %zu steps acknowledged: found\n%s\nchild told '%s'", writes, acknowledged,
                 found, told);
}

/* Whether the child came to the end of its story. */
static bool one_life(long writes, enum fault which) {
    char dir[64], told[4096], found[4096];
    snprintf(dir, sizeof dir, "%s/catnap-crash-XXXXXX", file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    writes_left = writes;
    fault = which;
    int status = in_child(live_through, dir, told, sizeof told);
    size_t acknowledged = strspn(told, "+");
    if (which == FAULT_KILL && !WIFSIGNALED(status) && acknowledged < STEPS)
        fail_msg("%ld writes: %s", writes, told);
    if (which == FAULT_DISK_FULL && acknowledged < STEPS &&
        (!strstr(told, "RESOURCE_EXHAUSTED: ") || told[strlen(told) - 1] != '.'))
        fail_msg("a full disk after %ld writes: '%s', status %d", writes, told, status);
    status = in_child(look, dir, found, sizeof found);
    if (status != 0) fail_msg("%ld writes: the next daemon can't look: %s; told %s", writes, found, told);
    judge(writes, told, found, acknowledged);
    assert_ok(tree_remove(dir));
    return acknowledged == STEPS && !WIFSIGNALED(status);
}

static void test_killed_before_any_write_the_last_commit_is_whole(void **unused) {
    (void)unused;
    long writes = 0;
    while (!one_life(writes, FAULT_KILL)) assert_true(++writes < 2000);
    assert_true(writes > 80); /* the faults were in the way of the writes */
    print_message("%ld writes\n", writes);
}

static void test_on_a_full_disk_it_refuses_and_keeps_what_it_had(void **unused) {
    (void)unused;
    long writes = 0;
    while (!one_life(writes, FAULT_DISK_FULL)) assert_true(++writes < 2000);
    assert_true(writes > 60);
    print_message("%ld writes\n", writes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_before_any_write_the_last_commit_is_whole),
        cmocka_unit_test(test_on_a_full_disk_it_refuses_and_keeps_what_it_had),
    };
    return cmocka_run_group_tests_name("volume crash", tests, NULL, NULL);
}
