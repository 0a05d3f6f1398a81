/* The simulation of nap: many pools on one fake node, lived through in virtual time.
 *
 * Three parts. The world (world.c, node.c) has the clock, the clients, the processes and the accidents, and
 * gives nap one event a step. The model (model.c, action.c) follows what nap says by the words of nap.h
 * alone, without a look into nap, and objects to what they forbid. The truths (truths.c) are held against the
 * model after each step. A mood, drawn from the seed, says how wild a life is: which accidents it has at all,
 * how many and how fast. */
#pragma once
#include "nap.h"

enum { POOLS_MAX = 10, GROUPS_MAX = 3 };

/* ---- chance ---- */
struct dice {
    uint64_t state;
};
uint64_t dice_roll(struct dice *dice);
bool dice_chance(struct dice *dice, uint32_t per_mille);
int64_t dice_between(struct dice *dice, int64_t low, int64_t high); /* both included */
int64_t dice_wait(struct dice *dice,
                  int64_t mean_ms); /* mostly below twice the mean, now and then far above */

/* ---- mood: the weights of one life; 0 switches a thing off ---- */
struct mood {
    uint32_t pools;
    struct nap_config config;
    int64_t arrival_ms; /* mean between requests of a pool */
    uint32_t burst_permille, cancel_permille, deadline_permille, linger_permille, endless_permille;
    int64_t work_ms, start_ms, exit_ms;
    uint32_t start_fails_permille, start_hangs_permille, freeze_fails_permille, stubborn_permille,
        leaves_permille;
    int64_t crash_ms; /* mean life of a container */
    uint32_t timer_late_permille, backwards_permille, echo_permille;
    /* Means between such events in the whole world. */
    int64_t pressure_ms, jump_ms, restart_ms, user_ms, redeploy_ms, remove_ms, early_timer_ms;
    uint32_t group_permille, pin_permille, prime_permille, min_permille, buffer_permille;
    bool wide; /* limits in the dozens instead of a few */
};
void mood_draw(struct mood *mood, struct dice *dice);
/* Other limits, perhaps another group, for a pool that is set (again). */
void mood_limits(const struct mood *mood, struct dice *dice, struct core_function *function);

/* ---- the model ---- */
struct sim_ticket {
    struct list link; /* pool->queue, or the work of its container */
    struct sim_pool *pool;
    struct sim_container *container; /* NULL: waits */
    uint64_t number, turn;
    int64_t due_ms;  /* of the wait, or of the work */
    int64_t ripe_ms; /* lingers until then; 0: does not */
};

struct sim_container {
    struct list link, work;
    struct sim_pool *pool;
    uint64_t number, version;
    enum nap_state state;
    uint32_t working;
    int64_t since_ms, idle_since_ms, ready_ms, kill_at_ms;
    bool started, created, served, restless, reclaimed, leaves;
    enum nap_reason ended_by;
    bool stubborn; /* the process: one signal is not enough */
    bool will_end; /* its end is in the world's heap */
};

struct sim_pool {
    uint64_t number, version;
    struct core_function *function; /* its limits */
    bool exists, removed, stopped, sleeping, hold, wake_wanted, prime_failed;
    int64_t set_ms, wake_until_ms, retry_at_ms, last_used_ms;
    uint64_t wake_turn;
    uint64_t in_line_since; /* when it began to wait for a place on the node; 0: does not */
    uint32_t failures;
    int group; /* -1: none */
    struct list queue, containers;
    uint32_t waiting, working;
    /* Counted anew by sim_count from the containers. */
    uint32_t live, current, outdated, up, work_here, count[NAP_FAILED + 1];
};

enum world_kind {
    WORLD_ARRIVE,
    WORLD_DONE,
    WORLD_CANCEL,
    WORLD_RIPE,
    WORLD_CREATED,
    WORLD_READY,
    WORLD_FAILED,
    WORLD_EXITED,
    WORLD_FREEZE_FAILED,
    WORLD_LEAVES,
    WORLD_PRESSURE,
    WORLD_JUMP,
    WORLD_RESTART,
    WORLD_USER,
    WORLD_REDEPLOY,
    WORLD_REMOVE,
    WORLD_EARLY_TIMER
};
struct world_entry {
    int64_t at_ms;
    uint64_t order;
    enum world_kind kind;
    uint64_t number; /* pool, ticket or container */
};

struct sim {
    uint64_t seed, step;
    bool told; /* a line per event */
    struct dice dice;
    struct mood mood;
    struct nap *nap;
    int64_t now_ms;  /* the world's clock */
    int64_t seen_ms; /* nap's: never goes backwards */
    bool quiet;      /* the evening: no new work, no accidents */
    /* the world */
    struct world_entry *heap;
    size_t heap_count, heap_capacity;
    uint64_t next_order, next_ticket, next_version;
    /* the model */
    struct sim_pool pools[POOLS_MAX];
    struct table *tickets, *containers;
    uint64_t next_turn;
    uint64_t
        line_turn; /* grows with each step, but not while a timer is late: who stands before whom is open */
    bool late;     /* a timer is: what it brings is still to come, perhaps in this step */
    /* of this step */
    struct nap_event event;
    enum nap_reason refusal_due;  /* what the ticket that arrives must be told, at once */
    struct sim_container *dying;  /* its tickets are to be told */
    struct sim_pool *failed;      /* whose start failed in this step ... */
    enum nap_reason failed_how;   /* ... and how */
    struct sim_container *thawed; /* and must be granted to next */
    size_t evictables, pressed;   /* PRESSURE: who could be stopped before it, and who was */
    size_t still;                 /* steps at one moment in which nothing was done */
    uint64_t grants, refusals, starts, freezes, evictions;
};

/* sim.c */
void sim_fail(const struct sim *sim, const char *truth, const char *what) __attribute__((noreturn));
#define ALWAYS(SIM, TRUTH, WHAT)                       \
    do {                                               \
        if (!(TRUTH)) sim_fail((SIM), #TRUTH, (WHAT)); \
    } while (0)
void sim_tell(const struct sim *sim, const struct nap_event *event, const struct nap_actions *todo);

/* world.c */
void world_begin(struct sim *sim);
bool world_step(struct sim *sim); /* false: nothing is left to happen */
void world_feed(struct sim *sim, const struct nap_event *event);
void world_later(struct sim *sim, int64_t wait_ms, enum world_kind kind, uint64_t number);
void world_nap(struct sim *sim);    /* a new nap, and a model that knows no container */
void world_forget(struct sim *sim); /* the same backwards; what is to come stays */
void world_end(struct sim *sim);

/* node.c: what the fake node and the clients make of an action */
void node_act(struct sim *sim, const struct nap_action *action);
void node_adopt_all(struct sim *sim);

/* model.c */
struct sim_pool *model_pool(struct sim *sim, uint64_t number); /* NULL: not set */
void model_event(struct sim *sim, const struct nap_event *event);
void model_failed(struct sim *sim, struct sim_pool *pool, enum nap_reason how);
void model_ticket_over(struct sim *sim, struct sim_ticket *ticket, bool done);
void model_container_free(struct sim *sim, struct sim_container *container);

/* facts.c: derived from the model, each time anew */
bool fresh(const struct sim_container *container);
bool idle(const struct sim_container *container);
bool lingers(const struct sim_pool *pool); /* who waits longest does */
bool backs_off(const struct sim *sim, const struct sim_pool *pool);
uint32_t needed(const struct sim_pool *pool);
uint32_t missing(const struct sim *sim, const struct sim_pool *pool);
bool spare(const struct sim_pool *pool);
bool yields(const struct sim *sim, const struct sim_pool *pool);
bool others_live(const struct sim *sim, const struct sim_pool *pool);
bool evictable(const struct sim_container *container);
bool could_prime(const struct sim *sim, const struct sim_pool *pool);
uint32_t node_live(const struct sim *sim);
uint32_t node_stopping(const struct sim *sim);
uint32_t node_primed(const struct sim *sim);
uint64_t node_wants(const struct sim *sim);
uint32_t containers_max(const struct sim *sim);
uint32_t target_of(const struct sim_pool *pool);
int64_t container_due_ms(const struct sim *sim, const struct sim_container *container);
int64_t model_due_ms(const struct sim *sim);
int64_t later(int64_t from_ms, int64_t after_ms);
void recount(struct sim_pool *pool);

/* action.c */
void model_action(struct sim *sim, const struct nap_action *action);

/* truths.c */
void truths_after(struct sim *sim, const struct nap_event *event, const struct nap_actions *todo);
void truths_at_rest(struct sim *sim);
