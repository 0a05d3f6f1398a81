/* screen: a terminal taken over and given back as it was. */
#pragma once
#include "base.h"

#include <termios.h>

struct screen {
    bool open;
    int keys; /* the terminal opened once more, non-blocking, for keys one by one; -1: none */
    struct termios before;
    size_t columns, rows;
};
#define SCREEN_INIT ((struct screen){.keys = -1})
void screen_open(struct screen *screen);  /* the alternate screen, no cursor, no echo */
void screen_close(struct screen *screen); /* `keys` stays */
void screen_done(struct screen *screen);
void screen_measure(struct screen *screen);
/* Lines of `frame` from the top; what was below them goes. One write, so that nothing flickers. */
void screen_draw(const struct screen *screen, const struct text *frame);

enum key { KEY_NONE, KEY_UP, KEY_DOWN, KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END, KEY_OTHER };
/* The first key of what was read, off the front of it; KEY_OTHER: *ret_char. KEY_NONE: no more. */
enum key screen_key(struct span *bytes, char *ret_char);
