/* How files are cut: by their grammar where there is one, and what a grammar cannot read by indentation. */
#include "index.h"
#include "test.h"

static struct index_chunker *chunker;
static const struct index_piece *pieces;
static size_t count;

static void cut(const char *path, const char *content) {
    const char *language = index_language_of(path, NULL);
    count = index_chunker_cut(chunker, span_of(content), path, language ? language : "", &pieces);
}

static int setup(void **state) {
    (void)state;
    chunker = index_chunker_new(true);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    index_chunker_free(chunker);
    return 0;
}

/* A build without a network has none. */
static void need_grammars(void) {
    cut("a.py", "x = 1\n");
    if (!index_chunker_by_syntax(chunker)) skip();
}

static bool one_has(const char *begin, const char *end) {
    for (size_t i = 0; i < count; i++) {
        const char *first = memmem(pieces[i].text.data, pieces[i].text.size, begin, strlen(begin));
        if (first &&
            memmem(first, pieces[i].text.size - (size_t)(first - pieces[i].text.data), end, strlen(end)))
            return true;
    }
    return false;
}

/* "@" stands for a name. */
static void add_named(struct text *out, const char *pattern, const char *name) {
    for (const char *c = pattern; *c; c++)
        if (*c == '@')
            text_add_string(out, name);
        else
            text_add_char(out, *c);
    text_add_char(out, '\n');
}

static void add_function(struct text *out, const char *const parts[3], const char *name, int lines) {
    add_named(out, parts[0], name);
    for (int i = 0; i < lines; i++) text_printf(out, "    %s\n", parts[1]);
    add_named(out, parts[2], name);
}

/* Functions without a blank line in or between them, of about 200, 420 and 420 characters: the second one
 * begins in the middle of what would fit into the first chunk. */
static const char *const names[] = {"first", "second", "third"};
static const int statements[] = {5, 12, 12};

static void test_a_function_that_fits_is_whole_in_each_language(void **state) {
    (void)state;
    static const struct {
        const char *path, *around[2], *function[3];
    } rows[] = {
        {"a.py", {"", ""}, {"def @(x):", "total = total + x * 100", "    return total # end @"}},
        {"a.rs", {"", ""}, {"fn @(x: u32) -> u32 {", "total = total + x * 100;", "} // end @"}},
        {"a.java", {"class A {\n", "}\n"}, {"int @(int x) {", "total = total + x * 100;", "} // end @"}},
        {"a.kt", {"", ""}, {"fun @(x: Int): Int {", "total = total + x * 100", "} // end @"}},
        {"a.js", {"", ""}, {"function @(x) {", "total = total + x * 100;", "} // end @"}},
        {"a.ts", {"", ""}, {"function @(x: number): number {", "total = total + x * 100;", "} // end @"}},
        {"a.tsx", {"", ""}, {"function @(x: number) {", "total = total + x * 100;", "} // end @"}},
        {"a.go", {"package a\n", ""}, {"func @(x int) int {", "total = total + x * 100", "} // end @"}},
        {"a.rb", {"", ""}, {"def @(x)", "total = total + x * 100", "end # end @"}},
        {"a.c", {"", ""}, {"int @(int x) {", "total = total + x * 100;", "} // end @"}},
        {"a.cpp", {"namespace a {\n", "}\n"}, {"int @(int x) {", "total = total + x * 100;", "} // end @"}},
        {"a.h",
         {"namespace a {\nclass B : public C {\n", "};\n}\n"},
         {"template <class T> int @(T x) {", "total = total + x * 100;", "} // end @"}},
        {"a.cs", {"class A {\n", "}\n"}, {"int @(int x) {", "total = total + x * 100;", "} // end @"}},
        {"a.sol",
         {"contract A {\n", "}\n"},
         {"function @(uint x) public {", "total = total + x * 100;", "} // end @"}},
        {"a.ex", {"defmodule A do\n", "end\n"}, {"def @(x) do", "total = total + x * 100", "end # end @"}},
        {"a.lua", {"", ""}, {"function @(x)", "total = total + x * 100", "end -- end @"}},
        {"a.scala", {"object A {\n", "}\n"}, {"def @(x: Int) = {", "total = total + x * 100", "} // end @"}},
        {"a.gd", {"", ""}, {"func @(x):", "total = total + x * 100", "    return total # end @"}},
    };
    need_grammars();
    for (size_t r = 0; r < COUNT(rows); r++) {
        scoped_text struct text content = {0};
        text_add_string(&content, rows[r].around[0]);
        for (size_t i = 0; i < COUNT(names); i++)
            add_function(&content, rows[r].function, names[i], statements[i]);
        text_add_string(&content, rows[r].around[1]);
        cut(rows[r].path, content.data);
        if (!index_chunker_by_syntax(chunker)) fail_msg("%s is not cut by its syntax", rows[r].path);
        for (size_t i = 0; i < COUNT(names); i++) {
            char begin[32], end[32];
            snprintf(begin, sizeof begin, "%s(", names[i]);
            snprintf(end, sizeof end, "end %s", names[i]);
            if (!one_has(begin, end)) fail_msg("%s: %s is in parts", rows[r].path, names[i]);
        }
    }
}

static void test_a_comment_stays_with_what_it_speaks_of(void **state) {
    (void)state;
    static const char *const parts[] = {"int @(int x) {", "total = total + x * 100;", "}"};
    scoped_text struct text content = {0};
    need_grammars();
    add_function(&content, parts, "other", 10);
    text_add_string(&content, "// Tells what the second one\n// is good for.\n");
    add_function(&content, parts, "second", 11);
    cut("a.c", content.data);
    assert_true(index_chunker_by_syntax(chunker));
    assert_true(one_has("// Tells", "second(int x)"));
    assert_true(one_has("second(int x)", "}"));
}

static void test_lines_are_counted_and_indents_kept(void **state) {
    (void)state;
    need_grammars();
    scoped_text struct text content = {0};
    text_add_string(&content, "\n\nclass A:\n");
    static const char *const parts[] = {"    def @(self):", "    total = total + x * 100",
                                        "        return total"};
    add_function(&content, parts, "one", 12);
    text_add_char(&content, '\n');
    add_function(&content, parts, "two", 10);
    cut("a.py", content.data);
    assert_int_equal(count, 2);
    assert_int_equal(pieces[0].line, 3);
    assert_int_equal(pieces[1].line, 19);
    assert_true(span_starts(pieces[1].text, "    def two"));
    assert_true(span_ends(pieces[1].text, "return total"));
}

static void test_what_no_grammar_reads_is_cut_by_indentation(void **state) {
    (void)state;
    scoped_text struct text words = {0};
    need_grammars();
    for (int i = 0; i < 20; i++)
        text_add_string(&words, "} ) what? ; { \" ( and so on, as nobody writes\n\n");
    cut("letter.py", words.data);
    assert_false(index_chunker_by_syntax(chunker));
    assert_int_equal(count, 2);
    cut("letter.md", words.data);
    assert_false(index_chunker_by_syntax(chunker));
    assert_int_equal(count, 2);
    count =
        index_chunker_cut(chunker, SPAN("x = 1\n"), "a.py", "mine", &pieces); /* the user's own language */
    assert_false(index_chunker_by_syntax(chunker));
    assert_int_equal(count, 1);
}

/* This takes Java's grammar minutes and gigabytes. */
static void test_a_file_that_is_too_much_costs_only_itself(void **state) {
    (void)state;
    scoped_text struct text content = {0};
    need_grammars();
    while (content.size < 200000) text_add_string(&content, "a<b<a<b<a<b<a<b<a<b<a<b<a<b<a<b<a<b<\n");
    cut("a.java", content.data);
    assert_false(index_chunker_by_syntax(chunker));
    assert_true(count > content.size / 512);
    text_clear(&content);
    for (int i = 0; i < 50; i++) text_printf(&content, "class A%d { int x; }\n", i);
    cut("a.java", content.data);
    assert_true(index_chunker_by_syntax(chunker));
    assert_true(count > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_function_that_fits_is_whole_in_each_language),
        cmocka_unit_test(test_a_comment_stays_with_what_it_speaks_of),
        cmocka_unit_test(test_lines_are_counted_and_indents_kept),
        cmocka_unit_test(test_what_no_grammar_reads_is_cut_by_indentation),
        cmocka_unit_test(test_a_file_that_is_too_much_costs_only_itself),
    };
    return cmocka_run_group_tests_name("chunk", tests, setup, teardown);
}
