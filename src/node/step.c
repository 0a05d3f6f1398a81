/* step: one RUN of a build in a container, as the image room wants it.
 *
 * An ordinary container without a port: its upper is a directory that stays, its environment is as given, its
 * log is read while it grows and removed at the end. It is nobody's function: its app has a name that no app
 * can have, and what a killed daemon left of it is ended at adoption. */
#include "inside.h"
#include "logs.h"

#include <stdio.h>
#include <stdlib.h>

struct step {
    struct list node_entry; /* in node->steps */
    struct node *node;
    struct container *container; /* NULL: it could not be begun */
    char name[32];               /* "step-7": the function's, which the log goes by */
    struct logs_follow *follow;
    int64_t last_ms;   /* of the last line that was told, */
    size_t last_count; /* and how many of that moment */
    struct error *failure;
    struct image_step_events events;
    void *owner;
};

/* ---- its lines ---- */

static void tell_line(struct step *step, const struct logs_line *line) {
    step->last_count = line->wall_ms == step->last_ms ? step->last_count + 1 : 1;
    step->last_ms = line->wall_ms;
    step->events.line(step->owner, line->text);
}

static void on_line(void *owner, const struct logs_line *line) {
    tell_line(owner, line);
}

struct rest {
    struct step *step;
    int64_t from_ms;
    size_t skip;
};

static void on_rest(void *owner, const struct logs_line *line) {
    struct rest *rest = owner;
    if (line->wall_ms == rest->from_ms && rest->skip > 0)
        rest->skip--;
    else
        tell_line(rest->step, line);
}

static struct logs_query query_of(const struct step *step) {
    return (struct logs_query){.dir = step->node->logs_dir, .app = STEP_APP, .function = step->name};
}

/* What inotify had not brought yet when the container was gone. */
static void tell_rest(struct step *step) {
    struct logs_query query = query_of(step);
    struct rest rest = {step, step->last_ms, step->last_count};
    query.since_ms = step->last_ms;
    error_free(logs_read(&query, on_rest, &rest));
}

/* ---- its end ---- */

static void step_free(struct step *step) {
    logs_follow_free(step->follow);
    container_free(step->container);
    list_remove(&step->node_entry);
    error_free(step->failure);
    scoped_string char *logs = mem_printf("%s/" STEP_APP "/%s", step->node->logs_dir, step->name);
    error_free(tree_remove(logs));
    free(step);
}

static void finish(struct step *step, const struct image_step_end *end) {
    struct image_step_events events = step->events;
    void *owner = step->owner;
    step_free(step);
    events.done(owner, end);
}

static void on_ready(void *owner, struct container *container) {
    (void)owner, (void)container;
}

static void on_exited(void *owner, struct container *container, const struct container_end *end) {
    struct step *step = owner;
    (void)container;
    logs_follow_free(take(step->follow));
    tell_rest(step);
    const struct image_step_end told = {
        .exit_code = end->exit_code,
        .signal = end->signal,
        .out_of_memory = end->oom_killed,
        .error = error_copy(end->error),
    };
    finish(step, &told);
}

static void on_failed(void *owner) {
    struct step *step = owner;
    finish(step, &(struct image_step_end){.exit_code = -1, .error = take(step->failure)});
}

static void on_shut_in(void *owner, struct container *container, const struct error *why) {
    struct step *step = owner;
    (void)container;
    scoped_string char *text = error_text(why);
    step->events.line(step->owner, span_of(text));
}

static const struct container_events container_events = {
    .created = on_ready, .ready = on_ready, .exited = on_exited, .shut_in = on_shut_in};

/* ---- its beginning ---- */

static void env_take(struct core_function *function, const char *const *env) {
    for (; *env; env++) {
        struct span value = span_of(*env), name = span_cut(&value, '=');
        scoped_string char *name_text = span_string(name);
        core_function_env_add(function, name_text, value.data ? value.data : "");
    }
}

static struct core_function *function_of(const struct step *step, const struct image_step *wanted) {
    struct core_function *function = core_function_new(STEP_APP, step->name);
    size_t count = 0;
    while (wanted->argv[count]) count++;
    function->command = mem_grow(function->command, count + 1, sizeof *function->command);
    for (size_t i = 0; i < count; i++) function->command[i] = mem_string(wanted->argv[i]);
    function->command[count] = NULL;
    env_take(function, wanted->env);
    function->workdir = mem_string(wanted->workdir);
    function->user = mem_string(wanted->user);
    function->writable_rootfs = true;
    function->network = wanted->network == IMAGE_NETWORK_OUTBOUND ? CORE_NETWORK_IF_THERE : CORE_NETWORK_NONE;
    return function;
}

static void create(struct step *step, const struct image_step *wanted) {
    scoped(core_function) struct core_function *function = function_of(step, wanted);
    struct container_mount *mounts = mem_array(wanted->mount_count + 1, sizeof *mounts);
    for (size_t i = 0; i < wanted->mount_count; i++) {
        const struct image_mount *mount = &wanted->mounts[i];
        mounts[i] =
            (struct container_mount){mount->source, mount->destination, mount->read_only, mount->below};
    }
    const struct container_spec spec = {
        .number = step->node->next_step++,
        .function = function,
        .layers = (const char *const *)wanted->layers->layer,
        .layer_count = wanted->layers->count,
        .grafts = (const char *const *)wanted->layers->grafts,
        .upper = wanted->upper,
        .plain_env = true,
        .mounts = mounts,
        .mount_count = wanted->mount_count,
    };
    step->container = container_create(step->node->host, &spec, true, &container_events, step);
    free(mounts);
}

static void *step_run(void *owner, const struct image_step *wanted, const struct image_step_events *events,
                      void *events_owner) {
    struct node *node = owner;
    struct step *step = NEW(struct step);
    step->node = node;
    step->events = *events;
    step->owner = events_owner;
    snprintf(step->name, sizeof step->name, "step-%llu", (unsigned long long)node->next_step);
    list_append(&node->steps, &step->node_entry);
    struct logs_query query = query_of(step);
    scoped_string char *logs = mem_printf("%s/" STEP_APP "/%s", node->logs_dir, step->name);
    step->failure = dir_make(logs, 0755); /* so that its first line is seen */
    if (!step->failure) step->failure = logs_follow_start(node->loop, &query, on_line, step, &step->follow);
    if (step->failure)
        io_defer(node->loop, on_failed, step);
    else
        create(step, wanted);
    return step;
}

static void step_cancel(void *owner, void *run) {
    struct step *step = run;
    (void)owner;
    if (step->container) container_kill(step->container);
}

void steps_init(struct node *node, uint64_t first_number) {
    list_init(&node->steps);
    node->first_step = node->next_step = first_number;
    node->steps_runner = (struct image_runner){.owner = node, .run = step_run, .cancel = step_cancel};
    scoped_string char *logs = path_join(node->logs_dir, STEP_APP);
    error_free(tree_remove(logs)); /* of steps that were cut off */
}

void steps_free(struct node *node) {
    LIST_EACH_SAFE(entry, next, &node->steps)
    finish(
        CONTAINER_OF(entry, struct step, node_entry),
        &(struct image_step_end){.exit_code = -1, .error = error_new(ERROR_CANCELLED, "catnap is ending")});
}

const struct image_runner *node_image_runner(struct node *node) {
    return &node->steps_runner;
}
