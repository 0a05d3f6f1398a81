/* identity: who may ask: tokens, each an id and a secret, of which only a hash is kept.
 *
 * A client's token is good for everything that Modal's clients ask for; containers need none, they have
 * sockets of their own. A proxy's token opens web functions that ask for one, and nothing else. */
#pragma once
#include "io.h"
#include "store.h"

struct identity;
/* Blocks: reads what is kept. */
must_check struct error *identity_open(struct store *store, struct identity **ret_identity);
void identity_free(struct identity *identity);
DEFINE_SCOPED(identity)

enum identity_kind { IDENTITY_CLIENT, IDENTITY_PROXY };
struct identity_token { /* borrowed for the call */
    enum identity_kind kind;
    const char *id;     /* "ak-...", "wk-..." */
    const char *secret; /* "as-...", "ws-...": told once, when it is made; else NULL */
    const char *name;   /* what its owner calls it */
    int64_t created_ms;
};
/* INVALID_ARGUMENT (name; a proxy's may be empty). Committed before `done`, which owns the error; `token` is
 * NULL with one. */
void identity_token_new(struct identity *identity, enum identity_kind kind, const char *name,
                        void (*done)(void *owner, struct error *error, const struct identity_token *token),
                        void *owner);
/* NOT_FOUND, INVALID_ARGUMENT (name). */
void identity_token_rename(struct identity *identity, const char *id, const char *name,
                           void (*done)(void *owner, struct error *error), void *owner);
/* NOT_FOUND. From the call on it opens nothing any more. */
void identity_token_revoke(struct identity *identity, const char *id,
                           void (*done)(void *owner, struct error *error), void *owner);
/* Takes the same time whether the id is known or not. */
bool identity_token_good(const struct identity *identity, enum identity_kind kind, struct span id,
                         struct span secret);
/* False: there is none. Borrowed until tokens change. */
bool identity_token_find(const struct identity *identity, const char *id, struct identity_token *ret_token);
/* for (size_t i = 0; identity_token_next(identity, &i, &token);) ...: nothing made or revoked meanwhile. */
bool identity_token_next(const struct identity *identity, size_t *i, struct identity_token *ret_token);
