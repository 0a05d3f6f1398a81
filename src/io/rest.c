/* rest: told when the loop has come to rest. Without a timer that goes on and on: it is armed by what
 * happens, and a loop in which nothing happens is not woken by it again. */
#include "inside.h"

#include <stdlib.h>

struct io_rest {
    uv_check_t check;
    uv_timer_t timer;
    uint64_t delay_ms, rounds;
    unsigned open;
    void (*fire)(void *owner);
    void *owner;
};

/* Rounds are counted after the wait, and the timer's own wait is one. */
static void on_timer(uv_timer_t *timer) {
    struct io_rest *rest = timer->data;
    bool busy = rest->rounds > 1;
    rest->rounds = 0;
    if (busy)
        uv_timer_start(timer, on_timer, rest->delay_ms, 0);
    else
        rest->fire(rest->owner);
}

static void on_check(uv_check_t *check) {
    struct io_rest *rest = check->data;
    rest->rounds++;
    if (uv_is_active((const uv_handle_t *)&rest->timer)) return;
    rest->rounds = 0;
    uv_timer_start(&rest->timer, on_timer, rest->delay_ms, 0);
}

struct io_rest *io_rest_new(struct io_loop *loop, int64_t delay_ms, void (*fire)(void *owner), void *owner) {
    struct io_rest *rest = NEW(struct io_rest);
    rest->delay_ms = (uint64_t)delay_ms;
    rest->fire = fire;
    rest->owner = owner;
    rest->open = 2;
    uv_check_init(&loop->uv, &rest->check);
    uv_timer_init(&loop->uv, &rest->timer);
    rest->check.data = rest->timer.data = rest;
    uv_check_start(&rest->check, on_check);
    uv_timer_start(&rest->timer, on_timer, rest->delay_ms, 0);
    return rest;
}

static void on_closed(uv_handle_t *handle) {
    struct io_rest *rest = handle->data;
    if (--rest->open == 0) free(rest);
}

void io_rest_free(struct io_rest *rest) {
    if (!rest) return;
    uv_close((uv_handle_t *)&rest->check, on_closed);
    uv_close((uv_handle_t *)&rest->timer, on_closed);
}
