/* config_file: the file in which Modal's client keeps its profiles, found, read and written.
 *
 * $MODAL_CONFIG_PATH or ~/.modal.toml. Under sudo that is the home of who typed it, and the file stays
 * theirs: the daemon's socket may need root, the client does not. A link is followed, so that it stays one.
 */
#pragma once
#include "base.h"

#include <sys/types.h>

struct config_file {
    char *path;       /* as it is told */
    char *real;       /* behind links, where it is there */
    struct text text; /* empty where there is no file */
    bool owner_known;
    uid_t uid;
    gid_t gid;
};
must_check struct error *config_file_read(struct config_file *ret_file); /* done also after an error */
/* Mode 0600; without content it is removed. */
must_check struct error *config_file_write(const struct config_file *file, struct span content);
void config_file_done(struct config_file *file);
