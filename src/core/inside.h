/* What the files of core share: the one table of a function's plain fields.
 *
 * Copying, comparing and the JSON form walk this table, so a field is added in one line and can't be
 * forgotten in one of them. */
#pragma once
#include "core.h"

enum core_field_kind {
    CORE_FIELD_STRING,
    CORE_FIELD_BOOL,
    CORE_FIELD_U16,
    CORE_FIELD_U32,
    CORE_FIELD_U64,
    CORE_FIELD_INT,
    CORE_FIELD_MS,    /* int64_t; CORE_NEVER is null in JSON */
    CORE_FIELD_CHOICE /* an enum, by the names in `choices` */
};
struct core_field {
    const char *name; /* as in a manifest and in JSON */
    enum core_field_kind kind;
    size_t offset;
    bool shapes_container; /* another value needs another container */
    const char *const *choices;
};
extern const struct core_field core_fields[];
extern const size_t core_field_count;
extern const char *const core_readiness_names[]; /* ends in NULL */
extern const char *const core_network_names[];

static inline void *core_field_at(const struct core_function *function, const struct core_field *field) {
    return (char *)function + field->offset;
}
