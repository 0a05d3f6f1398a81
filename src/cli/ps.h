/* ps: rows of functions, for the verbs that show them. */
#pragma once
#include "sheet.h"

enum { PS_COLUMNS = 8 };
extern const struct sheet_column ps_columns[PS_COLUMNS];

struct ps_row {
    const char *app; /* borrowed of the answer, as all in here */
    const json_t *function;
};
/* The functions of GET /v1/ps, in its order. The array is owned by the caller. */
size_t ps_rows(const json_t *ps, struct ps_row **ret_rows);
const char *ps_state(const json_t *function); /* as in the JSON, or "stopped" */
int64_t ps_number(const json_t *function, const char *key, int64_t absent);
const char *ps_string(const json_t *object, const char *key); /* "" where absent */
/* `now_ms` is the wall clock. */
void ps_add(struct sheet *sheet, const struct ps_row *row, int64_t now_ms);
void ps_print(const json_t *ps, int64_t now_ms); /* table, then what failed */
