/* publish: the moment in which what was created becomes what serves. All functions of a deploy switch
 * together, after the change is on the disk; containers of the old definitions finish their work and leave.
 * Earlier deployments are kept for rollback. */
#include "inside.h"

#include "autoscaler.h"
#include "schedule.h"

#include <stdio.h>
#include <stdlib.h>

#define DEPLOYMENTS_KEPT 20

/* ---- into the pool ---- */

static struct error *add_function(struct core_app *core, const struct function *function) {
    const struct definition *definition = function_definition(function);
    if (!definition || !definition->function->image_id || !*definition->function->image_id)
        return NULL; /* C.m */
    if (definition->function->is_builder_function) return NULL;
    struct core_function *made;
    TRY(definition_core(function, definition, &made), "function %s", function->name);
    core_app_add(core, made);
    return NULL;
}

struct error *app_core(struct app *app, struct core_app **ret) {
    scoped(core_app) struct core_app *core = core_app_new(app->core_name);
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, NULL, &value);) TRY_PLAIN(add_function(core, value));
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) {
        const struct function *function = value;
        if (!function->base || !function->base->published) continue;
        scoped(error) struct error *error = add_function(core, function);
        if (!error) continue; /* else its secret or volume went since: the others are served */
        scoped_string char *text = error_text(error);
        log_warn("modal", "one with parameters or options of the app %s is not served: %s", app->name, text);
    }
    *ret = take(core);
    return NULL;
}

/* A published port that another program took meanwhile keeps nothing from being served. */
static struct error *set_in_pool(struct modal *modal, struct core_app *core) {
    scoped(error) struct error *error = pool_app_set(modal->pool, core);
    bool published = false;
    for (size_t i = 0; error && i < core->function_count; i++) {
        published |= core->functions[i]->publish != 0;
        core->functions[i]->publish = 0;
    }
    if (!published) return take(error);
    TRY_PLAIN(pool_app_set(modal->pool, core));
    scoped_string char *text = error_text(error);
    log_warn("modal", "app %s is served without the ports that were published: %s", core->name, text);
    return NULL;
}

struct error *app_to_pool(struct app *app) {
    struct modal *modal = app->modal;
    scoped(core_app) struct core_app *core = NULL;
    TRY_PLAIN(app_core(app, &core));
    if (core->function_count == 0) {
        if (app->in_pool) error_free(pool_app_remove(modal->pool, app->core_name));
        app->in_pool = false;
        return NULL;
    }
    TRY_PLAIN(set_in_pool(modal, core));
    app->in_pool = true;
    void *value;
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) {
        struct function *function = value;
        char key[160];
        if (core_app_find(core, function->core_name))
            map_put(modal->core_functions, span_of(function_core_key(function, key, sizeof key)), function);
    }
    return NULL;
}

/* ---- one publication ---- */

static bool class_of_app(const struct app *app, const char *id) {
    const struct class *class = id ? map_get(app->modal->classes, span_of(id)) : NULL;
    return class && class->app == app; /* another's goes with its app */
}

static struct error *layout_check(struct app *app, const Modal__AppPublishRequest *request) {
    for (size_t i = 0; i < request->n_function_ids; i++) {
        const char *id = request->function_ids[i]->value;
        struct function *function = id ? map_get(app->functions, span_of(id)) : NULL;
        if (!function) return no_object("function", id);
        if (!function->staged && !function->published)
            return error_new(ERROR_FAILED_PRECONDITION, "function %s was never created", function->name);
    }
    for (size_t i = 0; i < request->n_class_ids; i++)
        if (!class_of_app(app, request->class_ids[i]->value))
            return no_object("class", request->class_ids[i]->value);
    return NULL;
}

static void switch_over(struct app *app, const Modal__AppPublishRequest *request) {
    map_free(app->layout);
    map_free(app->classes);
    app->layout = map_new();
    app->classes = map_new();
    for (size_t i = 0; i < request->n_function_ids; i++) {
        struct function *function = map_get(app->functions, span_of(request->function_ids[i]->value));
        if (function->staged) {
            definition_unref(function->published);
            function->published = take(function->staged);
        }
        map_put(app->layout, span_of(request->function_ids[i]->key), function);
    }
    for (size_t i = 0; i < request->n_class_ids; i++) {
        struct class *class = map_get(app->modal->classes, span_of(request->class_ids[i]->value));
        free(class->name);
        class->name = mem_string(request->class_ids[i]->key);
        map_put(app->classes, span_of(class->name), class);
    }
}

static void deployment_add(struct app *app, const char *client_version, const char *tag, uint32_t rollback) {
    struct arena *arena = app->deployments_arena;
    Modal__DeploymentRecord *record = arena_alloc(arena, sizeof *record);
    modal__deployment_record__init(record);
    const Modal__DeploymentRecord *last =
        app->deployment_count ? app->deployments[app->deployment_count - 1] : NULL;
    record->has_version = record->has_deployed_at = true;
    record->version = last ? last->version + 1 : 1;
    record->deployed_at = app->deployed_at;
    record->client_version = arena_text(arena, client_version);
    record->tag = arena_text(arena, tag ? tag : "");
    record->has_rollback_version = rollback > 0;
    record->rollback_version = rollback;
    record->functions = arena_alloc(arena, (map_count(app->layout) + 1) * sizeof *record->functions);
    const char *key;
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, &key, &value);) {
        const struct function *function = value;
        Modal__FunctionRecord *made = arena_alloc(arena, sizeof *made);
        modal__function_record__init(made);
        made->id = arena_text(arena, function->id);
        made->name = arena_text(arena, key);
        struct span bytes = text_span(&function->published->bytes);
        made->has_definition = true;
        made->definition.len = bytes.size;
        made->definition.data = (uint8_t *)arena_string(arena, bytes);
        made->client_version = arena_text(arena, function->published->client_version);
        made->definition_id = arena_text(arena, function->published->id);
        record->functions[record->n_functions++] = made;
    }
    record->classes = arena_alloc(arena, (map_count(app->classes) + 1) * sizeof *record->classes);
    for (size_t i = 0; map_next(app->classes, &i, &key, &value);) {
        const struct class *class = value;
        Modal__ClassRecord *made = arena_alloc(arena, sizeof *made);
        modal__class_record__init(made);
        made->id = arena_text(arena, class->id);
        made->name = arena_text(arena, key);
        made->n_method_names = made->n_method_ids = class->method_count;
        made->method_names = arena_alloc(arena, (class->method_count + 1) * sizeof *made->method_names);
        made->method_ids = arena_alloc(arena, (class->method_count + 1) * sizeof *made->method_ids);
        for (size_t m = 0; m < class->method_count; m++) {
            made->method_names[m] = arena_text(arena, class->method_names[m]);
            made->method_ids[m] = arena_text(arena, class->method_ids[m]);
        }
        record->classes[record->n_classes++] = made;
    }
    app->deployments = mem_grow(app->deployments, app->deployment_count + 1, sizeof *app->deployments);
    app->deployments[app->deployment_count++] = record;
    if (app->deployment_count <= DEPLOYMENTS_KEPT) return;
    memmove(app->deployments, app->deployments + 1, --app->deployment_count * sizeof *app->deployments);
}

/* The name goes to this app; one that had it stops (it was deployed by another environment of clients, or
 * anew). */
void app_name_take(struct app *app, const char *name) {
    struct modal *modal = app->modal;
    if (name && *name && strcmp(name, app->name) != 0) {
        free(app->name);
        app->name = mem_string(name);
    }
    scoped_string char *key = object_key(app->environment, app->name);
    struct app *before = map_get(modal->deployed, span_of(key));
    if (before && before != app) app_stop(before);
    map_put(modal->deployed, span_of(key), app);
}

static void answer_publish(struct rpc *rpc, struct app *app) {
    char *url = "";
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, NULL, &value);) {
        const struct function *function = value;
        if (function->url && !*url) url = function->url;
    }
    Modal__AppPublishResponse answer = MODAL__APP_PUBLISH_RESPONSE__INIT;
    answer.url = *url ? url : arena_printf(rpc_arena(rpc), "catnap logs %s", app->core_name);
    answer.has_deployed_at = true;
    answer.deployed_at = app->deployed_at;
    Modal__Warning warning = MODAL__WARNING__INIT, *warnings[] = {&warning};
    warning.message = (char *)rpc_client_warning(rpc);
    warning.has_type = true;
    warning.type = MODAL__WARNING_WARNING_TYPE__WarningWarningType_WARNING_TYPE_CLIENT_DEPRECATION;
    if (warning.message) {
        answer.n_server_warnings = 1;
        answer.server_warnings = warnings;
    }
    rpc_answer(rpc, &answer);
}

static void on_kept(struct rpc *rpc, struct error *error) {
    struct app *app = app_of(rpc->modal, rpc->owner);
    if (!error && !app) error = error_new(ERROR_ABORTED, "the app was stopped meanwhile");
    if (!error) error = app_to_pool(app);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    schedules_start(app);
    answer_publish(rpc, app);
}

static void keep(struct rpc *rpc, struct app *app) {
    scoped_text struct text bytes = {0};
    app_record(app, &bytes);
    rpc->owner = arena_text(rpc_arena(rpc), app->id);
    const struct store_record record = {"modal-app", app->id, text_span(&bytes)};
    rpc_commit(rpc, &record, 1, on_kept);
}

static void app_publish(struct rpc *rpc, const void *message) {
    const Modal__AppPublishRequest *request = message;
    struct app *app = app_of(rpc->modal, request->app_id);
    struct error *error = app ? NULL : no_object("app", request->app_id);
    if (!error && app->state == MODAL__APP_STATE__APP_STATE_STOPPED)
        error = error_new(ERROR_FAILED_PRECONDITION, "the app %s was stopped; deploy it anew", app->name);
    if (!error && request->staged)
        error = error_new(ERROR_UNIMPLEMENTED,
                          "staged deployments are not there yet; docs/compat.md tells what is");
    if (!error) error = layout_check(app, request);
    if (!error && request->n_tags > 0)
        error = app_tags_set(app, (void *const *)request->tags, request->n_tags);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    switch_over(app, request);
    autoscaler_forget(app);
    app->deployed_at = now_s();
    bool deploys = request->app_state == MODAL__APP_STATE__APP_STATE_DEPLOYED;
    if (!deploys) {
        error = app_to_pool(app);
        if (error)
            rpc_fail(rpc, error);
        else
            answer_publish(rpc, app);
        return;
    }
    app->state = MODAL__APP_STATE__APP_STATE_DEPLOYED;
    app_name_take(app, request->name);
    deployment_add(app, rpc_client_version(rpc), request->deployment_tag, 0);
    keep(rpc, app);
}

/* ---- back to an earlier one ---- */

static struct error *restore_deployment(struct app *app, const Modal__DeploymentRecord *record) {
    map_free(app->layout);
    app->layout = map_new();
    for (size_t i = 0; i < record->n_functions; i++) {
        const Modal__FunctionRecord *made = record->functions[i];
        struct function *function = map_get(app->functions, span_of(made->id));
        if (!function) {
            function = function_new(app, made->name);
            function_id_restore(function, made->id);
        }
        struct definition *definition;
        struct span bytes = {(const char *)made->definition.data, made->definition.len};
        TRY(definition_new(bytes, made->client_version, made->definition_id, &definition), "function %s",
            made->name);
        definition_unref(function->published);
        function->published = definition;
        function_web_set(function, definition->function->webhook_config);
        map_put(app->layout, span_of(made->name), function);
    }
    for (size_t i = 0; i < record->n_classes; i++) {
        struct class *class = map_get(app->modal->classes, span_of(record->classes[i]->id));
        if (!class) class = class_restore(app, record->classes[i]);
        map_put(app->classes, span_of(class->name), class);
    }
    return NULL;
}

void app_restore(struct modal *modal, const Modal__AppRecord *record) {
    struct app *app = app_new(modal, record->name, environment_of(record->environment),
                              MODAL__APP_STATE__APP_STATE_INITIALIZING);
    id_restore(modal->apps, app->id, record->id, app);
    app->created_at = record->created_at;
    for (size_t i = 0; i < record->n_tag_names && i < record->n_tag_values; i++)
        free(map_put(app->tags, span_of(record->tag_names[i]), mem_string(record->tag_values[i])));
    autoscaler_restore(app, record);
    app->state = MODAL__APP_STATE__APP_STATE_DEPLOYED;
    app_name_take(app, NULL);
    struct arena *arena = app->deployments_arena;
    for (size_t i = 0; i < record->n_deployments; i++) {
        scoped_text struct text bytes = message_pack(record->deployments[i]);
        ProtobufCAllocator allocator = arena_allocator(arena);
        Modal__DeploymentRecord *copy =
            modal__deployment_record__unpack(&allocator, bytes.size, (const uint8_t *)bytes.data);
        app->deployments = mem_grow(app->deployments, app->deployment_count + 1, sizeof *app->deployments);
        app->deployments[app->deployment_count++] = copy;
    }
    const Modal__DeploymentRecord *last =
        app->deployment_count ? app->deployments[app->deployment_count - 1] : NULL;
    if (!last) return;
    app->deployed_at = last->deployed_at;
    struct error *error = restore_deployment(app, last);
    if (!error) error = app_to_pool(app);
    if (!error) schedules_start(app);
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_error("modal", "app %s is not served: %s", app->name, text);
    error_free(error);
}

static void app_rollback(struct rpc *rpc, const void *message) {
    const Modal__AppRollbackRequest *request = message;
    struct app *app = app_of(rpc->modal, request->app_id);
    const Modal__DeploymentRecord *wanted = NULL;
    int64_t version = request->version;
    for (size_t i = 0; app && i < app->deployment_count; i++)
        if ((version > 0 && app->deployments[i]->version == (uint64_t)version) ||
            (version < 0 && app->deployment_count - i == (size_t)(1 - version)))
            wanted = app->deployments[i];
    struct error *error = app ? NULL : no_object("app", request->app_id);
    if (!error && !wanted)
        error = error_new(ERROR_NOT_FOUND, "there is no version %lld of %s (`modal app history` lists them)",
                          (long long)version, app->name);
    if (!error) error = restore_deployment(app, wanted);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    autoscaler_forget(app);
    app->deployed_at = now_s();
    deployment_add(app, rpc_client_version(rpc), "", wanted->version);
    keep(rpc, app);
}

static void app_history(struct rpc *rpc, const void *message) {
    const Modal__AppDeploymentHistoryRequest *request = message;
    const struct app *app = app_of(rpc->modal, request->app_id);
    if (!app) {
        rpc_fail(rpc, no_object("app", request->app_id));
        return;
    }
    struct arena *arena = rpc_arena(rpc);
    Modal__AppDeploymentHistoryResponse answer = MODAL__APP_DEPLOYMENT_HISTORY_RESPONSE__INIT;
    answer.app_deployment_histories =
        arena_alloc(arena, (app->deployment_count + 1) * sizeof *answer.app_deployment_histories);
    for (size_t i = 0; i < app->deployment_count; i++) {
        const Modal__DeploymentRecord *record = app->deployments[i];
        Modal__AppDeploymentHistory *item = arena_alloc(arena, sizeof *item);
        modal__app_deployment_history__init(item);
        item->app_id = (char *)app->id;
        item->has_version = item->has_deployed_at = item->has_rollback_allowed = true;
        item->version = record->version;
        item->deployed_at = record->deployed_at;
        item->client_version = record->client_version;
        item->deployed_by = rpc->modal->user;
        item->tag = record->tag;
        item->has_rollback_version = record->has_rollback_version;
        item->rollback_version = record->rollback_version;
        item->rollback_allowed = i + 1 < app->deployment_count;
        answer.app_deployment_histories[answer.n_app_deployment_histories++] = item;
        answer.has_production_app_version = true;
        answer.production_app_version = record->version;
    }
    rpc_answer(rpc, &answer);
}

const struct rpc_method publish_methods[] = {
    {"AppPublish", &modal__app_publish_request__descriptor, app_publish, RPC_ONCE},
    {"AppRollback", &modal__app_rollback_request__descriptor, app_rollback, RPC_ONCE},
    {"AppDeploymentHistory", &modal__app_deployment_history_request__descriptor, app_history, RPC_TASK},
    {0},
};
