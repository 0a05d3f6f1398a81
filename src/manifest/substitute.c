/* `${NAME}` in values.
 *
 * A name without a value is an error and no empty text: a manifest that mounts "" or listens nowhere would be
 * found out much later. A lone `$` stays as it is, so that shell commands read as they are written. */
#include "inside.h"

#include <stdlib.h>

#define EXPANDED_MAX 65536 /* bytes of one value */

static bool name_char(char c, bool first) {
    return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (!first && c >= '0' && c <= '9');
}

/* `inner` is what stands between the braces. */
static bool expand(struct reading *reading, const struct node *scalar, struct span inner, struct text *out) {
    size_t size = 0;
    while (size < inner.size && name_char(inner.data[size], size == 0)) size++;
    struct span name = {inner.data, size}, rest = {inner.data + size, inner.size - size};
    bool has_default = span_starts(rest, ":-");
    if (size == 0 || (rest.size > 0 && !has_default)) {
        complain(reading, scalar,
                 "'${" SPAN_FORMAT
                 "}' can't be read; it is ${NAME} or ${NAME:-default}, and $${ for the text ${",
                 SPAN_ARGS(inner));
        return false;
    }
    scoped_string char *key = span_string(name);
    const char *value = reading->variable ? reading->variable(reading->owner, key) : NULL;
    if (value && !(has_default && !*value)) { /* as in a shell: `:-` stands in for an empty one too */
        text_add_string(out, value);
        return true;
    }
    if (has_default) {
        text_add(out, (struct span){rest.data + 2, rest.size - 2});
        return true;
    }
    complain(reading, scalar, "the variable %s is not set; set it, or write ${%s:-default}", key, key);
    return false;
}

bool substitute(struct reading *reading, struct node *scalar) {
    if (scalar->substituted || !strstr(scalar->text, "${")) return true;
    scoped_text struct text out = {0};
    const char *at = scalar->text;
    while (*at && out.size <= EXPANDED_MAX) {
        if (strncmp(at, "$${", 3) == 0) {
            text_add_string(&out, "${");
            at += 3;
        } else if (strncmp(at, "${", 2) != 0) {
            text_add_char(&out, *at++);
        } else {
            const char *end = strchr(at, '}');
            if (!end) {
                complain(reading, scalar, "a } is missing behind ${");
                return false;
            }
            if (!expand(reading, scalar, (struct span){at + 2, (size_t)(end - at) - 2}, &out)) return false;
            at = end + 1;
        }
    }
    if (out.size > EXPANDED_MAX) {
        complain(reading, scalar, "longer than %d bytes with its variables put in", EXPANDED_MAX);
        return false;
    }
    scoped_json json_t *utf8 = json_stringn(out.data ? out.data : "", out.size);
    if (!utf8) {
        complain(reading, scalar, "one of the variables in it is no UTF-8 text");
        return false;
    }
    scalar->text = arena_string(reading->arena, text_span(&out));
    scalar->substituted = true;
    return true;
}
