/* settings: config.toml, Tabby's own, read and checked.
 *
 * What it knows that others don't: each key, its type, its default, and where in the file something is wrong.
 * It asks nobody and opens nothing but that file. Keys that nobody knows are ignored, as Tabby ignores them,
 * but told. */
#pragma once
#include "base.h"

struct settings_search {
    double min_embedding_score, min_bm25_score, min_rrf_score;
    uint32_t num_to_return, num_to_score;
};

enum settings_source { SETTINGS_NONE, SETTINGS_LOCAL, SETTINGS_HTTP };
struct settings_model {
    enum settings_source source;
    /* local */
    char *model_id;
    uint32_t parallelism, gpu_layers, context_tokens;
    bool fast_attention;
    /* http */
    char *kind, *api_endpoint, *api_key, *model_name, *prompt_template, *chat_template;
    uint64_t requests_per_minute;
    char **supported_models; /* NULL-terminated; NULL: not said */
    /* both */
    char **stop_words; /* NULL-terminated; NULL: none */
};

struct settings_repository {
    char *git_url;
    char **refs; /* NULL-terminated; NULL: the default branch */
};

struct settings_language {
    char **languages, **extensions, **keywords; /* NULL-terminated; keywords may be NULL */
    char *line_comment;                         /* NULL: none */
    uint32_t chunk_bytes;                       /* 0: the default */
};

struct settings {
    uint64_t completion_timeout_s;
    uint32_t completion_input_bytes, completion_tokens;
    struct settings_search completion_search, answer_search;
    uint32_t embedding_input_length; /* 0: no cut */
    double answer_presence_penalty;
    char *answer_system_prompt; /* NULL: the built-in one */
    struct settings_model completion, chat, embedding;
    struct settings_repository *repositories;
    size_t repository_count;
    char *repositories_fault; /* two of them would lie in one place: none is taken; NULL: all is well */
    struct settings_language *languages;
    size_t language_count;
};

/* Absent: the defaults. INVALID_ARGUMENT: not TOML, or a wrong type or value (line and column told).
 * FAILED_PRECONDITION: a model that is not among its own supported ones. `unknown`, where not NULL, is called
 * for each key that nobody knows ("line 3: [server] typo"). */
must_check struct error *settings_read(const char *path, void (*unknown)(void *owner, const char *text),
                                       void *owner, struct settings **ret_settings);
/* The same of a text. */
must_check struct error *settings_parse(struct span text, void (*unknown)(void *owner, const char *text),
                                        void *owner, struct settings **ret_settings);
void settings_free(struct settings *settings);
DEFINE_SCOPED(settings)
/* The directory under repositories/ that Tabby gives a URL; owned by the caller. */
char *settings_repository_directory(const char *git_url);
