/* catnap: one program, the daemon and the command line. */
#include "cli.h"
#include "daemon.h"

int main(int argc, char **argv) {
    const struct cli_hooks hooks = {.serve = daemon_main, .hold = daemon_hold, .doctor = daemon_doctor};
    return cli_main(argc, argv, &hooks);
}
