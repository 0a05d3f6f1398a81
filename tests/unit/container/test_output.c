/* What apps write: every line with its time and stream, in bounded files that turn, whatever happens to the
 * daemon and the disk, and never at the app's cost. */
#include <sys/mount.h>

#include "power.h"

struct page {
    size_t lines, lost;
    uint64_t first, last; /* numbers that lines begin with */
    bool in_order;
    char said[512]; /* the last line of catnap's own */
};

static void note(void *owner, const struct logs_line *line) {
    struct page *page = owner;
    if (line->stream == 's') {
        snprintf(page->said, sizeof page->said, SPAN_FORMAT, SPAN_ARGS(line->text));
        page->lost += strtoul(page->said, NULL, 10);
        return;
    }
    uint64_t number = strtoull(line->text.data, NULL, 10);
    if (page->lines == 0)
        page->first = number, page->in_order = true;
    else if (number != page->last + 1)
        page->in_order = false;
    page->last = number;
    page->lines++;
}
static struct page read_page(const struct house *house, const char *function) {
    struct page page = {0};
    assert_ok(logs_read(&(struct logs_query){.dir = house->logs_dir, .app = "tests", .function = function},
                        note, &page));
    return page;
}

static void on_found_any(void *owner, struct container *container, const struct container_found *found) {
    struct guest *guest = owner;
    (void)found;
    guest->container = container;
}

static uint64_t bytes_in(const char *directory) {
    uint64_t bytes = 0;
    DIR *files = opendir(directory);
    assert_non_null(files);
    for (struct dirent *entry; (entry = readdir(files));) {
        struct stat status;
        if (fstatat(dirfd(files), entry->d_name, &status, 0) == 0 && S_ISREG(status.st_mode))
            bytes += (uint64_t)status.st_size;
    }
    closedir(files);
    return bytes;
}

static void test_a_million_lines_stay_within_bounds_and_in_order(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function("talks", "seq 1000000");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 0);
    struct page page = read_page(house, "talks");
    assert_int_equal(page.lost, 0);
    assert_true(page.in_order);
    assert_int_equal(page.last, 1000000);
    scoped_string char *directory = mem_printf("%s/tests/talks", house->logs_dir);
    uint64_t block = 64 * 1024; /* a file turns before the block that it has no room for */
    assert_in_range(bytes_in(directory), 3 * (house->log_file_bytes - block), 4 * house->log_file_bytes);
    container_free(guest.container);
    house_free(house);
}

/* ---- time, stream, form ---- */
struct seen {
    struct text text; /* "o words\n" */
    int64_t first_ms, last_ms;
};
static void note_streams(void *owner, const struct logs_line *line) {
    struct seen *seen = owner;
    if (!seen->first_ms) seen->first_ms = line->wall_ms;
    seen->last_ms = line->wall_ms;
    text_printf(&seen->text, "%c%zu ", line->stream, line->text.size);
    text_add(&seen->text, line->text);
    text_add_char(&seen->text, '\n');
}

static void test_each_line_has_its_time_and_stream(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = plain_shell_function(
        "streams",
        "echo to out; sleep 0.05; echo to err >&2; sleep 0.05; echo; sleep 0.05; printf 'no newline'");
    int64_t before_ms = clock_wall_ms();
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    struct seen seen = {0};
    assert_ok(logs_read(&(struct logs_query){.dir = house->logs_dir, .app = "tests"}, note_streams, &seen));
    assert_string_equal(seen.text.data, "o6 to out\ne6 to err\no0 \no10 no newline\n");
    assert_in_range(seen.first_ms, before_ms, clock_wall_ms());
    assert_in_range(seen.last_ms, seen.first_ms + 100, clock_wall_ms());
    text_done(&seen.text);
    container_free(guest.container);
    house_free(house);
}

static void count_sizes(void *owner, const struct logs_line *line) {
    if (line->stream != 's') *(size_t *)owner += line->text.size;
}

static void test_long_lines_and_bytes_of_any_kind_are_kept(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = shell_function(
        "bytes", "head -c 100000 /dev/zero | tr '\\0' x; echo; head -c 3 /dev/zero; printf '\\377\\376\\n'");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    size_t bytes = 0;
    assert_ok(logs_read(&(struct logs_query){.dir = house->logs_dir, .app = "tests"}, count_sizes, &bytes));
    assert_int_equal(bytes, 100000 + 5);
    container_free(guest.container);
    house_free(house);
}

/* ---- what must not hold an app up ---- */

static void test_a_full_disk_costs_lines_and_never_the_app(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan(NULL);
    house->log_file_bytes = 8 << 20; /* nothing turns out of sight */
    house_open(house);
    scoped_string char *logs = mem_printf("%s/tests/floods", house->logs_dir),
                       *ballast = path_join(logs, "ballast"), *go = path_join(house->dir, "go");
    assert_ok(dir_make(logs, 0755));
    assert_int_equal(mount("tmpfs", logs, "tmpfs", 0, "size=8m"), 0);
    scoped_text struct text filler = {0};
    filler.size = (8 << 20) - (20 << 10);
    memset(text_reserve(&filler, filler.size), 'x', filler.size);
    assert_ok(file_replace(ballast, text_span(&filler), 0644));
    scoped(core_function) struct core_function *function = shell_function(
        "floods", "seq 200000; echo done > /data/written; until test -e /data/go; do sleep 0.01;"
                  "done; seq 300001 300100");
    struct container_mount data = {.source = house->dir, .destination = "/data"};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &data, 1);
    scoped_string char *written = path_join(house->dir, "written");
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!file_exists(written)) {
        if (clock_monotonic_ms() > until_ms) fail_msg("the app is held up by a full disk");
        pass_time(house, 2);
    }
    assert_int_equal(unlink(ballast), 0);
    assert_ok(file_replace(go, SPAN(""), 0644));
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 0);
    struct page page = read_page(house, "floods");
    assert_true(page.lost > 100000);
    assert_non_null(strstr(page.said, "lines lost: the disk is full"));
    assert_int_equal(page.lines + page.lost, 200000 + 100);
    assert_int_equal(page.last, 300100);
    container_free(guest.container);
    assert_int_equal(umount(logs), 0);
    house_free(house);
}

static void test_a_log_that_cannot_be_made_at_all_is_no_reason_to_fail(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *logs = mem_printf("%s/tests/mute", house->logs_dir);
    assert_ok(dir_make(logs, 0755));
    assert_int_equal(mount("tmpfs", logs, "tmpfs", MS_RDONLY, NULL), 0);
    scoped(core_function) struct core_function *function = shell_function("mute", "seq 100000; exit 4");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 4);
    container_free(guest.container);
    assert_int_equal(umount(logs), 0);
    house_free(house);
}

/* The daemon reads no pipe, so an app that writes notices nothing of its death. */
static void test_lines_survive_the_daemon(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_plan(NULL);
    scoped_string char *go = path_join(house->dir, "go"), *written = path_join(house->dir, "written");
    struct container_mount data = {.source = house->dir, .destination = "/data"};
    pid_t daemon = fork();
    if (daemon == 0) {
        struct guest guest;
        struct core_function *function = shell_function(
            "outlives",
            "seq 10; until test -e /data/go; do sleep 0.01; done; seq 11 20000; touch /data/written;"
            "exec sleep 1000");
        house_open(house);
        guest_create_with(house, &guest, function, 1, true, &data, 1);
        for (;;) pass_time(house, 1000);
    }
    while (read_page(house, "outlives").lines < 10) wait_a_moment();
    assert_int_equal(kill(daemon, SIGKILL), 0);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    assert_ok(file_replace(go, SPAN(""), 0644));
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!file_exists(written) || read_page(house, "outlives").last < 20000) {
        if (clock_monotonic_ms() > until_ms) fail_msg("the app does not go on without the daemon");
        wait_a_moment();
    }
    struct page page = read_page(house, "outlives");
    assert_true(page.in_order && page.lines == 20000);
    house_open(house);
    struct guest guest = {.house = house};
    assert_ok(container_host_adopt(house->host, &house_events, &guest, on_found_any));
    guest_end(&guest);
    house_free(house);
}

static void test_an_end_does_not_wait_for_who_holds_the_pipe(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("leaves", "sleep 1000 & (while :; do echo noise; done) & echo last; exit 6");
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_int_equal(guest.end.exit_code, 6);
    container_free(guest.container);
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_million_lines_stay_within_bounds_and_in_order),
        cmocka_unit_test(test_each_line_has_its_time_and_stream),
        cmocka_unit_test(test_long_lines_and_bytes_of_any_kind_are_kept),
        cmocka_unit_test(test_a_full_disk_costs_lines_and_never_the_app),
        cmocka_unit_test(test_a_log_that_cannot_be_made_at_all_is_no_reason_to_fail),
        cmocka_unit_test(test_lines_survive_the_daemon),
        cmocka_unit_test(test_an_end_does_not_wait_for_who_holds_the_pipe),
    };
    return cmocka_run_group_tests_name("container output", tests, NULL, NULL);
}
