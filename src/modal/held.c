/* held: what calls hold in memory, and what of it lies in the store alone.
 *
 * Arguments and results of a client's calls are in the store anyhow (journal.c). While they are few they are
 * kept in memory too. Beyond HELD_MAX, those that the store has are dropped from memory when it has told so,
 * and read again when a container or a client is given them: so what waits is bounded by the disk. */
#include "journal.h"

#define HELD_MAX (32 << 20)
#define DROPPED_MIN 512 /* less is not worth the reading */

static void drop(struct modal *modal, struct text *text) {
    modal->held_bytes -= text->size;
    text_done(text);
}

static void set(struct modal *modal, struct text *text, struct span bytes) {
    modal->held_bytes += bytes.size - text->size;
    text_clear(text);
    text_add(text, bytes);
}

bool held_is_full(const struct modal *modal) {
    return modal->held_bytes > HELD_MAX;
}

static bool goes(const struct modal *modal, const struct text *text) {
    return held_is_full(modal) && text->size >= DROPPED_MIN;
}

void input_bytes_set(struct input *input, struct span bytes) {
    input->size = (uint32_t)bytes.size; /* a message is less */
    set(input->call->modal, &input->bytes, bytes);
}

void input_result_set(struct input *input, struct span result) {
    input->result_size = (uint32_t)result.size;
    input->result_noted = false;
    set(input->call->modal, &input->result, result);
}

void input_texts_done(struct input *input) {
    drop(input->call->modal, &input->bytes);
    drop(input->call->modal, &input->result);
}

void input_noted(struct input *input) {
    struct modal *modal = input->call->modal;
    input->noted = input->call->kept;
    if (input->noted && (input->state == INPUT_DONE || goes(modal, &input->bytes)))
        drop(modal, &input->bytes);
}

void input_result_noted(struct input *input) {
    struct modal *modal = input->call->modal;
    input->result_noted = input->call->kept && input->state == INPUT_DONE;
    if (input->result_noted && goes(modal, &input->result)) drop(modal, &input->result);
    if (input->noted) input_noted(input); /* its arguments are not needed any more */
}

/* ---- and back ---- */

static struct error *record_of(const struct input *input, char part, struct text *ret) {
    bool found = false;
    TRY_PLAIN(journal_read(input, part, ret, &found));
    if (!found) return error_new(ERROR_DATA_LOSS, "what was noted of the input %s is not there", input->id);
    return NULL;
}

/* A message of protobuf-c holds its bytes apart: these are the arena's. */
static struct error *from_store(const struct input *input, char part, uint32_t field, struct arena *arena,
                                struct span *ret) {
    scoped_text struct text record = {0};
    TRY_PLAIN(record_of(input, part, &record));
    struct span bytes = wire_field(text_span(&record), field);
    *ret = (struct span){arena_string(arena, bytes), bytes.size};
    return NULL;
}

struct error *input_bytes(const struct input *input, struct arena *arena, struct span *ret) {
    *ret = text_span(&input->bytes);
    if (input->bytes.size == input->size) return NULL;
    enum { INPUT_RECORD_INPUT = 3 };
    TRY(from_store(input, 'i', INPUT_RECORD_INPUT, arena, ret), "the arguments of %s", input->id);
    return NULL;
}

struct error *input_result(const struct input *input, struct arena *arena, struct span *ret) {
    *ret = text_span(&input->result);
    if (input->result.size == input->result_size) return NULL;
    enum { OUTPUT_RECORD_RESULT = 1 };
    TRY(from_store(input, 'o', OUTPUT_RECORD_RESULT, arena, ret), "the result of %s", input->id);
    return NULL;
}
