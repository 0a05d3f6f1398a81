/* Files that the build put into the program: tools/embed.py. */
#pragma once
#include <stddef.h>

struct embedded {
    const char *name; /* without its directory */
    const char *data;
    size_t size;
    const char *tag; /* an ETag, with its quotes */
};
extern const struct embedded web_files[]; /* ended by a row without a name */
extern const char schema_text[];          /* schema.graphql */
