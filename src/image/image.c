/* The store of images: opening, closing, and finding what is here. See image.h, and inside.h for what lies
 * where. */
#include "inside.h"

#include "machine.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CACHE_BYTES (UINT64_C(10) << 30)
#define CACHE_MS (7 * 24 * INT64_C(3600000))
#define CACHE_MS_MAX (100 * 366 * 24 * INT64_C(3600000)) /* `never` */

char *images_path(const struct image_store *store, const char *kind, const char *name) {
    return name ? mem_printf("%s/%s/%s", store->dir, kind, name) : mem_printf("%s/%s", store->dir, kind);
}

/* ---- open ---- */

static struct error *mirror_add(struct image_store *store, const struct image_pair *pair) {
    struct span value = span_of(pair->value);
    bool plain = span_starts(value, "http://");
    size_t scheme = plain ? strlen("http://") : span_starts(value, "https://") ? strlen("https://") : 0;
    struct span rest = {value.data + scheme, value.size - scheme}, host = span_cut(&rest, '/');
    while (rest.size > 0 && rest.data[rest.size - 1] == '/') rest.size--;
    if (!*pair->name || host.size == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "mirror of '%s': '%s' is not [http://]HOST[:PORT][/PREFIX]",
                         pair->name, pair->value);
    store->mirrors = mem_grow(store->mirrors, store->mirror_count + 1, sizeof *store->mirrors);
    store->mirrors[store->mirror_count++] = (struct mirror){
        .registry = mem_string(pair->name),
        .host = span_string(host),
        .prefix = rest.size ? mem_printf(SPAN_FORMAT "/", SPAN_ARGS(rest)) : mem_string(""),
        .plain = plain,
    };
    return NULL;
}

static struct error *alias_add(struct image_store *store, const struct image_pair *pair) {
    char *normal;
    TRY(reference_normal(pair->name, &normal), "alias");
    struct name *name = NEW(struct name);
    *name = (struct name){.target = mem_string(pair->value), .fixed = true};
    struct name *old = map_put(store->names, span_of(normal), name);
    if (old) free(old->id), free(old->target);
    free(old), free(normal);
    return NULL;
}

/* Files of secrets of steps that were cut off, by a name that no other daemon's have. */
static void secrets_clear(struct image_store *store) {
    char hex[SHA256_HEX_SIZE];
    scoped_string char *real = realpath(store->dir, NULL);
    sha256_of(span_of(real ? real : store->dir), hex);
    store->secrets = mem_printf("catnap-secret-%.12s", hex);
    DIR *directory = opendir("/dev/shm");
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (strncmp(entry->d_name, store->secrets, strlen(store->secrets)) == 0)
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory) closedir(directory);
}

/* Not waited for: what an earlier daemon left may be large. */
static struct error *clear_away(struct image_store *store) {
    scoped_string char *trash_dir = images_path(store, "trash", NULL), *tmp = images_path(store, "tmp", NULL);
    DIR *old = opendir(trash_dir);
    for (struct dirent *entry; old && (entry = readdir(old));) {
        scoped_string char *path = path_join(trash_dir, entry->d_name);
        if (entry->d_name[0] != '.') images_trash(store, path);
    }
    if (old) closedir(old);
    images_trash(store, tmp);
    return dir_make(tmp, 0700);
}

static struct error *open_all(struct image_store *store, const struct image_options *options) {
    static const char *const kinds[] = {"layers", "images", "cache", "uses", "pulls",
                                        "tmp",    "trash",  "empty", "host"};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        scoped_string char *path = images_path(store, kinds[i], NULL);
        TRY_PLAIN(dir_make(path, strcmp(kinds[i], "empty") == 0 ? 0755 : 0700));
    }
    secrets_clear(store);
    TRY_PLAIN(clear_away(store));
    TRY_PLAIN(layers_load(store));
    TRY_PLAIN(image_records_load(store));
    TRY_PLAIN(names_load(store));
    TRY_PLAIN(uses_load(store));
    store->machine = machine_new(store->dir);
    scoped_string char *host = images_path(store, "host", NULL);
    TRY_PLAIN(host_make(host, table_count(store->uses) == 0, &store->host));
    store->grafts = host_grafts();
    for (size_t i = 0; i < options->mirror_count; i++) TRY_PLAIN(mirror_add(store, &options->mirrors[i]));
    for (size_t i = 0; i < options->alias_count; i++) TRY_PLAIN(alias_add(store, &options->aliases[i]));
    return NULL;
}

struct error *image_store_open(const struct image_options *options, struct image_store **ret_store) {
    struct image_store *store = NEW(struct image_store);
    *store = (struct image_store){
        .loop = options->loop,
        .blobs = options->store,
        .runner = options->runner,
        .dir = mem_string(options->dir),
        .tmp = path_join(options->dir, "tmp"),
        .skopeo = mem_string(options->skopeo ? options->skopeo : "skopeo"),
        .auth_file = mem_string(options->auth_file),
        .quota_bytes = options->quota_bytes,
        .cache_bytes = options->cache_bytes ? options->cache_bytes : CACHE_BYTES,
        .cache_ms = options->cache_ms <= 0             ? CACHE_MS
                    : options->cache_ms < CACHE_MS_MAX ? options->cache_ms
                                                       : CACHE_MS_MAX,
        .stall_ms = options->stall_ms > 0 ? options->stall_ms : STALL_MS,
        .records = map_new(),
        .layers = map_new(),
        .names = map_new(),
        .keeps = map_new(),
        .uses = table_new(),
        .references = 1,
    };
    list_init(&store->flights), list_init(&store->unpacks);
    struct error *error = open_all(store, options);
    if (error) {
        image_store_free(store);
        return error_wrap(error, "images");
    }
    sweep_init(store);
    *ret_store = store;
    return NULL;
}

/* ---- close ---- */

void images_unref(struct image_store *store) {
    if (--store->references > 0) return;
    void *value;
    for (size_t i = 0; map_next(store->records, &i, NULL, &value);) image_record_free(value);
    for (size_t i = 0; map_next(store->layers, &i, NULL, &value);) free(value);
    for (size_t i = 0; table_next(store->uses, &i, NULL, &value);) free(value);
    map_free(store->records), map_free(store->layers), table_free(store->uses);
    names_free(store);
    machine_free(store->machine);
    words_free(store->grafts), free(store->host), free(store->secrets);
    for (size_t i = 0; i < store->mirror_count; i++)
        free(store->mirrors[i].registry), free(store->mirrors[i].host), free(store->mirrors[i].prefix);
    free(store->mirrors);
    free(store->dir), free(store->tmp), free(store->skopeo), free(store->auth_file);
    free(store);
}

static void on_stop(void *owner) {
    struct image_store *store = owner;
    flights_look(store);
    images_unref(store);
}

void image_store_stop(struct image_store *store, void (*done)(void *owner), void *owner) {
    store->closing = true;
    io_timer_free(take(store->sweep));
    store->stopped = done;
    store->stopped_owner = owner;
    store->references++;
    flights_drop(store);
    io_defer(store->loop, on_stop, store);
}

void image_store_free(struct image_store *store) {
    if (!store) return;
    store->stopped = NULL;
    store->closing = true;
    io_timer_free(take(store->sweep));
    flights_drop(store);
    images_unref(store);
}

/* ---- finding ---- */

const struct image *image_find(struct image_store *store, const char *name) {
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    scoped(error) struct error *error = names_follow(store, name, &id, &other, &normal);
    struct record *record = !error && id ? map_get(store->records, span_of(id)) : NULL;
    return record ? &record->image : NULL;
}

static struct error *not_here(const char *name, const char *normal) {
    if (!normal) return error_new(ERROR_NOT_FOUND, "there is no image %s (any more)", name);
    return error_new(ERROR_NOT_FOUND, "image %s is not here; `catnap image pull %s` brings it", normal, name);
}

static struct error *directory_check(const char *path) {
    struct stat at;
    if (stat(path, &at) < 0) return error_errno(errno, "image directory %s", path);
    if (!S_ISDIR(at.st_mode)) return error_new(ERROR_INVALID_ARGUMENT, "image %s is not a directory", path);
    return NULL;
}

static void layer_push(struct image_layers *layers, char *taken_path) {
    layers->layer = mem_grow(layers->layer, layers->count + 1, sizeof *layers->layer);
    layers->layer[layers->count++] = taken_path;
}

static struct error *resolve_other(struct image_store *store, const char *other,
                                   struct image_layers *layers) {
    if (strcmp(other, "host") == 0) return NULL;
    if (strcmp(other, "scratch") == 0) {
        layer_push(layers, images_path(store, "empty", NULL));
        return NULL;
    }
    TRY_PLAIN(directory_check(other));
    layer_push(layers, mem_string(other));
    return NULL;
}

struct error *image_resolve(struct image_store *store, const char *name, struct image_layers *ret_layers) {
    *ret_layers = (struct image_layers){0};
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    TRY_PLAIN(names_follow(store, name, &id, &other, &normal));
    if (other) return resolve_other(store, other, ret_layers);
    const struct record *record = id ? map_get(store->records, span_of(id)) : NULL;
    if (!record) return not_here(name, normal);
    for (size_t i = record->image.layer_count; i-- > 0;) {
        scoped_string char *layer = images_path(store, "layers", record->layers[i]);
        layer_push(ret_layers, path_join(layer, "fs"));
    }
    if (ret_layers->count == 0 && !record->host) layer_push(ret_layers, images_path(store, "empty", NULL));
    if (record->host) {
        layer_push(ret_layers, mem_string(store->host));
        ret_layers->grafts = words_copy(store->grafts);
    }
    ret_layers->id = take(id);
    image_config_copy(&record->image.config, &ret_layers->config);
    return NULL;
}

void image_layers_done(struct image_layers *layers) {
    for (size_t i = 0; i < layers->count; i++) free(layers->layer[i]);
    free(layers->layer);
    free(layers->id);
    words_free(layers->grafts);
    image_config_done(&layers->config);
    *layers = (struct image_layers){0};
}

struct error *image_check(struct image_store *store, const char *name, bool *ret_here) {
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    *ret_here = true;
    TRY_PLAIN(names_follow(store, name, &id, &other, &normal));
    if (id || (other && other[0] != '/')) return NULL;
    if (other) return directory_check(other);
    *ret_here = false;
    return normal ? NULL : not_here(name, NULL);
}
