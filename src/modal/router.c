/* router: TaskCommandRouter, the service that newer clients run commands by: they make an exec's id, read its
 * output by offset and write its input likewise. Calls come with a token for one container
 * (router_token.c). */
#include "sandbox.h"

#include <stdio.h>
#include <stdlib.h>

#define FS_TOOL "/__modal/.bin/modal-sandbox-fs-tools"
#define STDIN_AHEAD (1u << 20)

/* ---- access ---- */

static void give_access(struct rpc *rpc, const char *task_id) {
    Modal__TaskGetCommandRouterAccessResponse answer = MODAL__TASK_GET_COMMAND_ROUTER_ACCESS_RESPONSE__INIT;
    const char *url = NULL;
    struct error *error = router_target(rpc, task_id, NULL); /* an ended sandbox's output can still be read */
    if (!error) error = router_url(rpc, &url);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    scoped_string char *token = router_token(rpc->modal, task_id);
    answer.jwt = token;
    answer.url = (char *)url;
    rpc_answer(rpc, &answer); /* both answers have the same fields */
}

static void task_access(struct rpc *rpc, const void *message) {
    const Modal__TaskGetCommandRouterAccessRequest *request = message;
    give_access(rpc, request->task_id ? request->task_id : "");
}

static void sandbox_access(struct rpc *rpc, const void *message) {
    const Modal__SandboxGetCommandRouterAccessRequest *request = message;
    const struct sandbox *sandbox =
        request->sandbox_id && *request->sandbox_id ? sandbox_of(rpc->modal, request->sandbox_id) : NULL;
    if (request->sandbox_id && *request->sandbox_id && !sandbox)
        rpc_fail(rpc, no_object("sandbox", request->sandbox_id));
    else
        give_access(rpc, sandbox ? sandbox->task_id : request->task_id ? request->task_id : "");
}

/* ---- the exec that a call is about ---- */

static bool same_task(struct rpc *rpc, const char *task_id) {
    if (task_id && strcmp(task_id, rpc->router_task) == 0) return true;
    rpc_fail(rpc,
             error_new(ERROR_PERMISSION_DENIED, "this token is for the container %s only", rpc->router_task));
    return false;
}

static char *key_of(struct rpc *rpc, const char *exec_id) {
    return arena_printf(rpc_arena(rpc), "%.23s %.50s", rpc->router_task, exec_id ? exec_id : "");
}

static struct exec *asked(struct rpc *rpc, const char *task_id, const char *exec_id) {
    if (!same_task(rpc, task_id)) return NULL;
    struct exec *exec = exec_of(rpc->modal, key_of(rpc, exec_id));
    if (!exec) rpc_fail(rpc, no_object("exec", exec_id));
    return exec;
}

/* ---- begin ---- */

static void answer_start(struct rpc *rpc, struct exec *exec) {
    (void)exec;
    Modal__TaskExecStartResponse answer = MODAL__TASK_EXEC_START_RESPONSE__INIT;
    rpc_answer(rpc, &answer);
}

static void answer_wait(struct rpc *rpc, struct exec *exec) {
    Modal__TaskExecWaitResponse answer = MODAL__TASK_EXEC_WAIT_RESPONSE__INIT;
    answer.has_code = true;
    answer.code = exec->code;
    rpc_answer(rpc, &answer);
}

/* The client's file calls name a program of Modal's and tell it in JSON what to do; catnap-init is it here.
 */
static const char *const *command_of(struct rpc *rpc, char **words, size_t count) {
    struct arena *arena = rpc_arena(rpc);
    const char **argv = arena_alloc(arena, (count + 12) * sizeof *argv);
    if (count != 2 || strcmp(words[0], FS_TOOL) != 0) {
        for (size_t i = 0; i < count; i++) argv[i] = words[i];
        return argv;
    }
    scoped_json json_t *json = json_loads(words[1], 0, NULL);
    void *at = json_object_iter(json);
    const char *verb = at ? json_object_iter_key(at) : "";
    const json_t *what = at ? json_object_iter_value(at) : NULL, *filter = json_object_get(what, "filter");
    const char *path = json_string_value(json_object_get(what, "path"));
    size_t used = 0;
    argv[used++] = "/.catnap/init", argv[used++] = "fs", argv[used++] = arena_text(arena, verb);
    argv[used++] = arena_text(arena, path ? path : "");
    bool deep =
        json_is_true(json_object_get(what, "recursive")) || json_is_true(json_object_get(what, "parents"));
    argv[used++] = deep ? "deep" : "flat";
    argv[used++] =
        arena_printf(arena, "%lld", (long long)json_integer_value(json_object_get(what, "timeout_secs")));
    scoped_text struct text kinds = {0};
    for (size_t i = 0; i < json_array_size(filter); i++)
        text_printf(&kinds, "%s,", json_string_value(json_array_get(filter, i)));
    argv[used++] = filter && json_is_array(filter) ? arena_text(arena, kinds.data ? kinds.data : ",") : "*";
    return argv;
}

static struct error *begin(struct rpc *rpc, const Modal__TaskExecStartRequest *request, struct exec **ret) {
    uint64_t container;
    TRY_PLAIN(router_target(rpc, request->task_id, &container));
    if (request->n_command_args == 0) return error_new(ERROR_INVALID_ARGUMENT, "there is no command to run");
    if (request->container_id && *request->container_id)
        return error_new(ERROR_UNIMPLEMENTED, "catnap does not have sidecars of sandboxes");
    if (request->workdir && *request->workdir && request->workdir[0] != '/')
        return error_new(ERROR_INVALID_ARGUMENT, "workdir: '%.100s' is not absolute", request->workdir);
    const Modal__PTYInfo *pty = request->pty_info && request->pty_info->enabled ? request->pty_info : NULL;
    const char **env = NULL;
    size_t count = 0;
    TRY_PLAIN(exec_env(rpc, request->secret_ids, request->n_secret_ids, request->secret_sources,
                       request->n_secret_sources, pty, request->n_env, &env, &count));
    for (size_t i = 0; i < request->n_env; i++)
        env[count++] = arena_printf(rpc_arena(rpc), "%s=%s", request->env[i]->key ? request->env[i]->key : "",
                                    request->env[i]->value ? request->env[i]->value : "");
    return exec_new(
        rpc->modal,
        &(struct exec_wish){
            .id = key_of(rpc, request->exec_id),
            .task_id = request->task_id,
            .container = container,
            .command.argv = command_of(rpc, request->command_args, request->n_command_args),
            .command.env = env,
            .command.workdir = request->workdir && *request->workdir ? request->workdir : NULL,
            .command.terminal = pty != NULL,
            .command.rows = pty ? (uint16_t)pty->winsz_rows : 0,
            .command.columns = pty ? (uint16_t)pty->winsz_cols : 0,
            .command.stderr_to_stdout =
                request->stderr_config == MODAL__TASK_EXEC_STDERR_CONFIG__TASK_EXEC_STDERR_CONFIG_STDOUT,
            .timeout_s = request->timeout_secs,
            .answer_start = answer_start,
            .answer_wait = answer_wait,
        },
        ret);
}

static void discard(struct stdio *stdio) {
    stdio->drops = true;
}

static void exec_start(struct rpc *rpc, const void *message) {
    const Modal__TaskExecStartRequest *request = message;
    if (!same_task(rpc, request->task_id)) return;
    struct exec *exec = exec_of(rpc->modal, key_of(rpc, request->exec_id)); /* asked again */
    struct error *error = exec ? NULL : begin(rpc, request, &exec);
    if (!error && exec) error = error_copy(exec->failure);
    if (error || !exec) {
        rpc_fail(rpc, error);
        return;
    }
    sandbox_touched(rpc->modal, request->task_id);
    if (request->stdout_config == MODAL__TASK_EXEC_STDOUT_CONFIG__TASK_EXEC_STDOUT_CONFIG_DEVNULL)
        discard(&exec->out);
    if (request->stderr_config == MODAL__TASK_EXEC_STDERR_CONFIG__TASK_EXEC_STDERR_CONFIG_DEVNULL)
        discard(&exec->err);
    if (exec->started)
        answer_start(rpc, exec);
    else
        rpc_hold(rpc, &exec->starters, exec, 0, NULL);
}

/* ---- read ---- */

static bool send_exec(struct rpc *rpc, struct stdio_reader *reader, struct span bytes, size_t *taken) {
    (void)reader, (void)taken;
    Modal__TaskExecStdioReadResponse answer = MODAL__TASK_EXEC_STDIO_READ_RESPONSE__INIT;
    answer.has_data = true;
    answer.data = (ProtobufCBinaryData){bytes.size, (uint8_t *)bytes.data};
    return rpc_send(rpc, &answer);
}

static bool send_sandbox(struct rpc *rpc, struct stdio_reader *reader, struct span bytes, size_t *taken) {
    (void)taken;
    Modal__SandboxStdioReadV2Response answer = MODAL__SANDBOX_STDIO_READ_V2_RESPONSE__INIT;
    answer.has_data = answer.has_starting_offset = true;
    answer.data = (ProtobufCBinaryData){bytes.size, (uint8_t *)bytes.data};
    answer.starting_offset = reader->at;
    return rpc_send(rpc, &answer);
}

static void finish(struct rpc *rpc, struct stdio_reader *reader) {
    (void)reader;
    rpc_end(rpc);
}

static void read_from(struct rpc *rpc, struct stdio *stdio, uint64_t offset,
                      bool (*send)(struct rpc *, struct stdio_reader *, struct span, size_t *)) {
    struct stdio_reader *reader = arena_alloc(rpc_arena(rpc), sizeof *reader);
    *reader = (struct stdio_reader){.at = offset, .send = send, .finish = finish};
    if (stdio->base > offset && send == send_exec)
        rpc_fail(rpc, error_new(ERROR_OUT_OF_RANGE, "the output up to byte %llu was read before and is gone",
                                (unsigned long long)stdio->base));
    else
        stdio_read(stdio, rpc, reader, 0, NULL);
}

static void exec_read(struct rpc *rpc, const void *message) {
    const Modal__TaskExecStdioReadRequest *request = message;
    struct exec *exec = asked(rpc, request->task_id, request->exec_id);
    if (!exec) return;
    bool err = request->file_descriptor ==
               MODAL__TASK_EXEC_STDIO_FILE_DESCRIPTOR__TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR;
    read_from(rpc, err ? &exec->err : &exec->out, request->offset, send_exec);
}

static void sandbox_read(struct rpc *rpc, const void *message) {
    const Modal__SandboxStdioReadV2Request *request = message;
    if (!same_task(rpc, request->task_id)) return;
    struct sandbox *sandbox = sandbox_of_task(rpc->modal, request->task_id);
    bool err = request->file_descriptor ==
               MODAL__SANDBOX_STDIO_FILE_DESCRIPTOR__SANDBOX_STDIO_FILE_DESCRIPTOR_STDERR;
    if (!sandbox || !sandbox->main)
        rpc_fail(rpc, no_object("sandbox", request->task_id));
    else
        read_from(rpc, sandbox_stdio(sandbox, err ? 2 : 1), request->offset, send_sandbox);
}

/* ---- write ---- */

static void answer_written(struct rpc *rpc, struct error *error) {
    Modal__TaskExecStdinWriteResponse answer = MODAL__TASK_EXEC_STDIN_WRITE_RESPONSE__INIT;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

static void exec_write(struct rpc *rpc, const void *message) {
    const Modal__TaskExecStdinWriteRequest *request = message;
    struct exec *exec = asked(rpc, request->task_id, request->exec_id);
    if (!exec) return;
    struct span bytes = {(const char *)request->data.data, request->data.len};
    struct error *error = stdin_room(&exec->in);
    answer_written(rpc, error ? error : stdin_write(&exec->in, request->offset, bytes, request->eof));
}

static void sandbox_write(struct rpc *rpc, const void *message) {
    const Modal__SandboxStdinWriteV2Request *request = message;
    if (!same_task(rpc, request->task_id)) return;
    struct sandbox *sandbox = sandbox_of_task(rpc->modal, request->task_id);
    struct span bytes = {(const char *)request->data.data, request->data.len};
    if (!sandbox || !sandbox->main) {
        rpc_fail(rpc, no_object("sandbox", request->task_id));
        return;
    }
    struct error *error = stdin_room(sandbox_stdin(sandbox));
    answer_written(rpc,
                   error ? error : stdin_write(sandbox_stdin(sandbox), request->offset, bytes, request->eof));
}

static void exec_stdin_status(struct rpc *rpc, const void *message) {
    const Modal__TaskExecStdinStatusRequest *request = message;
    struct exec *exec = asked(rpc, request->task_id, request->exec_id);
    if (!exec) return;
    Modal__TaskExecStdinStatusResponse answer = MODAL__TASK_EXEC_STDIN_STATUS_RESPONSE__INIT;
    answer.has_num_bytes_written = answer.has_closed = true;
    answer.num_bytes_written = exec->in.taken;
    answer.closed = exec->in.eof || exec->in.broken;
    rpc_answer(rpc, &answer);
}

/* A stream of it: start, data..., end. It is as far ahead of the command as STDIN_AHEAD. */
struct inflow {
    struct rpc *rpc;
    char *exec_id;
    uint64_t offset;
    struct io_timer *retry; /* looks again whether the command has read */
};

static struct exec *inflow_exec(const struct inflow *inflow) {
    return inflow->exec_id ? exec_of(inflow->rpc->modal, inflow->exec_id) : NULL;
}

static void inflow_end(struct inflow *inflow, struct error *error) {
    struct rpc *rpc = inflow->rpc;
    io_timer_free(take(inflow->retry));
    Modal__TaskExecStdinWriteStreamResponse answer = MODAL__TASK_EXEC_STDIN_WRITE_STREAM_RESPONSE__INIT;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

static void on_retry(void *owner) {
    struct inflow *inflow = owner;
    const struct exec *exec = inflow_exec(inflow);
    if (exec && exec->in.waits.size > STDIN_AHEAD)
        io_timer_arm(inflow->retry, 5);
    else
        grpc_call_pause(inflow->rpc->call, false);
}

static struct error *take_message(struct inflow *inflow, const Modal__TaskExecStdinWriteStreamRequest *part,
                                  bool *ret_end) {
    struct rpc *rpc = inflow->rpc;
    if (part->start) {
        if (!part->start->task_id || strcmp(part->start->task_id, rpc->router_task) != 0)
            return error_new(ERROR_PERMISSION_DENIED, "this token is for the container %s only",
                             rpc->router_task);
        inflow->exec_id = key_of(rpc, part->start->exec_id);
        inflow->offset = part->start->offset;
    }
    struct exec *exec = inflow_exec(inflow);
    if (!exec) return error_new(ERROR_NOT_FOUND, "there is no such exec");
    struct span bytes = {(const char *)part->data.data, part->data.len};
    TRY_PLAIN(stdin_write(&exec->in, inflow->offset, bytes, part->end != NULL));
    inflow->offset += bytes.size;
    *ret_end = part->end != NULL;
    if (exec->in.waits.size > STDIN_AHEAD) {
        grpc_call_pause(rpc->call, true);
        io_timer_arm(inflow->retry, 5);
    }
    return NULL;
}

static void on_part(struct grpc_call *call, struct span message) {
    struct rpc *rpc = grpc_call_owner(call);
    struct inflow *inflow = rpc->owner;
    Modal__TaskExecStdinWriteStreamRequest *part = modal__task_exec_stdin_write_stream_request__unpack(
        NULL, message.size, (const uint8_t *)message.data);
    bool end = false;
    struct error *error =
        part ? take_message(inflow, part, &end)
             : error_new(ERROR_INVALID_ARGUMENT, "the part of the input is no valid message");
    if (part) modal__task_exec_stdin_write_stream_request__free_unpacked(part, NULL);
    if (error || end) inflow_end(inflow, error);
}

static void on_parts_end(struct grpc_call *call, struct error *error) {
    struct rpc *rpc = grpc_call_owner(call);
    inflow_end(rpc->owner,
               error ? error : error_new(ERROR_INVALID_ARGUMENT, "the input ended without its end"));
}

static void on_inflow_gone(struct grpc_call *call) {
    struct rpc *rpc = grpc_call_owner(call);
    struct inflow *inflow = rpc->owner;
    io_timer_free(take(inflow->retry));
    grpc_call_release(call);
}

static void exec_write_stream(struct rpc *rpc, const void *message) {
    (void)message;
    struct inflow *inflow = arena_alloc(rpc_arena(rpc), sizeof *inflow);
    inflow->rpc = rpc;
    inflow->retry = io_timer_new(rpc->modal->loop, on_retry, inflow);
    rpc->owner = inflow;
    grpc_call_on_cancelled(rpc->call, on_inflow_gone);
    grpc_call_read(rpc->call, on_part, on_parts_end);
}

/* ---- its end ---- */

static void exec_poll(struct rpc *rpc, const void *message) {
    const Modal__TaskExecPollRequest *request = message;
    const struct exec *exec = asked(rpc, request->task_id, request->exec_id);
    if (!exec) return;
    Modal__TaskExecPollResponse answer = MODAL__TASK_EXEC_POLL_RESPONSE__INIT;
    answer.has_code = exec->exited;
    answer.code = exec->code;
    rpc_answer(rpc, &answer);
}

static void exec_wait_asked(struct rpc *rpc, const void *message) {
    const Modal__TaskExecWaitRequest *request = message;
    struct exec *exec = asked(rpc, request->task_id, request->exec_id);
    if (exec) exec_wait(exec, rpc);
}

static void wait_until_ready(struct rpc *rpc, const void *message) {
    const Modal__SandboxWaitUntilReadyTcrRequest *request = message;
    if (same_task(rpc, request->task_id)) sandbox_wait_ready(rpc, request->task_id, (double)request->timeout);
}

static void reload_volumes(struct rpc *rpc, const void *message) {
    const Modal__TaskReloadVolumesRequest *request = message;
    if (!same_task(rpc, request->task_id)) return;
    Modal__TaskReloadVolumesResponse answer = MODAL__TASK_RELOAD_VOLUMES_RESPONSE__INIT;
    rpc_answer(rpc, &answer); /* containers of one machine see one tree: nothing is older than another */
}

const struct rpc_method router_methods[] = {
    {"TaskExecStart", &modal__task_exec_start_request__descriptor, exec_start, 0},
    {"TaskExecStdioRead", &modal__task_exec_stdio_read_request__descriptor, exec_read, 0},
    {"TaskExecStdinWrite", &modal__task_exec_stdin_write_request__descriptor, exec_write, 0},
    {"TaskExecStdinWriteStream", &modal__task_exec_stdin_write_stream_request__descriptor, exec_write_stream,
     RPC_STREAM},
    {"TaskExecStdinStatus", &modal__task_exec_stdin_status_request__descriptor, exec_stdin_status, 0},
    {"TaskExecPoll", &modal__task_exec_poll_request__descriptor, exec_poll, 0},
    {"TaskExecWait", &modal__task_exec_wait_request__descriptor, exec_wait_asked, 0},
    {"SandboxStdioReadV2", &modal__sandbox_stdio_read_v2_request__descriptor, sandbox_read, 0},
    {"SandboxStdinWriteV2", &modal__sandbox_stdin_write_v2_request__descriptor, sandbox_write, 0},
    {"SandboxWaitUntilReady", &modal__sandbox_wait_until_ready_tcr_request__descriptor, wait_until_ready, 0},
    {"TaskReloadVolumes", &modal__task_reload_volumes_request__descriptor, reload_volumes, 0},
    {"TaskSnapshotFilesystem", &modal__task_snapshot_filesystem_request__descriptor, snapshot_filesystem, 0},
    {0},
};

const struct rpc_method access_methods[] = {
    {"TaskGetCommandRouterAccess", &modal__task_get_command_router_access_request__descriptor, task_access,
     RPC_TASK},
    {"SandboxGetCommandRouterAccess", &modal__sandbox_get_command_router_access_request__descriptor,
     sandbox_access, RPC_TASK},
    {0},
};
