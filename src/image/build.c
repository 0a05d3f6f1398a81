/* A build: stages of instructions, one after the other, to an image.
 *
 *   FROM (pulled, or another stage, or scratch) -> instruction -> ... -> the last one of the target ->
 * recorded -> named Each instruction either changes the configuration at once, or makes a layer: from the
 * cache, or by a step that others may wait for too. What is under way is one job, one worker, or one saving
 * of names; whatever ends it calls `build_advance` or `build_fail`. */
#include "build.h"

#include <stdlib.h>

enum { SHOWN = 200 };

struct stage *build_stage(struct build *build) {
    return &build->stages[build->stage];
}

/* ---- the end ---- */

static void build_free(struct flight *flight) {
    struct build *build = CONTAINER_OF(flight, struct build, flight);
    for (size_t i = 0; i < build->stage_count; i++) {
        free(build->stages[i].name);
        state_done(&build->stages[i].state);
        pairs_done(&build->stages[i].args);
    }
    free(build->stages);
    struct pairs *lists[] = {&build->globals, &build->given, &build->bases, &build->secrets};
    for (size_t i = 0; i < COUNT(lists); i++) pairs_done(lists[i]);
    dockerfile_done(&build->dockerfile);
    copy_files_unref(build->files);
    copy_free(build->copy);
    free(build->context_directory), free(build->user), free(build->password), free(build->name);
    free(build->what), free(build->record), free(build->images_dir);
    binds_drop(build);
    if (build->bind_dir) images_trash(flight->store, build->bind_dir);
    for (char **path = build->scratch; path && *path; path++) images_trash(flight->store, *path);
    free(build->bind_dir), words_free(build->scratch);
    free(build);
}

void build_fail(struct build *build, struct error *taken_error) {
    if (build->flight.ended) {
        error_free(taken_error);
        return;
    }
    flight_end(&build->flight, taken_error, NULL);
}

static void on_cancel(struct flight *flight) {
    struct build *build = CONTAINER_OF(flight, struct build, flight);
    build->cancelled = true;
    atomic_store(&build->stop, true);
    image_job_cancel(take(build->job));
    if (!build->working && !flight->result)
        build_fail(build, error_new(ERROR_CANCELLED, "nobody waits for it any more"));
}

/* ---- what must not be pruned meanwhile ---- */

static void hold(struct build *build) {
    words_free(build->flight.holds);
    build->flight.holds = NULL;
    for (size_t i = 0; i < build->stage_count; i++)
        for (char **layer = build->stages[i].state.layers; layer && *layer; layer++)
            words_add(&build->flight.holds, *layer);
}

/* ---- waiting for others' work ---- */

static void on_job_line(void *owner, struct span text) {
    struct build *build = owner;
    flight_say_span(&build->flight, text);
}

static void on_job_ended(void *owner, struct error *error, const char *result) {
    struct build *build = owner;
    build->job = NULL;
    if (error)
        build_fail(build, error);
    else
        build->after(build, result);
}

void build_wait(struct build *build, struct flight *flight,
                void (*after)(struct build *build, const char *result)) {
    build->after = after;
    build->job = flight_join(flight, on_job_line, on_job_ended, build);
}

void build_pull(struct build *build, const char *name,
                void (*after)(struct build *build, const char *result)) {
    const struct pair *base = pairs_find(&build->bases, name);
    const struct image_credentials credentials = {build->user, build->password};
    build_wait(build,
               pull_flight(build->flight.store,
                           &(struct image_pull){
                               .name = base ? base->value : name,
                               .credentials = build->credentials ? &credentials : NULL,
                           }),
               after);
}

/* ---- layers ---- */

static void layer_take(struct build *build, const char *layer) {
    words_add(&build_stage(build)->state.layers, layer);
    hold(build);
}

static void on_step(struct build *build, const char *result) {
    layer_take(build, result);
    build_advance(build);
}

bool build_knows(struct build *build, const char *key) {
    scoped_string char *known = build->force ? NULL : built_find(build->flight.store, key);
    return known != NULL;
}

/* From inside an instruction's handling: who called goes on when there is no job. */
void build_step(struct build *build, const struct step_wanted *wanted, const char *key) {
    struct image_store *store = build->flight.store;
    scoped_string char *known = build->force ? NULL : built_find(store, key);
    if (known) {
        flight_say(&build->flight, "%s (cached)", build->what);
        layer_used(store, known);
        copy_free(wanted->copy);
        layer_take(build, known);
        build->after = NULL;
        build_advance(build); /* nothing, where it is under way */
        return;
    }
    if (wanted->kind != STEP_DIRECTORY) flight_say(&build->flight, "%s", build->what);
    struct step_wanted full = *wanted;
    full.onto = &build_stage(build)->state;
    full.key = key;
    full.force = build->force;
    full.what = build->what;
    build_wait(build, step_flight(store, &full), on_step);
}

/* ---- FROM ---- */

static void on_base(struct build *build, const char *result) {
    struct error *error = state_of_image(build->flight.store, result, &build_stage(build)->state);
    if (error) {
        build_fail(build, error);
        return;
    }
    hold(build);
    build_advance(build);
}

static struct error *from(struct build *build) {
    struct stage *stage = build_stage(build);
    scoped_string char *name = NULL, *id = NULL, *other = NULL, *normal = NULL;
    struct variables variables = global_variables(build);
    struct span rest = span_of(stage->from->text), word = span_cut(&rest, ' ');
    TRY_PLAIN(word_expand(word, build->dockerfile.escape, &variables, &name));
    if (!*name) return error_new(ERROR_INVALID_ARGUMENT, "FROM: the name of the image is empty");
    const struct pair *base = pairs_find(&build->bases, name);
    size_t earlier = base ? build->stage_count : recipe_stage_find(build, name, build->stage);
    if (earlier < build->stage_count) {
        state_copy(&build->stages[earlier].state, &stage->state);
        return NULL;
    }
    TRY_PLAIN(names_follow(build->flight.store, base ? base->value : name, &id, &other, &normal));
    if (other && other[0] == '/')
        return error_new(ERROR_INVALID_ARGUMENT,
                         "FROM %s: a directory is no base; import it as a tar: catnap image import", name);
    if (other) {
        stage->state.host = strcmp(other, "host") == 0;
        return NULL;
    }
    build_pull(build, name, on_base);
    return NULL;
}

/* ---- the image ---- */

static void on_named(void *owner, struct error *error) {
    struct build *build = owner;
    char *id = build->flight.result;
    build->flight.result = NULL;
    if (error) free(take(id));
    flight_end(&build->flight, error, id);
}

static void record_work(struct io_work *work) {
    struct build *build = work->owner;
    work->error = image_record_write(build->images_dir, build->id, build->record);
}

static void on_recorded(struct io_work *work) {
    struct build *build = work->owner;
    struct image_store *store = build->flight.store;
    struct error *error = take(work->error);
    build->working = false;
    if (!error) image_record_add(store, build->id, build->record, &error);
    if (error) {
        build_fail(build, error);
        return;
    }
    flight_say(&build->flight, "built image %.12s", build->id);
    build->flight.result = mem_string(build->id);
    if (!build->name) {
        on_named(build, NULL);
        return;
    }
    names_set(store, build->name, build->id);
    names_save(store, on_named, build);
}

static void record(struct build *build) {
    const struct state *state = &build->stages[build->target].state;
    build->images_dir = images_path(build->flight.store, "images", NULL);
    build->record = image_record_text(&state->config, state->layers, state->host, "built", build->id);
    build->working = true;
    build->work = (struct io_work){.work = record_work, .done = on_recorded, .owner = build};
    io_work_start(build->flight.store->loop, &build->work);
}

/* ---- the journey ---- */

static void say_what(struct build *build, const struct instruction *instruction) {
    scoped_text struct text text = {0};
    text_printf(&text, "[%zu/%zu] %s", ++build->done, build->all, keyword_name(instruction->keyword));
    for (char **flag = instruction->flags; flag && *flag; flag++) text_printf(&text, " %s", *flag);
    text_printf(&text, " %.*s%s", SHOWN, instruction->text, strlen(instruction->text) > SHOWN ? "..." : "");
    free(build->what);
    build->what = text_take(&text);
}

/* An instruction that only changes the configuration is done when this returns; for others a job or a worker
 * is under way. */
static struct error *carry_out(struct build *build, const struct instruction *instruction) {
    bool handled;
    say_what(build, instruction);
    TRY_PLAIN(evaluate(build, instruction, &handled));
    if (handled) return NULL;
    switch (instruction->keyword) {
    case KEYWORD_RUN: return steps_run(build, instruction);
    case KEYWORD_WORKDIR: return steps_workdir(build, instruction);
    default: return steps_copy(build, instruction);
    }
}

static struct error *begin_stage(struct build *build) {
    struct stage *stage = build_stage(build);
    say_what(build, stage->from);
    flight_say(&build->flight, "%s", build->what);
    build->next = stage->first;
    return from(build);
}

static bool waits(const struct build *build) {
    return build->job || build->working || build->copy || build->flight.ended;
}

void build_advance(struct build *build) {
    if (build->advancing) return; /* it came from within: the loop below goes on by itself */
    build->advancing = true;
    while (!waits(build)) {
        struct stage *stage = build_stage(build);
        const struct instruction *instruction = stage->from;
        struct error *error = NULL;
        if (!stage->needed || (stage->begun && build->next == stage->end)) {
            if (build->stage == build->target) {
                record(build);
                break;
            }
            build->stage++;
            continue;
        }
        if (!stage->begun) {
            stage->begun = true;
            error = begin_stage(build);
        } else {
            instruction = &build->dockerfile.instructions[build->next++];
            error = carry_out(build, instruction);
        }
        if (error) build_fail(build, error_wrap(error, "%s:%u", build->dockerfile.name, instruction->line));
    }
    build->advancing = false;
}

/* ---- the start ---- */

static void pairs_take(struct pairs *to, const struct image_pair *from, size_t count) {
    for (size_t i = 0; i < count; i++) pairs_set(to, from[i].name, from[i].value);
}

static struct error *prepare(struct build *build, const struct image_build *options) {
    const char *file = options->file_name ? options->file_name : "Dockerfile";
    pairs_take(&build->given, options->args, options->arg_count);
    pairs_take(&build->bases, options->bases, options->base_count);
    pairs_take(&build->secrets, options->secrets, options->secret_count);
    if (options->name) TRY_PLAIN(reference_normal(options->name, &build->name));
    TRY_PLAIN(dockerfile_parse(span_of(options->commands), file, &build->dockerfile));
    TRY_PLAIN(recipe_stages(build, options->target));
    if (options->context.file_count > 0)
        TRY(copy_files_new(build->flight.store->blobs, options->context.files, options->context.file_count,
                           &build->files),
            "the context");
    return NULL;
}

struct image_job *image_build(struct image_store *store, const struct image_build *options,
                              const struct image_events *events, void *owner) {
    struct build *build = NEW(struct build);
    flight_init(&build->flight, store, NULL, on_cancel, build_free);
    build->context_directory = mem_string(options->context.directory);
    build->force = options->force;
    build->credentials = options->credentials;
    if (options->credentials) {
        build->user = mem_string(options->credentials->user);
        build->password = mem_string(options->credentials->password);
    }
    struct image_job *job = flight_join_outside(&build->flight, events, owner);
    struct error *error = prepare(build, options);
    if (error)
        build_fail(build, error);
    else
        build_advance(build);
    return job;
}
