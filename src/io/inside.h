/* What the files of io share: the loop's own object. */
#pragma once
#include "io.h"

#include <uv.h>

struct doors; /* door.c */

struct io_loop {
    uv_loop_t uv;
    struct doors *doors;  /* NULL: nobody holds any for us */
    struct list deferred; /* struct deferred, in the order in which they came */
    uv_idle_t idle;       /* runs while something is deferred: the loop does not wait then */
    uv_prepare_t prepare; /* carries out what was deferred */
};

void doors_free(struct doors *doors);
