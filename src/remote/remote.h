/* remote: models on other servers, asked over HTTP.
 *
 * What it knows that others don't: the APIs that such servers speak (llama.cpp's, Ollama's, Mistral's,
 * OpenAI's and those like it), their streams, a limit of requests a minute. libcurl does the talking, on the
 * loop. */
#pragma once
#include "io.h"

struct remote_options {
    struct io_loop *loop;
    const char *kind; /* as config.toml names it: "openai/chat", ...; borrowed for the call, as the others */
    const char *endpoint;         /* URL; NULL: what the kind has by default, or an error */
    const char *api_key;          /* NULL: none */
    const char *model;            /* NULL: what the kind has by default, or none */
    uint64_t requests_per_minute; /* more wait */
};
struct remote;
/* INVALID_ARGUMENT: a kind that is none, or something that it needs is missing. */
must_check struct error *remote_new(const struct remote_options *options, struct remote **ret_remote);
void remote_free(struct remote *remote); /* after its calls are done; cuts what is left, without `done` */
bool remote_takes_parts(const struct remote *remote); /* prefix and suffix apart, instead of a prompt */

struct remote_call;
struct remote_completion {
    struct span prompt;         /* where it takes no parts; borrowed for the call, as the others */
    struct span prefix, suffix; /* where it does */
    uint32_t max_tokens;
    double temperature;
    uint64_t seed;
    bool (*text)(void *owner, struct span utf8);    /* false: that is enough */
    void (*done)(void *owner, struct error *error); /* exactly once, later; the error is owned by it */
    void *owner;
};
struct remote_call *remote_complete(struct remote *remote, const struct remote_completion *ask);

struct remote_chat {
    const json_t *body; /* OpenAI's; borrowed for the call. Model and streaming are set here. */
    struct span model;  /* empty: the configured one */
    bool stream;
    /* A chunk of the stream, or the whole answer where it is none; borrowed for the call. */
    void (*json)(void *owner, const json_t *json);
    void (*done)(void *owner, struct error *error);
    void *owner;
};
struct remote_call *remote_chat_start(struct remote *remote, const struct remote_chat *ask);
void remote_cancel(struct remote_call *call); /* done still comes, with CANCELLED */

/* ---- vectors of texts: these block, on any thread; `loop` of the options is not used ---- */
struct remote_embedder;
must_check struct error *remote_embedder_new(const struct remote_options *options,
                                             struct remote_embedder **ret_embedder);
void remote_embedder_free(struct remote_embedder *embedder); /* no call may be under way */
/* Asks the server when it is called for the first time. */
must_check struct error *remote_embedder_dimensions(struct remote_embedder *embedder,
                                                    uint32_t *ret_dimensions);
must_check struct error *remote_embedder_run(struct remote_embedder *embedder, struct span text, float *out);
/* The numbers in a server's answer, whatever it wraps them in; borrowed. NULL: there are none. */
json_t *remote_vector_in(json_t *root);

/* ---- streams, for tests: lines of a server's answer ---- */
enum remote_shape { REMOTE_LLAMA, REMOTE_OLLAMA, REMOTE_FIM, REMOTE_TEXT, REMOTE_CHAT };
/* The JSON that a line of the stream holds, and whether it says that the stream ends; NULL: none (a comment,
 * an empty line, "[DONE]"). INVALID_ARGUMENT: the server told of a fault, or it is not JSON. */
must_check struct error *remote_line_json(enum remote_shape shape, struct span line, json_t **ret_json,
                                          bool *ret_ends);
/* The text in it; empty where there is none. */
struct span remote_json_text(enum remote_shape shape, const json_t *json);
