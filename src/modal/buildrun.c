/* buildrun: a layer made by a function of the user's: run once, in a container of the image so far, with its
 * secrets, volumes and mounts; what it wrote is the layer.
 *
 * The container is a step of the image room's kind, its upper a draft; in it runs the client's own
 * entrypoint, which fetches its one input over a socket as ever. It ends by itself after that input, and only
 * a good answer and a good end make a layer. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

#define SUCCESS MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS

struct buildrun {
    struct list node; /* of modal->buildruns */
    struct modal *modal;
    struct modal_image *image;
    struct function *function;
    char *base;
    struct image_draft *draft;
    struct image_job *job;
    void *run; /* of the runner */
    struct task *task;
    struct call *call;
    struct error *error; /* what the function raised */
    bool answered, cancelled;
};

static void buildrun_free(struct buildrun *run) {
    list_remove(&run->node);
    image_draft_free(run->draft);
    error_free(run->error);
    if (run->call) call_free(run->call);
    free(run->base);
    free(run);
}

void buildruns_cancel(struct modal *modal) {
    LIST_EACH_SAFE(node, next, &modal->buildruns) {
        struct buildrun *run = CONTAINER_OF(node, struct buildrun, node);
        const struct image_runner *runner = node_image_runner(modal->node);
        run->cancelled = true;
        if (run->run) runner->cancel(runner->owner, run->run);
        if (run->job) {
            image_job_cancel(run->job);
            buildrun_free(run);
        }
    }
}

/* ---- the end ---- */

static void end(struct buildrun *run, const char *name, struct error *error) {
    image_built(run->modal, run->image, name, error);
    buildrun_free(run);
}

static void on_committed(void *owner, struct error *error, const struct image *image) {
    struct buildrun *run = owner;
    scoped_string char *name = image ? mem_printf("sha256:%s", image->id) : NULL;
    run->job = NULL;
    end(run, name, error);
}

static void on_line(void *owner, struct span text) {
    struct buildrun *run = owner;
    image_say(run->image, text);
}

/* The function's answer: kept until the container has ended too. */
static void on_answer(void *owner, const struct input *input) {
    struct buildrun *run = owner;
    Modal__GenericResult *result =
        modal__generic_result__unpack(NULL, input->result.size, (const uint8_t *)input->result.data);
    run->answered = true;
    if (!result || result->status != SUCCESS)
        run->error = error_new(ERROR_FAILED_PRECONDITION, "%s",
                               result && result->exception && *result->exception ? result->exception
                                                                                 : "the function failed");
    if (result) modal__generic_result__free_unpacked(result, NULL);
}

static struct error *why_it_failed(struct buildrun *run, const struct image_step_end *step) {
    if (step->error) return step->error;
    if (run->error) return take(run->error);
    if (run->task && run->task->exception)
        return error_new(ERROR_FAILED_PRECONDITION, "%s", run->task->exception);
    if (step->out_of_memory)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "the function took more memory than it may");
    if (step->signal)
        return error_new(ERROR_FAILED_PRECONDITION, "the function's container was ended by signal %d",
                         step->signal);
    if (step->exit_code != 0 || !run->answered)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "the function's container exited with code %d before it was done", step->exit_code);
    return NULL;
}

static void on_ended(void *owner, const struct image_step_end *step) {
    static const struct image_events events = {on_line, on_committed};
    struct buildrun *run = owner;
    run->run = NULL;
    struct error *error = why_it_failed(run, step);
    task_build_done(take(run->task));
    if (run->cancelled) {
        error_free(error);
        buildrun_free(run);
        return;
    }
    if (error) {
        end(run, NULL, error);
        return;
    }
    run->job = image_draft_commit(take(run->draft), run->image->key, &events, run);
}

/* ---- the beginning ---- */

struct setting { /* of the step; owned */
    struct image_layers layers;
    char **env;
    struct image_mount *mounts;
    size_t mount_count;
};

static void setting_done(struct setting *setting) {
    image_layers_done(&setting->layers);
    for (size_t i = 0; setting->env && setting->env[i]; i++) free(setting->env[i]);
    free(setting->env);
    for (size_t i = 0; i < setting->mount_count; i++) free((char *)setting->mounts[i].source);
    free(setting->mounts);
}

static bool told(const struct core_function *core, const char *pair) {
    const char *equals = strchr(pair, '=');
    size_t size = equals ? (size_t)(equals - pair) : strlen(pair);
    for (size_t i = 0; i < core->env_count; i++)
        if (strlen(core->env[i].name) == size && strncmp(core->env[i].name, pair, size) == 0) return true;
    return false;
}

static void env_of(const struct core_function *core, const struct image_config *config,
                   struct setting *setting) {
    size_t theirs = 0, count = 0;
    while (config->env && config->env[theirs]) theirs++;
    setting->env = mem_array(core->env_count + theirs + 3, sizeof *setting->env);
    bool path = false;
    for (size_t i = 0; i < theirs; i++) {
        path |= strncmp(config->env[i], "PATH=", 5) == 0;
        if (!told(core, config->env[i])) setting->env[count++] = mem_string(config->env[i]);
    }
    if (!path)
        setting->env[count++] =
            mem_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for (size_t i = 0; i < core->env_count; i++)
        setting->env[count++] = mem_printf("%s=%s", core->env[i].name, core->env[i].value);
}

/* The function's mounts lie above the image; what is written goes above both, and only that is the layer. */
static struct error *layers_of(struct modal *modal, const char *base, const struct core_function *core,
                               struct setting *setting) {
    TRY_PLAIN(image_resolve(modal->images_room, base, &setting->layers));
    struct image_layers *layers = &setting->layers;
    struct span rest = span_of(core->overlay);
    size_t below = layers->count, added = 0;
    while (rest.data) {
        struct span one = span_cut(&rest, ':');
        if (one.size == 0) continue;
        layers->layer = mem_grow(layers->layer, layers->count + 2, sizeof *layers->layer);
        memmove(layers->layer + added + 1, layers->layer + added,
                (layers->count - added) * sizeof *layers->layer);
        layers->layer[added++] = span_string(one);
        layers->layer[++layers->count] = NULL;
    }
    (void)below;
    return NULL;
}

static struct error *mounts_of(struct modal *modal, const struct core_function *core,
                               struct setting *setting) {
    setting->mounts = mem_array(core->volume_count + 1, sizeof *setting->mounts);
    for (size_t i = 0; i < core->volume_count; i++) {
        char *source = NULL;
        TRY_PLAIN(volume_directory(modal->volumes_room, &core->volumes[i], &source));
        setting->mounts[setting->mount_count++] = (struct image_mount){
            source, core->volumes[i].path, core->volumes[i].read_only, core->volumes[i].sub_path};
    }
    return NULL;
}

static struct error *run_step(struct buildrun *run, struct core_function *core) {
    static const struct image_step_events events = {on_line, on_ended};
    struct modal *modal = run->modal;
    const struct image_runner *runner = node_image_runner(modal->node);
    struct setting setting = {0};
    struct error *error = layers_of(modal, run->base, core, &setting);
    if (!error) error = mounts_of(modal, core, &setting);
    if (!error) {
        env_of(core, &setting.layers.config, &setting);
        const struct image_step step = {
            .layers = &setting.layers,
            .upper = image_draft_upper(run->draft),
            .argv = (const char *const *)core->command,
            .env = (const char *const *)setting.env,
            .workdir = core->workdir,
            .network = core->network == CORE_NETWORK_NONE ? IMAGE_NETWORK_NONE : IMAGE_NETWORK_OUTBOUND,
            .mounts = setting.mounts,
            .mount_count = setting.mount_count,
        };
        run->run = runner->run(runner->owner, &step, &events, run);
    }
    setting_done(&setting);
    return error;
}

static struct error *start(struct buildrun *run, struct span input) {
    struct modal *modal = run->modal;
    scoped(core_function) struct core_function *core = NULL;
    TRY_PLAIN(image_draft_new(modal->images_room, run->base, &run->draft));
    TRY_PLAIN(definition_core(run->function, run->function->staged, &core));
    TRY_PLAIN(task_build_new(modal, run->function, core, &run->task));
    run->call = call_new(run->modal, run->function, MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_UNARY);
    run->call->on_done = on_answer;
    run->call->owner = run;
    struct input *made = call_add(run->call, 0, input);
    made->final = true; /* it ends after this one */
    task_assign(run->task, made);
    return run_step(run, core);
}

void buildrun_start(struct modal *modal, struct modal_image *image, const char *base,
                    struct function *function, struct span input) {
    const struct image *there = image_draft_find(modal->images_room, base, image->key);
    if (there) {
        scoped_string char *name = mem_printf("sha256:%s", there->id);
        image_say(image, SPAN("cached"));
        image_built(modal, image, name, NULL);
        return;
    }
    struct buildrun *run = NEW(struct buildrun);
    *run = (struct buildrun){.modal = modal, .image = image, .function = function, .base = mem_string(base)};
    list_append(&modal->buildruns, &run->node);
    struct error *error = start(run, input);
    if (!error) return;
    task_build_done(take(run->task));
    end(run, NULL, error);
}
