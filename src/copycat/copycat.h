/* copycat: a server that speaks Tabby's API, and its command line.
 *
 * What it knows that others don't: Tabby's flags and exit statuses, its routes, bodies and status codes, and
 * how the rooms below make a server of them. */
#pragma once

/* What `tabby ARGS` does; returns the exit status. */
int copycat_main(int argc, char **argv);
