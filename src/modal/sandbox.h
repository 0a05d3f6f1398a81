/* What the files share that run commands: bytes in and out, commands in containers, sandboxes, tunnels.
 *
 *   sandbox -> exec (what it runs first) <- the calls of both generations: router.c, exec_old.c
 *                '-> stdio, stdin_pipe */
#pragma once
#include "inside.h"

#include "exec.pb-c.h"
#include "sandbox.pb-c.h"

/* ---- stdio.c: what a command writes and reads ---- */
struct stdio {
    struct modal *modal;
    int fd;
    struct io_watch *watch;
    struct text kept;
    uint64_t base; /* the offset of what is kept */
    uint64_t sent; /* how far any reader came */
    bool ended, drops, was_read;
    struct list readers; /* held calls, each with a reader */
    void (*seen)(void *owner, struct stdio *stdio, struct span bytes);
    void (*settled)(void *owner); /* readers may have finished */
    void *owner;
};
struct stdio_reader { /* in its call's arena */
    struct stdio *stdio;
    uint64_t at;
    bool choked;
    /* *taken: less where the end of it is half a character. False: the client is slow. */
    bool (*send)(struct rpc *rpc, struct stdio_reader *reader, struct span bytes, size_t *taken);
    void (*finish)(struct rpc *rpc, struct stdio_reader *reader); /* answers */
    int descriptor;
};
void stdio_init(struct stdio *stdio, struct modal *modal, bool drops, void *owner);
void stdio_open(struct stdio *stdio, int taken_fd);
void stdio_end(struct stdio *stdio);
void stdio_done(struct stdio *stdio);
void stdio_pump(struct stdio *stdio);
void stdio_read(struct stdio *stdio, struct rpc *rpc, struct stdio_reader *reader, double hold_ms,
                void (*expired)(struct rpc *rpc));
struct stdin_pipe {
    int fd;
    struct io_watch *watch;
    struct text waits;
    uint64_t taken;
    uint64_t index; /* of calls that are numbered instead */
    bool eof, broken, terminal;
};
void stdin_open(struct stdin_pipe *in, struct modal *modal, int taken_fd, bool terminal);
must_check struct error *stdin_room(const struct stdin_pipe *in); /* for more: its command has read enough */
must_check struct error *stdin_write(struct stdin_pipe *in, uint64_t offset, struct span bytes, bool eof);
void stdin_done(struct stdin_pipe *in);

/* ---- exec.c: commands in containers ---- */
struct exec {
    char id[80], task_id[ID_MAX];
    struct modal *modal;
    struct container_exec *process; /* NULL: it has ended */
    struct stdio out, err;
    struct stdin_pipe in;
    bool terminal, started, exited, timed_out, settling, kept_by_owner;
    int code;
    struct error *failure;         /* it could not be started */
    struct list starters, waiters; /* held calls */
    struct io_timer *deadline, *forget, *unread;
    void (*answer_start)(struct rpc *rpc, struct exec *exec);
    void (*answer_wait)(struct rpc *rpc, struct exec *exec);
    void (*on_started)(void *owner, struct exec *exec, const struct error *error);
    void (*on_exit)(void *owner, struct exec *exec);
    void *owner;
};
struct exec_wish {
    const char *id, *task_id;
    uint64_t container;
    struct core_command command; /* borrowed for the call */
    bool drops;
    uint32_t timeout_s; /* 0: none */
    void (*answer_start)(struct rpc *rpc, struct exec *exec);
    void (*answer_wait)(struct rpc *rpc, struct exec *exec);
    void (*on_started)(void *owner, struct exec *exec, const struct error *error);
    void (*on_exit)(void *owner, struct exec *exec);                   /* set: the owner frees it */
    void (*seen)(void *owner, struct stdio *stdio, struct span bytes); /* owner: the exec */
    void *owner;
};
must_check struct error *exec_new(struct modal *modal, const struct exec_wish *wish, struct exec **ret);
struct exec *exec_of(const struct modal *modal, const char *id);
void exec_wait(struct exec *exec, struct rpc *rpc);
void exec_free(struct exec *exec);
void execs_free(struct modal *modal);
#define EXEC_TERMINAL_ENV 3 /* variables at most */
size_t exec_terminal_env(struct arena *arena, const Modal__PTYInfo *pty, const char **env);
must_check struct error *exec_secrets(struct rpc *rpc, char **secret_ids, size_t secret_count,
                                      Modal__SecretSource **sources, size_t source_count,
                                      struct core_function *core);
/* NAME=VALUE strings of the terminal and of secrets, in the call's arena, with room for `more` and a NULL. */
must_check struct error *exec_env(struct rpc *rpc, char **secret_ids, size_t secret_count,
                                  Modal__SecretSource **sources, size_t source_count,
                                  const Modal__PTYInfo *pty, size_t more, const char ***ret_env,
                                  size_t *ret_count);
extern const struct rpc_method exec_methods[];

must_check struct error *stdin_write_numbered(struct stdin_pipe *in, uint64_t index, struct span bytes,
                                              bool eof);
/* As a message's text: what is no UTF-8 becomes U+FFFD. Not `all`: half a character at the end is left. */
char *utf8_of(struct span bytes, bool all, size_t *ret_taken); /* owned */

/* ---- sandbox.c, sandbox_make.c, sandbox_calls.c ---- */
struct sandbox {
    char id[ID_MAX], task_id[ID_MAX];
    struct modal *modal;
    struct app *app;
    struct arena *arena;
    const Modal__Sandbox *definition; /* in the arena */
    struct core_function *core;
    char *name;               /* NULL: none */
    Modal__SandboxTag **tags; /* in the arena */
    size_t tag_count;
    uint64_t number; /* its container; 0: it has none any more */
    struct exec *main;
    void (*created)(struct rpc *rpc, struct sandbox *sandbox);
    struct list creators; /* the call that waits for its start, if it still does */
    double created_at, started_at, finished_at;
    bool terminated, timed_out, ready, stopping;
    int status; /* MODAL__GENERIC_RESULT__GENERIC_STATUS__...; 0: it runs */
    int code;
    char *exception;
    struct list waiters, ready_waiters; /* held calls */
    struct io_timer *timeout, *idle, *probe, *forget;
    struct exec *probing;
    struct text lines[2]; /* for its log: what has no newline yet */
    uint64_t logged;
};
struct sandbox *sandbox_of(const struct modal *modal, const char *id);
struct sandbox *sandbox_of_task(const struct modal *modal, const char *task_id);
struct stdio *sandbox_stdio(struct sandbox *sandbox, int descriptor);
struct stdin_pipe *sandbox_stdin(struct sandbox *sandbox);
void sandbox_touched(struct modal *modal, const char *task_id); /* somebody uses it */
void sandbox_wait_ready(struct rpc *rpc, const char *task_id, double timeout_s);
void sandbox_terminate(struct sandbox *sandbox);
void sandbox_forget(struct sandbox *sandbox);
/* `bytes`: the definition's, where fields lie that our messages leave out. Answers by `created`, or fails. */
void sandbox_make(struct rpc *rpc, struct app *app, const Modal__Sandbox *definition, struct span bytes,
                  Modal__SandboxTag **tags, size_t tag_count, Modal__SecretSource **sources,
                  size_t source_count, void (*created)(struct rpc *rpc, struct sandbox *sandbox));
void sandbox_tags_take(struct sandbox *sandbox, Modal__SandboxTag **tags, size_t count);
void sandbox_begin(struct sandbox *sandbox);
void sandboxes_of_app_end(struct app *app, bool forget);
uint32_t sandboxes_running(const struct app *app);
void sandboxes_free(struct modal *modal);
void sandbox_result(const struct sandbox *sandbox, Modal__GenericResult *out);
void sandbox_answer_wait(struct rpc *rpc); /* its owner: the sandbox */
extern const struct rpc_method sandbox_methods[];

/* ---- snapshot.c ---- */
void snapshot_filesystem(struct rpc *rpc, const void *message); /* TaskSnapshotFilesystem */
void snapshots_cancel(struct modal *modal);

/* ---- tunnel.c: ports of containers at ports of this machine ---- */
must_check struct error *tunnel_open(struct modal *modal, uint64_t container, uint16_t port,
                                     uint16_t *ret_outside);
void tunnels_close(struct modal *modal, uint64_t container, uint16_t port_or_0);
const char *tunnel_host(struct rpc *rpc); /* as the client reaches it; in the arena */
uint16_t tunnel_of(const struct modal *modal, uint64_t container, uint16_t port); /* 0: none */
void tunnels_free(struct modal *modal);
extern const struct rpc_method tunnel_methods[];

/* ---- router.c, router_token.c ---- */
/* The container that a task's id means, if whoever asks may: clients any, containers those of their own app.
 * `ret_container` NULL: also one that has ended. */
must_check struct error *router_target(struct rpc *rpc, const char *task_id, uint64_t *ret_container);
char *router_token(const struct modal *modal, const char *task_id);            /* owned */
char *router_token_task(const struct modal *modal, struct span authorization); /* owned; NULL: not good */
struct span host_of(struct span authority);                                    /* without its port */
must_check struct error *router_url(struct rpc *rpc, const char **ret_url);    /* in the arena */
extern const struct rpc_method router_methods[], access_methods[];
