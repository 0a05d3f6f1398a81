/* A search for each completion that can use one, and no longer wait than it is worth.
 *
 *   remembered? at once. Else searched -> found, kept for the next keystrokes -> the completion begins
 * Slower than LOOKUP_MS (a model that is being loaded, a busy machine): the completion begins without, and
 * what is found then serves the next one. */
#include "lookup.h"

#include <stdlib.h>

#define LOOKUP_MS 500
#define LOOKUPS_MAX 2 /* at once: who is slow must not keep all workers */

struct lookup {
    struct serve *serve;
    struct lookup_options options;
    struct io_timer *timer; /* NULL: the completion has begun */
    char *document, *prefix;
    bool searching, dropped;
};

static void free_if_over(struct lookup *lookup) {
    if (lookup->searching || !lookup->dropped) return;
    free(lookup->document);
    free(lookup->prefix);
    free(lookup);
}

static struct span copied(struct arena *arena, const char *string) {
    return span_of(arena_string(arena, span_of(string)));
}

static void fill(const struct index_hits *hits, struct arena *arena, struct completion_request *request) {
    for (size_t i = 0; i < hits->count && i < COMPLETION_FOUND_MAX; i++)
        request->found[request->found_count++] =
            (struct completion_snippet){.filepath = copied(arena, hits->hits[i].path),
                                        .body = copied(arena, hits->hits[i].body),
                                        .score = hits->hits[i].rrf};
}

static void finish(struct lookup *lookup, const struct index_hits *hits) {
    if (!lookup->timer) return;
    io_timer_free(take(lookup->timer));
    if (hits) fill(hits, lookup->options.arena, lookup->options.request);
    lookup->options.done(lookup->options.owner);
}

static void on_slow(void *owner) {
    finish(owner, NULL);
}

static void on_found(void *owner, struct find_answer *answer) {
    struct lookup *lookup = owner;
    struct index_hits *hits = answer->hits;
    scoped(error) struct error *error = answer->error;
    lookup->searching = false;
    if (error && error->code != ERROR_NOT_FOUND) {
        scoped_string char *text = error_text(error);
        log_warn("copycat", "code cannot be searched: %s", text);
    }
    struct index_hits kept = *hits;
    if (!error) recent_keep(lookup->serve->recent, span_of(lookup->document), span_of(lookup->prefix), hits);
    if (error) index_hits_done(hits);
    /* recent has them now; this borrows what it keeps. */
    if (lookup->dropped)
        free_if_over(lookup);
    else
        finish(lookup, error ? NULL : &kept);
}

struct lookup *lookup_start(struct serve *serve, const struct lookup_options *options) {
    const struct completion_request *request = options->request;
    if (!serve->search || !completion_request_wants_found(request, serve->languages)) return NULL;
    scoped_string char *document =
        mem_printf(SPAN_FORMAT "\n" SPAN_FORMAT "\n" SPAN_FORMAT, SPAN_ARGS(options->user),
                   SPAN_ARGS(request->git_url), SPAN_ARGS(request->filepath));
    const struct index_hits *known = recent_get(serve->recent, span_of(document), request->prefix);
    if (known) fill(known, options->arena, options->request);
    if (known || serve->search->finding >= LOOKUPS_MAX) return NULL;
    struct lookup *lookup = NEW(struct lookup);
    struct find_options find = {
        .git_url = request->git_url,
        .text = request->prefix,
        .language = request->language,
        .except_path = request->filepath,
        .limits = &serve->settings->completion_search,
        .visitor = options->visitor,
        .done = on_found,
        .owner = lookup,
    };
    lookup->serve = serve;
    lookup->options = *options;
    if (!search_find(serve, &find)) {
        free(lookup);
        return NULL;
    }
    lookup->searching = true;
    lookup->document = take(document);
    lookup->prefix = span_string(request->prefix);
    lookup->timer = io_timer_new(serve->loop, on_slow, lookup);
    io_timer_arm(lookup->timer, LOOKUP_MS);
    return lookup;
}

void lookup_drop(struct lookup *lookup) {
    if (!lookup) return;
    lookup->dropped = true;
    io_timer_free(take(lookup->timer));
    free_if_over(lookup);
}
