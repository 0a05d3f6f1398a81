/* profile: a section of the file in which Modal's client keeps its profiles (~/.modal.toml).
 *
 * The file is the user's: only our section, and the `active` lines of the others, are touched; all else stays
 * byte for byte. Who was active before is noted behind its line, so that taking our section away puts it
 * back. */
#pragma once
#include "base.h"

struct profile {
    const char *name; /* letters, digits, '-' and '_' */
    const char *server_url, *token_id, *token_secret;
};
bool profile_name_good(const char *name);

struct profile_found {
    bool there;
    char *server_url, *token_id; /* NULL: not told. Owned */
    char *active;                /* the name of the profile that is active; NULL: none. Owned */
};
/* INVALID_ARGUMENT, as in the next two: the file can't be read, with the line. */
must_check struct error *profile_find(struct span file, const char *name, struct profile_found *ret_found);
void profile_found_done(struct profile_found *found);
/* The file with that profile in it, the only active one. */
must_check struct error *profile_put(struct span file, const struct profile *profile, struct text *ret_file);
/* The file without it. *ret_active: who is active then; NULL: nobody. Owned */
must_check struct error *profile_remove(struct span file, const char *name, struct text *ret_file,
                                        char **ret_active);
