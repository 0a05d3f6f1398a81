/* index: code that can be searched: repositories, chunks of their files, words and vectors.
 *
 * What it knows that others don't: git (libgit2: mirrors of repositories from elsewhere, those on this disk
 * read where they are, never a work tree), which files are code, how they are cut, the file that holds an
 * index, and how what words and what vectors find becomes one list. It knows no model: vectors come from a
 * caller's function. All calls block, for the disk or the network, and belong on a worker or into a process
 * of their own. An index is a file that can always be made again: what is broken in it is thrown away. */
#pragma once
#include "base.h"

/* ---- what is looked at ---- */
struct index_language {
    const char *name;
    const char *const *extensions; /* NULL-terminated, without the dot */
};
struct index_repository {
    const char *url;         /* file:// is read in place; others are mirrored */
    const char *const *refs; /* branches, tags or full names; NULL or empty: what HEAD names */
    const char *mirror;      /* directory for a mirror */
};
/* The name that a path's ending gives; NULL: none that is known. `more` may be NULL, ends without a name. */
const char *index_language_of(const char *path, const struct index_language *more);
/* The one name of languages that are searched as one. */
struct span index_language_kind(struct span name);
/* The last part of a URL without ".git": what is compared. */
struct span index_url_name(struct span url);
/* The same URL without user and password; owned by the caller. */
char *index_url_public(const char *url);

/* ---- repositories, as they are in git ---- */
struct repository;
/* fetch: whatever is new elsewhere is fetched first. NOT_FOUND: no such repository; UNAVAILABLE: it cannot be
 * reached; FAILED_PRECONDITION: it was never fetched. */
must_check struct error *repository_open(const struct index_repository *which, bool fetch,
                                         struct repository **ret_repository);
void repository_free(struct repository *repository);
DEFINE_SCOPED(repository)
/* {"name", "commit"} of branches and tags. */
must_check struct error *repository_refs(struct repository *repository, json_t **ret_refs);
/* rev NULL: HEAD. path "": the root. A directory: *ret_entries [{"kind": "file"|"dir", "basename"}]; a file:
 * *ret_content (owned by the caller, RESOURCE_EXHAUSTED beyond the limit) and *ret_entries NULL. */
must_check struct error *repository_read(struct repository *repository, const char *rev, const char *path,
                                         size_t limit_bytes, json_t **ret_entries, struct text *ret_content);
/* Paths that have the pattern's letters in order, the best first: [{"type", "path", "indices"}]. */
must_check struct error *repository_find(struct repository *repository, const char *rev, const char *pattern,
                                         size_t limit, json_t **ret_entries);
/* Lines that match; the query as Tabby's: words are a regular expression, f:, lang:, - negates.
 * [{"path", "lines": [{"line": {"text", "base64"}, "byteOffset", "lineNumber", "subMatches": [{"bytesStart",
 * "bytesEnd"}]}]}]. INVALID_ARGUMENT: no regular expression. */
must_check struct error *repository_grep(struct repository *repository, const char *rev, const char *query,
                                         size_t limit, json_t **ret_files);

/* ---- bringing an index up to date ---- */
struct index_report {
    uint64_t files, bytes;      /* that are code */
    uint64_t changed, removed;  /* files */
    uint64_t rejected;          /* files that are no text, too long, mostly numbers ... */
    uint64_t chunks;            /* in the index now */
    int64_t fetch_ms, index_ms; /* how long it took */
};
struct index_update {
    const char *database; /* file of the index; its directory is there */
    struct index_repository repository;
    const struct index_language *languages; /* more of them, or NULL */
};
/* File by file, each whole: whenever it is ended, the index is good, and the next run goes on from there. */
must_check struct error *index_update(const struct index_update *update, struct index_report *ret_report);
/* The same for texts that a caller has, instead of files of a repository. */
struct index_documents {
    const char *database;
    const json_t *wanted; /* [{"path", "mark"}] of all; another mark (a number): another text */
    /* NOT_FOUND: it is gone meanwhile, and is left out. */
    struct error *(*read)(void *owner, const char *path, struct text *out);
    bool (*cancelled)(void *owner); /* asked now and then; true: ABORTED, and what is done already stays */
    void *owner;
};
must_check struct error *index_documents_update(const struct index_documents *update,
                                                struct index_report *ret_report);
void index_remove(const char *database); /* the file and what lies beside it */

/* ---- chunks of a text ---- */
#define INDEX_CHUNK_CHARACTERS 512
struct index_piece {
    struct span text;
    uint32_t line; /* of its beginning, from 1 */
};
/* Whether a file's content is worth it: text, lines of a person's length, not mostly numbers. */
bool index_is_code(struct span content);
/* Cuts one file after the other; one thread's. */
struct index_chunker;
/* apart: files are parsed in a process of their own, which ends with one that is too much for it. Else here,
 * without bounds of time and memory. */
struct index_chunker *index_chunker_new(bool apart);
void index_chunker_free(struct index_chunker *chunker);
DEFINE_SCOPED(index_chunker)
/* The path's ending and the language name the grammar, where one is there; else, and where a file is too hard
 * for it, the lines' indentation decides. Returns how many; they point into the content, and are the
 * chunker's until it cuts again. */
size_t index_chunker_cut(struct index_chunker *chunker, struct span content, const char *path,
                         const char *language, const struct index_piece **ret_pieces);
bool index_chunker_by_syntax(const struct index_chunker *chunker); /* the last cut */

/* ---- searching ---- */
struct index;
/* NOT_FOUND: nothing was indexed yet. */
must_check struct error *index_open(const char *database, struct index **ret_index);
void index_free(struct index *index);
DEFINE_SCOPED(index)
struct index_state {
    uint64_t files, chunks, vectors;
    int64_t updated_ms; /* when the last whole run ended, wall clock; 0: none yet */
    char commit[48];    /* that was indexed; "" */
};
must_check struct error *index_state(struct index *index, struct index_state *ret_state);

/* Vectors for the next chunks that have none: at most `limit`, in order. `embed` gets the text of one and
 * fills `dimensions` numbers; `model` names what made them: those of another one are dropped first.
 * *ret_done: how many; 0: none is missing. */
struct index_embedder {
    const char *model;
    uint32_t dimensions;
    struct error *(*embed)(void *owner, struct span text, float *out);
    void *owner;
};
must_check struct error *index_embed(struct index *index, const struct index_embedder *embedder, size_t limit,
                                     size_t *ret_done);

struct index_query {
    struct span text;
    struct span language;    /* empty: any */
    struct span except_path; /* empty: none */
    const float *vector;     /* of the text; NULL: words alone decide */
    uint32_t dimensions;
    double min_embedding, min_bm25, min_rrf;
    uint32_t to_return, to_score;
};
struct index_hit {
    char *path, *language, *body;
    uint32_t line; /* 0: it is the whole file */
    double rrf, bm25, embedding;
};
struct index_hits {
    struct index_hit *hits;
    size_t count;
    char commit[48];
};
must_check struct error *index_search(struct index *index, const struct index_query *query,
                                      struct index_hits *ret_hits);
void index_hits_done(struct index_hits *hits);
/* Gives back what is kept in memory for quick searches. */
void index_forget(struct index *index);
