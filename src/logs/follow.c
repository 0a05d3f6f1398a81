/* follow: what is there, then what comes.
 *
 * inotify says that something changed in the folders of the query; the cursors then read on from where they
 * are, so it does not matter how many changes one event stands for. The first reading happens in the next
 * round of the loop. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include "inside.h"

struct logs_follow {
    char *dir, *app, *function;
    struct logs_query query;
    struct cursors cursors;
    int fd;
    struct io_watch *watch;
    struct io_timer *first;
    void (*line)(void *owner, const struct logs_line *line);
    void *owner;
};

enum { CHANGES = IN_MODIFY | IN_CREATE | IN_MOVED_TO };

static void watch_dir(struct logs_follow *follow, const char *function) {
    scoped_string char *path = mem_printf("%s/%s/%s", follow->dir, follow->app, function);
    (void)inotify_add_watch(follow->fd, path,
                            CHANGES | IN_ONLYDIR); /* again for one that is watched: nothing changes */
}

static void watch_all(struct logs_follow *follow) {
    scoped_string char *app = path_join(follow->dir, follow->app);
    (void)inotify_add_watch(follow->fd, follow->dir, IN_CREATE | IN_ONLYDIR);
    (void)inotify_add_watch(follow->fd, app, IN_CREATE | IN_ONLYDIR);
    if (follow->function) {
        watch_dir(follow, follow->function);
        return;
    }
    DIR *directory = opendir(app);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.') watch_dir(follow, entry->d_name);
    if (directory) closedir(directory);
}

static void on_first(void *owner) {
    struct logs_follow *follow = owner;
    watch_all(follow); /* what was made since the start, and told in vain */
    cursors_find(&follow->cursors, &follow->query);
    cursors_merge_last(&follow->cursors, &follow->query, follow->line, follow->owner);
}

static void on_change(void *owner, unsigned events) {
    struct logs_follow *follow = owner;
    _Alignas(struct inotify_event) char buffer[16384];
    bool folders = false;
    (void)events;
    for (ssize_t got; (got = read(follow->fd, buffer, sizeof buffer)) > 0;)
        for (char *at = buffer; at < buffer + got;
             at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len)
            folders |= ((struct inotify_event *)at)->mask & (IN_CREATE | IN_MOVED_TO | IN_Q_OVERFLOW);
    if (io_timer_armed(follow->first)) return;
    if (folders) watch_all(follow);
    if (folders) cursors_find(&follow->cursors, &follow->query);
    cursors_merge(&follow->cursors, follow->query.since_ms, follow->line, follow->owner);
}

struct error *logs_follow_start(struct io_loop *loop, const struct logs_query *query,
                                void (*line)(void *owner, const struct logs_line *line), void *owner,
                                struct logs_follow **ret_follow) {
    struct logs_follow *follow = NEW(struct logs_follow);
    follow->dir = mem_string(query->dir);
    follow->app = mem_string(query->app);
    follow->function = mem_string(query->function);
    follow->query =
        (struct logs_query){follow->dir, follow->app, follow->function, query->since_ms, query->last};
    follow->line = line;
    follow->owner = owner;
    follow->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    struct error *failed = follow->fd < 0 ? error_errno(errno, "watch the logs") : NULL;
    if (!failed) failed = dir_make(follow->dir, 0755); /* what is not there can't be watched */
    if (!failed) failed = io_watch_new(loop, follow->fd, IO_READABLE, on_change, follow, &follow->watch);
    if (failed) {
        logs_follow_free(follow);
        return failed;
    }
    error_free(dir_make(follow->dir,
                        0700)); /* before the first container it is not there, and could not be watched */
    watch_all(follow);
    follow->first = io_timer_new(loop, on_first, follow);
    io_timer_arm(follow->first, 0);
    *ret_follow = follow;
    return NULL;
}

void logs_follow_free(struct logs_follow *follow) {
    if (!follow) return;
    io_timer_free(follow->first);
    io_watch_free(follow->watch);
    scoped_fd_close(&follow->fd);
    cursors_done(&follow->cursors);
    free(follow->dir), free(follow->app), free(follow->function);
    free(follow);
}
