/* hub: what the connections of one server or client share, so that an idle connection costs little and a busy
 * one few system calls.
 *
 * One buffer that everybody reads into. One list of wires that have something to do before the loop sleeps:
 * output gathered in a round goes out with one call each. One clock for all timeouts: each kind of wait has
 * one length, so a queue in order of arrival is a queue in order of deadlines, and only its first entry ever
 * needs a timer. */
#pragma once
#include "http.h"

#include <uv.h>

#define HUB_SCRATCH_BYTES 65536
#define HUB_SPARES 64

enum hub_wait { WAIT_NONE, WAIT_HEAD, WAIT_IDLE, WAIT_BODY, WAIT_WRITE, WAIT_LINGER, WAIT_KINDS };

struct hub_waiter {
    struct list node;
    enum hub_wait kind;
    int64_t deadline_ms;
    void (*expired)(struct hub_waiter *waiter, enum hub_wait kind); /* it waits no more when this is called */
};

struct hub {
    struct io_loop *io;
    uv_loop_t *uv;
    uv_prepare_t *prepare;
    uv_idle_t *idle;
    uv_timer_t *timer;
    unsigned references;
    bool settled; /* this round's list was worked off: what comes now needs another round */
    struct list dirty;
    struct list waits[WAIT_KINDS];
    int64_t wait_ms[WAIT_KINDS];
    int64_t timer_at_ms; /* INT64_MAX: not armed */
    char *scratch;       /* HUB_SCRATCH_BYTES; valid until the next read of anybody */
    struct text spare[HUB_SPARES];
    unsigned spares;
    int64_t date_s;
    char date[40];
};

struct hub *hub_new(struct io_loop *loop);
struct hub *hub_ref(struct hub *hub);
void hub_unref(struct hub *hub);
/* A node in `dirty` belongs to a wire; hub calls wire_settle for it before the loop sleeps. */
void hub_mark(struct hub *hub, struct list *node);
void hub_wait_start(struct hub *hub, struct hub_waiter *waiter,
                    enum hub_wait kind); /* replaces what it waited for */
void hub_wait_stop(struct hub_waiter *waiter);
/* Small buffers for output, given back when it is out. */
struct text hub_text_borrow(struct hub *hub);
void hub_text_return(struct hub *hub, struct text *text);
const char *hub_date(struct hub *hub); /* as in a Date header */
