/* app: a function, told after something was done to it. */
#pragma once
#include "base.h"

/* A line; `function` as the api answers. A wake at or after `since_ms` (wall) is told with how long it took.
 */
void app_print_function(const char *app, const json_t *function, int64_t since_ms);
