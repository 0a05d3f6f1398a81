/* keep: which blobs calls still need, and when the others go.
 *
 * Arguments, results and messages over 2 MiB lie in blobs, as do files on their way into mounts, images and
 * volumes (which have content of their own then). The names of those that calls in memory need stand in the
 * bytes of their inputs, results and chunks; what is written down, the store sees itself. All else goes when
 * nobody used it for KEPT_S: so long may an upload take from its first file to the deploy. */
#include "blob.h"
#include "rest.h"

#include <stdlib.h>

#define KEPT_S 86400
#define FIRST_MS 600000
#define EVERY_MS 3600000

static void add_stream(struct text *names, const struct stream *stream) {
    LIST_EACH(node, &stream->chunks) {
        const struct chunk *chunk = CONTAINER_OF(node, struct chunk, node);
        store_names_add(names, text_span(&chunk->data));
    }
}

/* A sweep begins: old results go first, their blobs with the next one. */
static void add_names(void *owner, struct text *names) {
    struct modal *modal = owner;
    rested_sweep(modal);
    mounts_sweep(modal);
    void *value;
    for (size_t i = 0; map_next(modal->calls, &i, NULL, &value);) {
        const struct call *call = value;
        LIST_EACH(node, &call->inputs) {
            const struct input *input = CONTAINER_OF(node, struct input, node);
            store_names_add(names, text_span(&input->bytes));
            store_names_add(names, text_span(&input->result));
        }
        add_stream(names, &call->in);
        add_stream(names, &call->out);
    }
}

struct old_parts {
    struct io_work work;
    char *state_dir;
};

static void sweep_parts(struct io_work *work) {
    multipart_sweep(CONTAINER_OF(work, struct old_parts, work)->state_dir, false);
}

static void parts_swept(struct io_work *work) {
    struct old_parts *parts = CONTAINER_OF(work, struct old_parts, work);
    free(parts->state_dir);
    free(parts);
}

static void on_swept(void *owner, struct error *error, size_t count, uint64_t bytes) {
    (void)owner;
    if (count > 0)
        log_info("modal", "%zu blobs that nobody needs went: %llu bytes", count, (unsigned long long)bytes);
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_error("modal", "blobs that nobody needs stay: %s", text);
    error_free(error);
}

static void on_time(void *owner) {
    struct modal *modal = owner;
    io_timer_arm(modal->sweeps, EVERY_MS);
    image_sweep_soon(modal->images_room); /* an app that was stopped, say */
    (void)store_blobs_sweep(modal->store, KEPT_S, on_swept, modal);
    struct old_parts *parts = NEW(struct old_parts);
    *parts = (struct old_parts){.work = {.work = sweep_parts, .done = parts_swept},
                                .state_dir = mem_string(modal->state_dir)};
    io_work_start(modal->loop, &parts->work);
}

void blobs_keep(struct modal *modal) {
    store_blobs_keep(modal->store, add_names, modal);
    modal->sweeps = io_timer_new(modal->loop, on_time, modal);
    io_timer_arm(modal->sweeps, FIRST_MS);
}

void blobs_keep_end(struct modal *modal) {
    store_blobs_keep(modal->store, NULL, NULL);
    io_timer_free(modal->sweeps);
}
