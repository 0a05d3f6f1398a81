/* llama: the model that computes, libllama in process.
 *
 * One thread computes, one context holds all sequences; jobs come in through a bounded queue and their ends
 * come back on the loop. What it knows that others don't: tokens, the KV cache (slots: the documents whose
 * prefixes are kept), batches, cancellation in the middle of a batch, sampling. It knows nothing of HTTP, of
 * languages or of stop words. Names begin with engine_ and gguf_, because llama_ is libllama's. */
#pragma once
#include "io.h"

/* ---- the model file, before libllama sees it ---- */
struct gguf_facts {
    char architecture[32]; /* "" where the file does not say */
    char name[128];
    uint64_t tensors;
    uint64_t needed_bytes; /* the file must be at least as long */
};
/* Reads the head (all before the tensors' data) of a GGUF file whose first bytes are `head` and which is
 * `file_bytes` long. INVALID_ARGUMENT: not GGUF, or nonsense in it; DATA_LOSS: the file is shorter than its
 * own head says. */
must_check struct error *gguf_check(struct span head, uint64_t file_bytes, struct gguf_facts *ret_facts);
must_check struct error *gguf_check_file(const char *path, struct gguf_facts *ret_facts);
/* The path of a part of a split model ("...-00001-of-00003.gguf"), from 1; NULL beyond the last. The first
 * one of a model that is not split is `first` itself. Owned by the caller. */
char *gguf_part(const char *first, uint32_t part);

/* ---- bytes of a text that comes in pieces ---- */
/* How many bytes at the front hold whole code points only: at most 3 fewer than size. Invalid bytes count as
 * whole. */
size_t utf8_whole(struct span bytes);
/* The first boundary of a code point at or after `at`. */
size_t utf8_boundary(struct span bytes, size_t at);

/* ---- devices ---- */
/* Whether libllama can compute on it here ("cpu", "cuda", "rocm", "metal", "vulkan"); its backend is loaded
 * where it is a library of its own. UNIMPLEMENTED: the text says what is missing. */
must_check struct error *engine_device_check(const char *device);
json_t *engine_device_names(const char *device); /* of the GPUs of that kind; owned by the caller */

/* ---- engine ---- */
struct engine_options {
    const char *path;        /* of the (first) GGUF file; borrowed */
    uint32_t threads;        /* 0: as many CPUs as this process may use */
    bool repacked;           /* the weights were rewritten */
    uint32_t parallelism;    /* jobs computed at once, of each kind (patient or not); >= 1 */
    uint32_t context_tokens; /* that jobs at work may hold, together; 0: there are none, or, where
                                there are no patient ones either, 4096 */
    uint32_t patient_tokens; /* the same of patient jobs, beside the others'; 0: there are none */
    uint32_t queue_limit;    /* jobs waiting; 0: 64 */
    uint32_t
        drift_tokens; /* how far a movable piece may be older than what stands before it; 0: never moved */
    uint32_t seam_tokens; /* of a movable piece's beginning that are computed anew each time */
    uint32_t gpu_layers;  /* at most; 0: none, also where there is a GPU */
    bool flash_attention; /* demanded; else libllama decides */
    bool repack; /* weights rewritten for speed: quicker prompts, slower start, memory that can't be given
                    back */
    const char *keep; /* directory for the caches of documents between two processes, of all models; copied;
                         NULL: none */
    uint64_t keep_bytes; /* of its files, together */
    void (*loaded)(void *owner,
                   struct error *error); /* on the loop, once; error is owned by it. NULL: start jobs */
    void *owner;
};
struct engine;
struct engine *engine_new(struct io_loop *loop,
                          const struct engine_options *options); /* loads in the background */
void engine_free(
    struct engine *engine); /* cancels what is left, without `done`; waits for the compute thread */

/* A prompt is built of pieces, in order. */
struct engine_piece {
    struct span text;
    bool special; /* control tokens in it are meant (a template's own text); else they are ordinary text (the
                     user's) */
    /* May be computed against an older version of what stands before it, and moved along when that grows: a
     * document's suffix while its user types. All movable pieces stand together, and something that is not
     * movable follows them. */
    bool movable;
    /* Loses its front where the prompt does not fit into the context; without one such a job fails. */
    bool shrinks;
};
enum engine_finish {
    ENGINE_STOPPED,
    ENGINE_CHECKED,
    ENGINE_LENGTH
}; /* end token; `check` said so; max_tokens */
struct engine_result {
    struct error *error; /* CANCELLED, OUT_OF_RANGE (longer than the context), INTERNAL; owned by `done` */
    enum engine_finish finish;
    uint32_t prompt_tokens, reused_tokens, moved_tokens, generated_tokens;
    int64_t queued_us, prompt_us, generate_us;
};
struct engine_bias {
    int32_t token;
    float bias; /* added to its logit */
};
struct engine_job_options {
    const struct engine_piece *pieces; /* copied */
    size_t piece_count;
    uint32_t max_tokens; /* 0: what its share of the context leaves */
    bool patient;        /* others go first: a chat, beside completions that somebody waits for at each key */
    float temperature;   /* 0: the likeliest token, always */
    float top_p;         /* 0: 0.95 */
    float min_p;         /* 0: none */
    uint32_t top_k;      /* 0: 40 */
    uint64_t seed;
    float presence_penalty, frequency_penalty; /* OpenAI's, over what was generated */
    const struct engine_bias *biases;          /* copied */
    size_t bias_count;
    const char *grammar;         /* GBNF that the answer follows, copied; NULL: none */
    const char *const *triggers; /* regular expressions, NULL-terminated, copied: it holds from where one
                                    matches on; NULL: from the beginning */
    const char *begun; /* what the prompt has of the answer already, for the grammar; copied; or NULL */
    /* Control tokens that may be in the answer, as text; NULL-terminated, copied. */
    const char *const *spelled;
    /* On the compute thread, for each piece of output (bytes, may end inside a code point): false ends the
     * job. Touches only what belongs to this job. May be NULL. */
    bool (*check)(void *owner, struct span bytes);
    /* On the loop: whole code points as they come. May be NULL. */
    void (*text)(void *owner, struct span utf8);
    void (*done)(
        void *owner,
        const struct engine_result *result); /* on the loop, exactly once; after it the job is gone */
    void *owner;
};
struct engine_job;
/* RESOURCE_EXHAUSTED: the queue is full. */
must_check struct error *engine_job_start(struct engine *engine, const struct engine_job_options *options,
                                          struct engine_job **ret_job);
/* Computing for it stops within a few ms, in the middle of a prompt too. `done` still comes, with CANCELLED.
 */
void engine_job_cancel(struct engine_job *job);

/* How long jobs took that were not given up: counts by upper bounds, the last without one. */
#define ENGINE_BOUNDS_US \
    { 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000 }
#define ENGINE_BOUNDS 11
struct engine_times {
    uint64_t counts[ENGINE_BOUNDS + 1];
    int64_t sum_us;
};
/* Since the start. */
struct engine_counters {
    uint64_t jobs, cancelled, failed;
    uint64_t prompt_tokens, reused_tokens, moved_tokens; /* moved ones are part of the reused */
    uint64_t generated_tokens;
    uint64_t steps, aborted_steps;
    int64_t queued_us, prompt_us, generate_us; /* of ended jobs, summed */
    uint32_t queued, working;                  /* now */
    uint32_t threads;                          /* that compute, now */
    bool repacked;                             /* the weights were rewritten */
    struct engine_times first_token, whole;    /* from the queue on */
    int64_t load_us;
    uint64_t restored; /* documents that an earlier process had kept */
};
/* After `loaded`: the model itself, for what only reads it (its vocabulary, its templates). */
struct llama_model;
const struct llama_model *engine_model(const struct engine *engine);
/* The texts of the control tokens, NULL-terminated: in a user's text they are to be ordinary text. */
const char *const *engine_controls(const struct engine *engine);
uint32_t engine_tokens(const struct engine *engine); /* in the vocabulary */
void engine_counters(struct engine *engine, struct engine_counters *ret_counters);
const struct gguf_facts *engine_facts(const struct engine *engine); /* after `loaded` */
/* Gives the pages of the mapped weights back to the system; they come again as they are touched. Returns the
 * bytes given back. */
uint64_t engine_give_back(struct engine *engine);

/* ---- embedder: texts to vectors ---- */
struct embedder_options {
    const char *path;        /* of the (first) GGUF file; copied */
    uint32_t threads;        /* 0: half of the CPUs */
    uint32_t gpu_layers;     /* at most */
    uint32_t context_tokens; /* of one text; 0: 2048. What is longer loses its end */
};
struct embedder;
/* Loads nothing yet: the first call does. These calls block, and may come from any thread. */
struct embedder *embedder_new(const struct embedder_options *options);
void embedder_free(struct embedder *embedder); /* no call may be under way */
must_check struct error *embedder_dimensions(struct embedder *embedder, uint32_t *ret_dimensions);
/* `out` has room for so many numbers. INVALID_ARGUMENT: the file is no model that embeds. */
must_check struct error *embedder_run(struct embedder *embedder, struct span text, float *out);
uint64_t embedder_give_back(struct embedder *embedder); /* as engine_give_back */
