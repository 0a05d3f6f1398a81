/* The command line as a user types it: wrong lines, help, options; numbers, times and tables for people. */
#include "line.h"
#include "ps.h"
#include "screen.h"

#include <time.h>

/* ---- the line ---- */

static void test_a_wrong_line_is_told_and_costs_status_2(void **unused) {
    (void)unused;
    static const struct {
        const char *line, *told;
    } rows[] = {
        {"catnap", "usage: catnap VERB"},
        {"catnap stutas", "there is no verb 'stutas' (see `catnap help`)"},
        {"catnap pss", "did you mean 'ps'?"},
        {"catnap wkae x", "did you mean 'wake'?"},
        {"catnap foo", "there is no verb 'foo' (see"}, /* nothing is near */
        {"catnap publish a.b", "expected: catnap publish APP.FUNCTION PORT"},
        {"catnap comp", "did you mean 'completion'?"},
        {"catnap wake", "APP[.FUNCTION]... is missing"},
        {"catnap logs", "APP[.FUNCTION] is missing"},
        {"catnap logs a b", "'b' is one too many"},
        {"catnap ps extra", "'extra' is one too many"},
        {"catnap ps --jsn", "there is no option --jsn; did you mean --json?"},
        {"catnap ps -x", "there is no option -x"},
        {"catnap ps --since 1m", "--since is no option of this verb"},
        {"catnap ps --json=yes", "--json takes no value"},
        {"catnap logs a --since", "--since wants a value"},
        {"catnap logs a --since yesterday", "'yesterday' is neither a duration"},
        {"catnap logs a --since=30m1h", "'30m1h' is neither a duration"},
        {"catnap logs a --last -3", "'-3' is no whole number"},
        {"catnap logs a -n 100001", "from 0 to 100000"},
        {"catnap help wakee", "there is no verb 'wakee'"},
        {"catnap completion zsh", "not for 'zsh'"},
        {"catnap top", "a terminal is needed"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) says(rows[i].line, 2, "", rows[i].told);
}

static void test_help_and_version_are_for_standard_output(void **unused) {
    (void)unused;
    says("catnap help", 0, "catnap VERB", "");
    says("catnap --help", 0, "catnap VERB", "");
    says("catnap --version", 0, "catnap ", "");
    says("catnap version --json", 0, "{\"version\":\"", "");
    says("catnap logs --help", 0, "-n, --last N", "");
    says("catnap logs a b c --help", 0, "-n, --last N", "");
    says("catnap doctor -h", 0, "catnap doctor [--json]", "");
    says("catnap help serve", 0, "hook serve --help", "");
    says("catnap doctor --runtime runc", 0, "hook doctor --runtime runc", "");
    says("catnap serve --state x", 0, "hook serve --state x", "");
    for (size_t i = 0; i < verb_count; i++) {
        if (verbs[i].hidden || strcmp(verbs[i].name, "serve") == 0) continue;
        scoped_string char *line = mem_printf("catnap help %s", verbs[i].name);
        scoped_string char *usage = mem_printf("usage: catnap %s", verbs[i].name);
        says(line, 0, usage, "");
        says("catnap help", 0, verbs[i].summary, "");
    }
}

static void test_options_and_words_may_stand_in_any_order(void **unused) {
    (void)unused;
    char *argv[] = {(char *)"logs",   (char *)"-f", (char *)"--since=10m", (char *)"-n", (char *)"7",
                    (char *)"--text", (char *)"--", (char *)"-app",        NULL};
    struct command command = {.verb = verb_find("logs"), .argc = 8, .argv = argv};
    int64_t now_ms = clock_wall_ms();
    assert_ok(options_read(&command));
    assert_true(command.options.follow && command.options.text && !command.options.json);
    assert_in_range(command.options.since_ms, now_ms - 600000, now_ms - 600000 + 60000);
    assert_int_equal(command.options.last, 7);
    assert_int_equal(command.word_count, 1);
    assert_string_equal(command.words[0], "-app");
    free(command.words);
}

static void test_where_the_daemon_is(void **unused) {
    (void)unused;
    static const struct {
        const char *api, *address, *told; /* address NULL: told is in the error */
    } rows[] = {
        {"/tmp/x.sock", "/tmp/x.sock", "/tmp/x.sock"},
        {"unix:/tmp/x.sock", "/tmp/x.sock", "/tmp/x.sock"},
        {"./x.sock", "./x.sock", "./x.sock"},
        {"http://127.0.0.1:7071", "127.0.0.1:7071", "http://127.0.0.1:7071"},
        {"http://[::1]:7071/", "[::1]:7071", "http://[::1]:7071"},
        {"box.lan:80", "box.lan:80", "http://box.lan:80"},
        {"https://127.0.0.1:7071", NULL, "https"},
        {"http://127.0.0.1", NULL, "no host and port"},
        {"http://127.0.0.1:0", NULL, "no port"},
        {"http://127.0.0.1:70710", NULL, "no port"},
        {"http://127.0.0.1:7071/v1", NULL, "a path behind the port"},
        {"catnap", NULL, "no host and port"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct place place;
        setenv("CATNAP_API", rows[i].api, 1);
        if (!rows[i].address) {
            assert_error(place_find(&place), ERROR_INVALID_ARGUMENT, rows[i].told);
            scoped_string char *in_err = mem_printf("CATNAP_API: '%s'", rows[i].api);
            says("catnap ps", 2, "", in_err);
        } else {
            assert_ok(place_find(&place));
            assert_string_equal(place.address, rows[i].address);
            assert_string_equal(place.told, rows[i].told);
        }
        place_done(&place);
    }
    setenv("CATNAP_API", "http://127.0.0.1:7071", 1);
    setenv("CATNAP_API_TOKEN", "secret-of-somebody", 1);
    struct place place;
    assert_ok(place_find(&place));
    assert_string_equal(place.token, "secret-of-somebody");
    place_done(&place);
    unsetenv("CATNAP_API_TOKEN");
    unsetenv("CATNAP_API");
    assert_ok(place_find(&place));
    assert_true(span_ends(span_of(place.address), "/catnap/api.sock"));
    place_done(&place);
}

/* ---- words for people ---- */

static void test_numbers_as_people_read_and_write_them(void **unused) {
    (void)unused;
    static const struct {
        const char *text;
        int64_t ms; /* -1: is none */
    } durations[] = {
        {"10m", 600000},  {"1h30m", 5400000}, {"90", 90000}, {"250ms", 250}, {"2d", 172800000},
        {"0s", 0},        {"", -1},           {"m", -1},     {"5s5s", -1},   {"1m2h", -1},
        {"10 m", -1},     {"-1m", -1},        {"1x", -1},    {"3m7", -1},    {"99999999999999999999", -1},
        {"9999999d", -1}, {"10min", 600000}};
    for (size_t i = 0; i < COUNT(durations); i++) {
        int64_t ms = -1;
        bool good = words_to_ms(durations[i].text, &ms);
        if (good != (durations[i].ms >= 0) || (good && ms != durations[i].ms))
            fail_msg("'%s': %d, %lld", durations[i].text, good, (long long)ms);
    }
    static const struct {
        int64_t us;
        const char *text;
    } times[] = {{0, "0.0 ms"},        {410, "0.4 ms"},      {9949, "9.9 ms"},   {12000, "12 ms"},
                 {999000, "999 ms"},   {999600, "1.0 s"},    {59400000, "59 s"}, {300000000, "5 min"},
                 {10000000000, "3 h"}, {200000000000, "2 d"}};
    char out[WORDS_SIZE];
    for (size_t i = 0; i < COUNT(times); i++)
        assert_string_equal(words_time_us(times[i].us, out), times[i].text);
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.0 KiB"},
                 {717 << 10, "717 KiB"},
                 {1 << 20, "1.0 MiB"},
                 {412ull << 20, "412 MiB"},
                 {1288490189, "1.2 GiB"},
                 {UINT64_MAX, "16384 PiB"}};
    for (size_t i = 0; i < COUNT(sizes); i++)
        assert_string_equal(words_bytes(sizes[i].bytes, out), sizes[i].text);
}

static void test_times_of_the_wall(void **unused) {
    (void)unused;
    setenv("TZ", "UTC-2", 1); /* two hours east */
    tzset();
    int64_t ms;
    assert_true(words_to_wall_ms("2026-01-02T03:04", &ms));
    assert_int_equal(ms, INT64_C(1767315840000));
    assert_true(words_to_wall_ms("2026-01-02T01:04:00Z", &ms));
    assert_int_equal(ms, INT64_C(1767315840000));
    assert_true(words_to_wall_ms("2026-01-02", &ms));
    assert_int_equal(ms, INT64_C(1767304800000));
    assert_true(words_to_wall_ms("14:05", &ms));
    assert_int_equal(ms / 60000 % (24 * 60), 12 * 60 + 5);
    assert_in_range(clock_wall_ms() - ms, 0, 24 * 3600 * 1000); /* the last one */
    static const char *const bad[] = {"", "25:00", "2026-13-01", "2026-01-02T03:04:05+02", "now", "14:05 "};
    for (size_t i = 0; i < COUNT(bad); i++)
        if (words_to_wall_ms(bad[i], &ms)) fail_msg("'%s' is a time", bad[i]);
    unsetenv("TZ");
    tzset();
}

/* ---- tables ---- */

static void assert_line(struct sheet *sheet, size_t row, size_t width, bool coloured, const char *expected) {
    scoped_text struct text line = {0};
    text_add_string(&line, "");
    sheet_line(sheet, row, width, coloured, &line);
    assert_string_equal(line.data ? line.data : "", expected);
}

static void test_a_table_is_as_wide_as_what_stands_in_it(void **unused) {
    (void)unused;
    static const struct sheet_column columns[] = {{"NAME", false, 0}, {"N", true, 0}, {"WHERE", false, 0}};
    scoped_sheet struct sheet sheet = {.columns = columns, .column_count = COUNT(columns)};
    assert_line(&sheet, 0, 0, false, "NAME  N  WHERE"); /* empty */
    sheet_add(&sheet, COLOUR_GREEN, "%s", "längere");
    sheet_add(&sheet, COLOUR_NONE, "%d", 7);
    sheet_add(&sheet, COLOUR_NONE, "%s", "\33[31mhere\7\n");
    sheet_add(&sheet, COLOUR_NONE, "%s", "");
    sheet_add(&sheet, COLOUR_NONE, "%d", 1234);
    sheet_add(&sheet, COLOUR_NONE, "%s", "");
    assert_int_equal(sheet_rows(&sheet), 2);
    assert_line(&sheet, 0, 0, false, "NAME        N  WHERE");
    assert_line(&sheet, 1, 0, false, "längere     7  [31mhere"); /* what controls a terminal is gone */
    assert_line(&sheet, 2, 0, false, "         1234");
    assert_line(&sheet, 1, 0, true, "\33[32mlängere\33[0m     7  [31mhere");
    assert_line(&sheet, 1, 3, false, "län");
    assert_line(&sheet, 1, 16, false, "längere     7  [");
    assert_line(&sheet, 1, 14, false, "längere     7");
    static const struct sheet_column spare[] = {{"NAME", false, 0}, {"N", true, 1}, {"WHERE", false, 0}};
    sheet.columns = spare; /* what tells least goes where that makes room for the rest */
    assert_line(&sheet, 1, 23, false, "längere     7  [31mhere");
    assert_line(&sheet, 1, 22, false, "längere  [31mhere");
    assert_line(&sheet, 0, 22, false, "NAME     WHERE");
    assert_line(&sheet, 1, 17, false, "längere  [31mhere");
    assert_line(&sheet, 1, 16, false, "längere     7  [");
}

static void test_a_live_table_does_not_shrink(void **unused) {
    (void)unused;
    static const struct sheet_column columns[] = {{"A", false, 0}, {"B", false, 0}};
    size_t kept[COUNT(columns)] = {0};
    for (int i = 0; i < 2; i++) {
        scoped_sheet struct sheet sheet = {.columns = columns, .column_count = COUNT(columns), .kept = kept};
        sheet_add(&sheet, COLOUR_NONE, "%s", i ? "x" : "wide one");
        sheet_add(&sheet, COLOUR_NONE, "y");
        assert_line(&sheet, 0, 0, false, "A         B");
    }
}

/* clang-format off */
static const char ps_table[] =
    "APP      FUNCTION  STATE                 WAITING   MEMORY  LAST WAKE  TOOK           URL\n"
    "copycat  serve     awake 13/20                 2  1.2 GiB  60 s ago   1.2 s          http://h:1\n"
    "copycat  chat      starting 1.2 s              1\n"
    "b        f         asleep, primed              0\n"
    "b        g         stopped                     0\n"
    "b        h         dozing                      0           1 s ago    0.4 ms (thaw)\n"
    "b        i         failed, retry 800 ms        0\n"
    "b        j         from the future             0\n";
/* clang-format on */

static void test_ps_has_a_row_a_function_in_every_state(void **unused) {
    (void)unused;
    scoped_json json_t *ps = json_loads(ps_answer, 0, NULL);
    assert_non_null(ps);
    scoped_sheet struct sheet sheet = {.columns = ps_columns, .column_count = PS_COLUMNS};
    struct ps_row *rows;
    size_t count = ps_rows(ps, &rows);
    for (size_t i = 0; i < count; i++) ps_add(&sheet, &rows[i], 1060000);
    free(rows);
    struct text table = {0};
    for (size_t row = 0; row <= count; row++) {
        sheet_line(&sheet, row, 0, false, &table);
        text_add_char(&table, '\n');
    }
    assert_string_equal(table.data, ps_table);
    text_done(&table);
}

static void test_keys_of_a_terminal(void **unused) {
    (void)unused;
    struct span bytes = SPAN("q\33[A\33OB\33[5~\33[1;5Cj\33");
    static const struct {
        enum key key;
        char letter;
    } expected[] = {{KEY_OTHER, 'q'}, {KEY_UP, 0},      {KEY_DOWN, 0},      {KEY_PAGE_UP, 0},
                    {KEY_OTHER, 0},   {KEY_OTHER, 'j'}, {KEY_OTHER, '\33'}, {KEY_NONE, 0}};
    for (size_t i = 0; i < COUNT(expected); i++) {
        char letter;
        assert_int_equal(screen_key(&bytes, &letter), expected[i].key);
        assert_int_equal(letter, expected[i].letter);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_wrong_line_is_told_and_costs_status_2),
        cmocka_unit_test(test_help_and_version_are_for_standard_output),
        cmocka_unit_test(test_options_and_words_may_stand_in_any_order),
        cmocka_unit_test(test_where_the_daemon_is),
        cmocka_unit_test(test_numbers_as_people_read_and_write_them),
        cmocka_unit_test(test_times_of_the_wall),
        cmocka_unit_test(test_a_table_is_as_wide_as_what_stands_in_it),
        cmocka_unit_test(test_a_live_table_does_not_shrink),
        cmocka_unit_test(test_ps_has_a_row_a_function_in_every_state),
        cmocka_unit_test(test_keys_of_a_terminal),
    };
    unsetenv("CATNAP_API");
    unsetenv("CATNAP_API_TOKEN");
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
