/* `catnap logs`: lines of JSON from the daemon, as text with their time in this place. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "command.h"
#include "sheet.h"

struct reader {
    const struct command *command;
    bool coloured;
    char day[16]; /* of the last line; today at first, so that it is told only of other days */
};

static char *target(const char *app, const char *function_or_null, void *owner) {
    const struct options *options = &((const struct reader *)owner)->command->options;
    scoped_text struct text out = {0};
    text_add_string(&out, "/v1/logs?app=");
    words_add_url(&out, app);
    if (function_or_null) {
        text_add_string(&out, "&function=");
        words_add_url(&out, function_or_null);
    }
    int64_t since_ms = options->last == 0 ? clock_wall_ms() : options->since_ms; /* none: what comes */
    if (since_ms >= 0) text_printf(&out, "&since=%lld", (long long)since_ms);
    if (options->last > 0) text_printf(&out, "&last=%lld", (long long)options->last);
    if (options->follow) text_add_string(&out, "&follow=1");
    return text_take(&out);
}

/* "2026-01-02T03:04:05.678Z" as the clock on the wall has it; the day where it is another. */
static void add_time(struct reader *reader, const char *utc, struct text *out) {
    struct tm parts = {0};
    const char *rest = strptime(utc, "%Y-%m-%dT%H:%M:%S", &parts);
    if (!rest) return;
    time_t when = timegm(&parts);
    char day[sizeof reader->day], clock[16];
    localtime_r(&when, &parts);
    strftime(day, sizeof day, "%Y-%m-%d", &parts);
    strftime(clock, sizeof clock, "%H:%M:%S", &parts);
    if (strcmp(day, reader->day) != 0) {
        memcpy(reader->day, day, sizeof day);
        scoped_string char *line = mem_printf("--- %s\n", day);
        text_add_coloured(out, COLOUR_DIM, reader->coloured, span_of(line));
    }
    scoped_string char *stamp = mem_printf("%s%.4s ", clock, rest);
    text_add_coloured(out, COLOUR_DIM, reader->coloured, span_of(stamp));
}

static void add_line(struct reader *reader, const json_t *line, struct text *out) {
    const char *time = json_string_value(json_object_get(line, "time"));
    const char *function = json_string_value(json_object_get(line, "function"));
    const char *stream = json_string_value(json_object_get(line, "stream"));
    const json_t *text = json_object_get(line, "text");
    struct span bytes = {json_string_value(text), json_string_length(text)};
    bool ours = stream && strcmp(stream, "sys") == 0;
    if (!time || !function || !bytes.data) return;
    if (reader->command->options.text) {
        if (!ours) text_add(out, bytes);
        if (!ours) text_add_char(out, '\n');
        return;
    }
    add_time(reader, time, out);
    scoped_string char *who = mem_printf("%s ", function);
    text_add_coloured(out, COLOUR_BLUE, reader->coloured, span_of(who));
    if (ours) text_add_coloured(out, COLOUR_DIM, reader->coloured, SPAN("-- "));
    text_add_coloured(out, ours ? COLOUR_DIM : COLOUR_NONE, reader->coloured, bytes);
    text_add_char(out, '\n');
}

static bool on_line(void *owner, struct span bytes) {
    struct reader *reader = owner;
    scoped_text struct text out = {0};
    if (reader->command->options.json) {
        text_add(&out, bytes);
        text_add_char(&out, '\n');
    } else {
        scoped_json json_t *line = json_loadb(bytes.data, bytes.size, 0, NULL);
        const json_t *skipped = json_object_get(line, "skipped");
        if (skipped)
            text_printf(&out, "--- %lld lines came faster than they were read and are left out\n",
                        (long long)json_integer_value(skipped));
        else
            add_line(reader, line, &out);
    }
    fwrite(out.data ? out.data : "", 1, out.size, stdout);
    if (reader->command->options.follow) fflush(stdout);
    return !ferror(stdout);
}

int logs_run(struct command *command) {
    struct reader reader = {.command = command, .coloured = colours_wanted(STDOUT_FILENO)};
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm parts;
    localtime_r(&now, &parts);
    strftime(reader.day, sizeof reader.day, "%Y-%m-%d", &parts);
    struct question question = {.method = "GET", .line = on_line, .owner = &reader};
    struct error *error = ask_about(command, command->words[0], target, &question, NULL);
    if (!error && command->options.follow && !command->reader_left && !ferror(stdout)) {
        command->failure = STATUS_NO_DAEMON;
        error = error_new(ERROR_UNAVAILABLE, "the daemon at %s ended", command->place.told);
    }
    return error ? fail(command, error) : STATUS_OK;
}
