/* From main to a verb and back: which verb it is, whether its line is right, and that what was printed got
 * out.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"

static const char *name_of(size_t i) {
    return verbs[i].hidden ? "" : verbs[i].name;
}

static int unknown(const char *name) {
    const char *near = words_nearest(name, name_of, verb_count);
    if (near) return fail_usage(NULL, "there is no verb '%.40s'; did you mean '%s'?", name, near);
    return fail_usage(NULL, "there is no verb '%.40s'", name);
}

/* `catnap --version` is what every program has. */
static const char *verb_name(const char *argument) {
    if (strcmp(argument, "--version") == 0 || strcmp(argument, "-V") == 0) return "version";
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) return "help";
    return argument;
}

static bool asks_for_help(int argc, char **argv) {
    return argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
}

/* A full disk or a reader that left: the first is told, the second knows. */
static int flushed(int status) {
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed || status != STATUS_OK) return status;
    if (errno != EPIPE) {
        scoped(error) struct error *error = error_errno(errno, "what was to be printed got lost");
        scoped_string char *text = error_text(error);
        fprintf(stderr, "catnap: %s\n", text);
    }
    return STATUS_FAILED;
}

static int run(struct command *command) {
    if (command->verb->foreign_options) {
        if (!asks_for_help(command->argc, command->argv)) return command->verb->run(command);
        command->options.help = true;
    } else {
        struct error *error = options_read(command);
        if (error) {
            scoped_string char *text = error_text(error);
            error_free(error);
            return fail_usage(command, "%s", text);
        }
    }
    if (!command->options.help) return command->verb->run(command);
    help_verb(command->verb, command->hooks);
    return STATUS_OK;
}

int cli_main(int argc, char **argv, const struct cli_hooks *hooks) {
    if (argc < 2) {
        help_all(stderr);
        return STATUS_USAGE;
    }
    const struct verb *verb = verb_find(verb_name(argv[1]));
    if (!verb) return unknown(argv[1]);
    struct command command = {
        .verb = verb, .hooks = hooks, .argc = argc - 1, .argv = argv + 1, .failure = STATUS_FAILED};
    if (!verb->foreign_options)
        signal(SIGPIPE, SIG_IGN); /* a daemon that hangs up is an error to tell, no death */
    int status = flushed(run(&command));
    place_done(&command.place);
    free(command.words), free(command.options.args);
    return status;
}
