/* The log: one line a message to stderr, in one write, so that lines of several threads never mix. What it is
 * told by others (names, a container's last words) steers no terminal, and looks like no message of its own:
 * further lines are set in. */
#include "base.h"

#include <stdatomic.h>
#include <stdio.h>

static atomic_int lowest_level =
    LOG_INFO; /* set once by main; the one exception to "no globals": every room logs */

void log_level_set(enum log_level lowest) {
    atomic_store(&lowest_level, (int)lowest);
}

static void add_message(struct text *line, const char *message) {
    for (const char *c = message; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        text_add_char(line, (byte < ' ' && byte != '\n' && byte != '\t') || byte == 127 ? '?' : *c);
        if (byte == '\n' && c[1]) text_add(line, SPAN("    "));
    }
}

void log_write(enum log_level level, const char *room, const char *format, ...) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load(&lowest_level)) return;
    char when[CLOCK_TEXT_SIZE];
    clock_text(clock_wall_ms(), when);
    va_list args;
    va_start(args, format);
    scoped_string char *message = mem_vprintf(format, args);
    va_end(args);
    scoped_text struct text line = {0};
    text_printf(&line, "%.12s %s %s: ", when + 11, names[level], room);
    add_message(&line, message);
    text_add_char(&line, '\n');
    ssize_t written = write(2, line.data, line.size);
    (void)written; /* nobody to tell */
}
