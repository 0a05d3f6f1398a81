/* Logs as files: read in the order of time over all parts and containers, followed as they grow and turn,
 * forgotten. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "logs.h"
#include "test.h"

enum { PATIENCE_MS = 20000 };

struct folder {
    char *dir;
};
static struct folder folder_new(void) {
    scoped_string char *id = random_id("catnap-logs");
    return (struct folder){mem_printf("/tmp/%s", id)};
}
static void folder_free(struct folder *folder) {
    assert_ok(tree_remove(folder->dir));
    free(folder->dir);
}
/* Lines as catnap-init writes them: at second `second`, numbered. */
static void write_lines(const struct folder *folder, const char *file, int first, int count, int step) {
    scoped_string char *path = mem_printf("%s/%s", folder->dir, file), *directory = mem_string(path);
    *strrchr(directory, '/') = '\0';
    assert_ok(dir_make(directory, 0755));
    FILE *out = fopen(path, "ae");
    assert_non_null(out);
    for (int i = 0; i < count; i++) {
        int second = first + i * step;
        fprintf(out, "2026-01-02T03:%02d:%02d.000Z out line %d\n", second / 60, second % 60, second);
    }
    assert_int_equal(fclose(out), 0);
}
static void collect(void *owner, const struct logs_line *line) {
    struct text *text = owner;
    text_printf(text, "%s/%s " SPAN_FORMAT "\n", line->function, line->container, SPAN_ARGS(line->text));
}
static char *read_all(const struct folder *folder, const char *function, int64_t since_ms, size_t last) {
    struct text text = {0};
    assert_ok(logs_read(&(struct logs_query){folder->dir, "app", function, since_ms, last}, collect, &text));
    return text_take(&text);
}

static void test_containers_are_merged_by_time(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    write_lines(&folder, "app/one/1.log", 0, 3, 4);
    write_lines(&folder, "app/one/2.log", 2, 2, 4);
    write_lines(&folder, "app/two/3.log", 1, 1, 1);
    scoped_string char *all = read_all(&folder, NULL, 0, 0), *one = read_all(&folder, "one", 0, 0),
                       *last = read_all(&folder, NULL, 0, 2), *none = read_all(&folder, "three", 0, 0);
    assert_string_equal(
        all, "one/1 line 0\ntwo/3 line 1\none/2 line 2\none/1 line 4\none/2 line 6\none/1 line 8\n");
    assert_string_equal(one, "one/1 line 0\none/2 line 2\none/1 line 4\none/2 line 6\none/1 line 8\n");
    assert_string_equal(last, "one/2 line 6\none/1 line 8\n");
    assert_string_equal(none, "");
    folder_free(&folder);
}

static void test_parts_are_read_from_the_oldest(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    write_lines(&folder, "app/one/1.log.3", 0, 1, 1);
    write_lines(&folder, "app/one/1.log.2", 1, 1, 1);
    write_lines(&folder, "app/one/1.log.1", 2, 1, 1);
    write_lines(&folder, "app/one/1.log", 3, 2, 1);
    scoped_string char *all = read_all(&folder, "one", 0, 0);
    assert_string_equal(all, "one/1 line 0\none/1 line 1\none/1 line 2\none/1 line 3\none/1 line 4\n");
    folder_free(&folder);
}

static void first_time(void *owner, const struct logs_line *line) {
    *(int64_t *)owner = line->wall_ms;
}

static void test_since_a_moment(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    write_lines(&folder, "app/one/1.log", 0, 1, 1);
    int64_t zero_ms = 0;
    assert_ok(logs_read(&(struct logs_query){folder.dir, "app", "one", 0, 0}, first_time, &zero_ms));
    char text[CLOCK_TEXT_SIZE];
    clock_text(zero_ms, text);
    assert_string_equal(text, "2026-01-02T03:00:00.000Z");
    write_lines(&folder, "app/one/1.log", 1, 4, 1);
    scoped_string char *some = read_all(&folder, "one", zero_ms + 3000, 0);
    assert_string_equal(some, "one/1 line 3\none/1 line 4\n");
    folder_free(&folder);
}

/* What is no line of ours (a disk may hold anything) is told as it is; half a line waits for its end. */
static void test_odd_lines(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    scoped_string char *path = path_join(folder.dir, "app/one/1.log"),
                       *directory = path_join(folder.dir, "app/one");
    assert_ok(dir_make(directory, 0755));
    assert_ok(file_replace(path,
                           SPAN("2026-01-02T03:00:00.000Z out first\nrubbish\n\n"
                                "2026-99-99T99:99:99.999Z out dated oddly\n"
                                "2026-01-02T03:00:01.000Z xxx no stream\n"
                                "2026-01-02T03:00:01.000Z sys said by us\n2026-01-02T03:00:02.000Z out ha"),
                           0644));
    scoped_string char *all = read_all(&folder, "one", 0, 0);
    assert_non_null(strstr(all, "one/1 first\none/1 rubbish\none/1 \n"));
    assert_non_null(strstr(all, "one/1 2026-01-02T03:00:01.000Z xxx no stream\n"));
    assert_non_null(strstr(all, "one/1 said by us\n"));
    assert_null(strstr(all, "ha"));
    folder_free(&folder);
}

static void test_the_tail_of_one(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    write_lines(&folder, "app/one/1.log", 0, 50, 1);
    logs_say(folder.dir, "app", "one", "1", "it ended");
    scoped_string char *tail = logs_tail(folder.dir, "app", "one", "1", 3, 4096),
                       *cut = logs_tail(folder.dir, "app", "one", "1", 3, 13),
                       *none = logs_tail(folder.dir, "app", "one", "2", 3, 4096),
                       *nothing = logs_tail(folder.dir, "app", "one", "1", 0, 4096);
    assert_string_equal(tail, "line 48\nline 49\nit ended");
    assert_string_equal(cut, "e 49\nit ended");
    assert_string_equal(none, "");
    assert_string_equal(nothing, "");
    folder_free(&folder);
}

static void test_old_ones_are_forgotten(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    for (int i = 1; i <= 5; i++) {
        scoped_string char *file = mem_printf("app/one/%d.log", i), *old = mem_printf("app/one/%d.log.1", i),
                           *path = path_join(folder.dir, file);
        write_lines(&folder, file, i, 1, 1);
        write_lines(&folder, old, i, 1, 1);
        struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    struct logs_keeping keeping = {.dir = folder.dir, .count = 2, .bytes = UINT64_MAX, .age_s = INT32_MAX};
    logs_prune(&keeping, "app", "one");
    scoped_string char *all = read_all(&folder, "one", 0, 0),
                       *gone = path_join(folder.dir, "app/one/3.log.1");
    assert_string_equal(all, "one/4 line 4\none/4 line 4\none/5 line 5\none/5 line 5\n");
    assert_false(file_exists(gone));
    logs_prune(&keeping, "app", "no-such-function");

    struct map *living = map_new();
    map_put(living, SPAN("4"), &keeping);
    scoped_string char *four = path_join(folder.dir, "app/one/4.log"),
                       *five = path_join(folder.dir, "app/one/5.log"), *app = path_join(folder.dir, "app");
    keeping.bytes = 1;
    keeping.living = living;
    logs_prune(&keeping, "app", "one");
    assert_true(file_exists(four) && file_exists(five)); /* it lives; it is the newest */
    keeping.living = NULL;
    logs_prune(&keeping, "app", "one");
    assert_true(!file_exists(four) && file_exists(five));
    logs_prune_all(&keeping);
    assert_true(file_exists(five));
    keeping.age_s = -60; /* as if a month had passed */
    keeping.living = living;
    logs_prune_all(&keeping);
    assert_false(file_exists(app));
    map_free(living);
    folder_free(&folder);
}

/* ---- following ---- */
struct listener {
    struct io_loop *loop;
    struct io_timer *deadline;
    struct text text;
    const char *awaited;
    bool timed_out;
};
static void on_line(void *owner, const struct logs_line *line) {
    struct listener *listener = owner;
    collect(&listener->text, line);
    if (listener->awaited && strstr(listener->text.data, listener->awaited)) io_loop_stop(listener->loop);
}
static void on_deadline(void *owner) {
    struct listener *listener = owner;
    listener->timed_out = true;
    io_loop_stop(listener->loop);
}
static void await(struct listener *listener, const char *text) {
    listener->awaited = text;
    listener->timed_out = false;
    io_timer_arm(listener->deadline, PATIENCE_MS);
    while (!listener->timed_out && !(listener->text.data && strstr(listener->text.data, text)))
        io_loop_run(listener->loop);
    io_timer_stop(listener->deadline);
    if (listener->timed_out) fail_msg("waited for '%s', got: %s", text, listener->text.data);
}

static void turn(const struct folder *folder, const char *file) {
    for (int part = 3; part > 0; part--) {
        scoped_string char *to = mem_printf("%s/%s.%d", folder->dir, file, part),
                           *from = part > 1 ? mem_printf("%s/%s.%d", folder->dir, file, part - 1)
                                            : path_join(folder->dir, file);
        (void)rename(from, to);
    }
}

static void test_what_comes_is_told_across_turns_and_new_containers(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    struct listener listener = {.loop = io_loop_new()};
    listener.deadline = io_timer_new(listener.loop, on_deadline, &listener);
    struct logs_follow *follow = NULL;
    write_lines(&folder, "app/one/1.log", 0, 3, 1);
    assert_ok(logs_follow_start(listener.loop, &(struct logs_query){folder.dir, "app", NULL, 0, 2}, on_line,
                                &listener, &follow));
    await(&listener, "line 2\n");
    assert_string_equal(listener.text.data, "one/1 line 1\none/1 line 2\n"); /* the last two */
    write_lines(&folder, "app/one/1.log", 3, 1, 1);
    await(&listener, "line 3\n");
    write_lines(&folder, "app/one/1.log", 4, 1, 1); /* grows once more, then turns */
    turn(&folder, "app/one/1.log");
    write_lines(&folder, "app/one/1.log", 5, 1, 1);
    await(&listener, "line 5\n");
    write_lines(&folder, "app/one/2.log", 6, 1, 1); /* another container */
    await(&listener, "one/2 line 6\n");
    write_lines(&folder, "app/two/3.log", 7, 1, 1); /* another function */
    await(&listener, "two/3 line 7\n");
    assert_string_equal(listener.text.data,
                        "one/1 line 1\none/1 line 2\none/1 line 3\none/1 line 4\none/1 line 5\n"
                        "one/2 line 6\ntwo/3 line 7\n");
    logs_follow_free(follow);
    io_timer_free(listener.deadline);
    io_loop_free(listener.loop);
    text_done(&listener.text);
    folder_free(&folder);
}

/* Nothing is there yet, not even the folder of the logs. */
static void test_following_may_begin_before_anything_is_there(void **unused) {
    (void)unused;
    struct folder folder = folder_new();
    struct listener listener = {.loop = io_loop_new()};
    listener.deadline = io_timer_new(listener.loop, on_deadline, &listener);
    struct logs_follow *follow = NULL;
    assert_ok(logs_follow_start(listener.loop, &(struct logs_query){folder.dir, "app", "one", 0, 0}, on_line,
                                &listener, &follow));
    io_timer_arm(listener.deadline, 20);
    io_loop_run(listener.loop);
    write_lines(&folder, "app/one/1.log", 0, 1, 1);
    await(&listener, "one/1 line 0\n");
    logs_follow_free(follow);
    io_timer_free(listener.deadline);
    io_loop_free(listener.loop);
    text_done(&listener.text);
    folder_free(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_containers_are_merged_by_time),
        cmocka_unit_test(test_parts_are_read_from_the_oldest),
        cmocka_unit_test(test_since_a_moment),
        cmocka_unit_test(test_odd_lines),
        cmocka_unit_test(test_the_tail_of_one),
        cmocka_unit_test(test_old_ones_are_forgotten),
        cmocka_unit_test(test_what_comes_is_told_across_turns_and_new_containers),
        cmocka_unit_test(test_following_may_begin_before_anything_is_there),
    };
    return cmocka_run_group_tests_name("logs", tests, NULL, NULL);
}
