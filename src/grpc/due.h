/* due: many deadlines, one timer. A heap by time; only its first entry is ever armed, so that thousands of
 * waiting calls wake nobody before one of them is due. */
#pragma once
#include "grpc.h"

struct due { /* in whatever waits; all zero: waits for nothing */
    size_t place;
    int64_t at_ms;
    void (*fire)(struct due *due); /* it waits for nothing any more when this is called */
};
struct dues {
    struct due **heap; /* from 1 */
    size_t count, capacity;
    struct io_timer *timer;
    int64_t armed_ms; /* GRPC_NEVER: not armed */
};
void dues_init(struct dues *dues, struct io_loop *loop);
void dues_done(struct dues *dues); /* nothing waits any more */
void due_set(struct dues *dues, struct due *due,
             int64_t at_ms); /* instead of what it waited for; GRPC_NEVER: clear */
void due_clear(struct dues *dues, struct due *due);
