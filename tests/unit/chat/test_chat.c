/* What may be told of an answer and when, and control words in what users say. */
#include "chat.h"
#include "test.h"

#include <stdlib.h>

/* ---- stop words ---- */

struct step {
    const char *piece, *told; /* all that may be told after it */
};

static void live(const char *const *words, const struct step *steps, size_t count, const char *end) {
    struct span spans[8] = {0};
    size_t word_count = 0;
    while (words[word_count]) spans[word_count] = span_of(words[word_count]), word_count++;
    struct chat_stops *stops = chat_stops_new(spans, word_count);
    for (size_t i = 0; i < count; i++) {
        chat_stops_add(stops, span_of(steps[i].piece));
        struct span told = chat_stops_text(stops, false);
        scoped_string char *text = span_string(told);
        if (strcmp(text, steps[i].told) != 0)
            fail_msg("after '%s': '%s' instead of '%s'", steps[i].piece, text, steps[i].told);
    }
    scoped_string char *text = span_string(chat_stops_text(stops, true));
    assert_string_equal(text, end);
    chat_stops_free(stops);
}

static void test_a_tail_that_may_become_a_stop_word_is_held_back(void **unused) {
    (void)unused;
    static const char *const words[] = {"STOP", "\n\n", NULL};
    static const struct step becomes[] = {
        {"one ST", "one "}, {"O", "one "}, {"P two", "one "}, {"x", "one "}};
    live(words, becomes, COUNT(becomes), "one ");
    static const struct step not_it[] = {{"one ST", "one "}, {"AR", "one STAR"}, {"\n", "one STAR"}};
    live(words, not_it, COUNT(not_it), "one STAR\n");
    static const struct step twice[] = {{"SSTSTOP", "SST"}};
    live(words, twice, COUNT(twice), "SST");
}

static void test_the_first_stop_word_counts(void **unused) {
    (void)unused;
    static const char *const words[] = {"bcd", "c", "", NULL};
    static const struct step steps[] = {{"ab", "a"}, {"cde", "a"}};
    live(words, steps, COUNT(steps), "a");
    static const char *const none[] = {NULL};
    static const struct step all[] = {{"any", "any"}, {"thing", "anything"}};
    live(none, all, COUNT(all), "anything");
}

/* ---- control words ---- */

static const char *const controls[] = {"<|a|>", "<|a|>b", "[X]", NULL};

static char *flattened(const char *text) {
    struct engine_piece *pieces;
    struct text out = {0};
    size_t count = chat_plain_pieces(span_of(text), controls, &pieces);
    for (size_t i = 0; i < count; i++)
        text_printf(&out, "%c{" SPAN_FORMAT "}", pieces[i].special ? 's' : 't', SPAN_ARGS(pieces[i].text));
    free(pieces);
    return text_take(&out);
}

static void test_control_words_of_users_are_told_apart_from_the_templates(void **unused) {
    (void)unused;
    scoped_json json_t *messages = json_loads("[{\"content\":\"see <|a|>b and [X], [Y]\",\"n\":3}]", 0, NULL);
    scoped_json json_t *marked = chat_plain_mark(messages, controls);
    const char *content = json_string_value(json_object_get(json_array_get(marked, 0), "content"));
    assert_null(strstr(content, "<|a|>"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(marked, 0), "n")), 3);
    scoped_string char *prompt = mem_printf("<|a|>%s[X]", content);
    scoped_string char *pieces = flattened(prompt);
    assert_string_equal(pieces, "s{<|a|>see }t{<|a|>b}s{ and }t{[X]}s{, [Y][X]}");
}

static void test_marks_that_nobody_made_stay_text(void **unused) {
    (void)unused;
    static const char *const odd[] = {"\xef\xa3\xb0",
                                      "\xef\xa3\xb0"
                                      "9\xef\xa3\xb1",
                                      "\xef\xa3\xb0"
                                      "1",
                                      "\xef\xa3\xb0\xef\xa3\xb1",
                                      "\xef\xa3\xb0"
                                      "99999999999\xef\xa3\xb1"};
    for (size_t i = 0; i < COUNT(odd); i++) {
        scoped_string char *pieces = flattened(odd[i]), *expected = mem_printf("s{%s}", odd[i]);
        assert_string_equal(pieces, expected);
    }
}

/* ---- requests ---- */

static void test_a_request_is_read(void **unused) {
    (void)unused;
    static const char body[] =
        "{\"model\":\"\",\"messages\":[{\"role\":\"developer\",\"content\":\"be brief\"},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]},{\"role\":\"user\",\"content\":null}],"
        "\"stop\":[\"a\",\"b\"],\"max_completion_tokens\":7,\"seed\":-3,\"logit_bias\":{\"5\":-1.5},"
        "\"response_format\":{\"type\":\"json_object\"},\"unknown\":{}}";
    struct chat_request *request = NULL;
    assert_null(chat_request_parse(SPAN(body), &request));
    assert_string_equal(json_string_value(json_object_get(json_array_get(request->messages, 0), "role")),
                        "system");
    assert_string_equal(json_string_value(json_object_get(json_array_get(request->messages, 2), "content")),
                        "");
    assert_int_equal(request->stop_count, 2);
    assert_int_equal(request->max_tokens, 7);
    assert_true(request->has_seed && request->seed == (uint64_t)-3);
    assert_int_equal(request->biases[0].token, 5);
    assert_non_null(request->schema);
    assert_false(request->has_stream);
    chat_request_free(request);
}

static void test_requests_that_are_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *body, *word;
        enum error_code code;
    } rows[] = {
        {"", "", ERROR_INVALID_ARGUMENT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "model", ERROR_FAILED_PRECONDITION},
        {"{\"model\":\"\",\"messages\":{}}", "messages", ERROR_FAILED_PRECONDITION},
        {"{\"model\":\"\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_p\":1.5}", "top_p",
         ERROR_FAILED_PRECONDITION},
        {"{\"model\":\"\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true}",
         "logprobs", ERROR_UNIMPLEMENTED},
        {"{\"model\":\"\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":{\"function\":"
         "{\"name\":\"f\"}}}",
         "'f'", ERROR_FAILED_PRECONDITION},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct chat_request *request = NULL;
        scoped(error) struct error *error = chat_request_parse(span_of(rows[i].body), &request);
        assert_non_null(error);
        assert_int_equal(error->code, rows[i].code);
        scoped_string char *text = error_text(error);
        assert_non_null(strstr(text, rows[i].word));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tail_that_may_become_a_stop_word_is_held_back),
        cmocka_unit_test(test_the_first_stop_word_counts),
        cmocka_unit_test(test_control_words_of_users_are_told_apart_from_the_templates),
        cmocka_unit_test(test_marks_that_nobody_made_stay_text),
        cmocka_unit_test(test_a_request_is_read),
        cmocka_unit_test(test_requests_that_are_refused),
    };
    return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
