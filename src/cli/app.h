/* app: an app's functions, told after something was done to them. */
#pragma once
#include "base.h"

void app_print(const json_t *app); /* a line a function; `app` as the api answers */
