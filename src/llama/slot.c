/* Slots: which document's cache a job continues, and what must be forgotten for it.
 *
 * The best slot is the one whose tokens agree longest with the prompt's head. Where that would throw away
 * most of a longer document, or the slot works, the common part is forked into another slot: sequences share
 * cells, so this costs nothing. Movable pieces (a suffix while its user types before it) are kept in the
 * branch and moved: their keys are rotated to the new positions, their content is that of a few tokens ago.
 * Beyond `drift_tokens` they are computed anew. */
#include "inside.h"

static llama_memory_t memory(struct engine *engine) {
    return llama_get_memory(engine->context);
}

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

void slot_forget(struct engine *engine, struct slot *slot) {
    llama_memory_seq_rm(memory(engine), slot->trunk, -1, -1);
    llama_memory_seq_rm(memory(engine), slot->branch, -1, -1);
    slot->held.count = slot->movable.count = slot->branch_head = slot->generated = 0;
}

static struct slot *oldest(struct engine *engine, const struct slot *except, bool filled) {
    struct slot *found = NULL;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->job || slot == except || (filled && slot->held.count == 0)) continue;
        if (!found || slot->used_us < found->used_us) found = slot;
    }
    return found;
}

bool slot_forget_oldest(struct engine *engine) {
    struct slot *slot = oldest(engine, NULL, true);
    if (slot) slot_forget(engine, slot);
    return slot != NULL;
}

/* An upper bound: cells that forks share are counted twice. */
static uint32_t cells_used(const struct engine *engine, const struct slot *except) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        const struct slot *slot = &engine->slots[i];
        if (slot == except) continue;
        const struct engine_job *job = slot->job;
        uint32_t to_come = job ? job->result.prompt_tokens + job->options.max_tokens : 0;
        used += larger(to_come, slot->held.count + slot->movable.count);
    }
    return used;
}

static void make_room(struct engine *engine, struct slot *target, const struct engine_job *job) {
    uint32_t needed = job->result.prompt_tokens + job->options.max_tokens + 1;
    while (cells_used(engine, target) + needed > llama_n_ctx(engine->context)) {
        struct slot *slot = oldest(engine, target, true);
        if (!slot) return; /* libllama will tell that it is full, and then the job fails by itself */
        slot_forget(engine, slot);
    }
}

static bool same_tokens(const struct tokens *a, const struct tokens *b) {
    return a->count == b->count && memcmp(a->data, b->data, a->count * sizeof *a->data) == 0;
}

/* Whether the slot's movable pieces serve this job; forgets them where not. */
static void keep_movable(struct engine *engine, struct slot *slot, const struct engine_job *job,
                         uint32_t common) {
    if (common < slot->movable_same) slot->movable_same = common;
    uint32_t drift =
        larger(slot->movable_head, job->head.count) - slot->movable_same; /* the seam counts too */
    slot->moved = job->movable.count > 0 && same_tokens(&job->movable, &slot->movable) &&
                  drift <= engine->options.drift_tokens + engine->options.seam_tokens;
    if (!slot->moved) {
        llama_memory_seq_rm(memory(engine), slot->branch, -1, -1);
        slot->movable.count = slot->branch_head = 0;
    } else if (common < slot->branch_head) {
        llama_memory_seq_rm(memory(engine), slot->branch, (llama_pos)common, (llama_pos)slot->movable_at);
        slot->branch_head = common;
    }
}

struct slot *slot_take(struct engine *engine, struct engine_job *job) {
    struct slot *source = NULL;
    uint32_t common = 0;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        uint32_t same = tokens_common(&engine->slots[i].held, &job->head);
        if (same > common) common = same, source = &engine->slots[i];
    }
    struct slot *target = source;
    if (!source || source->job || common * 2 < source->held.count) {
        target = oldest(engine, source, false);
        if (!target && source && !source->job) target = source;
        if (!target) return NULL;
    }
    make_room(engine, target, job);
    /* Its last token is always decoded: the logits behind it are not kept. */
    if (job->movable.count == 0 && common == job->head.count) common--;
    if (source && source->held.count < common) common = source->held.count; /* forgotten to make room */
    if (target != source) {
        slot_forget(engine, target);
        target->movable_same = 0;
        if (source) llama_memory_seq_cp(memory(engine), source->trunk, target->trunk, 0, (llama_pos)common);
        tokens_add(&target->held, job->head.data, common);
    } else {
        llama_memory_seq_rm(memory(engine), target->trunk, (llama_pos)common, -1);
        target->held.count = common;
    }
    keep_movable(engine, target, job, common);
    target->job = job;
    target->generated = target->tail_done = 0;
    job->result.moved_tokens = target->moved ? job->movable.count : 0;
    job->result.reused_tokens = common + job->result.moved_tokens;
    return target;
}

void slot_branch(struct engine *engine, struct slot *slot) {
    const struct engine_job *job = slot->job;
    llama_pos head = (llama_pos)job->head.count, at = (llama_pos)slot->movable_at;
    if (slot->moved) {
        llama_pos end = at + (llama_pos)slot->movable.count;
        if (head != at) {
            llama_memory_seq_add(memory(engine), slot->branch, at, end, head - at);
            engine->shifted = true;
        }
        slot->tail_done = slot->movable.count;
    } else {
        slot->movable_head = slot->movable_same = job->head.count;
    }
    slot_follow(engine, slot);
    slot->movable_at = job->head.count;
}

void slot_follow(struct engine *engine, struct slot *slot) {
    /* Only what is not shared yet: a cell counts its sequences. */
    if (slot->branch_head < slot->held.count)
        llama_memory_seq_cp(memory(engine), slot->trunk, slot->branch, (llama_pos)slot->branch_head,
                            (llama_pos)slot->held.count);
    slot->branch_head = slot->held.count;
}

void slot_release(struct engine *engine, struct slot *slot) {
    const struct engine_job *job = slot->job;
    if (job->movable.count > 0 && slot->movable.count == 0) { /* given up before they were whole */
        llama_memory_seq_rm(memory(engine), slot->branch, -1, -1);
        slot->branch_head = 0;
    } else if (job->movable.count > 0) {
        llama_memory_seq_rm(memory(engine), slot->branch, (llama_pos)(slot->movable_at + slot->movable.count),
                            -1);
    }
    slot->job = NULL;
    slot->moved = false;
    slot->used_us = clock_monotonic_us();
}
