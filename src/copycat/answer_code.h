/* Code for an answer in a thread: asked for by the run's codeQuery, told to the client, kept, and put before
 * the question. */
#pragma once
#include "search.h"

struct answer_code {
    json_t *hits;    /* of the stream: [{"code", "scores"}]; NULL: none was asked for */
    json_t *stored;  /* as the table of messages has it */
    char *source_id; /* that was asked */
};
void answer_code_done(struct answer_code *code);
/* `options`: of the run, borrowed. false: no code is asked for, or there is none to look in. `done` on the
 * loop, once, later. */
bool answer_code_find(struct serve *serve, const json_t *options, int64_t user,
                      void (*done)(void *owner, struct find_answer *answer), void *owner);
/* The hits are taken; what was an error there is none here. */
void answer_code_read(struct answer_code *code, const struct find_answer *answer);
/* The pieces with their files' names, as far as there is room. */
void answer_code_add(const struct answer_code *code, struct text *out);
