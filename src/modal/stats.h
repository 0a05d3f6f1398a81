/* stats: what happened to a function, counted by time. */
#pragma once
#include "inside.h"

enum stats_kind {
    STATS_SUCCEEDED, /* calls, in the end */
    STATS_FAILED,
    STATS_BEGUN, /* containers, or sandboxes */
    STATS_ENDED,
    STATS_BROKEN, /* ended by themselves, and not well */
    STATS_KINDS
};
void stats_note(struct stats **stats, enum stats_kind kind); /* made where there are none yet */
void stats_call_done(struct function *function, bool succeeded);
void stats_task_begun(struct task *task);
void stats_task_ended(struct task *task, const char *text); /* as node tells it */
void stats_free(struct stats *stats);
extern const struct rpc_method stats_methods[];
