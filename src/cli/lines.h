/* An answer that has lines of progress before it; see image.c. */
#pragma once
#include "base.h"

struct progress {
    json_t *answer; /* NULL: not yet */
};
bool progress_line(void *owner, struct span bytes); /* for struct question; `owner` is a struct progress */
/* What came in the end, owned by the caller, or the refusal that it was. */
must_check struct error *progress_end(struct progress *progress, json_t **ret_answer);
