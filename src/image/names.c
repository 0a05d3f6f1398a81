/* Names of images: names.json, whole or not at all, written by a worker; the newest state wins.
 *
 * A name means an image, or another name (an alias). Names are kept in full ("docker.io/library/debian:12"),
 * so that "debian:12" in a Dockerfile and on a command line are the same. `keeps` are the callers' own:
 * images without a name for people. */
#include "inside.h"

#include <stdlib.h>

enum { NAMES_BYTES_MAX = 64 << 20, ALIASES_MAX = 8 };

struct waiter {
    struct list node;
    void (*done)(void *owner, struct error *error);
    void *owner;
};
struct saver {
    struct image_store *store;
    struct io_work work;
    bool running;
    char *path, *text;           /* what the worker writes */
    struct list waiting, served; /* served: by the write that runs */
};

static void name_free(struct name *name) {
    if (!name) return;
    free(name->id), free(name->target);
    free(name);
}

/* ---- reading ---- */

static void load_names(struct image_store *store, const json_t *names) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)names, key, value) {
        const char *id = json_string_value(json_object_get(value, "image"));
        const char *target = json_string_value(json_object_get(value, "alias"));
        if (!target && (!id || !map_get(store->records, span_of(id)))) continue;
        struct name *name = NEW(struct name);
        *name = (struct name){.id = target ? NULL : mem_string(id), .target = mem_string(target)};
        name_free(map_put(store->names, span_of(key), name));
    }
}

struct error *names_load(struct image_store *store) {
    struct saver *saver = store->saver = NEW(struct saver);
    saver->store = store;
    saver->path = images_path(store, "names.json", NULL);
    list_init(&saver->waiting), list_init(&saver->served);
    if (!file_exists(saver->path)) return NULL;
    scoped_text struct text text = {0};
    TRY_PLAIN(file_read(saver->path, NAMES_BYTES_MAX, &text));
    json_error_t where;
    scoped_json json_t *json = json_loadb(text.data ? text.data : "", text.size, 0, &where);
    if (!json) return error_new(ERROR_DATA_LOSS, "%s is no JSON: %s", saver->path, where.text);
    load_names(store, json_object_get(json, "names"));
    const char *tag;
    json_t *id;
    json_object_foreach(json_object_get(json, "keeps"), tag, id) {
        const char *text_id = json_string_value(id);
        if (text_id && map_get(store->records, span_of(text_id)))
            free(map_put(store->keeps, span_of(tag), mem_string(text_id)));
    }
    return NULL;
}

void names_free(struct image_store *store) {
    void *value;
    for (size_t i = 0; map_next(store->names, &i, NULL, &value);) name_free(value);
    for (size_t i = 0; map_next(store->keeps, &i, NULL, &value);) free(value);
    map_free(store->names);
    map_free(store->keeps);
    if (!store->saver) return;
    free(store->saver->path), free(store->saver->text);
    free(store->saver);
}

/* ---- writing ---- */

static char *state_text(const struct image_store *store) {
    scoped_json json_t *names = json_object(), *keeps = json_object();
    const char *key;
    void *value;
    for (size_t i = 0; map_next(store->names, &i, &key, &value);) {
        const struct name *name = value;
        if (name->fixed) continue;
        json_object_set_new(
            names, key, json_pack("{s:s}", name->id ? "image" : "alias", name->id ? name->id : name->target));
    }
    for (size_t i = 0; map_next(store->keeps, &i, &key, &value);)
        json_object_set_new(keeps, key, json_string(value));
    scoped_json json_t *all = json_pack("{s:O, s:O}", "names", names, "keeps", keeps);
    return json_dumps(all, JSON_INDENT(1) | JSON_SORT_KEYS);
}

static void save_work(struct io_work *work) {
    struct saver *saver = work->owner;
    work->error = file_replace(saver->path, span_of(saver->text), 0600);
}

static void save_next(struct saver *saver);

static void on_saved(struct io_work *work) {
    struct saver *saver = work->owner;
    struct image_store *store = saver->store;
    scoped(error) struct error *error = take(work->error);
    saver->running = false;
    free(take(saver->text));
    while (!list_empty(&saver->served)) {
        struct waiter *waiter = CONTAINER_OF(saver->served.next, struct waiter, node);
        list_remove(&waiter->node);
        if (waiter->done) waiter->done(waiter->owner, error_copy(error));
        free(waiter);
    }
    if (!list_empty(&saver->waiting)) save_next(saver);
    images_unref(store);
}

static void save_next(struct saver *saver) {
    saver->running = true;
    saver->text = state_text(saver->store);
    while (!list_empty(&saver->waiting)) {
        struct list *node = saver->waiting.next;
        list_remove(node);
        list_append(&saver->served, node);
    }
    saver->store->references++;
    saver->work = (struct io_work){.work = save_work, .done = on_saved, .owner = saver};
    io_work_start(saver->store->loop, &saver->work);
}

void names_save(struct image_store *store, void (*done)(void *owner, struct error *error), void *owner) {
    struct waiter *waiter = NEW(struct waiter);
    *waiter = (struct waiter){.done = done, .owner = owner};
    list_append(&store->saver->waiting, &waiter->node);
    if (!store->saver->running) save_next(store->saver);
}

/* ---- meaning ---- */

static bool is_id(const char *name, const char **ret_id) {
    if (strncmp(name, "sha256:", 7) != 0) return false;
    *ret_id = name + 7;
    return strlen(*ret_id) == SHA256_HEX_SIZE - 1 &&
           strspn(*ret_id, "0123456789abcdef") == SHA256_HEX_SIZE - 1;
}

struct error *names_follow(struct image_store *store, const char *name, char **ret_id, char **ret_other,
                           char **ret_normal) {
    *ret_id = *ret_other = *ret_normal = NULL;
    const char *id;
    for (int i = 0; i < ALIASES_MAX; i++) {
        if (strcmp(name, "host") == 0 || strcmp(name, "scratch") == 0 || name[0] == '/') {
            *ret_other = mem_string(name);
            return NULL;
        }
        if (is_id(name, &id)) {
            if (map_get(store->records, span_of(id))) *ret_id = mem_string(id);
            return NULL;
        }
        free(take(*ret_normal));
        TRY_PLAIN(reference_normal(name, ret_normal));
        const struct name *found = map_get(store->names, span_of(*ret_normal));
        if (!found) return NULL;
        if (found->id) {
            *ret_id = mem_string(found->id);
            return NULL;
        }
        name = found->target;
    }
    free(take(*ret_normal));
    return error_new(ERROR_FAILED_PRECONDITION, "the aliases of '%s' lead in a circle", name);
}

void names_set(struct image_store *store, const char *normal, const char *id) {
    struct name *name = NEW(struct name);
    name->id = mem_string(id);
    name_free(map_put(store->names, span_of(normal), name));
}
