/* Content that no version uses goes: marked by what all records tell, then swept, on a worker.
 *
 *   something may be unused -> after keep_ms: a sweep notes what is -> after keep_ms: the next one removes
 * what was noted and still is
 *
 * so that who reads what was replaced has that long. A sweep and ops exclude one another: an op may be about
 * to use what nothing uses yet. It begins when none is at work; asked for by name, or put off for long, it
 * lets no other begin. If one record can't be followed, nothing is removed. */
#include "inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#define DIGEST_BYTES 32
#define PUT_OFF_MAX_MS (6 * INT64_C(3600000))

struct sweep {
    struct volumes *volumes;
    struct io_work work;
    bool now;            /* without waiting for keep_ms */
    bool cancel;         /* atomic */
    int64_t asked_ms;    /* on the loop's clock */
    struct text records; /* digests with their ends: written trees */
    struct text marks, before, noted;
    size_t removed_count;
    uint64_t removed_bytes;
    struct waiter *waiters;
    size_t waiter_count;
};

/* ---- digests as sorted bytes ---- */

static unsigned nibble(char c) {
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void add(struct text *digests, const char *digest) {
    char *bytes = text_reserve(digests, DIGEST_BYTES);
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        bytes[i] = (char)(nibble(digest[2 * i]) << 4 | nibble(digest[2 * i + 1]));
    digests->size += DIGEST_BYTES;
}

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

static void sort(struct text *digests) {
    if (digests->size) qsort(digests->data, digests->size / DIGEST_BYTES, DIGEST_BYTES, by_bytes);
}

static bool has(const struct text *digests, const char *digest) {
    if (digests->size == 0) return false;
    scoped_text struct text key = {0};
    add(&key, digest);
    return bsearch(key.data, digests->data, digests->size / DIGEST_BYTES, DIGEST_BYTES, by_bytes) != NULL;
}

/* ---- on a worker ---- */

static struct error *mark(struct sweep *sweep) {
    for (size_t at = 0; at < sweep->records.size; at += SHA256_HEX_SIZE) {
        const char *digest = sweep->records.data + at;
        TRY_PLAIN(cancel_check(&sweep->cancel));
        scoped(tree) struct tree *tree = NULL;
        TRY_PLAIN(content_tree(&sweep->volumes->contents, digest, &tree));
        add(&sweep->marks, digest);
        for (size_t i = 0; i < tree->count; i++)
            if (tree->entries[i].digest) add(&sweep->marks, tree->entries[i].digest);
    }
    sort(&sweep->marks);
    return NULL;
}

static struct error *sweep_one(struct sweep *sweep, const char *directory, const char *name) {
    if (!digest_good(name) || has(&sweep->marks, name)) return NULL;
    if (!sweep->now && !has(&sweep->before, name)) {
        add(&sweep->noted, name);
        return NULL;
    }
    scoped_string char *path = path_join(directory, name);
    struct stat at;
    uint64_t bytes = lstat(path, &at) == 0 ? (uint64_t)at.st_blocks * 512 : 0;
    if (store_calls_now()->unlink(path) != 0) return error_errno(errno, "remove %s", path);
    sweep->removed_count++;
    sweep->removed_bytes += bytes;
    return NULL;
}

static struct error *sweep_directory(struct sweep *sweep, const char *path) {
    DIR *directory = opendir(path);
    if (!directory) return errno == ENOENT ? NULL : error_errno(errno, "read %s", path);
    struct error *error = NULL;
    for (struct dirent *entry; !error && (entry = readdir(directory));)
        error = sweep_one(sweep, path, entry->d_name);
    closedir(directory);
    return error;
}

static struct error *sweep_all(struct sweep *sweep) {
    TRY_PLAIN(mark(sweep));
    for (unsigned i = 0; i < 256; i++) {
        scoped_string char *path = mem_printf("%s/%02x", sweep->volumes->contents.dir, i);
        TRY_PLAIN(cancel_check(&sweep->cancel));
        TRY_PLAIN(sweep_directory(sweep, path));
    }
    sort(&sweep->noted);
    return NULL;
}

static void on_sweep(struct io_work *work) {
    work->error = sweep_all(work->owner);
}

/* ---- on the loop ---- */

static void tell(struct sweep *sweep, const struct error *error) {
    for (size_t i = 0; i < sweep->waiter_count; i++)
        if (sweep->waiters[i].done) sweep->waiters[i].done(sweep->waiters[i].owner, error_copy(error));
    sweep->waiter_count = 0;
}

static void sweep_free(struct sweep *sweep) {
    text_done(&sweep->records);
    text_done(&sweep->marks);
    text_done(&sweep->before);
    text_done(&sweep->noted);
    free(sweep->waiters);
    free(sweep);
}

static void on_swept(struct io_work *work) {
    struct sweep *sweep = work->owner;
    struct volumes *volumes = sweep->volumes;
    scoped(error) struct error *error = take(work->error);
    volumes->sweep = NULL;
    if (error && !volumes->closed) {
        scoped_string char *text = error_text(error);
        log_error("volume", "unused content is not removed: %s", text);
    } else if (sweep->removed_count) {
        log_info("volume", "%zu contents that nothing uses are removed, %llu KiB", sweep->removed_count,
                 (unsigned long long)(sweep->removed_bytes >> 10));
    }
    if (!volumes->closed) {
        text_done(&volumes->noted);
        volumes->noted = sweep->noted;
        sweep->noted = (struct text){0};
        if (volumes->noted.size) sweep_later(volumes);
    }
    tell(sweep, error);
    sweep_free(sweep);
    if (!volumes->closed) ops_turn_later(volumes);
    volumes_unref(volumes);
}

static struct sweep *asked(struct volumes *volumes) {
    if (!volumes->sweep_asked) {
        volumes->sweep_asked = NEW(struct sweep);
        volumes->sweep_asked->volumes = volumes;
        volumes->sweep_asked->asked_ms = io_now_ms(volumes->loop);
    }
    return volumes->sweep_asked;
}

static void add_record(struct sweep *sweep, const char *digest) {
    if (digest[0]) text_add(&sweep->records, (struct span){digest, SHA256_HEX_SIZE});
}

void sweep_try(struct volumes *volumes) {
    if (!volumes->sweep_asked || volumes->sweep || !list_empty(&volumes->running)) return;
    struct sweep *sweep = volumes->sweep = take(volumes->sweep_asked);
    LIST_EACH(node, &volumes->all) {
        const struct volume *volume = CONTAINER_OF(node, struct volume, node);
        add_record(sweep, volume->now.manifest);
        if (volume->pending.tree) add_record(sweep, volume->pending.digest);
    }
    sweep->before = volumes->noted;
    volumes->noted = (struct text){0};
    sweep->work = (struct io_work){.work = on_sweep, .done = on_swept, .owner = sweep};
    volumes_ref(volumes);
    io_work_start(volumes->loop, &sweep->work);
}

bool sweep_holds(const struct volumes *volumes) {
    const struct sweep *next = volumes->sweep_asked;
    return volumes->sweep ||
           (next && (next->now || io_now_ms(volumes->loop) - next->asked_ms > PUT_OFF_MAX_MS));
}

void sweep_due(struct volumes *volumes) {
    asked(volumes);
    sweep_try(volumes);
}

void sweep_later(struct volumes *volumes) {
    if (!volumes->sweep_asked && !io_timer_armed(volumes->sweep_timer))
        io_timer_arm(volumes->sweep_timer, volumes->keep_ms);
}

void sweep_soon(struct volumes *volumes) {
    asked(volumes)->now = true;
}

void volumes_collect(struct volumes *volumes, volume_done *done, void *owner) {
    struct sweep *sweep = asked(volumes);
    sweep->now = true;
    sweep->waiters = mem_grow(sweep->waiters, sweep->waiter_count + 1, sizeof *sweep->waiters);
    sweep->waiters[sweep->waiter_count++] = (struct waiter){done, owner};
    ops_turn_later(volumes);
}

void sweep_cancel(struct volumes *volumes) {
    scoped(error) struct error *error = error_new(ERROR_CANCELLED, "catnap is ending");
    struct sweep *next = take(volumes->sweep_asked);
    if (volumes->sweep) {
        __atomic_store_n(&volumes->sweep->cancel, true, __ATOMIC_RELAXED);
        tell(volumes->sweep, error);
    }
    if (!next) return;
    tell(next, error);
    sweep_free(next);
}
