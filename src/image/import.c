/* An image from a file: an OCI archive or a docker-archive (skopeo makes a layout of it, the rest is as for a
 * pull), or the plain tar of a root file system, which becomes one layer. Which of them it is, the names in
 * the tar say. */
#include "ingest.h"
#include "skopeo.h"
#include "unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum kind { KIND_ROOTFS, KIND_DOCKER, KIND_OCI };
enum { LOOK_ENTRIES = 100000, BLOB_JSON_MAX = OCI_JSON_MAX };

struct import {
    struct flight flight;
    char *normal, *path;
    struct io_work work;
    enum kind kind;
    struct skopeo *skopeo;
    char *dir; /* a draft's: the layout, or the layer */
    struct ingest *ingest;
    atomic_bool cancelled;
    bool working;
    /* of a root file system */
    struct unpack_options options;
    struct unpack_stats stats;
    char *layers_dir, *images_dir, *record, layer[SHA256_HEX_SIZE], id[SHA256_HEX_SIZE];
    uint64_t bytes;
};

/* ---- the end ---- */

static void import_free(struct flight *flight) {
    struct import *import = CONTAINER_OF(flight, struct import, flight);
    skopeo_free(import->skopeo);
    ingest_free(import->ingest);
    free(import->normal), free(import->path), free(import->dir);
    free(import->layers_dir), free(import->images_dir), free(import->record);
    free(import);
}

static void import_end(struct import *import, struct error *error, char *taken_id) {
    if (import->dir) images_trash(import->flight.store, import->dir);
    if (error) error = error_wrap(error, "import %s", import->path);
    flight_end(&import->flight, error, taken_id);
}

static void on_named(void *owner, struct error *error) {
    struct import *import = owner;
    char *id = import->flight.result;
    import->flight.result = NULL;
    if (error) free(take(id));
    import_end(import, error, id);
}

static void name_it(struct import *import, char *taken_id) {
    names_set(import->flight.store, import->normal, taken_id);
    import->flight.result = taken_id;
    names_save(import->flight.store, on_named, import);
}

/* ---- an archive of images ---- */

static void on_ingested(void *owner, struct error *error, char *taken_id) {
    if (error)
        import_end(owner, error, NULL);
    else
        name_it(owner, taken_id);
}

static struct error *read_blob(const char *blobs, const char *digest, struct text *ret_text) {
    scoped_string char *path = path_join(blobs, digest);
    return file_read(path, BLOB_JSON_MAX, ret_text);
}

static struct error *layout_read(struct import *import, const char *blobs, struct oci_manifest *manifest,
                                 struct oci_config *config) {
    scoped_string char *path = path_join(import->dir, "layout/index.json");
    scoped_text struct text index_text = {0}, manifest_text = {0}, config_text = {0};
    struct oci_manifest index;
    TRY_PLAIN(file_read(path, BLOB_JSON_MAX, &index_text));
    TRY_PLAIN(oci_manifest_parse(text_span(&index_text), &index));
    if (!index.is_index) {
        oci_manifest_done(&index);
        return error_new(ERROR_INVALID_ARGUMENT, "it has no index");
    }
    TRY_PLAIN(read_blob(blobs, index.chosen.digest, &manifest_text));
    TRY_PLAIN(oci_manifest_parse(text_span(&manifest_text), manifest));
    TRY_PLAIN(read_blob(blobs, manifest->config.digest, &config_text));
    TRY_PLAIN(oci_config_parse(text_span(&config_text), config));
    return oci_fit(manifest, config);
}

static void on_copied(void *owner, struct error *error, struct span output) {
    struct import *import = owner;
    struct oci_manifest manifest = {0};
    struct oci_config config = {0};
    (void)output;
    import->skopeo = NULL;
    scoped_string char *blobs = path_join(import->dir, "layout/blobs/sha256");
    if (!error) error = layout_read(import, blobs, &manifest, &config);
    if (!error) {
        import->ingest =
            ingest_new(&(struct ingest_options){.flight = &import->flight,
                                                .taken_blobs = take(blobs),
                                                .manifest = &manifest,
                                                .config = &config,
                                                .taken_source = mem_printf("file %s", import->path),
                                                .take_blobs = true,
                                                .done = on_ingested,
                                                .owner = import});
        struct oci_manifest *all = ingest_manifest(import->ingest);
        for (size_t i = 0; i < all->layer_count; i++)
            ingest_blob_ready(import->ingest, all->layers[i].digest);
        ingest_finish(import->ingest);
    }
    oci_manifest_done(&manifest);
    oci_config_done(&config);
    if (error) import_end(import, error, NULL);
}

static void on_line(void *owner, struct span line) {
    (void)owner, (void)line;
}

static void archive_begin(struct import *import) {
    char **words = NULL;
    scoped_string char *from =
        mem_printf("%s:%s", import->kind == KIND_OCI ? "oci-archive" : "docker-archive", import->path);
    scoped_string char *to = mem_printf("oci:%s/layout:x", import->dir);
    words_add(&words, "copy"), words_add(&words, "--dest-oci-accept-uncompressed-layers");
    words_add(&words, from), words_add(&words, to);
    import->skopeo = skopeo_start(&(struct skopeo_options){
        .store = import->flight.store, .words = words, .line = on_line, .done = on_copied, .owner = import});
    words_free(words);
}

/* ---- the plain tar ---- */

static struct error *rootfs_unpack(struct import *import) {
    scoped_string char *upper = path_join(import->dir, "u");
    scoped_fd int fd = open(import->path, O_RDONLY | O_CLOEXEC);
    struct image_config nothing = {0};
    char *layers[] = {import->layer, NULL};
    scoped_string char *source = mem_printf("file %s", import->path);
    if (fd < 0) return error_errno(errno, "open it");
    TRY_PLAIN(unpack_file(fd, upper, &import->options, &import->stats, import->layer));
    if (import->stats.entries == 0) return error_new(ERROR_INVALID_ARGUMENT, "the tar is empty");
    TRY_PLAIN(layer_seal(import->dir, import->layers_dir, import->layer, &import->bytes));
    import->record = image_record_text(&nothing, layers, false, source, import->id);
    return image_record_write(import->images_dir, import->id, import->record);
}

static void rootfs_work(struct io_work *work) {
    work->error = rootfs_unpack(work->owner);
}

static void on_rootfs(struct io_work *work) {
    struct import *import = work->owner;
    struct error *error = take(work->error);
    import->working = false;
    if (!error) {
        layer_added(import->flight.store, import->layer, import->bytes);
        image_record_add(import->flight.store, import->id, import->record, &error);
    }
    if (error)
        import_end(import, error, NULL);
    else
        name_it(import, mem_string(import->id));
}

static void work_start(struct import *import, void (*work)(struct io_work *),
                       void (*done)(struct io_work *)) {
    import->working = true;
    import->work = (struct io_work){.work = work, .done = done, .owner = import};
    io_work_start(import->flight.store->loop, &import->work);
}

/* ---- which of them ---- */

static struct error *look_at(struct import *import) {
    struct archive_entry *entry;
    struct archive *archive = archive_read_new();
    struct error *error = NULL;
    archive_read_support_filter_gzip(archive), archive_read_support_filter_zstd(archive);
    archive_read_support_filter_xz(archive), archive_read_support_filter_bzip2(archive);
    archive_read_support_format_tar(archive);
    if (!file_exists(import->path))
        error = error_errno(errno, "open it");
    else if (archive_read_open_filename(archive, import->path, 256 * 1024) != ARCHIVE_OK)
        error = error_new(ERROR_INVALID_ARGUMENT, "it is no tar: %s", archive_error_string(archive));
    for (int i = 0; !error && i < LOOK_ENTRIES && !atomic_load(&import->cancelled); i++) {
        int result = archive_read_next_header(archive, &entry);
        if (result == ARCHIVE_EOF) break;
        if (result < ARCHIVE_WARN) {
            error = error_new(ERROR_INVALID_ARGUMENT, "it is no tar: %s", archive_error_string(archive));
            break;
        }
        const char *path = archive_entry_pathname(entry);
        if (path && strncmp(path, "./", 2) == 0) path += 2;
        if (path && strcmp(path, "oci-layout") == 0)
            import->kind = KIND_OCI; /* docker writes both files: the OCI half is the better one */
        if (path && strcmp(path, "manifest.json") == 0 && import->kind == KIND_ROOTFS)
            import->kind = KIND_DOCKER;
    }
    archive_read_free(archive);
    return error;
}

static void look_work(struct io_work *work) {
    work->error = look_at(work->owner);
}

static void on_looked(struct io_work *work) {
    static const char *const names[] = {"the tar of a root file system", "a docker-archive",
                                        "an OCI archive"};
    struct import *import = work->owner;
    struct error *error = take(work->error);
    import->working = false;
    if (!error && atomic_load(&import->cancelled))
        error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    if (!error) error = draft_make(import->flight.store, &import->dir);
    if (error) {
        import_end(import, error, NULL);
        return;
    }
    flight_say(&import->flight, "%s is %s", import->path, names[import->kind]);
    if (import->kind == KIND_ROOTFS)
        work_start(import, rootfs_work, on_rootfs);
    else
        archive_begin(import);
}

static void on_cancel(struct flight *flight) {
    struct import *import = CONTAINER_OF(flight, struct import, flight);
    struct error *error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    atomic_store(&import->cancelled, true);
    if (import->working || flight->result) {
        error_free(error); /* a worker sees it, or it is done */
    } else if (import->ingest) {
        ingest_fail(import->ingest, error);
    } else {
        skopeo_free(take(import->skopeo));
        import_end(import, error, NULL);
    }
}

struct image_job *image_import(struct image_store *store, const char *name, const char *path,
                               const struct image_events *events, void *owner) {
    char *normal;
    struct error *error = reference_normal(name, &normal);
    if (!error && path[0] != '/') {
        free(normal);
        error = error_new(ERROR_INVALID_ARGUMENT, "'%s' is no absolute path", path);
    }
    if (error) return flight_join_outside(flight_known(store, error, NULL), events, owner);
    struct import *import = NEW(struct import);
    flight_init(&import->flight, store, NULL, on_cancel, import_free);
    import->normal = normal;
    import->path = mem_string(path);
    import->layers_dir = images_path(store, "layers", NULL);
    import->images_dir = images_path(store, "images", NULL);
    import->options.cancelled = &import->cancelled;
    if (store->quota_bytes)
        import->options.limit_bytes =
            store->quota_bytes > store->used_bytes ? store->quota_bytes - store->used_bytes : 1;
    work_start(import, look_work, on_looked);
    return flight_join_outside(&import->flight, events, owner);
}
