/* daemon: `catnap serve`. Configuration, wiring, signals. All state hangs on one object, made here. */
#pragma once
#include "base.h"

/* The verb `serve` with its arguments behind it: argv[0] is "serve". Returns the exit status. */
int daemon_main(int argc, char **argv);
/* Gives memory back that comes again by itself. */
void daemon_rest(void *unused);
/* The verb `hold`: the same arguments; a parent that keeps the daemon's sockets and starts it again. */
int daemon_hold(int argc, char **argv);
/* We are in the foreground of a terminal; which was true, and the terminal is closed. */
bool terminal_is_ours(void);
bool terminal_is_gone(void);
/* The verb `doctor`: what this machine can and can't do. */
int daemon_doctor(int argc, char **argv);
