/* Code that a completion might want to see: looked up before it begins, or remembered from a moment ago. */
#pragma once
#include "recent.h"
#include "search.h"

struct lookup;
struct lookup_options {
    struct completion_request *request; /* gets what was found */
    struct arena *arena;                /* lives as long as the request */
    struct span user;
    struct visitor visitor;
    void (*done)(void *owner); /* on the loop, once, later */
    void *owner;
};
/* NULL: there is nothing to wait for; what was found a moment ago is in the request already. */
struct lookup *lookup_start(struct serve *serve, const struct lookup_options *options);
void lookup_drop(struct lookup *lookup); /* `done` comes no more; NULL: nothing */
