/* Blocking work on libuv's worker threads, and messages from any thread into the loop. */
#include "inside.h"

#include <stdlib.h>

/* ---- work ---- */

static void on_work(uv_work_t *uv) {
    struct io_work *work = uv->data;
    work->work(work);
}

static void on_worked(uv_work_t *uv, int status) {
    struct io_work *work = uv->data;
    (void)status; /* never cancelled */
    work->inside = NULL;
    free(uv);
    work->done(work);
}

void io_work_start(struct io_loop *loop, struct io_work *work) {
    uv_work_t *uv = NEW(uv_work_t);
    uv->data = work;
    work->inside = uv;
    if (uv_queue_work(&loop->uv, uv, on_work, on_worked) != 0) abort();
}

/* ---- post ---- */

struct io_post {
    uv_async_t uv;
    void (*run)(void *owner);
    void *owner;
};

static void on_async(uv_async_t *uv) {
    struct io_post *post = uv->data;
    post->run(post->owner);
}

struct io_post *io_post_new(struct io_loop *loop, void (*run)(void *owner), void *owner) {
    struct io_post *post = NEW(struct io_post);
    if (uv_async_init(&loop->uv, &post->uv, on_async) != 0) abort();
    post->uv.data = post;
    post->run = run;
    post->owner = owner;
    return post;
}

void io_post_send(struct io_post *post) {
    uv_async_send(&post->uv);
}
void io_post_unref(struct io_post *post) {
    uv_unref((uv_handle_t *)&post->uv);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

void io_post_free(struct io_post *post) {
    if (post) uv_close((uv_handle_t *)&post->uv, on_closed);
}
