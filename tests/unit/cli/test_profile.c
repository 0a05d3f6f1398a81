/* The file of Modal's client, which is its owner's: what is put into it, what is left, and that taking it out
 * again leaves every byte where it was. */
#include "profile.h"
#include "test.h"

#define WRITTEN "server_url = \"http://h:1\"\ntoken_id = \"ak-1\"\ntoken_secret = \"as-1\"\n"
#define SECTION "[catnap]\n" WRITTEN "disable_api_proxy = true\nactive = true\n"
#define MARK "  # was active before `catnap login`"

static const struct profile profile = {"catnap", "http://h:1", "ak-1", "as-1"};

static void put(const char *file, struct text *out) {
    assert_ok(profile_put(span_of(file), &profile, out));
    text_add_string(out, "");
}

static void test_what_is_written_and_what_is_left(void **unused) {
    (void)unused;
    static const struct {
        const char *before, *after;
    } rows[] = {
        {"", SECTION},
        {"# mine", "# mine\n\n" SECTION},
        {"[default]\ntoken_id = \"ak-9\"\n", "[default]\ntoken_id = \"ak-9\"\n\n" SECTION},
        {"[default]\nactive = true\n", "[default]\nactive = false" MARK "\n\n" SECTION},
        {"[ 'default' ]\n  active=true# yes\nx = 1",
         "[ 'default' ]\n  active=false# yes" MARK "\nx = 1\n\n" SECTION},
        {"[default]\r\nactive = true\r\n", "[default]\r\nactive = false" MARK "\r\n\n" SECTION},
        {"[default]\nactive = false\n", "[default]\nactive = false\n\n" SECTION},
        {"[default.inner]\nactive = true\n", "[default.inner]\nactive = true\n\n" SECTION},
        {"[default]\nx = \"\"\"\n[catnap]\nactive = true\n\"\"\"\n",
         "[default]\nx = \"\"\"\n[catnap]\nactive = true\n\"\"\"\n\n" SECTION},
        {"[default]\nx = [ # [catnap]\n 1,\n]\ny = 'a#b' # active = true\n",
         "[default]\nx = [ # [catnap]\n 1,\n]\ny = 'a#b' # active = true\n\n" SECTION},
        /* ours is there already: its values are replaced, its other keys and those behind it stay */
        {"[catnap]\nloglevel = \"DEBUG\"\ntoken_id = \"old\" # one\nserver_url = 'u'\n\n# of b\n[b]\nactive "
         "= true\n",
         "[catnap]\nloglevel = \"DEBUG\"\ntoken_id = \"ak-1\" # one\nserver_url = \"http://h:1\"\n"
         "token_secret = \"as-1\"\ndisable_api_proxy = true\nactive = true\n\n# of b\n[b]\nactive = "
         "false" MARK "\n"},
        {"[\"catnap\"]", "[\"catnap\"]\n" WRITTEN "disable_api_proxy = true\nactive = true\n"},
        {SECTION, SECTION},
        /* who was active before an earlier login does not count any more */
        {"[a]\nactive = false" MARK "\n[b]\nactive = true\n",
         "[a]\nactive = false\n[b]\nactive = false" MARK "\n\n" SECTION},
        {"[a]\nactive = false" MARK "\n\n" SECTION, "[a]\nactive = false" MARK "\n\n" SECTION},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_text struct text out = {0};
        put(rows[i].before, &out);
        if (strcmp(out.data, rows[i].after) != 0)
            fail_msg("'%s' became '%s' instead of '%s'", rows[i].before, out.data, rows[i].after);
    }
}

static void test_taken_out_again_all_is_as_it_was(void **unused) {
    (void)unused;
    static const struct {
        const char *file, *active;
    } rows[] = {
        {"", NULL},
        {"[default]\ntoken_id = \"ak-9\"\n", NULL},
        {"# a\n[default]\nactive = true # yes\n\n[b]\nactive = false\n", "default"},
        {"[default]\r\nactive=true\r\n", "default"},
        {"[default]\nactive = true\n\n\n", "default"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_text struct text with = {0}, without = {0};
        scoped_string char *active = NULL;
        put(rows[i].file, &with);
        assert_ok(profile_remove(text_span(&with), "catnap", &without, &active));
        text_add_string(&without, "");
        assert_string_equal(without.data, rows[i].file);
        assert_true(active ? rows[i].active && strcmp(active, rows[i].active) == 0 : !rows[i].active);
    }
}

static void test_what_another_chose_meanwhile_stays_chosen(void **unused) {
    (void)unused;
    static const char file[] =
        "[a]\nactive = false" MARK "\n\n[catnap]\ntoken_id = 'x'\n\n# of b\n[b]\nactive = true\n";
    scoped_text struct text out = {0};
    scoped_string char *active = NULL;
    assert_ok(profile_remove(span_of(file), "catnap", &out, &active));
    text_add_string(&out, "");
    assert_string_equal(out.data, "[a]\nactive = false" MARK "\n\n# of b\n[b]\nactive = true\n");
    assert_string_equal(active, "b");
}

static void test_what_is_found(void **unused) {
    (void)unused;
    struct profile_found found;
    assert_ok(profile_find(SPAN("[a]\nactive = true\n[catnap]\nserver_url = 'u'\ntoken_id = \"ak\"\n"),
                           "catnap", &found));
    assert_true(found.there);
    assert_string_equal(found.server_url, "u");
    assert_string_equal(found.token_id, "ak");
    assert_string_equal(found.active, "a");
    profile_found_done(&found);
    assert_ok(profile_find(SPAN("[catnap.x]\ntoken_id = \"ak\"\n"), "catnap", &found));
    assert_true(!found.there && !found.token_id && !found.active);
    profile_found_done(&found);
}

static void test_a_file_that_would_not_stay_whole_is_left_alone(void **unused) {
    (void)unused;
    static const struct {
        const char *file, *told;
    } rows[] = {
        {"[default\n", "line 1 has a table's name that is not closed"},
        {"[default]\n\ntoken_id = \"ak\nx = 1\n", "line 3 has a text that does not end"},
        {"[a]\nx = [1,\n2\n", "line 2 has a bracket that nothing closes"},
        {"[a]\nx = 1]\n", "line 2 has a bracket that nothing opened"},
        {"[a]\nx = \n", "line 2 has a key without a value"},
        {"[a]\nx\n", "line 2 has a key without '='"},
        {"[a] b\n", "line 1 has something behind"},
        {"[]\n", "line 1 has a table without a name"},
        {"= 1\n", "line 1 has neither a key nor a table"},
        {"catnap = {token_id = 'x'}\n", "line 1 has the profile catnap in one line"},
        {"a = {active = true}\n", "line 1 has the profile a in one line"},
        {"a.active = true\n", "line 1 has the profile a in one line"},
        {"[catnap]\n[a]\n[catnap]\n", "line 3 has the section [catnap] once more"},
        {"[[catnap]]\n", "line 1 has the section [catnap] once more"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_text struct text out = {0};
        scoped(error) struct error *error = profile_put(span_of(rows[i].file), &profile, &out);
        scoped_string char *text = error ? error_text(error) : mem_string("taken");
        if (!strstr(text, rows[i].told)) fail_msg("'%s': %s", rows[i].file, text);
        assert_int_equal(out.size, 0);
    }
}

static void test_names_of_profiles(void **unused) {
    (void)unused;
    assert_true(profile_name_good("catnap") && profile_name_good("my-box_2"));
    assert_true(!profile_name_good("") && !profile_name_good("a b") && !profile_name_good("a.b") &&
                !profile_name_good("a]") && !profile_name_good("\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_and_what_is_left),
        cmocka_unit_test(test_taken_out_again_all_is_as_it_was),
        cmocka_unit_test(test_what_another_chose_meanwhile_stays_chosen),
        cmocka_unit_test(test_what_is_found),
        cmocka_unit_test(test_a_file_that_would_not_stay_whole_is_left_alone),
        cmocka_unit_test(test_names_of_profiles),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
