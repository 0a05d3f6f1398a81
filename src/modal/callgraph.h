/* callgraph: which call was made by which input; see callgraph.c. */
#pragma once
#include "inside.h"

/* `parent`: the input at work in that container; anything else is ignored. */
void callgraph_made(struct call *call, const struct task *task_or_null, const char *parent);
/* A call was read from the store; first what is noted of its family, a child at a time. */
void callgraph_child_restored(struct call *root, const char *call_id, const Modal__KinRecord *record);
void callgraph_restored(struct call *call);
void callgraph_gone(struct call *call); /* it is about to be freed */
extern const struct rpc_method callgraph_methods[];
