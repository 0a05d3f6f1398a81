/* The log: one line a message to stderr, in one write, so that lines of several threads never mix. */
#include "base.h"

#include <stdatomic.h>
#include <stdio.h>

static atomic_int lowest_level =
    LOG_INFO; /* set once by main; the one exception to "no globals": every room logs */

void log_level_set(enum log_level lowest) {
    atomic_store(&lowest_level, (int)lowest);
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
    scoped_string char *line = mem_printf("%.12s %s %s: %s\n", when + 11, names[level], room, message);
    ssize_t written = write(2, line, strlen(line));
    (void)written; /* nobody to tell */
}
