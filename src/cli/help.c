/* `catnap help`: all verbs in short, one in full. */
#include <stdio.h>

#include "command.h"

void help_all(FILE *out) {
    fputs("catnap: apps that sleep when nobody uses them and wake on the next request\n\n"
          "usage: catnap VERB ...\n\n",
          out);
    for (size_t i = 0; i < verb_count; i++)
        if (!verbs[i].hidden) fprintf(out, "  %-11s %s\n", verbs[i].name, verbs[i].summary);
    fputs(
        "\ncatnap help VERB has options and examples. CATNAP_API says where the daemon is: the path of its\n"
        "socket, or http://ADDR:PORT with the token in CATNAP_API_TOKEN; else it is your own one's socket.\n"
        "Exit status: 0, 1 refused or failed, 2 wrong command line, 3 no daemon answers.\n",
        out);
}

static void print_indented(const char *lines, const char *before) {
    struct span rest = span_of(lines);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        printf("%s" SPAN_FORMAT "\n", before, SPAN_ARGS(line));
    }
}

static char *option_text(const struct option_row *row) {
    scoped_string char *letter = row->letter ? mem_printf("-%c, ", row->letter) : mem_string("");
    return mem_printf("%s%s%s%s", letter, row->name, row->value ? " " : "", row->value ? row->value : "");
}

static void print_options(const struct verb *verb) {
    int wide = 16;
    for (int print = 0; print < 2; print++)
        for (size_t i = 0; i < option_row_count; i++) {
            if (!(verb->options & option_rows[i].bit)) continue;
            scoped_string char *text = option_text(&option_rows[i]);
            if (print)
                printf("  %-*s %s\n", wide, text, option_rows[i].help);
            else if ((int)strlen(text) > wide)
                wide = (int)strlen(text);
        }
}

void help_verb(const struct verb *verb, const struct cli_hooks *hooks) {
    if (strcmp(verb->name, "serve") == 0) { /* the daemon knows its options itself */
        char name[] = "serve", help[] = "--help";
        char *argv[] = {name, help, NULL};
        hooks->serve(2, argv);
        return;
    }
    printf("catnap %s: %s\n\nusage: catnap %s%s%s%s\n", verb->name, verb->summary, verb->name,
           verb->options ? " [OPTIONS]" : "", verb->operands ? " " : "",
           verb->operands ? verb->operands : "");
    if (verb->details) {
        putchar('\n');
        print_indented(verb->details, "");
    }
    if (verb->options) puts("\noptions:");
    print_options(verb);
    if (verb->examples) {
        puts("\nexamples:");
        print_indented(verb->examples, "  ");
    }
}

int help_run(struct command *command) {
    const char *name = command->word_count > 0 ? command->words[0] : NULL;
    const struct verb *verb = name ? verb_find(name) : NULL;
    if (name && !verb) return fail_usage(command, "there is no verb '%.40s'", name);
    if (verb)
        help_verb(verb, command->hooks);
    else
        help_all(stdout);
    return STATUS_OK;
}
