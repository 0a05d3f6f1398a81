/* A volume as a struct, and as its record in the store:
 *
 *   {"environment": "main", "name": "data", "version": 1, "created_ms": ..., "manifest": DIGEST,
 *    "commits": 3, "files": 12, "bytes": 3456, "committed_ms": ...,
 *    "pending": {"change": DIGEST, "stage": "change-..."}}
 *
 * Its key is the id. Without a name it is an ephemeral one. The record is all of a commit: whatever it names
 * was on the disk before it was written. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

char *name_key(const char *environment, const char *name) {
    return mem_printf("%s/%s", environment, name);
}

struct volume *volume_new(struct volumes *volumes, const char *id, const char *environment,
                          const char *name) {
    struct volume *volume = NEW(struct volume);
    volume->volumes = volumes;
    volume->id = mem_string(id);
    volume->environment = mem_string(environment);
    volume->name = mem_string(name);
    volume->live_path = path_join(volumes->trees, id);
    volume->version = 1;
    volume->created_ms = clock_wall_ms();
    list_append(&volumes->all, &volume->node);
    map_put(volumes->ids, span_of(id), volume);
    if (name) {
        scoped_string char *key = name_key(environment, name);
        map_put(volumes->names, span_of(key), volume);
    } else {
        volume->dies_ms = io_now_ms(volumes->loop) + volumes->ephemeral_ms;
    }
    return volume;
}

void volume_destroy(struct volume *volume) {
    tree_free(volume->tree);
    change_forget(&volume->pending);
    free(volume->id);
    free(volume->environment);
    free(volume->name);
    free(volume->live_path);
    free(volume);
}

/* Values that are no UTF-8 can't be in here: names and digests were checked. */
void record_print(const struct volume *volume, const struct committed *committed,
                  const struct change *pending, struct text *text) {
    scoped_json json_t *json =
        json_pack("{s:s, s:s?, s:i, s:I, s:s, s:I, s:I, s:I, s:I}", "environment", volume->environment,
                  "name", volume->name, "version", (int)volume->version, "created_ms",
                  (json_int_t)volume->created_ms, "manifest", committed->manifest, "commits",
                  (json_int_t)committed->commits, "files", (json_int_t)committed->file_count, "bytes",
                  (json_int_t)committed->size_bytes, "committed_ms", (json_int_t)committed->wall_ms);
    if (pending && pending->tree)
        json_object_set_new(
            json, "pending",
            json_pack("{s:s, s:s}", "change", pending->digest, "stage", strrchr(pending->stage, '/') + 1));
    scoped_string char *printed = json_dumps(json, JSON_COMPACT);
    if (!printed) abort(); /* out of memory */
    text_add_string(text, printed);
}

static const char *string_of(const json_t *json, const char *key) {
    return json_string_value(json_object_get(json, key));
}
static int64_t number_of(const json_t *json, const char *key) {
    return json_integer_value(json_object_get(json, key));
}

static bool committed_of(const json_t *json, struct committed *ret) {
    const char *manifest = string_of(json, "manifest");
    if (!manifest || (manifest[0] && !digest_good(manifest))) return false;
    snprintf(ret->manifest, sizeof ret->manifest, "%s", manifest);
    ret->commits = (uint64_t)number_of(json, "commits");
    ret->file_count = (uint64_t)number_of(json, "files");
    ret->size_bytes = (uint64_t)number_of(json, "bytes");
    ret->wall_ms = number_of(json, "committed_ms");
    return true;
}

static bool pending_of(const struct volumes *volumes, const json_t *json, struct change *ret) {
    const json_t *pending = json_object_get(json, "pending");
    if (!pending) return true;
    const char *digest = string_of(pending, "change"), *stage = string_of(pending, "stage");
    if (!digest || !digest_good(digest) || !stage || !path_good(span_of(stage)) || strchr(stage, '/'))
        return false;
    snprintf(ret->digest, sizeof ret->digest, "%s", digest);
    ret->stage = path_join(volumes->contents.unfinished, stage);
    return true;
}

struct error *record_parse(struct volumes *volumes, const char *id, struct span text,
                           struct volume **ret_volume) {
    scoped_json json_t *json = json_loadb(text.data, text.size, 0, NULL);
    const char *environment = string_of(json, "environment"), *name = string_of(json, "name");
    struct committed committed;
    if (!environment || !id_good(id) || !name_good(environment) || (name && !name_good(name)) ||
        !committed_of(json, &committed))
        return error_new(ERROR_DATA_LOSS, "the record of the volume %s is not readable", id);
    struct volume *volume = volume_new(volumes, id, environment, name);
    volume->durable = true;
    volume->version = (unsigned)number_of(json, "version");
    volume->created_ms = number_of(json, "created_ms");
    volume->now = committed;
    *ret_volume = volume;
    if (!pending_of(volumes, json, &volume->pending))
        return error_new(ERROR_DATA_LOSS,
                         "the record of the volume %s has a pending change that is not readable", id);
    return NULL;
}
