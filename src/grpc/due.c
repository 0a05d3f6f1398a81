/* A binary heap of deadlines and its timer: see due.h. The timer is never moved to a later time: it fires,
 * finds nothing due and looks again, which costs one round in a while and no timer operation per call. */
#include "due.h"

#include <stdlib.h>

static void put(struct dues *dues, struct due *due, size_t place) {
    dues->heap[place] = due;
    due->place = place;
}

static void rise(struct dues *dues, struct due *due, size_t place) {
    for (; place > 1 && dues->heap[place / 2]->at_ms > due->at_ms; place /= 2)
        put(dues, dues->heap[place / 2], place);
    put(dues, due, place);
}

static void sink(struct dues *dues, struct due *due, size_t place) {
    for (size_t child; (child = 2 * place) <= dues->count; place = child) {
        if (child < dues->count && dues->heap[child + 1]->at_ms < dues->heap[child]->at_ms) child++;
        if (dues->heap[child]->at_ms >= due->at_ms) break;
        put(dues, dues->heap[child], place);
    }
    put(dues, due, place);
}

static void arm(struct dues *dues) {
    if (dues->count == 0 || dues->heap[1]->at_ms >= dues->armed_ms) return;
    dues->armed_ms = dues->heap[1]->at_ms;
    io_timer_arm(dues->timer, dues->armed_ms - clock_monotonic_ms());
}

static void on_timer(void *owner) {
    struct dues *dues = owner;
    dues->armed_ms = GRPC_NEVER;
    int64_t now_ms = clock_monotonic_ms();
    while (dues->count > 0 && dues->heap[1]->at_ms <= now_ms) {
        struct due *due = dues->heap[1];
        due_clear(dues, due);
        due->fire(due);
    }
    arm(dues);
}

void dues_init(struct dues *dues, struct io_loop *loop) {
    *dues = (struct dues){.timer = io_timer_new(loop, on_timer, dues), .armed_ms = GRPC_NEVER};
}

void dues_done(struct dues *dues) {
    while (dues->count > 0) due_clear(dues, dues->heap[dues->count]);
    io_timer_free(take(dues->timer));
    free(take(dues->heap));
    dues->capacity = 0;
}

void due_set(struct dues *dues, struct due *due, int64_t at_ms) {
    if (due->place > 0) due_clear(dues, due);
    if (at_ms == GRPC_NEVER || !dues->timer) return;
    due->at_ms = at_ms;
    if (dues->count + 1 >= dues->capacity) {
        dues->capacity = dues->capacity ? dues->capacity * 2 : 64;
        dues->heap = mem_grow(dues->heap, dues->capacity, sizeof *dues->heap);
    }
    rise(dues, due, ++dues->count);
    arm(dues);
}

void due_clear(struct dues *dues, struct due *due) {
    size_t place = due->place;
    if (place == 0) return;
    due->place = 0;
    struct due *last = dues->heap[dues->count--];
    if (last == due) return;
    if (place > 1 && dues->heap[place / 2]->at_ms > last->at_ms) {
        rise(dues, last, place);
    } else {
        sink(dues, last, place);
    }
}
