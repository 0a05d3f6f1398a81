/* The C face of toml++ (C++): a TOML text as a tree of nodes that know where they stand. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_kind { TOML_TABLE, TOML_ARRAY, TOML_STRING, TOML_INTEGER, TOML_FLOAT, TOML_BOOLEAN, TOML_DATE };
struct toml_node {
    enum toml_kind kind;
    char *key; /* in a table; else NULL */
    uint32_t line, column;
    char *string; /* TOML_STRING; NUL-terminated */
    int64_t integer;
    double number; /* of integers too */
    bool boolean;
    struct toml_node *children; /* of tables and arrays */
    size_t count;
    bool seen; /* the reader's own: it was asked for */
};
/* NULL: not TOML; then *ret_fault (owned by the caller, free) says what and where. */
struct toml_node *toml_read(const char *text, size_t size, char **ret_fault);
void toml_free(struct toml_node *root);

#ifdef __cplusplus
}
#endif
