/* Tickets: one piece of work's wait for a slot.
 *
 * A ticket is waiting, granted or refused. The caller ends the first two by pool_ticket_done; a refused one
 * ends by being told. */
#include "inside.h"

#include <stdlib.h>

#define EXTRA_WAIT_MS 60000 /* beyond startup_timeout: for a queue before it, or another of its group */

/* What was granted at once is not told. */
static bool granted_at_once(struct pool_ticket *ticket) {
    bool granted = ticket->container && ticket->refused == NAP_REASON_NONE;
    if (granted) list_remove(&ticket->delivery);
    return granted;
}

struct wish { /* NAP_WORK_ARRIVED's */
    int64_t wait_ms, linger_ms;
    uint64_t resumed;
};

static struct pool_ticket *ticket_new(struct pool_function *function, struct wish wish,
                                      const struct pool_ticket_events *events, void *owner) {
    struct pool *pool = function->pool;
    struct pool_ticket *ticket = NEW(struct pool_ticket);
    list_init(&ticket->delivery);
    ticket->pool = pool;
    ticket->function = function;
    ticket->number = ++pool->next_ticket;
    ticket->events = events;
    ticket->owner = owner;
    ticket->made_ms = io_now_ms(pool->loop);
    table_put(pool->tickets, ticket->number, ticket);
    int64_t wait_ms = wish.wait_ms > 0 ? wish.wait_ms : function->spec->startup_timeout_ms + EXTRA_WAIT_MS;
    pool_feed(pool, &(struct nap_event){
                        .kind = NAP_WORK_ARRIVED,
                        .pool = function->number,
                        .ticket = ticket->number,
                        .resumed = wish.resumed,
                        .deadline_ms = ticket->made_ms + wait_ms,
                        .ripe_ms = wish.linger_ms > 0 ? ticket->made_ms + wish.linger_ms : 0,
                    });
    granted_at_once(ticket);
    return ticket;
}

struct pool_ticket *pool_ticket_new(struct pool_function *function, int64_t wait_ms,
                                    const struct pool_ticket_events *events, void *owner) {
    return ticket_new(function, (struct wish){.wait_ms = wait_ms}, events, owner);
}

struct pool_ticket *pool_ticket_new_gathering(struct pool_function *function, int64_t wait_ms,
                                              int64_t linger_ms, const struct pool_ticket_events *events,
                                              void *owner) {
    return ticket_new(function, (struct wish){.wait_ms = wait_ms, .linger_ms = linger_ms}, events, owner);
}

struct pool_ticket *pool_ticket_resume(struct pool_function *function, uint64_t container,
                                       const struct pool_ticket_events *events, void *owner) {
    return ticket_new(function, (struct wish){.resumed = container}, events, owner);
}

bool pool_ticket_ripe(struct pool_ticket *ticket) {
    if (ticket->container || !ticket->number) return false; /* granted or refused: about to be told */
    pool_feed(ticket->pool, &(struct nap_event){.kind = NAP_WORK_RIPE, .ticket = ticket->number});
    return granted_at_once(ticket);
}

void pool_ticket_done(struct pool_ticket *ticket) {
    struct pool *pool = ticket->pool;
    list_remove(&ticket->delivery);
    if (ticket->number) {
        table_remove(pool->tickets, ticket->number);
        enum nap_event_kind kind = ticket->container ? NAP_WORK_DONE : NAP_WORK_CANCELLED;
        pool_feed(pool, &(struct nap_event){.kind = kind, .ticket = ticket->number});
    }
    free(ticket->refusal);
    free(ticket);
}

struct error *pool_ticket_connect(struct pool_ticket *ticket, int *ret_fd) {
    if (!ticket->container) return error_new(ERROR_FAILED_PRECONDITION, "the ticket has no container yet");
    return node_connect(ticket->pool->node, ticket->container, ticket->port, ret_fd);
}

uint64_t pool_ticket_container(const struct pool_ticket *ticket) {
    return ticket->refused == NAP_REASON_NONE ? ticket->container : 0;
}

int64_t pool_ticket_waited_ms(const struct pool_ticket *ticket) {
    return ticket->granted_ms - ticket->made_ms;
}

char *pool_refusal_text(const struct pool_function *function, enum nap_reason reason) {
    if (!function) return mem_string(nap_reason_text(reason));
    const char *name = function->name;
    const char *why = function->failure ? function->failure : "no reason is known";
    double startup_s = (double)function->spec->startup_timeout_ms / 1000.0;
    switch (reason) {
    case NAP_REASON_QUEUE_FULL:
        return mem_printf("%s has %u requests waiting already (its `queue` limit); try again later", name,
                          function->spec->queue_max);
    case NAP_REASON_START_FAILED: return mem_printf("%s could not be started: %s", name, why);
    case NAP_REASON_START_TIMEOUT:
        if (function->spec->readiness == CORE_READY_RUNNER)
            return mem_printf(
                "%s did not become ready within %g s (startup_timeout): its code was still being "
                "imported or set up; `catnap logs %s` has what it said",
                name, startup_s, function->spec->app);
        return mem_printf(
            "%s did not become ready within %g s (startup_timeout): nothing listens on its port %u", name,
            startup_s, function->spec->port);
    case NAP_REASON_BACKOFF:
        return mem_printf("%s failed to start a moment ago and is not tried again yet: %s", name, why);
    case NAP_REASON_CONTAINER_DIED:
        return mem_printf("%s: the container ended while it worked: %s", name, why);
    case NAP_REASON_TIMEOUT:
        return mem_printf("%s: the request took longer than %g s (timeout)", name,
                          (double)function->spec->timeout_ms / 1000.0);
    case NAP_REASON_BUSY_GROUP:
        return mem_printf("%s: another function of its group '%s' is busy", name,
                          function->spec->group ? function->spec->group : "");
    case NAP_REASON_NONE:
    case NAP_REASON_WAITED_TOO_LONG:
    case NAP_REASON_REMOVED:
    case NAP_REASON_STOPPED: break;
    }
    return mem_printf("%s: %s", name, nap_reason_text(reason));
}
