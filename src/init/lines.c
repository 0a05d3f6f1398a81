/* lines: cuts what comes out of a pipe into lines.
 *
 * A line longer than LINE_MAX_BYTES is told in pieces. What has no newline yet waits; at the end of the
 * stream it is a line. */
#include "init.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void cut(struct lines *lines, struct logfile *log) {
    char *from = lines->data, *end = lines->data + lines->size;
    for (char *newline; (newline = memchr(from, '\n', (size_t)(end - from))); from = newline + 1)
        logfile_line(log, lines->stream, from, (size_t)(newline - from));
    lines->size = (size_t)(end - from);
    memmove(lines->data, from, lines->size);
    if (lines->size == sizeof lines->data) lines_end(lines, log);
}

bool lines_read(struct lines *lines, int fd, struct logfile *log) {
    ssize_t got = read(fd, lines->data + lines->size, sizeof lines->data - lines->size);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    lines->size += (size_t)got;
    cut(lines, log);
    return true;
}

void lines_end(struct lines *lines, struct logfile *log) {
    if (lines->size > 0) logfile_line(log, lines->stream, lines->data, lines->size);
    lines->size = 0;
}
