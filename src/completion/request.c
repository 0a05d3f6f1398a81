/* The body of POST /v1/completions: JSON to a struct, with Tabby's ideas of what is wrong.
 *
 * Unknown fields are ignored, null is the same as absent, a wrong type is an error that names the field. The
 * root is kept, so that nothing is copied. */
#include "completion.h"

#include <stdlib.h>

static struct error *wrong(const char *field, const json_t *value, const char *expected) {
    static const char *const names[] = {"a map",   "a sequence", "a string",  "an integer",
                                        "a float", "a boolean",  "a boolean", "null"};
    return error_new(ERROR_FAILED_PRECONDITION, "%s: invalid type: %s, expected %s", field,
                     names[json_typeof(value)], expected);
}

static struct error *read_string(const json_t *object, const char *field, struct span *ret_value,
                                 bool *ret_there) {
    const json_t *value = json_object_get(object, field);
    bool there = value && !json_is_null(value);
    if (ret_there) *ret_there = there;
    if (!there) return NULL;
    if (!json_is_string(value)) return wrong(field, value, "a string");
    *ret_value = (struct span){json_string_value(value), json_string_length(value)};
    return NULL;
}

static struct error *need_string(const json_t *object, const char *field, struct span *ret_value) {
    bool there;
    TRY_PLAIN(read_string(object, field, ret_value, &there));
    return there ? NULL : error_new(ERROR_FAILED_PRECONDITION, "missing field `%s`", field);
}

static struct error *read_bool(const json_t *object, const char *field, bool *ret_value) {
    const json_t *value = json_object_get(object, field);
    if (!value || json_is_null(value)) return NULL;
    if (!json_is_boolean(value)) return wrong(field, value, "a boolean");
    *ret_value = json_is_true(value);
    return NULL;
}

static struct error *read_object(const json_t *object, const char *field, const json_t **ret_value) {
    const json_t *value = json_object_get(object, field);
    *ret_value = value && !json_is_null(value) ? value : NULL;
    return *ret_value && !json_is_object(value) ? wrong(field, value, "a map") : NULL;
}

static struct error *read_snippets(struct completion_request *request, const json_t *segments,
                                   const char *field, size_t list) {
    const json_t *array = json_object_get(segments, field), *item;
    if (!array || json_is_null(array)) return NULL;
    if (!json_is_array(array)) return wrong(field, array, "a sequence");
    size_t at = request->list_counts[0] + request->list_counts[1] + request->list_counts[2], i;
    json_array_foreach(array, i, item) {
        if (!json_is_object(item)) return wrong(field, item, "a map");
        struct completion_snippet snippet = {.score = 1};
        TRY(need_string(item, "filepath", &snippet.filepath), "%s", field);
        TRY(need_string(item, "body", &snippet.body), "%s", field);
        const json_t *score = json_object_get(item, "score");
        if (list > 0 && !score)
            return error_new(ERROR_FAILED_PRECONDITION, "%s: missing field `score`", field);
        if (list > 0 && !json_is_number(score)) return wrong(field, score, "a float");
        if (at == COMPLETION_SNIPPETS_MAX) continue; /* the budget of bytes is long spent */
        request->snippets[at++] = snippet;
        request->list_counts[list]++;
    }
    return NULL;
}

static struct error *read_segments(struct completion_request *request) {
    const json_t *segments, *history;
    TRY_PLAIN(read_object(request->root, "segments", &segments));
    if (!segments) return NULL;
    request->has_segments = true;
    TRY(need_string(segments, "prefix", &request->prefix), "segments");
    TRY(read_string(segments, "suffix", &request->suffix, NULL), "segments");
    TRY(read_string(segments, "filepath", &request->filepath, NULL), "segments");
    TRY(read_string(segments, "git_url", &request->git_url, NULL), "segments");
    struct span clipboard;
    TRY(read_string(segments, "clipboard", &clipboard, NULL), "segments");
    static const char *const lists[] = {"declarations", "relevant_snippets_from_changed_files",
                                        "relevant_snippets_from_recently_opened_files"};
    for (size_t i = 0; i < COUNT(lists); i++) TRY(read_snippets(request, segments, lists[i], i), "segments");
    TRY(read_object(segments, "edit_history", &history), "segments");
    if (!history) return NULL;
    request->has_edit_history = true;
    TRY(need_string(history, "original_code", &request->original_code), "segments: edit_history");
    TRY(need_string(history, "edits_diff", &request->edits_diff), "segments: edit_history");
    TRY(need_string(history, "current_version", &request->current_version), "segments: edit_history");
    return NULL;
}

static struct error *read_debug(struct completion_request *request) {
    const json_t *debug;
    TRY_PLAIN(read_object(request->root, "debug_options", &debug));
    if (!debug) return NULL;
    request->has_debug = true;
    TRY(read_string(debug, "raw_prompt", &request->raw_prompt, &request->has_raw_prompt), "debug_options");
    TRY(read_bool(debug, "return_snippets", &request->wants_snippets), "debug_options");
    TRY(read_bool(debug, "return_prompt", &request->wants_prompt), "debug_options");
    TRY(read_bool(debug, "disable_retrieval_augmented_code_completion", &request->no_retrieval),
        "debug_options");
    return NULL;
}

static struct error *read_numbers(struct completion_request *request) {
    const json_t *temperature = json_object_get(request->root, "temperature"),
                 *seed = json_object_get(request->root, "seed");
    if (temperature && !json_is_null(temperature)) {
        if (!json_is_number(temperature)) return wrong("temperature", temperature, "f32");
        request->has_temperature = true;
        request->temperature = json_number_value(temperature);
    }
    if (seed && !json_is_null(seed)) {
        /* A real: of more than 63 bits, or beside a number that is. Beyond 64 all are the same seed. */
        double real = json_real_value(seed);
        uint64_t whole = real >= 0x1p64 ? UINT64_MAX : real > 0 ? (uint64_t)real : 0;
        bool fits = json_is_integer(seed) ? json_integer_value(seed) >= 0
                                          : json_is_real(seed) && (real >= 0x1p64 || (double)whole == real);
        if (!fits) return wrong("seed", seed, "u64");
        request->has_seed = true;
        request->seed = json_is_integer(seed) ? (uint64_t)json_integer_value(seed) : whole;
    }
    return NULL;
}

static struct error *read_fields(struct completion_request *request) {
    if (!json_is_object(request->root)) return wrong("body", request->root, "struct CompletionRequest");
    struct span mode = {0};
    bool has_language;
    TRY_PLAIN(read_string(request->root, "language", &request->language, &has_language));
    if (!has_language) request->language = SPAN("unknown");
    TRY_PLAIN(read_string(request->root, "user", &request->user, NULL));
    TRY_PLAIN(read_string(request->root, "mode", &mode, NULL));
    request->next_edit = span_is(mode, "next_edit_suggestion");
    TRY_PLAIN(read_segments(request));
    TRY_PLAIN(read_debug(request));
    TRY_PLAIN(read_numbers(request));
    if (request->next_edit && !request->has_edit_history)
        return error_new(ERROR_OUT_OF_RANGE, "next_edit_suggestion needs segments.edit_history");
    if (!request->has_segments && !request->has_raw_prompt)
        return error_new(ERROR_OUT_OF_RANGE, "there is nothing to complete");
    return NULL;
}

struct error *completion_request_parse(struct span body, struct completion_request **ret_request) {
    scoped(completion_request) struct completion_request *request = NEW(struct completion_request);
    json_error_t where;
    /* Jansson cuts strings at NUL bytes unless told: they are text like any other. */
    request->root = json_read(body, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
    if (!request->root)
        return error_new(ERROR_INVALID_ARGUMENT, "%s at line %d column %d", where.text, where.line,
                         where.column);
    TRY_PLAIN(read_fields(request));
    *ret_request = take(request);
    return NULL;
}

void completion_request_free(struct completion_request *request) {
    if (!request) return;
    json_decref(request->root);
    free(request);
}
