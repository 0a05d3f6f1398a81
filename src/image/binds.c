/* RUN --mount=type=bind: files of the context or of another image, seen by one step and part of no layer.
 *
 *   read -> gathered and hashed by a worker (the key wants it) -> RUN, from the cache or
 *        -> copied by a worker to a directory that goes with the build -> RUN with that mounted
 * A copy rather than the place itself: it may be several layers, or files by hash; and a step that writes to
 * it writes to nobody else's. */
#include "build.h"

#include <stdlib.h>
#include <sys/stat.h>

void binds_drop(struct build *build) {
    for (size_t i = 0; i < build->bind_count; i++)
        copy_free(build->binds[i].copy), free(build->binds[i].target);
    free(take(build->binds));
    build->bind_count = 0;
    build->binds_gathered = build->binds_copied = false;
}

void binds_add(struct build *build, const char *source, const char *target, bool writable,
               const struct state *from) {
    struct copy *copy = NEW(struct copy);
    words_add(&copy->sources, source && *source ? source : ".");
    copy->to = mem_string("/");
    copy->cancelled = &build->stop;
    copy->onto = mem_array(1, sizeof *copy->onto);
    if (from) {
        copy->from = COPY_FROM_LAYERS;
        copy->layers = state_dirs(build->flight.store, from);
        copy->grafts = state_grafts(build->flight.store, from);
    } else {
        copy->directory = mem_string(build->context_directory);
        copy->files = build->files;
        if (copy->files) copy->files->references++;
    }
    build->binds = mem_grow(build->binds, build->bind_count + 1, sizeof *build->binds);
    build->binds[build->bind_count++] =
        (struct bind){.copy = copy, .target = mem_string(target), .writable = writable};
}

char *bind_source(const struct build *build, size_t index) {
    const struct copy *copy = build->binds[index].copy;
    scoped_string char *directory = mem_printf("%s/%zu", build->bind_dir, index);
    return copy->one_file ? path_join(directory, copy->items[0].relative) : mem_string(directory);
}

/* ---- workers ---- */

static void gather_work(struct io_work *work) {
    struct build *build = work->owner;
    for (size_t i = 0; i < build->bind_count && !work->error; i++)
        work->error = copy_gather(build->binds[i].copy, true, build->binds[i].sum);
}

static struct error *copy_one(const struct build *build, size_t index) {
    scoped_string char *directory = mem_printf("%s/%zu", build->bind_dir, index);
    TRY_PLAIN(dir_make(directory, 0755));
    build->binds[index].copy->into = true;
    return copy_apply(build->binds[index].copy, directory);
}

static void copy_work(struct io_work *work) {
    struct build *build = work->owner;
    for (size_t i = 0; i < build->bind_count && !work->error; i++) work->error = copy_one(build, i);
}

void binds_go_on(struct build *build, const char *result) {
    (void)result;
    struct error *error = steps_run(build, build->waiting);
    if (error)
        build_fail(build, error_wrap(error, "%s", build->what));
    else
        build_advance(build);
}

static void on_worked(struct io_work *work) {
    struct build *build = work->owner;
    struct error *error = take(work->error);
    build->working = false;
    if (build->binds_gathered) build->binds_copied = true;
    build->binds_gathered = true;
    if (!error && build->cancelled) error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    if (error)
        build_fail(build, error_wrap(error, "%s", build->what));
    else
        binds_go_on(build, NULL);
}

static void work_start(struct build *build, void (*work)(struct io_work *work)) {
    build->working = true;
    build->work = (struct io_work){.work = work, .done = on_worked, .owner = build};
    io_work_start(build->flight.store->loop, &build->work);
}

void binds_gather(struct build *build, const struct instruction *instruction) {
    build->waiting = instruction;
    work_start(build, gather_work);
}

struct error *binds_copy(struct build *build, const struct instruction *instruction) {
    build->waiting = instruction;
    if (build->bind_dir) images_trash(build->flight.store, take(build->bind_dir));
    TRY_PLAIN(draft_make(build->flight.store, &build->bind_dir));
    work_start(build, copy_work);
    return NULL;
}
