/* logs: finding what matches, merging it by time, the last lines, lines of our own, and forgetting old ones.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "inside.h"

enum { LAST_MAX = 100000 };

static bool known(const struct cursors *cursors, const char *function, struct span container) {
    for (size_t i = 0; i < cursors->count; i++)
        if (strcmp(cursors->all[i]->function, function) == 0 &&
            span_is(container, cursors->all[i]->container))
            return true;
    return false;
}

static void add(struct cursors *cursors, struct cursor *taken) {
    if (cursors->count == cursors->capacity) {
        cursors->capacity = cursors->capacity ? 2 * cursors->capacity : 16;
        cursors->all = mem_grow(cursors->all, cursors->capacity, sizeof(struct cursor *));
    }
    cursors->all[cursors->count++] = taken;
}

static void find_in(struct cursors *cursors, const struct logs_query *query, const char *function) {
    scoped_string char *path = mem_printf("%s/%s/%s", query->dir, query->app, function);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct span name = span_of(entry->d_name);
        if (!span_ends(name, ".log")) continue;
        name.size -= strlen(".log");
        if (known(cursors, function, name)) continue;
        scoped_string char *container = span_string(name);
        add(cursors, cursor_new(query->dir, query->app, function, container));
    }
    if (directory) closedir(directory);
}

void cursors_find(struct cursors *cursors, const struct logs_query *query) {
    if (query->function) {
        find_in(cursors, query, query->function);
        return;
    }
    scoped_string char *path = path_join(query->dir, query->app);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.') find_in(cursors, query, entry->d_name);
    if (directory) closedir(directory);
}

void cursors_done(struct cursors *cursors) {
    for (size_t i = 0; i < cursors->count; i++) cursor_free(cursors->all[i]);
    free(cursors->all);
    *cursors = (struct cursors){0};
}

void cursors_merge(struct cursors *cursors, int64_t since_ms,
                   void (*line)(void *owner, const struct logs_line *line), void *owner) {
    for (size_t i = 0; i < cursors->count; i++)
        if (!cursors->all[i]->has_line) (void)cursor_next(cursors->all[i]);
    for (;;) {
        struct cursor *first = NULL;
        for (size_t i = 0; i < cursors->count; i++) {
            struct cursor *one = cursors->all[i];
            if (one->has_line && (!first || one->line.wall_ms < first->line.wall_ms)) first = one;
        }
        if (!first) return;
        if (first->line.wall_ms >= since_ms) line(owner, &first->line);
        (void)cursor_next(first);
    }
}

/* ---- the last lines only: a ring of copies ---- */
struct kept_line {
    struct logs_line line; /* names are the cursors' */
    char *text;
};
struct ring {
    struct kept_line *lines;
    size_t size, next, count;
};

static void keep(void *owner, const struct logs_line *line) {
    struct ring *ring = owner;
    struct kept_line *into = &ring->lines[ring->next];
    free(into->text);
    into->line = *line;
    into->text = span_string(line->text);
    into->line.text.data = into->text;
    ring->next = (ring->next + 1) % ring->size;
    if (ring->count < ring->size) ring->count++;
}

void cursors_merge_last(struct cursors *cursors, const struct logs_query *query,
                        void (*line)(void *owner, const struct logs_line *line), void *owner) {
    if (query->last == 0) {
        cursors_merge(cursors, query->since_ms, line, owner);
        return;
    }
    struct ring ring = {.size = query->last < LAST_MAX ? query->last : LAST_MAX};
    ring.lines = mem_array(ring.size, sizeof *ring.lines);
    cursors_merge(cursors, query->since_ms, keep, &ring);
    for (size_t i = 0; i < ring.count; i++)
        line(owner, &ring.lines[(ring.next + ring.size - ring.count + i) % ring.size].line);
    for (size_t i = 0; i < ring.size; i++) free(ring.lines[i].text);
    free(ring.lines);
}

struct error *logs_read(const struct logs_query *query,
                        void (*line)(void *owner, const struct logs_line *line), void *owner) {
    struct cursors cursors = {0};
    cursors_find(&cursors, query);
    cursors_merge_last(&cursors, query, line, owner);
    cursors_done(&cursors);
    return NULL;
}

/* ---- one container ---- */
struct tail {
    struct text text;
    size_t limit_bytes;
};

static void add_to_tail(void *owner, const struct logs_line *line) {
    struct tail *tail = owner;
    if (tail->text.size) text_add_char(&tail->text, '\n');
    text_add(&tail->text, line->text);
    if (tail->text.size > tail->limit_bytes)
        text_remove_front(&tail->text, tail->text.size - tail->limit_bytes);
}

char *logs_tail(const char *dir, const char *app, const char *function, const char *container, size_t lines,
                size_t limit_bytes) {
    struct cursors cursors = {0};
    struct tail tail = {.limit_bytes = limit_bytes};
    add(&cursors, cursor_new(dir, app, function, container));
    if (lines > 0) cursors_merge_last(&cursors, &(struct logs_query){.last = lines}, add_to_tail, &tail);
    cursors_done(&cursors);
    return text_take(&tail.text);
}

void logs_say(const char *dir, const char *app, const char *function, const char *container,
              const char *text) {
    scoped_string char *path = mem_printf("%s/%s/%s/%s.log", dir, app, function, container);
    char stamp[CLOCK_TEXT_SIZE];
    clock_text(clock_wall_ms(), stamp);
    scoped_string char *line = mem_printf("%s sys %s\n", stamp, text);
    scoped_fd int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) (void)!write(fd, line, strlen(line)); /* a full disk: the log says less */
}

void logs_add(const char *dir, const char *app, const char *function, const char *container,
              const char *stream, struct span lines) {
    scoped_string char *path = mem_printf("%s/%s/%s/%s.log", dir, app, function, container);
    char stamp[CLOCK_TEXT_SIZE];
    scoped_text struct text all = {0};
    clock_text(clock_wall_ms(), stamp);
    while (lines.data && lines.size > 0) {
        struct span line = span_cut(&lines, '\n');
        if (line.size > 0 && line.data[line.size - 1] == '\r') line.size--;
        text_printf(&all, "%s %s ", stamp, stream);
        text_add(&all, line);
        text_add_char(&all, '\n');
    }
    scoped_fd int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0 && all.size > 0) (void)!write(fd, all.data, all.size); /* a full disk: the log says less */
}
