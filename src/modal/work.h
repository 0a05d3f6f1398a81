/* work: what was asked of functions: calls, their inputs, what is said meanwhile. A part of inside.h.
 *
 * A call is in memory while it has work before it or somebody asks for it; rest.h and journal.h tell how it
 * is kept beyond that. */
#pragma once

enum input_state {
    INPUT_QUEUED,
    INPUT_ASSIGNED /* to a task that has not asked yet */,
    INPUT_RUNNING,
    INPUT_DONE
};
struct chunk {
    struct list node;
    uint64_t index;
    struct text data; /* a DataChunk, packed; empty: in the spool */
    size_t size;      /* of it */
    uint64_t offset;
};
struct stream { /* chunks by index, from 1 */
    struct list chunks;
    uint64_t count;      /* written so far */
    uint64_t lost;       /* of them, with another daemon, or read long ago */
    uint64_t given;      /* how far a reader has come, the furthest one */
    struct list readers; /* held FunctionCallGetData... */
    size_t bytes;        /* in chunks, wherever they are */
    size_t unread;       /* of them, behind `given` */
    struct modal *modal; /* its chunks may go to the disk; NULL: they may not, who writes is held back */
    struct spool *spool; /* NULL: none did so far */
    bool cramped;        /* the disk took none */
    bool read_on;        /* its reader was ended by us, and asks again where it is */
    bool once;           /* what a reader got is forgotten: one reader, which goes on where it is */
};
struct call {
    char id[ID_MAX]; /* fc-... */
    struct modal *modal;
    struct function *function; /* NULL: it is gone, and all inputs are done */
    int type;                  /* MODAL__FUNCTION_CALL_TYPE__... */
    bool scheduled;            /* nobody asks for its result; retried as any other */
    bool in_parts;             /* its answers are taken and dropped as they are read */
    struct list inputs;        /* all */
    struct list outputs;       /* inputs that are done, in that order, not yet given for good */
    size_t input_count, done_count;
    uint64_t outputs_made;
    struct list waiters; /* held FunctionGetOutputs */
    struct stream in, out;
    /* A web request instead of readers and waiters: */
    bool (*on_out)(void *owner, struct span chunk); /* false: the client is slow; then call_out_drained */
    void (*on_out_end)(void *owner);                /* after each batch of `on_out`; may free the call */
    void (*on_done)(void *owner, const struct input *input); /* may free the call */
    void (*on_in_taken)(void *owner);                        /* chunks of `in` went to the container */
    struct list choked; /* held FunctionCallPutDataOut: the client is slow */
    void *owner;
    struct kin *kin; /* of callgraph.c; NULL: it called none, and nobody at work called it */
    double created_at;
    /* Of a client's, which is kept over a restart: */
    bool kept;
    bool asked_async;     /* of a map: its outputs are read by whoever has its id, not once by its client */
    bool unwanted;        /* its client wants nothing more of it */
    bool collected;       /* the same, and all is done: it goes in a moment */
    bool restored;        /* another daemon began it */
    bool numbers_anew;    /* of its outputs, in this life of the daemon */
    bool unsure;          /* not all of it could be written */
    int invocation;       /* MODAL__FUNCTION_CALL_INVOCATION_TYPE__... */
    bool forgotten;       /* it goes from the store too */
    char root_id[ID_MAX]; /* of its graph; "": itself, as far as is known */
    char app_id[ID_MAX], function_id[ID_MAX]; /* also where the function is gone */
    char *once;                               /* of the request that made it; NULL */
    uint32_t seq;                             /* of the next input */
    uint64_t gone_badly;                      /* of `gone`: not by success, as far as this daemon knows */
    uint64_t gone;      /* inputs of a map that went when its client had their outputs; counted above too */
    uint64_t rested_at; /* in seconds: it is in the store, this is a copy; 0: it is at work */
    int64_t asked_ms;   /* monotonic: when it was asked for last */
    int64_t told_ms;    /* the same: when outputs were told last */
    struct list node;   /* of those that are collected */
};
struct input {
    char id[ID_MAX]; /* in-... */
    struct call *call;
    uint32_t seq;             /* in the call */
    uint32_t losses;          /* containers that ended with the daemon while they had it */
    uint64_t poll;            /* the container's request that was answered with it; 0: none told */
    uint64_t container;       /* while it is restored: who has it */
    bool resumed;             /* its container was given it by another daemon */
    bool piped;               /* it came with its call */
    bool noted, result_noted; /* the store has `bytes`, and `result` */
    uint32_t size;            /* of `bytes`, wherever they are */
    double due_at;            /* of its retry; 0: none */
    struct list node;         /* in call->inputs */
    struct list queue;        /* function->queue or ->retrying, task->assigned or ->running */
    struct list done;         /* call->outputs */
    int32_t idx;
    uint32_t result_size; /* and of `result` */
    struct text bytes;    /* FunctionInput as it came; empty: in the store only, or done */
    enum input_state state;
    struct task *task;
    uint64_t worked_by; /* the last container that was given it; 0: none */
    struct slot *slot;  /* its ticket, from the grant on */
    struct list mates;  /* in slot->inputs */
    struct io_timer *retry;
    uint32_t retry_count;
    bool final; /* the container ends after it */
    uint64_t output_number;
    struct text result; /* GenericResult as it came; empty: in the store only, or given */
    int result_format;
    int status;
    double started_at, output_at;
};
struct call *call_new(struct modal *modal, struct function *function_or_null, int type);
void call_invocation_set(struct call *call, int invocation);
/* As who asked is told of them. */
Modal__FunctionMapResponse *call_told(const struct call *call, struct arena *arena);
Modal__FunctionPutInputsResponseItem *call_input_told(const struct input *input, struct arena *arena);
void call_free(struct call *call);
void call_output_made(struct call *call); /* who waits gets it */
struct input *call_add(struct call *call, int32_t idx, struct span bytes);
void call_cancel(struct call *call, bool terminate, const char *why);
void calls_function_gone(struct function *function); /* what still waits for it fails */
void stream_init(struct stream *stream, struct modal *modal_or_null);
/* The bytes, or the id of a blob that has them. */
void stream_add(struct stream *stream, struct span chunk_data, const char *blob_id_or_null, int format);
void stream_done(struct stream *stream);
void stream_lost(struct stream *stream, uint64_t count); /* the first ones are not here */
void stream_generator_done(struct call *call, const struct input *input);
bool call_out_room(struct call *call); /* false: who writes is to wait for readers */
void call_out_drained(struct call *call);
extern const struct rpc_method call_methods[], stream_methods[], dataout_methods[];

/* Of another daemon's: its container has it, with its slot where that can be. */
void input_resume(struct input *input, struct task *task);
void input_retry_at(struct input *input, double due_at);

/* ---- held.c: their texts, in memory or in the store ---- */
bool held_is_full(const struct modal *modal); /* what can be elsewhere goes there */
void input_bytes_set(struct input *input, struct span bytes);
void input_result_set(struct input *input, struct span result);
void input_noted(struct input *input);        /* the store has it */
void input_result_noted(struct input *input); /* and its result */
void input_texts_done(struct input *input);
/* Its own, or the arena's. */
must_check struct error *input_bytes(const struct input *input, struct arena *arena, struct span *ret);
must_check struct error *input_result(const struct input *input, struct arena *arena, struct span *ret);

struct slot {         /* a ticket of the pool, and from its grant on its input, or the batch of them */
    struct list node; /* of function->slots while it waits */
    struct function *function; /* NULL: it is gone */
    struct pool_ticket *ticket;
    struct list inputs;
    size_t count; /* of inputs */
    bool lingers; /* for more of its batch */
};
void input_enqueue(struct input *input);
void input_free(struct input *input);
void input_withdraw(struct input *input); /* out of all queues, without a word */
void input_finish(struct input *input, struct span result, int format); /* with what a container said */
void input_fail(struct input *input, int status, const char *exception);
void input_lost(struct input *input, const char *why); /* its container ended: again, or failed */
void function_pump(struct function *function);         /* as many tickets as its queue needs */
void function_refuse_all(struct function *function, const char *why);
/* A container of it failed before it asked for work: who waits gets that failure, with what Python said. */
void function_start_failed(struct function *function, const Modal__GenericResult *result);
