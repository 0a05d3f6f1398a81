/* The journey of a request around its forwarding: ticket, wait, grant or refusal, and the one way out.
 *
 *   arrived --ticket--> waiting --granted--> forwarded --whole--> ended
 *      `--page, 404, 413     |  `--refused--> answered     `--broke--> (the pool knows why, or soon) --> 502
 *                            `--client gone: ticket cancelled
 * What was never sent, because the container can't be reached, takes another ticket, three times at most. */
#include "inside.h"

#include <stdlib.h>

#define ATTEMPTS_MAX 3
#define REASON_MS 500 /* from the end of the connection until the pool knows of the container's */
#define AGAIN_MS 200  /* from a refused connection to the next try, unless the pool knows better before */

static void wait_for_slot(struct request *request, struct pool_function *function);
static void again(struct request *request);

/* ---- the one way out ---- */

void request_end(struct request *request) {
    if (request->ticket) pool_ticket_done(take(request->ticket));
    if (request->upstream) upstream_free(take(request->upstream));
    request->gateway->counters.active--;
    list_remove(&request->node);
    io_timer_free(request->timer);
    error_free(request->broken);
    free(request);
}

void request_cancel(struct request *request) {
    request->gateway->counters.cancelled += !request->upgraded;
    http_exchange_release(request->exchange);
    request_end(request);
}

static void on_gone(struct http_exchange *exchange) {
    request_cancel(http_exchange_owner(exchange));
}

/* What a client may still be told depends on what it got already. */
static void refuse(struct request *request, const struct refusal *refusal) {
    request->gateway->counters.refused++;
    if (request->begun) {
        http_respond_abort(request->exchange);
    } else if (request->commented) {
        scoped_text struct text event = {0};
        text_add_string(&event, "event: error\ndata: {\"error\":");
        text_add_json(&event, span_of(refusal->text));
        text_printf(&event, ",\"code\":\"%s\",\"status\":%d}\n\n", refusal->code, refusal->status);
        http_respond_write(request->exchange, text_span(&event));
        http_respond_end(request->exchange);
    } else {
        answer_refusal(request->exchange, refusal);
    }
    request_end(request);
}

/* ---- timers ---- */

static void on_timer(void *owner) {
    struct request *request = owner;
    switch (request->timer_use) {
    case TIMER_UNUSED: break;
    case TIMER_CONTINUE: forward_body(request); break;
    case TIMER_KEEPALIVE:
        if (!request->commented) {
            static const char *const fields[] = {"Content-Type", "text/event-stream", "Cache-Control",
                                                 "no-cache", NULL};
            request->commented = true;
            http_respond_begin(request->exchange, 200, fields, HTTP_CHUNKED);
        }
        http_respond_write(request->exchange, SPAN(": waking\n\n"));
        io_timer_arm(request->timer, request->gateway->keepalive_ms);
        break;
    case TIMER_LINGER: request_cancel(request); break;
    case TIMER_AGAIN: again(request); break;
    case TIMER_REASON: {
        scoped_string char *text = error_text(request->broken);
        refuse(request, &(struct refusal){502, "UNAVAILABLE", "CONTAINER_BROKE", text, 0});
        break;
    }
    }
}

void request_timer(struct request *request, enum timer_use use, int64_t delay_ms) {
    request->timer_use = use;
    if (use == TIMER_UNUSED) {
        if (request->timer) io_timer_stop(request->timer);
        return;
    }
    if (!request->timer) request->timer = io_timer_new(request->gateway->loop, on_timer, request);
    io_timer_arm(request->timer, delay_ms);
}

/* ---- slots ---- */

static void on_granted(void *owner, struct pool_ticket *ticket) {
    (void)ticket;
    struct request *request = owner;
    if (request->timer_use == TIMER_KEEPALIVE) request_timer(request, TIMER_UNUSED, 0);
    forward_start(request);
}

/* Also after the grant: then the slot is gone, with whatever was at work in it. */
static void on_refused(void *owner, struct pool_ticket *ticket, const struct pool_refusal *told) {
    (void)ticket;
    struct request *request = owner;
    request->ticket = NULL;
    if (request->timer_use == TIMER_AGAIN && told->reason == NAP_REASON_CONTAINER_DIED) {
        again(request);
        return;
    }
    struct refusal refusal = answer_of_pool(told);
    refuse(request, &refusal);
}

static const struct pool_ticket_events ticket_events = {.granted = on_granted, .refused = on_refused};

static void wait_for_slot(struct request *request, struct pool_function *function) {
    request->ticket = pool_ticket_new(function, 0, &ticket_events, request);
    if (pool_ticket_container(request->ticket)) {
        forward_start(request);
    } else if (request->comments && request->timer_use == TIMER_UNUSED) {
        request_timer(request, TIMER_KEEPALIVE, request->gateway->keepalive_ms);
    }
}

/* Another slot for what was never sent. */
static void again(struct request *request) {
    struct gateway *gateway = request->gateway;
    struct error *why = take(request->broken);
    request_timer(request, TIMER_UNUSED, 0);
    if (request->ticket) pool_ticket_done(take(request->ticket));
    struct pool_function *function = gateway_function_of(gateway, request->exchange);
    if (!function || ++request->attempts >= ATTEMPTS_MAX) {
        scoped_string char *text = error_text(why);
        error_free(why);
        refuse(request, &(struct refusal){502, "UNAVAILABLE", "CONTAINER_UNREACHABLE", text, 0});
        return;
    }
    error_free(why);
    gateway->counters.retried++;
    wait_for_slot(request, function);
}

void request_unreachable(struct request *request, struct error *why) {
    if (request->sent) {
        request_broke(request, why);
        return;
    }
    /* Most likely it is ending, and the pool hears of it in a moment: until then its slot is no better taken
     * again. */
    request->broken = why;
    request_timer(request, TIMER_AGAIN, AGAIN_MS);
}

void request_broke(struct request *request, struct error *why) {
    if (request->begun) {
        error_free(why);
        refuse(request, &(struct refusal){502, "UNAVAILABLE", "CONTAINER_BROKE", "", 0});
        return;
    }
    request->broken = why;
    if (why->code == ERROR_INVALID_ARGUMENT) {
        scoped_string char *text = error_text(why);
        refuse(request, &(struct refusal){502, "UNAVAILABLE", "NO_HTTP", text, 0});
        return;
    }
    /* If the container ended the pool hears of it in a moment, and with it of exit code and last words. */
    request_timer(request, TIMER_REASON, REASON_MS);
}

/* ---- arrival ---- */

static bool wants_comments(const struct http_head *head) {
    return span_is_nocase(http_head_field(head, "catnap-keepalive"), "comments") &&
           http_head_lists(head, "accept", "text/event-stream");
}

/* A person who looks at a browser sees what goes on; the wake is begun, but not held by this request. */
static bool show_page(struct gateway *gateway, struct http_exchange *exchange,
                      struct pool_function *function) {
    if (!answer_is_navigation(exchange)) return false;
    struct pool_function_view view;
    pool_function_view(function, &view);
    if (view.stopped ||
        (view.state != NAP_ASLEEP && view.state != NAP_PRIMED_STATE && view.state != NAP_STARTING))
        return false;
    const struct core_function *spec = pool_function_spec(function);
    scoped_string char *page = page_waking(spec, &view);
    if (view.state != NAP_STARTING) {
        struct error *error = pool_app_command(gateway->pool, spec->app, spec->name, POOL_WAKE);
        if (error) {
            http_respond_error(exchange, error);
            return true;
        }
    }
    static const char *const fields[] = {
        "Content-Type", "text/html; charset=utf-8", "Cache-Control", "no-store", "Retry-After", "2", NULL};
    http_respond(exchange, 503, fields, span_of(page));
    return true;
}

static void hand_over(struct gateway *gateway, struct http_exchange *exchange,
                      struct pool_function *function) {
    if (gateway->runner) {
        gateway->runner(gateway->runner_owner, exchange, function);
        return;
    }
    answer_refusal(exchange, &(struct refusal){503, "UNAVAILABLE", "NO_RUNNER",
                                               "this catnap serves no functions that need a runner", 0});
}

void request_start(struct gateway *gateway, struct http_exchange *exchange, struct pool_function *function) {
    const struct http_head *head = http_exchange_head(exchange);
    if (gateway->body_bytes > 0 && head->length_bytes > 0 &&
        (uint64_t)head->length_bytes > gateway->body_bytes) {
        answer_refusal(exchange, &(struct refusal){413, "OUT_OF_RANGE", "BODY_TOO_LARGE",
                                                   "the body is over the limit", 0});
        return;
    }
    if (show_page(gateway, exchange, function)) return;
    const struct core_function *spec = pool_function_spec(function);
    if (spec->runner && spec->port == 0) {
        hand_over(gateway, exchange, function);
        return;
    }
    struct request *request = NEW(struct request);
    request->gateway = gateway;
    request->exchange = exchange;
    request->comments = wants_comments(head);
    gateway->counters.active++;
    list_append(&gateway->requests, &request->node);
    http_exchange_owner_set(exchange, request);
    http_exchange_on_gone(exchange, on_gone);
    wait_for_slot(request, function);
}
