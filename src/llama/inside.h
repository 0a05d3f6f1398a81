/* The llama room's own: the engine's state, shared between its files.
 *
 * Above the line `mutex`: set before the thread starts, or guarded by the mutex. Below it: the compute
 * thread's alone. A slot keeps one document: `trunk` is the sequence of its head (what stands before the
 * movable pieces), `branch` is trunk plus the moved pieces plus what was generated. Without movable pieces
 * only trunk is used. */
#pragma once
#include "grammar.h"
#include "llama.h"

#include <include/llama.h>
#include <pthread.h>
#include <stdatomic.h>

#define STEP_TOKENS 128 /* the most in one decode: a cancelled one is lost whole, so it must not be long */
#define STEP_TOKENS_MIXED 64 /* beside a job that generates: it must not stutter */
#define PATIENCE_STEPS 4     /* while one that is not patient generates, patient prompts get each 4th step */
#define URGENT_US 10000000   /* so long after a job that was not patient the next one is expected */
#define SLOTS_MIN 4          /* documents kept, also when only one job computes at a time */
#define ANSWER_TOKENS 1024   /* for an answer without a limit, where the context has room */
#define PARALLELISM_MAX 32   /* libllama has 256 sequences at most; a slot takes two */

struct tokens {
    llama_token *data;
    uint32_t count, capacity;
};

enum job_phase { JOB_QUEUED, JOB_HEAD, JOB_TAIL, JOB_GENERATE, JOB_ENDED };

struct engine_job {
    struct list node; /* queue, then the list of ended ones */
    struct engine *engine;
    struct engine_job_options options; /* pieces are ours */
    struct engine_result result;
    atomic_bool cancelled;
    struct text said; /* guarded: for `text`, not told yet */
    /* the compute thread's */
    enum job_phase phase;
    bool tokenised;
    struct tokens head, movable, tail; /* tail is empty where nothing is movable */
    struct text held;                  /* the unfinished code point at the end of the output */
    llama_token next;                  /* sampled, not decoded yet */
    uint64_t dice;
    struct grammar *grammar;                     /* NULL: none */
    struct tokens spelled;                       /* allowed and told although they are control tokens */
    struct tokens seen;                          /* distinct ones that were generated ... */
    uint32_t *seen_counts, seen_counts_capacity; /* ... and how often; kept where penalties ask for it */
    int64_t began_us;
};

struct slot {
    llama_seq_id trunk, branch;
    struct engine_job *job;
    struct tokens held;    /* in trunk, positions 0.. */
    struct tokens movable; /* in branch from movable_at */
    uint32_t branch_head;  /* how much of trunk is in branch too */
    uint32_t movable_at;
    uint32_t movable_head; /* how long the head was when they were computed ... */
    uint32_t movable_same; /* ... and how much of that head has stayed the same since */
    uint32_t tail_done;    /* of movable (when computed anew) and tail: decoded */
    uint32_t generated;    /* tokens in the cache behind the tail */
    bool moved;            /* this job found its movable pieces and moves them */
    uint32_t step_tokens;  /* of it in the batch that is being computed */
    int64_t used_us;
};

struct threads {
    uint32_t now;             /* in use */
    int64_t changed_us;       /* when their number changed */
    int64_t retry_us;         /* how long after that one more is tried */
    bool tried;               /* this step is such a try */
    int64_t began_us, ran_us; /* of this step */
};

struct engine {
    struct io_loop *loop;
    struct io_post *post;
    struct engine_options options;
    char *path;
    char *keep; /* NULL: nothing is kept */
    struct gguf_facts facts;
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct list queue, ended; /* jobs */
    struct list working;      /* jobs that have left the queue */
    uint32_t queued;
    bool loaded, loaded_told;
    struct error *load_error;
    struct engine_counters counters;
    atomic_bool stopping;

    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    uint8_t *marks; /* by token: MARK_ bits */
    char **controls;
    uint32_t token_count;
    struct slot *slots;
    uint32_t slot_count;
    struct llama_batch batch;
    bool shifted; /* cells were moved, and no step has turned their keys yet */
    struct threads threads;
    int64_t urgent_us; /* when the last job that was not patient was at work */
};

/* engine.c: libllama, its log through ours. As often as one likes. */
void llama_begin(void);

/* vocab.c */
enum { MARK_END = 1, MARK_BANNED = 2, MARK_SPELLED = 4 /* control by kind, but told as text */ };
void vocab_read(struct engine *engine);
must_check struct error *vocab_tokenise(struct engine *engine, struct engine_job *job);
struct span vocab_piece(struct engine *engine, const struct engine_job *job, llama_token token, char *buffer,
                        size_t size_bytes);
void tokens_add(struct tokens *tokens, const llama_token *data, uint32_t count);
void tokens_done(struct tokens *tokens);
#define scoped_tokens __attribute__((cleanup(tokens_done)))
/* A template's own text, without what a vocabulary puts before a prompt. */
must_check struct error *vocab_split(struct engine *engine, struct span text, struct tokens *out);
uint32_t tokens_common(const struct tokens *a, const struct tokens *b);

/* sample.c */
#define CANDIDATES_MAX 128
/* The k best, the best first; returns how many there are. k <= CANDIDATES_MAX. */
uint32_t sample_best(const float *logits, const uint8_t *marks, uint32_t count, llama_token_data *out,
                     uint32_t k);
uint32_t sample_width(const struct engine_job_options *options); /* the k to ask for */
/* One of them, which are sorted and not none. */
llama_token sample_draw(const llama_token_data *candidates, uint32_t count,
                        const struct engine_job_options *options, uint64_t *dice);

/* choose.c: the next token of a job; `logits` are changed. -1: its grammar allows none. */
llama_token choose_token(struct engine *engine, struct engine_job *job, float *logits);
must_check struct error *choose_prepare(struct engine *engine, struct engine_job *job); /* on the thread */

/* maps.c: of a model file and its further parts */
uint64_t maps_give_back(const char *first);

/* threads.c: around each step */
void threads_begin(struct engine *engine);
void threads_end(struct engine *engine);

/* job.c */
struct engine_job *job_new(const struct engine_job_options *options);
void job_free(struct engine_job *job);
/* On the thread: the job has left its slot. */
void job_end(struct engine *engine, struct engine_job *job, struct error *taken_error);

/* slot.c: the best slot for a job, prepared so that decoding can begin; NULL when all work */
struct slot *slot_take(struct engine *engine, struct engine_job *job);
void slot_forget(struct engine *engine, struct slot *slot);
bool slot_forget_oldest(struct engine *engine);             /* of those that don't work */
void slot_branch(struct engine *engine, struct slot *slot); /* the head is complete: make the branch */
void slot_follow(struct engine *engine, struct slot *slot); /* what trunk has is in branch too */
void slot_release(struct engine *engine, struct slot *slot);

/* keep.c: on the thread */
void keep_save(struct engine *engine);
void keep_restore(struct engine *engine);
/* kept.c */
char *kept_directory(const char *keep, const char *key); /* of one model's; owned by the caller */
/* Until what other models have there is no more than that. */
void kept_make_room(const char *keep, const char *own, uint64_t most_bytes);

/* step.c */
void step(struct engine *engine);
bool step_aborts(void *engine); /* libllama asks it between the nodes of a graph */
