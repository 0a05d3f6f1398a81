/* GET /v1/events: `ps` as a line of JSON, at once and then whenever it is another, at most every 200 ms.
 *
 * The pool is looked at only while somebody listens; without listeners there is no timer. To a browser's
 * EventSource the lines come as its events. */
#include "inside.h"

#include <stdlib.h>

#define LOOK_EVERY_MS 200

struct listener {
    struct list node;
    struct api *api;
    struct http_exchange *exchange;
    bool choked;       /* misses what comes; gets the newest when it is drained */
    bool event_source; /* "data: LINE\n\n" */
};

static void send(struct listener *listener) {
    const struct text *line = &listener->api->events_last;
    scoped_text struct text out = {0};
    if (listener->event_source) text_add_string(&out, "data: ");
    text_add(&out, text_span(line));
    text_add_string(&out, listener->event_source ? "\n\n" : "\n");
    listener->choked = !http_respond_write(listener->exchange, text_span(&out));
}

/* True: it is another than before. */
static bool look(struct api *api) {
    scoped_json json_t *json = ps_all(api);
    scoped_string char *line = json_dumps(json, JSON_COMPACT);
    if (!line) abort(); /* out of memory */
    if (span_is(text_span(&api->events_last), line)) return false;
    text_clear(&api->events_last);
    text_add_string(&api->events_last, line);
    return true;
}

static void on_time(void *owner) {
    struct api *api = owner;
    if (look(api)) {
        LIST_EACH_SAFE(node, next, &api->listeners) {
            struct listener *listener = CONTAINER_OF(node, struct listener, node);
            if (!listener->choked) send(listener);
        }
    }
    if (!list_empty(&api->listeners)) io_timer_arm(api->events_timer, LOOK_EVERY_MS);
}

static void listener_free(struct listener *listener) {
    struct api *api = listener->api;
    list_remove(&listener->node);
    api->streams--;
    free(listener);
    if (list_empty(&api->listeners)) io_timer_free(take(api->events_timer));
}

static void on_gone(struct http_exchange *exchange) {
    listener_free(http_exchange_owner(exchange));
    http_exchange_release(exchange);
}

static void on_drained(struct http_exchange *exchange) {
    struct listener *listener = http_exchange_owner(exchange);
    if (listener->choked) send(listener);
}

void events_handle(struct api *api, struct http_exchange *exchange) {
    if (api->streams >= API_STREAMS_MAX) {
        http_respond_error(exchange, error_new(ERROR_RESOURCE_EXHAUSTED,
                                               "%d listen already; at most that many", API_STREAMS_MAX));
        return;
    }
    struct listener *listener = NEW(struct listener);
    *listener = (struct listener){.api = api, .exchange = exchange};
    listener->event_source = http_head_lists(http_exchange_head(exchange), "Accept", "text/event-stream");
    list_append(&api->listeners, &listener->node);
    api->streams++;
    const char *const fields[] = {"Content-Type",
                                  listener->event_source ? "text/event-stream" : "application/x-ndjson",
                                  "Cache-Control", "no-store", NULL};
    http_exchange_owner_set(exchange, listener);
    http_exchange_on_gone(exchange, on_gone);
    http_respond_begin(exchange, 200, fields, -1);
    http_respond_on_drained(exchange, on_drained);
    if (!api->events_timer) api->events_timer = io_timer_new(api->loop, on_time, api);
    if (!io_timer_armed(api->events_timer)) io_timer_arm(api->events_timer, LOOK_EVERY_MS);
    look(api); /* the others see it a moment later, at their next look */
    send(listener);
}

void events_forget(struct api *api) {
    LIST_EACH_SAFE(node, next, &api->listeners) {
        struct listener *listener = CONTAINER_OF(node, struct listener, node);
        struct http_exchange *exchange = listener->exchange;
        listener_free(listener);
        http_exchange_on_gone(exchange, NULL);
        http_respond_end(exchange);
    }
}
