/* The door: events to the right place, timers when they are due, and what others may see.
 *
 * A step is: the event, then all pools that it touched are served until nothing moves. Timers run in
 * NAP_TIMER only, so that work which arrives in the same moment as a bedtime comes first. */
#include "inside.h"

#include <stdlib.h>

struct nap *nap_new(const struct nap_config *config) {
    struct nap *nap = NEW(struct nap);
    nap->config = *config;
    if (nap->config.backoff_first_ms <= 0) nap->config.backoff_first_ms = 1000;
    if (nap->config.backoff_max_ms <= 0) nap->config.backoff_max_ms = 60000;
    nap->now_ms = INT64_MIN;
    nap->pools = table_new();
    nap->tickets = table_new();
    nap->containers = table_new();
    nap->groups = map_new();
    nap->next_container = config->first_container ? config->first_container : 1;
    nap->next_turn = 1;
    list_init(&nap->touched);
    list_init(&nap->hungry);
    return nap;
}

void nap_free(struct nap *nap) {
    if (!nap) return;
    void *value;
    for (size_t i = 0; table_next(nap->tickets, &i, NULL, &value); free(value))
        nap_heap_remove(&((struct nap_ticket *)value)->timer.node);
    for (size_t i = 0; table_next(nap->containers, &i, NULL, &value); free(value))
        nap_heap_remove(&((struct nap_container *)value)->timer.node);
    while (table_count(nap->pools) > 0) { /* of its lists and heaps only the group's are looked at any more */
        size_t i = 0;
        table_next(nap->pools, &i, NULL, &value);
        nap_pool_free(value);
    }
    nap_heap_done(&nap->timers);
    nap_heap_done(&nap->evict_dozing);
    nap_heap_done(&nap->evict_awake);
    nap_heap_done(&nap->sleepers);
    nap_heap_done(&nap->primed);
    table_free(nap->pools);
    table_free(nap->tickets);
    table_free(nap->containers);
    map_free(nap->groups);
    free(nap->actions);
    free(nap);
}

static void on_timer(struct nap *nap) {
    for (struct heap_node *top; (top = nap_heap_top(&nap->timers)) && top->key <= nap->now_ms;) {
        struct nap_timer *timer = CONTAINER_OF(top, struct nap_timer, node);
        nap_heap_remove(top);
        switch (timer->kind) {
        case NAP_TIMER_TICKET: nap_ticket_due(CONTAINER_OF(timer, struct nap_ticket, timer)); break;
        case NAP_TIMER_CONTAINER: nap_container_due(CONTAINER_OF(timer, struct nap_container, timer)); break;
        case NAP_TIMER_POOL: nap_pool_due(CONTAINER_OF(timer, struct nap_pool, timer)); break;
        }
    }
}

static void on_adopted(struct nap *nap, const struct nap_event *event) {
    struct nap_pool *pool = table_get(nap->pools, event->pool);
    if (nap->next_container <= event->container) nap->next_container = event->container + 1;
    if (pool && !pool->removed) {
        nap_container_adopt(pool, event);
    } else if (!table_get(nap->containers, event->container)) { /* nobody knows its grace any more */
        struct nap_action *action = nap_add(nap, NAP_KILL);
        action->pool = event->pool;
        action->container = event->container;
    }
}

static void on_ticket(struct nap *nap, const struct nap_event *event) {
    struct nap_ticket *ticket = table_get(nap->tickets, event->ticket);
    if (!ticket) return;
    if (event->kind != NAP_WORK_RIPE)
        nap_ticket_over(ticket, event->kind == NAP_WORK_DONE);
    else if (!ticket->container)
        nap_ticket_ripe(ticket);
}

static void on_container(struct nap *nap, const struct nap_event *event) {
    struct nap_container *container = table_get(nap->containers, event->container);
    if (!container) return;
    switch (event->kind) {
    case NAP_PRIMED: nap_container_created(container); return;
    case NAP_READY: nap_container_ready(container); return;
    case NAP_FREEZE_FAILED: nap_container_freeze_failed(container); return;
    case NAP_LEAVES: nap_container_leaves(container); return;
    default: nap_container_gone(container); return;
    }
}

static void on_pool(struct nap *nap, const struct nap_event *event) {
    struct nap_pool *pool = table_get(nap->pools, event->pool);
    if (!pool || pool->removed) return;
    if (event->kind == NAP_POOL_REMOVED)
        nap_pool_remove(pool);
    else
        nap_pool_user(pool, event->kind);
}

struct nap_actions nap_step(struct nap *nap, const struct nap_event *event, int64_t now_ms) {
    if (now_ms > nap->now_ms) nap->now_ms = now_ms;
    nap->action_count = 0;
    switch (event->kind) {
    case NAP_POOL_SET: nap_pool_set(nap, event); break;
    case NAP_WORK_ARRIVED: nap_ticket_arrived(nap, event); break;
    case NAP_WORK_RIPE:
    case NAP_WORK_CANCELLED:
    case NAP_WORK_DONE: on_ticket(nap, event); break;
    case NAP_PRIMED:
    case NAP_READY:
    case NAP_START_FAILED:
    case NAP_EXITED:
    case NAP_LEAVES:
    case NAP_FREEZE_FAILED: on_container(nap, event); break;
    case NAP_ADOPTED: on_adopted(nap, event); break;
    case NAP_PRESSURE: nap_share_pressure(nap); break;
    case NAP_POOL_REMOVED:
    case NAP_USER_WAKE:
    case NAP_USER_DOZE:
    case NAP_USER_SLEEP:
    case NAP_USER_STOP: on_pool(nap, event); break;
    case NAP_TIMER: on_timer(nap); break;
    }
    nap_share_settle(nap);
    return (struct nap_actions){nap->actions, nap->action_count};
}

int64_t nap_deadline_ms(const struct nap *nap) {
    const struct heap_node *top = nap_heap_top(&nap->timers);
    return top ? top->key : NAP_NEVER;
}

/* ---- looking at it ---- */

bool nap_pool_view(const struct nap *nap, uint64_t number, int64_t now_ms, struct nap_pool_view *ret_view) {
    const struct nap_pool *pool = table_get(nap->pools, number);
    if (!pool || pool->removed) return false;
    bool backs_off = pool->retry_at_ms > now_ms;
    enum nap_state state = NAP_ASLEEP;
    if (pool->count[NAP_AWAKE])
        state = NAP_AWAKE;
    else if (pool->count[NAP_STARTING])
        state = NAP_STARTING;
    else if (pool->count[NAP_DOZING])
        state = NAP_DOZING;
    else if (backs_off)
        state = NAP_FAILED;
    else if (pool->live > 0)
        state = NAP_STOPPING;
    else if (pool->primed)
        state = NAP_PRIMED_STATE;
    *ret_view = (struct nap_pool_view){
        .state = state,
        .waiting = pool->waiting,
        .working = pool->working,
        .containers = pool->live,
        .retry_ms = state == NAP_FAILED ? pool->retry_at_ms - now_ms : 0,
        .stopped = pool->stopped,
    };
    return true;
}

enum nap_state nap_container_state(const struct nap *nap, uint64_t number, uint32_t *ret_working) {
    const struct nap_container *container = table_get(nap->containers, number);
    if (ret_working) *ret_working = container ? container->working : 0;
    return container ? container->state : NAP_ASLEEP;
}
