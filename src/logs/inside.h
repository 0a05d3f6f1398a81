/* logs, inside: a cursor reads one container's lines in order, over all parts of its log. */
#pragma once
#include "logs.h"

enum { LOGS_PARTS = 3 /* .log.1 to .log.3, and .log itself */ };

struct cursor {
    char *app, *function, *container; /* owned */
    char *path;                       /* of .log */
    int part;                         /* 3..1: an older part; 0: .log itself */
    int fd;
    uint64_t inode;
    struct text pending;
    size_t taken; /* bytes of pending that are behind us */
    bool turned;  /* the file is an older part by now, and what was added until then is being read */
    bool has_line;
    struct logs_line line; /* text lies in pending until the next cursor_next */
};
struct cursors {
    struct cursor **all;
    size_t count, capacity;
};
struct cursor *cursor_new(const char *directory, const char *app, const char *function,
                          const char *container);
void cursor_free(struct cursor *cursor);
/* Puts the next whole line into cursor->line. False: none yet. */
bool cursor_next(struct cursor *cursor);

/* Adds a cursor for each container that matches and has none yet. */
void cursors_find(struct cursors *cursors, const struct logs_query *query);
void cursors_done(struct cursors *cursors);
/* All there is, the earliest first. */
void cursors_merge(struct cursors *cursors, int64_t since_ms,
                   void (*line)(void *owner, const struct logs_line *line), void *owner);
/* The same, but only the last `last` lines (0: all). */
void cursors_merge_last(struct cursors *cursors, const struct logs_query *query,
                        void (*line)(void *owner, const struct logs_line *line), void *owner);
bool line_parse(struct span whole, struct logs_line *line); /* "TIME out text"; false: it is none */
