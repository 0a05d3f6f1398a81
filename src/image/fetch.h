/* A file from the network, for ADD. For workers. */
#pragma once
#include "base.h"

#include <stdatomic.h>
#include <time.h>

bool fetch_is_url(const char *text); /* http:// or https:// */
/* Follows redirects; whole or an error that says what the server said. *ret_time: when it was last changed;
 * 0: not said. */
must_check struct error *fetch_file(const char *url, const char *path, const atomic_bool *cancelled,
                                    time_t *ret_time);
char *fetch_name(const char *url); /* the last part of its path; "" where there is none. Owned */
