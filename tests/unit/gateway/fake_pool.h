/* A pool without containers: one function, `app`, whose slots are connections to a port of this machine. A
 * test says whether it is awake, and grants or refuses by hand. Stands in for the pool's library by having
 * its names. */
#pragma once
#include "pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct pool_ticket {
    struct list node;
    const struct pool_ticket_events *events;
    void *owner;
    uint64_t container;
};
struct pool_function {
    struct core_function spec;
};
struct pool {
    struct pool_function function;
    struct list tickets;
    enum nap_state state;
    uint64_t container;    /* that grants are for */
    uint16_t port;         /* where it listens */
    uint16_t refused_port; /* not 0: the next connection goes there, and nobody listens */
    int made, done, wakes, connected;
    void (*changed)(void *owner);
    void *changed_owner;
};
static struct pool fake_pool;

static inline struct pool *fake_pool_start(void) {
    fake_pool = (struct pool){.state = NAP_AWAKE, .container = 7};
    fake_pool.function.spec.app = (char *)"app";
    fake_pool.function.spec.name = (char *)"serve";
    list_init(&fake_pool.tickets);
    return &fake_pool;
}

/* All that wait get their slot. */
static inline void fake_pool_wake(void) {
    fake_pool.state = NAP_AWAKE;
    LIST_EACH_SAFE(node, next, &fake_pool.tickets) {
        struct pool_ticket *ticket = CONTAINER_OF(node, struct pool_ticket, node);
        if (ticket->container) continue;
        ticket->container = fake_pool.container;
        ticket->events->granted(ticket->owner, ticket);
    }
}

/* All tickets end, at work or not. */
static inline void fake_pool_refuse(enum nap_reason reason, const char *text, int64_t retry_ms) {
    LIST_EACH_SAFE(node, next, &fake_pool.tickets) {
        struct pool_ticket *ticket = CONTAINER_OF(node, struct pool_ticket, node);
        list_remove(&ticket->node);
        ticket->events->refused(ticket->owner, ticket, &(struct pool_refusal){reason, retry_ms, text});
        free(ticket);
    }
}

static inline size_t fake_pool_waiting(void) {
    size_t count = 0;
    LIST_EACH(node, &fake_pool.tickets) count++;
    return count;
}

struct pool_function *pool_function_by_host(struct pool *pool, struct span host) {
    return span_starts(host, "app.") ? &pool->function : NULL;
}
struct pool_function *pool_function_by_publish(struct pool *pool, uint16_t port) {
    return port == pool->function.spec.publish ? &pool->function : NULL;
}
const struct core_function *pool_function_spec(const struct pool_function *function) {
    return &function->spec;
}
void pool_on_publish_changed(struct pool *pool, void (*changed)(void *owner), void *owner) {
    pool->changed = changed;
    pool->changed_owner = owner;
}
void pool_on_publish_check(struct pool *pool, struct error *(*check)(void *owner, uint16_t port),
                           void *owner) {
    (void)pool;
    (void)check;
    (void)owner;
}
struct pool_function *pool_function_next(struct pool *pool, size_t *i) {
    return (*i)++ == 0 ? &pool->function : NULL;
}
void pool_function_view(struct pool_function *function, struct pool_function_view *ret_view) {
    (void)function;
    *ret_view =
        (struct pool_function_view){.state = fake_pool.state, .estimate_ms = 1500, .stage = "mounting"};
}
struct error *pool_app_command(struct pool *pool, const char *app, const char *function,
                               enum pool_verb verb) {
    (void)app;
    (void)function;
    (void)verb;
    pool->wakes++;
    return NULL;
}
struct pool_ticket *pool_ticket_new(struct pool_function *function, int64_t wait_ms,
                                    const struct pool_ticket_events *events, void *owner) {
    (void)function;
    (void)wait_ms;
    struct pool_ticket *ticket = NEW(struct pool_ticket);
    *ticket = (struct pool_ticket){.events = events, .owner = owner};
    if (fake_pool.state == NAP_AWAKE) ticket->container = fake_pool.container;
    list_append(&fake_pool.tickets, &ticket->node);
    fake_pool.made++;
    return ticket;
}
void pool_ticket_done(struct pool_ticket *ticket) {
    list_remove(&ticket->node);
    free(ticket);
    fake_pool.done++;
}
struct error *pool_ticket_connect(struct pool_ticket *ticket, int *ret_fd) {
    (void)ticket;
    uint16_t port = fake_pool.refused_port ? fake_pool.refused_port : fake_pool.port;
    fake_pool.refused_port = 0;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int why = errno;
        close(fd);
        return error_errno(why, "connect to the container");
    }
    fake_pool.connected++;
    *ret_fd = fd;
    return NULL;
}
uint64_t pool_ticket_container(const struct pool_ticket *ticket) {
    return ticket->container;
}
int64_t pool_ticket_waited_ms(const struct pool_ticket *ticket) {
    (void)ticket;
    return 0;
}
