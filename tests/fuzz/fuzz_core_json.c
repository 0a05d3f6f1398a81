/* Apps as JSON, as the store's journal and the API hold them: an app or an error; an app keeps its meaning
 * through its JSON form, and passes core's check without harm. The same bytes as names, durations and sizes.
 */
#include "core.h"

#include <stdlib.h>

static void check_app(const struct core_app *app) {
    scoped(core_app) struct core_app *again = NULL, *copy = core_app_copy(app);
    scoped_json json_t *json = core_app_to_json(app);
    scoped(error) struct error *error = core_app_from_json(json, &again);
    if (error) abort();
    scoped_json json_t *json_again = core_app_to_json(again), *json_copy = core_app_to_json(copy);
    if (!json_equal(json, json_again) || !json_equal(json, json_copy)) abort();
    for (size_t i = 0; i < app->function_count; i++) {
        const struct core_function *function = app->functions[i], *same = again->functions[i];
        if (core_function_shape(function) != core_function_shape(same)) abort();
        if (!core_function_same_container(function, same)) abort();
        scoped_string char *label = core_function_label(function, "user");
        if (strlen(label) > 63) abort();
    }
    error = core_app_check(app);
    if (error && error->code != ERROR_INVALID_ARGUMENT) abort();
}

static void check_words(const char *word) {
    int64_t duration_ms = -1;
    uint64_t size_bytes = 0;
    struct error *error = core_duration_parse(word, &duration_ms);
    if (!error && duration_ms < 0) abort();
    error_free(error);
    error = core_size_parse(word, &size_bytes);
    error_free(error);
    error = core_name_check("name", word);
    if (!error && (strlen(word) == 0 || strlen(word) > CORE_NAME_MAX)) abort();
    error_free(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped(core_app) struct core_app *app = NULL;
    scoped_string char *word = mem_string_n((const char *)data, size_bytes);
    check_words(word);
    scoped_json json_t *json = json_loadb((const char *)data, size_bytes, JSON_DECODE_ANY, NULL);
    if (!json) return 0;
    scoped(error) struct error *error = core_app_from_json(json, &app);
    if (!error) check_app(app);
    if (error && error->code != ERROR_INVALID_ARGUMENT) abort();
    return 0;
}
