/* What all rooms rely on: errors that read from the outside in, texts that are always valid JSON, maps that
 * lose nothing, files that are whole or as before, trees removed without leaving their place. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

static char *temporary_directory(void) {
    char path[] = "/tmp/catnap-base-XXXXXX";
    assert_non_null(mkdtemp(path));
    return mem_string(path);
}

/* ---- errors ---- */

static struct error *inner(void) {
    return error_new(ERROR_NOT_FOUND, "no blob %s", "ab");
}
static struct error *middle(void) {
    TRY(inner(), "layer %d", 2);
    return NULL;
}

static void test_an_error_reads_from_the_outside_in_and_keeps_its_code(void **unused) {
    (void)unused;
    scoped(error) struct error *err = error_wrap(middle(), "start tabby");
    scoped_string char *text = error_text(err);
    assert_string_equal(text, "start tabby: layer 2: no blob ab");
    assert_int_equal(err->code, ERROR_NOT_FOUND);
    assert_int_equal(error_http(err->code), 404);
    scoped(error) struct error *copy = error_copy(err);
    scoped_string char *again = error_text(copy);
    assert_string_equal(again, text);
}

static void test_an_errno_becomes_a_code_that_fits(void **unused) {
    (void)unused;
    static const struct {
        int value;
        enum error_code code;
    } rows[] = {{ENOENT, ERROR_NOT_FOUND},         {ENOSPC, ERROR_RESOURCE_EXHAUSTED},
                {EACCES, ERROR_PERMISSION_DENIED}, {EADDRINUSE, ERROR_ALREADY_EXISTS},
                {ECONNREFUSED, ERROR_UNAVAILABLE}, {EXFULL, ERROR_INTERNAL}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped(error) struct error *err = error_errno(rows[i].value, "open %s", "x");
        assert_int_equal(err->code, rows[i].code);
    }
}

/* ---- spans and texts ---- */

static void test_numbers_take_the_whole_span_or_nothing(void **unused) {
    (void)unused;
    uint64_t u;
    int64_t i;
    assert_true(span_to_u64(SPAN("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(span_to_u64(SPAN("18446744073709551616"), &u));
    assert_false(span_to_u64(SPAN(""), &u) || span_to_u64(SPAN("1 "), &u) || span_to_u64(SPAN("+1"), &u));
    assert_true(span_to_i64(SPAN("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(span_to_i64(SPAN("9223372036854775808"), &i) || span_to_i64(SPAN("-"), &i));
}

static void test_a_span_is_cut_at_each_separator(void **unused) {
    (void)unused;
    struct span rest = SPAN("a,,b");
    assert_true(span_is(span_cut(&rest, ','), "a"));
    assert_true(span_is(span_cut(&rest, ','), ""));
    assert_true(span_is(span_cut(&rest, ','), "b"));
    assert_null(rest.data);
    assert_true(span_is(span_trim(SPAN(" \t x y\r\n")), "x y"));
}

static void test_text_as_json_is_valid_whatever_the_bytes(void **unused) {
    (void)unused;
    for (unsigned seed = 1; seed <= 2000; seed++) {
        unsigned dice = seed;
        char bytes[24];
        size_t size = (size_t)rand_r(&dice) % sizeof bytes;
        for (size_t i = 0; i < size; i++) bytes[i] = (char)(rand_r(&dice) >> 7);
        scoped_text struct text text = {0};
        text_add_json(&text, (struct span){bytes, size});
        json_error_t error;
        scoped_json json_t *json = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (!json) fail_msg("seed %u: %s in %s", seed, error.text, text.data);
    }
    scoped_text struct text text = {0};
    text_add_json(&text, SPAN("a\"\\\n\x01\xc3\xa4\xff"));
    assert_string_equal(text.data, "\"a\\\"\\\\\\n\\u0001\xc3\xa4\xef\xbf\xbd\"");
}

static void test_a_text_grows_and_gives_from_the_front(void **unused) {
    (void)unused;
    scoped_text struct text text = {0};
    for (int i = 0; i < 1000; i++) text_printf(&text, "%d,", i);
    assert_true(span_ends(text_span(&text), ",998,999,"));
    text_remove_front(&text, 4);
    assert_true(span_starts(text_span(&text), "2,3,"));
    text_clear(&text);
    text_printf(&text, "%0300d", 7);
    assert_int_equal(text.size, 300);
    scoped_string char *taken = text_take(&text);
    assert_int_equal(strlen(taken), 300);
    scoped_string char *none = text_take(&text);
    assert_string_equal(none, "");
}

/* ---- map and table, against a plain array ---- */

static void test_a_map_holds_what_was_put_whatever_was_removed(void **unused) {
    (void)unused;
    enum { KEYS = 500, STEPS = 20000 };
    scoped(map) struct map *map = map_new();
    static int model[KEYS];
    memset(model, 0, sizeof model);
    static int values[STEPS + 1];
    unsigned dice = 7;
    size_t count = 0;
    for (int step = 1; step <= STEPS; step++) {
        int key = rand_r(&dice) % KEYS;
        char name[16];
        snprintf(name, sizeof name, "key %d", key);
        void *before = model[key] ? &values[model[key]] : NULL;
        assert_ptr_equal(map_get(map, span_of(name)), before);
        if (rand_r(&dice) % 3) {
            assert_ptr_equal(map_put(map, span_of(name), &values[step]), before);
            count += !before;
            model[key] = step;
        } else {
            assert_ptr_equal(map_remove(map, span_of(name)), before);
            count -= before != NULL;
            model[key] = 0;
        }
        assert_int_equal(map_count(map), count);
    }
    size_t seen = 0;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(map, &i, &key, &value);) {
        assert_ptr_equal(value, &values[model[strtol(key + 4, NULL, 10)]]);
        seen++;
    }
    assert_int_equal(seen, count);
}

static void test_a_map_keeps_the_order_of_insertion(void **unused) {
    (void)unused;
    scoped(map) struct map *map = map_new();
    scoped_text struct text order = {0};
    static const char *const names[] = {"zebra", "ape", "cat", "", "dog"};
    for (size_t i = 0; i < COUNT(names); i++) map_put(map, span_of(names[i]), (void *)names[i]);
    const char *key;
    for (size_t i = 0; map_next(map, &i, &key, NULL);) {
        text_add_string(&order, key);
        text_add_char(&order, ';');
    }
    assert_string_equal(order.data, "zebra;ape;cat;;dog;");
}

static void test_a_table_holds_what_was_put_whatever_was_removed(void **unused) {
    (void)unused;
    enum { KEYS = 700, STEPS = 40000 };
    scoped(table) struct table *table = table_new();
    static int model[KEYS], values[STEPS + 1];
    memset(model, 0, sizeof model);
    unsigned dice = 11;
    for (int step = 1; step <= STEPS; step++) {
        int key = rand_r(&dice) % KEYS;
        uint64_t number = (uint64_t)key * 16; /* keys that a poor hash would pile up */
        void *before = model[key] ? &values[model[key]] : NULL;
        assert_ptr_equal(table_get(table, number), before);
        bool put = rand_r(&dice) % 2;
        void *was = put ? table_put(table, number, &values[step]) : table_remove(table, number);
        assert_ptr_equal(was, before);
        model[key] = put ? step : 0;
    }
    size_t seen = 0, there = 0;
    uint64_t number;
    for (size_t i = 0; table_next(table, &i, &number, NULL);) seen += model[number / 16] != 0;
    for (int key = 0; key < KEYS; key++) there += model[key] != 0;
    assert_true(seen == there && table_count(table) == there);
}

static void test_an_arena_gives_aligned_zeroed_pieces(void **unused) {
    (void)unused;
    scoped(arena) struct arena *arena = arena_new();
    for (size_t size = 0; size < 20000; size = size * 2 + 1) {
        char *piece = arena_alloc(arena, size);
        assert_true(((uintptr_t)piece & 15) == 0);
        for (size_t i = 0; i < size; i++) assert_int_equal(piece[i], 0);
        memset(piece, 0xff, size);
    }
    assert_string_equal(arena_printf(arena, "%d-%s", 7, "x"), "7-x");
}

static void test_a_sum_is_that_of_the_standard(void **unused) {
    (void)unused;
    char hex[SHA256_HEX_SIZE];
    sha256_of(SPAN("abc"), hex); /* FIPS 180-2, B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_a_time_is_told_in_utc(void **unused) {
    (void)unused;
    char text[CLOCK_TEXT_SIZE];
    clock_text(1767323045678, text);
    assert_string_equal(text, "2026-01-02T03:04:05.678Z");
}

/* ---- files ---- */

static void test_a_file_longer_than_its_limit_is_refused(void **unused) {
    (void)unused;
    scoped_string char *directory = temporary_directory();
    scoped_string char *path = path_join(directory, "file");
    assert_ok(file_replace(path, SPAN("0123456789"), 0600));
    scoped_text struct text text = {0};
    assert_error(file_read(path, 9, &text), ERROR_RESOURCE_EXHAUSTED, path);
    text_clear(&text);
    assert_ok(file_read(path, 10, &text));
    assert_string_equal(text.data, "0123456789");
    assert_ok(tree_remove(directory));
    assert_error(file_read(path, 10, &text), ERROR_NOT_FOUND, path);
}

static void test_a_full_disk_leaves_the_old_content(void **unused) {
    (void)unused;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) {
        print_message("skipped: mounting a small disk needs root\n");
        skip();
    }
    scoped_string char *directory = temporary_directory();
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("none", directory, "tmpfs", 0, "size=64k"), 0);
    scoped_string char *path = path_join(directory, "file");
    assert_ok(file_replace(path, SPAN("old"), 0600));
    static char big[128 * 1024];
    assert_error(file_replace(path, (struct span){big, sizeof big}, 0600), ERROR_RESOURCE_EXHAUSTED, path);
    scoped_text struct text text = {0};
    assert_ok(file_read(path, 100, &text));
    assert_string_equal(text.data, "old");
    assert_ok(file_replace(path, SPAN("new"), 0600)); /* nothing half written takes the room */
    assert_int_equal(umount2(directory, MNT_DETACH), 0);
    rmdir(directory);
}

static void test_removing_a_tree_stays_inside_it(void **unused) {
    (void)unused;
    scoped_string char *directory = temporary_directory();
    scoped_string char *kept = path_join(directory, "kept");
    scoped_string char *tree = path_join(directory, "tree");
    scoped_string char *deep = path_join(tree, "a/b/c");
    scoped_string char *link = path_join(tree, "a/link");
    scoped_string char *file = path_join(kept, "file");
    assert_ok(dir_make(kept, 0700));
    setenv("XDG_RUNTIME_DIR", kept, 1);
    assert_string_equal(dir_runtime(), kept);
    setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1); /* as after `su` */
    assert_null(dir_runtime());
    unsetenv("XDG_RUNTIME_DIR");
    assert_null(dir_runtime());
    assert_ok(dir_make(deep, 0700));
    assert_ok(file_replace(file, SPAN("x"), 0600));
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(chmod(deep, 0), 0); /* as overlay leaves its work directories */
    assert_ok(tree_remove(tree));
    assert_false(file_exists(tree));
    assert_true(file_exists(file));
    assert_ok(tree_remove(tree)); /* absent is fine */
    assert_ok(tree_remove(directory));
}

static void test_the_log_is_told_apart_from_what_it_quotes(void **unused) {
    (void)unused;
    int ends[2], kept = dup(2);
    char said[256];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], 2);
    log_warn("pool", "%s", "it said \x1b[2J\r12:00:00.000 info pool: fine\nand \x7f\tmore");
    dup2(kept, 2);
    ssize_t size = read(ends[0], said, sizeof said - 1);
    assert_true(size > 13);
    said[size] = '\0';
    assert_string_equal(said + 13, "warn pool: it said ?[2J?12:00:00.000 info pool: fine\n    and ?\tmore\n");
    close(ends[0]), close(ends[1]), close(kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_reads_from_the_outside_in_and_keeps_its_code),
        cmocka_unit_test(test_an_errno_becomes_a_code_that_fits),
        cmocka_unit_test(test_numbers_take_the_whole_span_or_nothing),
        cmocka_unit_test(test_a_span_is_cut_at_each_separator),
        cmocka_unit_test(test_text_as_json_is_valid_whatever_the_bytes),
        cmocka_unit_test(test_a_text_grows_and_gives_from_the_front),
        cmocka_unit_test(test_a_map_holds_what_was_put_whatever_was_removed),
        cmocka_unit_test(test_a_map_keeps_the_order_of_insertion),
        cmocka_unit_test(test_a_table_holds_what_was_put_whatever_was_removed),
        cmocka_unit_test(test_an_arena_gives_aligned_zeroed_pieces),
        cmocka_unit_test(test_a_sum_is_that_of_the_standard),
        cmocka_unit_test(test_a_time_is_told_in_utc),
        cmocka_unit_test(test_a_file_longer_than_its_limit_is_refused),
        cmocka_unit_test(test_a_full_disk_leaves_the_old_content),
        cmocka_unit_test(test_removing_a_tree_stays_inside_it),
        cmocka_unit_test(test_the_log_is_told_apart_from_what_it_quotes),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
