/* Stop words and the languages they come from. */
#include "completion.h"
#include "test.h"

struct row {
    const char *language, *prompt, *pieces[6], *text;
    bool stopped;
};

/* clang-format off */
static const struct row rows[] = {
    /* an empty line ends it, also across pieces and inside one */
    {"python", "x", {"return 1", "\n", "\n", "print"}, "return 1", true},
    {"python", "x", {"return 1\n\nprint"}, "return 1", true},
    {"python", "x", {"return 1\n    return 2"}, "return 1\n    return 2", false},
    /* something new at the start of a line */
    {"python", "x", {"1\n", "def"}, "1", true},
    {"python", "x", {"1\n", "def", " f():"}, "1", true},
    {"python", "x", {"1\n    def inner():"}, "1\n    def inner():", false},
    {"python", "x", {"1\n# next"}, "1", true},
    /* a longer word is not its beginning, while it is in the same piece */
    {"python", "x", {"1\ndefault = 2"}, "1\ndefault = 2", false},
    {"go", "x", {"1\nvariable"}, "1\nvariable", false},
    /* the match reaches back into the prompt: nothing is left, never less */
    {"python", "def f():\n", {"\n", "x"}, "", true},
    {"python", "a\n", {"class A"}, "", true},
    /* a language that nobody knows: one line */
    {"klingon", "x", {"one", "\ntwo"}, "one", true},
    {"", "x", {"one\n"}, "one", true},
    /* a known one without comments: lines go on */
    {"markdown", "x", {"one\ntwo"}, "one\ntwo", false},
    {"c", "x", {"a;\n// b"}, "a;", true},
    {"lua", "x", {"a\n-- b"}, "a", true},
    /* tokens of models, spelled out */
    {"c", "x", {"a;<|fim_middle|>b"}, "a;", true},
    {"c", "x", {"a; <EOT>"}, "a;", true},
    {"ocaml", "x", {"a\nnone"}, "a", true},
    {"typescriptreact", "x", {"a\nexport"}, "a", true},
};
/* clang-format on */

static void test_the_text_ends_before_a_stop_word(void **unused) {
    (void)unused;
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped(stop) struct stop *stop =
            stop_new(language_find(span_of(rows[i].language), NULL), span_of(rows[i].prompt), NULL);
        bool stopped = false;
        for (size_t p = 0; p < COUNT(rows[i].pieces) && rows[i].pieces[p] && !stopped; p++)
            stopped = stop_add(stop, span_of(rows[i].pieces[p]));
        scoped_string char *text = span_string(stop_text(stop));
        if (strcmp(text, rows[i].text) != 0 || stopped != rows[i].stopped)
            fail_msg("row %zu: '%s', %s", i, text, stopped ? "stopped" : "not stopped");
    }
}

static void test_more_words_can_be_named(void **unused) {
    (void)unused;
    const char *const more[] = {"", "STOP", NULL};
    scoped(stop) struct stop *stop = stop_new(language_find(SPAN("c"), NULL), SPAN(""), more);
    assert_false(stop_add(stop, SPAN("a ST")));
    assert_true(stop_add(stop, SPAN("OP b")));
    assert_true(span_is(stop_text(stop), "a "));
    assert_true(stop_add(stop, SPAN("more")));
    assert_true(span_is(stop_text(stop), "a "));
}

static void test_without_words_all_is_kept(void **unused) {
    (void)unused;
    scoped(stop) struct stop *stop = stop_new(language_find(SPAN("python"), NULL), SPAN("x"), NULL);
    stop_ignore(stop);
    assert_false(stop_add(stop, SPAN("a\n\nb\ndef")));
    assert_true(span_is(stop_text(stop), "a\n\nb\ndef"));
}

static void test_languages_are_found_by_exact_id(void **unused) {
    (void)unused;
    assert_string_equal(language_find(SPAN("rust"), NULL)->comment, "//");
    assert_string_equal(language_find(SPAN("javascriptreact"), NULL)->comment, "//");
    assert_null(language_find(SPAN("shellscript"), NULL)->comment);
    assert_string_equal(language_find(SPAN("Rust"), NULL)->comment, "");
    assert_string_equal(language_find(SPAN("javascript "), NULL)->comment, "");
    assert_string_equal(language_find(SPAN("unknown"), NULL)->comment, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_text_ends_before_a_stop_word),
        cmocka_unit_test(test_more_words_can_be_named),
        cmocka_unit_test(test_without_words_all_is_kept),
        cmocka_unit_test(test_languages_are_found_by_exact_id),
    };
    return cmocka_run_group_tests_name("completion stop", tests, NULL, NULL);
}
