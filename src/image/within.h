/* Paths that can't leave a directory, and what overlay's marks look like on the disk. */
#pragma once
#include "base.h"

#include <sys/stat.h>

struct within;
must_check struct error *within_open(const char *directory, struct within **ret_within);
void within_free(struct within *within);
DEFINE_SCOPED(within)
int within_fd(const struct within *within); /* the directory; borrowed */

/* "./a//b/../c" -> "a/c"; "/" -> "". INVALID_ARGUMENT: it leads out, or a part is too long for a name. Owned.
 */
must_check struct error *within_clean(const char *path, char **ret_clean);
/* The directory of the last part of a clean path (not empty), links resolved inside; made (0755, root's)
 * where absent and `make`. The descriptor is borrowed until the second next call; the name points into
 * `clean`. */
must_check struct error *within_parent(struct within *within, const char *clean, bool make, int *ret_fd,
                                       const char **ret_name);

/* A directory or a link was replaced: kept parents may be others now. Borrowed descriptors stay good. */
void within_forget(struct within *within);

bool within_is_whiteout(const struct stat *at);
int within_make_whiteout(int parent, const char *name); /* 0 or -1 with errno */
int within_make_opaque(int directory_fd);
bool within_is_opaque(const char *path);
