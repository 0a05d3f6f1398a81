/* What the files of the gateway share: the request on its way, and the connections to containers. */
#pragma once
#include "gateway.h"

#define FIELDS_MAX 220 /* what http lets through, and ours */

struct gateway {
    struct io_loop *loop;
    struct pool *pool;
    struct http_server *server;
    struct http_client *client;
    struct tls *tls;
    bool (*token_good)(void *owner, struct span id, struct span secret);
    void *token_owner;
    uint64_t body_bytes;
    int64_t keepalive_ms;
    char *address; /* of the published ports; NULL before gateway_listen */
    uint16_t port;
    struct list ports;    /* struct port */
    struct list requests; /* struct request */
    struct table *kept;   /* container -> struct shelf */
    struct gateway_counters counters;
    void (*runner)(void *owner, struct http_exchange *exchange, struct pool_function *function);
    void *runner_owner;
    void (*closed)(void *owner);
    void *closed_owner;
};

struct port { /* a published one */
    struct list node;
    uint16_t number;
    char *trouble; /* NULL: open */
    bool wanted;
};

enum timer_use { TIMER_UNUSED, TIMER_CONTINUE, TIMER_KEEPALIVE, TIMER_REASON, TIMER_LINGER, TIMER_AGAIN };

/* One exchange on its way. It has a ticket until the slot is given back, an upstream while it is forwarded.
 */
struct request {
    struct gateway *gateway;
    struct list node;
    struct http_exchange *exchange;
    struct pool_ticket *ticket;
    struct upstream *upstream;
    struct io_timer *timer; /* made when first needed: most requests need none */
    enum timer_use timer_use;
    struct error *broken; /* how the container's connection ended, while the pool is expected to know more */
    uint64_t body_bytes;
    unsigned attempts;
    bool body_started, body_ended, upgraded, begun;
    bool sent;      /* on a connection that ended: the container may have seen it */
    bool comments;  /* asked to be kept awake by comments */
    bool commented; /* and was: the head of an event stream is out */
};

struct upstream {
    struct http_link *link;
    struct list node; /* on a shelf */
    struct gateway *gateway;
    struct request *request; /* NULL: kept */
    uint64_t container;
    int64_t kept_since_ms;
};

/* gateway.c */
struct pool_function *gateway_function_of(struct gateway *gateway, const struct http_exchange *exchange);

/* token.c */
/* True: who asks may. Else it was answered. */
bool token_check(const struct gateway *gateway, struct http_exchange *exchange,
                 const struct core_function *function);

/* request.c */
void request_start(struct gateway *gateway, struct http_exchange *exchange, struct pool_function *function);
void request_timer(struct request *request, enum timer_use use, int64_t delay_ms);
/* No connection to the container. */
void request_unreachable(struct request *request, struct error *taken_why);
void request_broke(struct request *request,
                   struct error *taken_why); /* sent, and no whole answer will come */
void request_end(struct request *request);   /* the exchange was ended; gives back slot and memory */
void request_cancel(struct request *request);

/* forward.c */
void forward_start(struct request *request);
void forward_body(
    struct request *request); /* reads the client's body now, whether or not it waited for 100 */

/* upstream.c */
/* A kept connection, or a new one. `replayable`: the request may be sent again where a kept one turns out to
 * be dead. */
must_check struct error *upstream_take(struct request *request, bool replayable,
                                       struct upstream **ret_upstream);
void upstream_keep(struct upstream *upstream);
void upstream_free(struct upstream *upstream);
void upstream_free_kept(struct gateway *gateway);
size_t upstream_count_kept(const struct gateway *gateway);
extern const struct http_link_events upstream_events;
/* forward.c: what a link at work tells */
void forward_head(struct request *request, const struct http_head *head);
void forward_data(struct request *request, struct span bytes);
void forward_end(struct request *request, struct error *taken_error);
void forward_drained(struct request *request);

/* fields.c */
size_t fields_upstream(struct http_exchange *exchange, struct http_field fields[FIELDS_MAX]);
size_t fields_downstream(const struct http_head *head, struct http_field fields[FIELDS_MAX]);

/* answer.c: our own answers */
struct refusal {
    int status;
    const char *code, *reason; /* code: name of an error code; reason: what of the pool's, or of ours */
    const char *text;
    int64_t retry_ms; /* 0: no Retry-After */
};
void answer_refusal(struct http_exchange *exchange, const struct refusal *refusal);
struct refusal answer_of_pool(const struct pool_refusal *refusal);
void answer_unknown_host(struct http_exchange *exchange);
bool answer_is_navigation(
    const struct http_exchange *exchange); /* a browser that shows what it gets as a page */

/* page.c: texts owned by the caller */
char *page_waking(const struct core_function *function, const struct pool_function_view *view);
char *page_refusal(const struct refusal *refusal);
