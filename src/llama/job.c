/* A job: what was asked for, copied, so that who asked need not keep it; and its end. */
#include "inside.h"

#include <stdlib.h>

static const char *const *copy_all(const char *const *texts) {
    if (!texts) return NULL;
    size_t count = 0;
    while (texts[count]) count++;
    const char **made = mem_array(count + 1, sizeof *made);
    for (size_t i = 0; i < count; i++) made[i] = mem_string(texts[i]);
    return made;
}

static void free_all(const char *const *texts) {
    for (size_t i = 0; texts && texts[i]; i++) free((char *)texts[i]);
    free((void *)texts);
}

struct engine_job *job_new(const struct engine_job_options *options) {
    struct engine_job *job = NEW(struct engine_job);
    struct engine_piece *pieces = mem_array(options->piece_count, sizeof *pieces);
    for (size_t i = 0; i < options->piece_count; i++) {
        pieces[i] = options->pieces[i];
        pieces[i].text.data = mem_string_n(options->pieces[i].text.data, options->pieces[i].text.size);
    }
    struct engine_bias *biases = mem_array(options->bias_count, sizeof *biases);
    if (options->bias_count) memcpy(biases, options->biases, options->bias_count * sizeof *biases);
    job->options = *options;
    job->options.pieces = pieces;
    job->options.biases = biases;
    job->options.grammar = mem_string(options->grammar);
    job->options.begun = mem_string(options->begun);
    job->options.triggers = copy_all(options->triggers);
    job->options.spelled = copy_all(options->spelled);
    job->dice = options->seed;
    job->result.queued_us = clock_monotonic_us();
    return job;
}

void job_free(struct engine_job *job) {
    for (size_t i = 0; i < job->options.piece_count; i++) free((char *)job->options.pieces[i].text.data);
    free((void *)job->options.pieces);
    free((void *)job->options.biases);
    free((char *)job->options.grammar);
    free((char *)job->options.begun);
    free_all(job->options.triggers);
    free_all(job->options.spelled);
    tokens_done(&job->head);
    tokens_done(&job->movable);
    tokens_done(&job->tail);
    tokens_done(&job->spelled);
    tokens_done(&job->seen);
    free(job->seen_counts);
    grammar_free(job->grammar);
    text_done(&job->said);
    text_done(&job->held);
    error_free(job->result.error);
    free(job);
}

static void note(struct engine_times *times, int64_t took_us) {
    static const int64_t bounds[] = ENGINE_BOUNDS_US;
    uint32_t i = 0;
    while (i < ENGINE_BOUNDS && took_us > bounds[i]) i++;
    times->counts[i]++;
    times->sum_us += took_us;
}

void job_end(struct engine *engine, struct engine_job *job, struct error *taken_error) {
    int64_t now_us = clock_monotonic_us();
    job->phase = JOB_ENDED;
    job->result.error = taken_error;
    job->result.generate_us = job->began_us ? now_us - job->began_us - job->result.prompt_us : 0;
    pthread_mutex_lock(&engine->mutex);
    if (job->held.size > 0 && job->options.text)
        text_add(&job->said, SPAN("\xef\xbf\xbd")); /* it ended inside a code point */
    list_remove(&job->node);
    list_append(&engine->ended, &job->node);
    struct engine_counters *counters = &engine->counters;
    counters->cancelled += taken_error && taken_error->code == ERROR_CANCELLED;
    counters->failed += taken_error && taken_error->code != ERROR_CANCELLED;
    if (job->began_us) {
        counters->working--;
        counters->prompt_tokens += job->result.prompt_tokens;
        counters->reused_tokens += job->result.reused_tokens;
        counters->moved_tokens += job->result.moved_tokens;
        counters->generated_tokens += job->result.generated_tokens;
        counters->queued_us += job->result.queued_us;
        counters->prompt_us += job->result.prompt_us;
        counters->generate_us += job->result.generate_us;
        int64_t first_us = job->result.queued_us + job->result.prompt_us;
        if (!taken_error) note(&counters->first_token, first_us);
        if (!taken_error) note(&counters->whole, first_us + job->result.generate_us);
    }
    pthread_mutex_unlock(&engine->mutex);
    io_post_send(engine->post);
}
