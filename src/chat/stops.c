/* Stop words of a chat: the answer ends before the first of them, wherever it begins in a piece, and not a
 * byte of it is told. So a tail that may become one is held back until more has come. */
#include "chat.h"

#include <stdlib.h>

struct chat_stops {
    char **words;
    size_t *sizes;
    size_t count;
    struct text all;
    size_t end; /* of what may be told once nothing more comes */
    bool stopped;
};

struct chat_stops *chat_stops_new(const struct span *words, size_t count) {
    struct chat_stops *stops = NEW(struct chat_stops);
    stops->words = mem_array(count, sizeof *stops->words);
    stops->sizes = mem_array(count, sizeof *stops->sizes);
    for (size_t i = 0; i < count; i++) {
        if (words[i].size == 0) continue;
        stops->sizes[stops->count] = words[i].size;
        stops->words[stops->count++] = mem_string_n(words[i].data, words[i].size);
    }
    return stops;
}

void chat_stops_free(struct chat_stops *stops) {
    if (!stops) return;
    for (size_t i = 0; i < stops->count; i++) free(stops->words[i]);
    free(stops->words);
    free(stops->sizes);
    text_done(&stops->all);
    free(stops);
}

bool chat_stops_add(struct chat_stops *stops, struct span bytes) {
    if (stops->stopped) return true;
    size_t before = stops->all.size, best = SIZE_MAX;
    text_add(&stops->all, bytes);
    for (size_t i = 0; i < stops->count; i++) {
        size_t back = stops->sizes[i] - 1, from = before > back ? before - back : 0;
        if (stops->all.size - from < stops->sizes[i]) continue;
        const char *at =
            memmem(stops->all.data + from, stops->all.size - from, stops->words[i], stops->sizes[i]);
        if (at && (size_t)(at - stops->all.data) < best) best = (size_t)(at - stops->all.data);
    }
    stops->stopped = best != SIZE_MAX;
    stops->end = stops->stopped ? best : stops->all.size;
    return stops->stopped;
}

/* The longest tail that is the beginning of a word. */
static size_t held(const struct chat_stops *stops) {
    size_t longest = 0;
    for (size_t i = 0; i < stops->count; i++) {
        size_t most = stops->sizes[i] - 1 < stops->end ? stops->sizes[i] - 1 : stops->end;
        for (size_t size = most; size > longest; size--)
            if (memcmp(stops->all.data + stops->end - size, stops->words[i], size) == 0) longest = size;
    }
    return longest;
}

struct span chat_stops_text(const struct chat_stops *stops, bool whole) {
    size_t back = whole || stops->stopped ? 0 : held(stops);
    return (struct span){stops->all.data ? stops->all.data : "", stops->end - back};
}
