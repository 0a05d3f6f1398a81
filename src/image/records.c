/* Images as files: images/ID.json, and which step made which layer: cache/KEY.
 *
 * A record says layers and configuration, and its id is the hash of both, so that the same image has the same
 * id wherever it came from. Where it came from and when is beside it and counts for nothing. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { RECORD_BYTES_MAX = 8 << 20 };

static bool id_good(const char *id) {
    return strlen(id) == SHA256_HEX_SIZE - 1 && strspn(id, "0123456789abcdef") == SHA256_HEX_SIZE - 1;
}

char *image_record_text(const struct image_config *config, char *const *layers, bool host, const char *source,
                        char ret_id[SHA256_HEX_SIZE]) {
    scoped_json json_t *what = json_pack("{s:o, s:b, s:o}", "layers", words_json(layers), "host", host,
                                         "config", image_config_to_json(config));
    scoped_string char *hashed = json_dumps(what, JSON_COMPACT | JSON_SORT_KEYS);
    sha256_of(span_of(hashed), ret_id);
    scoped_json json_t *record =
        json_pack("{s:O, s:s, s:I}", "image", what, "source", source, "made", (json_int_t)clock_wall_ms());
    return json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
}

struct error *image_record_write(const char *images_dir, const char *id, const char *text) {
    scoped_string char *path = mem_printf("%s/%s.json", images_dir, id);
    if (file_exists(path)) return NULL;
    return file_replace(path, span_of(text), 0600);
}

void image_record_free(struct record *record) {
    if (!record) return;
    image_config_done(&record->image.config);
    words_free(record->layers);
    free((char *)record->image.id), free((char *)record->image.source);
    free(record);
}

static struct error *parse(const char *id, const char *text, struct record *record) {
    json_error_t where;
    scoped_json json_t *json = json_loads(text, 0, &where);
    const json_t *image = json_object_get(json, "image");
    if (!image) return error_new(ERROR_DATA_LOSS, "the record of image %s can't be read: %s", id, where.text);
    TRY(words_from_json(json_object_get(image, "layers"), "layers", &record->layers),
        "the record of image %s", id);
    TRY(image_config_from_json(json_object_get(image, "config"), &record->image.config),
        "the record of image %s", id);
    for (size_t i = 0; record->layers && record->layers[i]; i++)
        if (!id_good(record->layers[i]))
            return error_new(ERROR_DATA_LOSS, "the record of image %s names no layer", id);
    record->host = json_is_true(json_object_get(image, "host"));
    const char *source = json_string_value(json_object_get(json, "source"));
    record->image.id = mem_string(id);
    record->image.source = mem_string(source ? source : "");
    record->image.made_wall_ms = json_integer_value(json_object_get(json, "made"));
    record->image.layer_count = words_count(record->layers);
    return NULL;
}

bool image_record_whole(const struct image_store *store, const struct record *record) {
    for (size_t i = 0; record->layers && record->layers[i]; i++)
        if (!map_get(store->layers, span_of(record->layers[i]))) return false;
    return true;
}

struct record *image_record_add(struct image_store *store, const char *id, const char *text,
                                struct error **ret_error) {
    struct record *record = map_get(store->records, span_of(id));
    *ret_error = NULL;
    if (record) return record;
    record = NEW(struct record);
    *ret_error = parse(id, text, record);
    if (!*ret_error && !image_record_whole(store, record))
        *ret_error = error_new(ERROR_DATA_LOSS, "image %s lacks a layer", id);
    if (*ret_error) {
        image_record_free(record);
        return NULL;
    }
    for (size_t i = 0; record->layers && record->layers[i]; i++)
        record->image.size_bytes +=
            ((struct layer *)map_get(store->layers, span_of(record->layers[i])))->bytes;
    map_put(store->records, span_of(id), record);
    return record;
}

static void load_one(struct image_store *store, const char *file, size_t size) {
    scoped_string char *id = mem_string_n(file, size), *path = images_path(store, "images", file);
    scoped_text struct text text = {0};
    struct error *error = NULL;
    if (!id_good(id)) return;
    error = file_read(path, RECORD_BYTES_MAX, &text);
    if (!error) image_record_add(store, id, text.data ? text.data : "", &error);
    if (!error) return;
    scoped_string char *why = error_text(error);
    log_warn("image", "%s; it is not known any more", why);
    error_free(error);
    (void)unlink(path);
}

struct error *image_records_load(struct image_store *store) {
    scoped_string char *path = images_path(store, "images", NULL);
    DIR *directory = opendir(path);
    if (!directory) return error_errno(errno, "open %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct span name = span_of(entry->d_name);
        if (span_ends(name, ".json")) load_one(store, entry->d_name, name.size - strlen(".json"));
    }
    closedir(directory);
    return NULL;
}

/* ---- which step made what ---- */

char *built_path(const struct image_store *store, const char *key) {
    return images_path(store, "cache", key);
}

char *built_find(const struct image_store *store, const char *key) {
    scoped_string char *path = built_path(store, key);
    scoped_text struct text text = {0};
    scoped(error) struct error *absent = file_read(path, 128, &text);
    if (absent) return NULL;
    scoped_string char *id = span_string(span_trim(text_span(&text)));
    return id_good(id) && map_get(store->layers, span_of(id)) ? take(id) : NULL;
}
