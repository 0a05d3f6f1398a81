/* calllog: which lines of the log are one call's. */
#pragma once
#include "inside.h"

struct logs_line;
struct calllog;
must_check struct error *calllog_new(struct modal *modal, const char *call_id, struct calllog **ret);
void calllog_free(struct calllog *calllog);
/* Of an app's containers all. Which input it is of is told, in memory of the calllog's. */
bool calllog_has(struct calllog *calllog, const struct logs_line *line, const char **ret_input_id);
const char *calllog_call_id(const struct calllog *calllog);
const char *calllog_app_id(const struct calllog *calllog);
DEFINE_SCOPED(calllog)
