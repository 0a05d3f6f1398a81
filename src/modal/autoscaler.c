/* autoscaler: how many containers a function has and for how long: by its definition, by `with_options`, and
 * by what was set while it runs (`update_autoscaler`, `keep_warm`).
 *
 * What was set counts until the app's next deploy or rollback, also over a restart. It is kept by the
 * function's name in the pool: that of a class with parameters is the same in each life of the daemon, its id
 * is not. */
#include "inside.h"

#include "autoscaler.h"

#include <stdlib.h>

#define WINDOW_DEFAULT_S 60
#define WINDOW_MAX_S (366 * 86400)
#define CONTAINERS_DEFAULT 16 /* where the client sets no limit: the machine's size is one */
#define CONTAINERS_MAX 1000

static uint32_t at_most(uint32_t value, uint32_t limit) {
    return value < limit ? value : limit;
}

/* ---- what counts ---- */

static void say_all(Modal__AutoscalerSettings *settings) {
    settings->has_min_containers = settings->has_max_containers = true;
    settings->has_buffer_containers = settings->has_scaledown_window = true;
}

/* The older client says the same by other names; 0 containers at most: no limit was told. */
static Modal__AutoscalerSettings of_definition(const Modal__Function *said) {
    Modal__AutoscalerSettings settings = MODAL__AUTOSCALER_SETTINGS__INIT;
    if (said->autoscaler_settings) settings = *said->autoscaler_settings;
    if (settings.min_containers == 0) settings.min_containers = said->warm_pool_size;
    if (settings.max_containers == 0) settings.max_containers = said->concurrency_limit;
    if (settings.scaledown_window == 0) settings.scaledown_window = said->task_idle_timeout_secs;
    if (settings.scaledown_window == 0) settings.scaledown_window = WINDOW_DEFAULT_S;
    say_all(&settings);
    return settings;
}

static void set_by_options(Modal__AutoscalerSettings *settings, const Modal__FunctionOptions *options) {
    if (!options) return;
    if (options->has_warm_pool_size) settings->min_containers = options->warm_pool_size;
    if (options->has_concurrency_limit) settings->max_containers = options->concurrency_limit;
    if (options->has_buffer_containers) settings->buffer_containers = options->buffer_containers;
    if (options->has_task_idle_timeout_secs) settings->scaledown_window = options->task_idle_timeout_secs;
}

static void set_over(Modal__AutoscalerSettings *settings, const Modal__AutoscalerSettings *set) {
    if (!set) return;
#define SET_OVER(NAME)               \
    if (set->has_##NAME) {           \
        settings->has_##NAME = true; \
        settings->NAME = set->NAME;  \
    }
    SET_OVER(min_containers)
    SET_OVER(max_containers)
    SET_OVER(buffer_containers)
    SET_OVER(scaledown_window)
#undef SET_OVER
}

static Modal__AutoscalerSettings *override_of(const struct function *function) {
    return map_get(function->app->overrides, span_of(function->core_name));
}

static Modal__AutoscalerSettings static_settings(const struct function *function,
                                                 const struct definition *definition) {
    Modal__AutoscalerSettings settings = of_definition(definition->function);
    set_by_options(&settings, function->options);
    return settings;
}

static Modal__AutoscalerSettings settings_of(const struct function *function,
                                             const struct definition *definition) {
    Modal__AutoscalerSettings settings = static_settings(function, definition);
    set_over(&settings, override_of(function));
    return settings;
}

void autoscaler_apply(struct core_function *core, const struct function *function,
                      const struct definition *definition) {
    Modal__AutoscalerSettings settings = settings_of(function, definition);
    uint32_t most = settings.max_containers;
    if (most == 0)
        most = settings.min_containers > CONTAINERS_DEFAULT ? settings.min_containers : CONTAINERS_DEFAULT;
    core->max_containers = at_most(most, CONTAINERS_MAX);
    core->min_containers = at_most(settings.min_containers, core->max_containers);
    core->buffer_containers = at_most(settings.buffer_containers, core->max_containers);
    core->scaledown_window_ms = (int64_t)at_most(settings.scaledown_window, WINDOW_MAX_S) * 1000;
}

/* ---- kept over a restart, not over a deploy ---- */

void autoscaler_forget(struct app *app) {
    void *value;
    for (size_t i = 0; map_next(app->overrides, &i, NULL, &value);) free(value);
    map_free(app->overrides);
    app->overrides = map_new();
}

static void override_set(struct app *app, const char *core_name, const Modal__AutoscalerSettings *set) {
    Modal__AutoscalerSettings *kept = map_get(app->overrides, span_of(core_name));
    if (!kept) {
        kept = NEW(Modal__AutoscalerSettings);
        modal__autoscaler_settings__init(kept);
        map_put(app->overrides, span_of(core_name), kept);
    }
    set_over(kept, set);
}

void autoscaler_record(const struct app *app, Modal__AppRecord *record) {
    record->overrides = mem_array(map_count(app->overrides) + 1, sizeof *record->overrides);
    const char *name;
    void *value;
    for (size_t i = 0; map_next(app->overrides, &i, &name, &value);) {
        Modal__OverrideRecord *made = NEW(Modal__OverrideRecord);
        modal__override_record__init(made);
        struct text bytes = message_pack(value);
        made->function = (char *)name;
        made->has_settings = true;
        made->settings.len = bytes.size;
        made->settings.data = (uint8_t *)text_take(&bytes);
        record->overrides[record->n_overrides++] = made;
    }
}

void autoscaler_record_done(Modal__AppRecord *record) {
    for (size_t i = 0; i < record->n_overrides; i++) {
        free(record->overrides[i]->settings.data);
        free(record->overrides[i]);
    }
    free(record->overrides);
}

void autoscaler_restore(struct app *app, const Modal__AppRecord *record) {
    for (size_t i = 0; i < record->n_overrides; i++) {
        const Modal__OverrideRecord *made = record->overrides[i];
        Modal__AutoscalerSettings *set =
            modal__autoscaler_settings__unpack(NULL, made->settings.len, made->settings.data);
        if (set && made->function) override_set(app, made->function, set);
        if (set) modal__autoscaler_settings__free_unpacked(set, NULL);
    }
}

/* ---- what clients ask ---- */

static struct error *asked_function(struct rpc *rpc, const char *id, struct function **ret) {
    struct function *function = function_of(rpc->modal, id);
    if (!function || !function_definition(function)) return no_object("function", id);
    if (rpc->task && rpc->task->function && rpc->task->function->app != function->app)
        return error_new(ERROR_PERMISSION_DENIED, "the function %s is of another app than this container",
                         id);
    if (function->app->state == MODAL__APP_STATE__APP_STATE_STOPPED)
        return error_new(ERROR_FAILED_PRECONDITION, "the app %s was stopped", function->app->name);
    *ret = function;
    return NULL;
}

static struct error *check(const struct function *function, const Modal__AutoscalerSettings *set) {
    Modal__AutoscalerSettings settings = settings_of(function, function_definition(function));
    set_over(&settings, set);
    if (settings.max_containers > 0 && settings.min_containers > settings.max_containers)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "%s: min_containers (%u) is more than max_containers (%u): set the other as well",
                         function->name, settings.min_containers, settings.max_containers);
    if (settings.min_containers > CONTAINERS_MAX || settings.max_containers > CONTAINERS_MAX)
        return error_new(ERROR_INVALID_ARGUMENT, "%s: a function has at most %d containers", function->name,
                         CONTAINERS_MAX);
    if (settings.scaledown_window == 0 || settings.scaledown_window > WINDOW_MAX_S)
        return error_new(ERROR_INVALID_ARGUMENT, "%s: scaledown_window is from 1 to %d seconds",
                         function->name, WINDOW_MAX_S);
    return NULL;
}

static void on_kept(struct rpc *rpc, struct error *error) {
    struct function *function = function_of(rpc->modal, rpc->owner);
    if (!error && !function) error = error_new(ERROR_ABORTED, "the app was stopped meanwhile");
    if (!error && function->app->in_pool) error = app_to_pool(function->app);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__AutoscalerSettings settings = settings_of(function, function_definition(function));
    Modal__FunctionUpdateSchedulingParamsResponse answer =
        MODAL__FUNCTION_UPDATE_SCHEDULING_PARAMS_RESPONSE__INIT;
    answer.current_settings = &settings;
    rpc_answer(rpc, &answer);
}

static void update(struct rpc *rpc, const void *message) {
    const Modal__FunctionUpdateSchedulingParamsRequest *request = message;
    Modal__AutoscalerSettings warm = MODAL__AUTOSCALER_SETTINGS__INIT;
    const Modal__AutoscalerSettings *set = request->settings;
    if (!set) { /* `keep_warm` of the older client; 0 is not on the wire */
        warm.has_min_containers = true;
        warm.min_containers = request->warm_pool_size_override;
        set = &warm;
    }
    struct function *function = NULL;
    struct error *error = asked_function(rpc, request->function_id, &function);
    if (!error) error = check(function, set);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct app *app = function->app;
    override_set(app, function->core_name, set);
    rpc->owner = arena_text(rpc_arena(rpc), function->id);
    if (app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED) {
        on_kept(rpc, NULL);
        return;
    }
    scoped_text struct text bytes = {0};
    app_record(app, &bytes);
    const struct store_record record = {"modal-app", app->id, text_span(&bytes)};
    rpc_commit(rpc, &record, 1, on_kept);
}

static void get(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetSchedulingParamsRequest *request = message;
    struct function *function = NULL;
    struct error *error = asked_function(rpc, request->function_id, &function);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    const struct definition *definition = function_definition(function);
    Modal__Function nothing = MODAL__FUNCTION__INIT;
    Modal__AutoscalerSettings settings = settings_of(function, definition), plain = of_definition(&nothing),
                              said = static_settings(function, definition);
    Modal__AutoscalerConfiguration configuration = MODAL__AUTOSCALER_CONFIGURATION__INIT;
    configuration.settings = &settings;
    configuration.default_settings = &plain;
    configuration.static_settings = &said;
    configuration.override_settings = override_of(function);
    Modal__FunctionGetSchedulingParamsResponse answer = MODAL__FUNCTION_GET_SCHEDULING_PARAMS_RESPONSE__INIT;
    answer.autoscaler_configuration = &configuration;
    rpc_answer(rpc, &answer);
}

const struct rpc_method autoscaler_methods[] = {
    {"FunctionUpdateSchedulingParams", &modal__function_update_scheduling_params_request__descriptor, update,
     RPC_TASK},
    {"FunctionGetSchedulingParams", &modal__function_get_scheduling_params_request__descriptor, get,
     RPC_TASK},
    {0},
};
