/* The file as a whole: `app`, `functions`, and where core's complaints belong in it. */
#include "manifest.h"

#include "inside.h"

#include <stdlib.h>

void complain(struct reading *reading, const struct node *at, const char *format, ...) {
    if (reading->complaint_count++ >= COMPLAINTS_MAX) return;
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    text_printf(&reading->complaints, "%s%s:%zu:%zu: %s", reading->complaints.size > 0 ? "\n" : "",
                reading->file_name, at->line, at->column, text);
}

/* Edits from one word to the other; words longer than a key's can't be near to one. */
static size_t distance(const char *a, const char *b) {
    enum { LONGEST = 32 };
    size_t row[LONGEST + 1], a_size = strlen(a), b_size = strlen(b);
    if (a_size > LONGEST || b_size > LONGEST) return LONGEST;
    for (size_t j = 0; j <= b_size; j++) row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_size];
}

static const char *nearest(const char *key, const char *const *known, size_t count) {
    const char *best = NULL;
    size_t least = 4; /* farther is no misspelling */
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(key, known[i]);
        if (far >= least || far >= strlen(known[i])) continue;
        least = far;
        best = known[i];
    }
    return best;
}

void complain_of_unknown(struct reading *reading, const struct node *map, const char *const *known,
                         size_t count) {
    for (size_t i = 0; i < map->count; i++) {
        const struct node *key = map->pairs[i].key;
        bool found = count == 0; /* any key will do */
        for (size_t k = 0; k < count && !found; k++) found = strcmp(known[k], key->text) == 0;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(map->pairs[j].key->text, key->text) != 0) continue;
            complain(reading, key, "'%.60s' stands here twice; the first is in line %zu", key->text,
                     map->pairs[j].key->line);
            break;
        }
        if (found) continue;
        const char *near = nearest(key->text, known, count);
        if (near)
            complain(reading, key, "unknown key '%.60s'; did you mean '%s'?", key->text, near);
        else if (strcmp(key->text, "<<") == 0)
            complain(reading, key, "merge keys are not known here; write the keys out");
        else
            complain(reading, key, "unknown key '%.60s'", key->text);
    }
}

/* Core says "FIELD: what" or "FIELD.NAME: what"; the field's key is where the reader of the file must look.
 */
static const struct node *place_of(const struct node *map, const struct node *key, const char *text) {
    scoped_string char *field = mem_string_n(text, strcspn(text, ":. "));
    const struct node *value = map->kind == NODE_MAP ? tree_find(map, field) : NULL;
    return value && value->line > 0 ? value : key;
}

static void read_function(struct reading *reading, struct core_app *app, const struct pair *pair) {
    scoped(core_function) struct core_function *function = core_function_new(app->name, pair->key->text);
    if (pair->value->kind != NODE_MAP) {
        complain(reading, pair->value, "functions.%.60s: a map is expected (command, port, ...), not %s",
                 pair->key->text, node_kind_text(pair->value));
        return;
    }
    if (!function_read(reading, pair->value, function)) return;
    scoped(error) struct error *error = core_function_check(function);
    if (!error) {
        core_app_add(app, take(function));
        return;
    }
    scoped_string char *text = error_text(error);
    complain(reading, place_of(pair->value, pair->key, text), "functions.%.60s: %s", pair->key->text, text);
}

static void read_functions(struct reading *reading, struct core_app *app, struct node *functions) {
    if (functions->kind != NODE_MAP) {
        complain(reading, functions, "functions: a map is expected, from names to what they run, not %s",
                 node_kind_text(functions));
        return;
    }
    complain_of_unknown(reading, functions, NULL, 0);
    for (size_t i = 0; i < functions->count; i++) read_function(reading, app, &functions->pairs[i]);
    if (reading->complaint_count > 0) return;
    scoped(error) struct error *error = core_app_check(app);
    if (!error) return;
    scoped_string char *text = error_text(error);
    const struct node *at = functions;
    for (size_t i = 0; i < functions->count; i++) { /* "functions.NAME: what" */
        scoped_string char *prefix = mem_printf("functions.%s: ", functions->pairs[i].key->text);
        if (span_starts(span_of(text), prefix))
            at = place_of(functions->pairs[i].value, functions->pairs[i].key, text + strlen(prefix));
    }
    complain(reading, at, "%s", text);
}

static void read_root(struct reading *reading, struct node *root, struct core_app **app) {
    static const char *const known[] = {"app", "functions"};
    if (root->kind != NODE_MAP) {
        complain(reading, root, "`app:` and `functions:` are expected, not %s", node_kind_text(root));
        return;
    }
    complain_of_unknown(reading, root, known, COUNT(known));
    struct node *name = tree_find(root, "app"), *functions = tree_find(root, "functions");
    if (!name) complain(reading, root, "app: missing; the app's name");
    if (!functions) complain(reading, root, "functions: missing; at least one");
    const char *text = name ? scalar_text(reading, "app", name) : NULL;
    if (text) {
        scoped(error) struct error *error = core_name_check("app", text);
        if (error) complain(reading, name, "%s", error->message);
    }
    *app = core_app_new(text ? text : "app"); /* goes on without a name, to tell what else is wrong */
    if (functions) read_functions(reading, *app, functions);
}

struct error *manifest_parse(struct span yaml, const char *file_name,
                             const char *(*variable)(void *owner, const char *name), void *owner,
                             struct core_app **ret_app) {
    *ret_app = NULL;
    if (yaml.size > MANIFEST_BYTES_MAX)
        return error_new(ERROR_INVALID_ARGUMENT, "%s: %zu bytes long; a manifest has at most %d", file_name,
                         yaml.size, MANIFEST_BYTES_MAX);
    scoped(arena) struct arena *arena = arena_new();
    scoped(core_app) struct core_app *app = NULL;
    struct reading reading = {.arena = arena, .file_name = file_name, .variable = variable, .owner = owner};
    struct node *root = tree_read(&reading, yaml.data ? yaml : SPAN(""));
    if (root) read_root(&reading, root, &app);
    if (reading.complaint_count > COMPLAINTS_MAX)
        text_printf(&reading.complaints, "\n%s: and %zu more", file_name,
                    reading.complaint_count - COMPLAINTS_MAX);
    struct error *error = NULL;
    if (reading.complaint_count > 0) error = error_new(ERROR_INVALID_ARGUMENT, "%s", reading.complaints.data);
    text_done(&reading.complaints);
    if (error) return error;
    *ret_app = take(app);
    return NULL;
}
