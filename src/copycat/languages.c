/* [[additional_languages]] of config.toml, in the form that completions know. */
#include "inside.h"

#include <stdlib.h>

static char *joined(char *const *words) {
    struct text out = {0};
    for (size_t i = 0; words && words[i]; i++) text_printf(&out, "%s%s", i ? " " : "", words[i]);
    return text_take(&out);
}

struct error *languages_read(const struct settings *settings, struct language **ret_languages) {
    struct language *made = mem_array(settings->language_count + 1, sizeof *made);
    *ret_languages = made;
    for (size_t i = 0; i < settings->language_count; i++) {
        const struct settings_language *given = &settings->languages[i];
        for (size_t n = 0; given->languages[n]; n++)
            if (strcmp(language_find(span_of(given->languages[n]), made)->ids, "unknown") != 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.toml: [[additional_languages]]: there is a language '%s' already",
                                 given->languages[n]);
        made[i].keywords = joined(given->keywords);
        made[i].comment = mem_string(given->line_comment);
        made[i].ids = joined(given->languages);
    }
    return NULL;
}

void languages_free(struct language *languages) {
    for (size_t i = 0; languages && languages[i].ids; i++) {
        free((char *)languages[i].ids);
        free((char *)languages[i].comment);
        free((char *)languages[i].keywords);
    }
    free(languages);
}
