/* `catnap doctor`: what this machine can and can't do, with the fix for each. Needs no daemon. */
#include "container.h"
#include "daemon.h"

#include <stdio.h>
#include <unistd.h>

static void print_json(const struct container_checks *checks) {
    scoped_json json_t *list = json_array();
    for (size_t i = 0; i < checks->count; i++) {
        const struct container_check *check = &checks->check[i];
        json_t *item = json_pack("{s:s, s:b, s:b, s:s*, s:s*}", "name", check->name, "ok", check->ok,
                                 "needed", check->needed, "found", check->found, "fix", check->fix);
        json_array_append_new(list, item);
    }
    scoped_json json_t *all = json_pack("{s:O}", "checks", list);
    json_dumpf(all, stdout, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
    putchar('\n');
}

static void print_table(const struct container_checks *checks) {
    for (size_t i = 0; i < checks->count; i++) {
        const struct container_check *check = &checks->check[i];
        const char *mark = check->ok ? "ok     " : check->needed ? "MISSING" : "less   ";
        printf("%s  %-14s %s\n", mark, check->name, check->found ? check->found : "");
        if (!check->ok && check->fix) printf("%-25sfix: %s\n", "", check->fix);
    }
}

int daemon_doctor(int argc, char **argv) {
    bool json = false;
    const char *runtime = "crun";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--runtime") == 0 && i + 1 < argc) {
            runtime = argv[++i];
        } else {
            fprintf(
                stderr,
                "catnap doctor: unknown argument %s (usage: catnap doctor [--json] [--runtime PROGRAM])\n",
                argv[i]);
            return 2;
        }
    }
    struct container_checks checks = {0};
    container_doctor(runtime, &checks);
    int status = 0;
    for (size_t i = 0; i < checks.count; i++)
        if (!checks.check[i].ok && checks.check[i].needed) status = 1;
    if (json)
        print_json(&checks);
    else
        print_table(&checks);
    container_checks_done(&checks);
    return status;
}
