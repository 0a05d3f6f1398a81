/* terminal: SIGHUP means two things. Who runs us in a terminal's foreground and closes that is done with us;
 * everybody else means: read your files again. */
#include "daemon.h"

#include <unistd.h>

enum { STANDARD_FDS = 3 };

bool terminal_is_ours(void) {
    for (int fd = 0; fd < STANDARD_FDS; fd++)
        if (tcgetpgrp(fd) == getpgrp()) return true;
    return false;
}

bool terminal_is_gone(void) {
    for (int fd = 0; fd < STANDARD_FDS; fd++)
        if (isatty(fd)) return false;
    return true;
}
