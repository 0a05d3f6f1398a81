/* exec: commands in containers: begun, fed, read, waited for.
 *
 * One object a command, for both clients' calls (router.c, exec_old.c) and for what a sandbox runs first. It
 * is kept for KEPT_MS after its end, so that who asks late still gets output and code. */
#include "sandbox.h"

#include <stdio.h>
#include <stdlib.h>

#define KEPT_MS 600000
#define UNREAD_MS 100 /* an end waits so long for readers that are on their way: their client stops then */

struct exec *exec_of(const struct modal *modal, const char *id) {
    return id ? map_get(modal->execs, span_of(id)) : NULL;
}

void exec_free(struct exec *exec) {
    if (map_get(exec->modal->execs, span_of(exec->id)) == exec)
        map_remove(exec->modal->execs, span_of(exec->id));
    rpc_held_end(&exec->starters, ERROR_UNAVAILABLE, "catnap is ending");
    rpc_held_end(&exec->waiters, ERROR_UNAVAILABLE, "catnap is ending: the command ends with it");
    node_exec_free(exec->process);
    exec->out.settled = exec->err.settled = NULL;
    stdio_done(&exec->out), stdio_done(&exec->err), stdin_done(&exec->in);
    io_timer_free(exec->deadline), io_timer_free(exec->forget), io_timer_free(exec->unread);
    error_free(exec->failure);
    free(exec);
}

void execs_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->execs, &i, NULL, &value); i = 0) exec_free(value);
}

/* ---- its end ---- */

static void settle(void *owner) {
    struct exec *exec = owner;
    if (!exec->exited || exec->settling || io_timer_armed(exec->unread)) return;
    if (!list_empty(&exec->out.readers) || !list_empty(&exec->err.readers)) return;
    exec->settling = true; /* answering may bring us here again */
    LIST_EACH_SAFE(node, next, &exec->waiters) {
        struct rpc *rpc = CONTAINER_OF(node, struct rpc, node);
        exec->answer_wait(rpc, exec);
    }
    exec->settling = false;
}

static void on_forgotten(void *owner) {
    exec_free(owner);
}

static void ended(struct exec *exec, int code) {
    exec->exited = true;
    exec->code = code;
    io_timer_stop(exec->deadline);
    if (!exec->out.was_read && !exec->err.was_read) io_timer_arm(exec->unread, UNREAD_MS);
    stdin_done(&exec->in);
    exec->in.broken = true;
    stdio_end(&exec->out);
    stdio_end(&exec->err);
    if (exec->kept_by_owner)
        exec->on_exit(exec->owner, exec);
    else
        io_timer_arm(exec->forget, KEPT_MS);
    settle(exec);
}

static void on_exited(void *owner, int code) {
    struct exec *exec = owner;
    node_exec_free(take(exec->process));
    ended(exec, exec->timed_out ? -1 : code);
}

static void on_deadline(void *owner) {
    struct exec *exec = owner;
    exec->timed_out = true;
    if (exec->process) node_exec_kill(exec->process);
}

/* ---- its beginning ---- */

static void on_started(void *owner, struct error *error, int in, int out, int err) {
    struct exec *exec = owner;
    exec->started = true;
    if (error) {
        exec->failure = error;
        node_exec_free(take(exec->process));
    } else {
        stdio_open(&exec->out, out);
        if (exec->terminal) scoped_fd_close(&err);
        stdio_open(&exec->err, exec->terminal ? -1 : err);
        if (exec->terminal) stdio_end(&exec->err);
        stdin_open(&exec->in, exec->modal, in, exec->terminal);
    }
    while (!list_empty(&exec->starters)) {
        struct rpc *rpc = CONTAINER_OF(exec->starters.next, struct rpc, node);
        if (error)
            rpc_fail(rpc, error_copy(error));
        else
            exec->answer_start(rpc, exec);
    }
    if (exec->on_started) exec->on_started(exec->owner, exec, error);
    if (error) ended(exec, error->code == ERROR_NOT_FOUND ? 127 : 126);
}

struct error *exec_new(struct modal *modal, const struct exec_wish *wish, struct exec **ret) {
    struct exec *exec = NEW(struct exec);
    snprintf(exec->id, sizeof exec->id, "%s", wish->id);
    id_set(exec->task_id, wish->task_id);
    exec->modal = modal;
    exec->terminal = wish->command.terminal;
    exec->kept_by_owner = wish->on_exit != NULL;
    exec->owner = wish->owner;
    exec->on_started = wish->on_started;
    exec->on_exit = wish->on_exit;
    exec->answer_start = wish->answer_start;
    exec->answer_wait = wish->answer_wait;
    stdio_init(&exec->out, modal, wish->drops, exec);
    stdio_init(&exec->err, modal, wish->drops, exec);
    exec->out.settled = exec->err.settled = settle;
    exec->out.seen = exec->err.seen = wish->seen;
    exec->in.fd = -1;
    list_init(&exec->starters), list_init(&exec->waiters);
    exec->deadline = io_timer_new(modal->loop, on_deadline, exec);
    exec->forget = io_timer_new(modal->loop, on_forgotten, exec);
    exec->unread = io_timer_new(modal->loop, settle, exec);
    const struct node_exec_options options = {
        .command = wish->command, .started = on_started, .exited = on_exited, .owner = exec};
    struct error *error = node_exec(modal->node, wish->container, &options, &exec->process);
    if (error) {
        exec_free(exec);
        return error;
    }
    map_put(modal->execs, span_of(exec->id), exec);
    if (wish->timeout_s > 0) io_timer_arm(exec->deadline, (int64_t)wish->timeout_s * 1000);
    *ret = exec;
    return NULL;
}

void exec_wait(struct exec *exec, struct rpc *rpc) {
    rpc_hold(rpc, &exec->waiters, exec, 0, NULL);
    settle(exec);
}

/* ---- variables ---- */

/* What the client's terminal is; how many were added. */
size_t exec_terminal_env(struct arena *arena, const Modal__PTYInfo *pty, const char **env) {
    const char *const names[] = {"TERM", "COLORTERM", "TERM_PROGRAM"};
    const char *const values[] = {pty->env_term, pty->env_colorterm, pty->env_term_program};
    size_t count = 0;
    for (size_t i = 0; i < COUNT(names); i++)
        if (values[i] && *values[i]) env[count++] = arena_printf(arena, "%s=%s", names[i], values[i]);
    return count;
}

static struct error *secret_add(struct rpc *rpc, char *id, struct core_function *core) {
    TRY_PLAIN(secrets_may_use(rpc, &id, 1));
    return secret_apply(rpc->modal, id, core);
}

struct error *exec_secrets(struct rpc *rpc, char **secret_ids, size_t secret_count,
                           Modal__SecretSource **sources, size_t source_count, struct core_function *core) {
    for (size_t i = 0; i < secret_count; i++) TRY_PLAIN(secret_add(rpc, secret_ids[i], core));
    for (size_t i = 0; i < source_count; i++) {
        const Modal__StringMap *map = sources[i]->env;
        if (sources[i]->secret_id && *sources[i]->secret_id)
            TRY_PLAIN(secret_add(rpc, sources[i]->secret_id, core));
        for (size_t e = 0; map && e < map->n_contents; e++)
            if (map->contents[e]->key)
                definition_env_set(core, map->contents[e]->key,
                                   map->contents[e]->value ? map->contents[e]->value : "");
    }
    return NULL;
}

struct error *exec_env(struct rpc *rpc, char **secret_ids, size_t secret_count, Modal__SecretSource **sources,
                       size_t source_count, const Modal__PTYInfo *pty, size_t more, const char ***ret_env,
                       size_t *ret_count) {
    scoped(core_function) struct core_function *scratch = core_function_new("exec", "exec");
    struct arena *arena = rpc_arena(rpc);
    TRY_PLAIN(exec_secrets(rpc, secret_ids, secret_count, sources, source_count, scratch));
    const char **env = arena_alloc(arena, (EXEC_TERMINAL_ENV + scratch->env_count + more + 1) * sizeof *env);
    size_t count = pty ? exec_terminal_env(arena, pty, env) : 0;
    for (size_t i = 0; i < scratch->env_count; i++)
        env[count++] = arena_printf(arena, "%s=%s", scratch->env[i].name, scratch->env[i].value);
    *ret_env = env;
    *ret_count = count;
    return NULL;
}
