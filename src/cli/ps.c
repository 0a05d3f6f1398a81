/* `catnap ps`: the daemon's /v1/ps as a table. `catnap top` shows the same rows. */
#include "ps.h"

#include <stdio.h>
#include <stdlib.h>

#include "command.h"

#define PS_TIMEOUT_MS 30000
#define FAILURE_LINES_MAX 12

const struct sheet_column ps_columns[PS_COLUMNS] = {
    {"APP", false, 0},   {"FUNCTION", false, 0},  {"STATE", false, 0}, {"WAITING", true, 3},
    {"MEMORY", true, 4}, {"LAST WAKE", false, 2}, {"TOOK", false, 1},  {"URL", false, 0},
};

const char *ps_string(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

int64_t ps_number(const json_t *object, const char *key, int64_t absent) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : absent;
}

const char *ps_state(const json_t *function) {
    const char *state = ps_string(function, "state");
    bool stopped = json_is_true(json_object_get(function, "stopped"));
    return stopped && strcmp(state, "asleep") == 0 ? "stopped" : state;
}

static size_t containers_in(const json_t *function, const char *state) {
    const json_t *container;
    size_t i, count = 0;
    json_array_foreach(json_object_get(function, "containers"), i, container) {
        count += strcmp(ps_string(container, "state"), state) == 0;
    }
    return count;
}

static void add_state(struct sheet *sheet, const json_t *function, int64_t now_ms) {
    const char *state = ps_state(function);
    char took[WORDS_SIZE];
    if (strcmp(state, "awake") == 0) {
        size_t awake = containers_in(function, "awake");
        int64_t slots = ps_number(function, "max_inputs", 1) * (int64_t)(awake ? awake : 1);
        sheet_add(sheet, COLOUR_GREEN, "awake %lld/%lld", (long long)ps_number(function, "working", 0),
                  (long long)slots);
    } else if (strcmp(state, "starting") == 0) {
        words_time_us(ps_number(function, "starting_for_ms", 0) * 1000, took);
        sheet_add(sheet, COLOUR_YELLOW, "starting %s", took);
    } else if (strcmp(state, "failed") == 0) {
        words_time_us(ps_number(function, "retry_ms", 0) * 1000, took);
        sheet_add(sheet, COLOUR_RED, "failed, retry %s", took);
    } else if (strcmp(state, "stopped") == 0) {
        sheet_add(sheet, COLOUR_RED, "stopped");
    } else if (strcmp(state, "asleep") == 0) {
        int64_t left_ms = ps_number(function, "next_run_wall_ms", 0) - now_ms;
        if (left_ms > 0)
            sheet_add(sheet, COLOUR_DIM, "asleep, runs in %s", words_time_us(left_ms * 1000, took));
        else
            sheet_add(sheet, COLOUR_DIM, "asleep%s", containers_in(function, "primed") ? ", primed" : "");
    } else {
        sheet_add(sheet, strcmp(state, "dozing") == 0 ? COLOUR_BLUE : COLOUR_YELLOW, "%s", state);
    }
}

static void add_wake(struct sheet *sheet, const json_t *function, int64_t now_ms) {
    static const char *const kinds[][2] = {{"start", ""}, {"primed", " (primed)"}, {"thaw", " (thaw)"}};
    int64_t when_ms = ps_number(function, "last_wake_wall_ms", 0);
    int64_t took_us = ps_number(function, "last_wake_us", -1);
    char text[WORDS_SIZE];
    if (when_ms <= 0 || took_us < 0) {
        sheet_add(sheet, COLOUR_NONE, "%s", "");
        sheet_add(sheet, COLOUR_NONE, "%s", "");
        return;
    }
    int64_t ago_ms = now_ms > when_ms ? now_ms - when_ms : 0;
    const char *kind = "";
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(kinds[i][0], ps_string(function, "last_wake_kind")) == 0) kind = kinds[i][1];
    if (ago_ms < 1000)
        sheet_add(sheet, COLOUR_NONE, "now");
    else if (ago_ms < 10000)
        sheet_add(sheet, COLOUR_NONE, "%d s ago", (int)(ago_ms / 1000));
    else
        sheet_add(sheet, COLOUR_NONE, "%s ago", words_time_us(ago_ms / 1000 * 1000000, text));
    sheet_add(sheet, COLOUR_NONE, "%s%s", words_time_us(took_us, text), kind);
}

void ps_add(struct sheet *sheet, const struct ps_row *row, int64_t now_ms) {
    const json_t *function = row->function;
    int64_t waiting = ps_number(function, "waiting", 0), memory = ps_number(function, "memory_bytes", 0);
    const char *url = json_string_value(json_array_get(json_object_get(function, "urls"), 0));
    char text[WORDS_SIZE];
    sheet_add(sheet, COLOUR_NONE, "%s", row->app);
    sheet_add(sheet, COLOUR_NONE, "%s", ps_string(function, "function"));
    add_state(sheet, function, now_ms);
    sheet_add(sheet, waiting ? COLOUR_YELLOW : COLOUR_NONE, "%lld", (long long)waiting);
    sheet_add(sheet, COLOUR_NONE, "%s", memory > 0 ? words_bytes((uint64_t)memory, text) : "");
    add_wake(sheet, function, now_ms);
    sheet_add(sheet, COLOUR_NONE, "%s", url ? url : "");
}

size_t ps_rows(const json_t *ps, struct ps_row **ret_rows) {
    const json_t *apps = json_object_get(ps, "apps"), *app, *function;
    size_t i, j, count = 0;
    json_array_foreach(apps, i, app) count += json_array_size(json_object_get(app, "functions"));
    *ret_rows = mem_array(count + 1, sizeof **ret_rows);
    count = 0;
    json_array_foreach(apps, i, app) {
        json_array_foreach(json_object_get(app, "functions"), j, function) {
            (*ret_rows)[count++] = (struct ps_row){ps_string(app, "app"), function};
        }
    }
    return count;
}

/* What failed, with its last words, below the table. */
static void print_failure(const struct ps_row *row, bool coloured) {
    struct span rest = span_of(ps_string(row->function, "failure"));
    scoped_text struct text out = {0};
    scoped_string char *who = mem_printf("%s.%s: ", row->app, ps_string(row->function, "function"));
    text_add_char(&out, '\n');
    text_add_coloured(&out, COLOUR_RED, coloured, span_of(who));
    for (size_t lines = 0; rest.data && lines < FAILURE_LINES_MAX; lines++) {
        if (lines > 0) text_add_string(&out, "  ");
        words_add_clean(&out, span_cut(&rest, '\n'));
        text_add_char(&out, '\n');
    }
    if (rest.data) text_printf(&out, "  ... `catnap logs %s` has all of it\n", row->app);
    fwrite(out.data, 1, out.size, stdout);
}

void ps_print(const json_t *ps, int64_t now_ms) {
    scoped_sheet struct sheet sheet = {.columns = ps_columns, .column_count = PS_COLUMNS};
    struct ps_row *rows;
    size_t count = ps_rows(ps, &rows);
    for (size_t i = 0; i < count; i++) ps_add(&sheet, &rows[i], now_ms);
    if (count > 0)
        sheet_print(&sheet);
    else
        puts("no apps yet; `catnap up FILE` brings one up");
    for (size_t i = 0; i < count; i++)
        if (*ps_string(rows[i].function, "failure")) print_failure(&rows[i], colours_wanted(STDOUT_FILENO));
    free(rows);
}

int ps_run(struct command *command) {
    scoped_json json_t *json = NULL;
    const struct question question = {.method = "GET", .target = "/v1/ps", .timeout_ms = PS_TIMEOUT_MS};
    struct error *error = ask(command, &question, &json);
    if (error) return fail(command, error);
    if (command->options.json)
        print_json(json);
    else
        ps_print(json, clock_wall_ms());
    return STATUS_OK;
}
