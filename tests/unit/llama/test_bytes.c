/* What comes from outside as bytes: model files' heads, and text in pieces. */
#include "llama.h"
#include "test.h"

#include <fcntl.h>

static void add_u32(struct text *out, uint32_t value) {
    text_add(out, (struct span){(const char *)&value, sizeof value});
}

static void add_u64(struct text *out, uint64_t value) {
    text_add(out, (struct span){(const char *)&value, sizeof value});
}

static void add_string(struct text *out, const char *value) {
    add_u64(out, strlen(value));
    text_add_string(out, value);
}

/* One pair, one tensor of 8 floats: 32 bytes of data behind an aligned head. */
static void build(struct text *out, uint32_t version, uint64_t dimension) {
    text_add_string(out, "GGUF");
    add_u32(out, version);
    add_u64(out, 1);
    add_u64(out, 2);
    add_string(out, "general.architecture"), add_u32(out, 8), add_string(out, "tiny");
    add_string(out, "some.list"), add_u32(out, 9), add_u32(out, 8), add_u64(out, 2), add_string(out, "a"),
        add_string(out, "bc");
    add_string(out, "weight"), add_u32(out, 1), add_u64(out, dimension), add_u32(out, 0), add_u64(out, 0);
    while (out->size % 32) text_add_char(out, 0);
}

static void test_a_whole_file_is_good(void **unused) {
    (void)unused;
    scoped_text struct text head = {0};
    build(&head, 3, 8);
    struct gguf_facts facts;
    assert_ok(gguf_check(text_span(&head), head.size + 32, &facts));
    assert_string_equal(facts.architecture, "tiny");
    assert_int_equal(facts.tensors, 1);
    assert_int_equal(facts.needed_bytes, head.size + 32);
}

static void test_a_file_cut_anywhere_is_told(void **unused) {
    (void)unused;
    scoped_text struct text head = {0};
    build(&head, 3, 8);
    struct gguf_facts facts;
    assert_error(gguf_check(text_span(&head), head.size + 31, &facts), ERROR_DATA_LOSS, "cut short");
    for (size_t size = 4; size < 150; size++) {
        scoped_string char *exact = mem_string_n(head.data, size);
        assert_error(gguf_check((struct span){exact, size}, size, &facts), ERROR_DATA_LOSS, "cut short");
    }
}

static void test_other_files_are_told(void **unused) {
    (void)unused;
    struct gguf_facts facts;
    assert_error(gguf_check(SPAN("<html>"), 6, &facts), ERROR_INVALID_ARGUMENT, "no GGUF file");
    assert_error(gguf_check(SPAN(""), 0, &facts), ERROR_INVALID_ARGUMENT, "no GGUF file");
    scoped_text struct text old = {0}, huge = {0};
    build(&old, 1, 8);
    assert_error(gguf_check(text_span(&old), 1000, &facts), ERROR_INVALID_ARGUMENT, "version 1");
    build(&huge, 3, UINT64_MAX);
    assert_error(gguf_check(text_span(&huge), 1000, &facts), ERROR_INVALID_ARGUMENT, "impossible size");
}

static void test_the_file_and_what_to_do_are_named(void **unused) {
    (void)unused;
    struct gguf_facts facts;
    assert_error(gguf_check_file("/nowhere/model.gguf", &facts), ERROR_NOT_FOUND, "/nowhere/model.gguf");
    assert_error(gguf_check_file("/dev/null", &facts), ERROR_INVALID_ARGUMENT, "not a file");
    char path[] = "/tmp/catnap-gguf-XXXXXX";
    scoped_fd int fd = mkstemp(path);
    assert_error(gguf_check_file(path, &facts), ERROR_DATA_LOSS, "download it again");
    assert_int_equal(write(fd, "<html></html>", 13), 13);
    assert_error(gguf_check_file(path, &facts), ERROR_INVALID_ARGUMENT, path);
    unlink(path);
}

static void test_code_points_are_never_cut(void **unused) {
    (void)unused;
    static const struct {
        const char *bytes;
        size_t whole;
    } rows[] = {
        {"", 0},
        {"abc", 3},
        {"a\xc3", 1},
        {"a\xc3\xa4", 3},
        {"\xe2\x82", 0},
        {"\xe2\x82\xac", 3},
        {"x\xf0\x9f\x98", 1},
        {"x\xf0\x9f\x98\x80", 5},
        {"\xf0", 0},
        {"\x80\x80\x80\x80", 4}, /* nothing will ever complete these */
        {"a\xff", 2},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(utf8_whole(span_of(rows[i].bytes)), rows[i].whole);
    assert_int_equal(utf8_boundary(SPAN("a\xe2\x82\xac z"), 2), 4);
    assert_int_equal(utf8_boundary(SPAN("a\xe2\x82\xac z"), 1), 1);
    assert_int_equal(utf8_boundary(SPAN("abc"), 3), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_file_is_good),
        cmocka_unit_test(test_a_file_cut_anywhere_is_told),
        cmocka_unit_test(test_other_files_are_told),
        cmocka_unit_test(test_the_file_and_what_to_do_are_named),
        cmocka_unit_test(test_code_points_are_never_cut),
    };
    return cmocka_run_group_tests_name("llama bytes", tests, NULL, NULL);
}
