/* Blobs arrive: skopeo copies, inotify sees each that is whole, and it is unpacked while others still come.
 *
 * What is here already is not fetched: skopeo finds a file of the right length (all hole) where it would put
 * the blob, and goes on. Nothing for `stall_ms` is an error. Blobs that came stay in pulls/MANIFEST for the
 * next try. */
#include "pull.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>

enum { LOOK_MS_MAX = 1000, SAY_MS = 5000 };

/* ---- watching it come ---- */

static uint64_t directory_bytes(const char *path) {
    uint64_t bytes = 0;
    struct stat at;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(directory), entry->d_name, &at, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(at.st_mode))
            bytes += (uint64_t)at.st_blocks * 512;
    if (directory) closedir(directory);
    return bytes;
}

static void on_look(void *owner) {
    struct pull *pull = owner;
    int64_t now_ms = io_now_ms(pull->flight.store->loop), stall_ms = pull->flight.store->stall_ms;
    scoped_string char *layout = path_join(pull->dir, "layout");
    uint64_t bytes = directory_bytes(layout) + directory_bytes(pull->blobs);
    if (bytes != pull->seen_bytes) pull->changed_ms = now_ms;
    pull->seen_bytes = bytes;
    if (now_ms - pull->changed_ms >= stall_ms) {
        skopeo_free(take(pull->skopeo));
        io_timer_free(take(pull->look));
        pull_place_failed(pull, error_new(ERROR_DEADLINE_EXCEEDED,
                                          "it stalled: nothing came for %lld s (%.1f of %.1f MB are here)",
                                          (long long)(stall_ms + 500) / 1000, (double)bytes / 1e6,
                                          (double)pull->total_bytes / 1e6));
        return;
    }
    if (now_ms - pull->said_ms >= SAY_MS) {
        pull->said_ms = now_ms;
        flight_say(&pull->flight, "%.1f of %.1f MB", (double)bytes / 1e6, (double)pull->total_bytes / 1e6);
    }
    io_timer_arm(pull->look, stall_ms / 4 < LOOK_MS_MAX ? stall_ms / 4 : LOOK_MS_MAX);
}

static void on_notify(void *owner, unsigned events) {
    struct pull *pull = owner;
    _Alignas(struct inotify_event) char buffer[4096];
    (void)events;
    for (ssize_t got; (got = read(pull->notify_fd, buffer, sizeof buffer)) > 0;)
        for (char *at = buffer; at < buffer + got;) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            at += sizeof *event + event->len;
            if (event->len > 0) ingest_blob_ready(pull->ingest, event->name);
            if (pull->flight.ended || pull->notify_fd < 0) return;
        }
}

static struct error *watch(struct pull *pull) {
    pull->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (pull->notify_fd < 0 || inotify_add_watch(pull->notify_fd, pull->blobs, IN_MOVED_TO) < 0)
        return error_errno(errno, "watch %s", pull->blobs);
    return io_watch_new(pull->flight.store->loop, pull->notify_fd, IO_READABLE, on_notify, pull,
                        &pull->notify);
}

/* ---- copying ---- */

static void on_ingested(void *owner, struct error *error, char *taken_id) {
    struct pull *pull = owner;
    if (pull->cancelled && !error) {
        free(take(taken_id));
        error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    }
    if (error)
        pull_end(pull, error, NULL);
    else
        pull_name(pull, taken_id);
}

static void on_copied(void *owner, struct error *error, struct span output) {
    struct pull *pull = owner;
    (void)output;
    pull->skopeo = NULL;
    io_timer_free(take(pull->look));
    if (error) {
        pull_place_failed(pull, error);
        return;
    }
    for (size_t i = 0; i < pull->manifest.layer_count; i++)
        ingest_blob_ready(pull->ingest, pull->manifest.layers[i].digest);
    ingest_finish(pull->ingest);
}

static void on_copy_line(void *owner, struct span line) {
    (void)owner, (void)line; /* our own words say more */
}

/* A hole of the right length: for skopeo the blob is there. */
static struct error *placeholder(const struct pull *pull, const struct oci_blob *blob) {
    scoped_string char *path = path_join(pull->blobs, blob->digest);
    scoped_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 || ftruncate(fd, (off_t)blob->size_bytes) ? error_errno(errno, "make %s", path) : NULL;
}

/* What lies there: blobs of a try that was cut off, whole (skopeo renames), and holes of one, which go. */
static struct error *prepare_blobs(struct pull *pull) {
    scoped_string char *layout = path_join(pull->dir, "layout");
    TRY_PLAIN(tree_remove(layout));
    TRY_PLAIN(dir_make(layout, 0700));
    TRY_PLAIN(dir_make(pull->blobs, 0700));
    for (size_t i = 0; i < pull->manifest.layer_count; i++) {
        const struct oci_blob *blob = &pull->manifest.layers[i];
        scoped_string char *path = path_join(pull->blobs, blob->digest);
        struct stat at;
        if (!ingest_wants(pull->ingest, i))
            TRY_PLAIN(placeholder(pull, blob));
        else if (stat(path, &at) == 0 &&
                 ((uint64_t)at.st_size != blob->size_bytes || (at.st_blocks == 0 && at.st_size > 0)))
            (void)unlink(path);
    }
    return NULL;
}

static void copy_start(struct pull *pull) {
    char **words = NULL;
    struct image_store *store = pull->flight.store;
    scoped_string char *from = pull_address(pull, pull->manifest_digest),
                       *to = mem_printf("oci:%s/layout:x", pull->dir);
    scoped_string char *shared = path_join(pull->dir, "blobs");
    words_add(&words, "copy"), words_add(&words, "--dest-oci-accept-uncompressed-layers");
    words_add(&words, "--dest-shared-blob-dir"), words_add(&words, shared);
    pull_add_common(pull, &words, true);
    words_add(&words, from), words_add(&words, to);
    pull->skopeo = skopeo_start(&(struct skopeo_options){
        .store = store, .words = words, .line = on_copy_line, .done = on_copied, .owner = pull});
    words_free(words);
    pull->changed_ms = pull->said_ms = io_now_ms(store->loop);
    pull->look = io_timer_new(store->loop, on_look, pull);
    on_look(pull);
}

static bool dir_taken(const struct pull *pull) {
    LIST_EACH(node, &pull->flight.store->flights) {
        struct flight *flight = CONTAINER_OF(node, struct flight, node);
        const struct pull *other = CONTAINER_OF(flight, struct pull, flight);
        if (flight->pulls && other != pull && other->dir && strcmp(other->dir, pull->dir) == 0) return true;
    }
    return false;
}

static struct error *copy_begin(struct pull *pull, struct oci_config *config) {
    struct image_store *store = pull->flight.store;
    pull->dir = images_path(store, "pulls", pull->manifest_digest);
    if (dir_taken(pull)) { /* the same image under another name */
        free(pull->dir);
        pull->dir = random_id("pull");
        char *whole = images_path(store, "pulls", pull->dir);
        free(pull->dir);
        pull->dir = whole;
    }
    pull->blobs = path_join(pull->dir, "blobs/sha256");
    struct oci_manifest manifest = pull->manifest; /* a copy: we go on naming its blobs */
    manifest.layers = mem_array(manifest.layer_count + 1, sizeof *manifest.layers);
    memcpy(manifest.layers, pull->manifest.layers, manifest.layer_count * sizeof *manifest.layers);
    scoped_string char *repository = reference_repository(&pull->reference);
    pull->ingest = ingest_new(&(struct ingest_options){
        .flight = &pull->flight,
        .taken_blobs = mem_string(pull->blobs),
        .manifest = &manifest,
        .config = config,
        .taken_source = mem_printf("%s@sha256:%s", repository, pull->manifest_digest),
        .take_blobs = true,
        .done = on_ingested,
        .owner = pull,
    });
    size_t wanted = ingest_wanted(pull->ingest, &pull->total_bytes);
    if (wanted == 0) return NULL;
    flight_say(&pull->flight, "pulling %zu of %zu layers, %.1f MB, from %s", wanted,
               pull->manifest.layer_count, (double)pull->total_bytes / 1e6, pull->places[pull->place].host);
    TRY_PLAIN(prepare_blobs(pull));
    TRY_PLAIN(watch(pull));
    copy_start(pull);
    return NULL;
}

/* Begun already: another place goes on with what is missing. */
void arrive(struct pull *pull, struct oci_config *config) {
    struct error *error = NULL;
    if (pull->ingest)
        copy_start(pull);
    else
        error = copy_begin(pull, config);
    if (error)
        pull_end(pull, error, NULL);
    else if (!pull->skopeo)
        ingest_finish(pull->ingest);
}
