/* Code search in a running server: its repositories, their indexes and how they stay fresh, and what is asked
 * of them. */
#pragma once
#include "accounts.h"
#include "index.h"

#include <pthread.h>
#include <stdatomic.h>

enum source_state { SOURCE_WAITING, SOURCE_INDEXING, SOURCE_EMBEDDING, SOURCE_READY, SOURCE_FAILED };

/* A repository, or the documents of one source. Who works with it on another thread holds a reference. What
 * changes is guarded by the search's mutex. */
struct source {
    struct list node;
    struct search *search;
    uint32_t references;
    /* id: "git:E16n1q", "config:4WmznP", "provided_repository:E16n1q", "ingested:NAME"; of documents, url is
     * the id, and mirror NULL */
    char *id, *name, *url, *database, *mirror;
    char *fetch_url; /* the same with a token, where one is needed; NULL: url. On the loop */
    char **refs;     /* NULL-terminated; NULL: what HEAD names */
    bool from_config, documents, gone, shares_mirror;
    int64_t newest, total;   /* of documents, when they were listed: the last row, and how many */
    struct index *index;     /* NULL: not opened */
    struct index *old_index; /* of a file that was made again since; freed when that happens the next time */
    uint64_t inode;          /* of the file that is open */
    enum source_state state;
    char *failure; /* of the last run; NULL: it went well */
    struct index_state numbers;
    int64_t tried_ms; /* wall clock; when the last run began */
    bool wanted;      /* a run is due */
    bool unfinished;  /* there are chunks without a vector */
    int64_t job;      /* row of the run that somebody asked for, and that is to come; 0: none */
};

struct search {
    struct serve *serve;
    pthread_mutex_t mutex;
    struct list sources;
    struct io_post *changed; /* the list in the database may be another */
    bool listing, list_again;
    int64_t listed_ms; /* wall clock; when that began last */
    struct io_timer *timer;
    int64_t interval_ms; /* between two runs */
    /* one run at a time */
    struct source *at_work;
    int64_t job; /* row of this run; 0: nobody asked for it */
    struct io_child *child;
    bool syncing;         /* a list of repositories elsewhere is being asked for */
    atomic_bool stopping; /* the server ends: work on other threads may as well */
    struct embedding_batch *batch;
    uint32_t finding; /* searches under way */
    uint64_t searches, searches_failed;
    int64_t searches_us; /* how long they took, summed */
    uint32_t busy;       /* completions and chats at work: they go first */
    int64_t quiet_ms;
    struct index_language *languages;
};

/* ---- sources.c ---- */
must_check struct error *search_open(struct serve *serve);
void search_stop(struct serve *serve); /* starts nothing any more */
void search_free(struct serve *serve); /* no work is under way */
/* From any thread: the list of repositories was changed. */
void search_changed(struct search *search);
struct source *source_hold(struct source *source);
void source_drop(struct source *source);
json_t *source_refs(const struct source *source); /* names, as an array */
/* Clients give the source's id, or that of its row and the kind of repository; owned. */
char *source_id_of(const char *id, struct span kind);
const char *source_job(const struct source *source); /* the name of the job that brings it up to date */
/* A repository, or a source of documents; NULL: there is none. A reference for the caller. From any thread.
 */
struct source *search_source(struct search *search, const char *id);
struct source *search_documents(struct search *search, const char *id);
/* [{"id", "name", "url", "refs", "config", "state", "failure", "files", ...}]; from any thread. */
json_t *search_states(struct search *search); /* of repositories */
struct index_repository source_repository(const struct source *source);
/* The index, opened where it is not yet; on a worker. */
must_check struct error *source_index(struct source *source, struct index **ret_index);
/* The command of the job that brings it up to date; owned. */
char *source_command(const char *id);
#define DOCUMENTS_COMMAND "\"SyncIngestionIndex\""
/* From any thread. NOT_FOUND: no such command. *ret_row: of the run. */
must_check struct error *search_trigger(struct search *search, const char *command, int64_t *ret_row);
void search_give_back(struct search *search);

/* ---- indexing.c: on the loop ---- */
void indexing_next(struct search *search); /* starts what is due, where nothing is under way */
void indexing_cancel(struct search *search);
/* The run under way ended: it is noted, and what is next begins. The output is taken. */
void indexing_ended(struct search *search, int exit_code, char *taken_output);
/* A completion or a chat begins, or ends. */
void search_busy(struct serve *serve, int change);

/* ---- documents_run.c ---- */
void documents_run(struct search *search, struct source *source); /* then indexing_ended */

/* ---- integrations.c ---- */
void integrations_next(struct search *search); /* asks the server that is due, where there is one */
char *integration_command(const char *id);     /* of the job that asks it; owned */
/* From any thread. *ret_row: of the run. */
must_check struct error *integration_trigger(struct search *search, const char *id, int64_t *ret_row);

/* ---- index_run.c ---- */
int index_run(void); /* `tabby index`: what to do comes on stdin, the report goes to stdout */

/* ---- embeddings.c ---- */
must_check struct error *embeddings_find(struct serve *serve);
void embeddings_free(struct serve *serve);
bool embeddings_there(const struct serve *serve);
uint64_t embeddings_give_back(struct serve *serve);
json_t *embeddings_health(const struct serve *serve); /* as /v1/health tells it */
/* On a worker: loads the model where it must. */
must_check struct error *embeddings_ready(struct serve *serve, struct index_embedder *ret_embedder);

/* ---- found.c: a search ---- */
struct find_answer {
    struct index_hits *hits; /* the receiver's (index_hits_done) */
    const char *url;         /* without user and password; borrowed for the call, as the next */
    const char *source_id;   /* of the repository that was searched; NULL: none */
    struct error *error;     /* owned; then there are no hits */
};
struct find_options {
    struct span git_url, source_id; /* one of the two */
    struct span text, language, except_path;
    const struct settings_search *limits; /* borrowed for the call, as the texts */
    struct visitor visitor;
    void (*done)(void *owner, struct find_answer *answer); /* on the loop, once, later */
    void *owner;
};
/* On a worker: one that was chosen, and may be read. */
struct source_query {
    struct span text, language, except_path;
    const struct settings_search *limits;
};
must_check struct error *search_source_blocking(struct serve *serve, struct source *source,
                                                const struct source_query *query,
                                                struct index_hits *ret_hits);
/* false: there is no such repository, and nothing will come. */
bool search_find(struct serve *serve, const struct find_options *options);
