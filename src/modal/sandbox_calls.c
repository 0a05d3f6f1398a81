/* sandbox_calls: what clients ask of sandboxes. Both generations of calls ("V2" and without) mean the same
 * here, so that a sandbox that one client made is another's too. */
#include "sandbox.h"

#include <stdio.h>
#include <stdlib.h>

#define LIST_MAX 200

/* A container sees sandboxes of its own app only. */
static struct sandbox *asked(struct rpc *rpc, const char *id) {
    struct sandbox *sandbox = sandbox_of(rpc->modal, id);
    const struct app *own = rpc->task && rpc->task->function ? rpc->task->function->app : NULL;
    if (sandbox && (!rpc->task || (own && sandbox->app == own))) return sandbox;
    rpc_fail(rpc, error_new(ERROR_NOT_FOUND,
                            "there is no sandbox '%.100s' (it ended with an earlier life of the daemon, or "
                            "longer than an hour ago)",
                            id ? id : ""));
    return NULL;
}

/* ---- create ---- */

static void fill_tunnels(struct rpc *rpc, const struct sandbox *sandbox, Modal__TunnelData ***ret,
                         size_t *ret_count) {
    struct arena *arena = rpc_arena(rpc);
    const Modal__PortSpecs *ports = sandbox->definition->open_ports;
    size_t count = ports ? ports->n_ports : 0;
    *ret = arena_alloc(arena, (count + 1) * sizeof **ret);
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t outside = tunnel_of(rpc->modal, sandbox->number, (uint16_t)ports->ports[i]->port);
        if (!outside) continue;
        Modal__TunnelData *tunnel = arena_alloc(arena, sizeof *tunnel);
        modal__tunnel_data__init(tunnel);
        tunnel->host = tunnel->unencrypted_host = (char *)tunnel_host(rpc);
        tunnel->has_port = tunnel->has_unencrypted_port = tunnel->has_container_port = true;
        tunnel->port = tunnel->unencrypted_port = outside;
        tunnel->container_port = ports->ports[i]->port;
        (*ret)[(*ret_count)++] = tunnel;
    }
}

static struct error *open_ports(const struct sandbox *sandbox) {
    const Modal__PortSpecs *ports = sandbox->definition->open_ports;
    for (size_t i = 0; ports && i < ports->n_ports; i++) {
        uint16_t outside;
        if (ports->ports[i]->port == 0 || ports->ports[i]->port > 65535)
            return error_new(ERROR_INVALID_ARGUMENT, "%u is no port", ports->ports[i]->port);
        TRY_PLAIN(tunnel_open(sandbox->modal, sandbox->number, (uint16_t)ports->ports[i]->port, &outside));
    }
    return NULL;
}

static bool ports_opened(struct rpc *rpc, struct sandbox *sandbox) {
    struct error *error = open_ports(sandbox);
    if (!error) return true;
    rpc_fail(rpc, error);
    sandbox_terminate(sandbox);
    return false;
}

static void created_v1(struct rpc *rpc, struct sandbox *sandbox) {
    if (!ports_opened(rpc, sandbox)) return;
    Modal__SandboxHandleMetadata metadata = MODAL__SANDBOX_HANDLE_METADATA__INIT;
    metadata.app_id = sandbox->app->id;
    Modal__SandboxCreateResponse answer = MODAL__SANDBOX_CREATE_RESPONSE__INIT;
    answer.sandbox_id = sandbox->id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void created_v2(struct rpc *rpc, struct sandbox *sandbox) {
    if (!ports_opened(rpc, sandbox)) return;
    Modal__SandboxHandleMetadata metadata = MODAL__SANDBOX_HANDLE_METADATA__INIT;
    metadata.app_id = sandbox->app->id;
    Modal__SandboxCreateV2Response answer = MODAL__SANDBOX_CREATE_V2_RESPONSE__INIT;
    answer.sandbox_id = sandbox->id;
    answer.task_id = sandbox->task_id;
    answer.metadata = &metadata;
    fill_tunnels(rpc, sandbox, &answer.tunnels, &answer.n_tunnels);
    rpc_answer(rpc, &answer);
}

/* Without an app it is one of the environment's app "sandboxes", made with the first of them. */
static struct app *default_app(struct modal *modal, const char *environment) {
    scoped_string char *key = object_key(environment, "sandboxes");
    struct app *app = map_get(modal->deployed, span_of(key));
    if (app || !environment_known(modal, environment)) return app;
    app = app_new(modal, "sandboxes", environment, MODAL__APP_STATE__APP_STATE_INITIALIZING);
    app->state = MODAL__APP_STATE__APP_STATE_DEPLOYED;
    app_name_take(app, NULL);
    return app;
}

static struct app *app_asked(struct rpc *rpc, const char *app_id, const char *environment) {
    struct app *own = rpc->task && rpc->task->function ? rpc->task->function->app : NULL;
    struct app *app = app_id && *app_id ? app_of(rpc->modal, app_id)
                      : own             ? own
                                        : default_app(rpc->modal, environment_of(environment));
    if (app && (!rpc->task || app == own)) return app;
    rpc_fail(rpc, no_object("app", app_id));
    return NULL;
}

static void create_v1(struct rpc *rpc, const void *message) {
    const Modal__SandboxCreateRequest *request = message;
    struct app *app = app_asked(rpc, request->app_id, request->environment_name);
    if (!app) return;
    if (!request->definition)
        rpc_fail(rpc, error_new(ERROR_INVALID_ARGUMENT, "the sandbox has no definition"));
    else
        sandbox_make(rpc, app, request->definition, wire_field(rpc->message, 2), request->tags,
                     request->n_tags, NULL, 0, created_v1);
}

static void create_v2(struct rpc *rpc, const void *message) {
    const Modal__SandboxCreateV2Request *request = message;
    struct app *app = app_asked(rpc, request->app_id, "");
    if (!app) return;
    if (!request->definition) {
        rpc_fail(rpc, error_new(ERROR_INVALID_ARGUMENT, "the sandbox has no definition"));
        return;
    }
    Modal__SecretSource given = MODAL__SECRET_SOURCE__INIT;
    given.env = request->ephemeral_secrets;
    size_t count = request->n_secret_sources;
    Modal__SecretSource **sources = arena_alloc(rpc_arena(rpc), (count + 1) * sizeof *sources);
    for (size_t i = 0; i < count; i++) sources[i] = request->secret_sources[i];
    sources[count] = &given;
    sandbox_make(rpc, app, request->definition, wire_field(rpc->message, 2), request->tags, request->n_tags,
                 sources, count + 1, created_v2);
}

/* ---- wait, poll, end ---- */

static void wait_asked(struct rpc *rpc, const void *message) {
    const Modal__SandboxWaitRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    rpc->owner = sandbox;
    if (sandbox->status || request->timeout <= 0)
        sandbox_answer_wait(rpc);
    else
        rpc_hold(rpc, &sandbox->waiters, sandbox, (double)request->timeout * 1000, sandbox_answer_wait);
}

static void terminate(struct rpc *rpc, const void *message) {
    const Modal__SandboxTerminateRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    Modal__GenericResult result;
    Modal__SandboxTerminateResponse answer = MODAL__SANDBOX_TERMINATE_RESPONSE__INIT;
    sandbox_result(sandbox, &result);
    if (sandbox->status) answer.existing_result = &result;
    sandbox_terminate(sandbox);
    rpc_answer(rpc, &answer);
}

static void task_id(struct rpc *rpc, const void *message) {
    const Modal__SandboxGetTaskIdRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    Modal__GenericResult result;
    Modal__SandboxGetTaskIdResponse answer = MODAL__SANDBOX_GET_TASK_ID_RESPONSE__INIT;
    answer.task_id = sandbox->task_id;
    sandbox_result(sandbox, &result);
    if (sandbox->status) answer.task_result = &result;
    rpc_answer(rpc, &answer);
}

/* ---- output and input of the older calls ---- */

static bool send_logs(struct rpc *rpc, struct stdio_reader *reader, struct span bytes, size_t *taken) {
    scoped_string char *text = utf8_of(bytes, reader->stdio->ended, taken);
    if (*taken == 0 && bytes.size > 0) return true;
    Modal__TaskLogs item = MODAL__TASK_LOGS__INIT, *items[] = {&item};
    Modal__TaskLogsBatch batch = MODAL__TASK_LOGS_BATCH__INIT;
    item.data = text;
    item.has_file_descriptor = true;
    item.file_descriptor = (Modal__FileDescriptor)reader->descriptor;
    batch.items = items;
    batch.n_items = 1;
    batch.entry_id = arena_printf(rpc_arena(rpc), "%llu", (unsigned long long)(reader->at + *taken));
    return rpc_send(rpc, &batch);
}

static void finish_logs(struct rpc *rpc, struct stdio_reader *reader) {
    Modal__TaskLogsBatch batch = MODAL__TASK_LOGS_BATCH__INIT;
    batch.entry_id = arena_printf(rpc_arena(rpc), "%llu", (unsigned long long)reader->at);
    batch.has_eof = batch.eof = true;
    (void)rpc_send(rpc, &batch);
    rpc_end(rpc);
}

static void get_logs(struct rpc *rpc, const void *message) {
    const Modal__SandboxGetLogsRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    struct stdio_reader *reader = arena_alloc(rpc_arena(rpc), sizeof *reader);
    *reader = (struct stdio_reader){.send = send_logs, .finish = finish_logs};
    reader->descriptor = (int)request->file_descriptor;
    (void)span_to_u64(span_of(request->last_entry_id), &reader->at);
    if (!sandbox->main) {
        finish_logs(rpc, reader);
        return;
    }
    struct stdio *stdio = sandbox_stdio(sandbox, reader->descriptor);
    size_t taken = 0;
    reader->stdio = stdio;
    if (reader->at == 0 && !stdio->ended)
        (void)send_logs(rpc, reader, SPAN(""), &taken); /* by it a client sees that the command runs */
    stdio_read(stdio, rpc, reader, (double)request->timeout * 1000, rpc_end);
}

static void put_stdin(struct rpc *rpc, const void *message) {
    const Modal__SandboxStdinWriteRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    struct span bytes = {(const char *)request->input.data, request->input.len};
    struct error *error =
        sandbox->main ? stdin_write_numbered(sandbox_stdin(sandbox), request->index, bytes, request->eof)
                      : error_new(ERROR_FAILED_PRECONDITION, "the sandbox has ended");
    Modal__SandboxStdinWriteResponse answer = MODAL__SANDBOX_STDIN_WRITE_RESPONSE__INIT;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

/* ---- finding ---- */

static bool has_tags(const struct sandbox *sandbox, Modal__SandboxTag **tags, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t t = 0; t < sandbox->tag_count; t++)
            found |= strcmp(sandbox->tags[t]->tag_name, tags[i]->tag_name ? tags[i]->tag_name : "") == 0 &&
                     strcmp(sandbox->tags[t]->tag_value, tags[i]->tag_value ? tags[i]->tag_value : "") == 0;
        if (!found) return false;
    }
    return true;
}

static bool listed(struct rpc *rpc, const struct sandbox *sandbox, const Modal__SandboxListRequest *request) {
    const struct app *own = rpc->task && rpc->task->function ? rpc->task->function->app : NULL;
    if (!sandbox->app || (rpc->task && sandbox->app != own)) return false;
    if (sandbox->status && !request->include_finished) return false;
    if (request->before_timestamp > 0 && sandbox->created_at >= request->before_timestamp) return false;
    if (request->app_id && *request->app_id) {
        if (strcmp(request->app_id, sandbox->app->id) != 0) return false;
    } else if (strcmp(sandbox->app->environment, environment_of(request->environment_name)) != 0) {
        return false;
    }
    return has_tags(sandbox, request->tags, request->n_tags);
}

static int newest_first(const void *a, const void *b) {
    double x = (*(struct sandbox *const *)a)->created_at, y = (*(struct sandbox *const *)b)->created_at;
    return x < y ? 1 : x > y ? -1 : 0;
}

static Modal__SandboxInfo *info_of(struct rpc *rpc, struct sandbox *sandbox) {
    struct arena *arena = rpc_arena(rpc);
    Modal__SandboxInfo *info = arena_alloc(arena, sizeof *info);
    Modal__TaskInfo *task = arena_alloc(arena, sizeof *task);
    Modal__GenericResult *result = arena_alloc(arena, sizeof *result);
    Modal__SandboxHandleMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    modal__sandbox_info__init(info);
    modal__task_info__init(task);
    modal__sandbox_handle_metadata__init(metadata);
    sandbox_result(sandbox, result);
    task->id = sandbox->task_id;
    task->has_started_at = task->has_enqueued_at = true;
    task->started_at = sandbox->started_at;
    task->enqueued_at = sandbox->created_at;
    task->result = result;
    task->sandbox_id = sandbox->id;
    metadata->app_id = info->app_id = sandbox->app->id;
    info->id = sandbox->id;
    info->has_created_at = true;
    info->created_at = sandbox->created_at;
    info->task_info = task;
    info->tags = sandbox->tags;
    info->n_tags = sandbox->tag_count;
    info->name = sandbox->name;
    info->metadata = metadata;
    return info;
}

static void list(struct rpc *rpc, const void *message) {
    const Modal__SandboxListRequest *request = message;
    struct arena *arena = rpc_arena(rpc);
    size_t count = 0;
    struct sandbox **found = arena_alloc(arena, (map_count(rpc->modal->sandboxes) + 1) * sizeof(void *));
    void *value;
    for (size_t i = 0; map_next(rpc->modal->sandboxes, &i, NULL, &value);)
        if (listed(rpc, value, request)) found[count++] = value;
    qsort(found, count, sizeof *found, newest_first);
    if (count > LIST_MAX) count = LIST_MAX; /* the client asks for those before the last one */
    Modal__SandboxListResponse answer = MODAL__SANDBOX_LIST_RESPONSE__INIT;
    answer.sandboxes = arena_alloc(arena, (count + 1) * sizeof *answer.sandboxes);
    for (size_t i = 0; i < count; i++) answer.sandboxes[answer.n_sandboxes++] = info_of(rpc, found[i]);
    rpc_answer(rpc, &answer);
}

static void from_name(struct rpc *rpc, const void *message) {
    const Modal__SandboxGetFromNameRequest *request = message;
    struct sandbox *best = NULL;
    const char *name = request->sandbox_name ? request->sandbox_name : "",
               *app = request->app_name ? request->app_name : "";
    void *value;
    for (size_t i = 0; map_next(rpc->modal->sandboxes, &i, NULL, &value);) {
        struct sandbox *sandbox = value;
        if (!sandbox->app || !sandbox->name || strcmp(sandbox->name, name) != 0) continue;
        if (strcmp(sandbox->app->name, app) != 0) continue;
        if (strcmp(sandbox->app->environment, environment_of(request->environment_name)) != 0) continue;
        if (sandbox->status && !request->include_terminated) continue;
        if (!best || !sandbox->status || sandbox->created_at > best->created_at) best = sandbox;
    }
    if (!best) {
        rpc_fail(rpc,
                 error_new(ERROR_NOT_FOUND, "the app '%.60s' has no running sandbox '%.60s'", app, name));
        return;
    }
    if (!asked(rpc, best->id)) return;
    Modal__SandboxHandleMetadata metadata = MODAL__SANDBOX_HANDLE_METADATA__INIT;
    metadata.app_id = best->app->id;
    Modal__SandboxGetFromNameResponse answer = MODAL__SANDBOX_GET_FROM_NAME_RESPONSE__INIT;
    answer.sandbox_id = best->id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void tags_get(struct rpc *rpc, const void *message) {
    const Modal__SandboxTagsGetRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    Modal__SandboxTagsGetResponse answer = MODAL__SANDBOX_TAGS_GET_RESPONSE__INIT;
    answer.tags = sandbox->tags;
    answer.n_tags = sandbox->tag_count;
    rpc_answer(rpc, &answer);
}

static void tags_set(struct rpc *rpc, const void *message) {
    const Modal__SandboxTagsSetRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    sandbox_tags_take(sandbox, request->tags, request->n_tags);
    rpc_answer_empty(rpc);
}

static void tunnels(struct rpc *rpc, const void *message) {
    const Modal__SandboxGetTunnelsRequest *request = message;
    struct sandbox *sandbox = asked(rpc, request->sandbox_id);
    if (!sandbox) return;
    Modal__SandboxGetTunnelsResponse answer = MODAL__SANDBOX_GET_TUNNELS_RESPONSE__INIT;
    fill_tunnels(rpc, sandbox, &answer.tunnels, &answer.n_tunnels);
    rpc_answer(rpc, &answer);
}

/* What a newer client shows with some calls; who it is is told by its token, as ever. */
static void auth_token(struct rpc *rpc, const void *message) {
    (void)message;
    scoped_string char *token = router_token(rpc->modal, "-");
    Modal__AuthTokenGetResponse answer = MODAL__AUTH_TOKEN_GET_RESPONSE__INIT;
    answer.token = token;
    rpc_answer(rpc, &answer);
}

const struct rpc_method sandbox_methods[] = {
    {"AuthTokenGet", &modal__auth_token_get_request__descriptor, auth_token, RPC_TASK},
    {"SandboxCreate", &modal__sandbox_create_request__descriptor, create_v1, RPC_TASK | RPC_ONCE},
    {"SandboxCreateV2", &modal__sandbox_create_v2_request__descriptor, create_v2, RPC_TASK | RPC_ONCE},
    {"SandboxWait", &modal__sandbox_wait_request__descriptor, wait_asked, RPC_TASK},
    {"SandboxWaitV2", &modal__sandbox_wait_request__descriptor, wait_asked, RPC_TASK},
    {"SandboxTerminate", &modal__sandbox_terminate_request__descriptor, terminate, RPC_TASK},
    {"SandboxTerminateV2", &modal__sandbox_terminate_request__descriptor, terminate, RPC_TASK},
    {"SandboxGetTaskId", &modal__sandbox_get_task_id_request__descriptor, task_id, RPC_TASK},
    {"SandboxGetTaskIdV2", &modal__sandbox_get_task_id_request__descriptor, task_id, RPC_TASK},
    {"SandboxGetLogs", &modal__sandbox_get_logs_request__descriptor, get_logs, RPC_TASK},
    {"SandboxStdinWrite", &modal__sandbox_stdin_write_request__descriptor, put_stdin, RPC_TASK},
    {"SandboxList", &modal__sandbox_list_request__descriptor, list, RPC_TASK},
    {"SandboxListV2", &modal__sandbox_list_request__descriptor, list, RPC_TASK},
    {"SandboxGetFromName", &modal__sandbox_get_from_name_request__descriptor, from_name, RPC_TASK},
    {"SandboxGetFromNameV2", &modal__sandbox_get_from_name_request__descriptor, from_name, RPC_TASK},
    {"SandboxTagsGet", &modal__sandbox_tags_get_request__descriptor, tags_get, RPC_TASK},
    {"SandboxTagsGetV2", &modal__sandbox_tags_get_request__descriptor, tags_get, RPC_TASK},
    {"SandboxTagsSet", &modal__sandbox_tags_set_request__descriptor, tags_set, RPC_TASK},
    {"SandboxTagsSetV2", &modal__sandbox_tags_set_request__descriptor, tags_set, RPC_TASK},
    {"SandboxGetTunnels", &modal__sandbox_get_tunnels_request__descriptor, tunnels, RPC_TASK},
    {"SandboxGetTunnelsV2", &modal__sandbox_get_tunnels_request__descriptor, tunnels, RPC_TASK},
    {0},
};
