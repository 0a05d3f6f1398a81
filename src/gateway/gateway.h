/* gateway: from a host name or a port to a function, and through it.
 *
 * Takes a client's request, finds its function, holds it by a ticket of the pool while the function wakes,
 * then carries head and body to a container and the answer back, as they come, with backpressure both ways.
 * The client's end cancels the work.
 *
 * What a client sees besides the app's own answers:
 *   401  the function asks for a proxy's token (Modal-Key and Modal-Secret, or Bearer ID.SECRET)
 *   404  no function has this host name             413  the body is over the limit
 *   502  the container died or answered no HTTP     503  the queue is full, the app can't start or is stopped
 * (Retry-After) 504  it did not start, or answer, in time as {"error", "code", "reason"}, as text, or as a
 * page, by Accept. A browser's navigation to a sleeping app gets a page that shows how far the wake is and
 * reloads itself. `Catnap-Keepalive: comments` beside `Accept: text/event-stream` asks for comment lines
 * every 15 s while the app wakes, for clients and proxies that give up on a silent connection; everybody else
 * is held.
 *
 * X-Forwarded-For, -Proto and -Host are ours. What a client sends under these names is believed only if it
 * comes from this machine (a TLS proxy in front, say). */
#pragma once
#include "http.h"
#include "pool.h"

struct gateway;
struct gateway_options {
    struct io_loop *loop;
    struct pool *pool;         /* borrowed; the gateway takes pool_on_publish_changed */
    struct http_limits limits; /* 0 in it: http's own defaults */
    struct tls *tls;           /* borrowed: all its ports speak https; NULL: in the clear */
    /* Whether a proxy's token is good, for functions that ask for one; NULL: none is. */
    bool (*token_good)(void *owner, struct span id, struct span secret);
    void *token_owner;
    uint64_t body_bytes;  /* longest request body; 0: no limit */
    int64_t keepalive_ms; /* between comments; 0: 15 s */
};
struct gateway *gateway_new(const struct gateway_options *options);
/* ADDR:PORT (or a path) where apps answer by host name. Published ports are opened at the same ADDR, now and
 * as they change. */
must_check struct error *gateway_listen(struct gateway *gateway, const char *address);
/* Requests to functions with a runner and without a port are handed over, exchange and all, to a room that
 * knows how to reach them. One; NULL: they are answered 503. The page for browsers while an app wakes stays
 * the gateway's. */
void gateway_on_runner(struct gateway *gateway,
                       void (*request)(void *owner, struct http_exchange *exchange,
                                       struct pool_function *function),
                       void *owner);
/* Said to the gateway and not to apps: the secret of a proxy's token. */
bool gateway_keeps(struct span name, struct span value);
/* What its client sees is https: it came by TLS, or by a proxy of this machine that says so. */
bool gateway_secure(const struct http_exchange *exchange);
uint16_t gateway_port(const struct gateway *gateway); /* of the last gateway_listen; 0: a path */
/* Why a published port is not open; NULL: it is, or nobody asks for it. Borrowed until the ports change. */
const char *gateway_publish_trouble(const struct gateway *gateway, uint16_t port);
/* No new connections; requests at work end, idle connections close; then `closed`. */
void gateway_close(struct gateway *gateway, void (*closed)(void *owner), void *owner);
void gateway_free(struct gateway *gateway); /* cuts what is left; before pool_free */
DEFINE_SCOPED(gateway)

struct gateway_counters {
    uint64_t requests, retried, refused, cancelled;
    size_t connections, active,
        kept; /* now: clients, requests at work or waiting, idle connections to containers */
};
void gateway_counters(const struct gateway *gateway, struct gateway_counters *ret_counters);
