/* The text of a Dockerfile as stages of instructions. Nothing is carried out and no variable replaced here.
 */
#pragma once
#include "base.h"

enum keyword {
    KEYWORD_ADD,
    KEYWORD_ARG,
    KEYWORD_CMD,
    KEYWORD_COPY,
    KEYWORD_ENTRYPOINT,
    KEYWORD_ENV,
    KEYWORD_EXPOSE,
    KEYWORD_FROM,
    KEYWORD_HEALTHCHECK,
    KEYWORD_LABEL,
    KEYWORD_MAINTAINER,
    KEYWORD_ONBUILD,
    KEYWORD_RUN,
    KEYWORD_SHELL,
    KEYWORD_STOPSIGNAL,
    KEYWORD_USER,
    KEYWORD_VOLUME,
    KEYWORD_WORKDIR,
};
const char *keyword_name(enum keyword keyword);

struct heredoc {
    char *name, *body; /* body with its last newline; without leading tabs where `<<-` said so */
    bool expand;       /* the name was not quoted */
};
struct instruction {
    enum keyword keyword;
    unsigned line; /* where it begins; from 1 */
    char **flags;  /* "--from=x"; NULL-terminated */
    char *text;    /* what follows, on one line, without comments */
    char **json;   /* the exec form; NULL: the text is not a list */
    struct heredoc *heredocs;
    size_t heredoc_count;
};
struct dockerfile {
    char *name; /* of the file, for messages */
    char escape;
    struct instruction *instructions;
    size_t count;
};
/* INVALID_ARGUMENT: "NAME:LINE: what is wrong". */
must_check struct error *dockerfile_parse(struct span text, const char *name,
                                          struct dockerfile *ret_dockerfile);
void dockerfile_done(struct dockerfile *dockerfile);

/* ---- words.c: quotes, escapes, variables ---- */
struct variables {
    const char *(*get)(void *owner, const char *name); /* NULL: not set */
    void *owner;
};
/* One word as docker's: quotes and escapes go, variables are replaced. Owned. */
must_check struct error *word_expand(struct span word, char escape, const struct variables *variables,
                                     char **ret_text);
/* A here-document: variables only, all else stays. */
must_check struct error *body_expand(struct span body, char escape, const struct variables *variables,
                                     char **ret_text);
/* Parts at blanks outside of quotes; quotes and escapes stay. Owned, NULL-terminated. */
char **words_split(struct span text, char escape);
char **words_split_plain(struct span text); /* at blanks, whatever they stand in */
