/* exec_old: commands as the older client runs them: by calls of the main service, output as text.
 *
 * What is no UTF-8 can't be in a message's text and is shown as U+FFFD. Both outputs come as one, so that a
 * reader that breaks off goes on by one number. */
#include "sandbox.h"

#include <stdlib.h>

/* Whether more bytes could make a character of these: of one that was cut, either of the two goes on well. */
static bool is_cut(struct span rest) {
    static const char ends[] = {'\x80', '\xa0'};
    for (size_t i = 0; rest.size < 4 && i < COUNT(ends); i++) {
        char whole[4];
        memset(whole, ends[i], sizeof whole);
        memcpy(whole, rest.data, rest.size);
        if (utf8_size((struct span){whole, sizeof whole}) > rest.size) return true;
    }
    return false;
}

char *utf8_of(struct span bytes, bool all, size_t *ret_taken) {
    struct text out = {0};
    size_t at = 0;
    while (at < bytes.size) {
        struct span rest = {bytes.data + at, bytes.size - at};
        size_t size = rest.data[0] ? utf8_size(rest) : 0; /* a NUL would end the message's text */
        if (size == 0 && !all && is_cut(rest)) break;
        text_add(&out, size ? (struct span){rest.data, size} : SPAN("\xef\xbf\xbd"));
        at += size ? size : 1;
    }
    *ret_taken = at;
    return text_take(&out);
}

static struct exec *asked(struct rpc *rpc, const char *id) {
    struct exec *exec = exec_of(rpc->modal, id);
    scoped(error) struct error *error = exec && rpc->task ? router_target(rpc, exec->task_id, NULL) : NULL;
    if (exec && !error) return exec;
    rpc_fail(rpc, no_object("exec", id));
    return NULL;
}

/* ---- begin ---- */

static void answer_start(struct rpc *rpc, struct exec *exec) {
    Modal__ContainerExecResponse answer = MODAL__CONTAINER_EXEC_RESPONSE__INIT;
    answer.exec_id = exec->id;
    rpc_answer(rpc, &answer);
}

static void answer_wait(struct rpc *rpc, struct exec *exec) {
    Modal__ContainerExecWaitResponse answer = MODAL__CONTAINER_EXEC_WAIT_RESPONSE__INIT;
    answer.has_exit_code = answer.has_completed = true;
    answer.exit_code = exec->code;
    answer.completed = true;
    rpc_answer(rpc, &answer);
}

static struct error *begin(struct rpc *rpc, const Modal__ContainerExecRequest *request, struct exec **ret) {
    uint64_t container;
    TRY_PLAIN(router_target(rpc, request->task_id, &container));
    if (request->n_command == 0) return error_new(ERROR_INVALID_ARGUMENT, "there is no command to run");
    const Modal__PTYInfo *pty = request->pty_info && request->pty_info->enabled ? request->pty_info : NULL;
    const char **env = NULL;
    size_t env_count = 0;
    TRY_PLAIN(exec_env(rpc, request->secret_ids, request->n_secret_ids, NULL, 0, pty, 0, &env, &env_count));
    const char **argv = arena_alloc(rpc_arena(rpc), (request->n_command + 1) * sizeof *argv);
    for (size_t i = 0; i < request->n_command; i++) argv[i] = request->command[i];
    scoped_string char *id = random_id("ex");
    return exec_new(rpc->modal,
                    &(struct exec_wish){.id = id,
                                        .task_id = request->task_id,
                                        .container = container,
                                        .command.argv = argv,
                                        .command.env = env,
                                        .command.workdir =
                                            request->workdir && *request->workdir ? request->workdir : NULL,
                                        .command.terminal = pty != NULL,
                                        .command.rows = pty ? (uint16_t)pty->winsz_rows : 0,
                                        .command.columns = pty ? (uint16_t)pty->winsz_cols : 0,
                                        .command.stderr_to_stdout = true,
                                        .timeout_s = request->timeout_secs,
                                        .answer_start = answer_start,
                                        .answer_wait = answer_wait},
                    ret);
}

static void container_exec(struct rpc *rpc, const void *message) {
    struct exec *exec = NULL;
    struct error *error = begin(rpc, message, &exec);
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_hold(rpc, &exec->starters, exec, 0, NULL);
}

/* ---- read ---- */

static bool send_batch(struct rpc *rpc, struct stdio_reader *reader, struct span bytes, size_t *taken) {
    Modal__RuntimeOutputBatch batch = MODAL__RUNTIME_OUTPUT_BATCH__INIT;
    Modal__RuntimeOutputMessage item = MODAL__RUNTIME_OUTPUT_MESSAGE__INIT, *items[] = {&item};
    scoped_string char *text = utf8_of(bytes, reader->stdio->ended, taken);
    if (*taken == 0 && bytes.size > 0) return true;
    item.has_file_descriptor = true;
    item.file_descriptor = MODAL__FILE_DESCRIPTOR__FILE_DESCRIPTOR_STDOUT;
    item.message = text;
    batch.items = items;
    batch.n_items = bytes.size > 0;
    batch.has_batch_index = true;
    batch.batch_index = reader->at + *taken;
    return rpc_send(rpc, &batch);
}

static struct exec *exec_of_reader(struct stdio_reader *reader) {
    return CONTAINER_OF(reader->stdio, struct exec, out);
}

static void finish(struct rpc *rpc, struct stdio_reader *reader) {
    Modal__RuntimeOutputBatch batch = MODAL__RUNTIME_OUTPUT_BATCH__INIT;
    batch.has_batch_index = batch.has_exit_code = true;
    batch.batch_index = reader->at;
    batch.exit_code = exec_of_reader(reader)->code;
    (void)rpc_send(rpc, &batch);
    rpc_end(rpc);
}

static void get_output(struct rpc *rpc, const void *message) {
    const Modal__ContainerExecGetOutputRequest *request = message;
    struct exec *exec = asked(rpc, request->exec_id);
    if (!exec) return;
    struct stdio_reader *reader = arena_alloc(rpc_arena(rpc), sizeof *reader);
    *reader = (struct stdio_reader){
        .stdio = &exec->out, .at = request->last_batch_index, .send = send_batch, .finish = finish};
    size_t taken = 0;
    (void)send_batch(rpc, reader, SPAN(""), &taken); /* by it the client sees that the command runs */
    stdio_read(&exec->out, rpc, reader, (double)request->timeout * 1000, rpc_end);
}

/* ---- write ---- */

struct error *stdin_write_numbered(struct stdin_pipe *in, uint64_t index, struct span bytes, bool eof) {
    if (index <= in->index) return NULL; /* it came before */
    TRY_PLAIN(stdin_room(in));
    in->index = index;
    return stdin_write(in, in->taken, bytes, eof);
}

static void put_input(struct rpc *rpc, const void *message) {
    const Modal__ContainerExecPutInputRequest *request = message;
    struct exec *exec = asked(rpc, request->exec_id);
    if (!exec) return;
    const Modal__RuntimeInputMessage *input = request->input;
    struct span bytes = {input ? (const char *)input->message.data : NULL, input ? input->message.len : 0};
    struct error *error =
        input ? stdin_write_numbered(&exec->in, input->message_index, bytes, input->eof) : NULL;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer_empty(rpc);
}

static void answer_pending(struct rpc *rpc) {
    Modal__ContainerExecWaitResponse answer = MODAL__CONTAINER_EXEC_WAIT_RESPONSE__INIT;
    rpc_answer(rpc, &answer);
}

static void exec_wait_asked(struct rpc *rpc, const void *message) {
    const Modal__ContainerExecWaitRequest *request = message;
    struct exec *exec = asked(rpc, request->exec_id);
    if (!exec) return;
    if (exec->exited)
        answer_wait(rpc, exec);
    else if (request->timeout <= 0)
        answer_pending(rpc);
    else
        rpc_hold(rpc, &exec->waiters, exec, (double)request->timeout * 1000, answer_pending);
}

const struct rpc_method exec_methods[] = {
    {"ContainerExec", &modal__container_exec_request__descriptor, container_exec, RPC_TASK | RPC_ONCE},
    {"ContainerExecGetOutput", &modal__container_exec_get_output_request__descriptor, get_output, RPC_TASK},
    {"ContainerExecPutInput", &modal__container_exec_put_input_request__descriptor, put_input, RPC_TASK},
    {"ContainerExecWait", &modal__container_exec_wait_request__descriptor, exec_wait_asked, RPC_TASK},
    {0},
};
