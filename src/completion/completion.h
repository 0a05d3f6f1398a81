/* completion: from a request of Tabby's kind to the text that belongs at the cursor.
 *
 * What it knows that others don't: the request's JSON, languages and their stop words, how a prompt is built
 * and cut, what of the model's output is told. It asks the llama room to compute; it knows nothing of HTTP.
 */
#pragma once
#include "llama.h"

/* ---- languages (Tabby's table) ---- */
struct language {
    const char *ids;      /* separated by blanks */
    const char *comment;  /* NULL: none known. "" for a language that nobody knows: a line is all there is */
    const char *keywords; /* at the start of a line they begin something new; separated by blanks; "" */
};
/* `more`: languages that are not in Tabby's table; NULL, or ended by one without ids. */
const struct language *language_find(struct span id, const struct language *more); /* never NULL */

/* ---- stop words ---- */
struct stop;
/* `prompt`: a match may reach back into its end. `more`: NULL or more words, NULL-terminated. */
struct stop *stop_new(const struct language *language, struct span prompt, const char *const *more);
void stop_free(struct stop *stop);
DEFINE_SCOPED(stop)
/* Adds a piece of output. True: a stop word is complete; the text ends before it. */
bool stop_add(struct stop *stop, struct span piece);
void stop_ignore(struct stop *stop);            /* no words at all: only collects */
struct span stop_text(const struct stop *stop); /* all output so far, or up to the stop word */

/* ---- request ---- */
#define COMPLETION_SNIPPETS_MAX 64
#define COMPLETION_FOUND_MAX 64
struct completion_snippet {
    struct span filepath, body;
    double score;
};
struct completion_request {
    json_t *root; /* the spans below point into it */
    struct span language;
    bool has_segments;
    struct span prefix, suffix, filepath, git_url;
    struct completion_snippet snippets[COMPLETION_SNIPPETS_MAX];
    /* In this order in `snippets`: declarations, changed files, opened files. */
    size_t list_counts[3];
    /* What the server found itself; borrowed. They fill what the others leave of the budget. */
    struct completion_snippet found[COMPLETION_FOUND_MAX];
    size_t found_count;
    struct span user;
    bool has_raw_prompt, has_debug, wants_snippets, wants_prompt, no_retrieval;
    struct span raw_prompt;
    bool has_temperature, has_seed, next_edit, has_edit_history;
    double temperature;
    uint64_t seed;
    struct span original_code, edits_diff, current_version;
};
/* INVALID_ARGUMENT: not JSON. FAILED_PRECONDITION: JSON, but not such a request (422). OUT_OF_RANGE: nothing
 * to complete (400, told with an empty body). */
must_check struct error *completion_request_parse(struct span body, struct completion_request **ret_request);
/* Whether snippets that the server finds itself would get into the prompt. */
bool completion_request_wants_found(const struct completion_request *request,
                                    const struct language *more_languages);
void completion_request_free(struct completion_request *request);
DEFINE_SCOPED(completion_request)

/* ---- prompt ---- */
#define PROMPT_INPUT_BYTES 1536  /* of the prompt, the template included; the rest is cut */
#define PROMPT_SNIPPET_BYTES 768 /* of snippets, together */
#define PROMPT_FOUND_BYTES 256   /* so many must be left for what the server finds */
struct prompt {
    struct text whole;    /* as Tabby's contract has it: before any cutting */
    struct text prefix;   /* with the snippets before it; cut to fit */
    struct text suffix;   /* cut to fit */
    struct text parts[3]; /* the template's own text: first, between, last */
    bool suffix_first;    /* the template has {suffix} before {prefix} */
    bool has_template, crlf;
    size_t snippet_count; /* the first of them that are in */
    const struct completion_snippet *snippets[COMPLETION_SNIPPETS_MAX + COMPLETION_FOUND_MAX];
};
struct window;
struct prompt_options {
    const char *template_text; /* NULL: the prefix alone */
    struct window *window;     /* NULL: what the editor sees is all there is */
    size_t input_bytes;
    const struct language *languages; /* more of them, or NULL */
    struct span user;                 /* whose document it is: those of others are never mixed with it */
};
/* INVALID_ARGUMENT: a template without {prefix}. */
must_check struct error *prompt_build(const struct completion_request *request,
                                      const struct prompt_options *options, struct prompt *ret_prompt);
void prompt_done(struct prompt *prompt);
/* Pieces for the engine; borrowed from the prompt. Returns how many. */
size_t prompt_pieces(const struct prompt *prompt, struct engine_piece pieces[5]);
must_check struct error *template_check(const char *template_text);

/* ---- window: lines that an editor's view slid past ---- */
/* Editors send the last lines before the cursor only, so with each new line the first one goes and nothing of
 * the cache would fit. The window remembers what it was told of a document and puts those lines back, as long
 * as all fits. */
struct window *window_new(void);
void window_free(struct window *window);
/* Writes to `prefix` what the model gets for the view `seen`: of a new document at most `limit_bytes` of its
 * end, from the start of a line; of a known one the view with what was kept before it, up to WINDOW_STRETCH
 * times as much. */
#define WINDOW_STRETCH 2
void window_extend(struct window *window, struct span document, struct span seen, size_t limit_bytes,
                   struct text *prefix);

/* ---- run ---- */
/* A model that is not here: asked through these. */
struct completion_ask {
    struct span prompt, prefix, suffix; /* borrowed for the call */
    uint32_t max_tokens;
    double temperature;
    uint64_t seed;
    bool (*text)(void *owner, struct span utf8);    /* false: that is enough */
    void (*done)(void *owner, struct error *error); /* exactly once, later; owned by it */
    void *owner;
};
struct completion_source {
    bool takes_parts; /* prefix and suffix; else a prompt */
    void *(*start)(void *source, const struct completion_ask *ask);
    void (*cancel)(void *run); /* done still comes */
    void *source;
};

struct completion_end;
struct completion_options {
    struct engine *engine;                  /* or: */
    const struct completion_source *source; /* NULL: the engine */
    struct window *window;
    const char *template_text;
    const char *const *stop_words;    /* more of them; NULL-terminated or NULL */
    uint32_t max_tokens;              /* 0: 64 */
    uint32_t input_bytes;             /* of the prompt; 0: PROMPT_INPUT_BYTES */
    const struct language *languages; /* more of them, or NULL */
    struct span user;                 /* who asks, as the server knows it; borrowed for the call */
    void (*done)(void *owner, struct completion_end *end);
    void *owner;
};
struct completion_end {
    struct error *error;                /* owned by `done` */
    struct span text;                   /* borrowed for the call */
    const struct prompt *prompt;        /* borrowed for the call */
    const struct engine_result *result; /* NULL where another server computed */
};
struct completion;
/* Borrows `request` and the options' pointers until done. */
must_check struct error *completion_start(const struct completion_options *options,
                                          const struct completion_request *request,
                                          struct completion **ret_completion);
void completion_cancel(struct completion *completion); /* done still comes */
