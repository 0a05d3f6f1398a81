/* fswatch: changes below a path as lines of JSON, until the time is over or nobody listens (stdin ends). */
#include "init.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WATCHES_MAX = 8192, WALK_FILES = 32 };
#define ALL \
    (IN_ACCESS | IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF)

static int watcher = -1;           /* nftw's callback takes no argument of ours */
static char *watched[WATCHES_MAX]; /* by watch descriptor */

static int add(const char *path) {
    int number = inotify_add_watch(watcher, path, ALL);
    if (number < 0) return -1;
    if (number >= WATCHES_MAX) return errno = ENOSPC, -1;
    free(watched[number]);
    watched[number] = strdup(path);
    return 0;
}

static int add_each(const char *path, const struct stat *at, int kind, struct FTW *where) {
    (void)at, (void)where;
    return kind == FTW_D ? add(path) : 0;
}

static const char *kind_of(uint32_t mask) {
    if (mask & IN_CREATE) return "Create";
    if (mask & (IN_DELETE | IN_DELETE_SELF)) return "Remove";
    if (mask & IN_MOVED_FROM) return "RenameFrom";
    if (mask & IN_MOVED_TO) return "RenameTo";
    if (mask & (IN_MODIFY | IN_ATTRIB)) return "Modify";
    return mask & IN_ACCESS ? "Access" : "Unknown";
}

static bool wanted(const char *kinds, const char *kind) {
    size_t size = strlen(kind);
    if (strcmp(kinds, "*") == 0) return true;
    for (const char *at = kinds; (at = strstr(at, kind)); at += size)
        if ((at == kinds || at[-1] == ',') && (at[size] == ',' || at[size] == '\0')) return true;
    return false;
}

static void tell(const struct inotify_event *event, bool deep, const char *kinds) {
    char path[PATH_MAX];
    if (event->wd < 0 || event->wd >= WATCHES_MAX || !watched[event->wd] || (event->mask & IN_IGNORED))
        return;
    snprintf(path, sizeof path, "%s%s%s", watched[event->wd], event->len ? "/" : "",
             event->len ? event->name : "");
    if (deep && (event->mask & (IN_CREATE | IN_MOVED_TO)) && (event->mask & IN_ISDIR))
        (void)nftw(path, add_each, WALK_FILES, FTW_PHYS);
    const char *kind = kind_of(event->mask);
    if (!wanted(kinds, kind)) return;
    printf("{\"event_type\":\"%s\",\"paths\":[", kind);
    fs_json(stdout, path);
    puts("]}");
    fflush(stdout);
}

static bool ended(void) {
    char bytes[256];
    return read(STDIN_FILENO, bytes, sizeof bytes) <= 0;
}

int fs_watch(const char *asked, bool deep, int64_t seconds, const char *kinds) {
    static char events[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
    char *path = realpath(asked, NULL);
    if (!path) return fs_failed(errno);
    watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watcher < 0 || add(path)) return fs_failed(errno);
    if (deep && nftw(path, add_each, WALK_FILES, FTW_PHYS)) return fs_failed(errno);
    int64_t until_us = seconds > 0 ? now_us() + seconds * 1000000 : INT64_MAX;
    struct pollfd at[] = {{.fd = watcher, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        int64_t left_us = until_us - now_us();
        if (left_us <= 0) return 0;
        int wait_ms = until_us == INT64_MAX || left_us > 60000000 ? 60000 : (int)(left_us / 1000) + 1;
        if (poll(at, 2, wait_ms) < 0 && errno != EINTR) return fs_failed(errno);
        if (at[1].revents && ended()) return 0;
        ssize_t size = read(watcher, events, sizeof events);
        for (ssize_t next = 0; next < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(events + next);
            tell(event, deep, kinds);
            next += (ssize_t)(sizeof *event + event->len);
        }
    }
}
