/* .dockerignore: which files of a directory are no part of the context. The last pattern that fits decides;
 * `!` lets back in; a pattern that hides a directory hides what is below. Source:
 * docs.docker.com/build/concepts/context, ".dockerignore files". */
#include "copy.h"

#include <fnmatch.h>
#include <stdlib.h>

enum { IGNORE_BYTES_MAX = 1 << 20, RULES_MAX = 10000 };

struct rule {
    char *pattern;
    bool keeps;
};
struct ignore {
    struct rule *rules;
    size_t count;
};

static bool match_parts(struct span pattern, struct span path) {
    while (pattern.data) {
        struct span rest = pattern, part = span_cut(&rest, '/');
        if (span_is(part, "**")) {
            if (!rest.data) return true;
            for (struct span at = path; at.data; (void)span_cut(&at, '/'))
                if (match_parts(rest, at)) return true;
            return false;
        }
        if (!path.data) return false;
        struct span name = span_cut(&path, '/');
        scoped_string char *part_text = span_string(part), *name_text = span_string(name);
        if (fnmatch(part_text, name_text, 0) != 0) return false;
        pattern = rest;
    }
    return !path.data;
}

bool pattern_matches(const char *pattern, const char *path) {
    return match_parts(span_of(pattern), span_of(path));
}

static void rule_add(struct ignore *ignore, struct span line) {
    line = span_trim(line);
    bool keeps = line.size > 0 && line.data[0] == '!';
    if (keeps) line = span_trim((struct span){line.data + 1, line.size - 1});
    if (line.size == 0 || line.data[0] == '#' || ignore->count == RULES_MAX) return;
    scoped_string char *text = span_string(line), *clean = NULL;
    scoped(error) struct error *error = within_clean(text, &clean);
    if (error || !*clean) return;
    ignore->rules = mem_grow(ignore->rules, ignore->count + 1, sizeof *ignore->rules);
    ignore->rules[ignore->count++] = (struct rule){take(clean), keeps};
}

struct ignore *ignore_read(const char *directory) {
    struct ignore *ignore = NEW(struct ignore);
    scoped_string char *path = path_join(directory, ".dockerignore");
    scoped_text struct text text = {0};
    scoped(error) struct error *absent = file_read(path, IGNORE_BYTES_MAX, &text);
    struct span rest = text_span(&text);
    while (!absent && rest.data) rule_add(ignore, span_cut(&rest, '\n'));
    return ignore;
}

/* The path itself, or a directory above it. */
static bool fits(const struct rule *rule, const char *clean) {
    scoped_string char *path = mem_string(clean);
    for (;;) {
        if (pattern_matches(rule->pattern, path)) return true;
        char *slash = strrchr(path, '/');
        if (!slash) return false;
        *slash = '\0';
    }
}

bool ignore_hides(const struct ignore *ignore, const char *clean) {
    for (size_t i = ignore->count; i-- > 0;)
        if (fits(&ignore->rules[i], clean)) return !ignore->rules[i].keeps;
    return false;
}

void ignore_free(struct ignore *ignore) {
    if (!ignore) return;
    for (size_t i = 0; i < ignore->count; i++) free(ignore->rules[i].pattern);
    free(ignore->rules);
    free(ignore);
}
