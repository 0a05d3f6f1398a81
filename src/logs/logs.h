/* logs: what containers wrote, as files: where they lie, how they turn, how they are read and followed.
 *
 * DIR/APP/FUNCTION/CONTAINER.log, older parts .log.1 (newest) to .log.3. One line a line of output:
 * "2026-01-02T03:04:05.678Z out text" (or "err"; "sys" for what catnap itself says of the container).
 * catnap-init writes them (it outlives the daemon), this room reads them and adds "sys" lines. */
#pragma once
#include "io.h"

struct logs_line {
    int64_t wall_ms;
    char stream;      /* 'o', 'e', 's' */
    struct span text; /* without the newline; borrowed for the call */
    const char *app, *function, *container;
};
struct logs_query {
    const char *dir;
    const char *app;
    const char *function; /* NULL: all of the app */
    int64_t since_ms;     /* wall; 0: all */
    size_t last;          /* only the last N lines; 0: all */
};
/* Lines in the order of time, over all files that match. Blocking, bounded memory. */
must_check struct error *logs_read(const struct logs_query *query,
                                   void (*line)(void *owner, const struct logs_line *line), void *owner);
/* The same, then what comes, until logs_follow_free. New containers' files are picked up. Woken by inotify,
 * not by polling. */
struct logs_follow;
must_check struct error *logs_follow_start(struct io_loop *loop, const struct logs_query *query,
                                           void (*line)(void *owner, const struct logs_line *line),
                                           void *owner, struct logs_follow **ret_follow);
void logs_follow_free(struct logs_follow *follow);
/* The last `lines` lines of one container, at most `limit_bytes`, joined by newlines. Owned by the caller,
 * never NULL. */
char *logs_tail(const char *dir, const char *app, const char *function, const char *container, size_t lines,
                size_t limit_bytes);
void logs_say(const char *dir, const char *app, const char *function, const char *container,
              const char *text); /* a "sys" line */
/* Lines of a program whose output does not pass by catnap-init; `stream`: "out" or "err". */
void logs_add(const char *dir, const char *app, const char *function, const char *container,
              const char *stream, struct span lines);
/* How long what ended containers wrote is kept. */
struct logs_keeping {
    const char *dir;
    size_t count;             /* containers of a function, the newest */
    uint64_t bytes;           /* of a function, the newest; its last container's stays in any case */
    int64_t age_s;            /* since somebody wrote to it */
    const struct map *living; /* names of containers whose logs stay whatever there is; NULL: none */
};
void logs_prune(const struct logs_keeping *keeping, const char *app, const char *function); /* blocks */
void logs_prune_all(const struct logs_keeping *keeping); /* of all apps, also of such as are gone; blocks */
