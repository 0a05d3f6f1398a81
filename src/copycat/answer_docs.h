/* Documents for an answer in a thread: asked for by the run's docQuery, told to the client, kept, and put
 * before the question. */
#pragma once
#include "search.h"

struct answer_docs {
    json_t *hits;   /* of the stream: [{"doc", "score"}]; NULL: none were asked for */
    json_t *stored; /* as the table of messages has them */
};
void answer_docs_done(struct answer_docs *docs);
/* `options`: of the run, borrowed. *ret_source_ids (owned): those that it names. false: no documents are
 * asked for. `done` on the loop, once, later; its array is the receiver's. */
bool answer_docs_find(struct serve *serve, const json_t *options, int64_t user, json_t **ret_source_ids,
                      void (*done)(void *owner, json_t *taken_found), void *owner);
void answer_docs_read(struct answer_docs *docs, json_t *taken_found);
/* Their pieces with their titles, as far as there is room. */
void answer_docs_add(const struct answer_docs *docs, struct text *out);
