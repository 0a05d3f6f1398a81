/* The window: what stood before the lines that an editor sends.
 *
 * An editor's view is the last twenty lines or so. When a line is added the first one leaves the view, and a
 * prompt that begins elsewhere shares no prefix with the cache. So the window keeps what it sent to the model
 * for the last documents, finds the view in it and puts the lines before it back. When that grows over
 * WINDOW_STRETCH times the limit it begins anew: one long prompt every few dozen lines instead of one at
 * each. Documents are told apart by a key (user, repository, path), and never mixed. */
#include "completion.h"

#include <stdlib.h>

#define DOCUMENTS 16
#define OVERLAP_MIN 24 /* bytes that must agree before two texts count as the same place */

struct entry {
    char *document;
    struct text text;
    uint64_t used;
};

struct window {
    struct entry entries[DOCUMENTS];
    uint64_t clock;
};

struct window *window_new(void) {
    return NEW(struct window);
}

void window_free(struct window *window) {
    if (!window) return;
    for (size_t i = 0; i < DOCUMENTS; i++) {
        free(window->entries[i].document);
        text_done(&window->entries[i].text);
    }
    free(window);
}

static size_t common(struct span a, struct span b) {
    size_t size = a.size < b.size ? a.size : b.size, i = 0;
    while (i < size && a.data[i] == b.data[i]) i++;
    return i;
}

/* Where in `kept` the view begins: at the start of a line, agreeing longest. SIZE_MAX: nowhere. */
static size_t find(struct span kept, struct span seen, size_t *ret_agreed) {
    size_t best = SIZE_MAX;
    *ret_agreed = 0;
    for (size_t at = 0; at < kept.size; at++) {
        if (at > 0 && kept.data[at - 1] != '\n') continue;
        struct span rest = {kept.data + at, kept.size - at};
        size_t agreed = common(rest, seen);
        size_t needed = seen.size < OVERLAP_MIN ? seen.size : OVERLAP_MIN;
        if (agreed >= needed && agreed > *ret_agreed) best = at, *ret_agreed = agreed;
    }
    return best;
}

/* The first start of a line at or after `at`; a boundary of a code point where no line begins in the next
 * half. */
static size_t line_start(struct span bytes, size_t at) {
    for (size_t i = at; i < bytes.size && i < at + (bytes.size - at) / 2 + 1; i++)
        if (i > 0 && bytes.data[i - 1] == '\n') return i;
    return utf8_boundary(bytes, at);
}

static void keep(struct window *window, struct entry *entry, struct span document, struct span text) {
    if (!entry) {
        entry = &window->entries[0];
        for (size_t i = 1; i < DOCUMENTS; i++)
            if (window->entries[i].used < entry->used) entry = &window->entries[i];
        free(entry->document);
        entry->document = span_string(document);
    }
    text_clear(&entry->text);
    text_add(&entry->text, text);
    entry->used = ++window->clock;
}

void window_extend(struct window *window, struct span document, struct span seen, size_t limit_bytes,
                   struct text *prefix) {
    struct entry *entry = NULL;
    struct span lead = {0}; /* of the kept text, before what is seen */
    size_t skipped = 0;     /* of what is seen, before the kept text */
    size_t best = 0;
    for (size_t i = 0; window && seen.size > 0 && i < DOCUMENTS; i++) {
        struct entry *candidate = &window->entries[i];
        if (!candidate->document || !span_is(document, candidate->document)) continue;
        struct span kept = text_span(&candidate->text);
        size_t agreed, at = find(kept, seen, &agreed);
        if (at != SIZE_MAX && agreed > best && at + seen.size <= limit_bytes * WINDOW_STRETCH)
            entry = candidate, lead = (struct span){kept.data, at}, skipped = 0, best = agreed;
        at = find(seen, kept, &agreed);
        bool cut_before = at == 0 || (at != SIZE_MAX && seen.size > limit_bytes);
        if (cut_before && agreed > best && seen.size - at <= limit_bytes * WINDOW_STRETCH)
            entry = candidate, lead = (struct span){0}, skipped = at, best = agreed;
    }
    if (!entry && seen.size > limit_bytes) skipped = line_start(seen, seen.size - limit_bytes);
    text_add(prefix, lead);
    text_add(prefix, (struct span){seen.data + skipped, seen.size - skipped});
    if (window && seen.size > 0) keep(window, entry, document, text_span(prefix));
}
