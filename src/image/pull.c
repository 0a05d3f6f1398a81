/* A pull: from a registry's name to an image.
 *
 *   inspect -> (an index: inspect again) -> config -> copy -> unpacked -> named
 * skopeo asks and copies. What is here already is not fetched: when the image is known after `config` that is
 * the end, and for layers that are here skopeo finds a file of the right length (all hole) where it would put
 * the blob, and goes on. Blobs arrive by rename, are seen by inotify and unpacked while others still come. A
 * registry that fails is told and the next place is asked: mirrors first, the registry itself last. Nothing
 * for `stall_ms`: the pull ends with a word about it. Blobs that came stay in pulls/MANIFEST for the next
 * try. */
#include "ingest.h"
#include "skopeo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>

enum { LOOK_MS_MAX = 1000, SAY_MS = 5000 };

struct place {               /* where to ask */
    char *host, *repository; /* HOST/PREFIX/path */
    bool plain;
};
struct pull {
    struct flight flight;
    struct reference reference;
    char *normal, *user, *password;
    struct place *places;
    size_t place_count, place;
    struct skopeo *skopeo;
    char *auth; /* a file, removed at the end; NULL: none of our own */
    char manifest_digest[SHA256_HEX_SIZE];
    struct oci_manifest manifest;
    struct ingest *ingest;
    char *dir, *blobs; /* pulls/MANIFEST, .../blobs/sha256 */
    int notify_fd;
    struct io_watch *notify;
    struct io_timer *look;
    uint64_t seen_bytes, total_bytes;
    int64_t changed_ms, said_ms;
    struct error *error; /* of the places that failed */
    bool cancelled;
};

static void ask_next_place(struct pull *pull);

/* ---- the end ---- */

static void stop_watching(struct pull *pull) {
    io_watch_free(take(pull->notify));
    scoped_fd_close(&pull->notify_fd);
    pull->notify_fd = -1;
    io_timer_free(take(pull->look));
    skopeo_free(take(pull->skopeo));
}

static void pull_free(struct flight *flight) {
    struct pull *pull = CONTAINER_OF(flight, struct pull, flight);
    stop_watching(pull);
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
static void pull_end(struct pull *pull, struct error *error, char *taken_id) {
    stop_watching(pull);
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

static void name_it(struct pull *pull, char *taken_id) {
    names_set(pull->flight.store, pull->normal, taken_id);
    pull->flight.result = taken_id; /* so that it is kept until it is told */
    names_save(pull->flight.store, on_named, pull);
}

static bool better_known(enum error_code code) {
    return code == ERROR_NOT_FOUND || code == ERROR_UNAUTHENTICATED || code == ERROR_PERMISSION_DENIED;
}

/* One place did not have it. Words of all are kept; the code is that of who knew best. */
static void place_failed(struct pull *pull, struct error *taken_error) {
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

static char *address(const struct pull *pull, const char *digest) {
    const struct place *place = &pull->places[pull->place];
    if (digest) return mem_printf("docker://%s@sha256:%s", place->repository, digest);
    if (pull->reference.digest)
        return mem_printf("docker://%s@%s", place->repository, pull->reference.digest);
    return mem_printf("docker://%s:%s", place->repository, pull->reference.tag);
}

static void add_common(const struct pull *pull, char ***words, bool source) {
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
    scoped_string char *where = address(pull, digest);
    words_add(&words, "inspect"), words_add(&words, "--raw");
    if (config) words_add(&words, "--config");
    add_common(pull, &words, false);
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
        place_failed(pull, error_new(ERROR_DEADLINE_EXCEEDED,
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
        name_it(pull, taken_id);
}

static void on_copied(void *owner, struct error *error, struct span output) {
    struct pull *pull = owner;
    (void)output;
    pull->skopeo = NULL;
    io_timer_free(take(pull->look));
    if (error) {
        place_failed(pull, error);
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
    scoped_string char *from = address(pull, pull->manifest_digest),
                       *to = mem_printf("oci:%s/layout:x", pull->dir);
    scoped_string char *shared = path_join(pull->dir, "blobs");
    words_add(&words, "copy"), words_add(&words, "--dest-oci-accept-uncompressed-layers");
    words_add(&words, "--dest-shared-blob-dir"), words_add(&words, shared);
    add_common(pull, &words, true);
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
static void copy(struct pull *pull, struct oci_config *config) {
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
        place_failed(pull, error);
    else
        copy(pull, &config);
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
        place_failed(pull, error);
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
        copy(pull, NULL);
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
    stop_watching(pull);
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
