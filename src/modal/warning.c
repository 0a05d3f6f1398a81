/* What a deploy is told with its answer. Of a function that is taken, but not all as it was asked: once, when
 * it is made. */
#include "inside.h"

#include <string.h>

Modal__Warning *warning_new(struct arena *arena, char *text, Modal__WarningWarningType type) {
    Modal__Warning *warning = arena_alloc(arena, sizeof *warning);
    modal__warning__init(warning);
    warning->has_type = true;
    warning->type = type;
    warning->message = text;
    return warning;
}

static void warn(Modal__FunctionCreateResponse *answer, char *text, struct arena *arena) {
    answer->server_warnings[answer->n_server_warnings++] = warning_new(
        arena, text, MODAL__WARNING_WARNING_TYPE__WarningWarningType_WARNING_TYPE_FUNCTION_CONFIGURATION);
}

/* One address a class: its function has one label. */
static void warn_of_web_methods(Modal__FunctionCreateResponse *answer, const Modal__Function *said,
                                struct arena *arena) {
    const char *first;
    if (!definition_web(said, &first) || !first) return;
    for (size_t i = 0; i < said->n_method_definitions; i++) {
        const Modal__FunctionMethodDefinitionsEntry *entry = said->method_definitions[i];
        const Modal__WebhookConfig *web = entry->value ? entry->value->webhook_config : NULL;
        if (!web || !web->type || strcmp(entry->key, first) == 0) continue;
        warn(answer,
             arena_printf(arena,
                          "the web method '%s' has no address: catnap serves one of a class, and that is "
                          "'%s'; an asgi_app can have many paths",
                          entry->key, first),
             arena);
    }
}

void function_warnings(Modal__FunctionCreateResponse *answer, const struct function *function,
                       struct arena *arena) {
    const Modal__Function *said = function->staged->function;
    answer->server_warnings =
        arena_alloc(arena, (2 + said->n_method_definitions) * sizeof *answer->server_warnings);
    if (said->checkpointing_enabled)
        warn(answer,
             "enable_memory_snapshot is not taken: catnap keeps no snapshots of memory, and "
             "enter(snap=True) runs as enter. An idle container is frozen instead, and wakes in "
             "milliseconds; see docs/compat.md",
             arena);
    scoped(core_function) struct core_function *core =
        core_function_new(function->core_app, function->core_name);
    definition_resources_set(core, said->resources);
    scoped_string char *without = definition_gpu_words(core, function->app->modal);
    if (without) {
        log_info("modal", "%s", without);
        warn(answer, arena_text(arena, without), arena);
    }
    warn_of_web_methods(answer, said, arena);
}
