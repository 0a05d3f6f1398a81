/* `tabby index`: the process that brings one index up to date, so that a slow network, a hostile repository
 * or much memory are its own matter and end with it.
 *
 * The server starts it. What to do comes as JSON on stdin (a URL may hold a token, and command lines are
 * everybody's to read): {"url", "refs", "mirror", "database", "languages": [{"name", "extensions"}]}. A line
 * of words goes to stdout, with 0; or what went wrong, with 1. */
#include "search.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const char **strings_of(const json_t *array) {
    const char **strings = mem_array(json_array_size(array) + 1, sizeof *strings);
    size_t i, count = 0;
    json_t *one;
    json_array_foreach(array, i, one) if (json_is_string(one)) strings[count++] = json_string_value(one);
    return strings;
}

static struct index_language *languages_of(const json_t *array) {
    struct index_language *languages = mem_array(json_array_size(array) + 1, sizeof *languages);
    size_t i, count = 0;
    json_t *one;
    json_array_foreach(array, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name)
            languages[count++] =
                (struct index_language){name, strings_of(json_object_get(one, "extensions"))};
    }
    return languages;
}

static struct error *run(const json_t *task, struct index_report *report) {
    const char **refs = strings_of(json_object_get(task, "refs"));
    struct index_language *languages = languages_of(json_object_get(task, "languages"));
    struct index_update update = {
        .database = json_string_value(json_object_get(task, "database")),
        .repository = {.url = json_string_value(json_object_get(task, "url")),
                       .refs = refs,
                       .mirror = json_string_value(json_object_get(task, "mirror"))},
        .languages = languages,
    };
    struct error *error = update.database && update.repository.url && update.repository.mirror
                              ? index_update(&update, report)
                              : error_new(ERROR_INVALID_ARGUMENT, "`tabby serve` starts this by itself");
    for (size_t i = 0; languages[i].name; i++) free((void *)languages[i].extensions);
    free(languages);
    free(refs);
    return error;
}

/* Whatever was said on the way: user and token of the URL are told to nobody. */
static void tell_without(const char *url, const char *text) {
    const char *host = url ? strstr(url, "://") : NULL,
               *end = host ? host + 3 + strcspn(host + 3, "/?#") : NULL;
    const char *at = end ? memrchr(host + 3, '@', (size_t)(end - host - 3)) : NULL;
    scoped_string char *secret = at ? mem_printf("%.*s", (int)(at - host - 3), host + 3) : NULL;
    for (const char *found; secret && (found = strstr(text, secret)); text = found + strlen(secret))
        printf("%.*s***", (int)(found - text), text);
    printf("%s\n", text);
}

int index_run(void) {
    struct index_report report = {0};
    json_error_t where;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpriority(PRIO_PROCESS, 0, 19);
    scoped_json json_t *task = json_loadf(stdin, 0, &where);
    scoped(error) struct error *error = run(task, &report);
    if (error) {
        scoped_string char *text = error_text(error);
        tell_without(json_string_value(json_object_get(task, "url")), text);
        return 1;
    }
    printf("%llu files of code (%llu bytes), %llu new or changed, %llu removed, %llu left out; %llu chunks; "
           "fetched in %lld ms, indexed in %lld ms\n",
           (unsigned long long)report.files, (unsigned long long)report.bytes,
           (unsigned long long)report.changed, (unsigned long long)report.removed,
           (unsigned long long)report.rejected, (unsigned long long)report.chunks, (long long)report.fetch_ms,
           (long long)report.index_ms);
    return 0;
}
