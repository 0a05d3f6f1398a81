/* Who renews certificates replaces files, links or what links lead to, one after the other. inotify tells of
 * the folders, both of the names and of what they lead to; a moment after the last change the files are read
 * again if they are other ones than before. */
#include "inside.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>

#define QUIET_MS 500
enum { CHANGES = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB };

struct watching {
    struct tls *tls;
    int fd;
    struct io_watch *watch;
    struct io_timer *quiet;
    void (*renewed)(void *owner, struct tls *tls, struct error *error);
    void *owner;
};

static void watch_folder(const struct watching *watching, const char *path) {
    const char *slash = strrchr(path, '/');
    scoped_string char *folder = !slash          ? mem_string(".")
                                 : slash == path ? mem_string("/")
                                                 : span_string((struct span){path, (size_t)(slash - path)});
    (void)inotify_add_watch(watching->fd, folder,
                            CHANGES); /* again for one that is watched: nothing changes */
}

static void watch_folders(const struct watching *watching) {
    for (int i = 0; i < 2; i++) {
        watch_folder(watching, watching->tls->path[i]);
        char *real = realpath(watching->tls->path[i], NULL);
        if (real) watch_folder(watching, real);
        free(real);
    }
}

static void on_quiet(void *owner) {
    struct watching *watching = owner;
    struct tls_stamp now;
    watch_folders(watching); /* a link may lead elsewhere now */
    files_stamp(watching->tls, &now);
    if (memcmp(&now, &watching->tls->stamp, sizeof now) == 0) return;
    struct error *error = tls_renew(watching->tls);
    watching->renewed(watching->owner, watching->tls, error);
}

static void on_change(void *owner, unsigned events) {
    struct watching *watching = owner;
    char buffer[4096];
    (void)events;
    while (read(watching->fd, buffer, sizeof buffer) > 0) continue;
    io_timer_arm(watching->quiet, QUIET_MS);
}

void watching_free(struct watching *watching) {
    if (!watching) return;
    io_watch_free(watching->watch);
    io_timer_free(watching->quiet);
    if (watching->fd >= 0) close(watching->fd);
    free(watching);
}

struct error *tls_watch(struct tls *tls, struct io_loop *loop,
                        void (*renewed)(void *owner, struct tls *tls, struct error *error), void *owner) {
    struct watching *watching = NEW(struct watching);
    *watching = (struct watching){
        .tls = tls, .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .renewed = renewed, .owner = owner};
    struct error *error = watching->fd < 0 ? error_errno(errno, "watch %s", tls->path[0]) : NULL;
    if (!error) error = io_watch_new(loop, watching->fd, IO_READABLE, on_change, watching, &watching->watch);
    if (error) {
        watching_free(watching);
        return error;
    }
    watching->quiet = io_timer_new(loop, on_quiet, watching);
    watch_folders(watching);
    watching_free(tls->watching);
    tls->watching = watching;
    return NULL;
}
