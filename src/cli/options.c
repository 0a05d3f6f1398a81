/* Options and words of a verb. Options may stand anywhere; behind "--" all are words. */
#include "command.h"

const struct option_row option_rows[] = {
    {"--json", 0, NULL, "JSON instead of a table; its keys only ever grow in number", OPTION_JSON},
    {"--follow", 'f', NULL, "then what comes, until Ctrl-C", OPTION_FOLLOW},
    {"--since", 0, "WHEN", "only what came since: 10m, 1h30m (ago), 14:05, 2026-01-02T14:05", OPTION_SINCE},
    {"--last", 'n', "N", "only the last N lines (1000 where --since is not told)", OPTION_LAST},
    {"--text", 0, NULL, "only what was written, without its time and source", OPTION_TEXT},
    {"--no-wait", 0, NULL, "come back at once, not when it is awake", OPTION_NO_WAIT},
    {"--all", 0, NULL, "prune: also images that have a name but no app", OPTION_ALL},
    {"--again", 0, NULL, "pull: also what is here already; a tag may mean something newer", OPTION_AGAIN},
    {"--force", 0, NULL, "build: every step anew, nothing from the cache", OPTION_FORCE},
    {"--name", 't', "NAME", "build: what the image is called", OPTION_NAME},
    {"--dockerfile", 0, "FILE", "build: instead of DIRECTORY/Dockerfile", OPTION_DOCKERFILE},
    {"--build-arg", 0, "NAME=VALUE", "build: for an ARG; without =VALUE from your environment",
     OPTION_BUILD_ARG},
    {"--target", 0, "STAGE", "build: up to that stage", OPTION_TARGET},
    {"--profile", 0, "NAME", "the profile in the client's file (default catnap)", OPTION_PROFILE},
    {"--env", 0, NULL, "print variables for the shell instead; no file is written", OPTION_ENV},
    {"--proxy", 0, NULL, "new: for those who ask web functions with requires_proxy_auth", OPTION_PROXY},
};
const size_t option_row_count = COUNT(option_rows);

static struct error *set(struct options *options, const struct option_row *row, const char *value) {
    uint64_t number = 0;
    int64_t ago_ms = 0;
    switch (row->bit) {
    case OPTION_JSON: options->json = true; break;
    case OPTION_FOLLOW: options->follow = true; break;
    case OPTION_TEXT: options->text = true; break;
    case OPTION_NO_WAIT: options->no_wait = true; break;
    case OPTION_ALL: options->all = true; break;
    case OPTION_AGAIN: options->again = true; break;
    case OPTION_FORCE: options->force = true; break;
    case OPTION_NAME: options->name = value; break;
    case OPTION_DOCKERFILE: options->dockerfile = value; break;
    case OPTION_TARGET: options->target = value; break;
    case OPTION_PROFILE: options->profile = value; break;
    case OPTION_ENV: options->env = true; break;
    case OPTION_PROXY: options->proxy = true; break;
    case OPTION_BUILD_ARG:
        options->args = mem_grow(options->args, options->arg_count + 1, sizeof *options->args);
        options->args[options->arg_count++] = value;
        break;
    case OPTION_SINCE:
        if (words_to_ms(value, &ago_ms)) {
            options->since_ms = clock_wall_ms() - ago_ms;
            if (options->since_ms < 0) options->since_ms = 0;
        } else if (!words_to_wall_ms(value, &options->since_ms)) {
            return error_new(ERROR_INVALID_ARGUMENT,
                             "--since: '%.40s' is neither a duration (10m, 1h30m) nor a time (14:05, "
                             "2026-01-02T14:05)",
                             value);
        }
        break;
    case OPTION_LAST:
        if (!span_to_u64(span_of(value), &number) || number > 100000)
            return error_new(ERROR_INVALID_ARGUMENT, "--last: '%.40s' is no whole number from 0 to 100000",
                             value);
        options->last = (int64_t)number;
        break;
    }
    return NULL;
}

static const struct option_row *find(struct span name) {
    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (span_is(name, row->name)) return row;
        if (row->letter && name.size == 2 && name.data[0] == '-' && name.data[1] == row->letter) return row;
    }
    return NULL;
}

static const char *name_of(size_t i) {
    return option_rows[i].name;
}

static struct error *unknown(const struct verb *verb, const char *argument) {
    const char *near = words_nearest(argument, name_of, option_row_count);
    const struct option_row *row = near ? find(span_of(near)) : NULL;
    if (row && verb->options & row->bit)
        return error_new(ERROR_INVALID_ARGUMENT, "there is no option %.40s; did you mean %s?", argument,
                         near);
    return error_new(ERROR_INVALID_ARGUMENT, "there is no option %.40s", argument);
}

/* One option at argv[*i], with its value behind '=' or in the next argument. */
static struct error *read_option(struct command *command, int *i) {
    const char *argument = command->argv[*i];
    struct span value = span_of(argument), name = span_cut(&value, '=');
    const struct option_row *row = find(name);
    if (span_is(name, "--help") || span_is(name, "-h")) {
        command->options.help = true;
        return NULL;
    }
    if (!row) return unknown(command->verb, argument);
    if (!(command->verb->options & row->bit))
        return error_new(ERROR_INVALID_ARGUMENT, "%s is no option of this verb", row->name);
    if (!row->value && value.data) return error_new(ERROR_INVALID_ARGUMENT, "%s takes no value", row->name);
    if (row->value && !value.data) {
        if (*i + 1 >= command->argc)
            return error_new(ERROR_INVALID_ARGUMENT, "%s wants a value: %s %s", row->name, row->name,
                             row->value);
        value = span_of(command->argv[++*i]);
    }
    return set(&command->options, row, value.data);
}

struct error *options_read(struct command *command) {
    const struct verb *verb = command->verb;
    bool words_only = false;
    command->options = (struct options){.since_ms = -1, .last = -1};
    command->words = mem_array((size_t)command->argc + 1, sizeof *command->words);
    command->word_count = 0;
    for (int i = 1; i < command->argc; i++) {
        char *argument = command->argv[i];
        if (!words_only && strcmp(argument, "--") == 0)
            words_only = true;
        else if (!words_only && argument[0] == '-' && argument[1])
            TRY_PLAIN(read_option(command, &i));
        else
            command->words[command->word_count++] = argument;
    }
    if (command->options.help) return NULL;
    if (command->word_count > 0 && command->word_count < verb->least)
        return error_new(ERROR_INVALID_ARGUMENT, "expected: catnap %s %s", verb->name, verb->operands);
    if (command->word_count < verb->least)
        return error_new(ERROR_INVALID_ARGUMENT, "%s is missing", verb->operands);
    if (command->word_count > verb->most)
        return error_new(ERROR_INVALID_ARGUMENT, "'%.80s' is one too many", command->words[verb->most]);
    for (size_t i = 0; i < command->word_count; i++)
        if (!*command->words[i]) return error_new(ERROR_INVALID_ARGUMENT, "an empty word says nothing");
    return NULL;
}
