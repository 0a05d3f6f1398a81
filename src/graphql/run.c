/* A valid operation carried out (GraphQL, section 6): selections gathered, fields worked out, values
 * completed to the types that the schema promised. A null where none may be takes its parent with it. */
#include "inside.h"

#include <stdlib.h>

struct where {
    json_t *path; /* array of keys and indexes down to here */
    uint32_t level;
};

/* The selections of one key: the same field asked for in several places. */
struct group {
    struct span key;
    const struct selection **selections;
    size_t count, capacity;
};
struct groups {
    struct group *groups;
    size_t count, capacity;
};

static void groups_done(struct groups *groups) {
    for (size_t i = 0; i < groups->count; i++) free((void *)groups->groups[i].selections);
    free(groups->groups);
}

/* ---- errors ---- */

void run_error(struct run *run, struct place place, const json_t *path, struct error *taken_error,
               json_t *taken_extensions) {
    scoped(error) struct error *error = taken_error;
    scoped_json json_t *extensions = taken_extensions;
    scoped_string char *text = error_text(error);
    if (json_array_size(run->errors) >= ERRORS_MAX) return;
    if (!extensions && run->schema->extend) extensions = run->schema->extend(error);
    json_t *message = json_string(text);
    json_t *entry = json_pack("{s:o,s:[{s:i,s:i}],s:o}", "message",
                              message ? message : json_string("Internal error"), "locations", "line",
                              (int)place.line, "column", (int)place.column, "path", json_deep_copy(path));
    if (extensions) json_object_set(entry, "extensions", extensions);
    json_array_append_new(run->errors, entry);
}

/* ---- selections ---- */

bool run_is_selected(struct run *run, const struct directive *directives) {
    for (const struct directive *d = directives; d; d = d->next) {
        static const struct type boolean = {.name = {"Boolean", 7}, .required = true};
        scoped_json json_t *value = NULL;
        scoped(error) struct error *error =
            coerce_literal(&run->coercion, d->arguments->value, &boolean, &value);
        bool truth = !error && json_is_true(value);
        if (span_is(d->name, "skip") ? truth : !truth) return false;
    }
    return true;
}

static void add_selection(struct groups *groups, const struct selection *selection) {
    struct group *group = NULL;
    for (size_t i = 0; i < groups->count && !group; i++)
        if (span_equal(groups->groups[i].key, selection->key)) group = &groups->groups[i];
    if (!group) {
        if (groups->count == groups->capacity) {
            groups->capacity = groups->capacity ? 2 * groups->capacity : 8;
            groups->groups = mem_grow(groups->groups, groups->capacity, sizeof *groups->groups);
        }
        group = &groups->groups[groups->count++];
        *group = (struct group){.key = selection->key};
    }
    if (group->count == group->capacity) {
        group->capacity = group->capacity ? 2 * group->capacity : 1;
        group->selections = mem_grow((void *)group->selections, group->capacity, sizeof *group->selections);
    }
    group->selections[group->count++] = selection;
}

static void gather(struct run *run, const struct schema_type *type, const struct selection *first,
                   struct groups *groups) {
    for (const struct selection *selection = first; selection; selection = selection->next) {
        if (!run_is_selected(run, selection->directives)) continue;
        if (selection->kind == SELECT_FIELD) {
            add_selection(groups, selection);
            continue;
        }
        struct fragment *fragment = NULL;
        struct span on = selection->on;
        if (selection->kind == SELECT_FRAGMENT) {
            fragment = document_fragment(run->document, selection->name);
            if (fragment->visited == run->document->round) continue; /* once in a set is enough */
            fragment->visited = run->document->round;
            if (!run_is_selected(run, fragment->directives)) continue;
            on = fragment->on;
        }
        const struct schema_type *condition = on.data ? schema_type(run->schema, on) : type;
        if (schema_fits(type, condition))
            gather(run, type, fragment ? fragment->first : selection->first, groups);
    }
}

static bool same_arguments(const struct argument *a, const struct argument *b) {
    scoped_text struct text left = {0}, right = {0};
    for (; a; a = a->next) {
        text_printf(&left, SPAN_FORMAT ":", SPAN_ARGS(a->name));
        value_print(a->value, &left);
        text_add_char(&left, ' ');
    }
    for (; b; b = b->next) {
        text_printf(&right, SPAN_FORMAT ":", SPAN_ARGS(b->name));
        value_print(b->value, &right);
        text_add_char(&right, ' ');
    }
    return span_equal(text_span(&left), text_span(&right));
}

static struct error *check_group(const struct group *group) {
    const struct selection *first = group->selections[0];
    for (size_t i = 1; i < group->count; i++)
        if (!span_equal(first->name, group->selections[i]->name) ||
            !same_arguments(first->arguments, group->selections[i]->arguments))
            return error_new(ERROR_INVALID_ARGUMENT,
                             "Fields \"" SPAN_FORMAT
                             "\" conflict because they are different fields or have different "
                             "arguments. Use different aliases on the fields",
                             SPAN_ARGS(group->key));
    return NULL;
}

/* ---- values ---- */

static json_t *object_of(struct run *run, const struct schema_type *type, const json_t *parent,
                         const struct selection *const *sources, size_t source_count, struct where *where);

/* NULL: null where none may be (told already, or by the caller). */
static json_t *complete(struct run *run, const struct group *group, const struct type *type, json_t *value,
                        struct where *where);

static json_t *complete_list(struct run *run, const struct group *group, const struct type *type,
                             json_t *value, struct where *where) {
    scoped_json json_t *list = json_array();
    if (!json_is_array(value)) return NULL;
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_array_append_new(where->path, json_integer((json_int_t)i));
        json_t *item = complete(run, group, type->of, json_array_get(value, i), where);
        json_array_remove(where->path, json_array_size(where->path) - 1);
        if (!item) return NULL;
        json_array_append_new(list, item);
    }
    return json_incref(list);
}

static json_t *complete_object(struct run *run, const struct group *group, const struct schema_type *named,
                               json_t *value, struct where *where) {
    const struct schema_type *type = named;
    if (named->kind != KIND_OBJECT) {
        const char *name = json_string_value(json_object_get(value, "__typename"));
        type = name ? schema_type(run->schema, span_of(name)) : NULL;
        if (!type || !schema_fits(type, named)) return NULL;
    }
    return object_of(run, type, value, group->selections, group->count, where);
}

static json_t *complete_there(struct run *run, const struct group *group, const struct type *type,
                              json_t *value, struct where *where) {
    if (type->of) return complete_list(run, group, type, value, where);
    const struct schema_type *named = schema_type(run->schema, type->name);
    if (schema_is_composite(named)) return complete_object(run, group, named, value, where);
    return json_incref(value);
}

static json_t *complete(struct run *run, const struct group *group, const struct type *type, json_t *value,
                        struct where *where) {
    size_t errors = json_array_size(run->errors);
    json_t *done = value && !json_is_null(value) ? complete_there(run, group, type, value, where) : NULL;
    if (done) return done;
    if (!type->required) return json_null();
    if (json_array_size(run->errors) == errors && !run->too_much)
        run_error(run, group->selections[0]->place, where->path,
                  error_new(ERROR_INTERNAL, "\"" SPAN_FORMAT "\" has no value",
                            SPAN_ARGS(group->selections[0]->name)),
                  NULL);
    return NULL;
}

/* ---- fields ---- */

static struct error *resolve(struct run *run, const struct schema_type *type,
                             const struct schema_field *field, const struct selection *selection,
                             const json_t *parent, json_t **ret_value, json_t **ret_extensions) {
    scoped_json json_t *arguments = NULL;
    if (span_is(field->name, "__typename")) {
        *ret_value = json_stringn(type->name.data, type->name.size);
        return NULL;
    }
    TRY_PLAIN(coerce_arguments(&run->coercion, field->arguments, selection->arguments, &arguments));
    if (!field->resolve) {
        scoped_string char *name = span_string(field->name);
        *ret_value = json_incref(json_object_get(parent, name));
        return NULL;
    }
    bool ours = span_starts(type->name, "__") || span_starts(field->name, "__");
    struct graphql_call call = {
        .context = ours ? (void *)run->schema : run->context,
        .parent = parent,
        .arguments = arguments,
        .field = field->name,
    };
    struct error *error = field->resolve(&call, ret_value);
    *ret_extensions = call.extensions;
    return error;
}

/* NULL as with complete(). */
static json_t *value_of(struct run *run, const struct schema_type *type, const struct group *group,
                        const json_t *parent, struct where *where) {
    const struct selection *selection = group->selections[0];
    const struct schema_field *field = schema_field(run->schema, type, selection->name);
    scoped_json json_t *value = NULL, *extensions = NULL;
    if (++run->fields > FIELDS_MAX) {
        if (!run->too_much)
            run_error(
                run, selection->place, where->path,
                error_new(ERROR_RESOURCE_EXHAUSTED, "The answer would have more than %d fields", FIELDS_MAX),
                NULL);
        run->too_much = true;
        return NULL;
    }
    struct error *error = check_group(group);
    if (!error) error = resolve(run, type, field, selection, parent, &value, &extensions);
    if (!error) return complete(run, group, field->type, value, where);
    run_error(run, selection->place, where->path, error, take(extensions));
    return field->type->required ? NULL : json_null();
}

static json_t *object_of(struct run *run, const struct schema_type *type, const json_t *parent,
                         const struct selection *const *sources, size_t source_count, struct where *where) {
    scoped_json json_t *object = json_object();
    struct groups groups = {0};
    bool whole = ++where->level <= LEVELS_MAX;
    if (!whole)
        run_error(
            run, sources[0]->place, where->path,
            error_new(ERROR_RESOURCE_EXHAUSTED, "The answer would have more than %d levels", LEVELS_MAX),
            NULL);
    run->document->round++;
    for (size_t i = 0; whole && i < source_count; i++) gather(run, type, sources[i]->first, &groups);
    for (size_t i = 0; whole && i < groups.count; i++) {
        const struct group *group = &groups.groups[i];
        json_array_append_new(where->path, json_stringn(group->key.data, group->key.size));
        json_t *value = value_of(run, type, group, parent, where);
        json_array_remove(where->path, json_array_size(where->path) - 1);
        if (value) json_object_setn_new(object, group->key.data, group->key.size, value);
        whole = value != NULL;
    }
    where->level--;
    groups_done(&groups);
    return whole ? json_incref(object) : NULL;
}

json_t *run_operation(struct run *run, const struct operation *operation, const json_t *root) {
    struct where where = {.path = json_array()};
    const struct selection all = {.first = operation->first, .place = operation->place};
    const struct selection *source = &all;
    json_t *data = object_of(run, schema_root(run->schema, operation->kind), root, &source, 1, &where);
    json_decref(where.path);
    return data;
}
