/* The shared part of many connections: see hub.h. The list is worked off in a prepare handle, which libuv
 * runs right before it sleeps: no system call is spent on deferring. Who adds to it after that (another
 * room's prepare handle) makes the loop go round once more. Lives until its last wire has let go. */
#include "hub.h"
#include "wire.h"

#include <stdlib.h>
#include <time.h>

static void on_idle(uv_idle_t *idle) {
    uv_idle_stop(idle);
}

static void on_prepare(uv_prepare_t *prepare) {
    struct hub *hub = prepare->data;
    while (!list_empty(&hub->dirty)) {
        struct list *node = hub->dirty.next;
        list_remove(node);
        wire_settle(CONTAINER_OF(node, struct wire, dirty));
    }
    hub->settled = true;
}

static void arm(struct hub *hub);

static void on_timer(uv_timer_t *timer) {
    struct hub *hub = timer->data;
    int64_t now_ms = io_now_ms(hub->io);
    hub->timer_at_ms = INT64_MAX;
    for (int kind = WAIT_NONE + 1; kind < WAIT_KINDS; kind++) {
        while (!list_empty(&hub->waits[kind])) {
            struct hub_waiter *waiter = CONTAINER_OF(hub->waits[kind].next, struct hub_waiter, node);
            if (waiter->deadline_ms > now_ms) break;
            hub_wait_stop(waiter);
            waiter->expired(waiter, (enum hub_wait)kind);
        }
    }
    arm(hub);
}

/* The timer is never moved to a later time: it fires, finds nothing due and looks again. That costs one round
 * per timeout, not one timer operation per request. */
static void arm(struct hub *hub) {
    int64_t first_ms = INT64_MAX;
    for (int kind = WAIT_NONE + 1; kind < WAIT_KINDS; kind++) {
        if (list_empty(&hub->waits[kind])) continue;
        const struct hub_waiter *waiter = CONTAINER_OF(hub->waits[kind].next, struct hub_waiter, node);
        if (waiter->deadline_ms < first_ms) first_ms = waiter->deadline_ms;
    }
    if (first_ms == INT64_MAX || first_ms >= hub->timer_at_ms) return;
    int64_t now_ms = io_now_ms(hub->io);
    hub->timer_at_ms = first_ms;
    uv_timer_start(hub->timer, on_timer, first_ms > now_ms ? (uint64_t)(first_ms - now_ms) : 0, 0);
}

struct hub *hub_new(struct io_loop *loop) {
    struct hub *hub = NEW(struct hub);
    hub->io = loop;
    hub->uv = io_loop_uv(loop);
    hub->references = 1;
    hub->timer_at_ms = INT64_MAX;
    hub->scratch = mem_new(HUB_SCRATCH_BYTES);
    list_init(&hub->dirty);
    static const int64_t usual_ms[WAIT_KINDS] = {[WAIT_HEAD] = 30000,
                                                 [WAIT_IDLE] = 75000,
                                                 [WAIT_BODY] = 60000,
                                                 [WAIT_WRITE] = 60000,
                                                 [WAIT_LINGER] = 2000};
    for (int kind = 0; kind < WAIT_KINDS; kind++) {
        list_init(&hub->waits[kind]);
        hub->wait_ms[kind] = usual_ms[kind];
    }
    hub->prepare = NEW(uv_prepare_t);
    hub->idle = NEW(uv_idle_t);
    hub->timer = NEW(uv_timer_t);
    uv_prepare_init(hub->uv, hub->prepare);
    uv_idle_init(hub->uv, hub->idle);
    uv_timer_init(hub->uv, hub->timer);
    hub->prepare->data = hub->idle->data = hub->timer->data = hub;
    uv_prepare_start(hub->prepare, on_prepare);
    uv_unref((uv_handle_t *)hub->prepare);
    uv_unref((uv_handle_t *)hub->timer);
    return hub;
}

struct hub *hub_ref(struct hub *hub) {
    hub->references++;
    return hub;
}

static void on_handle_closed(uv_handle_t *handle) {
    free(handle);
}

void hub_unref(struct hub *hub) {
    if (!hub || --hub->references > 0) return;
    uv_close((uv_handle_t *)hub->prepare, on_handle_closed);
    uv_close((uv_handle_t *)hub->idle, on_handle_closed);
    uv_close((uv_handle_t *)hub->timer, on_handle_closed);
    for (unsigned i = 0; i < hub->spares; i++) text_done(&hub->spare[i]);
    free(hub->scratch);
    free(hub);
}

void hub_mark(struct hub *hub, struct list *node) {
    if (!list_empty(node)) return;
    list_append(&hub->dirty, node);
    if (hub->settled) uv_idle_start(hub->idle, on_idle);
}

void hub_wait_start(struct hub *hub, struct hub_waiter *waiter, enum hub_wait kind) {
    list_remove(&waiter->node);
    waiter->kind = kind;
    if (kind == WAIT_NONE) return;
    waiter->deadline_ms = io_now_ms(hub->io) + hub->wait_ms[kind];
    list_append(&hub->waits[kind], &waiter->node);
    if (waiter->deadline_ms < hub->timer_at_ms) arm(hub);
}

void hub_wait_stop(struct hub_waiter *waiter) {
    list_remove(&waiter->node);
    waiter->kind = WAIT_NONE;
}

struct text hub_text_borrow(struct hub *hub) {
    if (hub->spares > 0) return hub->spare[--hub->spares];
    return (struct text){0};
}

void hub_text_return(struct hub *hub, struct text *text) {
    if (text->capacity > 0 && text->capacity <= 16384 && hub->spares < HUB_SPARES) {
        text_clear(text);
        hub->spare[hub->spares++] = *text;
        *text = (struct text){0};
    } else {
        text_done(text);
    }
}

const char *hub_date(struct hub *hub) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == hub->date_s) return hub->date;
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    strftime(hub->date, sizeof hub->date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    hub->date_s = now.tv_sec;
    return hub->date;
}
