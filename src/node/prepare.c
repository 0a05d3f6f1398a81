/* prepare: what a function needs of this machine before it can be accepted, and what takes time: its image,
 * pulled where it is not here. At `catnap up`, so that no wake ever waits for a registry. */
#include "inside.h"

#include <stdlib.h>

struct node_prepare {
    struct node *node;
    struct image_job *job;
    struct error *error;
    bool freed, due;
    void (*line)(void *owner, struct span text);
    void (*done)(void *owner, struct error *error);
    void *owner;
};

static void tell(void *owner) {
    struct node_prepare *prepare = owner;
    prepare->due = false;
    if (!prepare->freed) prepare->done(prepare->owner, take(prepare->error));
    error_free(prepare->error);
    free(prepare);
}

static void on_line(void *owner, struct span text) {
    const struct node_prepare *prepare = owner;
    if (prepare->line) prepare->line(prepare->owner, text);
}

static void on_pulled(void *owner, struct error *error, const struct image *image) {
    struct node_prepare *prepare = owner;
    (void)image;
    prepare->job = NULL;
    prepare->error = error;
    tell(prepare);
}

struct node_prepare *node_prepare(struct node *node, const struct core_function *function,
                                  void (*line)(void *owner, struct span text),
                                  void (*done)(void *owner, struct error *error), void *owner) {
    struct node_prepare *prepare = NEW(struct node_prepare);
    *prepare = (struct node_prepare){.node = node, .line = line, .done = done, .owner = owner};
    bool here = true;
    prepare->error = image_check(node->images, function->image, &here);
    if (!prepare->error && !here) {
        static const struct image_events events = {on_line, on_pulled};
        prepare->job =
            image_pull(node->images, &(struct image_pull){.name = function->image}, &events, prepare);
        return prepare;
    }
    prepare->due = true;
    io_defer(node->loop, tell, prepare);
    return prepare;
}

void node_prepare_free(struct node_prepare *prepare) {
    if (!prepare) return;
    image_job_cancel(prepare->job);
    prepare->freed = true;
    if (!prepare->due) tell(prepare);
}
