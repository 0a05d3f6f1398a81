/* callgraph: which call was made by which input, and what is told of calls as a whole.
 *
 * The first call of a graph is its root. What is told of a call that went stays with its root's call: so the
 * calls whose results were taken at once are there when the caller of the whole asks. When the root's call
 * goes, those that still live are graphs of their own. Bounded: a graph that is larger is told to be cut.
 *
 * Of calls that are kept over a restart the same is in the store: who is whose child beside the root's
 * record, who is the root in each child's. */
#include "callgraph.h"

#include "journal.h"

#include <stdlib.h>

#define CALLS_MAX 1000  /* of a graph */
#define INPUTS_MAX 5000 /* of an answer, and of what went of a graph */
#define LISTED_MAX 100  /* calls of a function */
#define LATEST_MAX 5    /* inputs of a kind */

struct trace { /* of an input */
    char id[ID_MAX];
    uint64_t container;
    int status;
};
struct kin {
    struct kin *root;   /* itself, where it is the first */
    struct list link;   /* in root->family */
    struct list family; /* of a root: the others */
    size_t family_count, gone_inputs;
    bool cut;
    struct call *call; /* NULL: it went, or is in the store only */
    bool gone;         /* the first of both */
    char call_id[ID_MAX], parent[ID_MAX];
    char *function, *module;
    struct trace *traces; /* where it went */
    size_t trace_count;
};

static struct kin *kin_new(struct call *call) {
    struct kin *kin = NEW(struct kin);
    const struct definition *definition = function_definition(call->function);
    const char *module = definition ? definition->function->module_name : NULL;
    kin->root = kin;
    kin->call = call;
    id_set(kin->call_id, call->id);
    kin->function = mem_string(call->function->name);
    kin->module = mem_string(module ? module : "");
    list_init(&kin->link);
    list_init(&kin->family);
    call->kin = kin;
    return kin;
}

static void kin_free(struct kin *kin) {
    list_remove(&kin->link);
    free(kin->function);
    free(kin->module);
    free(kin->traces);
    free(kin);
}

static void attach(struct kin *kin, struct call *call) {
    kin->root->gone_inputs -= kin->trace_count;
    kin->trace_count = 0;
    free(take(kin->traces));
    kin->call = call;
    call->kin = kin;
}

/* The root's call comes from the store, where it is not in memory, and finds this one then. */
static struct kin *kin_of(struct call *call) {
    if (!call->kin && *call->root_id) (void)call_of(call->modal, call->root_id);
    if (!call->kin) callgraph_restored(call);
    return call->kin ? call->kin : kin_new(call);
}

/* ---- kept ---- */

static void keep_kin(const struct kin *kin) {
    struct kin *root = kin->root;
    if (!root->call || !root->call->kept || root->call->forgotten) return;
    Modal__KinRecord record = MODAL__KIN_RECORD__INIT;
    record.parent = (char *)kin->parent;
    record.function = kin->function;
    record.module = kin->module;
    record.has_gone = record.gone = kin->gone;
    scoped(arena) struct arena *arena = arena_new();
    record.traces = arena_alloc(arena, (kin->trace_count + 1) * sizeof *record.traces);
    for (size_t i = 0; i < kin->trace_count; i++) {
        Modal__TraceRecord *trace = record.traces[record.n_traces++] = arena_alloc(arena, sizeof *trace);
        modal__trace_record__init(trace);
        trace->id = kin->traces[i].id;
        trace->has_container = trace->has_status = true;
        trace->container = kin->traces[i].container;
        trace->status = kin->traces[i].status;
    }
    journal_kin(root->call, kin->call_id, &record);
}

static struct kin *child_of(const struct kin *root, const char *call_id) {
    LIST_EACH(node, &root->family) {
        struct kin *kin = CONTAINER_OF(node, struct kin, link);
        if (strcmp(kin->call_id, call_id) == 0) return kin;
    }
    return NULL;
}

void callgraph_child_restored(struct call *root_call, const char *call_id, const Modal__KinRecord *record) {
    struct kin *root = root_call->kin;
    if (!root && root_call->function) root = kin_new(root_call);
    if (!root || root->family_count >= CALLS_MAX) return;
    struct kin *kin = NEW(struct kin);
    kin->root = root;
    id_set(kin->call_id, call_id);
    id_set(kin->parent, record->parent);
    kin->function = mem_string(record->function ? record->function : "");
    kin->module = mem_string(record->module ? record->module : "");
    kin->gone = record->gone;
    kin->traces = mem_array(record->n_traces + 1, sizeof *kin->traces);
    for (size_t i = 0; i < record->n_traces && root->gone_inputs < INPUTS_MAX; i++, root->gone_inputs++) {
        struct trace *trace = &kin->traces[kin->trace_count++];
        id_set(trace->id, record->traces[i]->id);
        trace->container = record->traces[i]->container;
        trace->status = record->traces[i]->status;
    }
    list_init(&kin->family);
    list_append(&root->family, &kin->link);
    root->family_count++;
    struct call *call = map_get(root_call->modal->calls, span_of(call_id));
    if (call && !call->kin) attach(kin, call);
}

void callgraph_restored(struct call *call) {
    const struct call *root = *call->root_id ? map_get(call->modal->calls, span_of(call->root_id)) : NULL;
    struct kin *kin = root && root->kin && !call->kin ? child_of(root->kin, call->id) : NULL;
    if (kin && !kin->call) attach(kin, call);
}

/* ---- begun, gone ---- */

void callgraph_made(struct call *call, const struct task *task, const char *parent) {
    struct input *input = task && parent ? map_get(call->modal->inputs, span_of(parent)) : NULL;
    if (!input || input->task != task) return;
    struct kin *root = kin_of(input->call)->root;
    if (root->family_count >= CALLS_MAX) {
        root->cut = true;
        return;
    }
    struct kin *kin = kin_new(call);
    kin->root = root;
    id_set(kin->parent, input->id);
    list_append(&root->family, &kin->link);
    root->family_count++;
    if (root->call->kept) id_set(call->root_id, root->call_id);
    keep_kin(kin);
}

static struct trace trace_of(const struct input *input) {
    struct trace trace = {.container = input->worked_by};
    id_set(trace.id, input->id);
    if (input->state == INPUT_DONE) trace.status = input->status;
    return trace;
}

static void leave_trace(struct kin *kin) {
    const struct call *call = kin->call;
    struct kin *root = kin->root;
    size_t room = INPUTS_MAX - root->gone_inputs, count = 0;
    LIST_EACH(node, &call->inputs) count++;
    root->cut |= count > room;
    kin->traces = mem_array(count < room ? count + 1 : room + 1, sizeof *kin->traces);
    LIST_EACH(node, &call->inputs) {
        if (kin->trace_count == room) break;
        kin->traces[kin->trace_count++] = trace_of(CONTAINER_OF(node, struct input, node));
    }
    root->gone_inputs += kin->trace_count;
    kin->call = NULL;
    kin->gone = !call->kept || call->forgotten;
    if (call->forgotten) keep_kin(kin);
}

void callgraph_gone(struct call *call) {
    struct kin *kin = take(call->kin);
    if (!kin) return;
    if (kin->root != kin) {
        leave_trace(kin);
        return;
    }
    while (!list_empty(&kin->family)) {
        struct kin *child = CONTAINER_OF(kin->family.next, struct kin, link);
        list_remove(&child->link);
        struct call *its = child->call;
        if (!its || (call->kept && !call->forgotten)) { /* the family is read again with its root */
            if (its) its->kin = NULL;
            kin_free(child);
            continue;
        }
        child->root = child;
        *child->parent = '\0';
        *its->root_id = '\0';
    }
    kin_free(kin);
}

/* ---- a graph is told ---- */

struct telling {
    struct arena *arena;
    Modal__FunctionGetCallGraphResponse answer;
};

static void tell_input(struct telling *telling, const struct trace *trace, const char *call_id) {
    struct arena *arena = telling->arena;
    if (telling->answer.n_inputs == INPUTS_MAX) {
        telling->answer.truncated = true;
        return;
    }
    Modal__InputCallGraphInfo *info = arena_alloc(arena, sizeof *info);
    modal__input_call_graph_info__init(info);
    info->input_id = arena_text(arena, trace->id);
    info->has_status = true;
    info->status = (Modal__GenericResultGenericStatus)trace->status;
    info->function_call_id = (char *)call_id;
    info->task_id = task_id_of(arena, trace->container);
    telling->answer.inputs[telling->answer.n_inputs++] = info;
}

static void tell_call(struct telling *telling, const struct kin *kin) {
    struct arena *arena = telling->arena;
    Modal__FunctionCallCallGraphInfo *info = arena_alloc(arena, sizeof *info);
    modal__function_call_call_graph_info__init(info);
    info->function_call_id = arena_text(arena, kin->call_id);
    info->parent_input_id = arena_text(arena, kin->parent);
    info->function_name = arena_text(arena, kin->function);
    info->module_name = arena_text(arena, kin->module);
    telling->answer.function_calls[telling->answer.n_function_calls++] = info;
    for (size_t i = 0; i < kin->trace_count; i++)
        tell_input(telling, &kin->traces[i], info->function_call_id);
    if (!kin->call) return;
    LIST_EACH(node, &kin->call->inputs) {
        if (telling->answer.truncated) break;
        const struct trace trace = trace_of(CONTAINER_OF(node, struct input, node));
        tell_input(telling, &trace, info->function_call_id);
    }
}

static struct call *asked_call(struct rpc *rpc, const char *id) {
    struct call *call = call_of(rpc->modal, id);
    if (!call || !call->function) {
        rpc_fail(rpc, no_object("function call", id));
        return NULL;
    }
    return call;
}

static void get_graph(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetCallGraphRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    const struct kin *root = kin_of(call)->root;
    LIST_EACH(node, &root->family) {
        const struct kin *kin = CONTAINER_OF(node, struct kin, link);
        if (!kin->call && !kin->gone && kin->trace_count == 0)
            (void)call_of(rpc->modal, kin->call_id); /* it is attached then */
    }
    struct telling telling = {rpc_arena(rpc), MODAL__FUNCTION_GET_CALL_GRAPH_RESPONSE__INIT};
    telling.answer.has_truncated = true;
    telling.answer.truncated = false;
    telling.answer.inputs = arena_alloc(telling.arena, INPUTS_MAX * sizeof *telling.answer.inputs);
    telling.answer.function_calls =
        arena_alloc(telling.arena, (root->family_count + 1) * sizeof *telling.answer.function_calls);
    tell_call(&telling, root);
    LIST_EACH(node, &root->family) tell_call(&telling, CONTAINER_OF(node, struct kin, link));
    telling.answer.truncated |= root->cut;
    rpc_answer(rpc, &telling.answer);
}

/* ---- calls as a whole ---- */

enum category { PENDING, FAILED, SUCCEEDED, TIMED_OUT, CANCELLED, CATEGORIES };

static enum category category_of(const struct input *input) {
#define STATUS(NAME) MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_##NAME
    if (input->state != INPUT_DONE) return PENDING;
    if (input->status == STATUS(SUCCESS)) return SUCCEEDED;
    if (input->status == STATUS(TIMEOUT)) return TIMED_OUT;
    return input->status == STATUS(TERMINATED) ? CANCELLED : FAILED;
#undef STATUS
}

static void add_latest(Modal__InputCategoryInfo *category, const struct input *input, struct arena *arena) {
    category->total++;
    if (category->n_latest == LATEST_MAX) {
        memmove(category->latest, category->latest + 1, (LATEST_MAX - 1) * sizeof *category->latest);
        category->n_latest--;
    }
    Modal__InputInfo *info = arena_alloc(arena, sizeof *info);
    modal__input_info__init(info);
    info->input_id = arena_text(arena, input->id);
    info->has_idx = info->has_started_at = info->has_finished_at = true;
    info->idx = input->idx;
    info->started_at = input->started_at;
    info->finished_at = input->output_at;
    info->task_id = task_id_of(arena, input->worked_by);
    category->latest[category->n_latest++] = info;
}

static Modal__FunctionCallInfo *call_info(const struct call *call, struct arena *arena) {
    Modal__FunctionCallInfo *info = arena_alloc(arena, sizeof *info);
    Modal__InputCategoryInfo *categories = arena_alloc(arena, CATEGORIES * sizeof *categories);
    modal__function_call_info__init(info);
    for (size_t i = 0; i < CATEGORIES; i++) {
        modal__input_category_info__init(&categories[i]);
        categories[i].has_total = true;
        categories[i].latest = arena_alloc(arena, LATEST_MAX * sizeof *categories[i].latest);
    }
    LIST_EACH(node, &call->inputs) {
        const struct input *input = CONTAINER_OF(node, struct input, node);
        add_latest(&categories[category_of(input)], input, arena);
    }
    categories[SUCCEEDED].total += (int32_t)(call->gone - call->gone_badly);
    categories[FAILED].total += (int32_t)call->gone_badly;
    info->function_call_id = arena_text(arena, call->id);
    info->has_created_at = info->has_scheduled_at = info->has_total_inputs = true;
    info->created_at = info->scheduled_at = call->created_at;
    info->total_inputs = (int32_t)call->input_count;
    info->pending_inputs = &categories[PENDING];
    info->failed_inputs = &categories[FAILED];
    info->succeeded_inputs = &categories[SUCCEEDED];
    info->timeout_inputs = &categories[TIMED_OUT];
    info->cancelled_inputs = &categories[CANCELLED];
    return info;
}

static void get_info(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallGetInfoRequest *request = message;
    struct call *call = asked_call(rpc, request->function_call_id);
    if (!call) return;
    Modal__FunctionCallGetInfoResponse answer = MODAL__FUNCTION_CALL_GET_INFO_RESPONSE__INIT;
    answer.info = call_info(call, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

static int newest_first(const void *a, const void *b) {
    const struct call *const *one = a, *const *other = b;
    return ((*one)->created_at < (*other)->created_at) - ((*one)->created_at > (*other)->created_at);
}

static void list_calls(struct rpc *rpc, const void *message) {
    const Modal__FunctionCallListRequest *request = message;
    const struct function *function = function_of(rpc->modal, request->function_id);
    if (!function) {
        rpc_fail(rpc, no_object("function", request->function_id));
        return;
    }
    struct arena *arena = rpc_arena(rpc);
    const struct call **calls = arena_alloc(arena, (map_count(rpc->modal->calls) + 1) * sizeof *calls);
    size_t count = 0;
    void *value;
    for (size_t i = 0; map_next(rpc->modal->calls, &i, NULL, &value);) {
        const struct call *call = value;
        if (call->function == function) calls[count++] = call;
    }
    qsort(calls, count, sizeof *calls, newest_first);
    Modal__FunctionCallListResponse answer = MODAL__FUNCTION_CALL_LIST_RESPONSE__INIT;
    answer.function_calls = arena_alloc(arena, (LISTED_MAX + 1) * sizeof *answer.function_calls);
    for (size_t i = 0; i < count && i < LISTED_MAX; i++)
        answer.function_calls[answer.n_function_calls++] = call_info(calls[i], arena);
    rpc_answer(rpc, &answer);
}

const struct rpc_method callgraph_methods[] = {
    {"FunctionGetCallGraph", &modal__function_get_call_graph_request__descriptor, get_graph, RPC_TASK},
    {"FunctionCallGetInfo", &modal__function_call_get_info_request__descriptor, get_info, RPC_TASK},
    {"FunctionCallList", &modal__function_call_list_request__descriptor, list_calls, RPC_TASK},
    {0},
};
