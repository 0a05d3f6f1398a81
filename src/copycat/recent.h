/* What was found for a document lately: a search for each letter that somebody types would change the prompt
 * under the cache, for nothing. */
#pragma once
#include "index.h"

struct recent;
struct recent *recent_new(void);
void recent_free(struct recent *recent);
/* What was found for the document when what stands before the cursor was nearly this; NULL: nothing that
 * still serves. Borrowed, until the next recent_keep. */
const struct index_hits *recent_get(struct recent *recent, struct span document, struct span prefix);
/* hits: taken. */
void recent_keep(struct recent *recent, struct span document, struct span prefix,
                 struct index_hits *taken_hits);
