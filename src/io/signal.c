/* Signals to this process, as events of the loop. */
#include "inside.h"

#include <stdlib.h>

struct io_signal {
    uv_signal_t uv;
    void (*received)(void *owner, int signo);
    void *owner;
};

static void on_signal(uv_signal_t *uv, int signo) {
    struct io_signal *signal = uv->data;
    signal->received(signal->owner, signo);
}

struct io_signal *io_signal_new(struct io_loop *loop, int signo, void (*received)(void *owner, int signo),
                                void *owner) {
    struct io_signal *signal = NEW(struct io_signal);
    uv_signal_init(&loop->uv, &signal->uv);
    signal->uv.data = signal;
    signal->received = received;
    signal->owner = owner;
    uv_signal_start(&signal->uv, on_signal, signo);
    return signal;
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

void io_signal_free(struct io_signal *signal) {
    if (signal) uv_close((uv_handle_t *)&signal->uv, on_closed);
}
