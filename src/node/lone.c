/* lone: containers that are nobody's function: a room above begins and ends them, nap knows nothing of them.
 *
 * Their program is catnap-init's `pause`; what is to be run comes by node_exec, so that its bytes are not a
 * log's lines. What a killed daemon left of them is ended at adoption: nobody holds their ends any more. */
#include "inside.h"

#include <signal.h>
#include <stdlib.h>

struct error *node_exec(struct node *node, uint64_t container, const struct node_exec_options *options,
                        struct container_exec **ret_exec) {
    struct local *local = local_find(node, container);
    if (!local || !local->container) return error_new(ERROR_UNAVAILABLE, "the container is gone");
    return container_exec(local->container,
                          &(struct container_exec_options){.command = options->command,
                                                           .started = options->started,
                                                           .exited = options->exited,
                                                           .owner = options->owner},
                          ret_exec);
}

void node_exec_kill(struct container_exec *exec) {
    container_exec_kill(exec);
}
void node_exec_free(struct container_exec *exec) {
    container_exec_free(exec);
}

static void pause_command(struct core_function *function) {
    for (char **word = function->command; *word; word++) free(*word);
    free(function->command);
    function->command = mem_array(3, sizeof *function->command);
    function->command[0] = mem_string("/.catnap/init");
    function->command[1] = mem_string("pause");
}

uint64_t node_lone_create(struct node *node, const struct core_function *function,
                          const struct node_lone_events *events, void *owner) {
    uint64_t number = node->next_step++;
    scoped(core_function) struct core_function *copy = core_function_copy(function);
    pause_command(copy);
    copy->runner = false;
    copy->port = 0; /* ready as soon as it runs */
    copy->readiness = CORE_READY_PORT;
    copy->stop_signal = SIGKILL;
    struct local *local = local_new(node, number, copy->app, copy->name);
    local->lone = events;
    local->lone_owner = owner;
    local_begin(local, copy, LONE_VERSION, true);
    return number;
}

bool node_lone_next(const struct node *node, size_t *i, struct node_lone_view *ret_view) {
    void *value;
    while (table_next(node->locals, i, NULL, &value)) {
        const struct local *local = value;
        if (!local->lone) continue;
        *ret_view = (struct node_lone_view){local->number, local->app, local->function, local->ready};
        return true;
    }
    return false;
}

void node_lone_kill_all(struct node *node) {
    struct node_lone_view view;
    for (size_t i = 0; node_lone_next(node, &i, &view);) node_kill(node, view.container);
}
