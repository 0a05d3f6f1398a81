/* What the files of nap share: the objects, and who may change what.
 *
 * Facts are derived, not kept in step by hand: a container is taken out of all indexes, changed, and put
 * back, and where it lands (free slots, idle ones, what may be evicted, its timer) follows from its state and
 * its pool's limits alone. Whatever changes touches its pool; at the end of the step each touched pool is
 * served once. Nowhere else are starts and grants decided. */
#pragma once
#include "nap.h"

#include <assert.h>

/* ---- heap: intrusive, least key first, then least order ---- */
struct heap;
struct heap_node {
    struct heap *heap; /* NULL: in none */
    size_t at;
    int64_t key;
    uint64_t order;
};
struct heap {
    struct heap_node **nodes;
    size_t count, capacity;
};
/* Into this heap, out of the one it is in; or just to its new place. */
void nap_heap_set(struct heap *heap, struct heap_node *node, int64_t key, uint64_t order);
void nap_heap_remove(struct heap_node *node); /* in none: fine */
void nap_heap_done(struct heap *heap);
static inline struct heap_node *nap_heap_top(const struct heap *heap) {
    return heap->count ? heap->nodes[0] : NULL;
}

enum nap_timer_kind { NAP_TIMER_TICKET, NAP_TIMER_CONTAINER, NAP_TIMER_POOL };
struct nap_timer {
    struct heap_node node;
    enum nap_timer_kind kind;
};

struct nap_limits { /* of core_function, what nap reads */
    uint32_t max_containers, min_containers, buffer_containers, max_inputs, target_inputs, queue_max;
    int64_t doze_after_ms, scaledown_window_ms, startup_timeout_ms, timeout_ms, stop_grace_ms;
    bool pin, prime;
};

struct nap_group {
    char *name;
    struct list pools;
    struct list live;  /* its pools with live containers: one, but after a change of configuration */
    struct heap turns; /* its pools with something that waits, by who waits longest */
};

struct nap_pool {
    struct nap *nap;
    uint64_t number, version;
    struct nap_limits limits;
    bool removed;
    bool stopped;  /* by the user, until woken by the user */
    bool sleeping; /* by the user, until the next request: what gets idle stops, and min_containers is not
                      kept */
    bool hold; /* set a moment ago: no start for min_containers before the timer, so that adoption comes first
                */
    bool touched;
    bool spare;        /* up > needed: who is idle may leave */
    bool prime_failed; /* not tried again before something changes */
    bool wake_wanted;  /* by the user, and not ready yet */
    uint64_t wake_turn;
    int64_t set_ms, wake_until_ms;
    int64_t retry_at_ms; /* 0: does not back off */
    uint32_t failures;
    int64_t last_used_ms;

    struct list queue; /* struct nap_ticket, oldest first */
    uint32_t waiting;

    struct list containers;         /* all of them */
    uint32_t count[NAP_FAILED + 1]; /* by state */
    uint32_t live;                  /* started and not gone */
    uint32_t current;               /* live ones of our version: what max_containers limits */
    uint32_t outdated;              /* live ones of another version */
    uint32_t up;                    /* starting, awake or dozing ones of our version */
    uint32_t working;               /* tickets at work in all ... */
    uint32_t work_here;             /* ... and in those of our version */
    struct heap below;              /* awake, work below the target: the fullest first */
    struct heap above;              /* awake, at the target or above, with a free slot: the emptiest first */
    struct heap dozing;             /* the last frozen first */
    struct heap idle;               /* awake without work, or dozing: the least recently used first */
    struct nap_container *primed;

    struct nap_timer timer;
    struct list touched_link, group_link, live_link, hungry_link;
    struct nap_group *group;
    struct heap_node turn;    /* in group->turns */
    struct heap_node sleeper; /* in nap->sleepers: could be primed */
    uint32_t wants;           /* starts that wait for a place on the node; > 0: in nap->hungry */
};

struct nap_container {
    struct nap_pool *pool;
    uint64_t number, version;
    enum nap_state state;
    int64_t since_ms;      /* when it came into its state */
    int64_t idle_since_ms; /* the last work's end, or when it got ready */
    int64_t ready_ms;      /* 0: never was */
    int64_t kill_at_ms;    /* STOPPING */
    uint32_t working;
    bool created;             /* PRIMED: it is there */
    bool started;             /* counts as live */
    bool served;              /* finished a piece of work */
    bool leaves;              /* it takes no more work, as one of another version */
    bool restless;            /* the freezer failed: not tried again before the next work */
    bool reclaimed;           /* DOZING: its memory was given back */
    enum nap_reason ended_by; /* what tickets in work are told when it ends; NONE: it died */
    struct list work;         /* struct nap_ticket */
    struct list link;         /* pool->containers */
    struct nap_timer timer;
    struct heap_node slot, idle, evict, prime;
};

struct nap_ticket {
    struct nap_pool *pool;
    struct nap_container *container; /* NULL: waits */
    uint64_t number;
    uint64_t turn;                /* order of arrival over all pools */
    bool unripe;                  /* lingers until ripe_ms, or until it is told */
    int64_t ripe_ms, deadline_ms; /* of the wait */
    struct list link;
    struct nap_timer timer;
};

struct nap {
    struct nap_config config;
    int64_t now_ms;
    struct nap_action *actions;
    size_t action_count, action_capacity;
    struct table *pools, *tickets, *containers;
    struct map *groups;
    struct heap timers;
    uint64_t next_container, next_turn;
    uint32_t live, stopping; /* of all pools */
    struct list touched;
    struct list hungry; /* pools that want a start and have no place on the node, longest waiting first */
    uint64_t wants;     /* sum over them */
    struct heap evict_dozing,
        evict_awake;      /* idle ones that may leave for another's sake, least recently used first */
    struct heap sleepers; /* pools that could be primed, most recently used first */
    struct heap primed;   /* primed containers, their pool least recently used first */
};

/* ---- words.c ---- */
int64_t nap_later(int64_t from_ms, int64_t after_ms); /* NAP_NEVER stays that */
struct nap_action *nap_add(struct nap *nap, enum nap_verb verb);
void nap_timer_set(struct nap *nap, struct nap_timer *timer, int64_t deadline_ms, uint64_t order);

/* ---- container.c ---- */
void nap_container_out(struct nap_container *container); /* of all indexes; touches the pool */
void nap_container_in(struct nap_container *container);
bool nap_container_fresh(const struct nap_container *container);
bool nap_container_idle(const struct nap_container *container);
void nap_container_start(struct nap_pool *pool); /* the primed one, or a new one */
void nap_container_prime(struct nap_pool *pool);
void nap_container_adopt(struct nap_pool *pool, const struct nap_event *event);
void nap_container_used(
    struct nap_container *container); /* an idle one, as if: until now it was kept for work */
void nap_container_thaw(struct nap_container *container);
void nap_container_freeze(struct nap_container *container);
void nap_container_leaves(struct nap_container *container);
void nap_container_stop(struct nap_container *container, enum nap_reason ended_by);
void nap_container_ready(struct nap_container *container);
void nap_container_created(struct nap_container *container);
void nap_container_freeze_failed(struct nap_container *container);
void nap_container_gone(struct nap_container *container);
void nap_container_due(struct nap_container *container);

/* ---- ticket.c ---- */
void nap_ticket_arrived(struct nap *nap, const struct nap_event *event);
void nap_ticket_grant(struct nap_ticket *ticket, struct nap_container *container);
void nap_ticket_ripe(struct nap_ticket *ticket);
void nap_ticket_over(struct nap_ticket *ticket, bool done);
void nap_ticket_refuse(struct nap_ticket *ticket, enum nap_reason reason);
void nap_ticket_due(struct nap_ticket *ticket);
void nap_ticket_refuse_waiting(struct nap_pool *pool, enum nap_reason reason);

/* ---- pool.c ---- */
void nap_pool_set(struct nap *nap, const struct nap_event *event);
void nap_pool_remove(struct nap_pool *pool);
void nap_pool_free(struct nap_pool *pool);
void nap_pool_touch(struct nap_pool *pool);
void nap_pool_due(struct nap_pool *pool);
void nap_pool_failed(struct nap_pool *pool); /* a start: it backs off */
bool nap_pool_backs_off(const struct nap_pool *pool);
void nap_pool_user(struct nap_pool *pool, enum nap_event_kind verb);
void nap_pool_serve(struct nap_pool *pool);

/* ---- group.c ---- */
void nap_group_join(struct nap_pool *pool, const char *name); /* leaves the one it is in; NULL: only that */
void nap_group_live(struct nap_pool *pool);         /* its first container lives, or its last one is gone */
void nap_group_turn(struct nap_pool *pool);         /* what waits in it may have changed */
bool nap_group_yields(const struct nap_pool *pool); /* another one's turn has come */
bool nap_group_others_live(const struct nap_pool *pool);

/* ---- share.c ---- */
bool nap_share_room(const struct nap_pool *pool); /* whether it may start one now */
void nap_share_want(struct nap_pool *pool, uint32_t starts, bool had_one);
void nap_share_pressure(struct nap *nap);
void nap_share_sleeper(struct nap_pool *pool); /* whether it could be primed may have changed */
void nap_share_settle(struct nap *nap); /* the end of each step: serves who was touched until nothing moves */
