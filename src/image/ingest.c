/* Layers are unpacked as their blobs come, a few at a time over all images, each into a draft that gets its
 * name when its content is proven by the hash that the image's configuration tells. When all are there the
 * record is written.
 *
 *   wanted -> queued -> unpacking -> here        (the last one: record -> done)
 *        '--------'----------'---> failed: nothing new is begun, what runs is cut short, then done */
#include "ingest.h"

#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum state { WANTED, QUEUED, UNPACKING, HERE };

struct unpacking {
    struct list node; /* in store->unpacks */
    struct ingest *ingest;
    struct io_work work;
    enum state state;
    size_t index;
    char *blob, *draft, *layers_dir;
    const char *diff_id, *digest;
    struct unpack_options options;
    struct unpack_stats stats;
    uint64_t bytes;
};
struct ingest {
    struct image_store *store;
    struct flight *flight;
    char *blobs, *source;
    struct oci_manifest manifest;
    struct oci_config config;
    struct unpacking *layers;
    char **ids; /* of the image, bottom first */
    bool take_blobs, finishing, recording;
    atomic_bool cancelled;
    size_t running;
    int64_t began_us;
    uint64_t unpacked_bytes;
    struct error *error;
    struct io_work work;
    char *images_dir, *record, id[SHA256_HEX_SIZE];
    void (*done)(void *owner, struct error *error, char *taken_id);
    void *owner;
};

static void step(struct ingest *ingest);

/* ---- one layer, on a worker ---- */

static struct error *unpack_checked(struct unpacking *layer) {
    char sum[SHA256_HEX_SIZE];
    scoped_string char *upper = path_join(layer->draft, "u");
    scoped_fd int fd = open(layer->blob, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "open %s", layer->blob);
    TRY_PLAIN(unpack_file(fd, upper, &layer->options, &layer->stats, sum));
    if (strcmp(sum, layer->diff_id) != 0)
        return error_new(ERROR_DATA_LOSS,
                         "its content is not what the image says (sha256:%.12s, not sha256:%.12s)", sum,
                         layer->diff_id);
    return layer_seal(layer->draft, layer->layers_dir, layer->diff_id, &layer->bytes);
}

static void unpack_work(struct io_work *work) {
    struct unpacking *layer = work->owner;
    work->error = unpack_checked(layer);
    if (work->error) error_free(tree_remove(layer->draft));
}

/* ---- their turns ---- */

static void unpacks_pump(struct image_store *store);

static void on_unpacked(struct io_work *work) {
    struct unpacking *layer = work->owner;
    struct ingest *ingest = layer->ingest;
    struct image_store *store = ingest->store;
    struct error *error = take(work->error);
    store->unpacking--;
    ingest->running--;
    layer->state = HERE;
    if (error && !ingest->error) {
        ingest->error = error_wrap(error, "layer %zu (sha256:%.12s)", layer->index + 1, layer->digest);
        atomic_store(&ingest->cancelled, true);
    } else {
        error_free(error);
    }
    if (!ingest->error) {
        layer_added(store, layer->diff_id, layer->bytes);
        ingest->unpacked_bytes += layer->stats.bytes;
        if (ingest->take_blobs) (void)unlink(layer->blob);
    }
    step(ingest);
    unpacks_pump(store);
    images_unref(store);
}

/* What images may still take; 0: no limit. */
static uint64_t room(const struct image_store *store, bool *ret_full) {
    *ret_full = store->quota_bytes && store->used_bytes >= store->quota_bytes;
    return store->quota_bytes ? store->quota_bytes - store->used_bytes : 0;
}

static struct error *unpack_begin(struct unpacking *layer) {
    struct image_store *store = layer->ingest->store;
    bool full;
    room(store, &full);
    if (full) (void)image_prune(store, NULL);
    layer->options.limit_bytes = room(store, &full);
    if (full)
        return error_new(ERROR_RESOURCE_EXHAUSTED,
                         "images take %llu MB, all that `image_disk` allows; `catnap image prune --all` "
                         "frees what no app uses",
                         (unsigned long long)(store->used_bytes >> 20));
    return draft_make(store, &layer->draft);
}

static void unpacks_pump(struct image_store *store) {
    while (store->unpacking < UNPACKS_AT_ONCE && !list_empty(&store->unpacks)) {
        struct unpacking *layer = CONTAINER_OF(store->unpacks.next, struct unpacking, node);
        struct ingest *ingest = layer->ingest;
        list_remove(&layer->node);
        layer->state = UNPACKING;
        struct error *error = unpack_begin(layer);
        if (error) {
            layer->state = WANTED;
            ingest_fail(ingest, error);
            continue;
        }
        store->unpacking++;
        store->references++;
        ingest->running++;
        layer->work = (struct io_work){.work = unpack_work, .done = on_unpacked, .owner = layer};
        io_work_start(store->loop, &layer->work);
    }
}

/* ---- the image ---- */

static void record_work(struct io_work *work) {
    struct ingest *ingest = work->owner;
    work->error = image_record_write(ingest->images_dir, ingest->id, ingest->record);
}

static void finish(struct ingest *ingest, struct error *error, char *taken_id) {
    void (*done)(void *, struct error *, char *) = ingest->done;
    ingest->done = NULL;
    if (done) done(ingest->owner, error, taken_id);
}

static void on_recorded(struct io_work *work) {
    struct ingest *ingest = work->owner;
    struct image_store *store = ingest->store;
    struct error *error = take(work->error);
    ingest->recording = false;
    if (!error) image_record_add(store, ingest->id, ingest->record, &error);
    if (!error && ingest->error) error = take(ingest->error);
    if (!error && ingest->unpacked_bytes)
        flight_say(ingest->flight, "unpacked %.1f MB in %.1f s", (double)ingest->unpacked_bytes / 1e6,
                   (double)(clock_monotonic_us() - ingest->began_us) / 1e6);
    finish(ingest, error, error ? NULL : mem_string(ingest->id));
    images_unref(store);
}

static void record_begin(struct ingest *ingest) {
    ingest->record =
        image_record_text(&ingest->config.config, ingest->ids, false, ingest->source, ingest->id);
    ingest->recording = true;
    ingest->store->references++;
    ingest->work = (struct io_work){.work = record_work, .done = on_recorded, .owner = ingest};
    io_work_start(ingest->store->loop, &ingest->work);
}

static bool all_here(const struct ingest *ingest) {
    for (size_t i = 0; i < ingest->manifest.layer_count; i++)
        if (ingest->layers[i].state != HERE) return false;
    return true;
}

static void step(struct ingest *ingest) {
    for (size_t i = 0; ingest->error && i < ingest->manifest.layer_count; i++)
        list_remove(&ingest->layers[i].node);
    if (ingest->running > 0 || ingest->recording || !ingest->done) return;
    if (ingest->error) {
        finish(ingest, take(ingest->error), NULL);
        return;
    }
    if (!ingest->finishing) return;
    if (all_here(ingest)) {
        record_begin(ingest);
        return;
    }
    for (size_t i = 0; i < ingest->manifest.layer_count; i++) {
        if (ingest->layers[i].state != WANTED) continue;
        ingest->error = error_new(ERROR_DATA_LOSS, "layer %zu (sha256:%.12s) did not come", i + 1,
                                  ingest->manifest.layers[i].digest);
        step(ingest);
        return;
    }
}

/* ---- the door ---- */

/* The same layer twice: the upper one hides all that the lower one shows, and overlay refuses a directory
 * that it has already. */
static bool again_above(const struct ingest *ingest, size_t index) {
    for (size_t i = index + 1; i < ingest->manifest.layer_count; i++)
        if (strcmp(ingest->config.diff_ids[i], ingest->config.diff_ids[index]) == 0) return true;
    return false;
}

struct ingest *ingest_new(const struct ingest_options *options) {
    struct ingest *ingest = NEW(struct ingest);
    struct image_store *store = options->flight->store;
    *ingest = (struct ingest){
        .store = store,
        .flight = options->flight,
        .blobs = options->taken_blobs,
        .source = options->taken_source,
        .manifest = *options->manifest,
        .config = *options->config,
        .take_blobs = options->take_blobs,
        .began_us = clock_monotonic_us(),
        .images_dir = images_path(store, "images", NULL),
        .done = options->done,
        .owner = options->owner,
    };
    *options->manifest = (struct oci_manifest){0};
    *options->config = (struct oci_config){0};
    ingest->layers = mem_array(ingest->manifest.layer_count + 1, sizeof *ingest->layers);
    for (size_t i = 0; i < ingest->manifest.layer_count; i++) {
        struct unpacking *layer = &ingest->layers[i];
        *layer = (struct unpacking){
            .ingest = ingest,
            .index = i,
            .digest = ingest->manifest.layers[i].digest,
            .diff_id = ingest->config.diff_ids[i],
            .blob = path_join(ingest->blobs, ingest->manifest.layers[i].digest),
            .layers_dir = images_path(store, "layers", NULL),
            .options = {.whiteouts = true, .cancelled = &ingest->cancelled},
        };
        list_init(&layer->node);
        bool twice = again_above(ingest, i);
        if (!twice) words_add(&ingest->ids, layer->diff_id);
        if (twice || map_get(store->layers, span_of(layer->diff_id))) layer->state = HERE;
    }
    ingest->flight->holds = words_copy(ingest->ids);
    return ingest;
}

struct oci_manifest *ingest_manifest(struct ingest *ingest) {
    return &ingest->manifest;
}

bool ingest_wants(const struct ingest *ingest, size_t layer) {
    return ingest->layers[layer].state == WANTED;
}

size_t ingest_wanted(const struct ingest *ingest, uint64_t *ret_bytes) {
    size_t wanted = 0;
    *ret_bytes = 0;
    for (size_t i = 0; i < ingest->manifest.layer_count; i++) {
        if (!ingest_wants(ingest, i)) continue;
        wanted++;
        *ret_bytes += ingest->manifest.layers[i].size_bytes;
    }
    return wanted;
}

void ingest_blob_ready(struct ingest *ingest, const char *digest) {
    if (ingest->error || !ingest->done) return;
    for (size_t i = 0; i < ingest->manifest.layer_count; i++) {
        struct unpacking *layer = &ingest->layers[i];
        if (layer->state != WANTED || strcmp(layer->digest, digest) != 0) continue;
        layer->state = QUEUED;
        list_append(&ingest->store->unpacks, &layer->node);
    }
    unpacks_pump(ingest->store);
}

void ingest_finish(struct ingest *ingest) {
    ingest->finishing = true;
    step(ingest);
}

void ingest_fail(struct ingest *ingest, struct error *taken_error) {
    if (ingest->error || !ingest->done) {
        error_free(taken_error);
        return;
    }
    ingest->error = taken_error;
    atomic_store(&ingest->cancelled, true);
    step(ingest);
}

void ingest_free(struct ingest *ingest) {
    if (!ingest) return;
    for (size_t i = 0; i < ingest->manifest.layer_count; i++) {
        free(ingest->layers[i].blob), free(ingest->layers[i].draft), free(ingest->layers[i].layers_dir);
        list_remove(&ingest->layers[i].node);
    }
    free(ingest->layers);
    words_free(ingest->ids);
    oci_manifest_done(&ingest->manifest);
    oci_config_done(&ingest->config);
    free(ingest->blobs), free(ingest->source), free(ingest->images_dir), free(ingest->record);
    error_free(ingest->error);
    free(ingest);
}
