/* `catnap publish|unpublish`: a web function of Modal's kind on a port of its own. */
#include <stdio.h>

#include "command.h"

#define ANSWER_MS 60000

struct about {
    const char *verb;
    uint64_t port; /* 0: none */
};

static char *target(const char *app, const char *function_or_null, void *owner) {
    const struct about *about = owner;
    scoped_text struct text out = {0};
    text_add_string(&out, "/v1/apps/");
    words_add_url(&out, app);
    text_printf(&out, "/%s?", about->verb);
    if (about->port) text_printf(&out, "port=%llu&", (unsigned long long)about->port);
    if (function_or_null) {
        text_add_string(&out, "function=");
        words_add_url(&out, function_or_null);
    }
    return text_take(&out);
}

static const char *text_of(const json_t *answer, const char *key) {
    const char *text = json_string_value(json_object_get(answer, key));
    return text ? text : "";
}

int publish_run(struct command *command) {
    struct about about = {.verb = command->verb->name};
    bool wanted = strcmp(about.verb, "publish") == 0;
    if (wanted &&
        (!span_to_u64(span_of(command->words[1]), &about.port) || about.port < 1 || about.port > UINT16_MAX))
        return fail_usage(command, "'%.40s' is no port from 1 to 65535", command->words[1]);
    scoped_json json_t *answer = NULL;
    struct question question = {.method = "POST", .timeout_ms = ANSWER_MS, .owner = &about};
    struct error *error = ask_about(command, command->words[0], target, &question, &answer);
    if (error) return fail(command, error);
    if (command->options.json)
        print_json(answer);
    else if (wanted)
        printf("%s.%s is at %s, also after the next deploy\n", text_of(answer, "app"),
               text_of(answer, "function"), text_of(answer, "url"));
    else
        printf("%s.%s is at no port of its own any more\n", text_of(answer, "app"),
               text_of(answer, "function"));
    return STATUS_OK;
}
