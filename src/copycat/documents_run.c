/* The index of a source of documents brought up to date, on a worker: the table in the database says which
 * there are.
 *
 *   listed -> what is new is read and cut, what is gone removed (index) -> those that waited: indexed
 *
 * Ends otherwise: they are marked as failed, and tried again with the next document or when somebody asks. */
#include "search.h"

#include <stdlib.h>

struct documents {
    struct io_work work;
    struct search *search;
    struct source *source;
    struct index_report report;
};

static struct account *account_of(const struct documents *documents) {
    return documents->search->serve->accounts->account;
}

static struct error *read_one(void *owner, const char *path, struct text *out) {
    const struct documents *documents = owner;
    scoped_json json_t *document = NULL;
    TRY_PLAIN(account_document(account_of(documents), documents->source->id, path, &document));
    text_printf(out, "%s\n\n%s", json_string_value(json_object_get(document, "title")),
                json_string_value(json_object_get(document, "body")));
    return NULL;
}

static bool is_over(void *owner) {
    const struct documents *documents = owner;
    return atomic_load(&documents->search->stopping);
}

static struct error *update(struct documents *documents) {
    const char *id = documents->source->id;
    scoped_json json_t *list = NULL;
    TRY_PLAIN(account_document_list(account_of(documents), id, &list));
    size_t count = json_array_size(list);
    const json_t *newest = count > 0 ? json_array_get(list, count - 1) : NULL;
    const struct index_documents wanted = {
        .database = documents->source->database,
        .wanted = list,
        .read = read_one,
        .cancelled = is_over,
        .owner = documents,
    };
    struct error *error = index_documents_update(&wanted, &documents->report);
    if (!error)
        return account_documents_mark(account_of(documents), id,
                                      json_integer_value(json_object_get(newest, "mark")), true);
    if (error->code != ERROR_ABORTED) error_free(account_documents_mark(account_of(documents), id, 0, false));
    return error;
}

static void on_update(struct io_work *work) {
    work->error = update(CONTAINER_OF(work, struct documents, work));
}

static void on_updated(struct io_work *work) {
    struct documents *documents = CONTAINER_OF(work, struct documents, work);
    struct search *search = documents->search;
    const struct index_report *report = &documents->report;
    scoped(error) struct error *error = take(work->error);
    char *output = error
                       ? error_text(error)
                       : mem_printf("%llu documents (%llu bytes), %llu new or changed, %llu removed; %llu "
                                    "chunks; indexed in %lld ms",
                                    (unsigned long long)report->files, (unsigned long long)report->bytes,
                                    (unsigned long long)report->changed, (unsigned long long)report->removed,
                                    (unsigned long long)report->chunks, (long long)report->index_ms);
    free(documents);
    indexing_ended(search, error ? 1 : 0, output);
    accounts_job_ended(search->serve);
}

void documents_run(struct search *search, struct source *source) {
    struct documents *documents = NEW(struct documents);
    *documents = (struct documents){
        .work = {.work = on_update, .done = on_updated},
        .search = search,
        .source = source, /* held by whoever starts it, until it is noted */
    };
    accounts_job_began(search->serve);
    io_work_start(search->serve->loop, &documents->work);
}
