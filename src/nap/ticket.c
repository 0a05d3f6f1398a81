/* Tickets: waiting, working or gone.
 *
 * A ticket waits in its pool's queue or lies in the work of one container; it leaves by over() or refuse()
 * and is freed there, so that it can't end twice. Its one timer is the end of its lingering first, then the
 * wait's deadline, then the work's timeout after the grant. */
#include "inside.h"

#include <stdlib.h>

static void add_refusal(struct nap *nap, const struct nap_pool *pool, uint64_t ticket,
                        enum nap_reason reason) {
    struct nap_action *action = nap_add(nap, NAP_REFUSE);
    action->ticket = ticket;
    action->reason = reason;
    if (!pool) return;
    action->pool = pool->number;
    if (reason == NAP_REASON_REMOVED || reason == NAP_REASON_STOPPED) return; /* waiting heals neither */
    if (nap_pool_backs_off(pool)) action->retry_ms = pool->retry_at_ms - nap->now_ms;
}

static enum nap_reason refusal_at_once(const struct nap_pool *pool) {
    if (!pool || pool->removed) return NAP_REASON_REMOVED;
    if (pool->stopped) return NAP_REASON_STOPPED;
    if (pool->up == 0 && nap_pool_backs_off(pool)) return NAP_REASON_BACKOFF;
    if (pool->waiting >= pool->limits.queue_max) return NAP_REASON_QUEUE_FULL;
    return NAP_REASON_NONE;
}

void nap_ticket_arrived(struct nap *nap, const struct nap_event *event) {
    struct nap_pool *pool = table_get(nap->pools, event->pool);
    enum nap_reason reason = refusal_at_once(pool);
    assert(!table_get(nap->tickets, event->ticket));
    if (reason != NAP_REASON_NONE) {
        add_refusal(nap, pool, event->ticket, reason);
        return;
    }
    struct nap_ticket *ticket = NEW(struct nap_ticket);
    ticket->pool = pool;
    ticket->number = event->ticket;
    ticket->turn = nap->next_turn++;
    ticket->timer.kind = NAP_TIMER_TICKET;
    ticket->deadline_ms = event->deadline_ms;
    ticket->ripe_ms = event->ripe_ms;
    ticket->unripe = event->ripe_ms > nap->now_ms;
    int64_t due_ms =
        ticket->unripe && ticket->ripe_ms < ticket->deadline_ms ? ticket->ripe_ms : ticket->deadline_ms;
    nap_timer_set(nap, &ticket->timer, due_ms, ticket->turn);
    list_append(&pool->queue, &ticket->link);
    pool->waiting++;
    pool->sleeping = false;
    table_put(nap->tickets, ticket->number, ticket);
    nap_pool_touch(pool);
    struct nap_container *container = event->resumed ? table_get(nap->containers, event->resumed) : NULL;
    if (!container || container->pool != pool) return;
    if (container->state == NAP_DOZING) nap_container_thaw(container);
    if (container->state == NAP_AWAKE) nap_ticket_grant(ticket, container);
}

void nap_ticket_ripe(struct nap_ticket *ticket) {
    if (!ticket->unripe) return;
    ticket->unripe = false;
    nap_timer_set(ticket->pool->nap, &ticket->timer, ticket->deadline_ms, ticket->turn);
    nap_pool_touch(ticket->pool);
}

void nap_ticket_grant(struct nap_ticket *ticket, struct nap_container *container) {
    struct nap_pool *pool = ticket->pool;
    struct nap *nap = pool->nap;
    nap_container_out(container);
    list_remove(&ticket->link);
    pool->waiting--;
    pool->working++;
    container->working++;
    container->restless = false;
    ticket->container = container;
    list_append(&container->work, &ticket->link);
    nap_container_in(container);
    nap_timer_set(nap, &ticket->timer, nap_later(nap->now_ms, pool->limits.timeout_ms), ticket->turn);
    pool->last_used_ms = nap->now_ms;
    struct nap_action *action = nap_add(nap, NAP_GRANT);
    action->pool = pool->number;
    action->ticket = ticket->number;
    action->container = container->number;
}

static void leave_container(struct nap_container *container, bool done) {
    struct nap_pool *pool = container->pool;
    nap_container_out(container);
    pool->working--;
    container->working--;
    if (container->working == 0) container->idle_since_ms = pool->nap->now_ms;
    nap_container_in(container);
    pool->last_used_ms = pool->nap->now_ms;
    if (done && !container->served) {
        container->served = true;
        pool->failures = 0;
    }
    if (nap_container_idle(container) && !nap_container_fresh(container))
        nap_container_stop(container, NAP_REASON_NONE);
}

/* Without this the buffer would be stopped in each short pause, and started again after it. */
static void last_work_over(struct nap_pool *pool) {
    if (pool->limits.buffer_containers == 0 || pool->waiting + pool->working > 0) return;
    LIST_EACH(node, &pool->containers) nap_container_used(CONTAINER_OF(node, struct nap_container, link));
}

void nap_ticket_over(struct nap_ticket *ticket, bool done) {
    struct nap_pool *pool = ticket->pool;
    list_remove(&ticket->link);
    nap_heap_remove(&ticket->timer.node);
    table_remove(pool->nap->tickets, ticket->number);
    if (ticket->container)
        leave_container(ticket->container, done);
    else
        pool->waiting--;
    last_work_over(pool);
    nap_pool_touch(pool);
    free(ticket);
}

void nap_ticket_refuse(struct nap_ticket *ticket, enum nap_reason reason) {
    add_refusal(ticket->pool->nap, ticket->pool, ticket->number, reason);
    nap_ticket_over(ticket, false);
}

void nap_ticket_refuse_waiting(struct nap_pool *pool, enum nap_reason reason) {
    while (!list_empty(&pool->queue))
        nap_ticket_refuse(CONTAINER_OF(pool->queue.next, struct nap_ticket, link), reason);
}

void nap_ticket_due(struct nap_ticket *ticket) {
    const struct nap_pool *pool = ticket->pool;
    if (ticket->container)
        nap_ticket_refuse(ticket, NAP_REASON_TIMEOUT);
    else if (ticket->unripe && ticket->ripe_ms <= pool->nap->now_ms)
        nap_ticket_ripe(ticket);
    else if (pool->up == 0 && nap_group_others_live(pool))
        nap_ticket_refuse(ticket, NAP_REASON_BUSY_GROUP);
    else
        nap_ticket_refuse(ticket, NAP_REASON_WAITED_TOO_LONG);
}
