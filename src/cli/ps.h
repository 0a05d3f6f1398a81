/* ps: rows of functions, for the verbs that show them. */
#pragma once
#include "sheet.h"

extern const struct sheet_column ps_columns[];
extern const size_t ps_column_count;
/* A row a function. `ps` is the answer of GET /v1/ps, `now_ms` the wall clock. */
void ps_fill(struct sheet *sheet, const json_t *ps, int64_t now_ms);
void ps_print(const json_t *ps, int64_t now_ms); /* table, then what failed */
