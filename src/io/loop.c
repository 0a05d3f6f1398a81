/* The loop, and what is put off to its next round.
 *
 * Deferred work runs from a prepare handle, once per round, only what was there when the round began, so that
 * work which defers itself again can't keep I/O from its turn. An idle handle keeps the loop from waiting
 * meanwhile; both are stopped when there is nothing, so an idle loop is never woken. */
#include "inside.h"

#include <assert.h>
#include <stdlib.h>

struct deferred {
    struct list entry;
    void (*run)(void *owner);
    void *owner;
};

static void on_idle(uv_idle_t *idle) {
    (void)idle;
}

static void on_prepare(uv_prepare_t *prepare) {
    struct io_loop *loop = prepare->data;
    struct list round;
    list_init(&round);
    while (!list_empty(&loop->deferred)) {
        struct list *first = loop->deferred.next;
        list_remove(first);
        list_append(&round, first);
    }
    while (!list_empty(&round)) {
        struct deferred *deferred = CONTAINER_OF(round.next, struct deferred, entry);
        list_remove(&deferred->entry);
        deferred->run(deferred->owner);
        free(deferred);
    }
    if (!list_empty(&loop->deferred)) return;
    uv_idle_stop(&loop->idle);
    uv_prepare_stop(&loop->prepare);
}

void io_defer(struct io_loop *loop, void (*run)(void *owner), void *owner) {
    struct deferred *deferred = NEW(struct deferred);
    deferred->run = run;
    deferred->owner = owner;
    if (list_empty(&loop->deferred)) {
        uv_idle_start(&loop->idle, on_idle);
        uv_prepare_start(&loop->prepare, on_prepare);
    }
    list_append(&loop->deferred, &deferred->entry);
}

struct io_loop *io_loop_new(void) {
    struct io_loop *loop = NEW(struct io_loop);
    list_init(&loop->deferred);
    if (uv_loop_init(&loop->uv) != 0) abort();
    uv_idle_init(&loop->uv, &loop->idle);
    uv_prepare_init(&loop->uv, &loop->prepare);
    loop->prepare.data = loop;
    return loop;
}

void io_loop_run(struct io_loop *loop) {
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}
void io_loop_stop(struct io_loop *loop) {
    uv_stop(&loop->uv);
}

void io_loop_free(struct io_loop *loop) {
    if (!loop) return;
    doors_free(loop->doors);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    /* What is being closed closes. More than one round: a stop that nobody waited for ends the first. */
    while (uv_loop_alive(&loop->uv)) uv_run(&loop->uv, UV_RUN_DEFAULT);
    while (!list_empty(&loop->deferred)) {
        struct list *first = loop->deferred.next;
        list_remove(first);
        free(CONTAINER_OF(first, struct deferred, entry));
    }
    int left = uv_loop_close(&loop->uv);
    assert(left == 0); /* something made on the loop was not freed before it */
    (void)left;
    free(loop);
}

int64_t io_now_ms(const struct io_loop *loop) {
    return (int64_t)uv_now(&loop->uv);
}
void *io_loop_uv(struct io_loop *loop) {
    return &loop->uv;
}
