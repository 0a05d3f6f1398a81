/* oldlogs: what ended containers wrote is kept for a while, and not for good.
 *
 * When a container ends its function's logs are looked at; once a day, with an end or a start, those of all
 * functions, so that apps that are gone go here too. A lone container's output is not in its log, so its
 * directory goes with it. All of it on a worker; what lives is told to it by name. */
#include "inside.h"
#include "logs.h"

#include <stdio.h>
#include <stdlib.h>

#define KEPT_COUNT 1000
#define KEPT_BYTES (UINT64_C(256) << 20)
#define KEPT_S (30 * 86400)
#define ALL_EVERY_MS (24 * 3600 * 1000)

struct job {
    struct io_work work;
    char *dir, *app, *function; /* app NULL: all */
    bool whole;                 /* its directory, at once */
    struct map *living;
};

static void work(struct io_work *io) {
    const struct job *job = CONTAINER_OF(io, struct job, work);
    const struct logs_keeping keeping = {
        .dir = job->dir, .count = KEPT_COUNT, .bytes = KEPT_BYTES, .age_s = KEPT_S, .living = job->living};
    if (job->whole) {
        scoped_string char *path = mem_printf("%s/%s/%s", job->dir, job->app, job->function);
        error_free(tree_remove(path));
    } else if (job->app) {
        logs_prune(&keeping, job->app, job->function);
    } else {
        logs_prune_all(&keeping);
    }
}

static void done(struct io_work *io) {
    struct job *job = CONTAINER_OF(io, struct job, work);
    free(job->dir);
    free(job->app);
    free(job->function);
    map_free(job->living);
    free(job);
}

static void start(struct node *node, const char *app, const char *function, bool whole) {
    struct job *job = NEW(struct job);
    *job = (struct job){.work = {.work = work, .done = done},
                        .dir = mem_string(node->logs_dir),
                        .app = mem_string(app),
                        .function = mem_string(function),
                        .whole = whole,
                        .living = map_new()};
    uint64_t number;
    for (size_t i = 0; table_next(node->locals, &i, &number, NULL);) {
        char name[24];
        snprintf(name, sizeof name, "%llu", (unsigned long long)number);
        map_put(job->living, span_of(name), node);
    }
    io_work_start(node->loop, &job->work);
}

void oldlogs_look(struct node *node) {
    int64_t now_ms = io_now_ms(node->loop);
    if (node->logs_looked_ms && now_ms - node->logs_looked_ms < ALL_EVERY_MS) return;
    node->logs_looked_ms = now_ms;
    start(node, NULL, NULL, false);
}

void oldlogs_ended(struct node *node, const struct local *local) {
    start(node, local->app, local->function, local->lone != NULL);
    oldlogs_look(node);
}
