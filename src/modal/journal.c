/* journal: what is noted of calls as they go, so that they outlive the daemon.
 *
 * A client's call, its inputs, to whom each was given and what came of it are records beside one another, by
 * key. Notes gather until somebody waits for them (journal_settle) or the round of the loop is over, and are
 * written together; whoever is told that something is so is told after its note is on its way to the disk
 * (it survives the daemon's end, not a power cut).
 *
 *   born, given, given again, done -> resting (nobody asks: in the store only) -> forgotten
 *
 * Those that are at work, or were a moment ago, stand in OPEN; those that rest in DONE, by their time. Web
 * requests, scheduled runs and builds have nobody who could ask again: they are not noted. */
#include "journal.h"

#include "rest.h"

#include <stdlib.h>

#define PENDING_MAX 500
#define PENDING_BYTES_MAX (4 << 20)
#define TELL_EVERY_MS 60000

struct journal {
    struct modal *modal;
    struct arena *arena;
    struct store_record *records;
    size_t count, capacity, bytes;
    struct io_timer *due;
    struct error *lost; /* why a part could not be written whose whole is not settled yet; NULL */
    bool failing;       /* nothing was written since the last that could not be */
    bool trying;        /* meanwhile, and how it ends is not known yet */
    int64_t told_ms;    /* of a full disk; 0: never */
};

/* ---- pending ---- */

void journal_failed(struct modal *modal, struct error *error) {
    struct journal *journal = modal->journal;
    if (!error) return;
    int64_t now_ms = clock_monotonic_ms();
    scoped_string char *text = error_text(error);
    error_free(error);
    if (journal && journal->told_ms && now_ms - journal->told_ms < TELL_EVERY_MS) return;
    if (journal) journal->told_ms = now_ms;
    log_error("modal", "calls go on, but would not outlive catnap: %s", text);
}

bool journal_fails(const struct modal *modal) {
    return modal->journal->failing;
}

struct batch { /* on its way to the disk */
    struct modal *modal;
    struct text calls; /* ids of those that it tells of, each ended by a NUL */
    bool part;         /* the rest of what a request notes comes after it */
    struct rpc *rpc;   /* that waits for it; NULL */
    void (*done)(struct rpc *rpc, struct error *error);
};

static void add_call(struct text *calls, const char *key, size_t *last) {
    size_t size = strcspn(key, "/");
    const char *before = calls->size ? calls->data + *last : NULL;
    if (before && strncmp(before, key, size) == 0 && before[size] == '\0') return;
    *last = calls->size;
    text_add(calls, (struct span){key, size});
    text_add_char(calls, '\0');
}

static struct batch *batch_new(const struct journal *journal) {
    struct batch *batch = NEW(struct batch);
    batch->modal = journal->modal;
    size_t last = 0;
    for (size_t i = 0; i < journal->count; i++)
        if (strcmp(journal->records[i].kind, JOURNAL_CALLS) == 0)
            add_call(&batch->calls, journal->records[i].key, &last);
    return batch;
}

/* What it told is in memory only where that failed: it is noted again in a while (rest.c). */
static void batch_ends(struct batch *batch, const struct error *error) {
    struct journal *journal = batch->modal->journal;
    if (error || batch->calls.size > 0) journal->failing = error;
    journal->trying = false;
    const struct text *ids = &batch->calls;
    for (size_t i = 0; error && i < ids->size; i += strlen(ids->data + i) + 1) {
        struct call *call = map_get(batch->modal->calls, span_of(ids->data + i));
        if (call) call->unsure = true;
    }
    text_done(&batch->calls);
    free(batch);
}

static void on_written(void *owner, struct error *error) {
    struct batch *batch = owner;
    struct modal *modal = batch->modal;
    struct journal *journal = modal->journal;
    bool part = batch->part;
    batch_ends(batch, error);
    if (part && !journal->lost)
        journal->lost = take(error);
    else if (!part)
        error_free(take(journal->lost)); /* nobody waited for it */
    journal_failed(modal, error);
}

static void clear(struct journal *journal) {
    arena_free(journal->arena);
    journal->arena = arena_new();
    journal->count = journal->bytes = 0;
    io_timer_stop(journal->due);
}

static void write_out(struct journal *journal, bool part) {
    if (journal->count > 0) {
        struct batch *batch = batch_new(journal);
        batch->part = part;
        store_records_write_soon(journal->modal->store, journal->records, journal->count, on_written, batch);
    }
    clear(journal);
}

static void flush(void *owner) {
    write_out(owner, false);
}

/* The key is the arena's; `value` is copied. */
static void note(struct journal *journal, const char *kind, const char *key, struct span value) {
    if (journal->count == PENDING_MAX || journal->bytes > PENDING_BYTES_MAX) write_out(journal, true);
    if (journal->count == journal->capacity) {
        journal->capacity = journal->capacity ? 2 * journal->capacity : 16;
        journal->records = mem_grow(journal->records, journal->capacity, sizeof *journal->records);
    }
    if (value.data) value.data = arena_string(journal->arena, value);
    journal->bytes += value.data ? value.size : 0;
    journal->records[journal->count++] = (struct store_record){kind, arena_text(journal->arena, key), value};
    if (!io_timer_armed(journal->due)) io_timer_arm(journal->due, 0);
}

static void note_message(struct journal *journal, const char *kind, const char *key, const void *message) {
    scoped_text struct text bytes = message_pack(message);
    note(journal, kind, key, text_span(&bytes));
}

void journal_open(struct modal *modal) {
    struct journal *journal = modal->journal = NEW(struct journal);
    journal->modal = modal;
    journal->arena = arena_new();
    journal->due = io_timer_new(modal->loop, flush, journal);
}

void journal_close(struct modal *modal) {
    struct journal *journal = modal->journal;
    flush(journal);
    store_settle(modal->store);
    io_timer_free(journal->due);
    arena_free(journal->arena);
    error_free(journal->lost);
    free(journal->records);
    free(journal);
    modal->journal = NULL;
}

/* ---- who waits for it ---- */

static void on_settled(void *owner, struct error *error) {
    struct batch *batch = owner;
    struct rpc *rpc = batch->rpc;
    void (*done)(struct rpc * rpc, struct error * error) = batch->done;
    struct error *lost = take(rpc->modal->journal->lost);
    batch_ends(batch, error);
    if (error)
        error_free(lost);
    else
        error = lost; /* a part of it, maybe */
    done(rpc, error);
}

void journal_settle(struct rpc *rpc, void (*done)(struct rpc *rpc, struct error *error)) {
    struct journal *journal = rpc->modal->journal;
    struct batch *batch = batch_new(journal);
    batch->rpc = rpc;
    batch->done = done;
    store_records_write_soon(rpc->modal->store, journal->records, journal->count, on_settled, batch);
    clear(journal);
}

void journal_answer(struct rpc *rpc, struct error *taken_error) {
    journal_failed(rpc->modal, taken_error);
    rpc_answer_empty(rpc);
}

/* ---- notes ---- */

static const char *key_of(const struct input *input, char part, char out[JOURNAL_KEY_MAX]) {
    snprintf(out, JOURNAL_KEY_MAX, "%s/%c%08x", input->call->id, part, input->seq);
    return out;
}

static const char *resting_key(const struct call *call, char out[JOURNAL_KEY_MAX]) {
    snprintf(out, JOURNAL_KEY_MAX, JOURNAL_TIME "/%s", (unsigned long long)call->rested_at, call->id);
    return out;
}

static void note_call(const struct call *call) {
    Modal__CallRecord record = MODAL__CALL_RECORD__INIT;
    record.function_id = (char *)call->function_id;
    record.app_id = (char *)call->app_id;
    record.has_type = record.has_invocation = record.has_created_at = record.has_gone = true;
    record.type = (uint32_t)call->type;
    record.invocation = (uint32_t)call->invocation;
    record.created_at = call->created_at;
    record.gone = call->gone;
    record.has_number = call->outputs_made > 0;
    record.number = call->outputs_made;
    record.once = call->once;
    record.root = *call->root_id ? (char *)call->root_id : NULL;
    record.has_rested_at = call->rested_at > 0;
    record.rested_at = call->rested_at;
    note_message(call->modal->journal, JOURNAL_CALLS, call->id, &record);
}

void journal_call(struct call *call, const char *once) {
    call->kept = true;
    call->once = mem_string(once);
    note_call(call);
    note(call->modal->journal, JOURNAL_OPEN, call->id, SPAN(""));
    rest_due(call->modal);
}

static void note_input(const struct input *input, const char *once) {
    Modal__InputRecord record = MODAL__INPUT_RECORD__INIT;
    record.id = (char *)input->id;
    record.has_idx = record.has_input = true;
    record.idx = input->idx;
    record.input = (ProtobufCBinaryData){input->bytes.size, (uint8_t *)input->bytes.data};
    record.once = (char *)once;
    char key[JOURNAL_KEY_MAX];
    note_message(input->call->modal->journal, JOURNAL_CALLS, key_of(input, 'i', key), &record);
}

void journal_input(const struct input *input, const char *once) {
    struct call *call = input->call;
    if (!call->kept) return;
    if (call->rested_at > 0) { /* it is at work again */
        char key[JOURNAL_KEY_MAX];
        note(call->modal->journal, JOURNAL_DONE, resting_key(call, key), (struct span){NULL, 0});
        call->rested_at = 0;
        note_call(call);
        note(call->modal->journal, JOURNAL_OPEN, call->id, SPAN(""));
    }
    note_input(input, once);
}

void journal_run(const struct input *input) {
    if (!input->call->kept) return;
    Modal__RunRecord record = MODAL__RUN_RECORD__INIT;
    record.has_container = input->task != NULL;
    record.container = input->task ? input->task->container : 0;
    record.has_poll = input->poll != 0;
    record.poll = input->poll;
    record.has_retry_count = record.has_losses = true;
    record.retry_count = input->retry_count;
    record.losses = input->losses;
    record.has_due_at = input->due_at > 0;
    record.due_at = input->due_at;
    record.has_started_at = input->started_at > 0;
    record.started_at = input->started_at;
    char key[JOURNAL_KEY_MAX];
    note_message(input->call->modal->journal, JOURNAL_CALLS, key_of(input, 'r', key), &record);
}

void journal_output(const struct input *input) {
    if (!input->call->kept) return;
    Modal__OutputRecord record = MODAL__OUTPUT_RECORD__INIT;
    record.has_result = record.has_format = record.has_status = record.has_started_at = true;
    record.has_output_at = record.has_retry_count = record.has_number = true;
    record.result = (ProtobufCBinaryData){input->result.size, (uint8_t *)input->result.data};
    record.format = input->result_format;
    record.status = input->status;
    record.started_at = input->started_at;
    record.output_at = input->output_at;
    record.retry_count = input->retry_count;
    record.number = input->output_number;
    char key[JOURNAL_KEY_MAX];
    note_message(input->call->modal->journal, JOURNAL_CALLS, key_of(input, 'o', key), &record);
}

void journal_given(struct call *call, const struct input *input) {
    if (!call->kept) return;
    char key[JOURNAL_KEY_MAX];
    for (const char *part = "iro"; *part; part++)
        note(call->modal->journal, JOURNAL_CALLS, key_of(input, *part, key), (struct span){NULL, 0});
}

struct error *journal_read(const struct input *input, char part, struct text *ret, bool *ret_found) {
    char key[JOURNAL_KEY_MAX];
    return store_record_get(input->call->modal->store, JOURNAL_CALLS, key_of(input, part, key), ret,
                            ret_found);
}

void journal_kin(const struct call *root, const char *call_id, const Modal__KinRecord *record) {
    if (!root->kept) return;
    char key[JOURNAL_KEY_MAX];
    snprintf(key, sizeof key, "%s/k%s", root->id, call_id);
    note_message(root->modal->journal, JOURNAL_CALLS, key, record);
}

void journal_changed(const struct call *call) {
    if (call->kept) note_call(call);
}

/* ---- ends ---- */

void journal_rest(struct call *call) {
    if (call->rested_at > 0) return;
    call->rested_at = (uint64_t)now_s();
    char key[JOURNAL_KEY_MAX];
    note_call(call);
    note(call->modal->journal, JOURNAL_DONE, resting_key(call, key), SPAN(""));
    note(call->modal->journal, JOURNAL_OPEN, call->id, (struct span){NULL, 0});
}

/* While nothing can be written, one call at a time finds out whether that is over. */
void journal_again(struct call *call) {
    struct journal *journal = call->modal->journal;
    if (journal->failing && journal->trying && !call->modal->closing) return;
    journal->trying = true;
    call->unsure = false;
    const struct span gone = {NULL, 0};
    char key[JOURNAL_KEY_MAX];
    note_call(call);
    note(journal, JOURNAL_OPEN, call->id, call->rested_at ? gone : SPAN(""));
    if (call->rested_at) note(journal, JOURNAL_DONE, resting_key(call, key), SPAN(""));
    LIST_EACH(node, &call->inputs) {
        const struct input *input = CONTAINER_OF(node, struct input, node);
        if (!input->noted) note_input(input, input->piped ? NULL : "");
        if (input->state != INPUT_DONE)
            journal_run(input);
        else if (!input->result_noted)
            journal_output(input);
    }
}

void journal_forget(struct call *call) {
    call->forgotten = true;
    char key[JOURNAL_KEY_MAX];
    if (call->rested_at > 0)
        note(call->modal->journal, JOURNAL_DONE, resting_key(call, key), (struct span){NULL, 0});
    journal_forget_id(call->modal, call->id);
}

void journal_forget_id(struct modal *modal, const char *id) {
    scoped_string char *below = mem_printf("%s/", id);
    note(modal->journal, JOURNAL_CALLS, id, (struct span){NULL, 0});
    note(modal->journal, JOURNAL_CALLS, below, STORE_BELOW);
    note(modal->journal, JOURNAL_OPEN, id, (struct span){NULL, 0});
}

void journal_forget_rested(struct modal *modal, const char *key) {
    note(modal->journal, JOURNAL_DONE, key, (struct span){NULL, 0});
}
