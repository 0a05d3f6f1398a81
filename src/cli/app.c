/* `catnap wake|doze|sleep|stop`, and what they print: the functions as they are then. */
#include "app.h"

#include <stdio.h>

#include "command.h"
#include "ps.h"

#define ANSWER_TIMEOUT_MS 60000

struct about {
    const char *verb;
    bool no_wait;
};

static char *target(const char *app, const char *function_or_null, void *owner) {
    const struct about *about = owner;
    scoped_text struct text out = {0};
    text_add_string(&out, "/v1/apps/");
    words_add_url(&out, app);
    text_printf(&out, "/%s?wait=%d", about->verb, about->no_wait ? 0 : 1);
    if (function_or_null) {
        text_add_string(&out, "&function=");
        words_add_url(&out, function_or_null);
    }
    return text_take(&out);
}

void app_print_function(const char *app, const json_t *function, int64_t since_ms) {
    const char *state = ps_state(function);
    const char *url = json_string_value(json_array_get(json_object_get(function, "urls"), 0));
    if (strcmp(state, "awake") != 0 && strcmp(state, "asleep") != 0)
        url = NULL; /* who stops it won't ask it */
    printf("%s.%s is %s%s%s", app, ps_string(function, "function"), state, url ? " at " : "", url ? url : "");
    int64_t took_us = ps_number(function, "last_wake_us", -1);
    bool just_woke = strcmp(state, "awake") == 0 && took_us >= 0 &&
                     ps_number(function, "last_wake_wall_ms", 0) >= since_ms;
    char took[WORDS_SIZE];
    if (just_woke) printf(" (woke in %s)", words_time_us(took_us, took));
    putchar('\n');
}

static void print_app(const json_t *app, int64_t since_ms) {
    const json_t *function;
    size_t i;
    json_array_foreach(json_object_get(app, "functions"), i, function) {
        app_print_function(ps_string(app, "app"), function, since_ms);
    }
}

int app_run(struct command *command) {
    struct about about = {.verb = command->verb->name, .no_wait = command->options.no_wait};
    int64_t began_ms = clock_wall_ms();
    bool wakes = strcmp(about.verb, "wake") == 0;
    for (size_t i = 0; i < command->word_count; i++) {
        scoped_json json_t *json = NULL;
        struct question question = {
            .method = "POST",
            .timeout_ms = wakes ? 0 : ANSWER_TIMEOUT_MS, /* a wake ends by its startup_timeout */
            .owner = &about,
        };
        struct error *error = ask_about(command, command->words[i], target, &question, &json);
        if (error) return fail(command, error);
        if (command->options.json)
            print_json(json);
        else
            print_app(json, began_ms);
    }
    return STATUS_OK;
}
