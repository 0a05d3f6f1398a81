/* The index room's own: what its files share. */
#pragma once
#include "index.h"
#include "sql.h"

#include <pthread.h>

/* ---- words.c ---- */
void words_of(struct span text, struct text *out); /* separated by blanks, as the table has them */
struct span words_next(struct span *rest);         /* data NULL: no more */
#define WORDS_MAX 128
struct word_list {
    struct span words[WORDS_MAX]; /* distinct */
    size_t count, rare;           /* those that are looked for stand first */
};
/* Of the end of a text: what stands nearest to a cursor. */
void words_read(struct span text, struct word_list *ret_words);
void words_query(const struct word_list *words, struct text *out); /* "a" OR "b": the rare ones */
/* ---- languages.c ---- */
bool word_is_in(const char *words, struct span word); /* parted by blanks */
/* ---- chunk.c ---- */
struct syntax;
struct index_chunker {
    struct syntax *syntax;
    struct index_piece *pieces;
    size_t count, capacity;
    bool by_syntax;
};
void pieces_add(struct index_chunker *chunker, struct span text, uint32_t line); /* blanks at its end go */
/* ---- cut.c ---- */
struct grammar;
/* Lines that are not blank: chunks begin and end with them. */
struct cut_line {
    size_t at, end;              /* bytes, without its end of line */
    size_t first, last;          /* characters of the file before `at` and before `end` */
    uint32_t number;             /* from 1 */
    uint32_t parts_whole, parts; /* nodes that a cut before it parts: those that would fit, and others */
};
struct cut_lines {
    struct cut_line *lines;
    size_t count;
    uint32_t *of_row; /* the first line at or after a row, which counts from 0; rows + 1 of them */
    uint32_t rows;
};
/* A node of syntax that covers these rows, the last one too. */
void cut_mark(struct cut_lines *lines, uint32_t first_row, uint32_t last_row);
bool cut_by_syntax(struct index_chunker *chunker, struct span content, const struct grammar *grammar);
/* ---- grammars.c, or no_syntax.c ---- */
extern const char grammars_mark[]; /* part of an index's version: what is cut otherwise is another index */
const struct grammar *grammar_of(const char *path, const char *language); /* NULL: none */
/* ---- parser.c, or no_syntax.c ---- */
struct syntax *syntax_new(bool apart); /* in a process of its own */
void syntax_free(struct syntax *syntax);
/* Marks all nodes. False: the file makes no sense to the grammar, or is too much for it. */
bool syntax_mark(struct syntax *syntax, const struct grammar *grammar, struct span content,
                 struct cut_lines *lines);
/* ---- common.c ---- */
struct common {
    struct map *counts; /* word: in how many chunks of the sample; NULL: too few chunks to care */
    uint64_t sampled, words;
    int64_t last; /* the last chunk when it was made */
};
must_check struct error *common_read(struct sql *sql, struct common *common); /* where it must */
void common_done(struct common *common);
void common_part(const struct common *common, struct word_list *words); /* sets `rare` */
/* What the common words add to the score of a text. */
double common_weight(const struct common *common, const struct word_list *words, struct span text);
/* ---- database.c ---- */
must_check struct error *database_open(const char *path, enum sql_mode mode, struct sql **ret_sql);
/* The text that is searched by words and embedded: the path and the chunk, fenced. */
void database_chunk_text(struct span path, struct span body, struct text *out);
must_check struct error *database_fact(struct sql *sql, const char *name, char **ret_value); /* NULL: none */
must_check struct error *database_fact_set(struct sql *sql, const char *name, const char *value);
must_check struct error *database_file_add(struct sql *sql, const char *path, const char *hash,
                                           const char *language, int64_t run, size_t size_bytes,
                                           const struct index_piece *pieces, size_t count);
/* Of the report: what is in the index now. Files that are no code are known, and not counted. */
must_check struct error *database_counts(struct sql *sql, struct index_report *report);
must_check struct error *database_file_remove(struct sql *sql, int64_t file);
uint32_t database_language_mark(struct span language);

/* ---- update.c ---- */
/* One at a time, also where two servers share a directory; until the descriptor is closed. */
must_check struct error *update_lock(const char *database, int *ret_fd);

/* ---- vectors.c ---- */
struct vectors {
    uint32_t dimensions, words; /* words of 64 bits a vector */
    uint64_t *bits;
    struct vector_of {
        int64_t chunk, file;
        uint32_t language;
    } * of;
    size_t count, capacity;
    int64_t last;    /* row that was read last */
    int64_t removed; /* the table's count of removals when they were read */
};
must_check struct error *vectors_read(struct sql *sql, struct vectors *vectors); /* what is new */
void vectors_done(struct vectors *vectors);
/* Signs of the numbers, 64 a word. */
void vectors_pack(const float *numbers, uint32_t dimensions, uint64_t *out);
struct found {
    int64_t chunk;
    double score;
};
/* The best, the best first; returns how many. */
size_t vectors_best(const struct vectors *vectors, const uint64_t *wanted, uint32_t language,
                    int64_t except_file, struct found *out, size_t limit);

struct index {
    struct sql *sql; /* reads and, for vectors, writes */
    pthread_mutex_t mutex;
    struct vectors vectors;
    struct common common;
};

/* ---- mirror.c ---- */
struct git_repository;
struct repository {
    struct git_repository *git;
};
/* What libgit2 says of its last failure. */
must_check struct error *git_failure(int code, const char *format, ...) printf_like(2, 3);

/* ---- tree.c ---- */
struct git_tree;
/* rev NULL: HEAD. The tree is git_tree_free's. commit: "" where it is none. */
must_check struct error *tree_of(struct repository *repository, const char *rev, struct git_tree **ret_tree,
                                 char commit[48]);
/* The plain files whose path has no hidden part. An error of `visit` ends it, and is what is returned. */
struct tree_file {
    const char *path;
    char hash[48];
};
must_check struct error *tree_walk(struct git_tree *tree,
                                   struct error *(*visit)(void *owner, const struct tree_file *file),
                                   void *owner);
/* RESOURCE_EXHAUSTED: longer than the limit; then it is not read. */
must_check struct error *tree_content(struct repository *repository, const char *hash, size_t limit_bytes,
                                      struct text *ret_content);
