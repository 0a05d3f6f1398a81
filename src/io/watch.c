/* File descriptors that become ready, and signals. */
#include "inside.h"

#include <stdlib.h>

struct io_watch {
    uv_poll_t uv;
    void (*ready)(void *owner, unsigned events);
    void *owner;
};

struct error *io_watch_new(struct io_loop *loop, int fd, unsigned events,
                           void (*ready)(void *owner, unsigned events), void *owner,
                           struct io_watch **ret_watch) {
    struct io_watch *watch = NEW(struct io_watch);
    int failed = uv_poll_init(&loop->uv, &watch->uv, fd);
    if (failed) {
        free(watch);
        return error_errno(-failed, "watch file descriptor %d", fd);
    }
    watch->uv.data = watch;
    watch->ready = ready;
    watch->owner = owner;
    io_watch_set(watch, events);
    *ret_watch = watch;
    return NULL;
}

static unsigned ours(int uv) {
    return (unsigned)((uv & UV_READABLE ? IO_READABLE : 0) | (uv & UV_WRITABLE ? IO_WRITABLE : 0) |
                      (uv & UV_DISCONNECT ? IO_HANGUP : 0) | (uv & UV_PRIORITIZED ? IO_PRIORITY : 0));
}

static void on_poll(uv_poll_t *uv, int status, int events) {
    struct io_watch *watch = uv->data;
    if (status == 0) {
        watch->ready(watch->owner, ours(events));
        return;
    }
    /* libuv has stopped the handle: an error condition on the fd, as POLLERR of cgroup and proc files. All
     * that was asked for is told, and whoever then reads or writes learns why. */
    watch->ready(watch->owner, IO_READABLE | IO_WRITABLE | IO_HANGUP | IO_PRIORITY);
}

void io_watch_set(struct io_watch *watch, unsigned events) {
    int uv = (events & IO_READABLE ? UV_READABLE : 0) | (events & IO_WRITABLE ? UV_WRITABLE : 0) |
             (events & IO_HANGUP ? UV_DISCONNECT : 0) | (events & IO_PRIORITY ? UV_PRIORITIZED : 0);
    if (uv)
        uv_poll_start(&watch->uv, uv, on_poll);
    else
        uv_poll_stop(&watch->uv);
}

static void on_watch_closed(uv_handle_t *handle) {
    free(handle->data);
}

void io_watch_free(struct io_watch *watch) {
    if (!watch) return;
    uv_poll_stop(&watch->uv);
    uv_close((uv_handle_t *)&watch->uv, on_watch_closed);
}
