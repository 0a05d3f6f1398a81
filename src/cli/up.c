/* `catnap up` and `catnap down`. The daemon reads the manifest; what it can't have is the user's environment,
 * so the variables that the file names go with it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "app.h"
#include "command.h"
#include "lines.h"

#define FILE_BYTES_MAX (4 * 1024 * 1024) /* the daemon's own limit is lower, and told by it */
#define ANSWER_TIMEOUT_MS 120000         /* a commit on a slow disk */

/* ---- reading ---- */

static struct error *read_input(struct text *ret_text) {
    for (;;) {
        char *to = text_reserve(ret_text, 65536);
        ssize_t got = read(STDIN_FILENO, to, 65536);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "standard input");
        if (got == 0) return NULL;
        ret_text->size += (size_t)got;
        if (ret_text->size > FILE_BYTES_MAX)
            return error_new(ERROR_RESOURCE_EXHAUSTED, "standard input: longer than %d bytes",
                             FILE_BYTES_MAX);
    }
}

static bool name_char(char c, bool first) {
    return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (!first && c >= '0' && c <= '9');
}

/* The values of all ${NAME} and ${NAME:-default} that are set here; which of them count is the manifest's to
 * say. */
static struct error *variables(struct span yaml, json_t **ret_env) {
    scoped_json json_t *env = json_object();
    for (size_t at = 0; at + 2 < yaml.size; at++) {
        if (yaml.data[at] != '$' || yaml.data[at + 1] != '{') continue;
        size_t begin = at + 2, end = begin;
        while (end < yaml.size && name_char(yaml.data[end], end == begin)) end++;
        scoped_string char *name = span_string((struct span){yaml.data + begin, end - begin});
        const char *value = getenv(name);
        if (!value) continue;
        json_t *string = json_string(value);
        if (!string)
            return error_new(ERROR_INVALID_ARGUMENT, "the variable %s is no UTF-8 text; a manifest is", name);
        json_object_set_new(env, name, string);
    }
    *ret_env = take(env);
    return NULL;
}

static struct error *body_of(const char *path, char **ret_body) {
    bool standard_input = strcmp(path, "-") == 0;
    scoped_text struct text yaml = {0};
    scoped_json json_t *env = NULL;
    if (standard_input)
        TRY_PLAIN(read_input(&yaml));
    else
        TRY_PLAIN(file_read(path, FILE_BYTES_MAX, &yaml));
    const char *name = standard_input ? "stdin" : path;
    TRY(variables(text_span(&yaml), &env), "%s", name);
    scoped_json json_t *file_name = json_string(name);
    scoped_json json_t *text = json_stringn(yaml.data ? yaml.data : "", yaml.size);
    if (!text) return error_new(ERROR_INVALID_ARGUMENT, "%s: this is no UTF-8 text, so no YAML", name);
    scoped_json json_t *body =
        json_pack("{s:O, s:O?, s:O}", "yaml", text, "file_name", file_name, "env", env);
    *ret_body = json_dumps(body, JSON_COMPACT);
    if (!*ret_body) abort(); /* out of memory */
    return NULL;
}

/* ---- up ---- */

/* A function's own words on how to try it, with the place put in. */
static void print_example(const json_t *function) {
    static const char mark[] = "{url}";
    const char *url = json_string_value(json_array_get(json_object_get(function, "urls"), 0));
    const char *example = json_string_value(json_object_get(function, "example"));
    if (!url || !example) return;
    fputs("  try: ", stdout);
    for (const char *at; (at = strstr(example, mark)); example = at + strlen(mark))
        printf("%.*s%s", (int)(at - example), example, url);
    puts(example);
}

static void print_up(const json_t *app) {
    const json_t *function;
    size_t i;
    printf("%s was %s\n", json_string_value(json_object_get(app, "app")),
           json_is_true(json_object_get(app, "changed")) ? "changed" : "created");
    json_array_foreach(json_object_get(app, "functions"), i, function) {
        app_print_function(json_string_value(json_object_get(app, "app")), function, INT64_MAX);
        print_example(function);
    }
}

/* Complaints about a file are lines "FILE:LINE:COLUMN: text", as editors read them. */
static int fail_up(const struct command *command, const char *path, struct error *error) {
    const char *name = strcmp(path, "-") == 0 ? "stdin" : path;
    bool lines = error->code == ERROR_INVALID_ARGUMENT && !error->cause &&
                 span_starts(span_of(error->message), name) && command->failure == STATUS_FAILED;
    if (!lines) return fail(command, error);
    fflush(stdout);
    fprintf(stderr, "%s\ncatnap: nothing was changed\n", error->message);
    error_free(error);
    return STATUS_FAILED;
}

int up_run(struct command *command) {
    for (size_t i = 0; i < command->word_count; i++) {
        scoped_string char *body = NULL;
        scoped_json json_t *json = NULL;
        const char *path = command->words[i];
        struct error *error = body_of(path, &body);
        struct progress progress = {
            0}; /* an image that is not here is pulled first, for as long as that takes */
        const struct question question = {.method = "PUT",
                                          .target = "/v1/apps?lines=1",
                                          .body = span_of(body),
                                          .line = progress_line,
                                          .owner = &progress};
        if (!error) error = ask(command, &question, NULL);
        if (!error) error = progress_end(&progress, &json);
        if (error) return fail_up(command, path, error);
        if (command->options.json)
            print_json(json);
        else
            print_up(json);
    }
    return STATUS_OK;
}

/* ---- down ---- */

int down_run(struct command *command) {
    for (size_t i = 0; i < command->word_count; i++) {
        scoped_json json_t *json = NULL;
        scoped_text struct text target = {0};
        text_add_string(&target, "/v1/apps/");
        words_add_url(&target, command->words[i]);
        const struct question question = {
            .method = "DELETE", .target = target.data, .timeout_ms = ANSWER_TIMEOUT_MS};
        struct error *error = ask(command, &question, &json);
        if (error) return fail(command, error);
        if (command->options.json)
            print_json(json);
        else
            printf("%s was removed\n", command->words[i]);
    }
    return STATUS_OK;
}
