/* Connections to containers: made by the pool, kept on one shelf a container, the last one used first, so
 * that those not needed grow old and go. The other side may close a kept one at the moment in which we send
 * on it. Then a request that may be sent twice is; one that may not (it has effects, or a body that is gone)
 * gets a connection that was in use a moment ago, or a new one. */
#include "inside.h"

#include <stdlib.h>

#define SHELF_MAX 1024
#define FRESH_MS \
    1000 /* common servers close after 5 s without a request; a frozen container sees that late */

struct shelf {
    struct list upstreams;
    size_t count;
};

static void shelf_leave(struct upstream *upstream) {
    struct shelf *shelf = table_get(upstream->gateway->kept, upstream->container);
    list_remove(&upstream->node);
    upstream->gateway->counters.kept--;
    if (--shelf->count > 0) return;
    table_remove(upstream->gateway->kept, upstream->container);
    free(shelf);
}

struct error *upstream_take(struct request *request, bool replayable, struct upstream **ret_upstream) {
    struct gateway *gateway = request->gateway;
    uint64_t container = pool_ticket_container(request->ticket);
    struct shelf *shelf = table_get(gateway->kept, container);
    struct upstream *upstream = shelf ? CONTAINER_OF(shelf->upstreams.next, struct upstream, node) : NULL;
    if (upstream && (replayable || io_now_ms(gateway->loop) - upstream->kept_since_ms < FRESH_MS)) {
        shelf_leave(upstream);
    } else {
        int fd = -1;
        TRY_PLAIN(pool_ticket_connect(request->ticket, &fd));
        upstream = NEW(struct upstream);
        list_init(&upstream->node);
        upstream->gateway = gateway;
        upstream->container = container;
        struct error *error = http_link_new(gateway->client, fd, &upstream_events, &upstream->link);
        if (error) {
            free(upstream);
            return error;
        }
        http_link_owner_set(upstream->link, upstream);
    }
    upstream->request = request;
    *ret_upstream = upstream;
    return NULL;
}

void upstream_keep(struct upstream *upstream) {
    struct gateway *gateway = upstream->gateway;
    struct shelf *shelf = table_get(gateway->kept, upstream->container);
    if (shelf && shelf->count >= SHELF_MAX) {
        upstream_free(upstream);
        return;
    }
    if (!shelf) {
        shelf = NEW(struct shelf);
        list_init(&shelf->upstreams);
        table_put(gateway->kept, upstream->container, shelf);
    }
    upstream->request = NULL;
    upstream->kept_since_ms = io_now_ms(gateway->loop);
    list_append(shelf->upstreams.next,
                &upstream->node); /* before the first: that is where upstream_take looks */
    shelf->count++;
    gateway->counters.kept++;
}

void upstream_free(struct upstream *upstream) {
    if (!upstream) return;
    if (!upstream->request) shelf_leave(upstream);
    http_link_free(upstream->link);
    free(upstream);
}

void upstream_free_kept(struct gateway *gateway) {
    for (;;) {
        size_t i = 0;
        uint64_t container;
        void *value;
        if (!table_next(gateway->kept, &i, &container, &value)) return;
        struct shelf *shelf = value;
        upstream_free(CONTAINER_OF(shelf->upstreams.next, struct upstream, node));
    }
}

static void on_head(void *owner, struct http_link *link, const struct http_head *head) {
    (void)link;
    forward_head(((struct upstream *)owner)->request, head);
}

static void on_data(void *owner, struct http_link *link, struct span bytes) {
    (void)link;
    forward_data(((struct upstream *)owner)->request, bytes);
}

static void on_end(void *owner, struct http_link *link, struct error *error) {
    (void)link;
    forward_end(((struct upstream *)owner)->request, error);
}

static void on_drained(void *owner, struct http_link *link) {
    (void)link;
    struct request *request = ((struct upstream *)owner)->request;
    if (request) forward_drained(request);
}

static void on_lost(void *owner, struct http_link *link) {
    (void)link;
    struct upstream *upstream = owner;
    if (!upstream->request) upstream_free(upstream);
}

const struct http_link_events upstream_events = {
    .head = on_head, .data = on_data, .end = on_end, .drained = on_drained, .lost = on_lost};
