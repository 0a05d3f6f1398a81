/* The whole of config.toml. */
#include "inside.h"

#include <ctype.h>
#include <stdlib.h>

#define CONFIG_BYTES_MAX (1u << 20)

static const struct settings_search completion_search = {0.75, 8.0, 0.028, 20, 40};
static const struct settings_search answer_search = {0.5, -1.0, -1.0, 10, 100};

/* A table that is there must have all five. */
static struct error *read_search(struct toml_node *parent, const char *section,
                                 struct settings_search *search) {
    scoped_string char *where = mem_printf("%s.code_search_params", section);
    struct toml_node *table;
    TRY_PLAIN(node_table(parent, "code_search_params", section, &table));
    if (!table) return NULL;
    static const char *const fields[] = {"min_embedding_score", "min_bm25_score", "min_rrf_score",
                                         "num_to_return", "num_to_score"};
    for (size_t i = 0; i < COUNT(fields); i++) TRY_PLAIN(node_need(table, fields[i], where));
    TRY_PLAIN(node_double(table, fields[0], where, &search->min_embedding_score));
    TRY_PLAIN(node_double(table, fields[1], where, &search->min_bm25_score));
    TRY_PLAIN(node_double(table, fields[2], where, &search->min_rrf_score));
    TRY_PLAIN(node_u32(table, fields[3], where, UINT32_MAX, &search->num_to_return));
    return node_u32(table, fields[4], where, UINT32_MAX, &search->num_to_score);
}

static struct error *read_sections(struct toml_node *root, struct settings *settings) {
    struct toml_node *server, *completion, *embedding, *answer, *model;
    TRY_PLAIN(node_table(root, "server", "", &server));
    if (server) TRY_PLAIN(node_need(server, "completion_timeout", "server"));
    TRY_PLAIN(node_u64(server, "completion_timeout", "server", INT32_MAX, &settings->completion_timeout_s));
    TRY_PLAIN(node_table(root, "completion", "", &completion));
    TRY_PLAIN(
        node_u32(completion, "max_input_length", "completion", 1u << 24, &settings->completion_input_bytes));
    TRY_PLAIN(
        node_u32(completion, "max_decoding_tokens", "completion", 1u << 20, &settings->completion_tokens));
    TRY_PLAIN(read_search(completion, "completion", &settings->completion_search));
    TRY_PLAIN(node_table(root, "embedding", "", &embedding));
    if (embedding) settings->embedding_input_length = 5120;
    TRY_PLAIN(
        node_u32(embedding, "max_input_length", "embedding", UINT32_MAX, &settings->embedding_input_length));
    TRY_PLAIN(node_table(root, "answer", "", &answer));
    TRY_PLAIN(node_double(answer, "presence_penalty", "answer", &settings->answer_presence_penalty));
    TRY_PLAIN(node_string(answer, "system_prompt", "answer", &settings->answer_system_prompt));
    TRY_PLAIN(read_search(answer, "answer", &settings->answer_search));
    TRY_PLAIN(node_table(root, "model", "", &model));
    TRY_PLAIN(settings_model_read(model, "completion", &settings->completion));
    TRY_PLAIN(settings_model_read(model, "chat", &settings->chat));
    return settings_model_read(model, "embedding", &settings->embedding);
}

static struct error *read_tables(struct toml_node *root, const char *key, struct toml_node **ret_array) {
    *ret_array = node_get(root, key);
    if (!*ret_array) return NULL;
    bool tables = (*ret_array)->kind == TOML_ARRAY;
    for (size_t i = 0; tables && i < (*ret_array)->count; i++)
        tables = (*ret_array)->children[i].kind == TOML_TABLE;
    return tables ? NULL : node_wrong(*ret_array, key, "tables ([[...]])");
}

static struct error *read_repositories(struct toml_node *root, struct settings *settings) {
    struct toml_node *array;
    TRY_PLAIN(read_tables(root, "repositories", &array));
    if (!array) return NULL;
    settings->repositories = mem_array(array->count, sizeof *settings->repositories);
    for (size_t i = 0; i < array->count; i++) {
        struct settings_repository *repository = &settings->repositories[settings->repository_count++];
        struct toml_node *table = &array->children[i];
        table->seen = true;
        node_get(table, "name"); /* of older files */
        TRY_PLAIN(node_need(table, "git_url", "repositories"));
        TRY_PLAIN(node_string(table, "git_url", "repositories", &repository->git_url));
        TRY_PLAIN(node_strings(table, "refs", "repositories", &repository->refs));
    }
    return NULL;
}

static struct error *read_languages(struct toml_node *root, struct settings *settings) {
    const char *where = "additional_languages";
    struct toml_node *array;
    TRY_PLAIN(read_tables(root, where, &array));
    if (!array) return NULL;
    settings->languages = mem_array(array->count, sizeof *settings->languages);
    for (size_t i = 0; i < array->count; i++) {
        struct settings_language *language = &settings->languages[settings->language_count++];
        struct toml_node *table = &array->children[i];
        table->seen = true;
        TRY_PLAIN(node_need(table, "languages", where));
        TRY_PLAIN(node_need(table, "exts", where));
        TRY_PLAIN(node_strings(table, "languages", where, &language->languages));
        TRY_PLAIN(node_strings(table, "exts", where, &language->extensions));
        TRY_PLAIN(node_strings(table, "top_level_keywords", where, &language->keywords));
        TRY_PLAIN(node_string(table, "line_comment", where, &language->line_comment));
        TRY_PLAIN(node_u32(table, "chunk_size", where, 1u << 20, &language->chunk_bytes));
        if (!language->languages[0])
            return error_new(ERROR_INVALID_ARGUMENT, "line %u: [%s]: languages must name one", table->line,
                             where);
    }
    return NULL;
}

static void drop_repositories(struct settings *settings) {
    for (size_t i = 0; i < settings->repository_count; i++) {
        free(settings->repositories[i].git_url);
        node_strings_free(settings->repositories[i].refs);
    }
    settings->repository_count = 0;
}

/* Tabby keeps them beside each other by these names. */
static void check_repositories(struct settings *settings) {
    scoped(map) struct map *seen = map_new();
    for (size_t i = 0; i < settings->repository_count && !settings->repositories_fault; i++) {
        const char *url = settings->repositories[i].git_url;
        scoped_string char *directory = settings_repository_directory(url);
        const char *other = map_put(seen, span_of(directory), (void *)url);
        if (other)
            settings->repositories_fault = mem_printf(
                "[repositories]: %s and %s would lie in the same directory %s", other, url, directory);
    }
    if (settings->repositories_fault) drop_repositories(settings);
}

static void tell_unknown(const struct toml_node *table, const char *where,
                         void (*unknown)(void *owner, const char *text), void *owner) {
    for (size_t i = 0; i < table->count; i++) {
        const struct toml_node *child = &table->children[i];
        if (table->kind == TOML_TABLE && !child->seen) {
            scoped_string char *text =
                mem_printf("line %u: [%s] %s: there is no such key", child->line, where, child->key);
            unknown(owner, text);
            continue;
        }
        if (child->kind != TOML_TABLE && child->kind != TOML_ARRAY) continue;
        scoped_string char *below =
            child->key ? mem_printf("%s%s%s", where, *where ? "." : "", child->key) : mem_string(where);
        tell_unknown(child, below, unknown, owner);
    }
}

static struct error *read_all(struct toml_node *root, struct settings *settings) {
    TRY_PLAIN(read_sections(root, settings));
    TRY_PLAIN(read_repositories(root, settings));
    return read_languages(root, settings);
}

static struct settings *defaults(void) {
    struct settings *settings = NEW(struct settings);
    settings->completion_timeout_s = 30;
    settings->completion_input_bytes = 1536;
    settings->completion_tokens = 64;
    settings->completion_search = completion_search;
    settings->answer_search = answer_search;
    settings->answer_presence_penalty = 0.5;
    return settings;
}

struct error *settings_parse(struct span text, void (*unknown)(void *owner, const char *text), void *owner,
                             struct settings **ret_settings) {
    scoped(settings) struct settings *settings = defaults();
    scoped_string char *fault = NULL;
    struct toml_node *root = toml_read(text.data ? text.data : "", text.size, &fault);
    if (!root) return error_new(ERROR_INVALID_ARGUMENT, "%s", fault);
    struct error *error = read_all(root, settings);
    if (!error) check_repositories(settings);
    if (!error && unknown) tell_unknown(root, "", unknown, owner);
    toml_free(root);
    if (error) return error;
    *ret_settings = take(settings);
    return NULL;
}

struct error *settings_read(const char *path, void (*unknown)(void *owner, const char *text), void *owner,
                            struct settings **ret_settings) {
    if (!file_exists(path)) return settings_parse(SPAN(""), NULL, NULL, ret_settings);
    scoped_text struct text text = {0};
    TRY_PLAIN(file_read(path, CONFIG_BYTES_MAX, &text));
    return settings_parse(text_span(&text), unknown, owner, ret_settings);
}

void settings_free(struct settings *settings) {
    if (!settings) return;
    free(settings->answer_system_prompt);
    settings_model_done(&settings->completion);
    settings_model_done(&settings->chat);
    settings_model_done(&settings->embedding);
    drop_repositories(settings);
    free(settings->repositories_fault);
    for (size_t i = 0; i < settings->language_count; i++) {
        node_strings_free(settings->languages[i].languages);
        node_strings_free(settings->languages[i].extensions);
        node_strings_free(settings->languages[i].keywords);
        free(settings->languages[i].line_comment);
    }
    free(settings->repositories);
    free(settings->languages);
    free(settings);
}

/* Without user, password and a trailing .git; what is no name character becomes one '_' each run. */
char *settings_repository_directory(const char *git_url) {
    struct span url = span_of(git_url);
    if (span_ends(url, ".git")) url.size -= 4;
    struct text out = {0};
    const char *scheme = memmem(url.data, url.size, "://", 3);
    size_t at = 0;
    if (scheme) {
        size_t begin = (size_t)(scheme - url.data) + 3, end = begin;
        while (end < url.size && url.data[end] != '/') end++;
        const char *user = memrchr(url.data + begin, '@', end - begin);
        text_add(&out, (struct span){url.data, begin});
        at = user ? (size_t)(user - url.data) + 1 : begin;
    }
    text_add(&out, (struct span){url.data + at, url.size - at});
    size_t to = 0;
    for (size_t i = 0; i < out.size; i++) {
        bool name = isalnum((unsigned char)out.data[i]) || strchr("_.-", out.data[i]);
        char c = name && out.data[i] ? out.data[i] : '_';
        if (c == '_' && to > 0 && out.data[to - 1] == '_') continue;
        out.data[to++] = c;
    }
    out.size = to;
    if (out.data) out.data[to] = 0;
    return text_take(&out);
}
