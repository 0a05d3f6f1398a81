/* lines: cuts what comes out of a pipe into lines.
 *
 * A line longer than LINE_MAX_BYTES is told in pieces. What has no newline yet waits; at the end of the
 * stream it is a line. Lines that the log has no room for stay here, and nothing more is read until they are
 * gone: so the pipe fills, and the app waits with us, for as long as the log allows. */
#include "init.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Gives whole lines to the log. False: it asks us to wait, and some are left. */
bool lines_pass(struct lines *lines, struct logfile *log) {
    char *from = lines->data, *end = lines->data + lines->size;
    lines->held = false;
    for (char *newline; (newline = memchr(from, '\n', (size_t)(end - from))); from = newline + 1) {
        lines->held = !logfile_line(log, lines->stream, from, (size_t)(newline - from));
        if (lines->held) break;
    }
    lines->size = (size_t)(end - from);
    if (from > lines->data) memmove(lines->data, from, lines->size);
    if (!lines->held && lines->size == sizeof lines->data) {
        lines->held = !logfile_line(log, lines->stream, lines->data, lines->size);
        if (!lines->held) lines->size = 0;
    }
    return !lines->held;
}

bool lines_read(struct lines *lines, int fd, struct logfile *log) {
    ssize_t got = read(fd, lines->data + lines->size, sizeof lines->data - lines->size);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    lines->size += (size_t)got;
    (void)lines_pass(lines, log);
    return true;
}

void lines_end(struct lines *lines, struct logfile *log) {
    if (lines->size > 0) (void)logfile_line(log, lines->stream, lines->data, lines->size);
    lines->size = 0;
}
