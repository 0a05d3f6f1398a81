/* config.toml: what it says, what it leaves open, and where it is wrong. */
#include "settings.h"
#include "test.h"

#include <stdlib.h>

static void on_unknown(void *owner, const char *text) {
    text_printf(owner, "%s\n", text);
}

static struct settings *parsed(const char *text, struct text *unknown) {
    struct settings *settings = NULL;
    struct error *error = settings_parse(span_of(text), unknown ? on_unknown : NULL, unknown, &settings);
    if (error) {
        scoped_string char *said = error_text(error);
        fail_msg("%s", said);
    }
    return settings;
}

static void test_nothing_said_is_tabbys_defaults(void **unused) {
    (void)unused;
    scoped(settings) struct settings *settings = parsed("", NULL);
    assert_int_equal(settings->completion_timeout_s, 30);
    assert_int_equal(settings->completion_input_bytes, 1536);
    assert_int_equal(settings->completion_tokens, 64);
    assert_int_equal(settings->embedding_input_length, 0);
    assert_int_equal(settings->completion.source, SETTINGS_NONE);
    assert_int_equal(settings->completion_search.num_to_return, 20);
    assert_float_equal(settings->answer_search.min_embedding_score, 0.5, 0);
    assert_float_equal(settings->answer_presence_penalty, 0.5, 0);
}

static void test_all_that_can_be_said(void **unused) {
    (void)unused;
    scoped_text struct text unknown = {0};
    scoped(settings) struct settings *settings =
        parsed("[server]\ncompletion_timeout = 7\n"
               "[completion]\nmax_input_length = 100\nmax_decoding_tokens = 5\n"
               "[completion.code_search_params]\nmin_embedding_score = 0.1\nmin_bm25_score = 2\n"
               "min_rrf_score = 0.3\nnum_to_return = 4\nnum_to_score = 5\n"
               "[embedding]\n[answer]\npresence_penalty = 1\nsystem_prompt = \"be\\nbrief\"\n"
               "[model.completion.local]\nmodel_id = \"A\"\nadditional_stop_words = [\"x\", \"y\"]\n"
               "enable_fast_attention = true\nnum_gpu_layers = 3\ncontext_size = 512\nparallelism = 2\n"
               "[model.chat.http]\nkind = \"openai/chat\"\nmodel_name = \"m\"\napi_key = \"k\"\n"
               "api_endpoint = \"http://h\"\nsupported_models = [\"m\", \"n\"]\n"
               "rate_limit = { request_per_minute = 60 }\n"
               "[model.embedding.local]\nmodel_id = \"E\"\n"
               "[[repositories]]\nname = \"old\"\ngit_url = \"https://u:p@h/a.git\"\nrefs = [\"main\"]\n"
               "[[repositories]]\ngit_url = \"file:///b\"\n"
               "[[additional_languages]]\nlanguages = [\"zig\"]\nexts = [\"zig\"]\nline_comment = \"//\"\n",
               &unknown);
    assert_int_equal(settings->completion_timeout_s, 7);
    assert_int_equal(settings->completion_input_bytes, 100);
    assert_int_equal(settings->completion_tokens, 5);
    assert_float_equal(settings->completion_search.min_bm25_score, 2, 0);
    assert_int_equal(settings->embedding_input_length, 5120);
    assert_string_equal(settings->answer_system_prompt, "be\nbrief");
    assert_int_equal(settings->completion.source, SETTINGS_LOCAL);
    assert_string_equal(settings->completion.model_id, "A");
    assert_string_equal(settings->completion.stop_words[1], "y");
    assert_true(settings->completion.fast_attention);
    assert_int_equal(settings->completion.gpu_layers, 3);
    assert_int_equal(settings->completion.context_tokens, 512);
    assert_int_equal(settings->completion.parallelism, 2);
    assert_string_equal(settings->chat.supported_models[1], "n");
    assert_int_equal(settings->chat.requests_per_minute, 60);
    assert_int_equal(settings->embedding.parallelism, 4);
    assert_int_equal(settings->repository_count, 2);
    assert_string_equal(settings->repositories[0].refs[0], "main");
    assert_null(settings->repositories[1].refs);
    assert_string_equal(settings->languages[0].line_comment, "//");
    assert_int_equal(unknown.size, 0);
}

static void test_unknown_keys_are_told_and_ignored(void **unused) {
    (void)unused;
    scoped_text struct text unknown = {0};
    scoped(settings) struct settings *settings = parsed(
        "[sever]\nx = 1\n[completion]\nmax_token = 3\n[[repositories]]\ngit_url = \"a\"\nref = \"m\"\n",
        &unknown);
    assert_int_equal(settings->completion_tokens, 64);
    assert_non_null(strstr(unknown.data, "line 1: [] sever"));
    assert_non_null(strstr(unknown.data, "line 4: [completion] max_token"));
    assert_non_null(strstr(unknown.data, "line 7: [repositories] ref"));
}

static void test_what_is_wrong_is_told_with_its_place(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *words[2];
    } rows[] = {
        {"[completion\n", {"line 1", "column"}},
        {"x = \"a\nb\"", {"line 1", ""}},
        {"completion = 3", {"line 1", "a table"}},
        {"[server]\n", {"[server]", "missing field `completion_timeout`"}},
        {"[completion]\n\nmax_input_length = \"many\"\n", {"line 3, column 20", "an integer"}},
        {"[completion]\nmax_decoding_tokens = -1\n", {"line 2", "an integer"}},
        {"[completion.code_search_params]\nmin_bm25_score = 1\n", {"missing field", "min_embedding_score"}},
        {"[model.completion]\n", {"exactly one of", "line 1"}},
        {"[model.chat.local]\n", {"missing field `model_id`", "model.chat.local"}},
        {"[model.chat.local]\nmodel_id = \"a\"\nparallelism = 256\n", {"line 3", "from 0 to 255"}},
        {"[model.chat.local]\nmodel_id = \"a\"\ncontext_size = 0\n", {"context_size", "must not be 0"}},
        {"[model.chat.http]\nkind = \"cat/chat\"\n", {"Unsupported model kind: cat/chat", "azure/chat"}},
        {"[model.chat.http]\nkind = \"openai/chat\"\n", {"model_name is required", "line 1"}},
        {"[model.completion.http]\nkind = \"vllm/completion\"\nmodel_name = \"a\"\nsupported_models = "
         "[\"b\"]\n",
         {"'a' is not one of", "supported_models"}},
        {"repositories = 3", {"line 1", "tables"}},
        {"[[repositories]]\nrefs = []\n", {"missing field `git_url`", "line 1"}},
        {"[[repositories]]\ngit_url = \"a\"\nrefs = [1]\n", {"line 3", "list of strings"}},
        {"[[additional_languages]]\nlanguages = []\nexts = []\n", {"languages must name one", ""}},
        {"[answer]\npresence_penalty = nan\n", {"line 2", "a number"}},
        {"d = 1979-05-27T07:32:00Z\n[answer]\nsystem_prompt = 1979-05-27\n", {"line 3", "a string"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct settings *settings = NULL;
        scoped(error) struct error *error = settings_parse(span_of(rows[i].text), NULL, NULL, &settings);
        if (!error) fail_msg("taken: %s", rows[i].text);
        scoped_string char *said = error_text(error);
        for (size_t w = 0; w < 2; w++)
            if (!strstr(said, rows[i].words[w])) fail_msg("'%s' lacks '%s'", said, rows[i].words[w]);
    }
}

static void test_directories_of_repositories(void **unused) {
    (void)unused;
    static const char *const rows[][2] = {
        {"https://github.com/TabbyML/tabby.git", "https_github.com_TabbyML_tabby"},
        {"https://user:pass@github.com/TabbyML/tabby", "https_github.com_TabbyML_tabby"},
        {"file:///home/me/src", "file_home_me_src"},
        {"git@github.com:a/b.git", "git_github.com_a_b"},
        {"a//b?c", "a_b_c"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *made = settings_repository_directory(rows[i][0]);
        assert_string_equal(made, rows[i][1]);
    }
}

static void test_repositories_in_one_place_are_none(void **unused) {
    (void)unused;
    scoped(settings) struct settings *settings =
        parsed("[completion]\nmax_decoding_tokens = 9\n[[repositories]]\ngit_url = \"https://h/a.git\"\n"
               "[[repositories]]\ngit_url = \"https://u@h/a\"\n",
               NULL);
    assert_int_equal(settings->repository_count, 0);
    assert_non_null(strstr(settings->repositories_fault, "https_h_a"));
    assert_int_equal(settings->completion_tokens, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_said_is_tabbys_defaults),
        cmocka_unit_test(test_all_that_can_be_said),
        cmocka_unit_test(test_unknown_keys_are_told_and_ignored),
        cmocka_unit_test(test_what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(test_directories_of_repositories),
        cmocka_unit_test(test_repositories_in_one_place_are_none),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
