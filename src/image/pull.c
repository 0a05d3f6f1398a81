/* A pull: from a registry's name to an image.
 *
 *   inspect -> (an index: inspect again) -> config -> copy -> unpacked -> named
 * skopeo asks and copies. What is here already is not fetched: when the image is known after `config` that is
 * the end, and for layers that are here skopeo finds a file of the right length (all hole) where it would put
 * the blob, and goes on. Blobs arrive by rename, are seen by inotify and unpacked while others still come. A
 * registry that fails is told and the next place is asked: mirrors first, the registry itself last. Nothing
 * for `stall_ms`: the pull ends with a word about it. Blobs that came stay in pulls/MANIFEST for the next
 * try. */
#include "pull.h"

#include <stdlib.h>

static void ask_next_place(struct pull *pull);

/* ---- the end ---- */

void pull_stop_watching(struct pull *pull) {
    io_watch_free(take(pull->notify));
    scoped_fd_close(&pull->notify_fd);
    pull->notify_fd = -1;
    io_timer_free(take(pull->look));
    skopeo_free(take(pull->skopeo));
}

static void pull_free(struct flight *flight) {
    struct pull *pull = CONTAINER_OF(flight, struct pull, flight);
    pull_stop_watching(pull);
    if (pull->auth) (void)unlink(pull->auth);
    ingest_free(pull->ingest);
    oci_manifest_done(&pull->manifest);
    reference_done(&pull->reference);
    for (size_t i = 0; i < pull->place_count; i++)
        free(pull->places[i].host), free(pull->places[i].repository);
    free(pull->places);
    free(pull->normal), free(pull->user), free(pull->password), free(pull->auth), free(pull->dir),
        free(pull->blobs);
    error_free(pull->error);
    free(pull);
}

/* The one way out. */
void pull_end(struct pull *pull, struct error *error, char *taken_id) {
    pull_stop_watching(pull);
    if (pull->dir && (!error || error->code == ERROR_DATA_LOSS)) images_trash(pull->flight.store, pull->dir);
    if (error) error = error_wrap(error, "pull %s", pull->normal);
    flight_end(&pull->flight, error, taken_id);
}

static void on_named(void *owner, struct error *error) {
    struct pull *pull = owner;
    char *id = pull->flight.result;
    pull->flight.result = NULL;
    if (error) free(take(id));
    pull_end(pull, error, id);
}

void pull_name(struct pull *pull, char *taken_id) {
    names_set(pull->flight.store, pull->normal, taken_id);
    pull->flight.result = taken_id; /* so that it is kept until it is told */
    names_save(pull->flight.store, on_named, pull);
}

static bool better_known(enum error_code code) {
    return code == ERROR_NOT_FOUND || code == ERROR_UNAUTHENTICATED || code == ERROR_PERMISSION_DENIED;
}

/* One place did not have it. Words of all are kept; the code is that of who knew best. */
void pull_place_failed(struct pull *pull, struct error *taken_error) {
    scoped_string char *text = error_text(taken_error);
    enum error_code code = taken_error->code;
    error_free(taken_error);
    flight_say(&pull->flight, "%s: %s", pull->places[pull->place].host, text);
    if (pull->error) {
        if (better_known(pull->error->code)) code = pull->error->code;
        scoped_string char *before = error_text(pull->error);
        error_free(pull->error);
        pull->error = error_new(code, "%s; %s: %s", before, pull->places[pull->place].host, text);
    } else {
        pull->error = error_new(code, "%s: %s", pull->places[pull->place].host, text);
    }
    pull->place++;
    ask_next_place(pull);
}

/* ---- asking ---- */

char *pull_address(const struct pull *pull, const char *digest) {
    const struct place *place = &pull->places[pull->place];
    if (digest) return mem_printf("docker://%s@sha256:%s", place->repository, digest);
    if (pull->reference.digest)
        return mem_printf("docker://%s@%s", place->repository, pull->reference.digest);
    return mem_printf("docker://%s:%s", place->repository, pull->reference.tag);
}

void pull_add_common(const struct pull *pull, char ***words, bool source) {
    const struct image_store *store = pull->flight.store;
    const char *auth = pull->auth ? pull->auth : store->auth_file;
    if (pull->places[pull->place].plain)
        words_add(words, source ? "--src-tls-verify=false" : "--tls-verify=false");
    if (!auth) return;
    words_add(words, source ? "--src-authfile" : "--authfile");
    words_add(words, auth);
}

static void inspect(struct pull *pull, bool config, const char *digest,
                    void (*done)(void *owner, struct error *error, struct span output)) {
    char **words = NULL;
    scoped_string char *where = pull_address(pull, digest);
    words_add(&words, "inspect"), words_add(&words, "--raw");
    if (config) words_add(&words, "--config");
    pull_add_common(pull, &words, false);
    words_add(&words, where);
    pull->skopeo = skopeo_start(&(struct skopeo_options){.store = pull->flight.store,
                                                         .words = words,
                                                         .deadline_ms = pull->flight.store->stall_ms,
                                                         .done = done,
                                                         .owner = pull});
    words_free(words);
}

/* What a digest names has it. */
static struct error *digest_check(struct span bytes, const char *wanted, const char *what) {
    char sum[SHA256_HEX_SIZE];
    sha256_of(bytes, sum);
    if (!wanted || strcmp(sum, wanted) == 0) return NULL;
    return error_new(ERROR_DATA_LOSS, "the %s that came is sha256:%.12s, not sha256:%.12s", what, sum,
                     wanted);
}

/* ---- manifest and configuration ---- */

static struct error *config_take(struct pull *pull, struct span output, struct oci_config *config) {
    TRY_PLAIN(digest_check(output, pull->manifest.config.digest, "image's configuration"));
    TRY_PLAIN(oci_config_parse(output, config));
    return oci_fit(&pull->manifest, config);
}

static void on_config(void *owner, struct error *error, struct span output) {
    struct pull *pull = owner;
    struct oci_config config = {0};
    pull->skopeo = NULL;
    if (!error) error = config_take(pull, output, &config);
    if (error)
        pull_place_failed(pull, error);
    else
        arrive(pull, &config);
    oci_config_done(&config);
}

static void on_manifest(void *owner, struct error *error, struct span output) {
    struct pull *pull = owner;
    const char *wanted = pull->manifest_digest[0] ? pull->manifest_digest
                         : pull->reference.digest ? pull->reference.digest + 7
                                                  : NULL;
    pull->skopeo = NULL;
    struct oci_manifest manifest = {0};
    if (!error) error = digest_check(output, wanted, "manifest");
    if (!error) error = oci_manifest_parse(output, &manifest);
    if (!error && manifest.is_index && pull->manifest_digest[0])
        error = error_new(ERROR_INVALID_ARGUMENT, "its index names an index");
    if (error) {
        oci_manifest_done(&manifest);
        pull_place_failed(pull, error);
        return;
    }
    if (manifest.is_index) {
        memcpy(pull->manifest_digest, manifest.chosen.digest, SHA256_HEX_SIZE);
        oci_manifest_done(&manifest);
        inspect(pull, false, pull->manifest_digest, on_manifest);
        return;
    }
    sha256_of(output, pull->manifest_digest);
    oci_manifest_done(&pull->manifest);
    pull->manifest = manifest;
    inspect(pull, true, pull->manifest_digest, on_config);
}

static void ask_next_place(struct pull *pull) {
    if (pull->place == pull->place_count) {
        struct error *error = take(pull->error);
        if (pull->ingest)
            ingest_fail(pull->ingest, error);
        else
            pull_end(pull, error, NULL);
        return;
    }
    if (pull->ingest) { /* the manifest is known: its blobs are the same everywhere */
        arrive(pull, NULL);
        return;
    }
    pull->manifest_digest[0] = '\0';
    inspect(pull, false, NULL, on_manifest);
}

/* ---- the start ---- */

static void place_add(struct pull *pull, const char *host, const char *prefix, bool plain) {
    pull->places = mem_grow(pull->places, pull->place_count + 1, sizeof *pull->places);
    pull->places[pull->place_count++] =
        (struct place){.host = mem_string(host),
                       .repository = mem_printf("%s/%s%s", host, prefix, pull->reference.path),
                       .plain = plain};
}

static void places_make(struct pull *pull) {
    const struct image_store *store = pull->flight.store;
    const char *registry = pull->reference.registry;
    bool own = false; /* a registry's own name as its mirror only says how to speak to it */
    for (size_t i = 0; i < store->mirror_count; i++) {
        const struct mirror *mirror = &store->mirrors[i];
        if (strcmp(mirror->registry, registry) != 0) continue;
        own = own || strcmp(mirror->host, registry) == 0;
        place_add(pull, mirror->host, mirror->prefix, mirror->plain);
    }
    if (!own) place_add(pull, registry, "", false);
}

static void on_cancel(struct flight *flight) {
    struct pull *pull = CONTAINER_OF(flight, struct pull, flight);
    pull->cancelled = true;
    pull_stop_watching(pull);
    struct error *error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    if (pull->flight.result)
        error_free(error); /* it is here and being named */
    else if (pull->ingest)
        ingest_fail(pull->ingest, error);
    else
        pull_end(pull, error, NULL);
}

static void begin(void *owner) {
    struct pull *pull = owner;
    if (pull->flight.ended) return;
    struct error *error = NULL;
    if (pull->user) {
        scoped_string char *id = random_id("auth");
        pull->auth = images_path(pull->flight.store, "tmp", id);
        error = skopeo_auth_write(pull->auth, pull->reference.registry,
                                  &(struct image_credentials){pull->user, pull->password});
    }
    if (error)
        pull_end(pull, error, NULL);
    else
        ask_next_place(pull);
}

static struct flight *start(struct image_store *store, const struct image_pull *options, char *taken_normal,
                            char *taken_key) {
    struct pull *pull = NEW(struct pull);
    flight_init(&pull->flight, store, taken_key, on_cancel, pull_free);
    pull->flight.pulls = true;
    pull->normal = taken_normal;
    pull->notify_fd = -1;
    error_free(reference_parse(span_of(taken_normal), &pull->reference)); /* a normal name is one */
    if (options->credentials) {
        pull->user = mem_string(options->credentials->user);
        pull->password = mem_string(options->credentials->password);
    }
    places_make(pull);
    begin(pull);
    return &pull->flight;
}

/* A flight that only tells what is known already. */
static void nothing_cancel(struct flight *flight) {
    (void)flight;
}
static void nothing_free(struct flight *flight) {
    free(flight);
}

struct flight *flight_known(struct image_store *store, struct error *taken_error, char *taken_id) {
    struct flight *flight = NEW(struct flight);
    flight_init(flight, store, NULL, nothing_cancel, nothing_free);
    flight_end(flight, taken_error, taken_id);
    return flight;
}

struct flight *pull_flight(struct image_store *store, const struct image_pull *options) {
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    struct error *error = names_follow(store, options->name, &id, &other, &normal);
    if (!error && (other || (!id && !normal)))
        error = error_new(ERROR_INVALID_ARGUMENT, "'%s' is nothing that can be pulled", options->name);
    if (error) return flight_known(store, error, NULL);
    if (id && (!options->again || !normal)) return flight_known(store, NULL, take(id));
    const struct image_credentials *who = options->credentials;
    scoped_string char *what = mem_printf("%s %s %s", normal, who ? who->user : "", who ? who->password : "");
    char sum[SHA256_HEX_SIZE];
    sha256_of(span_of(what), sum); /* who has no right to it must not get what another's right brings */
    scoped_string char *key = mem_printf("pull %s", sum);
    struct flight *flight = flight_find(store, key);
    return flight ? flight : start(store, options, take(normal), take(key));
}

struct image_job *image_pull(struct image_store *store, const struct image_pull *pull,
                             const struct image_events *events, void *owner) {
    return flight_join_outside(pull_flight(store, pull), events, owner);
}
