/* One-shot timers. The delay counts from now, not from the start of the loop's round. */
#include "inside.h"

#include <stdlib.h>

struct io_timer {
    uv_timer_t uv;
    void (*fire)(void *owner);
    void *owner;
};

struct io_timer *io_timer_new(struct io_loop *loop, void (*fire)(void *owner), void *owner) {
    struct io_timer *timer = NEW(struct io_timer);
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->fire = fire;
    timer->owner = owner;
    return timer;
}

static void on_timer(uv_timer_t *uv) {
    struct io_timer *timer = uv->data;
    timer->fire(timer->owner);
}

void io_timer_arm(struct io_timer *timer, int64_t delay_ms) {
    int64_t late_ms = clock_monotonic_ms() - (int64_t)uv_now(timer->uv.loop);
    if (delay_ms < 0) delay_ms = 0;
    uv_timer_start(&timer->uv, on_timer, (uint64_t)(delay_ms + (late_ms > 0 ? late_ms : 0)), 0);
}

void io_timer_stop(struct io_timer *timer) {
    uv_timer_stop(&timer->uv);
}
bool io_timer_armed(const struct io_timer *timer) {
    return uv_is_active((const uv_handle_t *)&timer->uv);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

void io_timer_free(struct io_timer *timer) {
    if (timer) uv_close((uv_handle_t *)&timer->uv, on_closed);
}
