/* One search: which repository is meant and may be read, the question's vector, the index's answer; on a
 * worker.
 *
 * A completion names a git URL, and as with Tabby only its last part counts: forks and mirrors have other
 * hosts and owners. Of several that fit, the first in the order of their URLs that the user may read. */
#include "search.h"

#include <stdlib.h>

#define CANDIDATES_MAX 8

struct finding {
    struct io_work work;
    struct serve *serve;
    struct source *candidates[CANDIDATES_MAX];
    size_t count;
    struct find_options options;
    struct settings_search limits;
    char *text, *language, *except_path;
    struct source *chosen; /* one of the candidates */
    int64_t began_us;
    struct index_hits hits;
};

static void finding_free(struct finding *finding) {
    for (size_t i = 0; i < finding->count; i++) source_drop(finding->candidates[i]);
    free(finding->text), free(finding->language), free(finding->except_path);
    free(finding);
}

/* ---- on a worker ---- */

static struct error *choose(struct finding *finding) {
    const struct visitor *visitor = &finding->options.visitor;
    for (size_t i = 0; i < finding->count && !finding->chosen; i++) {
        bool may = true;
        struct source *source = finding->candidates[i];
        if (finding->serve->accounts->schema)
            TRY_PLAIN(
                account_may_read(finding->serve->accounts->account, visitor->who.user, source->id, &may));
        if (may) finding->chosen = source;
    }
    return finding->chosen ? NULL : error_new(ERROR_NOT_FOUND, "there is no such repository");
}

struct error *search_source_blocking(struct serve *serve, struct source *source,
                                     const struct source_query *query, struct index_hits *ret_hits) {
    const struct settings_search *limits = query->limits;
    struct index *index = NULL;
    struct index_embedder embedder = {0};
    float *vector = NULL;
    *ret_hits = (struct index_hits){0};
    TRY_PLAIN(source_index(source, &index));
    struct error *error = NULL;
    if (embeddings_there(serve)) error = embeddings_ready(serve, &embedder);
    if (!error && embedder.dimensions > 0) {
        vector = mem_array(embedder.dimensions, sizeof *vector);
        error = embedder.embed(embedder.owner, query->text, vector);
    }
    if (error) { /* words alone, then; whoever makes vectors tells why it has none */
        error_free(take(error));
        free(take(vector));
    }
    struct index_query wanted = {
        .text = query->text,
        .language = query->language,
        .except_path = query->except_path,
        .vector = vector,
        .dimensions = embedder.dimensions,
        .min_embedding = limits->min_embedding_score,
        .min_bm25 = limits->min_bm25_score,
        .min_rrf = limits->min_rrf_score,
        .to_return = limits->num_to_return,
        .to_score = limits->num_to_score,
    };
    error = index_search(index, &wanted, ret_hits);
    free(vector);
    return error;
}

static struct error *find(struct finding *finding) {
    const struct source_query query = {
        .text = span_of(finding->text),
        .language = span_of(finding->language),
        .except_path = span_of(finding->except_path),
        .limits = &finding->limits,
    };
    TRY_PLAIN(choose(finding));
    return search_source_blocking(finding->serve, finding->chosen, &query, &finding->hits);
}

static void on_find(struct io_work *work) {
    work->error = find(CONTAINER_OF(work, struct finding, work));
}

static void on_found(struct io_work *work) {
    struct finding *finding = CONTAINER_OF(work, struct finding, work);
    struct serve *serve = finding->serve;
    serve->search->finding--;
    serve->search->searches++;
    serve->search->searches_failed += work->error != NULL;
    serve->search->searches_us += clock_monotonic_us() - finding->began_us;
    scoped_string char *url = finding->chosen ? index_url_public(finding->chosen->url) : NULL;
    struct find_answer answer = {.hits = &finding->hits,
                                 .url = url,
                                 .source_id = finding->chosen ? finding->chosen->id : NULL,
                                 .error = take(work->error)};
    finding->options.done(finding->options.owner, &answer);
    finding_free(finding);
    accounts_job_ended(serve);
}

/* ---- on the loop ---- */

static int by_url(const void *a, const void *b) {
    return strcmp((*(struct source *const *)a)->url, (*(struct source *const *)b)->url);
}

static bool fits(const struct source *source, const struct find_options *options) {
    if (source->documents) return false;
    if (options->source_id.size > 0) return span_is(options->source_id, source->id);
    struct span name = index_url_name(options->git_url);
    return name.size > 0 && span_equal(name, index_url_name(span_of(source->url)));
}

bool search_find(struct serve *serve, const struct find_options *options) {
    struct search *search = serve->search;
    if (!search || options->limits->num_to_return == 0) return false;
    struct finding *finding = NEW(struct finding);
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (finding->count < CANDIDATES_MAX && fits(source, options))
            finding->candidates[finding->count++] = source_hold(source);
    }
    if (finding->count == 0) {
        free(finding);
        return false;
    }
    qsort(finding->candidates, finding->count, sizeof *finding->candidates, by_url);
    finding->work = (struct io_work){.work = on_find, .done = on_found};
    finding->serve = serve;
    finding->began_us = clock_monotonic_us();
    search->finding++;
    finding->options = *options;
    finding->limits = *options->limits;
    finding->text = span_string(options->text);
    finding->language = span_string(options->language);
    finding->except_path = span_string(options->except_path);
    accounts_job_began(serve);
    io_work_start(serve->loop, &finding->work);
    return true;
}
