/* task: a container with a runner in it: what it is given, and what becomes of it.
 *
 * Its directory RUN_DIR/t/CONTAINER is bound into it: a socket of its own, whose listener is its identity,
 * and its arguments. The socket is opened before the container is made, so that its first word finds us. */
#include "inside.h"

#include "sandbox.h"
#include "stats.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define INSIDE "/run/catnap"
#define ARGUMENTS_IN_FILE 0, 71, 0 /* from this client on a file tells the arguments */
#define ARGUMENTS_BOTH 0, 72, 13   /* up to before this one the command line does too */

struct task *task_of_container(const struct modal *modal, uint64_t container) {
    return table_get(modal->tasks, container);
}

struct task *task_of(const struct modal *modal, const char *id) {
    void *value;
    for (size_t i = 0; id && table_next(modal->tasks, &i, NULL, &value);) {
        struct task *task = value;
        if (strcmp(task->id, id) == 0) return task;
    }
    return NULL;
}

char *task_id_of(struct arena *arena, uint64_t container) {
    return container ? arena_printf(arena, "ta-%llu", (unsigned long long)container) : NULL;
}

static struct task *task_new(struct modal *modal, uint64_t container, struct function *function) {
    struct task *task = NEW(struct task);
    scoped_string char *id = mem_printf("ta-%llu", (unsigned long long)container);
    id_set(task->id, id);
    task->modal = modal;
    task->container = container;
    task->function = function;
    task->definition = definition_ref((struct definition *)function_definition(function));
    task->directory = mem_printf("%s/t/%llu", modal->run_dir, (unsigned long long)container);
    task->enqueued_at = now_s();
    list_init(&task->assigned);
    list_init(&task->running);
    list_init(&task->polls);
    list_init(&task->heartbeats);
    table_put(modal->tasks, container, task);
    return task;
}

static void task_free(struct task *task) {
    struct modal *modal = task->modal;
    table_remove(modal->tasks, task->container);
    tunnels_close(modal, task->container, 0);
    grpc_server_unlisten(modal->server, task, true);
    if (task->blobs_inside) http_server_unlisten(modal->blobs, task);
    error_free(tree_remove(task->directory));
    definition_unref(task->definition);
    text_done(&task->cancelled);
    free(task->directory);
    free(task->exception);
    free(task);
}

/* ---- arguments ---- */

static struct text arguments_of(const struct task *task) {
    const struct function *function = task->function;
    const struct function *base = function->base ? function->base : function;
    scoped(arena) struct arena *arena = arena_new();
    Modal__ContainerArguments arguments = MODAL__CONTAINER_ARGUMENTS__INIT;
    arguments.task_id = (char *)task->id;
    arguments.function_id = (char *)base->id;
    arguments.app_id = function->app->id;
    arguments.environment_name = function->app->environment;
    arguments.app_layout = app_layout(function->app, task->definition, arena);
    if (function->parameters_size > 0) {
        arguments.has_serialized_params = true;
        arguments.serialized_params.data = (uint8_t *)function->parameters;
        arguments.serialized_params.len = function->parameters_size;
    }
    struct text bytes = message_pack(&arguments);
    scoped_text struct text definition = definition_for_container(function, task->definition);
    wire_add(&bytes, 7, text_span(&definition)); /* function_def, as it came */
    return bytes;
}

static char *base64(struct span bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct text out = {0};
    for (size_t i = 0; i < bytes.size; i += 3) {
        uint32_t three = (uint32_t)(uint8_t)bytes.data[i] << 16;
        if (i + 1 < bytes.size) three |= (uint32_t)(uint8_t)bytes.data[i + 1] << 8;
        if (i + 2 < bytes.size) three |= (uint8_t)bytes.data[i + 2];
        for (size_t d = 0; d < 4; d++)
            text_add_char(&out, i + d > bytes.size ? '=' : digits[three >> (18 - 6 * d) & 63]);
    }
    return text_take(&out);
}

static void command_add(struct core_function *core, const char *word) {
    size_t count = 0;
    while (core->command[count]) count++;
    core->command = mem_grow(core->command, count + 2, sizeof *core->command);
    core->command[count] = mem_string(word);
    core->command[count + 1] = NULL;
}

static struct error *fill(struct task *task, struct core_function *core) {
    struct modal *modal = task->modal;
    const char *version = task->definition->client_version;
    scoped_string char *socket = path_join(task->directory, "modal.sock");
    scoped_string char *file = path_join(task->directory, "arguments");
    TRY_PLAIN(dir_make(task->directory, 0755));
    TRY_PLAIN(grpc_server_listen_on(
        modal->server, &(struct grpc_listener){.address = socket, .mode = 0666, .tag = task}, NULL));
    scoped_text struct text arguments = arguments_of(task);
    TRY_PLAIN(file_replace(file, text_span(&arguments), 0644));
    if (version_before(version, ARGUMENTS_BOTH)) {
        scoped_string char *word = base64(text_span(&arguments));
        command_add(core, word);
    }
    core_function_volume_add(core, INSIDE, task->directory, true);
    definition_env_set(core, "MODAL_SERVER_URL", "unix://" INSIDE "/modal.sock");
    definition_env_set(core, "MODAL_TASK_ID", task->id);
    definition_env_set(core, "MODAL_CONTAINER_ARGUMENTS_PATH", INSIDE "/arguments");
    if (version_before(version, 0, 65, 0)) definition_env_set(core, "MODAL_TASK_SECRET", "by-socket");
    return NULL;
}

static void fail_all(struct list *list, const char *why) {
    while (!list_empty(list)) {
        struct input *input = CONTAINER_OF(list->next, struct input, queue);
        list_remove(&input->queue);
        input_lost(input, why);
    }
}

/* ---- containers that build ---- */

#define BUILD_NUMBERS (UINT64_C(1) << 62) /* far above the pool's */

struct error *task_build_new(struct modal *modal, struct function *function, struct core_function *core,
                             struct task **ret) {
    struct task *task = task_new(modal, BUILD_NUMBERS + ++modal->buildrun_count, function);
    task->builds = true;
    struct error *error = fill(task, core);
    if (!error) *ret = task;
    if (error) task_free(task);
    return error;
}

void task_build_done(struct task *task) {
    if (!task) return;
    struct app *app = task->function ? task->function->app : NULL;
    fail_all(&task->assigned, "its container ended");
    fail_all(&task->running, "its container ended");
    task_free(task);
    if (app) app_tasks_gone(app);
}

/* ---- what node tells ---- */

static struct error *prepare(void *owner, uint64_t container, struct core_function *core) {
    struct modal *modal = owner;
    scoped_string char *key = mem_printf("%s.%s", core->app, core->name);
    struct function *function = map_get(modal->core_functions, span_of(key));
    if (!function || !function_definition(function))
        return error_new(ERROR_FAILED_PRECONDITION, "nothing is known of the function %s", key);
    struct task *task = task_new(modal, container, function);
    struct error *error = fill(task, core);
    if (error) task_free(task);
    return error;
}

static void adopted(void *owner, uint64_t container, const char *app, const char *name) {
    struct modal *modal = owner;
    scoped_string char *key = mem_printf("%s.%s", app, name);
    struct function *function = map_get(modal->core_functions, span_of(key));
    if (!function || !function_definition(function)) return;
    struct task *task = task_new(modal, container, function);
    task->greeted = true;
    scoped_string char *socket = path_join(task->directory, "modal.sock");
    scoped(error) struct error *error = grpc_server_listen_on(
        modal->server, &(struct grpc_listener){.address = socket, .mode = 0666, .tag = task}, NULL);
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_warn("modal", "task %s can't be heard any more: %s", task->id, text);
}

static void stop(void *owner, uint64_t container) {
    struct task *task = task_of_container(owner, container);
    if (task) task_stop(task);
}

static void exited(void *owner, uint64_t container, const char *text) {
    struct modal *modal = owner;
    struct task *task = task_of_container(modal, container);
    if (!task) return;
    struct function *function = task->function;
    struct app *app = function ? function->app : NULL;
    const char *why = task->exception ? task->exception : text;
    fail_all(&task->assigned, why);
    fail_all(&task->running, why);
    stats_task_ended(task, text);
    task_free(task);
    if (function) function_pump(function); /* what came while it was on its way out waits without a ticket */
    if (app) app_tasks_gone(app);
}

void tasks_hook(struct modal *modal) {
    static const struct node_runner runner = {prepare, adopted, stop, exited};
    node_runner_set(modal->node, &runner, modal);
}

/* Of containers that ended while no daemon was there. */
void tasks_sweep(struct modal *modal) {
    scoped_string char *all = path_join(modal->run_dir, "t");
    DIR *entries = opendir(all);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        uint64_t container;
        if (!span_to_u64(span_of(entry->d_name), &container) || task_of_container(modal, container)) continue;
        scoped_string char *path = path_join(all, entry->d_name);
        error_free(tree_remove(path));
    }
    if (entries) closedir(entries);
}

void tasks_free(struct modal *modal) {
    void *value;
    node_runner_set(modal->node, NULL, NULL);
    for (size_t i = 0; table_next(modal->tasks, &i, NULL, &value);) {
        struct task *task = value;
        definition_unref(task->definition);
        text_done(&task->cancelled);
        free(task->directory);
        free(task->exception);
        free(task);
    }
    table_free(modal->tasks);
    scoped_string char *all = path_join(modal->run_dir, "t");
    (void)rmdir(all); /* where containers go on, theirs stay in it */
}
