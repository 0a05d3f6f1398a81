/* prepare: an app's functions one after the other, each with what it needs of the node. */
#include "inside.h"

#include <stdlib.h>

struct pool_prepare {
    struct pool *pool;
    const struct core_app *app;
    size_t next;
    bool freed; /* with nothing under way: `on_nothing` still comes */
    struct node_prepare *under_way;
    void (*line)(void *owner, struct span text);
    void (*done)(void *owner, struct error *error);
    void *owner;
};

static void go_on(struct pool_prepare *prepare);

static void on_line(void *owner, struct span text) {
    const struct pool_prepare *prepare = owner;
    if (prepare->line) prepare->line(prepare->owner, text);
}

static void on_prepared(void *owner, struct error *error) {
    struct pool_prepare *prepare = owner;
    prepare->under_way = NULL;
    if (!error && prepare->next < prepare->app->function_count) {
        go_on(prepare);
        return;
    }
    const char *name = prepare->next ? prepare->app->functions[prepare->next - 1]->name : "";
    if (error) error = error_wrap(error, "function %s", name);
    void (*done)(void *, struct error *) = prepare->done;
    void *done_owner = prepare->owner;
    free(prepare);
    done(done_owner, error);
}

static void go_on(struct pool_prepare *prepare) {
    const struct core_function *function = prepare->app->functions[prepare->next++];
    prepare->under_way = node_prepare(prepare->pool->node, function, on_line, on_prepared, prepare);
}

static void on_nothing(void *owner) {
    struct pool_prepare *prepare = owner;
    if (prepare->freed)
        free(prepare);
    else
        on_prepared(prepare, NULL);
}

struct pool_prepare *pool_app_prepare(struct pool *pool, const struct core_app *app,
                                      void (*line)(void *owner, struct span text),
                                      void (*done)(void *owner, struct error *error), void *owner) {
    struct pool_prepare *prepare = NEW(struct pool_prepare);
    *prepare = (struct pool_prepare){.pool = pool, .app = app, .line = line, .done = done, .owner = owner};
    if (app->function_count > 0)
        go_on(prepare);
    else
        io_defer(pool->loop, on_nothing, prepare);
    return prepare;
}

void pool_prepare_free(struct pool_prepare *prepare) {
    if (!prepare) return;
    node_prepare_free(prepare->under_way);
    prepare->freed = true;
    if (prepare->app->function_count > 0) free(prepare);
}
