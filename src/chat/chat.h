/* chat: from a chat request of OpenAI's kind to the answer, piece by piece.
 *
 * What it knows that others don't: the request's JSON, chat templates and tools (through face.h), which bytes
 * of the model's output are told when. It asks the llama room to compute; it knows nothing of HTTP. */
#pragma once
#include "llama.h"

/* ---- templates: one set a model ---- */
struct chat_templates;
/* `text`: the template that the model's metadata names; NULL: the model file's own. The file's own is also
 * taken for requests with tools that the named one knows nothing of. INVALID_ARGUMENT: it can't be read. */
must_check struct error *chat_templates_new(const struct engine *engine, const char *text,
                                            struct chat_templates **ret_templates);
void chat_templates_free(struct chat_templates *templates);
DEFINE_SCOPED(chat_templates)

/* ---- request ---- */
#define CHAT_STOPS_MAX 16
#define CHAT_BIASES_MAX 300
struct chat_request {
    json_t *root; /* what is below points into it */
    struct span model, user;
    const json_t *messages, *tools, *schema, *template_arguments; /* the latter three: NULL where absent */
    json_t *one_tool;                                             /* owned: tool_choice named one */
    const char *tool_choice;                                      /* "auto", "none", "required" */
    bool has_stream, stream, wants_usage, parallel_tools;
    uint32_t max_tokens; /* 0: none given */
    double temperature, top_p, presence_penalty, frequency_penalty;
    bool has_seed;
    uint64_t seed;
    struct span stops[CHAT_STOPS_MAX];
    size_t stop_count;
    struct engine_bias biases[CHAT_BIASES_MAX];
    size_t bias_count;
};
/* INVALID_ARGUMENT: not JSON. FAILED_PRECONDITION: JSON, but not such a request. UNIMPLEMENTED: it asks for
 * what is not served, and the text says what. */
must_check struct error *chat_request_parse(struct span body, struct chat_request **ret_request);
void chat_request_free(struct chat_request *request);
DEFINE_SCOPED(chat_request)

/* ---- plain: control words in what users say are text ---- */
/* Writes a copy of a JSON value in which each control word in a text is replaced by a mark. */
must_check json_t *chat_plain_mark(const json_t *value, const char *const *controls);
/* Cuts a rendered prompt at its marks: the template's text, whose control words count, and the words that
 * stood where the marks are, which don't. The array is owned by the caller (free), the texts are borrowed. */
size_t chat_plain_pieces(struct span prompt, const char *const *controls, struct engine_piece **ret_pieces);

/* ---- stops: what may be told of a text that ends at the first of some words ---- */
struct chat_stops;
struct chat_stops *chat_stops_new(const struct span *words, size_t count); /* words are copied */
void chat_stops_free(struct chat_stops *stops);
/* True: one of the words is complete in what was added so far. */
bool chat_stops_add(struct chat_stops *stops, struct span bytes);
/* All that may be told: up to the first word, or without a tail that may become one. `whole`: nothing more
 * comes. */
struct span chat_stops_text(const struct chat_stops *stops, bool whole);

/* ---- run ---- */
enum chat_finish { CHAT_STOP, CHAT_LENGTH, CHAT_TOOL_CALLS };
struct chat_end {
    struct error *error; /* owned by `done`. INVALID_ARGUMENT, OUT_OF_RANGE: the request's fault */
    enum chat_finish finish;
    json_t *message; /* {role, content, tool_calls?, reasoning_content?}; borrowed for the call */
    uint32_t prompt_tokens, reused_tokens, generated_tokens;
};
struct chat_options {
    struct engine *engine;
    const struct chat_templates *templates;
    const char *const *stop_words; /* more of them; NULL-terminated or NULL */
    /* OpenAI's delta: {content} or {reasoning_content} or {tool_calls}; borrowed for the call. NULL: only the
     * end is wanted. */
    void (*delta)(void *owner, const json_t *delta);
    void (*done)(void *owner, struct chat_end *end); /* exactly once, never from inside chat_start */
    void *owner;
};
struct chat;
/* Borrows the options' pointers until done. INVALID_ARGUMENT: the template refuses the messages.
 * RESOURCE_EXHAUSTED: the queue is full. */
must_check struct error *chat_start(const struct chat_options *options, const struct chat_request *request,
                                    struct chat **ret_chat);
void chat_cancel(struct chat *chat); /* done still comes */
