/* The terminal: sequences that every terminal of the last thirty years knows (and one, for frames that appear
 * at once, that those which don't know it pass over). */
#include "screen.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

static void put(struct span bytes) {
    while (bytes.size > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return; /* the terminal is gone, and with it who could be told */
        bytes.data += written;
        bytes.size -= (size_t)written;
    }
}

void screen_measure(struct screen *screen) {
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
    screen->columns = known ? size.ws_col : 80;
    screen->rows = known ? size.ws_row : 24;
}

void screen_open(struct screen *screen) {
    /* Non-blocking is a property of what was opened, and the one we were given is the shell's too. */
    if (screen->keys < 0 && isatty(STDIN_FILENO))
        screen->keys = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (screen->keys >= 0 && tcgetattr(screen->keys, &screen->before) == 0) {
        struct termios raw = screen->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* ISIG stays: Ctrl-C and Ctrl-Z are signals */
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        tcsetattr(screen->keys, TCSAFLUSH, &raw);
    }
    put(SPAN("\33[?1049h\33[?25l\33[?7l"));
    screen->open = true;
    screen_measure(screen);
}

void screen_close(struct screen *screen) {
    if (!screen->open) return;
    screen->open = false;
    put(SPAN("\33[?7h\33[?25h\33[?1049l"));
    if (screen->keys >= 0) tcsetattr(screen->keys, TCSADRAIN, &screen->before);
}

void screen_done(struct screen *screen) {
    screen_close(screen);
    scoped_fd_close(&screen->keys);
}

void screen_draw(const struct screen *screen, const struct text *frame) {
    scoped_text struct text out = {0};
    struct span rest = text_span(frame);
    text_add_string(&out, "\33[?2026h\33[H");
    for (size_t row = 0; rest.data && row < screen->rows; row++) {
        if (row > 0) text_add_string(&out, "\r\n");
        text_add(&out, span_cut(&rest, '\n'));
        text_add_string(&out, "\33[K");
    }
    text_add_string(&out, "\33[J\33[?2026l");
    put(text_span(&out));
}

enum key screen_key(struct span *bytes, char *ret_char) {
    static const struct {
        const char *sequence;
        enum key key;
    } keys[] = {
        {"\33[A", KEY_UP},       {"\33OA", KEY_UP},         {"\33[B", KEY_DOWN}, {"\33OB", KEY_DOWN},
        {"\33[5~", KEY_PAGE_UP}, {"\33[6~", KEY_PAGE_DOWN}, {"\33[H", KEY_HOME}, {"\33[1~", KEY_HOME},
        {"\33OH", KEY_HOME},     {"\33[F", KEY_END},        {"\33[4~", KEY_END}, {"\33OF", KEY_END},
    };
    *ret_char = 0;
    if (bytes->size == 0) return KEY_NONE;
    for (size_t i = 0; i < COUNT(keys); i++) {
        size_t size = strlen(keys[i].sequence);
        if (!span_starts(*bytes, keys[i].sequence)) continue;
        *bytes = (struct span){bytes->data + size, bytes->size - size};
        return keys[i].key;
    }
    size_t size = 1;
    if (bytes->size > 1 &&
        bytes->data[0] == '\33') /* a sequence that says nothing to us ends with a letter */
        while (size < bytes->size && (size < 3 || bytes->data[size - 1] < '@')) size++;
    else
        *ret_char = bytes->data[0];
    *bytes = (struct span){bytes->data + size, bytes->size - size};
    return KEY_OTHER;
}
