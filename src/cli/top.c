/* `catnap top`: the daemon's stream of changes on a screen of its own.
 *
 * A frame is drawn at each change, each second (how long ago a wake was), each key and each new size. A
 * daemon that ends is waited for, as one that is started anew is the same to who watches. The screen is taken
 * only when the first answer is there: what can't be asked is told as any verb tells it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "command.h"
#include "io.h"
#include "ps.h"
#include "screen.h"

#define TICK_MS 1000
#define AGAIN_MS 1000

struct top {
    struct command *command;
    struct io_loop *loop;
    struct question question;
    struct asking *asking;
    struct screen screen;
    struct io_watch *keys;
    struct io_timer *tick, *again;
    struct io_signal *signals[6];
    bool coloured;
    json_t *ps;           /* the newest; NULL: none yet */
    char *lost;           /* why there is no daemon now; NULL: there is one */
    struct error *failed; /* to be told at the end */
    size_t scrolled;
    bool awake_only, by_memory;
    size_t widths[PS_COLUMNS];
};

/* ---- the frame ---- */

static void add_summary(struct top *top, const struct ps_row *rows, size_t count, struct text *frame) {
    static const struct {
        const char *state;
        enum colour colour;
    } kinds[] = {{"awake", COLOUR_GREEN},     {"starting", COLOUR_YELLOW}, {"dozing", COLOUR_BLUE},
                 {"stopping", COLOUR_YELLOW}, {"asleep", COLOUR_DIM},      {"stopped", COLOUR_RED},
                 {"failed", COLOUR_RED}};
    uint64_t memory = 0;
    int64_t waiting = 0;
    char text[WORDS_SIZE], clock[16];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm parts;
    localtime_r(&now, &parts);
    strftime(clock, sizeof clock, "%H:%M:%S", &parts);
    text_printf(frame, "%s  ", clock);
    for (size_t k = 0; k < COUNT(kinds); k++) {
        size_t some = 0;
        for (size_t i = 0; i < count; i++) some += strcmp(ps_state(rows[i].function), kinds[k].state) == 0;
        scoped_string char *word = mem_printf("%zu %s", some, kinds[k].state);
        if (some > 0) text_add_coloured(frame, kinds[k].colour, top->coloured, span_of(word));
        if (some > 0) text_add_string(frame, "  ");
    }
    for (size_t i = 0; i < count; i++) {
        memory += (uint64_t)ps_number(rows[i].function, "memory_bytes", 0);
        waiting += ps_number(rows[i].function, "waiting", 0);
    }
    text_printf(frame, "%lld waiting  %s\n\n", (long long)waiting, words_bytes(memory, text));
}

static int more_memory(const void *a, const void *b) {
    int64_t x = ps_number(((const struct ps_row *)a)->function, "memory_bytes", 0);
    int64_t y = ps_number(((const struct ps_row *)b)->function, "memory_bytes", 0);
    if (x != y) return x < y ? 1 : -1;
    const struct ps_row *p = a, *q = b;
    int names = strcmp(p->app, q->app);
    return names ? names : strcmp(ps_string(p->function, "function"), ps_string(q->function, "function"));
}

static bool is_shown(const struct top *top, const json_t *function) {
    const char *state = ps_state(function);
    return !top->awake_only || (strcmp(state, "asleep") != 0 && strcmp(state, "stopped") != 0);
}

static void add_table(struct top *top, struct ps_row *rows, size_t count, struct text *frame) {
    scoped_sheet struct sheet sheet = {
        .columns = ps_columns, .column_count = PS_COLUMNS, .kept = top->widths};
    size_t room = top->screen.rows > 5 ? top->screen.rows - 5 : 1; /* besides summary, titles and last line */
    int64_t now_ms = clock_wall_ms();
    if (top->by_memory) qsort(rows, count, sizeof *rows, more_memory);
    for (size_t i = 0; i < count; i++)
        if (is_shown(top, rows[i].function)) ps_add(&sheet, &rows[i], now_ms);
    size_t total = sheet_rows(&sheet), end = total > room ? total - room : 0;
    if (top->scrolled > end) top->scrolled = end;
    sheet_line(&sheet, 0, top->screen.columns, top->coloured, frame);
    for (size_t i = 0; i < room; i++) {
        text_add_char(frame, '\n');
        if (i + top->scrolled < total)
            sheet_line(&sheet, 1 + i + top->scrolled, top->screen.columns, top->coloured, frame);
    }
    text_add_string(frame, "\n\n");
    scoped_string char *keys =
        total > room ? mem_printf("%zu-%zu of %zu  ", top->scrolled + 1, top->scrolled + room, total)
                     : mem_string("");
    text_add_coloured(frame, COLOUR_DIM, top->coloured, span_of(keys));
}

static void draw(struct top *top) {
    scoped_text struct text frame = {0};
    struct ps_row *rows;
    if (!top->screen.open) return;
    size_t count = ps_rows(top->ps, &rows);
    add_summary(top, rows, count, &frame);
    add_table(top, rows, count, &frame);
    free(rows);
    if (top->lost) {
        text_add_coloured(&frame, COLOUR_RED, top->coloured, span_of(top->lost));
    } else {
        scoped_string char *keys = mem_printf("q quit  a %s  m %s", top->awake_only ? "all" : "hide sleepers",
                                              top->by_memory ? "by name" : "by memory");
        text_add_coloured(&frame, COLOUR_DIM, top->coloured, span_of(keys));
    }
    screen_draw(&top->screen, &frame);
}

/* ---- what happens ---- */

static void on_tick(void *owner) {
    struct top *top = owner;
    draw(top);
    io_timer_arm(top->tick, TICK_MS);
}

static void on_keys(void *owner, unsigned events) {
    struct top *top = owner;
    char buffer[256], letter;
    ssize_t got = read(top->screen.keys, buffer, sizeof buffer);
    struct span bytes = {buffer, got > 0 ? (size_t)got : 0};
    size_t page = top->screen.rows > 6 ? top->screen.rows - 6 : 1, far = SIZE_MAX / 2;
    (void)events;
    if (got == 0 || (got < 0 && errno != EAGAIN)) io_loop_stop(top->loop); /* the terminal hung up */
    for (enum key key; (key = screen_key(&bytes, &letter)) != KEY_NONE;) {
        size_t up = key == KEY_UP || letter == 'k' ? 1
                    : key == KEY_PAGE_UP           ? page
                    : key == KEY_HOME              ? far
                                                   : 0;
        size_t down = key == KEY_DOWN || letter == 'j' ? 1
                      : key == KEY_PAGE_DOWN           ? page
                      : key == KEY_END                 ? far
                                                       : 0;
        top->scrolled = top->scrolled > up ? top->scrolled - up : 0;
        top->scrolled += down;
        if (letter == 'a') top->awake_only = !top->awake_only;
        if (letter == 'm') top->by_memory = !top->by_memory;
        if (letter == 'q' || letter == 'Q') io_loop_stop(top->loop);
    }
    draw(top);
}

static void take_screen(struct top *top) {
    screen_open(&top->screen);
    if (top->screen.keys < 0 || top->keys) return;
    error_free(io_watch_new(top->loop, top->screen.keys, IO_READABLE, on_keys, top, &top->keys));
}

static void on_signal(void *owner, int signo) {
    struct top *top = owner;
    if (signo == SIGWINCH) {
        screen_measure(&top->screen);
        memset(top->widths, 0, sizeof top->widths);
        draw(top);
    } else if (signo == SIGTSTP) {
        bool was_open = top->screen.open;
        screen_close(&top->screen);
        raise(SIGSTOP); /* goes on here once it is continued */
        if (was_open) take_screen(top);
        draw(top);
    } else {
        io_loop_stop(top->loop);
    }
}

static bool on_line(void *owner, struct span line) {
    struct top *top = owner;
    if (top->command->options.json) {
        fwrite(line.data, 1, line.size, stdout);
        putchar('\n');
        fflush(stdout);
        return !ferror(stdout);
    }
    json_t *ps = json_loadb(line.data, line.size, 0, NULL);
    if (!ps) return true;
    json_decref(top->ps);
    top->ps = ps;
    free(take(top->lost));
    if (!top->screen.open) {
        take_screen(top);
        io_timer_arm(top->tick, TICK_MS);
    }
    draw(top);
    return true;
}

static void begin(struct top *top);

static void on_again(void *owner) {
    begin(owner);
}

static void on_end(void *owner, struct error *error, json_t *json) {
    struct top *top = owner;
    json_decref(json);
    top->asking = NULL;
    if (!top->screen.open) {
        bool ended = !error && !ferror(stdout); /* the stream has no end of its own but the daemon's */
        if (ended) top->command->failure = STATUS_NO_DAEMON;
        top->failed =
            ended ? error_new(ERROR_UNAVAILABLE, "the daemon at %s ended", top->command->place.told) : error;
        io_loop_stop(top->loop);
        return;
    }
    free(top->lost);
    top->lost = mem_printf("the daemon at %s is gone; waiting for it (q quit)", top->command->place.told);
    error_free(error);
    draw(top);
    io_timer_arm(top->again, AGAIN_MS);
}

static void begin(struct top *top) {
    struct error *error = asking_start(top->loop, top->command, &top->question, on_end, top, &top->asking);
    if (!error) return;
    top->failed = error;
    io_loop_stop(top->loop);
}

static void finish(struct top *top) {
    screen_close(&top->screen);
    io_watch_free(top->keys);
    for (size_t i = 0; i < COUNT(top->signals); i++) io_signal_free(top->signals[i]);
    asking_free(top->asking);
    io_timer_free(top->tick);
    io_timer_free(top->again);
    io_loop_free(top->loop);
    screen_done(&top->screen);
    json_decref(top->ps);
    free(top->lost);
}

int top_run(struct command *command) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    if (!command->options.json && !isatty(STDOUT_FILENO))
        return fail_usage(command,
                          "a terminal is needed; `catnap ps` prints once, `catnap top --json` at each "
                          "change");
    struct top top = {.command = command, .coloured = colours_wanted(STDOUT_FILENO), .screen = SCREEN_INIT};
    top.question = (struct question){.method = "GET", .target = "/v1/events", .line = on_line, .owner = &top};
    top.loop = io_loop_new();
    top.tick = io_timer_new(top.loop, on_tick, &top);
    top.again = io_timer_new(top.loop, on_again, &top);
    for (size_t i = 0; i < COUNT(signals) && !command->options.json; i++)
        top.signals[i] = io_signal_new(top.loop, signals[i], on_signal, &top);
    begin(&top);
    if (!top.failed) io_loop_run(top.loop);
    struct error *failed = top.failed;
    finish(&top);
    return failed ? fail(command, failed) : STATUS_OK;
}
