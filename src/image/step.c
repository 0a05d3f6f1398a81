/* From a draft to a layer, by running or copying.
 *
 *   RUN:   draft -> the runner's container writes in it -> sealed        COPY, WORKDIR: draft -> written by a
 * worker -> sealed `sealed` is a worker's: cleaned, measured, on the disk, named, and noted under its key.
 * Who asks for the same key at once joins. A layer's id is made by chance: a step that is run again may come
 * out otherwise, and what was built on the old one stays valid. */
#include "step.h"

#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { TAIL_BYTES = 4096, DISK_FULL_BYTES = 1 << 20 };

struct step {
    struct flight flight;
    enum step_kind kind;
    char *key, *what, *draft, *layers_dir, *cache_file;
    char layer[SHA256_HEX_SIZE];
    struct image_layers onto;
    char **lower; /* the same directories, for workers */
    struct copy *copy;
    char *directory, *owner;
    char **secret_files; /* paths, removed at the end */
    void *run;           /* the runner's; NULL: not running */
    struct text tail;
    struct io_work work;
    bool working, cancelled;
    atomic_bool stop;
    uint64_t bytes;
};

/* ---- state ---- */

void state_copy(const struct state *from, struct state *ret_to) {
    *ret_to = (struct state){.layers = words_copy(from->layers), .host = from->host};
    image_config_copy(&from->config, &ret_to->config);
}

void state_done(struct state *state) {
    words_free(state->layers);
    image_config_done(&state->config);
    *state = (struct state){0};
}

struct error *state_of_image(struct image_store *store, const char *id, struct state *ret_state) {
    const struct record *record = map_get(store->records, span_of(id));
    if (!record) return error_new(ERROR_NOT_FOUND, "image %s is not here any more", id);
    *ret_state = (struct state){.layers = words_copy(record->layers), .host = record->host};
    image_config_copy(&record->image.config, &ret_state->config);
    return NULL;
}

char **state_dirs(const struct image_store *store, const struct state *state) {
    size_t count = words_count(state->layers);
    char **dirs = mem_array(count + 2, sizeof *dirs);
    for (size_t i = 0; i < count; i++)
        dirs[i] = mem_printf("%s/layers/%s/fs", store->dir, state->layers[count - 1 - i]);
    if (state->host)
        dirs[count] = mem_string(store->host);
    else if (count == 0)
        dirs[0] = images_path(store, "empty", NULL);
    return dirs;
}

char **state_grafts(const struct image_store *store, const struct state *state) {
    return state->host ? words_copy(store->grafts) : NULL;
}

static void add_words(struct sha256 *sum, const char *what, char *const *words) {
    sha256_add(sum, what, strlen(what) + 1);
    for (; words && *words; words++) sha256_add(sum, *words, strlen(*words) + 1);
    sha256_add(sum, "", 1);
}

void state_hash(const struct state *state, struct sha256 *sum) {
    char *others[] = {state->config.workdir ? state->config.workdir : "/",
                      state->config.user ? state->config.user : "0", NULL};
    add_words(sum, state->host ? "host" : "layers", state->layers);
    add_words(sum, "env", state->config.env);
    add_words(sum, "shell", state->config.shell);
    add_words(sum, "others", others);
}

/* ---- the end ---- */

static void step_free(struct flight *flight) {
    struct step *step = CONTAINER_OF(flight, struct step, flight);
    copy_free(step->copy);
    image_layers_done(&step->onto);
    words_free(step->lower), words_free(step->secret_files);
    free(step->key), free(step->what), free(step->draft), free(step->layers_dir), free(step->cache_file);
    free(step->directory), free(step->owner);
    text_done(&step->tail);
    free(step);
}

static void step_end(struct step *step, struct error *error) {
    for (char **file = step->secret_files; file && *file; file++) (void)unlink(*file);
    if (step->draft) images_trash(step->flight.store, step->draft);
    if (!error) layer_added(step->flight.store, step->layer, step->bytes);
    flight_end(&step->flight, error, error ? NULL : mem_string(step->layer));
}

/* ---- sealing ---- */

static struct error *cancelled_error(void) {
    return error_new(ERROR_CANCELLED, "nobody waits for it any more");
}

static struct error *write_and_seal(struct step *step) {
    scoped_string char *upper = path_join(step->draft, "u");
    if (step->kind == STEP_COPY) {
        char sum[SHA256_HEX_SIZE];
        if (!step->copy->items) TRY_PLAIN(copy_gather(step->copy, false, sum));
        TRY_PLAIN(copy_apply(step->copy, upper));
    } else if (step->kind == STEP_DIRECTORY) {
        TRY_PLAIN(
            copy_make_directory(&(struct tree){step->lower, words_count(step->lower), step->onto.grafts},
                                upper, step->directory, step->owner));
    } else {
        draft_clean(step->draft, step->lower, words_count(step->lower));
    }
    if (atomic_load(&step->stop)) return cancelled_error();
    TRY_PLAIN(layer_seal(step->draft, step->layers_dir, step->layer, &step->bytes));
    return file_replace(step->cache_file, span_of(step->layer), 0600);
}

static void seal_work(struct io_work *work) {
    work->error = write_and_seal(work->owner);
}

static void on_sealed(struct io_work *work) {
    struct step *step = work->owner;
    struct error *error = take(work->error);
    step->working = false;
    if (error) error = error_wrap(error, "%s", step->what);
    step_end(step, error);
}

static void seal_begin(struct step *step) {
    step->working = true;
    step->work = (struct io_work){.work = seal_work, .done = on_sealed, .owner = step};
    io_work_start(step->flight.store->loop, &step->work);
}

/* ---- running ---- */

static void on_line(void *owner, struct span text) {
    struct step *step = owner;
    flight_say_span(&step->flight, text);
    text_add(&step->tail, text);
    text_add_char(&step->tail, '\n');
    if (step->tail.size <= TAIL_BYTES) return;
    const char *cut = memchr(step->tail.data + step->tail.size - TAIL_BYTES, '\n', TAIL_BYTES);
    text_remove_front(&step->tail, (size_t)(cut - step->tail.data) + 1);
}

static struct error *end_error(const struct step *step, const struct image_step_end *end) {
    if (end->exit_code == 0) return NULL;
    scoped_text struct text text = {0};
    if (end->out_of_memory)
        text_add_string(&text, "it was killed: out of memory");
    else if (end->signal)
        text_printf(&text, "it was ended by signal %d", end->signal);
    else
        text_printf(&text, "it exited with code %d", end->exit_code);
    struct statvfs disk;
    if (statvfs(step->draft, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < DISK_FULL_BYTES)
        text_add_string(&text, "; the disk that images lie on is full (No space left on device)");
    if (step->tail.size) text_printf(&text, "; its last lines:\n%s", step->tail.data);
    while (text.size && text.data[text.size - 1] == '\n') text.data[--text.size] = '\0';
    return error_new(ERROR_FAILED_PRECONDITION, "%s: %s", step->what, text.data);
}

static void on_run_done(void *owner, const struct image_step_end *end) {
    struct step *step = owner;
    struct error *error = end->error;
    step->run = NULL;
    if (step->cancelled) {
        error_free(error);
        error = cancelled_error();
    } else if (error) {
        error = error_wrap(error, "%s: it could not be run", step->what);
    } else {
        error = end_error(step, end);
    }
    if (error)
        step_end(step, error);
    else
        seal_begin(step);
}

/* A file that only this step's container sees: on a tmpfs where there is one, removed at its end. */
static struct error *secret_write(struct step *step, const char *content, char **ret_path) {
    scoped_string char *id = random_id(step->flight.store->secrets);
    struct stat at;
    char *path = stat("/dev/shm", &at) == 0 && S_ISDIR(at.st_mode) ? path_join("/dev/shm", id)
                                                                   : path_join(step->draft, id);
    words_add(&step->secret_files, path);
    *ret_path = path;
    scoped_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t size = strlen(content);
    return fd < 0 || write(fd, content, size) != (ssize_t)size ? error_errno(errno, "write a secret's file")
                                                               : NULL;
}

struct mounts {
    struct image_mount *mount;
    size_t count;
};

static void mount_add(struct mounts *mounts, const char *source, const char *destination, bool read_only) {
    mounts->mount = mem_grow(mounts->mount, mounts->count + 1, sizeof *mounts->mount);
    mounts->mount[mounts->count++] =
        (struct image_mount){mem_string(source), mem_string(destination), read_only, NULL};
}

static struct error *mounts_make(struct step *step, const struct step_wanted *wanted, struct mounts *mounts) {
    const struct machine *machine = step->flight.store->machine;
    for (size_t i = 0; i < machine->mount_count; i++)
        mount_add(mounts, machine->mounts[i].source, machine->mounts[i].destination, true);
    for (size_t i = 0; i < wanted->mount_count; i++)
        mount_add(mounts, wanted->mounts[i].source, wanted->mounts[i].destination,
                  wanted->mounts[i].read_only);
    if (wanted->script) {
        scoped_string char *path = path_join(step->draft, "script");
        TRY_PLAIN(file_replace(path, span_of(wanted->script), 0755));
        mount_add(mounts, path, "/.catnap/script", true);
    }
    for (size_t i = 0; i < wanted->secret_count; i++) {
        scoped_string char *path = NULL;
        TRY_PLAIN(secret_write(step, wanted->secret_files[i].value, &path));
        mount_add(mounts, path, wanted->secret_files[i].name, true);
    }
    return NULL;
}

/* What the machine says counts only for names that nobody set. */
static char **env_make(const struct step *step, char *const *env) {
    char **all = words_copy(env);
    for (char **variable = step->flight.store->machine->env; variable && *variable; variable++) {
        struct span value = span_of(*variable), name = span_cut(&value, '=');
        scoped_string char *name_text = span_string(name);
        if (!words_env(all, name_text)) words_add(&all, *variable);
    }
    return all;
}

static struct error *run_begin(struct step *step, const struct step_wanted *wanted) {
    static const struct image_step_events events = {on_line, on_run_done};
    const struct image_runner *runner = step->flight.store->runner;
    if (!runner)
        return error_new(ERROR_UNIMPLEMENTED, "%s: there is nothing here that runs containers", step->what);
    struct mounts mounts = {0};
    struct error *error = mounts_make(step, wanted, &mounts);
    char **env = env_make(step, wanted->env);
    if (!error)
        step->run =
            runner->run(runner->owner,
                        &(struct image_step){
                            .layers = &step->onto,
                            .upper = step->draft,
                            .argv = (const char *const *)wanted->argv,
                            .env = (const char *const *)env,
                            .workdir = wanted->onto->config.workdir ? wanted->onto->config.workdir : "/",
                            .user = wanted->onto->config.user,
                            .network = wanted->network,
                            .mounts = mounts.mount,
                            .mount_count = mounts.count,
                        },
                        &events, step);
    for (size_t i = 0; i < mounts.count; i++)
        free((char *)mounts.mount[i].source), free((char *)mounts.mount[i].destination);
    free(mounts.mount);
    words_free(env);
    return error;
}

/* ---- the start ---- */

static void on_cancel(struct flight *flight) {
    struct step *step = CONTAINER_OF(flight, struct step, flight);
    step->cancelled = true;
    atomic_store(&step->stop, true);
    if (step->run) flight->store->runner->cancel(flight->store->runner->owner, step->run);
}

static struct error *begin(struct step *step, const struct step_wanted *wanted) {
    struct image_store *store = step->flight.store;
    if (store->quota_bytes && store->used_bytes >= store->quota_bytes) {
        (void)image_prune(store, NULL);
        if (store->used_bytes >= store->quota_bytes)
            return error_new(ERROR_RESOURCE_EXHAUSTED,
                             "%s: images take %llu MB, all that `image_disk` allows; `catnap image prune "
                             "--all` frees what no app uses",
                             step->what, (unsigned long long)(store->used_bytes >> 20));
    }
    if (words_count(wanted->onto->layers) >= LAYERS_MAX)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "%s: the image would have more than %d layers; join some RUN or COPY lines",
                         step->what, LAYERS_MAX);
    TRY_PLAIN(draft_make(store, &step->draft));
    if (step->kind == STEP_RUN) return run_begin(step, wanted);
    seal_begin(step);
    return NULL;
}

static void layer_id(const char *key, char ret_id[SHA256_HEX_SIZE]) {
    scoped_string char *chance = random_id(key);
    sha256_of(span_of(chance), ret_id);
}

struct flight *step_flight(struct image_store *store, const struct step_wanted *wanted) {
    scoped_string char *key = mem_printf("step %s", wanted->key);
    struct flight *flight = wanted->force ? NULL : flight_find(store, key);
    if (flight) {
        copy_free(wanted->copy);
        return flight;
    }
    struct step *step = NEW(struct step);
    flight_init(&step->flight, store, wanted->force ? NULL : take(key), on_cancel, step_free);
    step->kind = wanted->kind;
    step->key = mem_string(wanted->key);
    step->what = mem_string(wanted->what);
    step->layers_dir = images_path(store, "layers", NULL);
    step->cache_file = built_path(store, wanted->key);
    step->lower = state_dirs(store, wanted->onto);
    step->onto = (struct image_layers){.layer = words_copy(step->lower),
                                       .count = words_count(step->lower),
                                       .grafts = state_grafts(store, wanted->onto)};
    step->copy = wanted->copy;
    if (step->copy) step->copy->cancelled = &step->stop;
    step->directory = mem_string(wanted->directory);
    step->owner = mem_string(wanted->owner);
    step->flight.holds = words_copy(wanted->onto->layers);
    layer_id(wanted->key, step->layer);
    struct error *error = begin(step, wanted);
    if (error) step_end(step, error);
    return &step->flight;
}
