/* The shapes on libuv: timers that are re-armed and freed in their own callback, work put off, children that
 * end in every way. */
#include "io.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

struct seen {
    struct io_loop *loop;
    struct io_timer *timer, *other;
    struct io_watch *watch;
    struct io_post *post;
    struct io_child *child;
    struct io_alarm *alarm;
    int64_t due_ms;
    int count, exit_code, signal;
    char text[256];
    enum error_code code;
};

/* ---- timers, deferred work, posts ---- */

static void on_never(void *owner) {
    (void)owner;
    fail_msg("a timer that was stopped, or freed, fired");
}

static void on_timer(void *owner) {
    struct seen *seen = owner;
    if (++seen->count < 3) {
        io_timer_arm(seen->timer, 1);
        return;
    }
    io_timer_free(seen->timer); /* inside its own callback */
    io_timer_free(seen->other);
}

static void test_a_timer_can_be_armed_again_and_freed_in_its_callback(void **unused) {
    (void)unused;
    struct seen seen = {.loop = io_loop_new()};
    seen.timer = io_timer_new(seen.loop, on_timer, &seen);
    seen.other = io_timer_new(seen.loop, on_never, &seen);
    io_timer_arm(seen.other, 60000);
    io_timer_arm(seen.timer, 60000);
    io_timer_arm(seen.timer, 0); /* replaces */
    io_loop_run(seen.loop);
    assert_int_equal(seen.count, 3);
    io_loop_free(seen.loop);
}

static void on_alarm(void *owner) {
    struct seen *seen = owner;
    /* It may come for a clock that was set, too; who waits for it looks what the time is. */
    if (clock_wall_ms() < seen->due_ms) return io_alarm_set(seen->alarm, seen->due_ms);
    seen->due_ms = seen->count++ == 0 ? clock_wall_ms() + 5 : -5; /* the last one is past at once */
    if (seen->count < 3) return io_alarm_set(seen->alarm, seen->due_ms);
    io_alarm_stop(seen->alarm);
    io_alarm_free(seen->alarm); /* inside its own callback */
}

static void test_an_alarm_comes_at_its_time_by_the_clock_on_the_wall(void **unused) {
    (void)unused;
    struct seen seen = {.loop = io_loop_new()};
    assert_ok(io_alarm_new(seen.loop, on_alarm, &seen, &seen.alarm));
    seen.due_ms = clock_wall_ms() + 20;
    io_alarm_set(seen.alarm, seen.due_ms + 3600000);
    io_alarm_set(seen.alarm, seen.due_ms); /* replaces */
    io_loop_run(seen.loop);
    assert_int_equal(seen.count, 3);
    io_loop_free(seen.loop);
}

static void on_deferred(void *owner) {
    struct seen *seen = owner;
    size_t size = strlen(seen->text);
    snprintf(seen->text + size, sizeof seen->text - size, "%d ", seen->count++);
    if (seen->count == 2) io_defer(seen->loop, on_deferred, seen);
}

static void test_deferred_work_keeps_its_order(void **unused) {
    (void)unused;
    struct seen seen = {.loop = io_loop_new()};
    io_defer(seen.loop, on_deferred, &seen);
    io_defer(seen.loop, on_deferred, &seen);
    assert_int_equal(seen.count, 0); /* never from inside the call */
    io_loop_run(seen.loop);
    assert_string_equal(seen.text, "0 1 2 ");
    io_loop_free(seen.loop);
}

static void on_post(void *owner) {
    struct seen *seen = owner;
    seen->count++;
    io_post_free(seen->post);
}
static void send_post(struct io_work *work) {
    struct seen *seen = work->owner;
    io_post_send(seen->post);
    work->error = error_new(ERROR_DATA_LOSS, "no good");
}
static void on_worked(struct io_work *work) {
    struct seen *seen = work->owner;
    seen->code = work->error->code;
    error_free(work->error);
}

static void test_work_ends_on_the_loop_with_its_error_and_posts_arrive(void **unused) {
    (void)unused;
    struct seen seen = {.loop = io_loop_new()};
    seen.post = io_post_new(seen.loop, on_post, &seen);
    struct io_work work = {.work = send_post, .done = on_worked, .owner = &seen};
    io_work_start(seen.loop, &work);
    io_loop_run(seen.loop);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.code, ERROR_DATA_LOSS);
    io_loop_free(seen.loop);
}

/* ---- watches and signals ---- */

static void on_readable(void *owner, unsigned events) {
    struct seen *seen = owner;
    assert_true(events & (IO_READABLE | IO_HANGUP));
    seen->count++;
    io_watch_free(seen->watch); /* inside its own callback */
}

static void test_a_watch_tells_of_bytes_and_can_go_in_its_callback(void **unused) {
    (void)unused;
    struct seen seen = {.loop = io_loop_new()};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_ok(io_watch_new(seen.loop, ends[0], IO_READABLE, on_readable, &seen, &seen.watch));
    assert_int_equal(write(ends[1], "x", 1), 1);
    io_loop_run(seen.loop);
    assert_int_equal(seen.count, 1);
    close(ends[0]);
    close(ends[1]);
    io_loop_free(seen.loop);
}

/* ---- children ---- */

static void on_child(void *owner, struct io_child_end *end) {
    struct seen *seen = owner;
    seen->count++;
    seen->exit_code = end->exit_code;
    seen->signal = end->signal;
    snprintf(seen->text, sizeof seen->text, SPAN_FORMAT, SPAN_ARGS(end->output));
    if (!end->error) return;
    seen->code = end->error->code;
    scoped_string char *text = error_text(end->error);
    snprintf(seen->text, sizeof seen->text, "%s", text);
    error_free(end->error);
}

static struct seen run_child(struct io_child_options options) {
    struct seen seen = {.loop = io_loop_new()};
    options.stdin_fd = options.stdout_fd = options.stderr_fd = -1;
    options.done = on_child;
    options.owner = &seen;
    io_child_start(seen.loop, &options);
    assert_int_equal(seen.count, 0);
    io_loop_run(seen.loop);
    assert_int_equal(seen.count, 1);
    io_loop_free(seen.loop);
    return seen;
}

static void test_a_child_tells_its_code_and_its_words(void **unused) {
    (void)unused;
    const char *const argv[] = {"sh", "-c", "echo out; echo err >&2; exit 7", NULL};
    struct seen seen = run_child((struct io_child_options){.argv = argv});
    assert_int_equal(seen.exit_code, 7);
    assert_string_equal(seen.text, "out\nerr\n");
}

static void test_a_program_that_is_not_there_comes_through_done(void **unused) {
    (void)unused;
    const char *const argv[] = {"/no/such/program", NULL};
    struct seen seen = run_child((struct io_child_options){.argv = argv});
    assert_int_equal(seen.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(seen.text, "/no/such/program"));
}

static void test_a_child_past_its_deadline_is_killed(void **unused) {
    (void)unused;
    const char *const argv[] = {"sleep", "600", NULL};
    struct seen seen = run_child((struct io_child_options){.argv = argv, .deadline_ms = 30});
    assert_int_equal(seen.code, ERROR_DEADLINE_EXCEEDED);
    assert_int_equal(seen.signal, SIGKILL);
}

static void test_only_the_last_of_much_output_is_kept(void **unused) {
    (void)unused;
    const char *const argv[] = {"sh", "-c", "seq 1 50000", NULL};
    struct seen seen = run_child((struct io_child_options){.argv = argv, .output_limit_bytes = 12});
    assert_string_equal(seen.text, "49999\n50000\n");
}

static void test_a_grandchild_that_holds_the_pipe_keeps_nobody_waiting(void **unused) {
    (void)unused;
    const char *const argv[] = {"sh", "-c", "sleep 600 & echo $!", NULL};
    struct seen seen = run_child((struct io_child_options){.argv = argv, .deadline_ms = 60000});
    assert_int_equal(seen.exit_code, 0);
    kill((pid_t)strtol(seen.text, NULL, 10), SIGKILL);
}

static void test_extra_descriptors_come_from_three_on(void **unused) {
    (void)unused;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "inherited\n", 10), 10);
    close(ends[1]);
    const char *const argv[] = {"sh", "-c", "cat <&3", NULL};
    struct seen seen =
        run_child((struct io_child_options){.argv = argv, .extra_fds = ends, .extra_count = 1});
    assert_string_equal(seen.text, "inherited\n");
    close(ends[0]);
}

static void test_a_freed_child_is_killed_and_not_told(void **unused) {
    (void)unused;
    struct seen seen = {.loop = io_loop_new()};
    const char *const argv[] = {"sleep", "600", NULL};
    struct io_child *child = io_child_start(seen.loop, &(struct io_child_options){.argv = argv,
                                                                                  .stdin_fd = -1,
                                                                                  .stdout_fd = -1,
                                                                                  .stderr_fd = -1,
                                                                                  .done = on_child,
                                                                                  .owner = &seen});
    pid_t pid = io_child_pid(child);
    assert_true(pid > 0);
    io_child_free(child);
    io_loop_run(seen.loop);
    assert_int_equal(seen.count, 0);
    assert_int_equal(kill(pid, 0), -1); /* reaped */
    io_loop_free(seen.loop);
}

static void test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(void **unused) {
    (void)unused;
    char path[] = "/tmp/catnap-io-XXXXXX/socket";
    path[strlen(path) - strlen("/socket")] = '\0';
    assert_non_null(mkdtemp(path));
    path[strlen(path)] = '/';
    int first, second;
    assert_ok(io_listen(path, 0666, &first, NULL));
    struct stat made;
    assert_int_equal(stat(path, &made), 0);
    assert_int_equal(made.st_mode & 0777, 0666); /* whatever the umask */
    assert_error(io_listen(path, 0600, &second, NULL), ERROR_ALREADY_EXISTS, "somebody listens at");
    close(first);
    assert_ok(io_listen(path, 0600, &second, NULL));
    assert_int_equal(stat(path, &made), 0);
    assert_int_equal(made.st_mode & 0777, 0600);
    close(second);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
}

static void test_a_port_is_found_and_a_taken_one_is_told(void **unused) {
    (void)unused;
    int first, second;
    uint16_t port = 0;
    assert_ok(io_listen("localhost:0", 0, &first, &port));
    assert_true(port > 0);
    scoped_string char *address = mem_printf("127.0.0.1:%u", port);
    assert_error(io_listen(address, 0, &second, NULL), ERROR_ALREADY_EXISTS, "taken by another process");
    assert_error(io_listen("::1:80", 0, &second, NULL), ERROR_INVALID_ARGUMENT, "is no address");
    close(first);
}

struct resting {
    struct io_loop *loop;
    struct io_rest *rest;
    struct io_timer *something, *end;
    int rests;
};

static void on_rest(void *owner) {
    struct resting *seen = owner;
    seen->rests++;
    io_timer_arm(seen->rests == 1 ? seen->something : seen->end, seen->rests == 1 ? 1 : 150);
}
static void on_something(void *owner) {
    (void)owner;
}
static void on_long_after(void *owner) {
    struct resting *seen = owner;
    assert_int_equal(seen->rests, 2);
    io_timer_free(seen->something);
    io_timer_free(seen->end);
    io_rest_free(seen->rest);
    io_loop_stop(seen->loop);
}

/* Once at first and once after each thing that happens; as long as nothing does, not again. */
static void test_rest_is_told_once(void **unused) {
    (void)unused;
    struct resting seen = {.loop = io_loop_new()};
    seen.something = io_timer_new(seen.loop, on_something, &seen);
    seen.end = io_timer_new(seen.loop, on_long_after, &seen);
    seen.rest = io_rest_new(seen.loop, 5, on_rest, &seen);
    io_loop_run(seen.loop);
    io_loop_free(seen.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_alarm_comes_at_its_time_by_the_clock_on_the_wall),
        cmocka_unit_test(test_a_timer_can_be_armed_again_and_freed_in_its_callback),
        cmocka_unit_test(test_rest_is_told_once),
        cmocka_unit_test(test_deferred_work_keeps_its_order),
        cmocka_unit_test(test_work_ends_on_the_loop_with_its_error_and_posts_arrive),
        cmocka_unit_test(test_a_watch_tells_of_bytes_and_can_go_in_its_callback),
        cmocka_unit_test(test_a_child_tells_its_code_and_its_words),
        cmocka_unit_test(test_a_program_that_is_not_there_comes_through_done),
        cmocka_unit_test(test_a_child_past_its_deadline_is_killed),
        cmocka_unit_test(test_only_the_last_of_much_output_is_kept),
        cmocka_unit_test(test_a_grandchild_that_holds_the_pipe_keeps_nobody_waiting),
        cmocka_unit_test(test_extra_descriptors_come_from_three_on),
        cmocka_unit_test(test_a_socket_left_behind_is_replaced_and_a_living_one_is_not),
        cmocka_unit_test(test_a_port_is_found_and_a_taken_one_is_told),
        cmocka_unit_test(test_a_freed_child_is_killed_and_not_told),
    };
    return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
