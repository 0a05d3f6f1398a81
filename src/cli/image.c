/* `catnap image`: what images there are, and everything that is done with them. What takes time comes as
 * lines of JSON: progress goes to the standard error, so that the answer alone is on the standard output. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "lines.h"
#include "sheet.h"

enum { COLUMNS = 5, ANSWER_MS = 60000 };
#define DOCKERFILE_BYTES_MAX (4 * 1024 * 1024)

/* ---- lines of progress, then the answer ---- */

bool progress_line(void *owner, struct span bytes) {
    struct progress *progress = owner;
    scoped_json json_t *json = json_loadb(bytes.data, bytes.size, 0, NULL);
    const json_t *line = json_object_get(json, "line");
    if (!line) {
        json_decref(progress->answer);
        progress->answer = take(json);
        return true;
    }
    scoped_text struct text clean = {0};
    words_add_clean(&clean, (struct span){json_string_value(line), json_string_length(line)});
    fprintf(stderr, "%s\n", clean.data ? clean.data : "");
    return true;
}

struct error *progress_end(struct progress *progress, json_t **ret_answer) {
    const char *text = json_string_value(json_object_get(progress->answer, "error"));
    const char *name = json_string_value(json_object_get(progress->answer, "code"));
    enum error_code code = ERROR_UNKNOWN;
    for (int i = ERROR_CANCELLED; name && i <= ERROR_UNAUTHENTICATED; i++)
        if (strcmp(error_code_name((enum error_code)i), name) == 0) code = (enum error_code)i;
    struct error *error = NULL;
    if (text)
        error = error_new(code, "%s", text);
    else if (!progress->answer)
        error = error_new(ERROR_UNAVAILABLE, "the daemon went away before its answer was whole");
    if (error)
        json_decref(progress->answer);
    else
        *ret_answer = progress->answer;
    progress->answer = NULL;
    return error;
}

static struct error *post(struct command *command, const char *verb, json_t *taken_body,
                          json_t **ret_answer) {
    scoped_json json_t *body = taken_body;
    scoped_string char *text = json_dumps(body, JSON_COMPACT), *target = mem_printf("/v1/images/%s", verb);
    struct progress progress = {0};
    if (!text) return error_new(ERROR_INVALID_ARGUMENT, "a word is no UTF-8 text");
    const struct question question = {
        .method = "POST", .target = target, .body = span_of(text), .line = progress_line, .owner = &progress};
    TRY_PLAIN(ask(command, &question, NULL));
    return progress_end(&progress, ret_answer);
}

/* ---- ls ---- */

static const struct sheet_column columns[COLUMNS] = {
    {"NAME", false, 0}, {"IMAGE", false, 0}, {"SIZE", true, 0}, {"LAYERS", true, 0}, {"FROM", false, 0}};

static int by_name(const void *a, const void *b) {
    const char *left = json_string_value(json_object_get(*(json_t *const *)a, "name"));
    const char *right = json_string_value(json_object_get(*(json_t *const *)b, "name"));
    if (!left || !right) return (left ? 0 : 1) - (right ? 0 : 1);
    return strcmp(left, right);
}

static void add_row(struct sheet *sheet, const json_t *image) {
    char size[WORDS_SIZE];
    const char *name = json_string_value(json_object_get(image, "name"));
    const char *id = json_string_value(json_object_get(image, "id"));
    const char *alias_of = json_string_value(json_object_get(image, "alias_of"));
    const char *source = json_string_value(json_object_get(image, "source"));
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(image, "size_bytes"));
    sheet_add(sheet, name ? COLOUR_BOLD : COLOUR_DIM, "%s", name ? name : "(used by name of its id)");
    sheet_add(sheet, COLOUR_DIM, "%.12s", id ? id : "-");
    sheet_add(sheet, COLOUR_NONE, "%s", id ? words_bytes(bytes, size) : "-");
    sheet_add(sheet, COLOUR_NONE, "%lld", (long long)json_integer_value(json_object_get(image, "layers")));
    if (alias_of)
        sheet_add(sheet, COLOUR_NONE, "alias of %s", alias_of);
    else
        sheet_add(sheet, COLOUR_DIM, "%s", source ? source : "");
}

static void print_list(const json_t *answer) {
    json_t *images = json_object_get(answer, "images");
    size_t count = json_array_size(images);
    json_t **sorted = mem_array(count + 1, sizeof *sorted);
    for (size_t i = 0; i < count; i++) sorted[i] = json_array_get(images, i);
    qsort(sorted, count, sizeof *sorted, by_name);
    scoped_sheet struct sheet sheet = {.columns = columns, .column_count = COLUMNS};
    for (size_t i = 0; i < count; i++) add_row(&sheet, sorted[i]);
    free(sorted);
    sheet_print(&sheet);
    char all[WORDS_SIZE], unused[WORDS_SIZE], quota[WORDS_SIZE];
    uint64_t quota_bytes = (uint64_t)json_integer_value(json_object_get(answer, "quota_bytes"));
    uint64_t unused_bytes = (uint64_t)json_integer_value(json_object_get(answer, "unused_bytes"));
    printf("%zu names; layers take %s", count,
           words_bytes((uint64_t)json_integer_value(json_object_get(answer, "layers_bytes")), all));
    if (quota_bytes) printf(" of %s", words_bytes(quota_bytes, quota));
    if (unused_bytes) printf("; `catnap image prune` would free %s", words_bytes(unused_bytes, unused));
    putchar('\n');
}

static struct error *list(struct command *command, json_t **ret_answer) {
    const struct question question = {.method = "GET", .target = "/v1/images", .timeout_ms = ANSWER_MS};
    return ask(command, &question, ret_answer);
}

/* ---- pull, import, build ---- */

static void print_image(const json_t *answer) {
    char size[WORDS_SIZE];
    const json_t *image = json_object_get(answer, "image");
    const char *id = json_string_value(json_object_get(image, "id"));
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(image, "size_bytes"));
    printf("sha256:%s (%s, %lld layers)\n", id ? id : "", words_bytes(bytes, size),
           (long long)json_integer_value(json_object_get(image, "layers")));
}

static struct error *pull(struct command *command, json_t **ret_answer) {
    const char *user = getenv("CATNAP_REGISTRY_USER"), *password = getenv("CATNAP_REGISTRY_PASSWORD");
    return post(command, "pull",
                json_pack("{s:s, s:b, s:s*, s:s*}", "name", command->words[1], "again",
                          command->options.again, "user", user, "password", password),
                ret_answer);
}

static struct error *absolute(const char *path, char **ret_path) {
    char *real = realpath(path, NULL);
    if (!real) return error_errno(errno, "%s", path);
    *ret_path = real;
    return NULL;
}

static struct error *import(struct command *command, json_t **ret_answer) {
    scoped_string char *path = NULL;
    TRY_PLAIN(absolute(command->words[2], &path));
    return post(command, "import", json_pack("{s:s, s:s}", "name", command->words[1], "path", path),
                ret_answer);
}

static struct error *build(struct command *command, json_t **ret_answer) {
    const struct options *options = &command->options;
    scoped_string char *directory = NULL;
    scoped_text struct text commands = {0};
    TRY_PLAIN(absolute(command->words[1], &directory));
    scoped_string char *file =
        options->dockerfile ? mem_string(options->dockerfile) : path_join(directory, "Dockerfile");
    TRY_PLAIN(file_read(file, DOCKERFILE_BYTES_MAX, &commands));
    scoped_json json_t *args = json_object();
    for (size_t i = 0; i < options->arg_count; i++) {
        struct span value = span_of(options->args[i]), name = span_cut(&value, '=');
        scoped_string char *name_text = span_string(name);
        const char *text = value.data ? value.data : getenv(name_text);
        if (text) json_object_set_new(args, name_text, json_string(text));
    }
    json_t *text = json_stringn(commands.data ? commands.data : "", commands.size);
    if (!text) return error_new(ERROR_INVALID_ARGUMENT, "%s is no UTF-8 text", file);
    return post(command, "build",
                json_pack("{s:o, s:s, s:s, s:O, s:s*, s:s*, s:b}", "commands", text, "file_name", file,
                          "directory", directory, "args", args, "name", options->name, "target",
                          options->target, "force", options->force),
                ret_answer);
}

/* ---- names and what is not needed ---- */

static struct error *alias(struct command *command, json_t **ret_answer) {
    return post(command, "alias",
                json_pack("{s:s, s:s}", "name", command->words[1], "target", command->words[2]), ret_answer);
}

static void print_alias(const json_t *answer) {
    printf("%s is an alias now\n", json_string_value(json_object_get(answer, "name")));
}

static struct error *remove_name(struct command *command, json_t **ret_answer) {
    return post(command, "remove", json_pack("{s:s}", "name", command->words[1]), ret_answer);
}

static void print_removed(const json_t *answer) {
    printf("%s is no name any more; `catnap image prune` frees what it held\n",
           json_string_value(json_object_get(answer, "name")));
}

static struct error *prune(struct command *command, json_t **ret_answer) {
    return post(command, "prune", json_pack("{s:b}", "all", command->options.all), ret_answer);
}

static void print_pruned(const json_t *answer) {
    char bytes[WORDS_SIZE];
    printf("%s freed\n",
           words_bytes((uint64_t)json_integer_value(json_object_get(answer, "freed_bytes")), bytes));
}

static const struct {
    const char *name, *operands;
    size_t words; /* behind it */
    struct error *(*ask)(struct command *command, json_t **ret_answer);
    void (*print)(const json_t *answer);
} actions[] = {
    {"ls", "", 0, list, print_list},
    {"pull", "NAME", 1, pull, print_image},
    {"build", "DIRECTORY", 1, build, print_image},
    {"import", "NAME FILE.tar", 2, import, print_image},
    {"alias", "NAME TARGET", 2, alias, print_alias},
    {"rm", "NAME", 1, remove_name, print_removed},
    {"prune", "", 0, prune, print_pruned},
};

int image_run(struct command *command) {
    const char *name = command->words[0];
    size_t i = 0;
    while (i < COUNT(actions) && strcmp(actions[i].name, name) != 0) i++;
    if (i == COUNT(actions)) return fail_usage(command, "'%.40s' is nothing to do with images", name);
    if (command->word_count != actions[i].words + 1)
        return fail_usage(command, "expected: catnap image %s%s%s", name, *actions[i].operands ? " " : "",
                          actions[i].operands);
    scoped_json json_t *answer = NULL;
    struct error *error = actions[i].ask(command, &answer);
    if (error) return fail(command, error);
    if (command->options.json)
        print_json(answer);
    else
        actions[i].print(answer);
    return STATUS_OK;
}
