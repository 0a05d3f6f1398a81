/* container: what a container's runner asks over its socket: work, and where to put what came of it.
 *
 * FunctionGetInputs is held until there is an input for this container (its slots are the pool's business),
 * or it is to end: then it gets the kill switch, runs its exit hooks and goes. The first one that is asked
 * says that the container is ready. */
#include "journal.h"
#include "sandbox.h"
#include "stats.h"

#include <stdlib.h>

#define HOLD_MS 50000
#define HEARTBEAT_MS 15000
#define INTERNAL_FAILURE \
    MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_INTERNAL_FAILURE

/* ---- work ---- */

static Modal__FunctionGetInputsItem *item_of(struct input *input, struct span bytes, struct arena *arena) {
    Modal__FunctionGetInputsItem *item = arena_alloc(arena, sizeof *item);
    modal__function_get_inputs_item__init(item);
    ProtobufCAllocator allocator = arena_allocator(arena);
    item->input_id = input->id;
    item->function_call_id = input->call->id;
    item->input = modal__function_input__unpack(&allocator, bytes.size, (const uint8_t *)bytes.data);
    if (item->input) {
        item->input->has_final_input = input->final;
        item->input->final_input = input->final;
    }
    item->has_retry_count = true;
    item->retry_count = input->retry_count;
    item->has_function_call_invocation_type = true;
    item->function_call_invocation_type =
        MODAL__FUNCTION_CALL_INVOCATION_TYPE__FUNCTION_CALL_INVOCATION_TYPE_SYNC;
    return item;
}

/* By which request it was given its inputs: one that is asked again, since its answer was lost, gets the
 * same. 0: it does not say. */
static uint64_t poll_of(const struct rpc *rpc) {
    uint64_t sum = 14695981039346656037u; /* FNV-1a */
    struct span key = grpc_call_metadata(rpc->call, "x-idempotency-key");
    if (!key.data || key.size == 0) return 0;
    for (size_t i = 0; i < key.size; i++) sum = (sum ^ (uint8_t)key.data[i]) * 1099511628211u;
    return sum ? sum : 1;
}

struct handing { /* a request, and the inputs that go or come with it; in its arena */
    uint64_t container;
    size_t count;
    const char **ids;
    bool kept;
};

static struct handing *handing_new(struct rpc *rpc, const struct task *task, size_t most) {
    struct handing *handing = arena_alloc(rpc_arena(rpc), sizeof *handing);
    handing->container = task->container;
    handing->ids = arena_alloc(rpc_arena(rpc), most * sizeof *handing->ids);
    return handing;
}

static void handing_add(struct rpc *rpc, struct handing *handing, const struct input *input) {
    handing->ids[handing->count++] = arena_text(rpc_arena(rpc), input->id);
    handing->kept = handing->kept || input->call->kept;
}

/* They are noted as this container's. What was cancelled meanwhile does not go. */
static void hand_over(struct rpc *rpc, struct error *error) {
    journal_failed(rpc->modal, error); /* then they go all the same */
    const struct handing *handing = rpc->owner;
    struct arena *arena = rpc_arena(rpc);
    Modal__FunctionGetInputsResponse answer = MODAL__FUNCTION_GET_INPUTS_RESPONSE__INIT;
    answer.inputs = arena_alloc(arena, (handing->count + 1) * sizeof *answer.inputs);
    for (size_t i = 0; i < handing->count; i++) {
        struct input *input = map_get(rpc->modal->inputs, span_of(handing->ids[i]));
        if (!input || input->state != INPUT_RUNNING || !input->task) continue;
        if (input->task->container != handing->container) continue;
        struct span bytes;
        scoped(error) struct error *unreadable = input_bytes(input, arena, &bytes);
        scoped_string char *text = unreadable ? error_text(unreadable) : NULL;
        if (unreadable)
            input_fail(input, INTERNAL_FAILURE, text);
        else
            answer.inputs[answer.n_inputs++] = item_of(input, bytes, arena);
    }
    rpc_answer(rpc, &answer);
}

static void hand(struct rpc *rpc, struct handing *handing) {
    rpc_let_go(rpc);
    rpc->owner = handing;
    if (handing->kept)
        journal_settle(rpc, hand_over);
    else
        hand_over(rpc, NULL);
}

static void kill_switch(struct rpc *rpc) {
    Modal__FunctionGetInputsResponse answer = MODAL__FUNCTION_GET_INPUTS_RESPONSE__INIT;
    Modal__FunctionGetInputsItem item = MODAL__FUNCTION_GET_INPUTS_ITEM__INIT, *items[] = {&item};
    answer.inputs = items;
    item.has_kill_switch = item.kill_switch = true;
    answer.n_inputs = COUNT(items);
    rpc_answer(rpc, &answer);
}

/* Gives the held poll what waits for it: all inputs of one slot. What may still join a batch is not here yet:
 * the slot was not granted. */
static void serve(struct task *task) {
    if (list_empty(&task->polls)) return;
    struct rpc *rpc = CONTAINER_OF(task->polls.next, struct rpc, node);
    if (list_empty(&task->assigned)) {
        if (task->stopping) kill_switch(rpc);
        return;
    }
    const struct slot *slot = CONTAINER_OF(task->assigned.next, struct input, queue)->slot;
    size_t most = slot ? slot->count : 1; /* without one it is a build's only input */
    struct handing *handing = handing_new(rpc, task, most);
    while (!list_empty(&task->assigned) && handing->count < most) {
        struct input *input = CONTAINER_OF(task->assigned.next, struct input, queue);
        if (input->slot != slot) break;
        list_remove(&input->queue);
        list_append(&task->running, &input->queue);
        input->state = INPUT_RUNNING;
        input->started_at = now_s();
        input->poll = poll_of(rpc);
        handing_add(rpc, handing, input);
        journal_run(input);
    }
    hand(rpc, handing);
}

/* Its answer was lost on the way, or with the daemon that gave it. */
static bool handed_before(struct rpc *rpc, struct task *task) {
    uint64_t poll = poll_of(rpc);
    size_t count = 0;
    LIST_EACH(node, &task->running) count += CONTAINER_OF(node, struct input, queue)->poll == poll;
    if (!poll || count == 0) return false;
    struct handing *handing = handing_new(rpc, task, count);
    LIST_EACH(node, &task->running) {
        const struct input *input = CONTAINER_OF(node, struct input, queue);
        if (input->poll == poll) handing_add(rpc, handing, input);
    }
    hand(rpc, handing);
    return true;
}

static void assign(struct task *task, struct input *input) {
    input->state = INPUT_ASSIGNED;
    input->task = task;
    input->worked_by = task->container;
    list_append(&task->assigned, &input->queue);
}

void task_assign(struct task *task, struct input *input) {
    assign(task, input);
    serve(task);
}

void task_assign_slot(struct task *task, struct slot *slot) {
    LIST_EACH(node, &slot->inputs) assign(task, CONTAINER_OF(node, struct input, mates));
    serve(task);
}

void task_stop(struct task *task) {
    task->stopping = true;
    serve(task);
}

void task_abandon(struct task *task, const char *why) {
    struct list *const lists[] = {&task->running, &task->assigned};
    for (size_t i = 0; i < COUNT(lists); i++) LIST_EACH_SAFE(node, next, lists[i]) {
            struct input *input = CONTAINER_OF(node, struct input, queue);
            if (i == 0) task_cancel_input(task, input);
            input_fail(
                input,
                MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_TERMINATED,
                why);
        }
}

static void poll_over(struct rpc *rpc) {
    Modal__FunctionGetInputsResponse answer = MODAL__FUNCTION_GET_INPUTS_RESPONSE__INIT;
    rpc_answer(rpc, &answer); /* it asks again at once */
}

static bool works_for(const struct task *task, const char *function_id) {
    const struct function *mine = task->function;
    if (!mine || !function_id || !*function_id) return true;
    return strcmp(mine->id, function_id) == 0 || (mine->base && strcmp(mine->base->id, function_id) == 0);
}

static void get_inputs(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetInputsRequest *request = message;
    struct task *task = rpc->task;
    if (!works_for(task, request->function_id)) {
        rpc_fail(rpc, error_new(ERROR_PERMISSION_DENIED,
                                "this container does not work for the function %.32s", request->function_id));
        return;
    }
    while (!list_empty(&task->polls)) poll_over(CONTAINER_OF(task->polls.next, struct rpc, node));
    if (!handed_before(rpc, task)) rpc_hold(rpc, &task->polls, task, HOLD_MS, poll_over);
    if (!task->ready) {
        task->ready = true;
        task->started_at = now_s();
        stats_task_begun(task);
        if (!task->builds) node_ready(rpc->modal->node, task->container);
    }
    serve(task);
}

static void outputs_noted(struct rpc *rpc, struct error *error) {
    const struct handing *putting = rpc->owner;
    for (size_t i = 0; i < putting->count && !error; i++) {
        struct input *input = map_get(rpc->modal->inputs, span_of(putting->ids[i]));
        if (input && input->state == INPUT_DONE) input_result_noted(input);
    }
    journal_answer(rpc, error);
}

static void put_outputs(struct rpc *rpc, const void *message) {
    const Modal__FunctionPutOutputsRequest *request = message;
    struct task *task = rpc->task;
    struct handing *putting = handing_new(rpc, task, request->n_outputs + 1);
    for (size_t i = 0; i < request->n_outputs; i++) {
        const Modal__FunctionPutOutputsItem *item = request->outputs[i];
        struct input *input = item->input_id ? map_get(rpc->modal->inputs, span_of(item->input_id)) : NULL;
        if (!input || input->task != task || !item->result) continue; /* cancelled meanwhile, or given up */
        scoped_text struct text result = message_pack(item->result);
        handing_add(rpc, putting, input);
        input_finish(input, text_span(&result), (int)item->data_format);
    }
    rpc->owner = putting;
    if (putting->kept)
        journal_settle(rpc, outputs_noted);
    else
        rpc_answer_empty(rpc);
}

/* How many at once, where a target was told: the pool has counted up to the most before it sends them here.
 */
static void get_concurrency(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetDynamicConcurrencyRequest *request = message;
    Modal__FunctionGetDynamicConcurrencyResponse answer =
        MODAL__FUNCTION_GET_DYNAMIC_CONCURRENCY_RESPONSE__INIT;
    answer.has_concurrency = true;
    answer.concurrency = request->max_concurrency ? request->max_concurrency : 1;
    rpc_answer(rpc, &answer);
}

/* ---- life signs ---- */

static void beat(struct rpc *rpc) {
    struct task *task = rpc->owner;
    Modal__ContainerHeartbeatResponse answer = MODAL__CONTAINER_HEARTBEAT_RESPONSE__INIT;
    Modal__CancelInputEvent event = MODAL__CANCEL_INPUT_EVENT__INIT;
    scoped_text struct text ids = task->cancelled;
    task->cancelled = (struct text){0};
    struct arena *arena = rpc_arena(rpc);
    size_t count = 0;
    for (size_t i = 0; i < ids.size; i += strlen(ids.data + i) + 1) count++;
    if (count > 0) {
        event.input_ids = arena_alloc(arena, count * sizeof *event.input_ids);
        for (size_t i = 0; i < ids.size; i += strlen(ids.data + i) + 1)
            event.input_ids[event.n_input_ids++] = arena_text(arena, ids.data + i);
        answer.cancel_input_event = &event;
    }
    rpc_answer(rpc, &answer);
}

void task_cancel_input(struct task *task, struct input *input) {
    text_add(&task->cancelled, (struct span){input->id, strlen(input->id) + 1});
    while (!list_empty(&task->heartbeats)) beat(CONTAINER_OF(task->heartbeats.next, struct rpc, node));
}

/* Held, so that a cancel reaches the container at once. */
static void heartbeat(struct rpc *rpc, const void *message) {
    (void)message;
    struct task *task = rpc->task;
    rpc_hold(rpc, &task->heartbeats, task, task->cancelled.size ? 0 : HEARTBEAT_MS - 1000, beat);
    if (task->cancelled.size) beat(rpc);
}

/* Its import or its enter hooks failed; it exits with 0 in a moment. */
static void task_result(struct rpc *rpc, const void *message) {
    const Modal__TaskResultRequest *request = message;
    struct task *task = rpc->task;
    const Modal__GenericResult *result = request->result;
    bool good =
        result && result->status ==
                      MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS;
    if (result && !good) {
        free(task->exception);
        task->exception =
            mem_string(result->exception && *result->exception ? result->exception : "it failed to start");
        if (task->function) function_start_failed(task->function, result);
    }
    rpc_answer_empty(rpc);
}

/* ---- what clients ask of containers ---- */

/* Of the app that was asked about, else of the environment. */
static bool listed(const Modal__TaskListRequest *request, const struct app *app) {
    if (!app) return false;
    return request->app_id && *request->app_id
               ? strcmp(app->id, request->app_id) == 0
               : strcmp(app->environment, environment_of(request->environment_name)) == 0;
}

static Modal__TaskStats *stats_of(struct arena *arena, char *task_id, struct app *app, double enqueued_at,
                                  double started_at) {
    Modal__TaskStats *stats = arena_alloc(arena, sizeof *stats);
    modal__task_stats__init(stats);
    stats->task_id = task_id;
    stats->app_id = app->id;
    stats->app_description = app->name;
    stats->has_enqueued_at = true;
    stats->enqueued_at = enqueued_at;
    stats->has_started_at = started_at > 0;
    stats->started_at = started_at;
    return stats;
}

static void task_list(struct rpc *rpc, const void *message) {
    const Modal__TaskListRequest *request = message;
    struct arena *arena = rpc_arena(rpc);
    Modal__TaskListResponse answer = MODAL__TASK_LIST_RESPONSE__INIT;
    size_t most = table_count(rpc->modal->tasks) + map_count(rpc->modal->sandboxes) + 1;
    answer.tasks = arena_alloc(arena, most * sizeof *answer.tasks);
    void *value;
    for (size_t i = 0; table_next(rpc->modal->tasks, &i, NULL, &value);) {
        struct task *task = value;
        struct app *app = task->function ? task->function->app : NULL;
        if (!listed(request, app)) continue;
        answer.tasks[answer.n_tasks++] = stats_of(arena, task->id, app, task->enqueued_at, task->started_at);
    }
    for (size_t i = 0; map_next(rpc->modal->sandboxes, &i, NULL, &value);) {
        struct sandbox *sandbox = value;
        if (sandbox->status || !listed(request, sandbox->app)) continue;
        answer.tasks[answer.n_tasks++] =
            stats_of(arena, sandbox->task_id, sandbox->app, sandbox->created_at, sandbox->started_at);
    }
    rpc_answer(rpc, &answer);
}

static void sandbox_info(struct rpc *rpc, const struct sandbox *sandbox) {
    Modal__TaskInfo info = MODAL__TASK_INFO__INIT;
    Modal__GenericResult result;
    sandbox_result(sandbox, &result);
    info.id = (char *)sandbox->task_id;
    info.sandbox_id = (char *)sandbox->id;
    info.has_enqueued_at = info.has_started_at = true;
    info.enqueued_at = sandbox->created_at;
    info.started_at = sandbox->started_at;
    info.has_finished_at = sandbox->status != 0;
    info.finished_at = sandbox->finished_at;
    info.result = sandbox->status ? &result : NULL;
    Modal__TaskGetInfoResponse answer = MODAL__TASK_GET_INFO_RESPONSE__INIT;
    answer.app_id = sandbox->app ? sandbox->app->id : "";
    answer.info = &info;
    rpc_answer(rpc, &answer);
}

static void task_info(struct rpc *rpc, const void *message) {
    const Modal__TaskGetInfoRequest *request = message;
    struct task *task = task_of(rpc->modal, request->task_id);
    const struct sandbox *sandbox = sandbox_of_task(rpc->modal, request->task_id);
    if (sandbox) {
        sandbox_info(rpc, sandbox);
        return;
    }
    if (!task || !task->function) {
        rpc_fail(rpc, no_object("container", request->task_id));
        return;
    }
    Modal__TaskInfo info = MODAL__TASK_INFO__INIT;
    info.id = task->id;
    info.has_enqueued_at = true;
    info.enqueued_at = task->enqueued_at;
    info.has_started_at = task->started_at > 0;
    info.started_at = task->started_at;
    Modal__TaskGetInfoResponse answer = MODAL__TASK_GET_INFO_RESPONSE__INIT;
    answer.app_id = task->function->app->id;
    answer.info = &info;
    rpc_answer(rpc, &answer);
}

static void container_stop(struct rpc *rpc, const void *message) {
    const Modal__ContainerStopRequest *request = message;
    struct task *task = rpc->task && (!request->task_id || strcmp(request->task_id, rpc->task->id) == 0)
                            ? rpc->task
                        : rpc->task ? NULL
                                    : task_of(rpc->modal, request->task_id);
    Modal__ContainerStopResponse answer = MODAL__CONTAINER_STOP_RESPONSE__INIT;
    struct sandbox *sandbox = rpc->task ? NULL : sandbox_of_task(rpc->modal, request->task_id);
    if (sandbox) {
        sandbox_terminate(sandbox);
        rpc_answer(rpc, &answer);
        return;
    }
    if (!task) {
        rpc_fail(rpc, no_object("container", request->task_id));
        return;
    }
    if (request->graceful) {
        task_stop(task);
        pool_container_leaves(rpc->modal->pool,
                              task->container); /* or it would be granted what it won't fetch */
    } else {
        pool_container_kill(rpc->modal->pool, task->container);
    }
    rpc_answer(rpc, &answer);
}

const struct rpc_method container_methods[] = {
    {"FunctionGetInputs", &modal__function_get_inputs_request__descriptor, get_inputs, RPC_TASK_ONLY},
    {"FunctionPutOutputs", &modal__function_put_outputs_request__descriptor, put_outputs, RPC_TASK_ONLY},
    {"FunctionGetDynamicConcurrency", &modal__function_get_dynamic_concurrency_request__descriptor,
     get_concurrency, RPC_TASK_ONLY},
    {"ContainerHeartbeat", &modal__container_heartbeat_request__descriptor, heartbeat, RPC_TASK_ONLY},
    {"TaskResult", &modal__task_result_request__descriptor, task_result, RPC_TASK_ONLY},
    {"TaskList", &modal__task_list_request__descriptor, task_list, RPC_TASK},
    {"TaskGetInfo", &modal__task_get_info_request__descriptor, task_info, RPC_TASK},
    {"ContainerStop", &modal__container_stop_request__descriptor, container_stop, RPC_TASK},
    {0},
};
