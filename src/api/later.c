/* An answer that waits for somebody's word: a commit, a room above. The word comes once, whatever becomes of
 * the client meanwhile, and finds out here whether anybody still wants to hear of it. */
#include "inside.h"

#include <stdlib.h>

struct later {
    struct http_exchange *exchange; /* NULL: the client is gone */
};

static void on_gone(struct http_exchange *exchange) {
    struct later *later = http_exchange_owner(exchange);
    later->exchange = NULL;
    http_exchange_release(exchange);
}

struct later *later_new(struct http_exchange *exchange) {
    struct later *later = NEW(struct later);
    later->exchange = exchange;
    http_exchange_owner_set(exchange, later);
    http_exchange_on_gone(exchange, on_gone);
    return later;
}

void later_answer(struct later *later, struct error *taken_error, json_t *taken_json) {
    scoped(error) struct error *error = taken_error;
    scoped_json json_t *json = taken_json;
    struct http_exchange *exchange = later->exchange;
    free(later);
    if (!exchange) return;
    if (error)
        http_respond_error(exchange, take(error));
    else
        http_respond_json(exchange, 200, take(json));
}
