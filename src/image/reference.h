/* Names of images, as docker writes them: [registry[:port]/]path[:tag][@sha256:digest]. */
#pragma once
#include "base.h"

struct reference {
    char *registry; /* "docker.io" where not said */
    char *path;     /* "library/debian" */
    char *tag;      /* "latest" where neither tag nor digest is said; NULL beside a digest */
    char *digest;   /* "sha256:..."; NULL: none */
};
must_check struct error *reference_parse(struct span text, struct reference *ret_reference);
void reference_done(struct reference *reference);
char *reference_name(const struct reference *reference);       /* in full: docker.io/library/debian:12 */
char *reference_repository(const struct reference *reference); /* docker.io/library/debian */
/* Any name to the form under which it is kept; what is no registry's name is an error that says why. */
must_check struct error *reference_normal(const char *name, char **ret_name);
/* As people write it: without docker.io/library/. Owned. */
char *reference_short(const char *normal);
