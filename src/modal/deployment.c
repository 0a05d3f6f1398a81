/* deployment: the versions of an app that was deployed, the last DEPLOYMENTS_KEPT of them.
 *
 * Each is a record of all definitions and classes that it had. The last one that is not staged serves. A
 * staged one waits for its promotion; that, a rollback and a rollover are versions of their own again, which
 * name the one that they are made from. A rollover has the same definitions under new ids: by these the pool
 * tells containers apart, so that the old ones finish their work and leave. */
#include "deployment.h"

#include "autoscaler.h"
#include "schedule.h"

#include <stdlib.h>

#define DEPLOYMENTS_KEPT 20
#define DEPLOYMENTS_WITH_IMAGES 6 /* the last ones: an older one may have to be deployed anew */

static bool is_staged(const Modal__DeploymentRecord *record) {
    return record->type == MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_STAGED;
}

const Modal__DeploymentRecord *deployment_serving(const struct app *app) {
    for (size_t i = app->deployment_count; i > 0; i--)
        if (!is_staged(app->deployments[i - 1])) return app->deployments[i - 1];
    return NULL;
}

void deployments_free(struct app *app) {
    for (size_t i = 0; i < app->deployment_count; i++)
        modal__deployment_record__free_unpacked(app->deployments[i], NULL);
    free(app->deployments);
    app->deployments = NULL;
    app->deployment_count = 0;
}

/* ---- their images ---- */

static char *image_in(const Modal__FunctionRecord *function) {
    enum { IMAGE_ID = 4 }; /* of Modal's Function */
    return span_string(wire_field(
        (struct span){(const char *)function->definition.data, function->definition.len}, IMAGE_ID));
}

static bool images_there(const struct modal *modal, const Modal__DeploymentRecord *record) {
    for (size_t i = 0; i < record->n_functions; i++) {
        scoped_string char *id = image_in(record->functions[i]);
        if (*id && !image_of(modal, id)) return false;
    }
    return true;
}

void deployments_need(const struct app *app, struct map *needed) {
    const Modal__DeploymentRecord *serving = deployment_serving(app);
    if (app->state == MODAL__APP_STATE__APP_STATE_STOPPED) return;
    for (size_t i = 0; i < app->deployment_count; i++) {
        const Modal__DeploymentRecord *record = app->deployments[i];
        if (record != serving && i + DEPLOYMENTS_WITH_IMAGES < app->deployment_count) continue;
        for (size_t f = 0; f < record->n_functions; f++) {
            scoped_string char *id = image_in(record->functions[f]);
            if (*id) map_put(needed, span_of(id), (void *)app);
        }
    }
}

/* ---- a new one ---- */

static Modal__FunctionRecord *function_record(const struct function *function, const char *name, bool staged,
                                              struct arena *arena) {
    const struct definition *definition = staged && function->staged ? function->staged : function->published;
    Modal__FunctionRecord *made = arena_alloc(arena, sizeof *made);
    modal__function_record__init(made);
    made->id = (char *)function->id;
    made->name = (char *)name;
    made->has_definition = true;
    made->definition.len = definition->bytes.size;
    made->definition.data = (uint8_t *)definition->bytes.data;
    made->client_version = definition->client_version;
    made->definition_id = (char *)definition->id;
    return made;
}

static Modal__ClassRecord *class_record(const struct class *class, const char *name, struct arena *arena) {
    Modal__ClassRecord *made = arena_alloc(arena, sizeof *made);
    modal__class_record__init(made);
    made->id = (char *)class->id;
    made->name = (char *)name;
    made->n_method_names = made->n_method_ids = class->method_count;
    made->method_names = class->method_names;
    made->method_ids = class->method_ids;
    return made;
}

static void record_fill(Modal__DeploymentRecord *record, const struct deployment *deployment, bool staged,
                        struct arena *arena) {
    const char *key;
    void *value;
    record->functions = arena_alloc(arena, (map_count(deployment->layout) + 1) * sizeof *record->functions);
    for (size_t i = 0; map_next(deployment->layout, &i, &key, &value);)
        record->functions[record->n_functions++] = function_record(value, key, staged, arena);
    record->classes = arena_alloc(arena, (map_count(deployment->classes) + 1) * sizeof *record->classes);
    for (size_t i = 0; map_next(deployment->classes, &i, &key, &value);)
        record->classes[record->n_classes++] = class_record(value, key, arena);
}

static void add_taken(struct app *app, Modal__DeploymentRecord *taken_record) {
    app->deployments = mem_grow(app->deployments, app->deployment_count + 1, sizeof *app->deployments);
    app->deployments[app->deployment_count++] = taken_record;
    if (app->deployment_count <= DEPLOYMENTS_KEPT) return;
    size_t oldest = app->deployments[0] == deployment_serving(app); /* it goes when another one serves */
    modal__deployment_record__free_unpacked(app->deployments[oldest], NULL);
    memmove(app->deployments + oldest, app->deployments + oldest + 1,
            (--app->deployment_count - oldest) * sizeof *app->deployments);
}

/* A copy of its own, since what it is made from changes. */
static Modal__DeploymentRecord *record_copy(const Modal__DeploymentRecord *record) {
    scoped_text struct text bytes = message_pack(record);
    return modal__deployment_record__unpack(NULL, bytes.size, (const uint8_t *)bytes.data);
}

static void add(struct app *app, const struct deployment *deployment) {
    Modal__DeploymentRecord record = MODAL__DEPLOYMENT_RECORD__INIT;
    const Modal__DeploymentRecord *last =
        app->deployment_count ? app->deployments[app->deployment_count - 1] : NULL;
    scoped(arena) struct arena *arena = arena_new();
    record.has_version = record.has_deployed_at = record.has_type = true;
    record.version = last ? last->version + 1 : 1;
    record.deployed_at = now_s();
    record.type = deployment->type;
    record.client_version = (char *)deployment->client_version;
    record.tag = (char *)(deployment->tag ? deployment->tag : "");
    record.has_rollback_version = deployment->of > 0;
    record.rollback_version = deployment->of;
    record.commit_info = (Modal__CommitInfo *)deployment->commit;
    record_fill(&record, deployment, is_staged(&record), arena);
    if (!is_staged(&record)) app->deployed_at = record.deployed_at;
    add_taken(app, record_copy(&record));
}

/* ---- answers ---- */

static char *url_of(const struct app *app, struct arena *arena) {
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, NULL, &value);) {
        const struct function *function = value;
        if (function->url && *function->url) return function->url;
    }
    return arena_printf(arena, "catnap logs %s", app->core_name);
}

/* Rollback's and rollover's answers have the same fields. */
static void answer_with(struct rpc *rpc, const struct app *app, char *staged) {
    struct arena *arena = rpc_arena(rpc);
    Modal__Warning *warnings[2];
    Modal__AppPublishResponse answer = MODAL__APP_PUBLISH_RESPONSE__INIT;
    answer.url = url_of(app, arena);
    answer.has_deployed_at = true;
    answer.deployed_at = staged ? now_s() : app->deployed_at;
    answer.server_warnings = warnings;
    char *client = (char *)rpc_client_warning(rpc);
    if (client)
        warnings[answer.n_server_warnings++] = warning_new(
            arena, client, MODAL__WARNING_WARNING_TYPE__WarningWarningType_WARNING_TYPE_CLIENT_DEPRECATION);
    if (staged)
        warnings[answer.n_server_warnings++] = warning_new(
            arena, staged, MODAL__WARNING_WARNING_TYPE__WarningWarningType_WARNING_TYPE_UNSPECIFIED);
    rpc_answer(rpc, &answer);
}

void deployment_answer(struct rpc *rpc, const struct app *app) {
    answer_with(rpc, app, NULL);
}

static void answer_promoted(struct rpc *rpc, const struct app *app) {
    Modal__AppPromoteResponse answer = MODAL__APP_PROMOTE_RESPONSE__INIT;
    answer.url = url_of(app, rpc_arena(rpc));
    answer.has_deployed_at = true;
    answer.deployed_at = app->deployed_at;
    rpc_answer(rpc, &answer);
}

/* ---- written down ---- */

static void commit(struct rpc *rpc, struct app *app, void (*kept)(struct rpc *rpc, struct error *error)) {
    scoped_text struct text bytes = {0};
    app_record(app, &bytes);
    rpc->owner = arena_text(rpc_arena(rpc), app->id);
    const struct store_record record = {"modal-app", app->id, text_span(&bytes)};
    rpc_commit(rpc, &record, 1, kept);
}

/* NULL: the call is answered. */
static struct app *kept_app(struct rpc *rpc, struct error *error, bool serves) {
    struct app *app = app_of(rpc->modal, rpc->owner);
    if (!error && !app) error = error_new(ERROR_ABORTED, "the app was stopped meanwhile");
    if (!error && serves) error = app_to_pool(app);
    if (error) {
        rpc_fail(rpc, error);
        return NULL;
    }
    if (serves) schedules_start(app);
    return app;
}

static void on_kept(struct rpc *rpc, struct error *error) {
    const struct app *app = kept_app(rpc, error, true);
    if (app) deployment_answer(rpc, app);
}

static void on_promoted(struct rpc *rpc, struct error *error) {
    const struct app *app = kept_app(rpc, error, true);
    if (app) answer_promoted(rpc, app);
}

static void on_staged(struct rpc *rpc, struct error *error) {
    const struct app *app = kept_app(rpc, error, false);
    if (!app) return;
    const Modal__DeploymentRecord *last = app->deployments[app->deployment_count - 1],
                                  *serving = deployment_serving(app);
    struct arena *arena = rpc_arena(rpc);
    char *who = serving ? arena_printf(arena, "v%u goes on serving", serving->version) : "nothing serves";
    answer_with(rpc, app,
                arena_printf(arena, "v%u is staged: %s until `modal app promote %s v%u`", last->version, who,
                             app->name, last->version));
}

void deployment_keep(struct rpc *rpc, struct app *app, const struct deployment *deployment) {
    add(app, deployment);
    commit(rpc, app, on_kept);
}

/* What FunctionCreate changed of what serves is as it was. */
static void unstage(struct function *function) {
    definition_unref(take(function->staged));
    if (function->published) function_web_reset(function, function->published->function);
}

void deployment_stage(struct rpc *rpc, struct app *app, const char *name,
                      const struct deployment *deployment) {
    struct deployment staged = *deployment;
    staged.type = MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_STAGED;
    add(app, &staged);
    void *value;
    for (size_t i = 0; map_next(deployment->layout, &i, NULL, &value);) unstage(value);
    if (app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED) {
        app->state = MODAL__APP_STATE__APP_STATE_DEPLOYED;
        app_name_take(app, name);
    }
    commit(rpc, app, on_staged);
}

/* ---- from a record to what serves ---- */

static struct error *restore(struct app *app, const Modal__DeploymentRecord *record) {
    map_free(app->layout);
    map_free(app->classes);
    app->layout = map_new();
    app->classes = map_new();
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
        function_web_reset(function, definition->function);
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
    for (size_t i = 0; i < record->n_deployments; i++) add_taken(app, record_copy(record->deployments[i]));
    const Modal__DeploymentRecord *serving = deployment_serving(app);
    if (!serving) return;
    app->deployed_at = serving->deployed_at;
    struct error *error = restore(app, serving);
    if (!error) error = app_to_pool(app);
    if (!error) schedules_start(app);
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_error("modal", "app %s is not served: %s", app->name, text);
    error_free(error);
}

/* ---- back, forth, and anew ---- */

/* It serves, or what served goes on: what it needs (an image, a secret) may be gone. */
static struct error *bring(struct app *app, const Modal__DeploymentRecord *wanted) {
    scoped(core_app) struct core_app *core = NULL;
    struct error *error = restore(app, wanted);
    if (!error) error = app_core(app, &core);
    if (!error) return NULL;
    const Modal__DeploymentRecord *serving = deployment_serving(app);
    if (serving) error_free(restore(app, serving));
    return error_wrap(error, "v%u of %s", wanted->version, app->name);
}

static void brought(struct rpc *rpc, struct app *app, const Modal__DeploymentRecord *from,
                    Modal__DeploymentType type) {
    const struct deployment deployment = {.layout = app->layout,
                                          .classes = app->classes,
                                          .type = type,
                                          .of = from->version,
                                          .client_version = rpc_client_version(rpc),
                                          .tag = from->tag,
                                          .commit = from->commit_info};
    if (type != MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_ROLLOVER) autoscaler_forget(app);
    add(app, &deployment);
}

/* `version`: a number; below 0: so many before the one that serves. Staged ones are not among these. */
static const Modal__DeploymentRecord *version_of(const struct app *app, int64_t version) {
    int64_t back = 0;
    for (size_t i = app->deployment_count; i > 0; i--) {
        const Modal__DeploymentRecord *record = app->deployments[i - 1];
        if ((int64_t)record->version == version) return record;
        if (is_staged(record)) continue;
        if (version < 0 && back == version) return record;
        back--;
    }
    return NULL;
}

/* NULL: the call is answered. */
static struct app *asked_app(struct rpc *rpc, const char *id) {
    struct app *app = app_of(rpc->modal, id);
    if (!app) rpc_fail(rpc, no_object("app", id));
    return app;
}

static const Modal__DeploymentRecord *asked_version(struct rpc *rpc, const struct app *app, int64_t version) {
    const Modal__DeploymentRecord *wanted = version_of(app, version);
    if (!wanted)
        rpc_fail(rpc,
                 error_new(ERROR_NOT_FOUND, "there is no version %lld of %s (`modal app history` lists them)",
                           (long long)version, app->name));
    return wanted;
}

static void app_rollback(struct rpc *rpc, const void *message) {
    const Modal__AppRollbackRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    const Modal__DeploymentRecord *wanted = app ? asked_version(rpc, app, request->version) : NULL;
    if (!wanted) return;
    struct error *error =
        is_staged(wanted) ? error_new(ERROR_FAILED_PRECONDITION,
                                      "v%u of %s is staged and never served; `modal app promote` is for it",
                                      wanted->version, app->name)
                          : bring(app, wanted);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    brought(rpc, app, wanted, MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_ROLLBACK);
    commit(rpc, app, on_kept);
}

static void app_promote(struct rpc *rpc, const void *message) {
    const Modal__AppPromoteRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    const Modal__DeploymentRecord *wanted = app ? asked_version(rpc, app, request->version) : NULL;
    if (!wanted) return;
    struct error *error =
        is_staged(wanted)
            ? bring(app, wanted)
            : error_new(ERROR_FAILED_PRECONDITION,
                        "v%u of %s was not staged; `modal app rollback` brings an earlier one back",
                        wanted->version, app->name);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    brought(rpc, app, wanted, MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_PROMOTION);
    commit(rpc, app, on_promoted);
}

static struct error *renew(struct app *app) {
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, NULL, &value);) {
        struct function *function = value;
        struct definition *definition;
        if (!function->published) continue;
        TRY_PLAIN(definition_new(text_span(&function->published->bytes), function->published->client_version,
                                 NULL, &definition));
        definition_unref(function->published);
        function->published = definition;
    }
    return NULL;
}

static void app_rollover(struct rpc *rpc, const void *message) {
    const Modal__AppRolloverRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    const Modal__DeploymentRecord *serving = app ? deployment_serving(app) : NULL;
    if (!app) return;
    struct error *error =
        serving ? renew(app) : error_new(ERROR_FAILED_PRECONDITION, "nothing of %s serves yet", app->name);
    if (error || !serving) {
        rpc_fail(rpc, error);
        return;
    }
    brought(rpc, app, serving, MODAL__DEPLOYMENT_TYPE__DEPLOYMENT_TYPE_ROLLOVER);
    commit(rpc, app, on_kept);
}

static void app_history(struct rpc *rpc, const void *message) {
    const Modal__AppDeploymentHistoryRequest *request = message;
    const struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    struct arena *arena = rpc_arena(rpc);
    const Modal__DeploymentRecord *serving = deployment_serving(app);
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
        item->rollback_allowed = record != serving && !is_staged(record) && images_there(rpc->modal, record);
        item->commit_info = record->commit_info;
        item->has_deployment_type = record->has_type;
        item->deployment_type = record->type;
        answer.app_deployment_histories[answer.n_app_deployment_histories++] = item;
    }
    answer.has_production_app_version = serving != NULL;
    answer.production_app_version = serving ? serving->version : 0;
    rpc_answer(rpc, &answer);
}

const struct rpc_method deployment_methods[] = {
    {"AppRollback", &modal__app_rollback_request__descriptor, app_rollback, RPC_ONCE},
    {"AppPromote", &modal__app_promote_request__descriptor, app_promote, RPC_ONCE},
    {"AppRollover", &modal__app_rollover_request__descriptor, app_rollover, RPC_ONCE},
    {"AppDeploymentHistory", &modal__app_deployment_history_request__descriptor, app_history, RPC_TASK},
    {0},
};
