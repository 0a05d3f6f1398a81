/* volume: named directories that outlive containers.
 *
 * A volume lies under DIR/NAME and is made when it is first used. A mount whose `volume` is an absolute path
 * is that directory of this machine: it must exist, since a mistyped path should be told and not made. */
#pragma once
#include "core.h"

/* The directory to mount; made where it is a named volume (mode 0755). Owned by the caller. */
must_check struct error *volume_directory(const char *dir, const struct core_volume_mount *mount,
                                          char **ret_path);
/* The same without making anything: for a look before a change is accepted. */
must_check struct error *volume_check(const struct core_volume_mount *mount);
