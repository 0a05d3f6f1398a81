/* Names of images, and the words and instructions of a Dockerfile. */
#include "config.h"
#include "dockerfile.h"
#include "reference.h"
#include "test.h"

/* ---- names ---- */

static void test_names_are_completed_as_docker_does(void **unused) {
    (void)unused;
    static const struct {
        const char *name, *normal, *brief;
    } rows[] = {
        {"debian", "docker.io/library/debian:latest", "debian:latest"},
        {"debian:12", "docker.io/library/debian:12", "debian:12"},
        {"tabbyml/tabby:0.20", "docker.io/tabbyml/tabby:0.20", "tabbyml/tabby:0.20"},
        {"ghcr.io/a/b", "ghcr.io/a/b:latest", "ghcr.io/a/b:latest"},
        {"localhost/a", "localhost/a:latest", "localhost/a:latest"},
        {"localhost:5000/a:1", "localhost:5000/a:1", "localhost:5000/a:1"},
        {"127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest"},
        {"index.docker.io/library/a", "docker.io/library/a:latest", "a:latest"},
        {"a__b/c-d--e.f", "docker.io/a__b/c-d--e.f:latest", "a__b/c-d--e.f:latest"},
        {"a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
         "docker.io/library/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
         "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *normal = NULL, *again = NULL;
        assert_ok(reference_normal(rows[i].name, &normal));
        assert_string_equal(normal, rows[i].normal);
        assert_ok(reference_normal(normal, &again));
        assert_string_equal(again, normal);
        scoped_string char *brief = reference_short(normal);
        assert_string_equal(brief, rows[i].brief);
    }
}

static void test_what_is_no_name_is_refused(void **unused) {
    (void)unused;
    static const char *const bad[] = {
        "",    "Debian", "a:",   "a:-x",  "a@sha256:12",         "a@md5:00",       "/a",   "a/",   "a//b",
        "a b", "-a",     "a_-b", "a___b", "example.com:99999/a", "example.com:/a", "a..b", "a:b:c"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        char *normal = NULL;
        struct error *error = reference_normal(bad[i], &normal);
        if (!error) fail_msg("'%s' was taken for a name: %s", bad[i], normal);
        assert_int_equal(error->code, ERROR_INVALID_ARGUMENT);
        error_free(error);
    }
}

/* ---- words ---- */

static const char *variable(void *owner, const char *name) {
    (void)owner;
    static const char *const known[][2] = {
        {"A", "one"}, {"EMPTY", ""}, {"PATHS", "/usr/lib:/lib"}, {"FILE", "a.tar.gz"}};
    for (size_t i = 0; i < COUNT(known); i++)
        if (strcmp(known[i][0], name) == 0) return known[i][1];
    return NULL;
}
static const struct variables variables = {variable, NULL};

static void test_variables_quotes_and_escapes(void **unused) {
    (void)unused;
    static const char *const rows[][2] = {
        {"plain", "plain"},
        {"$A", "one"},
        {"${A}x", "onex"},
        {"$Ax", ""},
        {"x$NOPE.y", "x.y"},
        {"\\$A", "$A"},
        {"'$A'", "$A"},
        {"\"$A\"", "one"},
        {"\"a \\\" b\"", "a \" b"},
        {"\"a\\nb\"", "a\\nb"},
        {"a\\ b", "a b"},
        {"${A:-two}", "one"},
        {"${EMPTY:-two}", "two"},
        {"${EMPTY-two}", ""},
        {"${NOPE-two}", "two"},
        {"${NOPE:-${A}s}", "ones"},
        {"${A:+yes}", "yes"},
        {"${EMPTY:+yes}", ""},
        {"${EMPTY+yes}", "yes"},
        {"${FILE#*.}", "tar.gz"},
        {"${FILE##*.}", "gz"},
        {"${FILE%.*}", "a.tar"},
        {"${FILE%%.*}", "a"},
        {"$", "$"},
        {"a$", "a$"},
        {"$1", ""},
        {"it''s", "its"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *text = NULL;
        assert_ok(word_expand(span_of(rows[i][0]), '\\', &variables, &text));
        if (strcmp(text, rows[i][1]) != 0) fail_msg("%s became '%s', not '%s'", rows[i][0], text, rows[i][1]);
    }
}

static void test_words_that_are_not_whole_are_refused(void **unused) {
    (void)unused;
    static const char *const bad[] = {"'a",   "\"a", "${", "${A", "${A:", "${A/x/y}", "${NOPE:?must be set}",
                                      "${A:-"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        char *text = NULL;
        struct error *error = word_expand(span_of(bad[i]), '\\', &variables, &text);
        if (!error) fail_msg("%s was taken: '%s'", bad[i], text);
        error_free(error);
    }
    char *text = NULL;
    assert_error(word_expand(SPAN("${NOPE:?must be set}"), '\\', &variables, &text), ERROR_INVALID_ARGUMENT,
                 "must be set");
}

static void test_a_heredoc_keeps_its_quotes(void **unused) {
    (void)unused;
    scoped_string char *text = NULL;
    assert_ok(body_expand(SPAN("say \"$A\" and '$A' but \\$A\n"), '\\', &variables, &text));
    assert_string_equal(text, "say \"one\" and 'one' but \\$A\n");
}

/* ---- instructions ---- */

static void parse(const char *text, struct dockerfile *dockerfile) {
    assert_ok(dockerfile_parse(span_of(text), "Dockerfile", dockerfile));
}

static void test_lines_go_on_and_comments_drop_out(void **unused) {
    (void)unused;
    struct dockerfile dockerfile;
    parse("\xef\xbb\xbf# a comment\n\n  from  a \nRUN one \\\n  # not this\n\n  && two \\  \n&& three\n   # "
          "nor this\nrun [\"x\", \"y z\"]\r\nRUN a\\\\\n",
          &dockerfile);
    assert_int_equal(dockerfile.count, 4);
    assert_int_equal(dockerfile.instructions[0].keyword, KEYWORD_FROM);
    assert_int_equal(dockerfile.instructions[0].line, 3);
    assert_string_equal(dockerfile.instructions[0].text, "a");
    assert_string_equal(dockerfile.instructions[1].text, "one   && two && three");
    assert_int_equal(dockerfile.instructions[1].line, 4);
    assert_null(dockerfile.instructions[1].json);
    assert_string_equal(dockerfile.instructions[2].json[1], "y z");
    assert_string_equal(dockerfile.instructions[3].text, "a\\\\");
    dockerfile_done(&dockerfile);
}

static void test_the_escape_directive(void **unused) {
    (void)unused;
    struct dockerfile dockerfile;
    parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN c:\\ `\n  && b\n", &dockerfile);
    assert_int_equal(dockerfile.escape, '`');
    assert_string_equal(dockerfile.instructions[1].text, "c:\\   && b");
    dockerfile_done(&dockerfile);
}

static void test_here_documents(void **unused) {
    (void)unused;
    struct dockerfile dockerfile;
    parse("FROM a\nRUN <<EOF\nset -e\n# kept\necho \\\n  x\nEOF\nCOPY <<-'A' <<B "
          "/to/\n\tone\n\tA\ntwo\nB\nRUN echo \"a << b\"\n",
          &dockerfile);
    const struct instruction *run = &dockerfile.instructions[1], *copy = &dockerfile.instructions[2];
    assert_int_equal(dockerfile.count, 4);
    assert_int_equal(run->heredoc_count, 1);
    assert_string_equal(run->heredocs[0].body, "set -e\n# kept\necho \\\n  x\n");
    assert_true(run->heredocs[0].expand);
    assert_int_equal(copy->heredoc_count, 2);
    assert_string_equal(copy->heredocs[0].body, "one\n");
    assert_false(copy->heredocs[0].expand);
    assert_string_equal(copy->heredocs[1].body, "two\n");
    assert_int_equal(dockerfile.instructions[3].heredoc_count, 0);
    dockerfile_done(&dockerfile);
}

static void test_flags_stand_before_the_words(void **unused) {
    (void)unused;
    struct dockerfile dockerfile;
    parse("FROM --platform=linux/amd64 a\nCOPY --from=x --chown=1:2 a --b /c\nRUN "
          "--mount=type=cache,target=/x -- --odd\n",
          &dockerfile);
    assert_string_equal(dockerfile.instructions[1].flags[1], "--chown=1:2");
    assert_null(dockerfile.instructions[1].flags[2]);
    assert_string_equal(dockerfile.instructions[1].text, "a --b /c");
    assert_string_equal(dockerfile.instructions[2].text, "--odd");
    dockerfile_done(&dockerfile);
}

static void test_what_is_wrong_is_told_with_its_line(void **unused) {
    (void)unused;
    static const char *const rows[][2] = {
        {"", "no instruction"},
        {"# only a comment\n", "no instruction"},
        {"FROM a\nFOO b\n", "Dockerfile:2: 'FOO'"},
        {"FROM a\nRUN\n", "Dockerfile:2: RUN: nothing follows"},
        {"FROM a\n\n\nRUN <<EOF\nx\n", "Dockerfile:4: the here-document has no end"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dockerfile dockerfile;
        assert_error(dockerfile_parse(span_of(rows[i][0]), "Dockerfile", &dockerfile), ERROR_INVALID_ARGUMENT,
                     rows[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_completed_as_docker_does),
        cmocka_unit_test(test_what_is_no_name_is_refused),
        cmocka_unit_test(test_variables_quotes_and_escapes),
        cmocka_unit_test(test_words_that_are_not_whole_are_refused),
        cmocka_unit_test(test_a_heredoc_keeps_its_quotes),
        cmocka_unit_test(test_lines_go_on_and_comments_drop_out),
        cmocka_unit_test(test_the_escape_directive),
        cmocka_unit_test(test_here_documents),
        cmocka_unit_test(test_flags_stand_before_the_words),
        cmocka_unit_test(test_what_is_wrong_is_told_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
