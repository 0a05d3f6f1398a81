/* about: what is told of an app as a whole (`modal app info`), and its tags: words that its owner gives it.
 */
#include "inside.h"

#include <stdlib.h>

#define TAGS_MAX 100
#define TAG_BYTES_MAX 1024

/* ---- tags ---- */

struct entry { /* of a map of strings, whichever message it is in: protobuf-c gives each the same fields */
    ProtobufCMessage base;
    char *key, *value;
};

void app_tags_free(struct app *app) {
    void *value;
    for (size_t i = 0; map_next(app->tags, &i, NULL, &value);) free(value);
    map_free(app->tags);
}

struct error *app_tags_set(struct app *app, void *const *entries, size_t count) {
    if (count > TAGS_MAX) return error_new(ERROR_INVALID_ARGUMENT, "an app has at most %d tags", TAGS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = entries[i];
        if (!entry->key || !*entry->key || strlen(entry->key) > TAG_BYTES_MAX ||
            (entry->value && strlen(entry->value) > TAG_BYTES_MAX))
            return error_new(ERROR_INVALID_ARGUMENT, "a tag has a name, and at most %d bytes", TAG_BYTES_MAX);
    }
    app_tags_free(app);
    app->tags = map_new();
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = entries[i];
        free(map_put(app->tags, span_of(entry->key), mem_string(entry->value ? entry->value : "")));
    }
    return NULL;
}

static struct app *asked_app(struct rpc *rpc, const char *id) {
    struct app *app = app_of(rpc->modal, id);
    if (!app) rpc_fail(rpc, no_object("app", id));
    return app;
}

static void get_tags(struct rpc *rpc, const void *message) {
    const Modal__AppGetTagsRequest *request = message;
    const struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    struct arena *arena = rpc_arena(rpc);
    Modal__AppGetTagsResponse answer = MODAL__APP_GET_TAGS_RESPONSE__INIT;
    answer.tags = arena_alloc(arena, (map_count(app->tags) + 1) * sizeof *answer.tags);
    const char *name;
    void *value;
    for (size_t i = 0; map_next(app->tags, &i, &name, &value);) {
        Modal__AppGetTagsResponseTagsEntry *entry = arena_alloc(arena, sizeof *entry);
        modal__app_get_tags_response_tags_entry__init(entry);
        entry->key = (char *)name;
        entry->value = value;
        answer.tags[answer.n_tags++] = entry;
    }
    rpc_answer(rpc, &answer);
}

static void set_tags(struct rpc *rpc, const void *message) {
    const Modal__AppSetTagsRequest *request = message;
    struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    struct error *error = app_tags_set(app, (void *const *)request->tags, request->n_tags);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    if (app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED) {
        rpc_answer_empty(rpc);
        return;
    }
    scoped_text struct text bytes = {0};
    app_record(app, &bytes);
    rpc_commit(rpc, &(struct store_record){"modal-app", app->id, text_span(&bytes)}, 1, rpc_answer_kept);
}

/* ---- by name ---- */

static void on_made(struct rpc *rpc, struct error *error) {
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__AppGetOrCreateResponse answer = MODAL__APP_GET_OR_CREATE_RESPONSE__INIT;
    answer.app_id = rpc->owner;
    rpc_answer(rpc, &answer);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__AppGetOrCreateRequest *request = message;
    const char *environment = environment_of(request->environment_name), *name = request->app_name;
    scoped_string char *key = object_key(environment, name ? name : "");
    struct app *app = map_get(rpc->modal->deployed, span_of(key));
    bool makes =
        request->object_creation_type != MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_UNSPECIFIED;
    struct error *error = NULL;
    if (!app && !environment_known(rpc->modal, environment))
        error = no_object("environment", environment);
    else if (!app && (!makes || !name || !*name))
        error = error_new(ERROR_NOT_FOUND, "there is no app '%s' (create_if_missing=True makes it)",
                          name ? name : "");
    else if (!app && rpc->task)
        error = error_new(ERROR_PERMISSION_DENIED, "apps are not made by containers");
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    if (app) {
        rpc->owner = app->id;
        on_made(rpc, NULL);
        return;
    }
    app = app_new(rpc->modal, name, environment, MODAL__APP_STATE__APP_STATE_INITIALIZING);
    app->state = MODAL__APP_STATE__APP_STATE_DEPLOYED;
    app->deployed_at = now_s();
    app_name_take(app, NULL);
    rpc->owner = arena_text(rpc_arena(rpc), app->id);
    scoped_text struct text bytes = {0};
    app_record(app, &bytes);
    rpc_commit(rpc, &(struct store_record){"modal-app", app->id, text_span(&bytes)}, 1, on_made);
}

/* ---- info ---- */

static Modal__AppGetInfoResponseFunctionInfoSummary *summary_of(const struct function *function,
                                                                struct arena *arena) {
    Modal__AppGetInfoResponseFunctionInfoSummary *summary = arena_alloc(arena, sizeof *summary);
    modal__app_get_info_response_function_info_summary__init(summary);
    const struct definition *definition = function_definition(function);
    if (!definition) return summary;
    const Modal__Function *said = definition->function;
    summary->has_web_function = true;
    summary->web_function = definition_is_web(definition);
    summary->schedule = said->schedule;
    if (said->resources && said->resources->gpu_config) {
        summary->n_gpu_config = 1;
        summary->gpu_config = arena_alloc(arena, sizeof *summary->gpu_config);
        summary->gpu_config[0] = said->resources->gpu_config;
    }
    return summary;
}

static void get_info(struct rpc *rpc, const void *message) {
    const Modal__AppGetInfoRequest *request = message;
    const struct app *app = asked_app(rpc, request->app_id);
    if (!app) return;
    struct arena *arena = rpc_arena(rpc);
    size_t count = map_count(app->layout) + 1;
    Modal__AppLifecycle lifecycle;
    app_lifecycle_fill(app, &lifecycle);
    Modal__AppHandleMetadata info = MODAL__APP_HANDLE_METADATA__INIT;
    info.description = app->name;
    info.app_id = (char *)app->id;
    info.environment_name = app->environment;
    info.lifecycle = &lifecycle;
    info.functions = arena_alloc(arena, count * sizeof *info.functions);
    Modal__AppGetInfoResponse answer = MODAL__APP_GET_INFO_RESPONSE__INIT;
    answer.info = &info;
    answer.function_info_summaries = arena_alloc(arena, count * sizeof *answer.function_info_summaries);
    const char *tag;
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, &tag, &value);) {
        struct function *function = value;
        Modal__AppHandleMetadataFunctionsEntry *entry = arena_alloc(arena, sizeof *entry);
        modal__app_handle_metadata_functions_entry__init(entry);
        entry->key = (char *)tag;
        entry->value = function->id;
        info.functions[info.n_functions++] = entry;
        Modal__AppGetInfoResponseFunctionInfoSummariesEntry *about = arena_alloc(arena, sizeof *about);
        modal__app_get_info_response_function_info_summaries_entry__init(about);
        about->key = function->id;
        about->value = summary_of(function, arena);
        answer.function_info_summaries[answer.n_function_info_summaries++] = about;
    }
    rpc_answer(rpc, &answer);
}

const struct rpc_method about_methods[] = {
    {"AppGetOrCreate", &modal__app_get_or_create_request__descriptor, get_or_create, RPC_TASK | RPC_ONCE},
    {"AppGetTags", &modal__app_get_tags_request__descriptor, get_tags, RPC_TASK},
    {"AppSetTags", &modal__app_set_tags_request__descriptor, set_tags, 0},
    {"AppGetInfo", &modal__app_get_info_request__descriptor, get_info, RPC_TASK},
    {0},
};
