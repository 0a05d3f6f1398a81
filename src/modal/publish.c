/* publish: the moment in which what was created becomes what serves. All functions of a deploy switch
 * together, after the change is on the disk; containers of the old definitions finish their work and leave.
 * What is staged becomes a version of the app's (deployment.c), and nothing that serves is touched. */
#include "inside.h"

#include "autoscaler.h"
#include "deployment.h"

#include <stdio.h>
#include <stdlib.h>

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

/* Class names are those of the request at once: a class has the same in each version. */
static void read_layout(struct app *app, const Modal__AppPublishRequest *request, struct map *layout,
                        struct map *classes) {
    for (size_t i = 0; i < request->n_function_ids; i++)
        map_put(layout, span_of(request->function_ids[i]->key),
                map_get(app->functions, span_of(request->function_ids[i]->value)));
    for (size_t i = 0; i < request->n_class_ids; i++) {
        struct class *class = map_get(app->modal->classes, span_of(request->class_ids[i]->value));
        free(class->name);
        class->name = mem_string(request->class_ids[i]->key);
        map_put(classes, span_of(class->name), class);
    }
}

static void switch_over(struct app *app, const Modal__AppPublishRequest *request) {
    map_free(app->layout);
    map_free(app->classes);
    app->layout = map_new();
    app->classes = map_new();
    read_layout(app, request, app->layout, app->classes);
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, NULL, &value);) {
        struct function *function = value;
        if (!function->staged) continue;
        definition_unref(function->published);
        function->published = take(function->staged);
    }
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

static void app_publish(struct rpc *rpc, const void *message) {
    const Modal__AppPublishRequest *request = message;
    struct app *app = app_of(rpc->modal, request->app_id);
    bool deploys = request->app_state == MODAL__APP_STATE__APP_STATE_DEPLOYED;
    struct error *error = app ? NULL : no_object("app", request->app_id);
    if (!error && app->state == MODAL__APP_STATE__APP_STATE_STOPPED)
        error = error_new(ERROR_FAILED_PRECONDITION, "the app %s was stopped; deploy it anew", app->name);
    if (!error && request->staged && !deploys)
        error = error_new(ERROR_INVALID_ARGUMENT, "only what is deployed has staged versions");
    if (!error) error = layout_check(app, request);
    if (!error && request->n_tags > 0)
        error = app_tags_set(app, (void *const *)request->tags, request->n_tags);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct deployment deployment = {.type = MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_STANDARD,
                                    .client_version = rpc_client_version(rpc),
                                    .tag = request->deployment_tag,
                                    .commit = request->commit_info};
    if (request->staged) {
        scoped(map) struct map *layout = map_new(), *classes = map_new();
        read_layout(app, request, layout, classes);
        deployment.layout = layout, deployment.classes = classes;
        deployment_stage(rpc, app, request->name, &deployment);
        return;
    }
    switch_over(app, request);
    autoscaler_forget(app);
    app->deployed_at = now_s();
    if (!deploys) {
        error = app_to_pool(app);
        if (error)
            rpc_fail(rpc, error);
        else
            deployment_answer(rpc, app);
        return;
    }
    app->state = MODAL__APP_STATE__APP_STATE_DEPLOYED;
    app_name_take(app, request->name);
    deployment.layout = app->layout, deployment.classes = app->classes;
    deployment_keep(rpc, app, &deployment);
}

const struct rpc_method publish_methods[] = {
    {"AppPublish", &modal__app_publish_request__descriptor, app_publish, RPC_ONCE},
    {0},
};
