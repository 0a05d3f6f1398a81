/* Threads of talk that get an answer: what subscriptions ask of it. */
#pragma once
#include "accounts.h"

struct talk_events {
    /* An item of the stream: an object with "__typename" (taken). */
    void (*item)(void *owner, json_t *item);
    /* Once, the last; the error is owned by it. UNAUTHENTICATED and PERMISSION_DENIED have codes of their own
     * in GraphQL. */
    void (*end)(void *owner, struct error *error);
    void *owner;
};
struct talk_options {
    int64_t user;
    bool is_new;             /* createThreadAndRun; else createThreadRun */
    const json_t *arguments; /* of the subscription; borrowed for the call */
    struct talk_events events;
};
struct talk;
/* No callback comes from within. There must be a chat model. */
struct talk *talk_start(struct serve *serve, const struct talk_options *options);
void talk_cancel(struct talk *talk); /* no callback any more; it frees itself */
