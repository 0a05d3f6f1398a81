/* What the files of pool share: the objects behind the handles, and the one way to tell nap something. */
#pragma once
#include "node.h"
#include "pool.h"

struct pool {
    struct io_loop *loop;
    struct node *node;
    struct nap *nap;
    struct io_timer *timer;
    int64_t timer_at_ms; /* NAP_NEVER: not armed */
    char *user;
    struct map *apps;    /* name -> struct core_app, ours */
    struct map *by_name; /* "app.function" -> struct pool_function */
    struct map *by_label;
    struct table *by_publish;
    struct table *by_number;       /* nap's pool -> struct pool_function */
    struct table *tickets;         /* nap's ticket -> struct pool_ticket */
    struct table *containers;      /* nap's container -> struct pool_container */
    struct pool_function **sorted; /* by app, then name */
    size_t function_count;
    uint64_t next_function, next_ticket;
    void (*publish_changed)(void *owner);
    void *publish_owner;
    struct error *(*publish_check)(void *owner, uint16_t port);
    void *publish_check_owner;
    void (*stopped)(void *owner); /* pool_stop_all's end */
    void *stopped_owner;

    /* nap is told one thing at a time: what a callback brings up meanwhile waits here. */
    bool stepping;
    struct nap_event *queue;
    size_t queue_count, queue_capacity;

    struct list deliveries; /* tickets with a grant or a refusal to be told in the next round */
    struct list awaited;    /* struct wake_waiter whose end is to be told */
    bool delivery_due;
    struct pool **alive; /* what a deferred delivery looks through: NULL after pool_free */
};

struct pool_function {
    struct pool *pool;
    uint64_t number;                  /* nap's pool */
    uint64_t version;                 /* of what a container is made from */
    const struct core_function *spec; /* in pool->apps */
    char *name;                       /* "app.function" */
    char *label;
    struct list waiters; /* struct wake_waiter */
    char *failure;       /* how the last start failed or the last container ended; NULL */
    int64_t last_wake_us, last_wake_wall_ms;
    const char *last_wake_kind;
    int64_t next_run_wall_ms; /* by its schedule; 0: it has none */
    int64_t start_average_ms; /* of starts; 0: none yet */
};

struct pool_container {
    uint64_t number;
    struct pool_function *function; /* NULL: its function is gone */
    uint16_t port;
    bool primed;
    bool waking;
    int64_t wake_began_us; /* 0: not being woken */
    const char *wake_kind;
};

struct pool_ticket {
    struct list delivery;
    struct pool_function *function;
    struct pool *pool;
    uint64_t number;
    uint64_t container; /* 0: waits */
    uint16_t port;
    int64_t made_ms, granted_ms;
    const struct pool_ticket_events *events;
    void *owner;
    enum nap_reason refused; /* to be told */
    int64_t retry_ms;
    char *refusal;
};

struct wake_waiter {
    struct list entry;
    void (*done)(void *owner, struct error *error);
    void *owner;
    struct error *error;
};

/* Tells nap and carries out what it answers; during that, queued. */
void pool_feed(struct pool *pool, const struct nap_event *event);
/* Tells tickets and waiters what became of them, in the next round of the loop. */
void pool_delivery_due(struct pool *pool);
void pool_function_awake(struct pool_function *function, struct error *taken_error);
/* A sentence for who was refused; owned by the caller. */
char *pool_refusal_text(const struct pool_function *function, enum nap_reason reason);
void pool_node_events_take(struct pool *pool);
