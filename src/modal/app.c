/* app: from its creation to its end. An ephemeral one lives as long as its client's heartbeats; a deployed
 * one until it is stopped.
 *
 *   initializing --publish--> deployed --stop--> stopped        ephemeral, detached --disconnect, no
 * heartbeat, stop--> stopped Stopped: its functions leave the pool, its containers end within their grace,
 * and when the last is gone its logs say so. */
#include "autoscaler.h"
#include "deployment.h"
#include "journal.h"
#include "sandbox.h"
#include "schedule.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

#define HEARTBEAT_PATIENCE_MS 60000 /* clients send one every 15 s */
#define STOPPED_KEPT_MS 600000      /* an ephemeral app that ended can be asked about for a while */

struct app *app_of(struct modal *modal, const char *id) {
    return id ? map_get(modal->apps, span_of(id)) : NULL;
}

bool app_is_ephemeral(const struct app *app) {
    return app->state == MODAL__APP_STATE__APP_STATE_EPHEMERAL ||
           app->state == MODAL__APP_STATE__APP_STATE_DETACHED ||
           app->state == MODAL__APP_STATE__APP_STATE_DETACHED_DISCONNECTED;
}

static void on_silent(void *owner) {
    struct app *app = owner;
    if (app->state == MODAL__APP_STATE__APP_STATE_STOPPED) {
        app_free(app);
        return;
    }
    log_info("modal", "app %s (%s): its client has not been heard of for a minute; it is stopped", app->name,
             app->id);
    app_stop(app);
}

/* In the pool an ephemeral app has a name of its own, beside a deployed one of the same name. */
static void core_name_set(struct app *app) {
    free(app->core_name);
    bool plain = strcmp(app->environment, ENVIRONMENT_DEFAULT) == 0;
    scoped_string char *whole =
        plain ? mem_string(app->name) : mem_printf("%s.%s", app->environment, app->name);
    scoped_string char *base = core_name_of(whole, 40);
    app->core_name = app->state == MODAL__APP_STATE__APP_STATE_INITIALIZING
                         ? mem_string(base)
                         : mem_printf("%s-dev-%.6s", base, app->id + 3);
}

struct app *app_new(struct modal *modal, const char *name, const char *environment, int state) {
    struct app *app = NEW(struct app);
    scoped_string char *head = random_id("ap"), *tail = random_id("");
    snprintf(app->id, sizeof app->id, "%s%.6s", head,
             tail + 1); /* 22 characters: by that clients tell it from a name */
    app->modal = modal;
    app->name = mem_string(name && *name ? name : "app");
    app->environment = mem_string(environment);
    app->state = state;
    app->created_at = now_s();
    app->functions = map_new();
    app->layout = map_new();
    app->classes = map_new();
    app->tags = map_new();
    app->overrides = map_new();
    list_init(&app->functions_made);
    list_init(&app->log_streams);
    core_name_set(app);
    app->heartbeat = io_timer_new(modal->loop, on_silent, app);
    if (state == MODAL__APP_STATE__APP_STATE_EPHEMERAL) io_timer_arm(app->heartbeat, HEARTBEAT_PATIENCE_MS);
    map_put(modal->apps, span_of(app->id), app);
    return app;
}

void app_free(struct app *app) {
    struct modal *modal = app->modal;
    void *value;
    sandboxes_of_app_end(app, true);
    rpc_held_end(&app->log_streams, ERROR_NOT_FOUND, "the app is gone");
    for (size_t i = 0; map_next(modal->classes, &i, NULL, &value);) {
        struct class *class = value;
        if (class->app != app) continue;
        class_free(class);
        i = 0;
    }
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) function_free(value);
    map_remove(modal->apps, span_of(app->id));
    scoped_string char *key = object_key(app->environment, app->name);
    if (map_get(modal->deployed, span_of(key)) == app) map_remove(modal->deployed, span_of(key));
    map_free(app->functions);
    map_free(app->layout);
    map_free(app->classes);
    app_tags_free(app);
    autoscaler_forget(app);
    map_free(app->overrides);
    io_timer_free(app->heartbeat);
    deployments_free(app);
    stats_free(app->sandbox_stats);
    free(app->name);
    free(app->environment);
    free(app->core_name);
    free(app);
}

uint32_t app_running_tasks(const struct app *app) {
    uint32_t count = 0;
    void *value;
    for (size_t i = 0; table_next(app->modal->tasks, &i, NULL, &value);) {
        const struct task *task = value;
        count += task->function && task->function->app == app;
    }
    return count + sandboxes_running(app);
}

void app_stop(struct app *app) {
    struct modal *modal = app->modal;
    if (app->state == MODAL__APP_STATE__APP_STATE_STOPPED) return;
    log_info("modal", "app %s (%s) stops", app->name, app->id);
    app->state = MODAL__APP_STATE__APP_STATE_STOPPED;
    app->stopped_at = now_s();
    schedules_stop(app);
    scoped_string char *key = object_key(app->environment, app->name);
    if (map_get(modal->deployed, span_of(key)) == app) map_remove(modal->deployed, span_of(key));
    void *value;
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);)
        function_refuse_all(value, "the app was stopped");
    for (size_t i = 0; table_next(modal->tasks, &i, NULL, &value);) {
        struct task *task = value;
        if (task->function && task->function->app == app) task_abandon(task, "the app was stopped");
    }
    sandboxes_of_app_end(app, false);
    if (app->in_pool) error_free(pool_app_remove(modal->pool, app->core_name));
    app->in_pool = false;
    app_tasks_gone(app);
    io_timer_arm(app->heartbeat, STOPPED_KEPT_MS);
}

/* ---- what clients ask ---- */

static void app_create(struct rpc *rpc, const void *message) {
    const Modal__AppCreateRequest *request = message;
    const char *environment = environment_of(request->environment_name);
    if (!environment_known(rpc->modal, environment)) {
        rpc_fail(rpc, error_new(ERROR_NOT_FOUND,
                                "there is no environment '%s' (`modal environment create %s` makes it)",
                                environment, environment));
        return;
    }
    int state = request->has_app_state ? (int)request->app_state : MODAL__APP_STATE__APP_STATE_INITIALIZING;
    struct app *app = app_new(rpc->modal, request->description, environment, state);
    struct error *error = app_tags_set(app, (void *const *)request->tags, request->n_tags);
    if (error) {
        app_free(app);
        rpc_fail(rpc, error);
        return;
    }
    char *page = arena_printf(rpc_arena(rpc), "catnap logs %s", app->core_name);
    Modal__AppCreateResponse answer = MODAL__APP_CREATE_RESPONSE__INIT;
    answer.app_id = app->id;
    answer.app_page_url = answer.app_logs_url = page;
    rpc_answer(rpc, &answer);
}

void app_lifecycle_fill(const struct app *app, Modal__AppLifecycle *out) {
    modal__app_lifecycle__init(out);
    out->has_app_state = out->has_created_at = out->has_version = true;
    out->app_state = (Modal__AppState)app->state;
    out->created_at = app->created_at;
    out->has_deployed_at = app->deployed_at > 0;
    out->deployed_at = app->deployed_at;
    out->has_stopped_at = app->stopped_at > 0;
    out->stopped_at = app->stopped_at;
    const Modal__DeploymentRecord *serving = deployment_serving(app);
    out->version = serving ? (int32_t)serving->version : 0;
    out->created_by = out->deployed_by = app->modal->user;
}

/* The last one of that name that was deployed and stopped, as long as it is remembered. */
static struct app *stopped_app(const struct modal *modal, const char *environment, const char *name) {
    struct app *last = NULL;
    void *value;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) {
        struct app *app = value;
        bool fits = app->state == MODAL__APP_STATE__APP_STATE_STOPPED && app->deployment_count > 0 &&
                    strcmp(app->name, name) == 0 && strcmp(app->environment, environment) == 0;
        if (fits && (!last || app->stopped_at > last->stopped_at)) last = app;
    }
    return last;
}

static void app_by_name(struct rpc *rpc, const void *message) {
    const Modal__AppGetByDeploymentNameRequest *request = message;
    const char *environment = environment_of(request->environment_name),
               *name = request->name ? request->name : "";
    scoped_string char *key = object_key(environment, name);
    struct app *app = map_get(rpc->modal->deployed, span_of(key));
    struct app *before = app ? NULL : stopped_app(rpc->modal, environment, name);
    Modal__AppGetByDeploymentNameResponse answer = MODAL__APP_GET_BY_DEPLOYMENT_NAME_RESPONSE__INIT;
    Modal__AppLifecycle lifecycle;
    answer.app_id = app ? app->id : "";
    answer.previous_app_id = before ? before->id : "";
    answer.environment_name = (char *)environment;
    if (app || before) {
        app_lifecycle_fill(app ? app : before, &lifecycle);
        answer.lifecycle = &lifecycle;
    }
    rpc_answer(rpc, &answer);
}

static struct app *asked_app(struct rpc *rpc, const char *id) {
    struct app *app = app_of(rpc->modal, id);
    if (!app) rpc_fail(rpc, no_object("app", id));
    return app;
}

static void app_heartbeat(struct rpc *rpc, const void *message) {
    const Modal__AppHeartbeatRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    if (app->state == MODAL__APP_STATE__APP_STATE_EPHEMERAL)
        io_timer_arm(app->heartbeat, HEARTBEAT_PATIENCE_MS);
    rpc_answer_empty(rpc);
}

static void app_disconnect(struct rpc *rpc, const void *message) {
    const Modal__AppClientDisconnectRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    bool detached = app->state == MODAL__APP_STATE__APP_STATE_DETACHED;
    if (detached && request->reason == MODAL__APP_DISCONNECT_REASON__APP_DISCONNECT_REASON_KEYBOARD_INTERRUPT)
        app->state = MODAL__APP_STATE__APP_STATE_DETACHED_DISCONNECTED;
    else if (app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED)
        app_stop(app);
    rpc_answer_empty(rpc);
}

static void app_stop_asked(struct rpc *rpc, const void *message) {
    const Modal__AppStopRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    bool kept = app->deployment_count > 0 || app->state == MODAL__APP_STATE__APP_STATE_DEPLOYED;
    const char *bound = arena_printf(rpc_arena(rpc), "%s/", app->id);
    const struct store_record records[] = {{"modal-app", app->id, {NULL, 0}},
                                           {JOURNAL_BOUND, bound, STORE_BELOW}};
    app_stop(app);
    if (kept)
        rpc_commit(rpc, records, COUNT(records), rpc_answer_kept);
    else
        rpc_answer_empty(rpc);
}

static void app_list(struct rpc *rpc, const void *message) {
    const Modal__AppListRequest *request = message;
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    const char *environment = environment_of(request->environment_name);
    Modal__AppListResponse answer = MODAL__APP_LIST_RESPONSE__INIT;
    answer.apps = arena_alloc(arena, (map_count(modal->apps) + 1) * sizeof *answer.apps);
    void *value;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) {
        struct app *app = value;
        if (strcmp(app->environment, environment) != 0 ||
            app->state == MODAL__APP_STATE__APP_STATE_INITIALIZING)
            continue;
        Modal__AppListResponseAppListItem *item = arena_alloc(arena, sizeof *item);
        modal__app_list_response_app_list_item__init(item);
        item->app_id = app->id;
        item->description = item->name = app->name;
        item->has_state = item->has_created_at = item->has_n_running_tasks = true;
        item->state = (Modal__AppState)app->state;
        item->created_at = app->created_at;
        item->has_stopped_at = app->stopped_at > 0;
        item->stopped_at = app->stopped_at;
        item->n_running_tasks = (int32_t)app_running_tasks(app);
        answer.apps[answer.n_apps++] = item;
    }
    rpc_answer(rpc, &answer);
}

static void app_lifecycle(struct rpc *rpc, const void *message) {
    const Modal__AppGetLifecycleRequest *request = message;
    const struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    Modal__AppLifecycle lifecycle;
    app_lifecycle_fill(app, &lifecycle);
    Modal__AppGetLifecycleResponse answer = MODAL__APP_GET_LIFECYCLE_RESPONSE__INIT;
    answer.lifecycle = &lifecycle;
    rpc_answer(rpc, &answer);
}

const struct rpc_method app_methods[] = {
    {"AppCreate", &modal__app_create_request__descriptor, app_create, RPC_ONCE},
    {"AppGetByDeploymentName", &modal__app_get_by_deployment_name_request__descriptor, app_by_name, RPC_TASK},
    {"AppHeartbeat", &modal__app_heartbeat_request__descriptor, app_heartbeat, 0},
    {"AppClientDisconnect", &modal__app_client_disconnect_request__descriptor, app_disconnect, 0},
    {"AppStop", &modal__app_stop_request__descriptor, app_stop_asked, 0},
    {"AppList", &modal__app_list_request__descriptor, app_list, RPC_TASK},
    {"AppGetLifecycle", &modal__app_get_lifecycle_request__descriptor, app_lifecycle, RPC_TASK},
    {0},
};
