/* A layer that a caller fills himself: a draft on top of an image, given to a container as its upper, and in
 * the end committed under a key of the caller's, so that he finds it again. What is never committed goes with
 * the draft. */
#include "step.h"

#include <stdlib.h>

struct image_draft {
    struct flight flight; /* keeps its base from being pruned; ends with the draft */
    struct state state;
    char *path, *key;
    bool committing;
};
struct commit {
    struct flight flight;
    struct image_draft *draft;
    struct io_work work;
    char **lower;
    char *layers_dir, *images_dir, *cache_file, *record;
    char layer[SHA256_HEX_SIZE], id[SHA256_HEX_SIZE];
    uint64_t bytes;
};

/* ---- the draft ---- */

static void draft_cancel(struct flight *flight) {
    (void)flight;
}

static void draft_free(struct flight *flight) {
    struct image_draft *draft = CONTAINER_OF(flight, struct image_draft, flight);
    state_done(&draft->state);
    free(draft->path), free(draft->key);
    free(draft);
}

static struct error *base_of(struct image_store *store, const char *base, struct state *ret_state) {
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    TRY_PLAIN(names_follow(store, base, &id, &other, &normal));
    *ret_state = (struct state){.host = other && strcmp(other, "host") == 0};
    if (other && other[0] != '/') return NULL;
    if (!id) return error_new(ERROR_NOT_FOUND, "there is no image %s here", base);
    return state_of_image(store, id, ret_state);
}

struct error *image_draft_new(struct image_store *store, const char *base, struct image_draft **ret_draft) {
    struct state state;
    TRY_PLAIN(base_of(store, base, &state));
    struct image_draft *draft = NEW(struct image_draft);
    draft->state = state;
    struct error *error = draft_make(store, &draft->path);
    if (error) {
        state_done(&draft->state);
        free(draft);
        return error;
    }
    flight_init(&draft->flight, store, NULL, draft_cancel, draft_free);
    draft->flight.holds = words_copy(state.layers);
    draft->flight.passive = true;
    *ret_draft = draft;
    return NULL;
}

const char *image_draft_upper(const struct image_draft *draft) {
    return draft->path;
}

void image_draft_free(struct image_draft *draft) {
    if (!draft || draft->flight.ended) return;
    if (!draft->committing) images_trash(draft->flight.store, draft->path);
    flight_end(&draft->flight, NULL, NULL);
}

/* ---- keys ---- */

static void key_of(const struct state *base, const char *key, char ret_key[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    sha256_add(sum, "draft 1", 8);
    state_hash(base, sum);
    sha256_add(sum, key, strlen(key) + 1);
    sha256_hex(sum, ret_key);
}

const struct image *image_draft_find(struct image_store *store, const char *base, const char *key) {
    struct state state;
    char full[SHA256_HEX_SIZE], id[SHA256_HEX_SIZE];
    scoped(error) struct error *error = base_of(store, base, &state);
    if (error) return NULL;
    key_of(&state, key, full);
    scoped_string char *layer = built_find(store, full);
    if (layer) layer_used(store, layer);
    if (layer) words_add(&state.layers, layer);
    free(image_record_text(&state.config, state.layers, state.host, "built", id)); /* only its id is wanted */
    state_done(&state);
    const struct record *record = layer ? map_get(store->records, span_of(id)) : NULL;
    return record ? &record->image : NULL;
}

/* ---- commit ---- */

static void commit_cancel(struct flight *flight) {
    (void)flight; /* short: it ends by itself */
}

static void commit_free(struct flight *flight) {
    struct commit *commit = CONTAINER_OF(flight, struct commit, flight);
    words_free(commit->lower);
    free(commit->layers_dir), free(commit->images_dir), free(commit->cache_file), free(commit->record);
    free(commit);
}

static struct error *commit_all(struct commit *commit) {
    const struct image_draft *draft = commit->draft;
    draft_clean(draft->path, commit->lower, words_count(commit->lower));
    TRY_PLAIN(layer_seal(draft->path, commit->layers_dir, commit->layer, &commit->bytes));
    TRY_PLAIN(image_record_write(commit->images_dir, commit->id, commit->record));
    return commit->cache_file ? file_replace(commit->cache_file, span_of(commit->layer), 0600) : NULL;
}

static void commit_work(struct io_work *work) {
    work->error = commit_all(work->owner);
}

static void on_committed(struct io_work *work) {
    struct commit *commit = work->owner;
    struct image_store *store = commit->flight.store;
    struct error *error = take(work->error);
    if (!error) layer_added(store, commit->layer, commit->bytes);
    if (!error) image_record_add(store, commit->id, commit->record, &error);
    if (error) images_trash(store, commit->draft->path);
    image_draft_free(commit->draft);
    flight_end(&commit->flight, error, error ? NULL : mem_string(commit->id));
}

struct image_job *image_draft_commit(struct image_draft *taken_draft, const char *key,
                                     const struct image_events *events, void *owner) {
    struct image_store *store = taken_draft->flight.store;
    struct commit *commit = NEW(struct commit);
    flight_init(&commit->flight, store, NULL, commit_cancel, commit_free);
    commit->draft = taken_draft;
    taken_draft->committing = true;
    commit->layers_dir = images_path(store, "layers", NULL);
    commit->images_dir = images_path(store, "images", NULL);
    commit->lower = state_dirs(store, &taken_draft->state);
    scoped_string char *chance = random_id("draft");
    sha256_of(span_of(chance), commit->layer);
    if (key) {
        char full[SHA256_HEX_SIZE];
        key_of(&taken_draft->state, key, full);
        commit->cache_file = built_path(store, full);
    }
    words_add(&taken_draft->state.layers, commit->layer);
    commit->record = image_record_text(&taken_draft->state.config, taken_draft->state.layers,
                                       taken_draft->state.host, "built", commit->id);
    commit->work = (struct io_work){.work = commit_work, .done = on_committed, .owner = commit};
    io_work_start(store->loop, &commit->work);
    return flight_join_outside(&commit->flight, events, owner);
}
