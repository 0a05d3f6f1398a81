/* Indexes kept fresh: one repository at a time, when nobody waits for an answer.
 *
 *   due -> a process fetches and cuts (index_run.c) -> its end noted, numbers read -> vectors, some chunks at
 * a time on a worker, while no completion or chat is at work -> ready
 * Ends otherwise: the process fails or takes too long: the old index stays, the reason is told, and it is
 * tried again when it is due again. The server ends: the process too; what it committed stays. */
#include "search.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RUN_MS (4 * 3600000ll) /* of one process; a first clone over a slow line may take long */
#define QUIET_MS 2000          /* after the last answer, before vectors are computed again */
#define BATCH 4                /* chunks: about a quarter of a second */

struct embedding_batch {
    struct io_work work;
    struct search *search;
    struct source *source;
    size_t done;
};

struct noting {
    struct io_work work;
    struct search *search;
    struct source *source;
    int64_t job, took_s;
    int exit_code;
    char *output;
    struct index_state numbers;
};

/* ---- the end of a run ---- */

static void on_note(struct io_work *work) {
    struct noting *noting = CONTAINER_OF(work, struct noting, work);
    struct serve *serve = noting->search->serve;
    struct index *index = NULL;
    struct error *error = source_index(noting->source, &index);
    if (!error) error = index_state(index, &noting->numbers);
    error_free(error); /* a first run that failed */
    if (!serve->accounts->schema) return;
    struct account *account = serve->accounts->account;
    bool documents = noting->source->documents;
    if (documents && !noting->job && noting->exit_code == 0) return; /* each document that comes makes one */
    if (!noting->job) {
        scoped_string char *command =
            documents ? mem_string(DOCUMENTS_COMMAND) : source_command(noting->source->id);
        work->error =
            account_job_begin(account, source_job(noting->source), command, noting->took_s, &noting->job);
    }
    if (!work->error)
        work->error =
            account_job_end(account, noting->job, noting->took_s, noting->exit_code, span_of(noting->output));
}

static void on_noted(struct io_work *work) {
    struct noting *noting = CONTAINER_OF(work, struct noting, work);
    struct search *search = noting->search;
    struct source *source = noting->source;
    scoped_string char *why = work->error ? error_text(work->error) : NULL;
    if (why) log_warn("copycat", "the run is not noted: %s", why);
    error_free(take(work->error));
    pthread_mutex_lock(&search->mutex);
    source->numbers = noting->numbers;
    free(source->failure);
    source->failure = noting->exit_code ? mem_string(noting->output) : NULL;
    source->unfinished = noting->numbers.vectors < noting->numbers.chunks;
    source->state = noting->exit_code ? SOURCE_FAILED : SOURCE_READY;
    pthread_mutex_unlock(&search->mutex);
    scoped_string char *told = index_url_public(source->url);
    if (noting->exit_code)
        log_warn("copycat", "index of %s (%s): %s", source->name, told, noting->output);
    else if (source->documents) /* each that comes makes a run */
        log_debug("copycat", "index of %s: %s", source->name, noting->output);
    else
        log_info("copycat", "index of %s (%s): %s", source->name, told, noting->output);
    search->at_work = NULL;
    free(noting->output);
    free(noting);
    source_drop(source);
    indexing_next(search);
    accounts_job_ended(search->serve);
}

void indexing_ended(struct search *search, int exit_code, char *taken_output) {
    struct noting *noting = NEW(struct noting);
    struct source *source = search->at_work;
    *noting = (struct noting){.work = {.work = on_note, .done = on_noted},
                              .search = search,
                              .source = source,
                              .job = search->job,
                              .took_s = (clock_wall_ms() - source->tried_ms) / 1000,
                              .exit_code = exit_code,
                              .output = taken_output};
    search->job = 0;
    accounts_job_began(search->serve);
    io_work_start(search->serve->loop, &noting->work);
}

/* ---- a run ---- */

static void on_child(void *owner, struct io_child_end *end) {
    struct search *search = owner;
    scoped(error) struct error *error = end->error;
    search->child = NULL;
    scoped_string char *why = error ? error_text(error) : NULL;
    int code = error ? -1 : end->exit_code == 0 ? 0 : end->signal ? 128 + end->signal : end->exit_code;
    if (end->signal && !why) why = mem_printf("the indexing process was ended by signal %d", end->signal);
    indexing_ended(search, code, why ? mem_string(why) : span_string(span_trim(end->output)));
}

static json_t *languages_json(const struct search *search) {
    json_t *languages = json_array();
    for (size_t i = 0; search->languages[i].name; i++) {
        json_t *extensions = json_array();
        for (size_t e = 0; search->languages[i].extensions[e]; e++)
            json_array_append_new(extensions, json_string(search->languages[i].extensions[e]));
        json_array_append_new(
            languages, json_pack("{s:s,s:o}", "name", search->languages[i].name, "extensions", extensions));
    }
    return languages;
}

/* A file without a name that holds the task; -1: errno says why not. */
static int task_file(const struct search *search, const struct source *source) {
    scoped_json json_t *task =
        json_pack("{s:s,s:o,s:s,s:s,s:o}", "url", source->fetch_url ? source->fetch_url : source->url, "refs",
                  source_refs(source), "mirror", source->mirror, "database", source->database, "languages",
                  languages_json(search));
    scoped_string char *text = json_dumps(task, JSON_COMPACT);
    scoped_fd int fd = memfd_create("task", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || lseek(fd, 0, SEEK_SET) != 0)
        return -1;
    return take_fd(&fd);
}

static void start_child(struct search *search, struct source *source) {
    scoped_fd int task = task_file(search, source);
    if (task < 0) return indexing_ended(search, -1, mem_printf("no file for its task: errno %d", errno));
    const char *const argv[] = {"/proc/self/exe", "index", NULL};
    struct io_child_options options = {
        .argv = argv,
        .stdin_fd = task,
        .stdout_fd = -1,
        .stderr_fd = -1,
        .deadline_ms = RUN_MS,
        .done = on_child,
        .owner = search,
    };
    search->child = io_child_start(search->serve->loop, &options);
}

static void start_run(struct search *search, struct source *source) {
    search->at_work = source_hold(source);
    pthread_mutex_lock(&search->mutex);
    source->wanted = false;
    search->job = source->job;
    source->job = 0;
    source->tried_ms = clock_wall_ms();
    source->state = SOURCE_INDEXING;
    pthread_mutex_unlock(&search->mutex);
    if (source->documents)
        documents_run(search, source);
    else
        start_child(search, source);
}

/* ---- vectors ---- */

static void on_batch(struct io_work *work) {
    struct embedding_batch *batch = CONTAINER_OF(work, struct embedding_batch, work);
    struct index_embedder embedder;
    struct index *index = NULL;
    work->error = source_index(batch->source, &index);
    if (!work->error) work->error = embeddings_ready(batch->search->serve, &embedder);
    if (!work->error) work->error = index_embed(index, &embedder, BATCH, &batch->done);
    struct index_state numbers;
    if (work->error || index_state(index, &numbers)) return; /* the next one tells */
    pthread_mutex_lock(&batch->search->mutex);
    batch->source->numbers = numbers;
    pthread_mutex_unlock(&batch->search->mutex);
}

static void on_batched(struct io_work *work) {
    struct embedding_batch *batch = CONTAINER_OF(work, struct embedding_batch, work);
    struct search *search = batch->search;
    struct source *source = batch->source;
    scoped_string char *why = work->error ? error_text(work->error) : NULL;
    error_free(take(work->error));
    pthread_mutex_lock(&search->mutex);
    if (why || batch->done == 0) source->unfinished = false;
    source->state = why ? SOURCE_FAILED : batch->done ? SOURCE_EMBEDDING : SOURCE_READY;
    if (why) {
        free(source->failure);
        source->failure = mem_printf("no vectors: %s", why);
    }
    pthread_mutex_unlock(&search->mutex);
    if (why) log_warn("copycat", "index of %s: no vectors: %s", source->name, why);
    free(batch);
    search->batch = NULL;
    search->at_work = NULL;
    source_drop(source);
    indexing_next(search);
    accounts_job_ended(search->serve);
}

static void start_batch(struct search *search, struct source *source) {
    struct embedding_batch *batch = NEW(struct embedding_batch);
    *batch = (struct embedding_batch){
        .work = {.work = on_batch, .done = on_batched}, .search = search, .source = source_hold(source)};
    search->at_work = source;
    search->batch = batch;
    accounts_job_began(search->serve);
    io_work_start(search->serve->loop, &batch->work);
}

/* ---- what is next ---- */

static struct source *first_wanted(const struct search *search) {
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (source->wanted) return source;
    }
    return NULL;
}

static struct source *first_unfinished(const struct search *search) {
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (source->unfinished) return source;
    }
    return NULL;
}

void indexing_next(struct search *search) {
    if (search->at_work || !search->timer) return;
    struct source *source = first_wanted(search);
    if (source) return start_run(search, source);
    if (!embeddings_there(search->serve) || search->busy > 0) return;
    source = first_unfinished(search);
    if (!source) return;
    int64_t quiet_ms = search->quiet_ms + QUIET_MS - io_now_ms(search->serve->loop);
    if (search->quiet_ms && quiet_ms > 0)
        io_timer_arm(search->timer, quiet_ms);
    else
        start_batch(search, source);
}

void indexing_cancel(struct search *search) {
    if (!search->child) return;
    io_child_free(take(search->child));
    struct source *source = search->at_work;
    search->at_work = NULL;
    source_drop(source);
}

void search_busy(struct serve *serve, int change) {
    struct search *search = serve->search;
    if (!search) return;
    search->busy = (uint32_t)((int)search->busy + change);
    search->quiet_ms = io_now_ms(serve->loop);
    if (change < 0 && search->busy == 0) indexing_next(search);
}
