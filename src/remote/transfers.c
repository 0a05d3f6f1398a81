/* libcurl's transfers on our loop: it tells which sockets and which timer it waits for, we tell when they are
 * ready. Nothing of it blocks but looking names up, which libcurl does on threads of its own. */
#include "inside.h"

#include <stdlib.h>

struct transfers {
    struct io_loop *loop;
    CURLM *multi;
    struct table *watches; /* by descriptor */
    struct io_timer *timer;
    void (*ended)(void *owner, CURL *easy, CURLcode code);
    void *owner;
};

struct watched {
    struct transfers *transfers;
    curl_socket_t fd;
    struct io_watch *watch;
};

static void tell_ended(struct transfers *transfers) {
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(transfers->multi, &left));) {
        if (message->msg != CURLMSG_DONE) continue;
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        curl_multi_remove_handle(transfers->multi, easy);
        transfers->ended(transfers->owner, easy, code);
    }
}

static void on_ready(void *owner, unsigned events) {
    struct watched *watched = owner;
    struct transfers *transfers = watched->transfers;
    int mask = (events & IO_READABLE ? CURL_CSELECT_IN : 0) | (events & IO_WRITABLE ? CURL_CSELECT_OUT : 0) |
               (events & IO_HANGUP ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(transfers->multi, watched->fd, mask, &running);
    tell_ended(transfers);
}

static void on_timer(void *owner) {
    struct transfers *transfers = owner;
    int running;
    curl_multi_socket_action(transfers->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    tell_ended(transfers);
}

static int on_timer_change(CURLM *multi, long timeout_ms, void *owner) {
    struct transfers *transfers = owner;
    (void)multi;
    if (timeout_ms < 0)
        io_timer_stop(transfers->timer);
    else
        io_timer_arm(transfers->timer, timeout_ms);
    return 0;
}

static void forget(struct transfers *transfers, curl_socket_t fd) {
    struct watched *watched = table_remove(transfers->watches, (uint64_t)fd);
    if (!watched) return;
    io_watch_free(watched->watch);
    free(watched);
}

static int on_socket_change(CURL *easy, curl_socket_t fd, int what, void *owner, void *unused) {
    struct transfers *transfers = owner;
    (void)easy, (void)unused;
    if (what == CURL_POLL_REMOVE) return forget(transfers, fd), 0;
    unsigned events = (what & CURL_POLL_IN ? IO_READABLE : 0) | (what & CURL_POLL_OUT ? IO_WRITABLE : 0);
    struct watched *watched = table_get(transfers->watches, (uint64_t)fd);
    if (watched) return io_watch_set(watched->watch, events), 0;
    watched = NEW(struct watched);
    watched->transfers = transfers;
    watched->fd = fd;
    struct error *error = io_watch_new(transfers->loop, fd, events, on_ready, watched, &watched->watch);
    if (error) {
        error_free(error);
        free(watched);
        return -1;
    }
    table_put(transfers->watches, (uint64_t)fd, watched);
    return 0;
}

struct transfers *transfers_new(struct io_loop *loop, void (*ended)(void *owner, CURL *easy, CURLcode code),
                                void *owner) {
    struct transfers *transfers = NEW(struct transfers);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    transfers->loop = loop;
    transfers->ended = ended;
    transfers->owner = owner;
    transfers->multi = curl_multi_init();
    transfers->watches = table_new();
    transfers->timer = io_timer_new(loop, on_timer, transfers);
    curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETFUNCTION, on_socket_change);
    curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETDATA, transfers);
    curl_multi_setopt(transfers->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
    curl_multi_setopt(transfers->multi, CURLMOPT_TIMERDATA, transfers);
    return transfers;
}

void transfers_free(struct transfers *transfers) {
    if (!transfers) return;
    curl_multi_cleanup(transfers->multi); /* closes the sockets that it kept, and tells */
    uint64_t fd;
    void *value;
    for (size_t i = 0; table_next(transfers->watches, &i, &fd, &value);) {
        io_watch_free(((struct watched *)value)->watch);
        free(value);
    }
    table_free(transfers->watches);
    io_timer_free(transfers->timer);
    free(transfers);
}

void transfers_add(struct transfers *transfers, CURL *easy) {
    curl_multi_add_handle(transfers->multi, easy);
}

void transfers_remove(struct transfers *transfers, CURL *easy) {
    curl_multi_remove_handle(transfers->multi, easy);
}
