/* Reading the committed version: listings and files.
 *
 * A read takes the version that is there when it is asked, from memory or (on a worker) from the disk, and
 * keeps to it. It waits for no change of the volume, and none waits for it. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define READS_MAX 10000

struct volume_listing {
    struct tree *tree;
    size_t at, end;
    bool recursive;
};

struct read {
    struct list node; /* in volumes->reads */
    struct volumes *volumes;
    char *id, *path;
    char manifest[SHA256_HEX_SIZE];
    struct tree *tree;
    bool loaded, told;
    struct io_work work;
    bool recursive;
    struct volume_listing *listing;
    void (*listed)(void *owner, struct error *error,
                   struct volume_listing *listing); /* NULL: a file is opened */
    struct volume_content content;
    void (*opened)(void *owner, struct error *error, const struct volume_content *content);
    void *owner;
};

/* ---- listings ---- */

static struct error *list(struct read *read) {
    struct tree *tree = read->tree;
    struct span path = span_of(read->path);
    const struct entry *entry = tree_get(tree, path);
    if (path.size > 0 && !entry) return error_new(ERROR_NOT_FOUND, "there is no '%s'", read->path);
    struct volume_listing *listing = NEW(struct volume_listing);
    listing->recursive = read->recursive;
    if (entry && entry->kind != ENTRY_DIRECTORY) {
        listing->at = (size_t)(entry - tree->entries);
        listing->end = listing->at + 1;
    } else {
        listing->end = tree_below(tree, path, &listing->at);
    }
    read->listing = listing;
    return NULL;
}

bool volume_listing_next(struct volume_listing *listing, struct volume_entry *ret_entry) {
    if (listing->at >= listing->end) return false;
    const struct entry *entry = &listing->tree->entries[listing->at++];
    *ret_entry = (struct volume_entry){
        .path = entry->path,
        .kind = entry->kind == ENTRY_FILE        ? VOLUME_FILE
                : entry->kind == ENTRY_DIRECTORY ? VOLUME_DIRECTORY
                                                 : VOLUME_LINK,
        .mode = entry->mode,
        .size_bytes = entry->size_bytes,
        .mtime_ms = entry->mtime_ns / 1000000,
        .target = entry->target,
    };
    size_t begin;
    if (!listing->recursive && entry->kind == ENTRY_DIRECTORY)
        listing->at = tree_below(listing->tree, span_of(entry->path), &begin);
    return true;
}

void volume_listing_free(struct volume_listing *listing) {
    if (!listing) return;
    tree_free(listing->tree);
    free(listing);
}

/* ---- files ---- */

static struct error *open_content(const struct contents *contents, const char *digest, int *ret_fd) {
    scoped_string char *path = content_path(contents, digest);
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
    return *ret_fd < 0 ? error_errno(errno, "content sha256:%s", digest) : NULL;
}

static struct error *open_file(struct read *read) {
    bool led_out;
    const struct entry *entry = tree_resolve(read->tree, read->path, &led_out);
    if (led_out)
        return error_new(ERROR_FAILED_PRECONDITION, "%s is a link that leads out of the volume", read->path);
    if (read->path[0] == '\0' || (entry && entry->kind == ENTRY_DIRECTORY))
        return error_new(ERROR_FAILED_PRECONDITION, "%s is a directory", read->path[0] ? read->path : "/");
    if (!entry) return error_new(ERROR_NOT_FOUND, "there is no '%s'", read->path);
    read->content.size_bytes = entry->size_bytes;
    read->content.mode = entry->mode;
    read->content.mtime_ms = entry->mtime_ns / 1000000;
    snprintf(read->content.digest, sizeof read->content.digest, "%s", entry->digest);
    TRY(open_content(&read->volumes->contents, entry->digest, &read->content.fd), "%s", read->path);
    return NULL;
}

struct error *volume_content_open(const struct volumes *volumes, const char *digest, int *ret_fd) {
    *ret_fd = -1;
    if (!digest_good(digest)) return error_new(ERROR_NOT_FOUND, "'%.80s' is no content", digest);
    return open_content(&volumes->contents, digest, ret_fd);
}

/* ---- in common ---- */

static void on_read(struct io_work *work) {
    struct read *read = work->owner;
    if (work->error) return; /* refused before it began */
    if (!read->tree) {
        work->error = content_tree(&read->volumes->contents, read->manifest, &read->tree);
        read->loaded = !work->error;
    }
    if (!work->error) work->error = read->listed ? list(read) : open_file(read);
}

static void tell(struct read *read, struct error *taken_error) {
    read->told = true;
    if (read->listed) {
        if (read->listing) read->listing->tree = tree_ref(read->tree);
        read->listed(read->owner, taken_error, take(read->listing));
    } else {
        struct volume_content content = read->content;
        read->content.fd = -1;
        read->opened(read->owner, taken_error, &content);
    }
}

static void read_free(struct read *read) {
    list_remove(&read->node);
    tree_free(read->tree);
    volume_listing_free(read->listing);
    if (read->content.fd >= 0) close(read->content.fd);
    free(read->id);
    free(read->path);
    free(read);
}

static void on_read_done(struct io_work *work) {
    struct read *read = work->owner;
    struct volumes *volumes = read->volumes;
    struct volume *volume = volumes->closed ? NULL : volume_by_id(volumes, read->id);
    volumes->read_count--;
    if (read->tree && volume && strcmp(volume->now.manifest, read->manifest) == 0)
        volume_tree_keep(volume, volume->tree ? volume->tree : read->tree);
    if (read->told)
        error_free(work->error);
    else
        tell(read, take(work->error));
    read_free(read);
    volumes_unref(volumes);
}

static void start(struct volume *volume, const char *path, struct read *read) {
    struct volumes *volumes = volume->volumes;
    read->volumes = volumes_ref(volumes);
    read->id = mem_string(volume->id);
    read->tree = tree_ref(volume->tree);
    read->content.fd = -1;
    memcpy(read->manifest, volume->now.manifest, sizeof read->manifest);
    read->work = (struct io_work){.work = on_read, .done = on_read_done, .owner = read};
    read->work.error = volume_path_clean(path, &read->path);
    if (!read->work.error && volumes->read_count >= READS_MAX)
        read->work.error = error_new(ERROR_RESOURCE_EXHAUSTED,
                                     "too many reads of volumes wait (%d); try again later", READS_MAX);
    volumes->read_count++;
    list_append(&volumes->reads, &read->node);
    io_work_start(volumes->loop, &read->work);
}

void volume_list(struct volume *volume, const char *path, bool recursive,
                 void (*done)(void *owner, struct error *error, struct volume_listing *listing),
                 void *owner) {
    struct read *read = NEW(struct read);
    read->recursive = recursive;
    read->listed = done;
    read->owner = owner;
    start(volume, path, read);
}

void volume_open(struct volume *volume, const char *path,
                 void (*done)(void *owner, struct error *error, const struct volume_content *content),
                 void *owner) {
    struct read *read = NEW(struct read);
    read->opened = done;
    read->owner = owner;
    start(volume, path, read);
}

/* A worker may be at one of them: what it finds is for nobody. */
void reads_cancel(struct volumes *volumes) {
    LIST_EACH(node, &volumes->reads) {
        struct read *read = CONTAINER_OF(node, struct read, node);
        if (read->told) continue;
        read->told = true;
        struct error *error = error_new(ERROR_CANCELLED, "catnap is ending");
        if (read->listed)
            read->listed(read->owner, error, NULL);
        else
            read->opened(read->owner, error, &(struct volume_content){.fd = -1});
    }
}
