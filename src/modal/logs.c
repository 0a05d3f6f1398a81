/* logs: what an app's containers write, as the client shows it: streamed as it comes, or what there was.
 *
 * The files are catnap-init's, read by the logs room. An entry id is a time and how many lines of that
 * millisecond were given, so that a stream that is opened again goes on where it was. The stream of an app
 * that ended closes after its last line. */
#include "logs.h"
#include "calllog.h"

#include <stdio.h>
#include <stdlib.h>

#define STREAM_MAX_MS 55000
#define FETCH_MAX 1000

struct filter { /* of whose lines are wanted; NULL and 0: all. In the call's arena */
    const char *container, *function, *search;
    const char *base_id;     /* also those of its variants */
    struct calllog *calllog; /* owned */
    int descriptor;
};
struct whose { /* as a request has it; NULL and "": not told */
    const char *app_id, *task_id, *function_id, *variant_id, *call_id;
};
struct log_stream {
    struct rpc *rpc; /* lives in the call's arena, but for what it holds */
    struct app *app;
    struct filter filter;
    struct logs_follow *follow;
    struct io_timer *unused;
    int64_t last_ms;
    uint64_t given; /* of that millisecond */
    int64_t from_ms;
    uint64_t skip;
};

static void position(const char *entry, int64_t *ret_ms, uint64_t *ret_given) {
    struct span rest = span_of(entry);
    uint64_t ms = 0, given = 0;
    if (entry && *entry && span_to_u64(span_cut(&rest, '-'), &ms) && rest.data)
        (void)span_to_u64(rest, &given);
    *ret_ms = (int64_t)ms;
    *ret_given = given;
}

/* An ordinary end is nobody's news; a crash, or an end for want of memory, is. */
static bool worth_telling(const struct logs_line *line) {
    return line->stream != 's' ||
           !(span_starts(line->text, "it exited with code 0") || span_starts(line->text, NODE_ENDED_IT));
}

static int descriptor_of(const struct logs_line *line) {
    return line->stream == 'e'   ? MODAL__FILE_DESCRIPTOR__FILE_DESCRIPTOR_STDERR
           : line->stream == 's' ? MODAL__FILE_DESCRIPTOR__FILE_DESCRIPTOR_INFO
                                 : MODAL__FILE_DESCRIPTOR__FILE_DESCRIPTOR_STDOUT;
}

static const struct function *function_of_line(const struct app *app, const struct logs_line *line) {
    char key[160];
    snprintf(key, sizeof key, "%s.%s", app->core_name, line->function);
    return map_get(app->modal->core_functions, span_of(key));
}

static bool is_of(const struct filter *filter, const struct app *app, const struct logs_line *line) {
    if (!filter->function || strcmp(filter->function, line->function) == 0) return true;
    const struct function *function = filter->base_id ? function_of_line(app, line) : NULL;
    return function && function->base && strcmp(function->base->id, filter->base_id) == 0;
}

static bool fits(const struct filter *filter, const struct app *app, const struct logs_line *line,
                 const char **ret_input_id) {
    if (filter->container && strcmp(filter->container, line->container) != 0) return false;
    if (filter->descriptor && filter->descriptor != descriptor_of(line)) return false;
    if (!is_of(filter, app, line)) return false;
    if (filter->calllog && !calllog_has(filter->calllog, line, ret_input_id)) return false;
    return !filter->search ||
           memmem(line->text.data, line->text.size, filter->search, strlen(filter->search)) != NULL;
}

static const char *told(const char *id) {
    return id && *id ? id : NULL;
}

/* Whose lines: of the app that is named, or of the one whose container is. */
static struct error *filter_of(struct rpc *rpc, const struct whose *whose, struct filter *ret,
                               struct app **ret_app) {
    struct task *task = told(whose->task_id) ? task_of(rpc->modal, whose->task_id) : NULL;
    const char *function_id = told(whose->variant_id) ? whose->variant_id : told(whose->function_id);
    const struct function *function = function_id ? function_of(rpc->modal, function_id) : NULL;
    struct arena *arena = rpc_arena(rpc);
    *ret_app = told(whose->app_id)      ? app_of(rpc->modal, whose->app_id)
               : task && task->function ? task->function->app
                                        : NULL;
    if (!*ret_app && told(whose->app_id)) return no_object("app", whose->app_id);
    if (!*ret_app) return no_object("container", whose->task_id);
    if (function_id && !function) return no_object("function", function_id);
    if (told(whose->task_id))
        ret->container = arena_text(arena, whose->task_id + (strncmp(whose->task_id, "ta-", 3) == 0 ? 3 : 0));
    if (function) ret->function = arena_text(arena, function->core_name);
    if (function && !told(whose->variant_id)) ret->base_id = arena_text(arena, function->id);
    if (!told(whose->call_id)) return NULL;
    TRY_PLAIN(calllog_new(rpc->modal, whose->call_id, &ret->calllog));
    if (strcmp(calllog_app_id(ret->calllog), (*ret_app)->id) == 0) return NULL;
    calllog_free(take(ret->calllog));
    return error_new(ERROR_INVALID_ARGUMENT, "the call %s is of another app", whose->call_id);
}

static void fill(const struct logs_line *line, Modal__TaskLogs *item, struct text *text) {
    modal__task_logs__init(item);
    text_add(text, line->text);
    text_add_char(text, '\n');
    item->data = text->data;
    item->has_timestamp = item->has_file_descriptor = true;
    item->timestamp = (double)line->wall_ms / 1000.0;
    item->file_descriptor = (Modal__FileDescriptor)descriptor_of(line);
}

static void name(const struct filter *filter, const char *input_id, Modal__TaskLogs *item) {
    item->input_id = (char *)input_id;
    if (filter->calllog) item->function_call_id = (char *)calllog_call_id(filter->calllog);
}

static const char *function_id_of(const struct app *app, const struct logs_line *line) {
    const struct function *function = function_of_line(app, line);
    return function ? function->id : "";
}

static void on_line(void *owner, const struct logs_line *line) {
    struct log_stream *stream = owner;
    if (line->wall_ms < stream->from_ms) return;
    if (line->wall_ms == stream->from_ms && stream->skip > 0) {
        stream->skip--;
        return;
    }
    stream->given = line->wall_ms == stream->last_ms ? stream->given + 1 : 1;
    stream->last_ms = line->wall_ms;
    const char *input_id = NULL;
    if (!worth_telling(line) || !fits(&stream->filter, stream->app, line, &input_id)) return;
    scoped_text struct text text = {0};
    Modal__TaskLogs item;
    Modal__TaskLogs *items[] = {&item};
    char entry[64], task[40];
    fill(line, &item, &text);
    name(&stream->filter, input_id, &item);
    snprintf(entry, sizeof entry, "%lld-%llu", (long long)line->wall_ms, (unsigned long long)stream->given);
    snprintf(task, sizeof task, "ta-%s", line->container);
    Modal__TaskLogsBatch batch = MODAL__TASK_LOGS_BATCH__INIT;
    batch.task_id = task;
    batch.function_id = (char *)function_id_of(stream->app, line);
    batch.entry_id = entry;
    batch.items = items;
    batch.n_items = 1;
    rpc_send(stream->rpc, &batch);
}

static void stop_following(struct rpc *rpc) {
    struct log_stream *stream = rpc->owner;
    logs_follow_free(take(stream->follow));
    calllog_free(take(stream->filter.calllog));
}

static void on_gone(struct grpc_call *call) {
    struct rpc *rpc = grpc_call_owner(call);
    stop_following(rpc);
    list_remove(&rpc->node);
    io_timer_free(take(rpc->timer));
    grpc_call_release(call);
}

static void stream_over(struct rpc *rpc) {
    stop_following(rpc);
    rpc_end(rpc);
}

static struct logs_query query_of(const struct app *app, int64_t since_ms) {
    return (struct logs_query){.dir = app->modal->logs_dir, .app = app->core_name, .since_ms = since_ms};
}

/* What was written last may not have been told yet: it is read now, then the end is told. */
static void tell_done(struct log_stream *stream) {
    struct rpc *rpc = stream->rpc;
    logs_follow_free(take(stream->follow));
    stream->from_ms = stream->last_ms;
    stream->skip = stream->given;
    const struct logs_query query = query_of(stream->app, stream->from_ms);
    error_free(logs_read(&query, on_line, stream));
    Modal__TaskLogsBatch batch = MODAL__TASK_LOGS_BATCH__INIT;
    calllog_free(take(stream->filter.calllog));
    batch.has_app_done = batch.app_done = true;
    rpc_send(rpc, &batch);
    rpc_end(rpc);
}

void app_tasks_gone(struct app *app) {
    if (app->state != MODAL__APP_STATE__APP_STATE_STOPPED || app_running_tasks(app) > 0) return;
    app->done_told = true;
    while (!list_empty(&app->log_streams))
        tell_done(CONTAINER_OF(app->log_streams.next, struct rpc, node)->owner);
}

static void get_logs(struct rpc *rpc, const void *message) {
    const Modal__AppGetLogsRequest *request = message;
    struct log_stream *stream = arena_alloc(rpc_arena(rpc), sizeof *stream);
    struct app *app = NULL;
    const struct whose whose = {request->app_id, request->task_id, request->function_id,
                                request->parametrized_function_id, request->function_call_id};
    struct error *error = filter_of(rpc, &whose, &stream->filter, &app);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    stream->rpc = rpc;
    stream->app = app;
    stream->filter.search = told(request->search_text);
    stream->filter.descriptor = (int)request->file_descriptor;
    position(request->last_entry_id, &stream->from_ms, &stream->skip);
    stream->last_ms = stream->from_ms;
    stream->given = stream->skip;
    double hold_ms = request->timeout > 0 ? (double)request->timeout * 1000 : STREAM_MAX_MS;
    rpc_hold(rpc, &app->log_streams, stream, hold_ms > STREAM_MAX_MS ? STREAM_MAX_MS : hold_ms, stream_over);
    grpc_call_on_cancelled(rpc->call, on_gone);
    grpc_call_begin(rpc->call);
    if (app->done_told) {
        tell_done(stream);
        return;
    }
    const struct logs_query query = query_of(app, stream->from_ms);
    error = logs_follow_start(rpc->modal->loop, &query, on_line, stream, &stream->follow);
    if (!error) return;
    stop_following(rpc);
    rpc_fail(rpc, error_wrap(error, "the logs of %s", app->name));
}

void logs_streams_end(struct app *app) {
    while (!list_empty(&app->log_streams)) {
        struct rpc *rpc = CONTAINER_OF(app->log_streams.next, struct rpc, node);
        stop_following(rpc);
        rpc_fail(rpc, error_new(ERROR_UNAVAILABLE, "catnap is ending"));
    }
}

/* ---- what there was ---- */

struct fetch {
    struct app *app;
    struct arena *arena;
    Modal__TaskLogsBatch **batches;
    size_t count, limit;
    int64_t until_ms;
    struct filter filter;
};

static void on_fetched(void *owner, const struct logs_line *line) {
    struct fetch *fetch = owner;
    const char *input_id = NULL;
    if (line->wall_ms > fetch->until_ms || !worth_telling(line)) return;
    if (!fits(&fetch->filter, fetch->app, line, &input_id)) return;
    struct arena *arena = fetch->arena;
    scoped_text struct text text = {0};
    Modal__TaskLogs *item = arena_alloc(arena, sizeof *item);
    Modal__TaskLogsBatch *batch = arena_alloc(arena, sizeof *batch);
    fill(line, item, &text);
    item->data = arena_string(arena, text_span(&text));
    name(&fetch->filter, input_id ? arena_text(arena, input_id) : NULL, item);
    modal__task_logs_batch__init(batch);
    batch->task_id = arena_printf(arena, "ta-%s", line->container);
    batch->function_id = arena_text(arena, function_id_of(fetch->app, line));
    batch->items = arena_alloc(arena, sizeof *batch->items);
    batch->items[0] = item;
    batch->n_items = 1;
    if (fetch->count == fetch->limit) { /* the newest count */
        memmove(fetch->batches, fetch->batches + 1, (fetch->count - 1) * sizeof *fetch->batches);
        fetch->count--;
    }
    fetch->batches[fetch->count++] = batch;
}

static int64_t ms_of(const Modal__Timestamp *at, int64_t otherwise) {
    const int64_t most_s = INT64_MAX / 1000 - 1000000;
    if (!at || at->seconds > most_s || at->seconds < -most_s) return otherwise;
    return at->seconds * 1000 + at->nanos / 1000000;
}

static void fetch_logs(struct rpc *rpc, const void *message) {
    const Modal__AppFetchLogsRequest *request = message;
    struct fetch fetch = {.arena = rpc_arena(rpc), .until_ms = ms_of(request->until, INT64_MAX)};
    struct app *app = NULL;
    const struct whose whose = {request->app_id, request->task_id, request->function_id,
                                request->parametrized_function_id, request->function_call_id};
    struct error *error = filter_of(rpc, &whose, &fetch.filter, &app);
    scoped(calllog) struct calllog *calllog = fetch.filter.calllog;
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    fetch.app = app;
    fetch.limit = request->limit > 0 && request->limit < FETCH_MAX ? request->limit : FETCH_MAX;
    fetch.filter.search = told(request->search_text);
    fetch.filter.descriptor = (int)request->source;
    fetch.batches = arena_alloc(fetch.arena, fetch.limit * sizeof *fetch.batches);
    const struct logs_query query = query_of(app, ms_of(request->since, 0));
    error = logs_read(&query, on_fetched, &fetch);
    if (error) {
        rpc_fail(rpc, error_wrap(error, "the logs of %s", app->name));
        return;
    }
    Modal__AppFetchLogsResponse answer = MODAL__APP_FETCH_LOGS_RESPONSE__INIT;
    answer.batches = fetch.batches;
    answer.n_batches = fetch.count;
    rpc_answer(rpc, &answer);
}

const struct rpc_method logs_methods[] = {
    {"AppGetLogs", &modal__app_get_logs_request__descriptor, get_logs, 0},
    {"AppFetchLogs", &modal__app_fetch_logs_request__descriptor, fetch_logs, 0},
    {0},
};
