/* One step: what goes into the next batch, and what came out of it.
 *
 * Every job that generates gives its one token; what room is left goes to prompts, the shortest first, so
 * that a completion never waits behind a long chat. A step is one physical batch: aborted, it leaves nothing
 * behind and is simply not counted, so the others lose a few ms of work and no correctness. */
#include "inside.h"

#include <stdlib.h>

#define PARTS_MAX 256

struct part {
    struct slot *slot;
    uint32_t count; /* tokens of it in this batch ... */
    uint32_t tail;  /* ... of which so many stand behind the end of the head */
    int32_t row;    /* of the logits; -1: none */
};

/* A cancelled job ends the step when it is most of it; beside others it goes along to the end of the step, or
 * each of many typists would cost the others their work. */
bool step_aborts(void *data) {
    struct engine *engine = data;
    if (atomic_load_explicit(&engine->stopping, memory_order_relaxed)) return true;
    uint32_t cancelled = 0;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        const struct slot *slot = &engine->slots[i];
        if (slot->job && atomic_load_explicit(&slot->job->cancelled, memory_order_relaxed))
            cancelled += slot->step_tokens;
    }
    return cancelled * 2 > (uint32_t)engine->batch.n_tokens;
}

static int32_t add_token(struct llama_batch *batch, llama_token token, uint32_t position,
                         llama_seq_id sequence, bool output) {
    int32_t i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = (llama_pos)position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = output;
    return i;
}

/* Of trunk and branch, which are the same until here. */
static void add_shared(struct llama_batch *batch, llama_token token, uint32_t position,
                       const struct slot *slot) {
    int32_t i = add_token(batch, token, position, slot->trunk, false);
    batch->n_seq_id[i] = 2;
    batch->seq_id[i][1] = slot->branch;
}

static uint32_t left_behind_head(const struct slot *slot) {
    return slot->job->movable.count + slot->job->tail.count - slot->tail_done;
}

static uint32_t left(const struct slot *slot) {
    const struct engine_job *job = slot->job;
    return job->phase == JOB_HEAD ? job->head.count - slot->held.count : left_behind_head(slot);
}

static void add_generated(struct engine *engine, struct slot *slot, struct part *part) {
    const struct engine_job *job = slot->job;
    bool branched = job->movable.count > 0;
    uint32_t position = branched ? slot->movable_at + job->movable.count + job->tail.count + slot->generated
                                 : slot->held.count;
    *part = (struct part){.slot = slot, .count = 1, .row = engine->batch.n_tokens};
    add_token(&engine->batch, job->next, position, branched ? slot->branch : slot->trunk, true);
}

/* Of the movable pieces, where they are computed, and the tail. */
static void add_behind_head(struct engine *engine, struct slot *slot, uint32_t count, struct part *part) {
    const struct engine_job *job = slot->job;
    uint32_t end = job->movable.count + job->tail.count;
    for (uint32_t at = slot->tail_done; at < slot->tail_done + count; at++) {
        bool output = at == end - 1;
        if (output) part->row = engine->batch.n_tokens;
        llama_token token =
            at < job->movable.count ? job->movable.data[at] : job->tail.data[at - job->movable.count];
        add_token(&engine->batch, token, job->head.count + at, slot->branch, output);
    }
}

/* A step reads all weights, however few its tokens are: so where a head ends and nothing stands behind it
 * yet, what follows goes into the same step. */
static void add_head(struct engine *engine, struct slot *slot, uint32_t room, struct part *part) {
    const struct engine_job *job = slot->job;
    uint32_t count = part->count, tail = 0;
    bool ends = count == left(slot);
    if (ends && job->movable.count > 0 && !slot->moved)
        tail = left_behind_head(slot) < room - count ? left_behind_head(slot) : room - count;
    if (tail > 0) slot_follow(engine, slot);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = slot->held.count + i;
        bool output = ends && i == count - 1 && job->movable.count == 0;
        if (output) part->row = engine->batch.n_tokens;
        if (tail > 0)
            add_shared(&engine->batch, job->head.data[at], at, slot);
        else
            add_token(&engine->batch, job->head.data[at], at, slot->trunk, output);
    }
    add_behind_head(engine, slot, tail, part);
    part->count += tail;
    part->tail = tail;
}

static void add_prompt(struct engine *engine, struct slot *slot, uint32_t room, struct part *part) {
    uint32_t count = left(slot) < room ? left(slot) : room;
    *part = (struct part){.slot = slot, .count = count, .row = -1};
    if (slot->job->phase == JOB_HEAD)
        add_head(engine, slot, room, part);
    else
        add_behind_head(engine, slot, count, part);
}

/* While somebody who types waits for the next token, a long chat's prompt gets some of the steps only. */
static bool must_be_patient(const struct engine *engine) {
    if (engine->counters.steps % PATIENCE_STEPS == 0) return false;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        const struct engine_job *job = engine->slots[i].job;
        if (job && job->phase == JOB_GENERATE && !job->options.patient) return true;
    }
    return false;
}

/* The prompt that comes next: of those who don't wait patiently first, then the shortest. */
static struct slot *next_prompt(struct engine *engine, const struct part *parts, uint32_t part_count) {
    struct slot *found = NULL;
    bool patience = must_be_patient(engine);
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        struct slot *slot = &engine->slots[i];
        bool there = !slot->job || slot->job->phase == JOB_GENERATE;
        for (uint32_t p = 0; p < part_count; p++) there |= parts[p].slot == slot;
        if (there || (patience && slot->job->options.patient)) continue;
        bool patient = slot->job->options.patient, before = !found;
        if (found && patient != found->job->options.patient)
            before = !patient;
        else if (found)
            before = left(slot) < left(found);
        if (before) found = slot;
    }
    return found;
}

/* How much of prompts a step takes: as much as makes it efficient, but little where somebody waits for it to
 * end, or somebody who types may come. */
static uint32_t room_for_prompts(struct engine *engine, uint32_t generating) {
    int64_t now_us = clock_monotonic_us();
    bool urgent = false;
    for (uint32_t i = 0; i < engine->slot_count; i++)
        urgent |= engine->slots[i].job && !engine->slots[i].job->options.patient;
    if (urgent) engine->urgent_us = now_us;
    bool expected = !urgent && engine->urgent_us && now_us - engine->urgent_us < URGENT_US;
    return generating > 0 || expected ? STEP_TOKENS_MIXED : STEP_TOKENS;
}

static uint32_t fill(struct engine *engine, struct part *parts) {
    uint32_t count = 0;
    engine->batch.n_tokens = 0;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        engine->slots[i].step_tokens = 0;
        if (engine->slots[i].job && engine->slots[i].job->phase == JOB_GENERATE)
            add_generated(engine, &engine->slots[i], &parts[count++]);
    }
    uint32_t room = room_for_prompts(engine, count);
    for (struct slot *slot; room > 0 && (slot = next_prompt(engine, parts, count));) {
        add_prompt(engine, slot, room, &parts[count]);
        room -= parts[count++].count;
    }
    for (uint32_t i = 0; i < count; i++) parts[i].slot->step_tokens = parts[i].count;
    return count;
}

/* Output goes to `check` as it is, and to the loop in whole code points. */
static bool tell(struct engine *engine, struct engine_job *job, struct span bytes) {
    bool goes_on = !job->options.check || job->options.check(job->options.owner, bytes);
    if (job->options.text) {
        text_add(&job->held, bytes);
        size_t whole = utf8_whole(text_span(&job->held));
        pthread_mutex_lock(&engine->mutex);
        text_add(&job->said, (struct span){job->held.data, whole});
        pthread_mutex_unlock(&engine->mutex);
        text_remove_front(&job->held, whole);
        io_post_send(engine->post);
    }
    return goes_on;
}

static void ends(struct engine *engine, struct slot *slot, enum engine_finish finish,
                 struct error *taken_error) {
    struct engine_job *job = slot->job;
    job->result.finish = finish;
    slot_release(engine, slot);
    job_end(engine, job, taken_error);
}

static void choose(struct engine *engine, struct slot *slot, int32_t row) {
    struct engine_job *job = slot->job;
    float *logits = llama_get_logits_ith(engine->context, row);
    if (!logits)
        return ends(engine, slot, ENGINE_STOPPED, error_new(ERROR_INTERNAL, "libllama gave no logits"));
    llama_token token = choose_token(engine, job, logits);
    if (token < 0)
        return ends(engine, slot, ENGINE_STOPPED,
                    error_new(ERROR_INTERNAL, "the grammar of the answer allows nothing more"));
    if (engine->marks[token] & MARK_END) return ends(engine, slot, ENGINE_STOPPED, NULL);
    job->next = token;
    job->result.generated_tokens++;
    char buffer[512];
    struct span piece = vocab_piece(engine, job, token, buffer, sizeof buffer);
    if (!tell(engine, job, piece)) return ends(engine, slot, ENGINE_CHECKED, NULL);
    if (job->result.generated_tokens >= job->options.max_tokens) ends(engine, slot, ENGINE_LENGTH, NULL);
}

/* The head is whole: on to the movable pieces, or to the answer. */
static void head_done(struct engine *engine, struct slot *slot) {
    struct engine_job *job = slot->job;
    if (job->movable.count == 0) {
        job->phase = JOB_GENERATE;
        return;
    }
    slot_branch(engine, slot);
    job->phase = JOB_TAIL;
}

static void behind_head_done(struct slot *slot, uint32_t count) {
    const struct engine_job *job = slot->job;
    slot->tail_done += count;
    if (!slot->moved && slot->tail_done >= job->movable.count && slot->movable.count == 0)
        tokens_add(&slot->movable, job->movable.data, job->movable.count);
}

static void advance(struct engine *engine, const struct part *part) {
    struct slot *slot = part->slot;
    struct engine_job *job = slot->job;
    if (job->phase == JOB_HEAD) {
        tokens_add(&slot->held, job->head.data + slot->held.count, part->count - part->tail);
        if (part->tail > 0) slot->branch_head = slot->held.count; /* they went to both */
        if (slot->held.count == job->head.count) head_done(engine, slot);
        behind_head_done(slot, part->tail);
    } else if (job->phase == JOB_TAIL) {
        behind_head_done(slot, part->count);
    } else if (job->movable.count > 0) {
        slot->generated++;
    } else {
        tokens_add(&slot->held, &job->next, 1);
    }
    if (part->row < 0) return;
    job->phase = JOB_GENERATE;
    if (job->result.prompt_us == 0) job->result.prompt_us = clock_monotonic_us() - job->began_us;
    choose(engine, slot, part->row);
}

static void fail_all(struct engine *engine, const struct part *parts, uint32_t count, int32_t code) {
    for (uint32_t i = 0; i < count; i++) {
        struct slot *slot = parts[i].slot;
        ends(engine, slot, ENGINE_STOPPED,
             code == 1 ? error_new(ERROR_RESOURCE_EXHAUSTED, "the model's context is full")
                       : error_new(ERROR_INTERNAL, "libllama failed with %d", code));
        slot_forget(engine, slot);
    }
}

static void drop_cancelled(struct engine *engine) {
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->job && atomic_load(&slot->job->cancelled))
            ends(engine, slot, ENGINE_STOPPED, error_new(ERROR_CANCELLED, "nobody waits for it any more"));
    }
}

/* A whole head that was found in the cache needs no decoding: the branch can be made at once. */
static void skip_known_heads(struct engine *engine) {
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->job && slot->job->phase == JOB_HEAD && left(slot) == 0) head_done(engine, slot);
    }
}

void step(struct engine *engine) {
    drop_cancelled(engine);
    skip_known_heads(engine);
    struct part parts[PARTS_MAX];
    uint32_t count = fill(engine, parts);
    if (engine->batch.n_tokens == 0) return;
    threads_begin(engine);
    int32_t code = llama_decode(engine->context, engine->batch);
    threads_end(engine);
    engine->counters.steps++;
    engine->counters.threads = engine->threads.now;
    if (code == 2) {
        engine->counters.aborted_steps++;
        return;
    }
    if (code == 1 && slot_forget_oldest(engine)) return; /* again, with more room */
    if (code != 0) {
        fail_all(engine, parts, count, code);
        return;
    }
    engine->shifted = false;
    for (uint32_t i = 0; i < count; i++) advance(engine, &parts[i]);
}
