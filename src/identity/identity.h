/* identity: who may ask: tokens, each an id and a secret, of which only a hash is kept.
 *
 * A token is good for everything that Modal's clients ask for; containers need none, they have sockets of
 * their own. */
#pragma once
#include "io.h"
#include "store.h"

struct identity;
/* Blocks: reads what is kept. */
must_check struct error *identity_open(struct store *store, struct identity **ret_identity);
void identity_free(struct identity *identity);
DEFINE_SCOPED(identity)

struct identity_token { /* borrowed for the call */
    const char *id;     /* "ak-..." */
    const char *secret; /* "as-...": told once, when it is made; else NULL */
    const char *name;   /* what its owner calls it */
    int64_t created_ms;
};
/* INVALID_ARGUMENT (name). Committed before `done`, which owns the error; `token` is NULL with one. */
void identity_token_new(struct identity *identity, const char *name,
                        void (*done)(void *owner, struct error *error, const struct identity_token *token),
                        void *owner);
/* NOT_FOUND. From the call on it opens nothing any more. */
void identity_token_revoke(struct identity *identity, const char *id,
                           void (*done)(void *owner, struct error *error), void *owner);
/* Takes the same time whether the id is known or not. */
bool identity_token_good(const struct identity *identity, struct span id, struct span secret);
/* for (size_t i = 0; identity_token_next(identity, &i, &token);) ...: nothing made or revoked meanwhile. */
bool identity_token_next(const struct identity *identity, size_t *i, struct identity_token *ret_token);
