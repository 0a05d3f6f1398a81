/* sandbox: a container that a program asked for, and the command that it runs.
 *
 *   made --its container runs, its command runs--> running --the command ends, a timeout, terminate--> ending
 *     '--a start fails: told to who asked--> gone           ending --container and command are gone--> ended
 * The container's own program does nothing; the command comes by exec.c, so that its bytes reach readers as
 * they are. It ends with the daemon. An ended one is known for KEPT_MS, with its output. */
#include "sandbox.h"

#include "logs.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

#define KEPT_MS 3600000
#define PROBE_LEAST_MS 20
#define LOG_BYTES_MAX (16u << 20)
#define STATUS(NAME) MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_##NAME

struct sandbox *sandbox_of(const struct modal *modal, const char *id) {
    return id ? map_get(modal->sandboxes, span_of(id)) : NULL;
}

struct sandbox *sandbox_of_task(const struct modal *modal, const char *task_id) {
    void *value;
    for (size_t i = 0; task_id && map_next(modal->sandboxes, &i, NULL, &value);) {
        struct sandbox *sandbox = value;
        if (strcmp(sandbox->task_id, task_id) == 0) return sandbox;
    }
    return NULL;
}

struct stdio *sandbox_stdio(struct sandbox *sandbox, int descriptor) {
    return descriptor == 2 ? &sandbox->main->err : &sandbox->main->out;
}
struct stdin_pipe *sandbox_stdin(struct sandbox *sandbox) {
    return &sandbox->main->in;
}

void sandbox_forget(struct sandbox *sandbox) {
    struct modal *modal = sandbox->modal;
    map_remove(modal->sandboxes, span_of(sandbox->id));
    rpc_held_end(&sandbox->creators, ERROR_UNAVAILABLE, "catnap is ending");
    rpc_held_end(&sandbox->waiters, ERROR_UNAVAILABLE, "catnap is ending: the sandbox ends with it");
    rpc_held_end(&sandbox->ready_waiters, ERROR_UNAVAILABLE, "catnap is ending: the sandbox ends with it");
    if (sandbox->probing) exec_free(sandbox->probing);
    if (sandbox->main) exec_free(sandbox->main);
    struct io_timer *const timers[] = {sandbox->timeout, sandbox->idle, sandbox->probe, sandbox->forget};
    for (size_t i = 0; i < COUNT(timers); i++) io_timer_free(timers[i]);
    for (size_t i = 0; i < COUNT(sandbox->lines); i++) text_done(&sandbox->lines[i]);
    core_function_free(sandbox->core);
    arena_free(sandbox->arena);
    free(sandbox->name), free(sandbox->exception);
    free(sandbox);
}

void sandboxes_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->sandboxes, &i, NULL, &value); i = 0) sandbox_forget(value);
}

/* ---- its log ---- */

static void log_lines(struct sandbox *sandbox, struct text *lines, bool err, bool all) {
    const char *end = lines->data ? memrchr(lines->data, '\n', lines->size) : NULL;
    size_t size = all                   ? lines->size
                  : end                 ? (size_t)(end - lines->data) + 1
                  : lines->size > 16384 ? lines->size
                                        : 0;
    if (size == 0 || sandbox->logged > LOG_BYTES_MAX) {
        if (sandbox->logged > LOG_BYTES_MAX) text_clear(lines);
        return;
    }
    char container[24];
    snprintf(container, sizeof container, "%s", sandbox->task_id + 3);
    logs_add(sandbox->modal->logs_dir, sandbox->core->app, sandbox->core->name, container,
             err ? "err" : "out", (struct span){lines->data, size});
    text_remove_front(lines, size);
    sandbox->logged += size;
    if (sandbox->logged > LOG_BYTES_MAX)
        logs_say(sandbox->modal->logs_dir, sandbox->core->app, sandbox->core->name, container,
                 "the log of this sandbox is full; what follows is not kept");
}

static void on_output(void *owner, struct stdio *stdio, struct span bytes) {
    struct exec *exec = owner;
    struct sandbox *sandbox = exec->owner;
    bool err = stdio == &exec->err;
    text_add(&sandbox->lines[err], bytes);
    log_lines(sandbox, &sandbox->lines[err], err, false);
}

/* ---- its end ---- */

void sandbox_result(const struct sandbox *sandbox, Modal__GenericResult *out) {
    modal__generic_result__init(out);
    out->has_status = sandbox->status != 0;
    out->status = (Modal__GenericResultGenericStatus)sandbox->status;
    out->has_exitcode = sandbox->status != 0;
    out->exitcode = sandbox->code;
    out->exception = sandbox->exception;
}

void sandbox_answer_wait(struct rpc *rpc) {
    const struct sandbox *sandbox = rpc->owner;
    Modal__GenericResult result;
    Modal__SandboxHandleMetadata metadata = MODAL__SANDBOX_HANDLE_METADATA__INIT;
    metadata.app_id = sandbox->app ? sandbox->app->id : "";
    sandbox_result(sandbox, &result);
    Modal__SandboxWaitResponse answer = MODAL__SANDBOX_WAIT_RESPONSE__INIT;
    answer.result = &result;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void on_forgotten(void *owner) {
    sandbox_forget(owner);
}

static void fail_creation(struct sandbox *sandbox, struct error *taken_error) {
    struct rpc *rpc =
        list_empty(&sandbox->creators) ? NULL : CONTAINER_OF(sandbox->creators.next, struct rpc, node);
    if (rpc)
        rpc_fail(rpc, taken_error);
    else
        error_free(taken_error);
}

static void settle(struct sandbox *sandbox) {
    if (sandbox->number || sandbox->status || (sandbox->main && !sandbox->main->exited)) return;
    sandbox->finished_at = now_s();
    if (sandbox->app && sandbox->started_at > 0) stats_note(&sandbox->app->sandbox_stats, STATS_ENDED);
    sandbox->code = sandbox->main ? sandbox->main->code : -1;
    sandbox->status = sandbox->timed_out    ? STATUS(TIMEOUT)
                      : sandbox->terminated ? STATUS(TERMINATED)
                      : !sandbox->main      ? STATUS(INIT_FAILURE)
                      : sandbox->code == 0  ? STATUS(SUCCESS)
                                            : STATUS(FAILURE);
    for (int err = 0; err < 2; err++) log_lines(sandbox, &sandbox->lines[err], err, true);
    while (!list_empty(&sandbox->waiters))
        sandbox_answer_wait(CONTAINER_OF(sandbox->waiters.next, struct rpc, node));
    rpc_held_end(&sandbox->ready_waiters, ERROR_FAILED_PRECONDITION, "the sandbox ended before it was ready");
    if (!list_empty(&sandbox->creators))
        fail_creation(sandbox,
                      error_new(ERROR_FAILED_PRECONDITION, "the sandbox ended before it was there: %s",
                                sandbox->exception ? sandbox->exception : "it was ended"));
    io_timer_arm(sandbox->forget, KEPT_MS);
    if (sandbox->app) app_tasks_gone(sandbox->app);
}

static void end_container(struct sandbox *sandbox) {
    sandbox->stopping = true;
    io_timer_stop(sandbox->timeout), io_timer_stop(sandbox->idle), io_timer_stop(sandbox->probe);
    if (sandbox->number) {
        tunnels_close(sandbox->modal, sandbox->number, 0);
        node_kill(sandbox->modal->node, sandbox->number);
    }
}

void sandbox_terminate(struct sandbox *sandbox) {
    if (sandbox->status || sandbox->stopping) return;
    sandbox->terminated = true;
    end_container(sandbox);
}

static void on_timeout(void *owner) {
    struct sandbox *sandbox = owner;
    sandbox->timed_out = true;
    end_container(sandbox);
}

static bool in_use(const struct sandbox *sandbox) {
    void *value;
    for (size_t i = 0; map_next(sandbox->modal->execs, &i, NULL, &value);) {
        const struct exec *exec = value;
        if (!exec->exited && exec != sandbox->main && strcmp(exec->task_id, sandbox->task_id) == 0)
            return true;
    }
    return false;
}

static void idle_arm(struct sandbox *sandbox) {
    uint32_t idle_s = sandbox->definition->idle_timeout_secs;
    if (idle_s > 0 && !sandbox->status && !sandbox->stopping)
        io_timer_arm(sandbox->idle, (int64_t)idle_s * 1000);
}

static void on_idle(void *owner) {
    struct sandbox *sandbox = owner;
    if (in_use(sandbox))
        idle_arm(sandbox);
    else
        on_timeout(sandbox);
}

void sandbox_touched(struct modal *modal, const char *task_id) {
    struct sandbox *sandbox = sandbox_of_task(modal, task_id);
    if (sandbox) idle_arm(sandbox);
}

/* ---- readiness ---- */

static void tell_ready(struct rpc *rpc) {
    Modal__SandboxWaitUntilReadyTcrResponse answer = MODAL__SANDBOX_WAIT_UNTIL_READY_TCR_RESPONSE__INIT;
    answer.has_ready_at = true;
    answer.ready_at = now_s();
    rpc_answer(rpc, &answer);
}

static void probe_again(struct sandbox *sandbox) {
    int64_t pause_ms = sandbox->definition->readiness_probe->interval_ms;
    if (!sandbox->stopping)
        io_timer_arm(sandbox->probe, pause_ms > PROBE_LEAST_MS ? pause_ms : PROBE_LEAST_MS);
}

static void became_ready(struct sandbox *sandbox) {
    sandbox->ready = true;
    while (!list_empty(&sandbox->ready_waiters))
        tell_ready(CONTAINER_OF(sandbox->ready_waiters.next, struct rpc, node));
}

static void on_probed(void *owner, struct exec *exec) {
    struct sandbox *sandbox = owner;
    if (exec->code == 0)
        became_ready(sandbox);
    else
        probe_again(sandbox);
}

static void probe_by_exec(struct sandbox *sandbox, const Modal__ProbeExecCommand *command) {
    struct arena *arena = sandbox->arena;
    if (sandbox->probing) exec_free(take(sandbox->probing));
    const char **argv = arena_alloc(arena, (command->n_argv + 1) * sizeof *argv);
    for (size_t i = 0; i < command->n_argv; i++) argv[i] = command->argv[i];
    scoped_string char *id = random_id("pr");
    scoped(error) struct error *error = exec_new(sandbox->modal,
                                                 &(struct exec_wish){.id = id,
                                                                     .task_id = sandbox->task_id,
                                                                     .container = sandbox->number,
                                                                     .command.argv = argv,
                                                                     .drops = true,
                                                                     .timeout_s = 60,
                                                                     .on_exit = on_probed,
                                                                     .owner = sandbox},
                                                 &sandbox->probing);
    if (error) probe_again(sandbox);
}

static void on_probe(void *owner) {
    struct sandbox *sandbox = owner;
    const Modal__Probe *probe = sandbox->definition->readiness_probe;
    int fd = -1;
    if (sandbox->stopping || sandbox->ready || !sandbox->number) return;
    if (probe->exec_command) {
        probe_by_exec(sandbox, probe->exec_command);
        return;
    }
    scoped(error) struct error *error =
        node_connect(sandbox->modal->node, sandbox->number, (uint16_t)probe->tcp_port, &fd);
    scoped_fd_close(&fd);
    if (error)
        probe_again(sandbox);
    else
        became_ready(sandbox);
}

static void not_ready(struct rpc *rpc) {
    rpc_fail(rpc, error_new(ERROR_DEADLINE_EXCEEDED, "the sandbox was not ready in time"));
}

void sandbox_wait_ready(struct rpc *rpc, const char *task_id, double timeout_s) {
    struct sandbox *sandbox = sandbox_of_task(rpc->modal, task_id);
    if (!sandbox)
        rpc_fail(rpc, no_object("sandbox", task_id));
    else if (!sandbox->definition->readiness_probe)
        rpc_fail(rpc, error_new(ERROR_FAILED_PRECONDITION,
                                "the sandbox has no readiness_probe: Sandbox.create takes one"));
    else if (sandbox->ready)
        tell_ready(rpc);
    else if (sandbox->status || sandbox->stopping)
        rpc_fail(rpc, error_new(ERROR_FAILED_PRECONDITION, "the sandbox has ended"));
    else
        rpc_hold(rpc, &sandbox->ready_waiters, sandbox, timeout_s > 0 ? timeout_s * 1000 : 1, not_ready);
}

/* ---- its beginning ---- */

static void on_main_started(void *owner, struct exec *exec, const struct error *error) {
    struct sandbox *sandbox = owner;
    if (error) {
        fail_creation(sandbox, error_copy(error));
        return; /* its exit follows */
    }
    (void)exec;
    sandbox->started_at = now_s();
    if (sandbox->app) stats_note(&sandbox->app->sandbox_stats, STATS_BEGUN);
    idle_arm(sandbox);
    if (sandbox->definition->readiness_probe) io_timer_arm(sandbox->probe, 0);
    if (list_empty(&sandbox->creators)) return;
    struct rpc *rpc = CONTAINER_OF(sandbox->creators.next, struct rpc, node);
    sandbox->created(rpc, sandbox);
}

static void on_main_exit(void *owner, struct exec *exec) {
    struct sandbox *sandbox = owner;
    (void)exec;
    end_container(sandbox);
    settle(sandbox);
}

static struct error *start_main(struct sandbox *sandbox) {
    const Modal__Sandbox *definition = sandbox->definition;
    const Modal__PTYInfo *pty =
        definition->pty_info && definition->pty_info->enabled ? definition->pty_info : NULL;
    const char **argv = arena_alloc(sandbox->arena, (definition->n_entrypoint_args + 3) * sizeof *argv);
    const char *env[EXEC_TERMINAL_ENV + 1] = {NULL};
    if (pty) exec_terminal_env(sandbox->arena, pty, env);
    for (size_t i = 0; i < definition->n_entrypoint_args; i++) argv[i] = definition->entrypoint_args[i];
    if (!argv[0]) argv[0] = "/.catnap/init", argv[1] = "pause"; /* it only waits for commands */
    scoped_string char *id = random_id("sm");
    return exec_new(sandbox->modal,
                    &(struct exec_wish){.id = id,
                                        .task_id = sandbox->task_id,
                                        .container = sandbox->number,
                                        .command.argv = argv,
                                        .command.env = env,
                                        .command.terminal = pty != NULL,
                                        .command.rows = pty ? (uint16_t)pty->winsz_rows : 0,
                                        .command.columns = pty ? (uint16_t)pty->winsz_cols : 0,
                                        .drops = true,
                                        .seen = on_output,
                                        .on_started = on_main_started,
                                        .on_exit = on_main_exit,
                                        .owner = sandbox},
                    &sandbox->main);
}

static void on_ready(void *owner, uint64_t container) {
    struct sandbox *sandbox = owner;
    (void)container;
    if (sandbox->stopping) return;
    struct error *error = start_main(sandbox);
    if (!error) return;
    scoped_string char *text = error_text(error);
    sandbox->exception = mem_string(text);
    fail_creation(sandbox, error);
    end_container(sandbox);
}

static void on_exited(void *owner, uint64_t container, const struct node_lone_end *end) {
    struct sandbox *sandbox = owner;
    tunnels_close(sandbox->modal, container, 0);
    sandbox->number = 0;
    if (!sandbox->stopping || end->oom_killed) {
        free(sandbox->exception);
        sandbox->exception = mem_string(end->text);
    }
    sandbox->stopping = true;
    settle(sandbox);
}

void sandbox_begin(struct sandbox *sandbox) {
    static const struct node_lone_events events = {on_ready, on_exited};
    struct modal *modal = sandbox->modal;
    sandbox->timeout = io_timer_new(modal->loop, on_timeout, sandbox);
    sandbox->idle = io_timer_new(modal->loop, on_idle, sandbox);
    sandbox->probe = io_timer_new(modal->loop, on_probe, sandbox);
    sandbox->forget = io_timer_new(modal->loop, on_forgotten, sandbox);
    uint32_t timeout_s = sandbox->definition->timeout_secs;
    if (timeout_s > 0) io_timer_arm(sandbox->timeout, (int64_t)timeout_s * 1000);
    sandbox->number = node_lone_create(modal->node, sandbox->core, &events, sandbox);
    scoped_string char *task_id = mem_printf("ta-%llu", (unsigned long long)sandbox->number);
    id_set(sandbox->task_id, task_id);
}

/* ---- those of an app ---- */

uint32_t sandboxes_running(const struct app *app) {
    uint32_t count = 0;
    void *value;
    for (size_t i = 0; map_next(app->modal->sandboxes, &i, NULL, &value);) {
        const struct sandbox *sandbox = value;
        count += sandbox->app == app && !sandbox->status;
    }
    return count;
}

void sandboxes_of_app_end(struct app *app, bool forget) {
    void *value;
    for (size_t i = 0; map_next(app->modal->sandboxes, &i, NULL, &value);) {
        struct sandbox *sandbox = value;
        if (sandbox->app != app) continue;
        sandbox_terminate(sandbox);
        if (forget) sandbox->app = NULL; /* an ended one is known for a while still */
    }
}
