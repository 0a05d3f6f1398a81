/* Changes of a volume: one after the other, each all or nothing.
 *
 *   waiting -> preparing: a worker reads, writes content, stages. Nothing that counts has happened
 *           -> recording: the version is in the store, or it is not. This is the commit
 *           -> carrying: a worker brings it into the live tree. If it can't (or the daemon dies), the change
 *              stays pending: the next op of the volume, or the next start, does it first
 *           -> done: who asked is told, and the next may begin
 * An error ends any state but carrying as if nothing had been asked. Volumes do not wait for one another, but
 * at most WORKERS_MAX have a worker. */
#include "inside.h"

#include <assert.h>
#include <stdlib.h>

static void record(struct op *op);

static void move(struct op *op, enum op_state state) {
    static const unsigned allowed[] = {
        [OP_WAITING] = 1u << OP_PREPARING | 1u << OP_RECORDING | 1u << OP_DONE,
        [OP_PREPARING] = 1u << OP_RECORDING | 1u << OP_DONE,
        [OP_RECORDING] = 1u << OP_CARRYING | 1u << OP_DONE,
        [OP_CARRYING] = 1u << OP_DONE,
        [OP_DONE] = 0,
    };
    assert(allowed[op->state] & 1u << state);
    op->state = state;
}

/* Frees it, and the volume where this was the last to hold it. */
static void let_go(struct op *op) {
    struct volume *volume = op->volume;
    list_remove(&op->node);
    if (op->kind->done) op->kind->done(op);
    tree_free(op->base);
    tree_free(op->made);
    change_forget(&op->change);
    error_free(op->error);
    free(op->waiters);
    free(op);
    if (--volume->ops > 0 || (volume->volumes->closed && !volume->gone)) return;
    if (volume->gone)
        volume_destroy(volume);
    else if (!volume->durable && !volume->linked)
        volume_forget(volume); /* it never came to be */
}

static void tell(struct op *op, const struct error *error) {
    op->told = true;
    if (op->kind->tell) op->kind->tell(op, error);
    for (size_t i = 0; i < op->waiter_count; i++)
        if (op->waiters[i].done) op->waiters[i].done(op->waiters[i].owner, error_copy(error));
}

static void finish(struct op *op) {
    struct volumes *volumes = op->volumes;
    if (op->state != OP_WAITING) op->volume->busy = false;
    move(op, OP_DONE);
    bool disk_full = op->error && op->error->code == ERROR_RESOURCE_EXHAUSTED;
    if (op->kind->end) op->kind->end(op);
    tell(op, op->error); /* may call volumes_free */
    let_go(op);
    if (!volumes->closed && disk_full) sweep_soon(volumes);
    if (!volumes->closed) ops_turn_later(volumes);
    volumes_unref(volumes);
}

/* Its waiters were told by volumes_free. */
static void finish_told(struct op *op) {
    struct volumes *volumes = op->volumes;
    let_go(op);
    volumes_unref(volumes);
}

/* ---- on a worker ---- */

/* A commit can do without the last one: then it reads all of the live tree. */
static struct error *load_base(struct op *op) {
    if (op->base) return NULL;
    struct error *error = content_tree(&op->volumes->contents, op->volume->now.manifest, &op->base);
    if (!error || !op->kind->anew) return error;
    scoped_string char *text = error_text(error);
    log_error("volume", "%s is committed anew: %s", op->volume->id, text);
    error_free(error);
    scoped_string char *damaged = content_path(&op->volumes->contents, op->volume->now.manifest);
    store_calls_now()->unlink(damaged); /* the new one may be the same bytes, and has to be written then */
    op->base = tree_new();
    return NULL;
}

static struct error *prepare(struct op *op) {
    struct volume *volume = op->volume; /* busy: nobody else has it */
    TRY_PLAIN(load_base(op));
    if (volume->pending.tree) {
        scoped_fd int root = -1;
        TRY_PLAIN(live_open(volume->live_path, &root));
        TRY(change_carry_out(&volume->pending, root, true, NULL), "an earlier change");
        change_done(&volume->pending);
        op->late_done = true;
    }
    return op->kind->prepare(op);
}

static void on_prepare(struct io_work *work) {
    struct op *op = work->owner;
    work->error = prepare(op);
    if (work->error && op->change.stage) change_done(&op->change);
}

static void on_carry(struct io_work *work) {
    struct op *op = work->owner;
    struct volume *volume = op->volume;
    scoped_fd int root = -1;
    work->error = live_open(volume->live_path, &root);
    if (!work->error) work->error = change_carry_out(&volume->pending, root, false, op->made);
    if (!work->error) change_done(&volume->pending);
}

struct error *op_version(struct op *op, struct batch *batch, struct tree *made, struct tree *change,
                         int root) {
    scoped(tree) struct tree *version = made, *changed = change;
    scoped_text struct text text = {0};
    if (changed && changed->count > 0) {
        op->change.tree = take(changed);
        TRY_PLAIN(batch_flush(batch)); /* what is staged is a copy of content */
        TRY_PLAIN(change_stage(batch->contents, &op->change, root, batch->cancel));
        tree_print(op->change.tree, &text);
        TRY_PLAIN(content_put(batch, text_span(&text), op->change.digest));
        text_clear(&text);
    }
    tree_print(version, &text);
    TRY_PLAIN(content_put(batch, text_span(&text), op->next.manifest));
    TRY_PLAIN(batch_flush(batch));
    tree_measure(version, &op->next.file_count, &op->next.size_bytes);
    op->made = take(version);
    return NULL;
}

/* ---- on the loop ---- */

static void on_prepared(struct io_work *work) {
    struct op *op = work->owner;
    op->error = take(work->error);
    op->volumes->worker_count--;
    if (op->same && !op->told && !op->error) volume_tree_keep(op->volume, op->made);
    if (op->same) tree_free(take(op->made));
    if (op->told) {
        finish_told(op);
    } else if (!op->error && (op->made || op->late_done || op->kind->record != RECORD_VERSION)) {
        record(op);
    } else {
        finish(op);
    }
}

static void on_cleared(void *owner, struct error *error) {
    (void)owner;
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_warn("volume", "a record still tells of a change that was carried out: %s", text);
    error_free(error);
}

static void write_record(struct volume *volume, const struct committed *committed,
                         const struct change *pending, void (*done)(void *owner, struct error *error),
                         void *owner) {
    scoped_text struct text json = {0};
    record_print(volume, committed, pending, &json);
    const struct store_record one = {RECORD_KIND, volume->id, text_span(&json)};
    store_records_write(volume->volumes->store, &one, 1, done, owner);
}

static void on_carried(struct io_work *work) {
    struct op *op = work->owner;
    op->error = take(work->error);
    op->volumes->worker_count--;
    if (op->told) {
        finish_told(op);
        return;
    }
    if (op->error)
        op->error = error_wrap(op->error, "committed, but not yet in the live tree; it is tried again before "
                                          "the next change");
    else
        write_record(op->volume, &op->volume->now, NULL, on_cleared, NULL);
    finish(op);
}

static void work(struct op *op, void (*run)(struct io_work *work), void (*done)(struct io_work *work)) {
    op->work = (struct io_work){.work = run, .done = done, .owner = op};
    op->volumes->worker_count++;
    io_work_start(op->volumes->loop, &op->work);
}

static void on_recorded(void *owner, struct error *error) {
    struct op *op = owner;
    struct volume *volume = op->volume;
    op->error = error;
    if (op->told) { /* what was recorded all the same is carried out by the next start */
        finish_told(op);
        return;
    }
    if (error) {
        change_done(&op->change);
        finish(op);
        return;
    }
    volume->durable = op->kind->record != RECORD_REMOVED;
    if (op->made) {
        volume->now = op->next;
        volume_tree_keep(volume, op->made);
        sweep_later(volume->volumes);
    }
    if (!op->change.tree) {
        finish(op);
        return;
    }
    volume->pending = op->change;
    op->change = (struct change){0};
    move(op, OP_CARRYING);
    work(op, on_carry, on_carried);
}

static void record(struct op *op) {
    struct volume *volume = op->volume;
    move(op, OP_RECORDING);
    if (op->kind->record == RECORD_REMOVED) {
        const struct store_record none = {RECORD_KIND, volume->id, {NULL, 0}};
        store_records_write(op->volumes->store, &none, 1, on_recorded, op);
        return;
    }
    if (op->made) {
        op->next.commits = volume->now.commits + 1;
        op->next.wall_ms = clock_wall_ms();
    } else {
        op->next = volume->now;
    }
    write_record(volume, &op->next, op->change.tree ? &op->change : &volume->pending, on_recorded, op);
}

static void begin(struct op *op) {
    struct volume *volume = op->volume;
    list_remove(&op->node);
    op->volumes->waiting_count--;
    volumes_ref(op->volumes);
    if (!op->error && volume->gone)
        op->error =
            error_new(ERROR_NOT_FOUND, "the volume %s was deleted", volume->name ? volume->name : volume->id);
    if (op->error) {
        finish(op);
        return;
    }
    volume->busy = true;
    list_append(&op->volumes->running, &op->node);
    if (op->kind->begin) op->error = op->kind->begin(op);
    if (op->error) {
        move(op, OP_PREPARING); /* it was busy */
        finish(op);
    } else if (op->kind->prepare) {
        move(op, OP_PREPARING);
        op->base = tree_ref(volume->tree);
        work(op, on_prepare, on_prepared);
    } else {
        record(op);
    }
}

static struct op *next_ready(struct volumes *volumes) {
    bool workers = volumes->worker_count < WORKERS_MAX && !sweep_holds(volumes);
    LIST_EACH(node, &volumes->waiting) {
        struct op *op = CONTAINER_OF(node, struct op, node);
        if (op->error || op->volume->gone) return op;
        if (!op->volume->busy && (workers || !op->kind->prepare)) return op;
    }
    return NULL;
}

void ops_turn(struct volumes *volumes) {
    volumes_ref(volumes);
    for (struct op *op; !volumes->closed && (op = next_ready(volumes));) begin(op);
    if (!volumes->closed) sweep_try(volumes);
    volumes_unref(volumes);
}

void ops_turn_later(struct volumes *volumes) {
    io_timer_arm(volumes->turn, 0);
}

void op_wait(struct op *op, volume_done *done, void *owner) {
    op->waiters = mem_grow(op->waiters, op->waiter_count + 1, sizeof *op->waiters);
    op->waiters[op->waiter_count++] = (struct waiter){done, owner};
}

void op_start(struct volume *volume, const struct op_kind *kind, struct op *op, struct error *taken_error) {
    struct volumes *volumes = volume->volumes;
    op->volumes = volumes;
    op->volume = volume;
    op->kind = kind;
    op->error = taken_error;
    if (!op->error && volumes->waiting_count >= OPS_MAX)
        op->error = error_new(ERROR_RESOURCE_EXHAUSTED,
                              "too many changes of volumes wait (%d); try again later", OPS_MAX);
    volume->ops++;
    volumes->waiting_count++;
    list_append(&volumes->waiting, &op->node);
    ops_turn_later(volumes);
}

void ops_cancel(struct volumes *volumes) {
    scoped(error) struct error *error = error_new(ERROR_CANCELLED, "catnap is ending");
    LIST_EACH(node, &volumes->running) {
        struct op *op = CONTAINER_OF(node, struct op, node);
        __atomic_store_n(&op->cancel, true, __ATOMIC_RELAXED);
        if (!op->told) tell(op, error);
    }
    while (!list_empty(&volumes->waiting)) {
        struct op *op = CONTAINER_OF(volumes->waiting.next, struct op, node);
        list_remove(&op->node);
        tell(op, error);
        let_go(op);
    }
}
