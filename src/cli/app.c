/* `catnap wake|doze|sleep|stop`, and what they print: the functions as they are then. */
#include "app.h"

#include <stdio.h>

#include "command.h"

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

void app_print(const json_t *app) {
    const char *app_name = json_string_value(json_object_get(app, "app"));
    const json_t *function;
    size_t i;
    json_array_foreach(json_object_get(app, "functions"), i, function) {
        const char *name = json_string_value(json_object_get(function, "function"));
        const char *state = json_string_value(json_object_get(function, "state"));
        const char *url = json_string_value(json_array_get(json_object_get(function, "urls"), 0));
        bool stopped = json_is_true(json_object_get(function, "stopped"));
        if (stopped && strcmp(state, "asleep") == 0) state = "stopped";
        printf("%s.%s: %s%s%s\n", app_name, name, state, url ? " at " : "", url ? url : "");
    }
}

int app_run(struct command *command) {
    struct about about = {.verb = command->verb->name, .no_wait = command->options.no_wait};
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
            app_print(json);
    }
    return STATUS_OK;
}
