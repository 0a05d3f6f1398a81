/* What the files of manifest share: the tree of a YAML file with its marks, and the place where complaints
 * gather. */
#pragma once
#include "manifest.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node;
struct pair {
    struct node *key, *value;
};
struct node {
    enum node_kind kind;
    size_t line, column; /* from 1 */
    size_t weight;       /* nodes in it, those behind aliases counted at each use */
    bool complete;       /* false while its end was not read: an alias to it would be a circle */
    bool substituted;    /* SCALAR: its variables are in (an alias comes here twice) */
    bool plain;          /* SCALAR: without quotes, so that ~, true and 12 are what they look like */
    char *text;          /* SCALAR: substituted later; NUL-terminated, has no NUL inside */
    struct node **items; /* LIST: count */
    struct pair *pairs;  /* MAP: count */
    size_t count, capacity;
};

#define COMPLAINTS_MAX 10
struct reading {
    struct arena *arena; /* nodes live in it */
    const char *file_name;
    const char *(*variable)(void *owner, const char *name);
    void *owner;
    struct text complaints;
    size_t complaint_count;
};
/* Adds "FILE:LINE:COLUMN: text". */
void complain(struct reading *reading, const struct node *at, const char *format, ...) printf_like(3, 4);

/* NULL: it complained. */
struct node *tree_read(struct reading *reading, struct span yaml);
struct node *tree_find(const struct node *map, const char *key);           /* the value; NULL: none */
const struct node *tree_find_key(const struct node *map, const char *key); /* the key's node */
const char *node_kind_text(const struct node *node);

/* `${NAME}` and `${NAME:-default}` replaced, `$${` is a literal `${`. False: it complained. */
bool substitute(struct reading *reading, struct node *scalar);

/* Fills `function` from a map. False: it complained. */
bool function_read(struct reading *reading, const struct node *map, struct core_function *function);
/* Complains of keys of `map` that are not among `known`, with the nearest one. `count` names. */
void complain_of_unknown(struct reading *reading, const struct node *map, const char *const *known,
                         size_t count);
/* Text of a scalar, substituted; NULL: it complained. */
const char *scalar_text(struct reading *reading, const char *what, struct node *node);
