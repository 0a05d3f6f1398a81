/* journal: calls over a restart. journal.c notes, restore.c reads again. */
#pragma once
#include "inside.h"

#include <stdio.h>

#define JOURNAL_CALLS "modal-call" /* ID: the call; ID/iSEQ, ID/rSEQ, ID/oSEQ: its inputs, runs, outputs; */
                                   /* ID/kCALL: those that it led to */
#define JOURNAL_OPEN "modal-call-open" /* ID: at work, or asked for a moment ago */
#define JOURNAL_DONE "modal-call-done" /* TIME/ID: in the store only; removed when it is old */
#define JOURNAL_BOUND "modal-bound"    /* APP/FUNCTION: functions with parameters */
#define JOURNAL_TIME "%012llx"
#define JOURNAL_KEY_MAX 64

void journal_open(struct modal *modal);
void journal_close(struct modal *modal);
/* What was noted so far is committed, then `done`; it owns the error, with which nothing of it was. */
void journal_settle(struct rpc *rpc, void (*done)(struct rpc *rpc, struct error *error));
/* For journal_settle: an empty answer also where it could not be noted. What was asked is done, and stands in
 * memory still. */
void journal_answer(struct rpc *rpc, struct error *taken_error);
bool journal_fails(const struct modal *modal);                       /* nothing can be written just now */
void journal_failed(struct modal *modal, struct error *taken_error); /* told in the log, not too often */
/* `once`: rpc->once of the request that brought it; NULL. An input that came with its call has none. */
void journal_call(struct call *call, const char *once);
void journal_input(const struct input *input, const char *once);
void journal_run(const struct input *input); /* its task, how often it was tried, when it is tried again */
void journal_output(const struct input *input);
void journal_given(struct call *call, const struct input *input); /* it, with its output, goes */
/* As it was written; `part` as in its key. */
must_check struct error *journal_read(const struct input *input, char part, struct text *ret,
                                      bool *ret_found);
void journal_kin(const struct call *root, const char *call_id, const Modal__KinRecord *record);
void journal_changed(const struct call *call);
void journal_rest(struct call *call);  /* its memory may go: it is read again when it is asked for */
void journal_again(struct call *call); /* what could not be written is, or it is tried once more */
void journal_forget(struct call *call);
void journal_forget_id(struct modal *modal, const char *id);
void journal_forget_rested(struct modal *modal, const char *key);

/* ---- restore.c ---- */
must_check struct error *calls_load(struct modal *modal);  /* those that are open; after the apps */
void calls_resume(struct modal *modal);                    /* after the containers were adopted */
struct call *call_of(struct modal *modal, const char *id); /* in memory, or in the store; NULL: nowhere */
