/* cli: the command line. Asks the daemon's api, prints tables or JSON.
 *
 * Finds the daemon by CATNAP_API: a path of a Unix socket, or http://ADDR:PORT with the token in
 * CATNAP_API_TOKEN or in a file that the daemon left for its own user. Exit status: 0, 1 for what was refused
 * or failed, 2 for a wrong command line, 3 where no daemon answers. */
#pragma once
#include "base.h"

struct cli_hooks { /* verbs that are not the api's; argv[0] is the verb */
    int (*serve)(int argc, char **argv);
    int (*hold)(int argc, char **argv);
    int (*doctor)(int argc, char **argv);
};
int cli_main(int argc, char **argv, const struct cli_hooks *hooks);
