/* cursor: one container's lines, from the oldest part to the newest.
 *
 * Files turn while they are read: .log becomes .log.1, that becomes .log.2. A cursor holds its file open, so
 * nothing of it is missed; at its end it looks where the file is now (by its inode) and goes on with the next
 * newer part. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "inside.h"

enum { CHUNK = 32768, STAMP_SIZE = 24 /* 2026-01-02T03:04:05.678Z */ };

static bool digits(const char *at, int count, int *ret_value) {
    *ret_value = 0;
    for (int i = 0; i < count; i++) {
        if (at[i] < '0' || at[i] > '9') return false;
        *ret_value = *ret_value * 10 + (at[i] - '0');
    }
    return true;
}

bool line_parse(struct span whole, struct logs_line *line) {
    const char *at = whole.data;
    struct tm utc = {0};
    int year, month, ms;
    if (whole.size < STAMP_SIZE + 5 || at[10] != 'T' || at[19] != '.' || at[23] != 'Z' || at[24] != ' ' ||
        at[28] != ' ')
        return false;
    if (!digits(at, 4, &year) || !digits(at + 5, 2, &month) || !digits(at + 8, 2, &utc.tm_mday) ||
        !digits(at + 11, 2, &utc.tm_hour) || !digits(at + 14, 2, &utc.tm_min) ||
        !digits(at + 17, 2, &utc.tm_sec) || !digits(at + 20, 3, &ms))
        return false;
    utc.tm_year = year - 1900;
    utc.tm_mon = month - 1;
    line->wall_ms = (int64_t)timegm(&utc) * 1000 + ms;
    line->stream = at[25];
    line->text = (struct span){at + 29, whole.size - 29};
    return line->stream == 'o' || line->stream == 'e' || line->stream == 's';
}

static char *part_path(const struct cursor *cursor, int part) {
    return part ? mem_printf("%s.%d", cursor->path, part) : mem_string(cursor->path);
}

static uint64_t inode_of(const struct cursor *cursor, int part) {
    scoped_string char *path = part_path(cursor, part);
    struct stat status;
    return stat(path, &status) ? 0 : status.st_ino;
}

static bool open_part(struct cursor *cursor, int part) {
    scoped_string char *path = part_path(cursor, part);
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    scoped_fd_close(&cursor->fd);
    cursor->fd = fd;
    cursor->part = part;
    cursor->inode = fstat(fd, &status) ? 0 : status.st_ino;
    return true;
}

struct cursor *cursor_new(const char *directory, const char *app, const char *function,
                          const char *container) {
    struct cursor *cursor = NEW(struct cursor);
    cursor->app = mem_string(app);
    cursor->function = mem_string(function);
    cursor->container = mem_string(container);
    cursor->path = mem_printf("%s/%s/%s/%s.log", directory, app, function, container);
    cursor->fd = -1;
    for (int part = LOGS_PARTS; part >= 0 && !open_part(cursor, part);) part--;
    return cursor;
}

void cursor_free(struct cursor *cursor) {
    if (!cursor) return;
    scoped_fd_close(&cursor->fd);
    text_done(&cursor->pending);
    free(cursor->app), free(cursor->function), free(cursor->container), free(cursor->path);
    free(cursor);
}

/* The file that we are at the end of may have become an older part: then a newer one is next. A last look at
 * the old one first: it may have grown between our reading and its turning. */
static bool go_on(struct cursor *cursor) {
    if (cursor->fd < 0) return open_part(cursor, 0);
    int part = 0;
    while (part <= LOGS_PARTS && inode_of(cursor, part) != cursor->inode) part++;
    if (part == 0) return false;
    if (!cursor->turned) return cursor->turned = true;
    cursor->turned = false;
    if (part <= LOGS_PARTS) return open_part(cursor, part - 1);
    for (part = LOGS_PARTS; part >= 0; part--) /* turned out of reach: the oldest that is left */
        if (open_part(cursor, part)) return true;
    return false;
}

static bool take_line(struct cursor *cursor) {
    if (cursor->taken == cursor->pending.size) return false;
    const char *from = cursor->pending.data + cursor->taken;
    const char *newline = memchr(from, '\n', cursor->pending.size - cursor->taken);
    if (!newline) return false;
    struct span whole = {from, (size_t)(newline - from)};
    cursor->taken += whole.size + 1;
    int64_t before_ms = cursor->line.wall_ms;
    if (!line_parse(whole, &cursor->line))
        cursor->line = (struct logs_line){.wall_ms = before_ms, .stream = 's', .text = whole};
    cursor->line.app = cursor->app;
    cursor->line.function = cursor->function;
    cursor->line.container = cursor->container;
    return cursor->has_line = true;
}

bool cursor_next(struct cursor *cursor) {
    cursor->has_line = false;
    for (;;) {
        if (take_line(cursor)) return true;
        text_remove_front(&cursor->pending, cursor->taken);
        cursor->taken = 0;
        char *into = text_reserve(&cursor->pending, CHUNK);
        ssize_t got = cursor->fd >= 0 ? read(cursor->fd, into, CHUNK) : 0;
        if (got > 0) {
            cursor->pending.size += (size_t)got;
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        if (!go_on(cursor)) return false;
    }
}
