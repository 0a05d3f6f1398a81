/* The engine: its thread, its queue, and the way of a job from the loop to the compute thread and back.
 *
 *   loop: engine_job_start -> queue            -> thread: slot, steps -> ended list -> loop: text*, done
 * A job is in one list at a time: queue, working or ended. Only the loop makes and frees jobs; only the
 * thread computes. The mutex guards lists, counters and `said`; it is never held over a step. */
#include "inside.h"

#include <sched.h>
#include <stdlib.h>

static struct error *check_files(struct engine *engine) {
    TRY_PLAIN(gguf_check_file(engine->path, &engine->facts));
    struct gguf_facts ignored;
    for (uint32_t part = 2;; part++) {
        scoped_string char *path = gguf_part(engine->path, part);
        if (!path) return NULL;
        TRY_PLAIN(gguf_check_file(path, &ignored));
    }
}

static struct error *load(struct engine *engine) {
    TRY_PLAIN(check_files(engine));
    struct llama_model_params model = llama_model_default_params();
    model.load_mode = LLAMA_LOAD_MODE_MMAP;
    model.use_extra_bufts = engine->counters.repacked = engine->options.repack;
    model.n_gpu_layers = (int32_t)engine->options.gpu_layers;
    engine->model = llama_model_load_from_file(engine->path, model);
    if (!engine->model)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "libllama can't load %s (architecture '%s'); its own words are in the log",
                         engine->path, engine->facts.architecture);
    vocab_read(engine);

    struct llama_context_params context = llama_context_default_params();
    context.n_ctx = engine->options.context_tokens + engine->options.patient_tokens;
    context.n_batch = context.n_ubatch =
        STEP_TOKENS + 128; /* a step is one physical batch, with its generating jobs */
    context.n_seq_max = engine->slot_count * 2;
    context.kv_unified = true;
    context.n_threads = context.n_threads_batch = (int32_t)engine->options.threads;
    context.n_outputs_max =
        engine->slot_count * 2; /* no fewer than sequences: libllama measures with all of them */
    if (engine->options.flash_attention) context.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    context.no_perf = true;
    context.abort_callback = step_aborts;
    context.abort_callback_data = engine;
    engine->context = llama_init_from_model(engine->model, context);
    if (!engine->context)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "no context of %u tokens could be made for %s",
                         context.n_ctx, engine->path);
    engine->batch = llama_batch_init((int32_t)context.n_batch, 0, 2);
    return NULL;
}

/* On the thread: an ended job that was never at work. */
static void refuse(struct engine *engine, struct engine_job *job, struct error *taken_error) {
    pthread_mutex_lock(&engine->mutex);
    engine->queued--;
    pthread_mutex_unlock(&engine->mutex);
    job_end(engine, job, taken_error);
}

/* Whether the jobs of its kind leave it a place and room in the context. */
static bool has_place(struct engine *engine, const struct engine_job *job) {
    bool patient = job->options.patient;
    uint32_t others = 0, tokens = job->result.prompt_tokens + job->options.max_tokens + 1;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        const struct engine_job *other = engine->slots[i].job;
        if (!other || other->options.patient != patient) continue;
        others++;
        tokens += other->result.prompt_tokens + other->options.max_tokens + 1;
    }
    uint32_t room = patient ? engine->options.patient_tokens : engine->options.context_tokens;
    return others < engine->options.parallelism && tokens <= room;
}

/* Holds the mutex; the job is the loop's until it is taken from the queue, so nothing of it is written. */
static struct engine_job *first_queued(struct engine *engine, bool patient) {
    LIST_EACH(node, &engine->queue) {
        struct engine_job *job = CONTAINER_OF(node, struct engine_job, node);
        if (job->options.patient == patient) return job;
    }
    return NULL;
}

/* Takes the first of its kind out of the queue, or leaves it there when there is no place for it yet. True:
 * one was taken, there may be more. */
static bool admit(struct engine *engine, bool patient) {
    pthread_mutex_lock(&engine->mutex);
    struct engine_job *job = first_queued(engine, patient);
    if (job) list_remove(&job->node), job->phase = JOB_HEAD;
    pthread_mutex_unlock(&engine->mutex);
    if (!job) return false;
    struct error *error = NULL;
    if (!job->tokenised) {
        error = choose_prepare(engine, job);
        if (!error) error = vocab_tokenise(engine, job);
        job->tokenised = true;
    }
    if (!error && atomic_load(&job->cancelled))
        error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    bool placed = !error && has_place(engine, job);
    if (!error && !placed) {
        pthread_mutex_lock(&engine->mutex);
        list_append(engine->queue.next, &job->node); /* before the first one */
        job->phase = JOB_QUEUED;
        pthread_mutex_unlock(&engine->mutex);
        return false;
    }
    if (!error && !slot_take(engine, job)) error = error_new(ERROR_INTERNAL, "no slot is free");
    if (error) return refuse(engine, job, error), true;
    job->began_us = clock_monotonic_us();
    job->result.queued_us = job->began_us - job->result.queued_us;
    pthread_mutex_lock(&engine->mutex);
    list_append(&engine->working, &job->node);
    engine->queued--;
    engine->counters.working++;
    pthread_mutex_unlock(&engine->mutex);
    return true;
}

static void *compute(void *data) {
    struct engine *engine = data;
    int64_t began_us = clock_monotonic_us();
    struct error *error = load(engine);
    pthread_mutex_lock(&engine->mutex);
    engine->load_error = error;
    engine->loaded = true;
    engine->counters.load_us = clock_monotonic_us() - began_us;
    io_post_send(engine->post);
    pthread_mutex_unlock(&engine->mutex);
    if (!error) keep_restore(engine);
    while (!error && !atomic_load(&engine->stopping)) {
        while (admit(engine, false)) continue;
        while (admit(engine, true)) continue;
        pthread_mutex_lock(&engine->mutex);
        bool works = engine->counters.working > 0;
        if (!works && list_empty(&engine->queue) && !atomic_load(&engine->stopping))
            pthread_cond_wait(&engine->wake, &engine->mutex);
        pthread_mutex_unlock(&engine->mutex);
        if (works) step(engine);
    }
    if (!error) keep_save(engine);
    return NULL;
}

static void tell_text(struct engine *engine, struct list *jobs) {
    LIST_EACH(node, jobs) {
        struct engine_job *job = CONTAINER_OF(node, struct engine_job, node);
        if (job->said.size == 0 || atomic_load(&job->cancelled)) continue;
        struct text said = job->said;
        job->said = (struct text){0};
        pthread_mutex_unlock(&engine->mutex);
        job->options.text(job->options.owner, text_span(&said));
        text_done(&said);
        pthread_mutex_lock(&engine->mutex);
        return tell_text(engine, jobs); /* the list may have changed meanwhile */
    }
}

static void on_news(void *owner) {
    struct engine *engine = owner;
    pthread_mutex_lock(&engine->mutex);
    if (engine->loaded && !engine->loaded_told) {
        engine->loaded_told = true;
        struct error *error = take(engine->load_error);
        pthread_mutex_unlock(&engine->mutex);
        engine->options.loaded(engine->options.owner, error);
        pthread_mutex_lock(&engine->mutex);
    }
    tell_text(engine, &engine->working);
    tell_text(engine, &engine->ended);
    while (!list_empty(&engine->ended)) {
        struct engine_job *job = CONTAINER_OF(engine->ended.next, struct engine_job, node);
        list_remove(&job->node);
        pthread_mutex_unlock(&engine->mutex);
        struct engine_result result = job->result;
        job->result.error = NULL;
        job->options.done(job->options.owner, &result);
        job_free(job);
        pthread_mutex_lock(&engine->mutex);
    }
    pthread_mutex_unlock(&engine->mutex);
}

struct error *engine_job_start(struct engine *engine, const struct engine_job_options *options,
                               struct engine_job **ret_job) {
    struct engine_job *job = job_new(options);
    job->engine = engine;
    pthread_mutex_lock(&engine->mutex);
    bool full = engine->queued >= engine->options.queue_limit;
    if (!full) {
        engine->queued++;
        engine->counters.jobs++;
        list_append(&engine->queue, &job->node);
        pthread_cond_signal(&engine->wake);
    }
    pthread_mutex_unlock(&engine->mutex);
    if (full) {
        job_free(job);
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%u requests wait for the model already",
                         engine->options.queue_limit);
    }
    *ret_job = job;
    return NULL;
}

void engine_job_cancel(struct engine_job *job) {
    struct engine *engine = job->engine;
    atomic_store(&job->cancelled, true);
    pthread_mutex_lock(&engine->mutex);
    if (job->phase == JOB_QUEUED && !list_empty(&engine->queue)) {
        LIST_EACH(node, &engine->queue) { /* it ends at once, not when its turn would come */
            if (node != &job->node) continue;
            list_remove(&job->node);
            list_append(&engine->ended, &job->node);
            job->phase = JOB_ENDED;
            job->result.error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
            engine->queued--;
            engine->counters.cancelled++;
            io_post_send(engine->post);
            break;
        }
    }
    pthread_mutex_unlock(&engine->mutex);
}

static uint32_t cpus(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

/* Only what is wrong: libllama tells much about what is right. */
static void on_llama_log(enum ggml_log_level level, const char *text, void *unused) {
    (void)unused;
    if (level != GGML_LOG_LEVEL_ERROR) return;
    struct span line = span_trim(span_of(text));
    if (line.size) log_error("llama", SPAN_FORMAT, SPAN_ARGS(line));
}

void llama_begin(void) {
    llama_log_set(on_llama_log, NULL);
    llama_backend_init();
}

struct engine *engine_new(struct io_loop *loop, const struct engine_options *options) {
    struct engine *engine = NEW(struct engine);
    engine->loop = loop;
    engine->options = *options;
    engine->path = mem_string(options->path);
    engine->options.path = engine->path;
    if (options->keep && options->keep_bytes) engine->keep = mem_string(options->keep);
    engine->options.keep = engine->keep;
    if (!engine->options.threads) engine->options.threads = cpus();
    if (!engine->options.context_tokens && !engine->options.patient_tokens)
        engine->options.context_tokens = 4096;
    if (!engine->options.queue_limit) engine->options.queue_limit = 64;
    if (!engine->options.parallelism) engine->options.parallelism = 1;
    if (engine->options.parallelism > PARALLELISM_MAX) engine->options.parallelism = PARALLELISM_MAX;
    engine->slot_count = engine->options.parallelism * 2;
    if (engine->slot_count < SLOTS_MIN) engine->slot_count = SLOTS_MIN;
    if (engine->options.patient_tokens) engine->slot_count += engine->options.parallelism;
    engine->slots = mem_array(engine->slot_count, sizeof *engine->slots);
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        engine->slots[i].trunk = (llama_seq_id)(2 * i);
        engine->slots[i].branch = (llama_seq_id)(2 * i + 1);
    }
    list_init(&engine->queue);
    list_init(&engine->working);
    list_init(&engine->ended);
    pthread_mutex_init(&engine->mutex, NULL);
    pthread_cond_init(&engine->wake, NULL);
    engine->post = io_post_new(loop, on_news, engine);
    llama_begin();
    pthread_create(&engine->thread, NULL, compute, engine);
    return engine;
}

static void free_jobs(struct list *jobs) {
    LIST_EACH_SAFE(node, next, jobs) job_free(CONTAINER_OF(node, struct engine_job, node));
}

void engine_free(struct engine *engine) {
    if (!engine) return;
    atomic_store(&engine->stopping, true);
    pthread_mutex_lock(&engine->mutex);
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->mutex);
    pthread_join(engine->thread, NULL);
    io_post_free(engine->post);
    free_jobs(&engine->queue);
    free_jobs(&engine->working);
    free_jobs(&engine->ended);
    if (engine->batch.token) llama_batch_free(engine->batch);
    if (engine->context) llama_free(engine->context);
    if (engine->model) llama_model_free(engine->model);
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        tokens_done(&engine->slots[i].held);
        tokens_done(&engine->slots[i].movable);
    }
    pthread_mutex_destroy(&engine->mutex);
    pthread_cond_destroy(&engine->wake);
    error_free(engine->load_error);
    free(engine->slots);
    free(engine->marks);
    for (size_t i = 0; engine->controls && engine->controls[i]; i++) free(engine->controls[i]);
    free(engine->controls);
    free(engine->path);
    free(engine->keep);
    free(engine);
}

void engine_counters(struct engine *engine, struct engine_counters *ret_counters) {
    pthread_mutex_lock(&engine->mutex);
    *ret_counters = engine->counters;
    ret_counters->queued = engine->queued;
    pthread_mutex_unlock(&engine->mutex);
}

const struct gguf_facts *engine_facts(const struct engine *engine) {
    return &engine->facts;
}

const struct llama_model *engine_model(const struct engine *engine) {
    return engine->model;
}

const char *const *engine_controls(const struct engine *engine) {
    return (const char *const *)engine->controls;
}

uint32_t engine_tokens(const struct engine *engine) {
    return engine->token_count;
}
