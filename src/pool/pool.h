/* pool: where work meets containers. Tickets in, slots out.
 *
 * The only room that knows both nap (which decides) and node (which does). It holds the running configuration
 * of all apps, tells nap what happens, carries out what nap answers, and tells whoever waits. */
#pragma once
#include "core.h"
#include "io.h"
#include "nap.h"

struct pool; /* all functions of this daemon */
struct node;

struct pool_options {
    struct io_loop *loop;
    struct node *node; /* borrowed; the pool takes its events */
    struct nap_config nap;
    const char *user; /* for the host labels: USER--APP-FUNC */
};
struct pool *pool_new(const struct pool_options *options);
void pool_free(struct pool *pool); /* containers stay; tickets must be gone */

/* Brings what an app needs and what takes time: images that are not here. Before pool_app_check. `app` is
 * borrowed until `done`, which comes once, never from within the call. `line`: progress; NULL: not told. */
struct pool_prepare;
struct pool_prepare *pool_app_prepare(struct pool *pool, const struct core_app *app,
                                      void (*line)(void *owner, struct span text),
                                      void (*done)(void *owner, struct error *error), void *owner);
void pool_prepare_free(struct pool_prepare *prepare); /* nobody is told any more; not after `done` */
/* Whether pool_app_set would take it: names and ports that others have, images, volumes. Before anything is
 * stored. */
must_check struct error *pool_app_check(struct pool *pool, const struct core_app *app);
/* Creates or changes an app as a whole; running containers that fit go on, others finish their work and
 * leave. */
must_check struct error *pool_app_set(struct pool *pool, const struct core_app *app);
must_check struct error *pool_app_remove(struct pool *pool, const char *app); /* NOT_FOUND */
/* What the last daemon left is taken over. After all pool_app_set calls of the start. */
must_check struct error *pool_adopt(struct pool *pool);
/* Stops all containers, each within its grace; `done` when the last is gone. For an end of the daemon that
 * leaves nothing. */
void pool_stop_all(struct pool *pool, void (*done)(void *owner), void *owner);
void pool_kill_all(struct pool *pool); /* no grace */

/* ---- functions ---- */
struct pool_function; /* valid until its app changes or goes: look it up per request, don't keep it */
struct pool_function *pool_function_find(struct pool *pool, const char *app, const char *function);
/* `host` as in the Host header, with or without port: its first label names the function. NULL: none */
struct pool_function *pool_function_by_host(struct pool *pool, struct span host);
struct pool_function *pool_function_by_publish(struct pool *pool, uint16_t port);
const struct core_function *pool_function_spec(const struct pool_function *function);
/* Told at each change of the set of published ports, so that the gateway can listen. One listener. */
void pool_on_publish_changed(struct pool *pool, void (*changed)(void *owner), void *owner);
/* Asked before an app that publishes on a port new to us is taken: whether the port can be had. One checker.
 */
void pool_on_publish_check(struct pool *pool, struct error *(*check)(void *owner, uint16_t port),
                           void *owner);
/* for (size_t i = 0; (f = pool_function_next(pool, &i));): all functions, by app, then name. */
struct pool_function *pool_function_next(struct pool *pool, size_t *i);

struct pool_function_view {
    enum nap_state state;
    bool stopped;
    uint32_t waiting, working;
    int64_t starting_for_ms;    /* STARTING: since when; else 0 */
    const char *stage;          /* STARTING: "mounting", ...; else NULL. Static */
    int64_t estimate_ms;        /* how long a wake takes, from past ones; 0: not known */
    int64_t last_wake_us;       /* how long the last one took; -1: none yet */
    int64_t last_wake_ms;       /* the same, rounded up */
    const char *last_wake_kind; /* "start", "primed", "thaw"; NULL: none yet. Static */
    int64_t last_wake_wall_ms;  /* when; 0: never */
    int64_t next_run_wall_ms;   /* by its schedule; 0: none */
    int64_t retry_ms;           /* FAILED */
    const char *label;          /* host label; borrowed */
    const char *failure;        /* FAILED: reason and last log lines; borrowed, else NULL */
};
/* When its schedule runs it next, for those who look on; 0: it has none. */
void pool_function_next_run_set(struct pool_function *function, int64_t wall_ms);
void pool_function_view(struct pool_function *function, struct pool_function_view *ret_view);
struct pool_container_view {
    char id[24];
    enum nap_state state;
    int pid;
    uint64_t memory_bytes;
    uint32_t working;
};
size_t pool_container_views(struct pool_function *function, struct pool_container_view *views,
                            size_t capacity);

/* Containers of an app that are nobody's function: sandboxes. */
struct pool_guest_view {
    const char *app, *name; /* borrowed */
    char id[24];
    bool ready;
    int pid;
    uint64_t memory_bytes;
};
/* for (size_t i = 0; pool_guest_next(pool, &i, &view);): no order. */
bool pool_guest_next(const struct pool *pool, size_t *i, struct pool_guest_view *ret_view);

void pool_container_kill(struct pool *pool, uint64_t container); /* no grace; what works in it is told */
void pool_container_leaves(struct pool *pool,
                           uint64_t container); /* no more work; it stops when it is idle */

enum pool_verb { POOL_WAKE, POOL_DOZE, POOL_SLEEP, POOL_STOP };
must_check struct error *pool_app_command(struct pool *pool, const char *app, const char *function_or_null,
                                          enum pool_verb verb);
/* Calls back once when the function reaches `awake` (or fails, with the error; owned by the callback). For
 * `catnap wake`. */
void pool_function_when_awake(struct pool_function *function, void (*done)(void *owner, struct error *error),
                              void *owner);

/* ---- tickets: one piece of work ---- */
struct pool_ticket;
struct pool_refusal {
    enum nap_reason reason;
    int64_t retry_ms; /* 0: unknown */
    const char
        *text; /* a sentence for the client: reason, exit code, last log lines. Borrowed for the call */
};
struct pool_ticket_events {
    /* A slot in a container that is ready. Not called where the slot was there at once: see pool_ticket_new.
     */
    void (*granted)(void *owner, struct pool_ticket *ticket);
    /* No slot, or (after granted) the slot is gone: container died, timeout. The ticket is over; don't call
     * pool_ticket_done. */
    void (*refused)(void *owner, struct pool_ticket *ticket, const struct pool_refusal *refusal);
};
/* wait_ms: longest wait for the grant; 0: the function's startup_timeout plus a minute. No callback comes
 * from inside this call, but the ticket may be granted already when it returns: pool_ticket_container() tells
 * by not being 0, and `granted` is not called then. */
struct pool_ticket *pool_ticket_new(struct pool_function *function, int64_t wait_ms,
                                    const struct pool_ticket_events *events, void *owner);
/* The same for work that gathers, a batch: it makes a container come up at once, but is granted only after
 * `linger_ms`, or when pool_ticket_ripe says that it is whole (and perhaps at once: look as above). */
struct pool_ticket *pool_ticket_new_gathering(struct pool_function *function, int64_t wait_ms,
                                              int64_t linger_ms, const struct pool_ticket_events *events,
                                              void *owner);
bool pool_ticket_ripe(struct pool_ticket *ticket); /* true: granted in this call */
/* For work that an adopted container was at already: its slot, granted on return; else as above. */
struct pool_ticket *pool_ticket_resume(struct pool_function *function, uint64_t container,
                                       const struct pool_ticket_events *events, void *owner);
void pool_ticket_done(
    struct pool_ticket *ticket); /* waiting (cancelled) or granted (slot given back); frees it */
/* A granted ticket's container: a connected, non-blocking socket to its port. */
must_check struct error *pool_ticket_connect(struct pool_ticket *ticket, int *ret_fd);
uint64_t
pool_ticket_container(const struct pool_ticket *ticket); /* key for kept connections; 0 before the grant */
int64_t pool_ticket_waited_ms(const struct pool_ticket *ticket); /* from new to grant */
