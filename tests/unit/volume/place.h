/* A state directory with a store and its volumes, and each call of the room as one that waits for its answer.
 */
#pragma once
#include "store.h"
#include "test.h"
#include "volume.h"

#include <fcntl.h>
#include <sys/stat.h>

struct place {
    char dir[64];
    struct io_loop *loop;
    struct io_timer *patience; /* keeps the loop alive; a test that hangs ends here */
    struct store *store;
    struct volumes *volumes;
    int64_t ephemeral_ms, keep_ms;
    size_t answers; /* so far; the last one: */
    struct error *error;
    struct volume *volume;
    struct volume_listing *listing;
    struct volume_content content;
    size_t missing_count;
    struct volume_missing missing[8];
};

static inline void place_open(struct place *place) {
    place->loop = io_loop_new();
    place->patience = io_timer_new(place->loop, (void (*)(void *))abort, NULL);
    io_timer_arm(place->patience, 120 * 1000);
    assert_ok(store_open(place->loop, place->dir, &place->store));
    scoped_string char *dir = path_join(place->dir, "volumes");
    assert_ok(volumes_open(&(struct volumes_options){.loop = place->loop,
                                                     .store = place->store,
                                                     .dir = dir,
                                                     .ephemeral_ms = place->ephemeral_ms,
                                                     .keep_ms = place->keep_ms},
                           &place->volumes));
}

static inline void place_close(struct place *place) {
    volumes_free(place->volumes);
    store_free(place->store);
    io_timer_free(place->patience);
    io_loop_free(place->loop);
    place->volumes = NULL;
}

/* The daemon ends, and the next one begins. */
static inline void place_again(struct place *place) {
    place_close(place);
    place_open(place);
}

static inline int place_setup(void **state) {
    struct place *place = NEW(struct place);
    snprintf(place->dir, sizeof place->dir, "/tmp/catnap-volume-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    place_open(place);
    *state = place;
    return 0;
}

static inline int place_teardown(void **state) {
    struct place *place = *state;
    if (place->volumes) place_close(place);
    assert_ok(tree_remove(place->dir));
    free(place);
    return 0;
}

/* ---- answers ---- */

static inline void on_answer(void *owner, struct error *error) {
    struct place *place = owner;
    error_free(place->error);
    place->error = error;
    place->answers++;
    io_loop_stop(place->loop);
}
static inline struct error *answer(struct place *place) {
    io_loop_run(place->loop);
    return take(place->error);
}
static inline void on_volume(void *owner, struct error *error, struct volume *volume) {
    ((struct place *)owner)->volume = volume;
    on_answer(owner, error);
}
static inline void on_listing(void *owner, struct error *error, struct volume_listing *listing) {
    ((struct place *)owner)->listing = listing;
    on_answer(owner, error);
}
static inline void on_content(void *owner, struct error *error, const struct volume_content *content) {
    ((struct place *)owner)->content = *content;
    on_answer(owner, error);
}
static inline void on_put(void *owner, struct error *error, const struct volume_missing *missing,
                          size_t count) {
    struct place *place = owner;
    place->missing_count = count;
    for (size_t i = 0; i < count && i < COUNT(place->missing); i++) place->missing[i] = missing[i];
    on_answer(owner, error);
}

/* Lets the loop live for a while; nothing is concluded from how long. */
static inline void let_live(struct place *place, int64_t ms) {
    struct io_timer *timer = io_timer_new(place->loop, (void (*)(void *))io_loop_stop, place->loop);
    io_timer_arm(timer, ms);
    io_loop_run(place->loop);
    io_timer_free(timer);
}

/* ---- calls that wait ---- */

static inline struct error *make_volume(struct place *place, const char *environment, const char *name,
                                        bool if_missing) {
    volume_create(
        place->volumes,
        &(struct volume_options){.environment = environment, .name = name, .if_missing = if_missing},
        on_volume, place);
    return answer(place);
}
static inline struct volume *new_volume(struct place *place, const char *name) {
    assert_ok(make_volume(place, NULL, name, false));
    return place->volume;
}
static inline struct error *commit(struct place *place, struct volume *volume) {
    volume_commit(volume, on_answer, place);
    return answer(place);
}
static inline struct error *put_files(struct place *place, struct volume *volume,
                                      const struct volume_file *files, size_t count, bool overwrite) {
    volume_put(volume, files, count, overwrite, on_put, place);
    return answer(place);
}
/* One file of version 1, whose blob is put into the store first. */
static inline struct error *put(struct place *place, struct volume *volume, const char *path,
                                const char *bytes, bool overwrite) {
    char digest[SHA256_HEX_SIZE];
    TRY_PLAIN(store_blob_put(place->store, span_of(bytes), digest));
    return put_files(place, volume, &(struct volume_file){.path = path, .digest = digest}, 1, overwrite);
}
static inline struct error *remove_path(struct place *place, struct volume *volume, const char *path,
                                        bool recursive) {
    volume_remove(volume, path, recursive, on_answer, place);
    return answer(place);
}
static inline struct error *copy_path(struct place *place, struct volume *volume, const char *from,
                                      const char *to, bool recursive) {
    volume_copy(volume, (const char *const[]){from}, 1, to, recursive, on_answer, place);
    return answer(place);
}
static inline struct error *collect(struct place *place) {
    volumes_collect(place->volumes, on_answer, place);
    return answer(place);
}

/* ---- what is there: as "path=content" words; "path/" directories, "path>target" links ---- */

static inline struct error *read_committed(struct place *place, struct volume *volume, const char *path,
                                           struct text *text) {
    volume_open(volume, path, on_content, place);
    TRY_PLAIN(answer(place));
    char piece[4096];
    for (ssize_t got; (got = read(place->content.fd, piece, sizeof piece)) > 0;)
        text_add(text, (struct span){piece, (size_t)got});
    close(place->content.fd);
    return NULL;
}

static inline struct error *listed(struct place *place, struct volume *volume, const char *path,
                                   bool recursive, struct text *text) {
    volume_list(volume, path, recursive, on_listing, place);
    TRY_PLAIN(answer(place));
    scoped(volume_listing) struct volume_listing *listing = take(place->listing);
    struct volume_entry entry;
    while (volume_listing_next(listing, &entry)) {
        text_printf(text, "%s%s", text->size ? " " : "", entry.path);
        if (entry.kind == VOLUME_DIRECTORY) text_add_char(text, '/');
        if (entry.kind == VOLUME_LINK) text_printf(text, ">%s", entry.target);
        if (entry.kind != VOLUME_FILE) continue;
        text_add_char(text, '=');
        TRY_PLAIN(read_committed(place, volume, entry.path, text));
    }
    if (!text->size) text_add_string(text, "");
    return NULL;
}

#define assert_committed(PLACE, VOLUME, EXPECTED)            \
    do {                                                     \
        scoped_text struct text found_ = {0};                \
        assert_ok(listed(PLACE, VOLUME, "", true, &found_)); \
        assert_string_equal(found_.data, EXPECTED);          \
    } while (0)

/* ---- what a container does ---- */

static inline char *live(const struct volume *volume, const char *path) {
    return path_join(volume_live_path(volume), path);
}
static inline void write_live(const struct volume *volume, const char *path, const char *bytes) {
    scoped_string char *at = live(volume, path);
    FILE *file = fopen(at, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, strlen(bytes), file), strlen(bytes));
    assert_int_equal(fclose(file), 0);
}
static inline void dir_live(const struct volume *volume, const char *path) {
    scoped_string char *at = live(volume, path);
    assert_ok(dir_make(at, 0755));
}
static inline void assert_live(const struct volume *volume, const char *path, const char *bytes) {
    scoped_string char *at = live(volume, path);
    scoped_text struct text text = {0};
    if (!bytes) {
        struct stat gone;
        assert_int_equal(lstat(at, &gone), -1);
        return;
    }
    assert_ok(file_read(at, 1 << 20, &text));
    assert_string_equal(text.data ? text.data : "", bytes);
}
