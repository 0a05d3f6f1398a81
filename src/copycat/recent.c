/* Hits by document, a few documents long, as long as who types stays near and an index may not have changed
 * much. */
#include "recent.h"

#include <stdlib.h>

#define DOCUMENTS 32
#define TAIL_BYTES 160 /* of what stood before the cursor: it must be there still ... */
#define LINES_MAX 4    /* ... with at most so many lines typed since */
#define AGE_MS 60000

struct kept {
    char *document, *tail;
    struct index_hits hits;
    int64_t kept_ms;
};
struct recent {
    struct kept kept[DOCUMENTS];
};

struct recent *recent_new(void) {
    return NEW(struct recent);
}

static void kept_done(struct kept *kept) {
    free(kept->document);
    free(kept->tail);
    index_hits_done(&kept->hits);
    *kept = (struct kept){0};
}

void recent_free(struct recent *recent) {
    if (!recent) return;
    for (size_t i = 0; i < DOCUMENTS; i++) kept_done(&recent->kept[i]);
    free(recent);
}

static struct kept *find(struct recent *recent, struct span document) {
    for (size_t i = 0; i < DOCUMENTS; i++)
        if (recent->kept[i].document && span_is(document, recent->kept[i].document)) return &recent->kept[i];
    return NULL;
}

static struct kept *oldest(struct recent *recent) {
    struct kept *place = recent->kept;
    for (size_t i = 1; i < DOCUMENTS; i++)
        if (recent->kept[i].kept_ms < place->kept_ms) place = &recent->kept[i];
    return place;
}

/* The end of the text up to its last whole line, so that a word that is being typed does not count. */
static struct span tail_of(struct span prefix) {
    while (prefix.size > 0 && prefix.data[prefix.size - 1] != '\n') prefix.size--;
    size_t skip = prefix.size > TAIL_BYTES ? prefix.size - TAIL_BYTES : 0;
    return (struct span){prefix.data + skip, prefix.size - skip};
}

const struct index_hits *recent_get(struct recent *recent, struct span document, struct span prefix) {
    struct kept *kept = find(recent, document);
    if (!kept || clock_monotonic_ms() - kept->kept_ms > AGE_MS) return NULL;
    size_t size = strlen(kept->tail), lines = 0;
    const char *at = size > 0 ? memmem(prefix.data, prefix.size, kept->tail, size) : prefix.data;
    if (!at) return NULL;
    for (const char *c = at + size; c < prefix.data + prefix.size; c++) lines += *c == '\n';
    return lines <= LINES_MAX ? &kept->hits : NULL;
}

void recent_keep(struct recent *recent, struct span document, struct span prefix,
                 struct index_hits *taken_hits) {
    struct kept *place = find(recent, document);
    if (!place) place = oldest(recent);
    kept_done(place);
    place->document = span_string(document);
    place->tail = span_string(tail_of(prefix));
    place->hits = *taken_hits;
    place->kept_ms = clock_monotonic_ms();
    *taken_hits = (struct index_hits){0};
}
