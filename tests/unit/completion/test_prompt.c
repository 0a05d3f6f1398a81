/* Requests to prompts: what is refused, what the contract's prompt is, and what the engine gets of it. */
#include "completion.h"
#include "test.h"

#define QWEN "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"
#define STARCODER "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"

static struct completion_request *parse(const char *body) {
    struct completion_request *request = NULL;
    assert_ok(completion_request_parse(span_of(body), &request));
    return request;
}

static void test_requests_that_are_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *body;
        enum error_code code;
        const char *needle;
    } rows[] = {
        {"", ERROR_INVALID_ARGUMENT, "line 1"},
        {"{", ERROR_INVALID_ARGUMENT, "line 1"},
        {"{\"segments\":{\"prefix\":\"\xff\"}}", ERROR_INVALID_ARGUMENT, "line 1"},
        {"[]", ERROR_FAILED_PRECONDITION, "body: invalid type: a sequence"},
        {"{}", ERROR_OUT_OF_RANGE, "nothing to complete"},
        {"{\"segments\":null}", ERROR_OUT_OF_RANGE, "nothing to complete"},
        {"{\"segments\":[]}", ERROR_FAILED_PRECONDITION, "segments: invalid type"},
        {"{\"segments\":{}}", ERROR_FAILED_PRECONDITION, "missing field `prefix`"},
        {"{\"segments\":{\"prefix\":1}}", ERROR_FAILED_PRECONDITION, "prefix: invalid type: an integer"},
        {"{\"segments\":{\"prefix\":\"\",\"suffix\":[]}}", ERROR_FAILED_PRECONDITION, "suffix"},
        {"{\"language\":7,\"segments\":{\"prefix\":\"\"}}", ERROR_FAILED_PRECONDITION, "language"},
        {"{\"segments\":{\"prefix\":\"\",\"declarations\":[{\"filepath\":\"a\"}]}}",
         ERROR_FAILED_PRECONDITION, "missing field `body`"},
        {"{\"segments\":{\"prefix\":\"\",\"relevant_snippets_from_changed_files\":[{\"filepath\":\"a\","
         "\"body\":\"b\"}]}}",
         ERROR_FAILED_PRECONDITION, "missing field `score`"},
        {"{\"segments\":{\"prefix\":\"\"},\"temperature\":\"hot\"}", ERROR_FAILED_PRECONDITION,
         "temperature"},
        {"{\"segments\":{\"prefix\":\"\"},\"seed\":1.5}", ERROR_FAILED_PRECONDITION, "seed"},
        {"{\"segments\":{\"prefix\":\"\"},\"seed\":-1}", ERROR_FAILED_PRECONDITION, "seed"},
        {"{\"segments\":{\"prefix\":\"\"},\"mode\":\"next_edit_suggestion\"}", ERROR_OUT_OF_RANGE,
         "edit_history"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct completion_request *request = NULL;
        assert_error(completion_request_parse(span_of(rows[i].body), &request), rows[i].code, rows[i].needle);
        assert_null(request);
    }
}

static void test_unknown_fields_and_nulls_are_ignored(void **unused) {
    (void)unused;
    scoped(completion_request) struct completion_request *request =
        parse("{\"segments\":{\"prefix\":\"a\",\"suffix\":null,\"new\":1},\"user\":null,\"stranger\":{},"
              "\"mode\":\"whatever\"}");
    assert_true(span_is(request->prefix, "a"));
    assert_true(span_is(request->language, "unknown"));
    assert_false(request->next_edit);
    assert_false(request->has_debug);
}

static void test_numbers_of_more_bits_than_most_readers_have(void **unused) {
    (void)unused;
    scoped(completion_request) struct completion_request *largest =
        parse("{\"segments\":{\"prefix\":\"a\"},\"seed\":18446744073709551615}");
    assert_true(largest->has_seed && largest->seed == UINT64_MAX);
    scoped(completion_request) struct completion_request *stranger =
        parse("{\"segments\":{\"prefix\":\"a\"},\"seed\":7,\"stranger\":123456789012345678901234567890}");
    assert_true(stranger->has_seed && stranger->seed == 7);
}

static void assert_whole(const char *body, const char *template_text, const char *expected) {
    scoped(completion_request) struct completion_request *request = parse(body);
    struct prompt prompt;
    assert_ok(prompt_build(
        request, &(struct prompt_options){.template_text = template_text, .input_bytes = PROMPT_INPUT_BYTES},
        &prompt));
    assert_string_equal(prompt.whole.data ? prompt.whole.data : "", expected);
    prompt_done(&prompt);
}

static void test_the_contract_s_prompt(void **unused) {
    (void)unused;
    assert_whole("{\"segments\":{\"prefix\":\"a\",\"suffix\":\"b\"}}", STARCODER,
                 "<fim_prefix>a<fim_suffix>b<fim_middle>");
    /* a missing or empty suffix is a line end */
    assert_whole("{\"segments\":{\"prefix\":\"a\"}}", STARCODER, "<fim_prefix>a<fim_suffix>\n<fim_middle>");
    assert_whole("{\"segments\":{\"prefix\":\"a\",\"suffix\":\"\"}}", STARCODER,
                 "<fim_prefix>a<fim_suffix>\n<fim_middle>");
    /* no template: the prefix alone; doubled braces are braces; suffix first */
    assert_whole("{\"segments\":{\"prefix\":\"a\",\"suffix\":\"b\"}}", NULL, "a");
    assert_whole("{\"segments\":{\"prefix\":\"a\",\"suffix\":\"b\"}}", "{{{prefix}}}", "{a}");
    assert_whole("{\"segments\":{\"prefix\":\"a\",\"suffix\":\"b\"}}", "[S]{suffix}[P]{prefix}", "[S]b[P]a");
    /* braces of the user are text */
    assert_whole("{\"segments\":{\"prefix\":\"{suffix}\",\"suffix\":\"{prefix}\"}}", "<{prefix}|{suffix}>",
                 "<{suffix}|{prefix}>");
    /* line ends */
    assert_whole("{\"segments\":{\"prefix\":\"a\\r\\nb\",\"suffix\":\"\\r\\nc\"}}", STARCODER,
                 "<fim_prefix>a\nb<fim_suffix>\nc<fim_middle>");
    /* raw */
    assert_whole("{\"segments\":{\"prefix\":\"a\"},\"debug_options\":{\"raw_prompt\":\"raw {prefix}\"}}",
                 STARCODER, "raw {prefix}");
    assert_whole("{\"mode\":\"next_edit_suggestion\",\"segments\":{\"prefix\":\"\",\"edit_history\":{"
                 "\"original_code\":\"o\","
                 "\"edits_diff\":\"d\",\"current_version\":\"c\"}}}",
                 STARCODER,
                 "<|original_code|>\no\n<|edits_diff|>\nd\n<|current_version|>\nc\n<|next_version|>\n");
}

static void test_snippets_become_comments(void **unused) {
    (void)unused;
    assert_whole("{\"language\":\"python\",\"segments\":{\"prefix\":\"p\",\"declarations\":[{\"filepath\":"
                 "\"a.py\",\"body\":"
                 "\"x = 1\\n\\ny = "
                 "2\"}],\"relevant_snippets_from_changed_files\":[{\"filepath\":\"b.py\",\"body\":\"z\","
                 "\"score\":1}]}}",
                 "{prefix}", "# Path: a.py\n# x = 1\n#\n# y = 2\n#\n# Path: b.py\n# z\np");
    /* a language without comments has none, and who does not want them gets none */
    assert_whole("{\"language\":\"html\",\"segments\":{\"prefix\":\"p\",\"declarations\":[{\"filepath\":"
                 "\"a\",\"body\":\"x\"}]}}",
                 "{prefix}", "p");
    assert_whole("{\"language\":\"c\",\"segments\":{\"prefix\":\"p\",\"declarations\":[{\"filepath\":\"a\","
                 "\"body\":\"x\"}]},"
                 "\"debug_options\":{\"disable_retrieval_augmented_code_completion\":true}}",
                 "{prefix}", "p");
}

static char *repeat(const char *line, size_t times) {
    struct text text = {0};
    for (size_t i = 0; i < times; i++) text_printf(&text, "%04zu %s\n", i, line);
    return text_take(&text);
}

static void test_the_template_survives_the_cut(void **unused) {
    (void)unused;
    scoped_string char *lines = repeat("some code on a line", 200);
    scoped_json json_t *root = json_pack("{s:{s:s,s:s}}", "segments", "prefix", lines, "suffix", lines);
    scoped_string char *body = json_dumps(root, 0);
    scoped(completion_request) struct completion_request *request = parse(body);
    struct prompt prompt;
    assert_ok(prompt_build(request,
                           &(struct prompt_options){.template_text = QWEN, .input_bytes = PROMPT_INPUT_BYTES},
                           &prompt));
    struct engine_piece pieces[5];
    assert_int_equal(prompt_pieces(&prompt, pieces), 5);
    assert_true(span_is(pieces[0].text, "<|fim_prefix|>") && pieces[0].special && !pieces[0].movable);
    assert_true(!pieces[1].special && !pieces[1].movable);
    assert_true(span_is(pieces[2].text, "<|fim_suffix|>") && pieces[2].special && pieces[2].movable);
    assert_true(!pieces[3].special && pieces[3].movable);
    assert_true(span_is(pieces[4].text, "<|fim_middle|>") && !pieces[4].movable);
    size_t size = 0;
    for (size_t i = 0; i < 5; i++) size += pieces[i].text.size;
    assert_true(size <= PROMPT_INPUT_BYTES && size > PROMPT_INPUT_BYTES - 100);
    /* whole lines, the prefix's end and the suffix's beginning */
    assert_true(span_starts(pieces[3].text, "0000 some") && span_ends(pieces[3].text, "line\n"));
    assert_true(span_ends(pieces[1].text, "0199 some code on a line\n"));
    assert_true(pieces[1].text.data[4] == ' ');
    prompt_done(&prompt);
}

static void test_templates_that_make_no_sense(void **unused) {
    (void)unused;
    assert_error(template_check("<fim>{suffix}"), ERROR_INVALID_ARGUMENT, "no {prefix}");
    assert_error(template_check("{prefix}{suffix}{prefix}"), ERROR_INVALID_ARGUMENT, "more than one");
    assert_ok(template_check("{prefix}"));
}

static void assert_window(struct window *window, const char *document, const char *seen, size_t limit,
                          const char *expected) {
    scoped_text struct text prefix = {0};
    window_extend(window, span_of(document), span_of(seen), limit, &prefix);
    assert_string_equal(prefix.data ? prefix.data : "", expected);
}

static void test_a_window_puts_lines_back_that_left_the_view(void **unused) {
    (void)unused;
    struct window *window = window_new();
    const char *a = "line one is here\n", *b = "line two is here\n", *c = "line three is here\n";
    scoped_string char *ab = mem_printf("%s%sx", a, b), *bc = mem_printf("%s%sy", b, c),
                       *abc = mem_printf("%s%s%sy", a, b, c);
    assert_window(window, "doc", ab, 100, ab);
    assert_window(window, "doc", bc, 100,
                  bc); /* the end of the kept text was 'x', so `c` is new, but the overlap is too short */
    assert_window(window, "doc", abc, 100, abc);
    /* 34 bytes agree: the view slid by a line */
    scoped_string char *bcd = mem_printf("%s%syz\nmore", b, c), *abcd = mem_printf("%s%s%syz\nmore", a, b, c);
    assert_window(window, "doc", bcd, 100, abcd);
    /* another document never sees it */
    assert_window(window, "other", bcd, 100, bcd);
    window_free(window);
}

static void test_a_window_begins_anew_when_it_grew_too_large(void **unused) {
    (void)unused;
    struct window *window = window_new();
    scoped_string char *all = repeat("abcdefghijklmnopqrstuvwxyz", 100);
    size_t line = strlen(all) / 100, longest = 0;
    for (size_t first = 0; first < 80; first++) { /* a view of 20 lines, sliding */
        scoped_text struct text prefix = {0};
        struct span seen = {all + first * line, 20 * line};
        window_extend(window, SPAN("doc"), seen, 25 * line, &prefix);
        assert_true(prefix.size >= seen.size);
        assert_memory_equal(prefix.data + prefix.size - seen.size, seen.data, seen.size);
        assert_true(prefix.size <= 25 * line * WINDOW_STRETCH);
        if (prefix.size > longest) longest = prefix.size;
    }
    assert_true(longest > 45 * line);
    window_free(window);
}

static void test_a_cut_stays_where_it_is_while_the_text_grows(void **unused) {
    (void)unused;
    struct window *window = window_new();
    scoped_string char *all = repeat("abcdefghijklmnopqrstuvwxyz", 100);
    size_t line = strlen(all) / 100;
    scoped_text struct text first = {0};
    window_extend(window, SPAN("doc"), (struct span){all, 50 * line}, 25 * line, &first);
    assert_int_equal(first.size, 25 * line);
    for (size_t typed = 1; typed < 2 * line; typed++) {
        scoped_text struct text next = {0};
        window_extend(window, SPAN("doc"), (struct span){all, 50 * line + typed}, 25 * line, &next);
        assert_int_equal(next.size, 25 * line + typed);
        assert_memory_equal(next.data, first.data, first.size);
    }
    window_free(window);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_that_are_refused),
        cmocka_unit_test(test_unknown_fields_and_nulls_are_ignored),
        cmocka_unit_test(test_numbers_of_more_bits_than_most_readers_have),
        cmocka_unit_test(test_the_contract_s_prompt),
        cmocka_unit_test(test_snippets_become_comments),
        cmocka_unit_test(test_the_template_survives_the_cut),
        cmocka_unit_test(test_templates_that_make_no_sense),
        cmocka_unit_test(test_a_window_puts_lines_back_that_left_the_view),
        cmocka_unit_test(test_a_window_begins_anew_when_it_grew_too_large),
        cmocka_unit_test(test_a_cut_stays_where_it_is_while_the_text_grows),
    };
    return cmocka_run_group_tests_name("completion prompt", tests, NULL, NULL);
}
