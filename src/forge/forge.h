/* forge: which repositories an account at GitHub or GitLab may read, by their REST APIs.
 *
 * What it knows that others don't: where the list is, how it goes on from page to page, what a refusal means,
 * and how a token is written into a clone URL. It keeps nothing. Calls block for the network and belong on a
 * worker. No error text has the token in it. */
#pragma once
#include "base.h"

enum forge_kind { FORGE_GITHUB, FORGE_GITLAB };
struct forge {
    enum forge_kind kind;
    const char *api_base; /* NULL: the public service's. GitHub Enterprise's ends in /api/v3 */
    const char *token;
    bool (*cancelled)(void *owner); /* asked now and then; true: ABORTED */
    void *owner;
};
/* *ret_list: [{"vendorId", "name", "gitUrl"}] of all. UNAUTHENTICATED: the token is refused; NOT_FOUND:
 * nothing like that is at api_base; RESOURCE_EXHAUSTED: too often, or an answer that is too long;
 * UNAVAILABLE. */
must_check struct error *forge_list(const struct forge *forge, json_t **ret_list);
/* The URL with the token in it, as this kind of server takes it; owned. The URL is http:// or https://. */
char *forge_clone_url(enum forge_kind kind, const char *git_url, const char *token);

/* ---- an answer of the list call, for tests ---- */
/* Adds what a page holds to the list. INVALID_ARGUMENT: it is no such page. */
must_check struct error *forge_page(enum forge_kind kind, struct span body, json_t *list);
/* Whether a Link field names a next page. */
bool forge_link_goes_on(struct span link);
