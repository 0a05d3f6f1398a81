/* Layers seen as the one tree that overlay would make of them, without mounting anything. For workers. */
#pragma once
#include "within.h"

struct tree {
    char *const *dirs; /* layers' directories, top first; borrowed */
    size_t count;
    char *const
        *grafts; /* directories of this machine below the layers at the same path; NULL: none. Borrowed */
};
enum tree_kind { TREE_ABSENT, TREE_DIRECTORY, TREE_FILE, TREE_LINK, TREE_OTHER };
struct tree_node {
    enum tree_kind kind;
    struct stat at; /* of the uppermost that is seen */
    char *path;     /* on the disk; NULL where absent */
};
/* A clean path (see within.h); links in it are not followed: below a link is nothing. */
void overlay_look(const struct tree *tree, const char *clean, struct tree_node *ret_node);
void overlay_node_done(struct tree_node *node);
/* Follows links, of the last part too, as if the tree were the root; what does not exist is kept as it
 * stands. INVALID_ARGUMENT: links in a circle. A clean path, owned. */
must_check struct error *overlay_resolve(const struct tree *tree, const char *path, char **ret_clean);
/* Names in a directory, each once, sorted. Owned, NULL-terminated; empty where there is none. */
char **overlay_list(const struct tree *tree, const char *clean);
/* A small file's content; NOT_FOUND. Links are followed. */
must_check struct error *overlay_read(const struct tree *tree, const char *path, size_t limit_bytes,
                                      struct text *ret_text);
