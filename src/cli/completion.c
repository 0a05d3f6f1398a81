/* Completion: a script for bash that asks `catnap complete WORDS...` at each Tab, so that it knows what this
 * program knows, and the names of apps that run now.
 *
 * An answer is a line each; ":files" leaves the word to the shell. Nothing is said when anything is wrong:
 * who presses Tab did not ask for errors. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "ps.h"

#define PATIENCE_MS 1000

static const char script[] =
    "# bash completion of catnap: source <(catnap completion bash)\n"
    "_catnap() {\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} line\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        if [[ $line == :files ]]; then\n"
    "            compopt -o filenames\n"
    "            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$current\")\n"
    "        else\n"
    "            COMPREPLY+=(\"$line\")\n"
    "        fi\n"
    "    done < <(\"${COMP_WORDS[0]/#\\~/$HOME}\" complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _catnap catnap\n";

int completion_run(struct command *command) {
    if (strcmp(command->words[0], "bash") != 0)
        return fail_usage(command, "there is completion for bash, not for '%.40s'", command->words[0]);
    fputs(script, stdout);
    return STATUS_OK;
}

static void offer(const char *candidate, const char *prefix) {
    if (span_starts(span_of(candidate), prefix)) puts(candidate);
}

static void offer_options(const struct verb *verb, const char *prefix) {
    struct span rest = span_of(verb->foreign_options);
    for (size_t i = 0; i < option_row_count; i++)
        if (verb->options & option_rows[i].bit) offer(option_rows[i].name, prefix);
    while (rest.data) {
        scoped_string char *name = span_string(span_cut(&rest, ' '));
        if (*name) offer(name, prefix);
    }
    offer("--help", prefix);
}

/* The value of an option. False: `option` takes none. */
static bool offer_value(const struct verb *verb, const char *option, const char *prefix) {
    static const char *const times[] = {"10m", "1h", "1d"}, *const runtimes[] = {"crun", "runc"};
    if (verb->options & OPTION_SINCE && strcmp(option, "--since") == 0) {
        for (size_t i = 0; i < COUNT(times); i++) offer(times[i], prefix);
        return true;
    }
    if (verb->options & OPTION_LAST) return strcmp(option, "--last") == 0 || strcmp(option, "-n") == 0;
    if (!verb->foreign_options || option[0] != '-') return false;
    if (strcmp(option, "--runtime") == 0) {
        for (size_t i = 0; i < COUNT(runtimes); i++) offer(runtimes[i], prefix);
        return true;
    }
    bool file = strcmp(option, "--state") == 0 || strcmp(option, "--config") == 0 ||
                strcmp(option, "--up") == 0 || strcmp(option, "--api") == 0;
    if (file) puts(":files");
    return file || strcmp(option, "--gateway") == 0 || strcmp(option, "--modal") == 0;
}

static bool stands_already(const struct command *command, const char *name) {
    for (int i = 2; i < command->argc - 1; i++)
        if (strcmp(command->argv[i], name) == 0) return true;
    return false;
}

/* Apps; of an app with several functions, and once there is a dot, the functions too. */
static void offer_names(struct command *command, bool functions, const char *prefix) {
    scoped_json json_t *ps = NULL;
    const struct question question = {.method = "GET", .target = "/v1/ps", .timeout_ms = PATIENCE_MS};
    scoped(error) struct error *error = ask(command, &question, &ps);
    if (error) return;
    struct ps_row *rows;
    size_t count = ps_rows(ps, &rows);
    for (size_t i = 0; i < count; i++) {
        const char *app = rows[i].app;
        bool first = i == 0 || strcmp(rows[i - 1].app, app) != 0;
        bool alone = first && (i + 1 == count || strcmp(rows[i + 1].app, app) != 0);
        if (first && !stands_already(command, app)) offer(app, prefix);
        scoped_string char *name = mem_printf("%s.%s", app, ps_string(rows[i].function, "function"));
        bool dotted = strlen(prefix) > strlen(app);
        if (functions && (!alone || dotted) && !stands_already(command, name)) offer(name, prefix);
    }
    free(rows);
}

static void offer_verbs(const char *prefix) {
    for (size_t i = 0; i < verb_count; i++)
        if (!verbs[i].hidden) offer(verbs[i].name, prefix);
}

static void offer_image_words(const char *prefix) {
    static const char *const words[] = {"ls", "pull", "build", "import", "alias", "rm", "prune"};
    for (size_t i = 0; i < COUNT(words); i++) offer(words[i], prefix);
}

/* What to do, then the id of a token that there is. */
static void offer_token_words(struct command *command, const char *prefix) {
    static const char *const words[] = {"new", "list", "revoke"};
    for (size_t i = 0; command->argc == 3 && i < COUNT(words); i++) offer(words[i], prefix);
    if (command->argc != 4 || strcmp(command->argv[2], "revoke") != 0) return;
    scoped_json json_t *answer = NULL;
    const struct question question = {.method = "GET", .target = "/v1/tokens", .timeout_ms = PATIENCE_MS};
    scoped(error) struct error *error = ask(command, &question, &answer);
    const json_t *token;
    size_t i;
    if (error) return;
    json_array_foreach(json_object_get(answer, "tokens"), i, token) {
        const char *id = json_string_value(json_object_get(token, "id"));
        if (id) offer(id, prefix);
    }
}

int complete_run(struct command *command) {
    if (command->argc < 2) return STATUS_USAGE;
    const char *prefix = command->argv[command->argc - 1];
    if (command->argc == 2) {
        offer_verbs(prefix);
        return STATUS_OK;
    }
    const struct verb *verb = verb_find(command->argv[1]);
    if (!verb) return STATUS_OK;
    if (command->argc > 3 && offer_value(verb, command->argv[command->argc - 2], prefix)) return STATUS_OK;
    if (prefix[0] == '-') {
        offer_options(verb, prefix);
        return STATUS_OK;
    }
    bool more = verb->most > 1 || command->argc == 3;
    switch (verb->kind) {
    case WORDS_NONE: break;
    case WORDS_APPS:
    case WORDS_FUNCTIONS: offer_names(command, verb->kind == WORDS_FUNCTIONS, prefix); break;
    case WORDS_FILES: puts(":files"); break;
    case WORDS_VERBS:
        if (more) offer_verbs(prefix);
        break;
    case WORDS_IMAGES:
        if (command->argc == 3)
            offer_image_words(prefix);
        else
            puts(":files");
        break;
    case WORDS_TOKENS: offer_token_words(command, prefix); break;
    case WORDS_SHELLS:
        if (more) offer("bash", prefix);
        break;
    }
    return STATUS_OK;
}
