/* The documents of an answer: each source that is named and may be read is searched on a worker, and the best
 * pieces of all go on.
 *
 * Pieces are compared across sources by how near their meaning is, or where no model embeds by their words.
 * What is named but not there, or not to be read, is passed over. */
#include "answer_docs.h"

#include <stdlib.h>

#define SOURCES_MAX 32
#define DOCS_MAX 5 /* in an answer */
#define CONTEXT_BYTES_MAX \
    4000 /* of documents in a prompt: code, the question and its history need room too */

struct finding {
    struct io_work work;
    struct serve *serve;
    int64_t user;
    char *text;
    struct source *sources[SOURCES_MAX];
    size_t count;
    json_t *found; /* [{"id", "title", "body", "link", "score"}] */
    void (*done)(void *owner, json_t *taken_found);
    void *owner;
};

void answer_docs_done(struct answer_docs *docs) {
    json_decref(docs->hits);
    json_decref(docs->stored);
    *docs = (struct answer_docs){0};
}

/* ---- on a worker ---- */

static struct error *add_hit(struct finding *finding, const struct source *source,
                             const struct index_hit *hit) {
    scoped_json json_t *document = NULL;
    struct error *error =
        account_document(finding->serve->accounts->account, source->id, hit->path, &document);
    if (error && error->code == ERROR_NOT_FOUND) { /* taken back a moment ago */
        error_free(error);
        return NULL;
    }
    if (error) return error;
    scoped_string char *id = mem_printf("%s/%s", source->id, hit->path);
    json_t *one = json_pack("{s:s,s:O,s:s,s:O,s:f}", "id", id, "title", json_object_get(document, "title"),
                            "body", hit->body, "link", json_object_get(document, "link"), "score",
                            hit->embedding > 0 ? hit->embedding : hit->bm25);
    if (one) json_array_append_new(finding->found, one);
    return NULL;
}

static struct error *look_in(struct finding *finding, struct source *source) {
    struct settings_search limits = finding->serve->settings->answer_search;
    const struct source_query query = {.text = span_of(finding->text), .limits = &limits};
    struct index_hits hits = {0};
    bool may = false;
    if (limits.num_to_return > DOCS_MAX) limits.num_to_return = DOCS_MAX;
    TRY_PLAIN(account_may_read(finding->serve->accounts->account, finding->user, source->id, &may));
    if (!may) return NULL;
    TRY_PLAIN(search_source_blocking(finding->serve, source, &query, &hits));
    struct error *error = NULL;
    for (size_t i = 0; i < hits.count && !error; i++) error = add_hit(finding, source, &hits.hits[i]);
    index_hits_done(&hits);
    return error;
}

static void on_find(struct io_work *work) {
    struct finding *finding = CONTAINER_OF(work, struct finding, work);
    for (size_t i = 0; i < finding->count; i++) {
        scoped(error) struct error *error = look_in(finding, finding->sources[i]);
        scoped_string char *why = error && error->code != ERROR_NOT_FOUND ? error_text(error) : NULL;
        if (why) log_warn("copycat", "documents of %s are not searched: %s", finding->sources[i]->name, why);
    }
}

/* ---- on the loop ---- */

static void on_found(struct io_work *work) {
    struct finding *finding = CONTAINER_OF(work, struct finding, work);
    struct serve *serve = finding->serve;
    for (size_t i = 0; i < finding->count; i++) source_drop(finding->sources[i]);
    finding->done(finding->owner, finding->found);
    free(finding->text);
    free(finding);
    accounts_job_ended(serve);
}

bool answer_docs_find(struct serve *serve, const json_t *options, int64_t user, json_t **ret_source_ids,
                      void (*done)(void *owner, json_t *taken_found), void *owner) {
    const json_t *query = json_object_get(options, "docQuery");
    json_t *ids = json_object_get(query, "sourceIds"), *id;
    const char *content = json_string_value(json_object_get(query, "content"));
    size_t i;
    if (!json_is_object(query)) return false;
    *ret_source_ids = json_is_array(ids) ? json_incref(ids) : json_array();
    struct finding *finding = NEW(struct finding);
    *finding = (struct finding){
        .work = {.work = on_find, .done = on_found},
        .serve = serve,
        .user = user,
        .text = mem_string(content ? content : ""),
        .found = json_array(),
        .done = done,
        .owner = owner,
    };
    json_array_foreach(ids, i, id) {
        struct source *source =
            finding->count < SOURCES_MAX ? search_documents(serve->search, json_string_value(id)) : NULL;
        if (source) finding->sources[finding->count++] = source;
    }
    accounts_job_began(serve);
    io_work_start(serve->loop, &finding->work);
    return true;
}

/* ---- what was found ---- */

static const json_t *best_of(const json_t *found) {
    const json_t *best = NULL;
    size_t i;
    json_t *one;
    json_array_foreach(found, i, one) {
        double score = json_real_value(json_object_get(one, "score"));
        if (!best || score > json_real_value(json_object_get(best, "score"))) best = one;
    }
    return best;
}

static void remove_from(json_t *array, const json_t *one) {
    for (size_t i = json_array_size(array); i > 0; i--)
        if (json_array_get(array, i - 1) == one) json_array_remove(array, i - 1);
}

void answer_docs_read(struct answer_docs *docs, json_t *taken_found) {
    scoped_json json_t *found = taken_found;
    answer_docs_done(docs);
    docs->hits = json_array();
    docs->stored = json_array();
    for (const json_t *best; json_array_size(docs->hits) < DOCS_MAX && (best = best_of(found));) {
        json_t *doc = json_copy((json_t *)best), *kept = json_copy((json_t *)best);
        json_object_del(doc, "score");
        json_object_set_new(doc, "__typename", json_string("MessageAttachmentIngestedDoc"));
        json_object_del(kept, "score");
        if (json_is_null(json_object_get(kept, "link"))) json_object_del(kept, "link");
        json_array_append_new(docs->stored, kept);
        json_array_append_new(docs->hits,
                              json_pack("{s:o,s:O}", "doc", doc, "score", json_object_get(best, "score")));
        remove_from(found, best);
    }
}

void answer_docs_add(const struct answer_docs *docs, struct text *out) {
    size_t i, from = out->size;
    json_t *one;
    json_array_foreach(docs->stored, i, one) {
        const char *title = json_string_value(json_object_get(one, "title"));
        const char *link = json_string_value(json_object_get(one, "link"));
        const char *body = json_string_value(json_object_get(one, "body"));
        if (out->size - from + strlen(body) > CONTEXT_BYTES_MAX) return;
        text_printf(out, "%.200s%s%s\n```\n%s\n```\n\n", title, link ? "\n" : "", link ? link : "", body);
    }
}
