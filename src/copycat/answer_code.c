/* The code of an answer: the query read, limits and their overrides, hits in the forms of the stream, of the
 * table and of the prompt. */
#include "answer_code.h"

#include <stdlib.h>

#define CONTEXT_BYTES_MAX 6000 /* of code in a prompt: the question and its history need room too */

void answer_code_done(struct answer_code *code) {
    json_decref(code->hits);
    json_decref(code->stored);
    free(code->source_id);
    *code = (struct answer_code){0};
}

static struct span text_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return (struct span){json_string_value(value), json_string_length(value)};
}

static double number_of(const json_t *object, const char *key, double fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static uint32_t count_of(const json_t *object, const char *key, uint32_t fallback) {
    const json_t *value = json_object_get(object, key);
    json_int_t count = json_integer_value(value);
    return json_is_integer(value) ? (uint32_t)(count < 0 ? 0 : count > 100 ? 100 : count) : fallback;
}

bool answer_code_find(struct serve *serve, const json_t *options, int64_t user,
                      void (*done)(void *owner, struct find_answer *answer), void *owner) {
    const json_t *query = json_object_get(options, "codeQuery");
    const json_t *given =
        json_object_get(json_object_get(options, "debugOptions"), "codeSearchParamsOverride");
    const struct settings_search *usual = &serve->settings->answer_search;
    if (!json_is_object(query)) return false;
    struct settings_search limits = {
        .min_embedding_score = number_of(given, "minEmbeddingScore", usual->min_embedding_score),
        .min_bm25_score = number_of(given, "minBm25Score", usual->min_bm25_score),
        .min_rrf_score = number_of(given, "minRrfScore", usual->min_rrf_score),
        .num_to_return = count_of(given, "numToReturn", usual->num_to_return),
        .num_to_score = count_of(given, "numToScore", usual->num_to_score),
    };
    struct find_options find = {
        .git_url = text_of(query, "gitUrl"),
        .source_id = text_of(query, "sourceId"),
        .text = text_of(query, "content"),
        .language = text_of(query, "language"),
        .except_path = text_of(query, "filepath"),
        .limits = &limits,
        .visitor = {.who = {.user = user}},
        .done = done,
        .owner = owner,
    };
    return search_find(serve, &find);
}

static json_t *line_of(const struct index_hit *hit) {
    return hit->line ? json_integer(hit->line) : json_null();
}

void answer_code_read(struct answer_code *code, const struct find_answer *answer) {
    answer_code_done(code);
    code->hits = json_array();
    code->stored = json_array();
    code->source_id = mem_string(answer->source_id);
    struct index_hits *taken_hits = answer->hits;
    const char *url = answer->url;
    for (size_t i = 0; i < taken_hits->count; i++) {
        const struct index_hit *hit = &taken_hits->hits[i];
        json_t *one = json_pack("{s:{s:s,s:s,s:s,s:s,s:s,s:o},s:{s:f,s:f,s:f}}", "code", "gitUrl", url,
                                "commit", taken_hits->commit, "filepath", hit->path, "language",
                                hit->language, "content", hit->body, "startLine", line_of(hit), "scores",
                                "rrf", hit->rrf, "bm25", hit->bm25, "embedding", hit->embedding);
        json_t *kept =
            json_pack("{s:s,s:s,s:s,s:s,s:s,s:o}", "git_url", url, "commit", taken_hits->commit, "filepath",
                      hit->path, "language", hit->language, "content", hit->body, "start_line", line_of(hit));
        if (one) json_array_append_new(code->hits, one);
        if (kept) json_array_append_new(code->stored, kept);
    }
    index_hits_done(taken_hits);
}

void answer_code_add(const struct answer_code *code, struct text *out) {
    size_t i;
    json_t *one;
    json_array_foreach(code->stored, i, one) {
        const char *path = json_string_value(json_object_get(one, "filepath"));
        const char *content = json_string_value(json_object_get(one, "content"));
        if (out->size + strlen(content) > CONTEXT_BYTES_MAX) return;
        text_printf(out, "%s\n```\n%s\n```\n\n", path, content);
    }
}
