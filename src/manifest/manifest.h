/* manifest: `catnap.yaml` to core records, or errors that say where.
 *
 * Knows the file's keys, the nearest known one to a wrong one, and `${VAR}`. Reads no file and no environment
 * itself. What comes out has passed core_app_check; where anything is wrong nothing comes out. */
#pragma once
#include "core.h"

#define MANIFEST_BYTES_MAX (256 * 1024)

/* INVALID_ARGUMENT: up to ten lines "FILE:LINE:COLUMN: text" in one message; lines and columns count from 1.
 * `variable` gives the value behind `${NAME}`, NULL where there is none; it may be NULL itself: then there
 * are no variables. */
must_check struct error *manifest_parse(struct span yaml, const char *file_name,
                                        const char *(*variable)(void *owner, const char *name), void *owner,
                                        struct core_app **ret_app);
