/* input: one piece of work on its way through a container.
 *
 *   queued --ticket granted--> assigned --its container asks--> running --output--> done
 *      ^--- retried: its function's policy says so, or its container ended before it asked ---'
 * An input of a client's call is noted at each step (journal.c); when catnap ends, in whatever way, it stays
 * where it is: the next daemon gives it back to its container, or to another one where that is gone.
 * Tickets are not made for a certain input: whichever waits longest gets the slot, of a batched function as
 * many as are one batch. Only the last ticket may want more for its batch: the pool lets it linger. The
 * number of tickets is bounded, so that a hundred thousand inputs cost the pool nothing. */
#include "journal.h"
#include "stats.h"

#include <stdlib.h>

#define TICKETS_MAX 1000 /* of a function, waiting */
#define QUEUED_MAX_MS \
    (INT64_C(7) * 86400 * 1000) /* a call may wait for its turn as long as its result is kept */
#define LOSSES_MAX 5       /* an input that takes its container and the daemon along is not tried for ever */
#define TOLD_MAX (1 << 20) /* numbers of outputs that are on their way to the disk */
#define STATUS(NAME) MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_##NAME

static void join_slot(struct input *input, struct slot *slot) {
    input->slot = slot;
    list_append(&slot->inputs, &input->mates);
    slot->count++;
}

/* Its slot is given back by the last of its batch. */
static void leave_slot(struct input *input) {
    struct slot *slot = take(input->slot);
    if (!slot) return;
    list_remove(&input->mates);
    slot->count--;
    if (slot->count > 0 || !slot->ticket) return;
    pool_ticket_done(slot->ticket);
    free(slot);
}

static void waits_no_more(struct function *function, const struct input *input) {
    function->queued--;
    function->queued_bytes -= input->size;
}

void input_withdraw(struct input *input) {
    if (input->state == INPUT_QUEUED && !list_empty(&input->queue) && !input->retry)
        waits_no_more(input->call->function, input);
    list_remove(&input->queue);
    leave_slot(input);
    io_timer_free(take(input->retry));
}

/* The end of catnap is none of a call's. */
static bool left_open(struct input *input) {
    if (!input->call->modal->closing || !input->call->kept) return false;
    input_withdraw(input);
    input->state = INPUT_QUEUED;
    return true;
}

void input_free(struct input *input) {
    input_withdraw(input);
    list_remove(&input->done);
    list_remove(&input->node);
    map_remove(input->call->modal->inputs, span_of(input->id));
    input_texts_done(input);
    free(input);
}

void input_enqueue(struct input *input) {
    struct function *function = input->call->function;
    input->state = INPUT_QUEUED;
    input->task = NULL;
    input->resumed = false;
    input->due_at = 0;
    list_append(&function->queue, &input->queue);
    function->queued++;
    function->queued_bytes += input->size;
    function_pump(function);
}

static struct input *dequeue(struct function *function) {
    if (list_empty(&function->queue)) return NULL;
    struct input *input = CONTAINER_OF(function->queue.next, struct input, queue);
    list_remove(&input->queue);
    waits_no_more(function, input);
    return input;
}

/* ---- slots ---- */

static void granted(struct slot *slot) {
    struct function *function = slot->function;
    struct modal *modal = function->app->modal;
    list_remove(&slot->node);
    function->waiting--;
    struct task *task = task_of_container(modal, pool_ticket_container(slot->ticket));
    size_t most = task && !task->stopping ? function_batch_size(function) : 0;
    for (struct input *input; slot->count < most && (input = dequeue(function));) join_slot(input, slot);
    if (slot->count == 0) {
        if (!task)
            pool_container_leaves(modal->pool, pool_ticket_container(slot->ticket)); /* nobody hears it */
        pool_ticket_done(slot->ticket);
        free(slot);
        if (function->queued > 0 && !task) function_pump(function);
        return;
    }
    task_assign_slot(task, slot);
}

static void on_granted(void *owner, struct pool_ticket *ticket) {
    (void)ticket;
    granted(owner);
}

static void lost(struct input *input, const struct pool_refusal *refusal) {
    struct modal *modal = input->call->modal;
    struct task *task = input->task;
    bool alone = task && task->function && function_max_inputs(task->function) <= 1;
    if (refusal->reason != NAP_REASON_TIMEOUT) {
        input_lost(input, refusal->text);
        return;
    }
    if (task && alone)
        pool_container_kill(modal->pool, task->container);
    else if (task)
        task_cancel_input(task, input);
    input_fail(input, STATUS(TIMEOUT), refusal->text);
}

static void on_refused(void *owner, struct pool_ticket *ticket, const struct pool_refusal *refusal) {
    (void)ticket;
    struct slot *slot = owner;
    struct function *function = slot->function;
    if (slot->count > 0) {
        slot->ticket = NULL; /* it is over */
        while (!list_empty(&slot->inputs)) {
            struct input *input = CONTAINER_OF(slot->inputs.next, struct input, mates);
            leave_slot(input);
            lost(input, refusal);
        }
        free(slot);
        return;
    }
    list_remove(&slot->node);
    free(slot);
    if (!function) return;
    function->waiting--;
    size_t most = function_batch_size(function);
    for (struct input *input; most > 0 && (input = dequeue(function)); most--)
        if (!left_open(input)) input_fail(input, STATUS(FAILURE), refusal->text);
    function_pump(function);
}

static const struct pool_ticket_events ticket_events = {.granted = on_granted, .refused = on_refused};

void function_refuse_all(struct function *function, const char *why) {
    while (!list_empty(&function->slots)) {
        struct slot *slot = CONTAINER_OF(function->slots.next, struct slot, node);
        list_remove(&slot->node);
        function->waiting--;
        pool_ticket_done(slot->ticket);
        free(slot);
    }
    for (struct input *input; (input = dequeue(function));)
        if (!left_open(input)) input_fail(input, STATUS(TERMINATED), why);
    while (!list_empty(&function->retrying)) {
        struct input *input = CONTAINER_OF(function->retrying.next, struct input, queue);
        if (!left_open(input)) input_fail(input, STATUS(TERMINATED), why);
    }
}

void function_start_failed(struct function *function, const Modal__GenericResult *result) {
    scoped_text struct text bytes = message_pack(result);
    size_t count = function->queued; /* not those that come up meanwhile */
    for (struct input *input; count > 0 && (input = dequeue(function)); count--)
        input_finish(input, text_span(&bytes), MODAL__DATA_FORMAT__DATA_FORMAT_PICKLE);
}

static size_t tickets_wanted(const struct function *function) {
    size_t batch = function_batch_size(function), count = (function->queued + batch - 1) / batch;
    return count < TICKETS_MAX ? count : TICKETS_MAX;
}

/* Whether each of those that wait has a whole batch behind it; else the last one lingers for more. */
static bool waiting_are_whole(const struct function *function) {
    return function->queued >= function->waiting * function_batch_size(function);
}

static void last_is_whole(struct function *function) {
    if (list_empty(&function->slots) || !waiting_are_whole(function)) return;
    struct slot *last = CONTAINER_OF(function->slots.prev, struct slot, node);
    if (!last->lingers) return;
    last->lingers = false;
    if (pool_ticket_ripe(last->ticket)) granted(last);
}

void function_pump(struct function *function) {
    struct modal *modal = function->app->modal;
    if (modal->closing) return;
    last_is_whole(function);
    if (function->waiting >= tickets_wanted(function)) return;
    struct pool_function *there = pool_function_find(modal->pool, function->core_app, function->core_name);
    if (!there) {
        for (struct input *input; (input = dequeue(function));)
            input_fail(input, STATUS(FAILURE), "the function is not deployed, or its app was stopped");
        return;
    }
    while (function->waiting < tickets_wanted(function)) {
        struct slot *slot = NEW(struct slot);
        slot->function = function;
        list_init(&slot->inputs);
        list_append(&function->slots, &slot->node);
        function->waiting++;
        int64_t linger_ms = waiting_are_whole(function) ? 0 : function_batch_linger_ms(function);
        slot->lingers = linger_ms > 0;
        slot->ticket = pool_ticket_new_gathering(there, function->label ? 0 : QUEUED_MAX_MS, linger_ms,
                                                 &ticket_events, slot);
        if (pool_ticket_container(slot->ticket)) granted(slot);
    }
}

/* It came with that one, a batch. */
static bool resume_with(struct input *input, struct task *task) {
    LIST_EACH(node, &task->running) {
        const struct input *other = CONTAINER_OF(node, struct input, queue);
        if (!input->poll || other->poll != input->poll || !other->slot) continue;
        join_slot(input, other->slot);
        return true;
    }
    return false;
}

void input_resume(struct input *input, struct task *task) {
    const struct function *function = input->call->function;
    struct pool *pool = input->call->modal->pool;
    struct pool_function *there = pool_function_find(pool, function->core_app, function->core_name);
    bool joined = resume_with(input, task);
    input->state = INPUT_RUNNING;
    input->resumed = true;
    input->task = task;
    input->worked_by = task->container;
    list_append(&task->running, &input->queue);
    if (!there || joined) return;
    struct slot *slot = NEW(struct slot);
    list_init(&slot->node);
    list_init(&slot->inputs);
    slot->function = input->call->function;
    slot->ticket = pool_ticket_resume(there, task->container, &ticket_events, slot);
    if (pool_ticket_container(slot->ticket) == task->container) {
        join_slot(input, slot);
        return;
    }
    pool_ticket_done(slot->ticket); /* it is on its way out, and may end what it has */
    free(slot);
}

/* ---- ends ---- */

static bool retries_left(const struct input *input) {
    const struct function *function = input->call->function;
    const Modal__FunctionRetryPolicy *policy = function ? function_retries(function) : NULL;
    return policy && (!input->call->on_done || input->call->scheduled) &&
           input->retry_count < policy->retries;
}

static void on_retry(void *owner) {
    struct input *input = owner;
    io_timer_free(take(input->retry));
    list_remove(&input->queue);
    input_enqueue(input);
}

void input_retry_at(struct input *input, double due_at) {
    double delay_s = due_at - now_s();
    input->state = INPUT_QUEUED;
    input->task = NULL;
    input->poll = 0;
    input->due_at = due_at;
    list_append(&input->call->function->retrying, &input->queue);
    input->retry = io_timer_new(input->call->modal->loop, on_retry, input);
    io_timer_arm(input->retry, delay_s > 0 ? (int64_t)(delay_s * 1000 + 0.5) : 0);
}

static void retry(struct input *input) {
    const Modal__FunctionRetryPolicy *policy = function_retries(input->call->function);
    double delay_ms = policy->initial_delay_ms;
    for (uint32_t i = 0; i < input->retry_count && policy->backoff_coefficient > 0; i++)
        delay_ms *= (double)policy->backoff_coefficient;
    if (policy->max_delay_ms && delay_ms > policy->max_delay_ms) delay_ms = policy->max_delay_ms;
    input->retry_count++;
    input_retry_at(input, now_s() + delay_ms / 1000);
    journal_run(input);
}

static bool final_status(int status) {
    return status == STATUS(SUCCESS) || status == STATUS(TERMINATED);
}

/* A number that was told is never another's: who has got so far would not be given that one. The daemon
 * before may have told some that it could not note any more. */
static uint64_t next_number(struct call *call) {
    if (call->restored && !call->numbers_anew) call->outputs_made += TOLD_MAX;
    call->numbers_anew = true;
    return ++call->outputs_made;
}

static void done(struct input *input) {
    struct call *call = input->call;
    input->state = INPUT_DONE;
    input->task = NULL;
    input->output_at = now_s();
    input->output_number = next_number(call);
    call->done_count++;
    list_append(&call->outputs, &input->done);
    journal_output(input);
    stats_call_done(call->function, input->status == STATUS(SUCCESS));
    stream_generator_done(call, input);
    if (call->on_done) {
        call->on_done(call->owner, input); /* may free the call */
        return;
    }
    call_out_drained(call);
    call_output_made(call);
}

void input_finish(struct input *input, struct span result, int format) {
    if (input->state == INPUT_DONE) return;
    Modal__GenericResult *said =
        modal__generic_result__unpack(NULL, result.size, (const uint8_t *)result.data);
    int status = said ? (int)said->status : STATUS(INTERNAL_FAILURE);
    if (said) modal__generic_result__free_unpacked(said, NULL);
    input_withdraw(input);
    if (!final_status(status) && retries_left(input)) {
        retry(input);
        return;
    }
    input->status = status;
    input->result_format = format;
    input_result_set(input, result);
    done(input);
}

void input_fail(struct input *input, int status, const char *exception) {
    Modal__GenericResult result = MODAL__GENERIC_RESULT__INIT;
    result.has_status = true;
    result.status = (Modal__GenericResultGenericStatus)status;
    result.exception = (char *)exception;
    scoped_text struct text bytes = message_pack(&result);
    input_finish(input, text_span(&bytes), MODAL__DATA_FORMAT__DATA_FORMAT_PICKLE);
}

/* The daemon ended while it was at work, and so did its container, perhaps for that reason. */
static bool lost_with_daemon(struct input *input) {
    if (!input->resumed || input->losses >= LOSSES_MAX) return false;
    input->losses++;
    input->resumed = false;
    input->task = NULL;
    input->poll = 0;
    journal_run(input);
    return true;
}

void input_lost(struct input *input, const char *why) {
    if (left_open(input)) return;
    bool seen = input->state != INPUT_ASSIGNED;
    if (!seen || lost_with_daemon(input)) {
        input_withdraw(input);
        if (input->call->function)
            input_enqueue(input);
        else
            input_fail(input, STATUS(TERMINATED), why);
        return;
    }
    scoped_string char *text = mem_printf("the container ended while it worked on this input: %s", why);
    input_fail(input, STATUS(FAILURE), text);
}
