/* function: made before its code is known (precreate), given its definition (create), found by name, bound to
 * a class's parameters, asked for its numbers. The running definition stays until its app is published. */
#include "inside.h"

#include "runtime.h"
#include "schedule.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

struct function *function_of(struct modal *modal, const char *id) {
    return id ? map_get(modal->functions, span_of(id)) : NULL;
}

const struct definition *function_definition(const struct function *function) {
    const struct function *source = function->base ? function->base : function;
    return source->published ? source->published : source->staged;
}

const char *function_core_key(const struct function *function, char *out, size_t size) {
    snprintf(out, size, "%s.%s", function->core_app, function->core_name);
    return out;
}

struct function *function_new(struct app *app, const char *name) {
    struct function *function = NEW(struct function);
    scoped_string char *id = random_id("fu");
    id_set(function->id, id);
    function->app = app;
    function->name = mem_string(name);
    function->core_app = mem_string(app->core_name);
    function->core_name = core_name_of(name, 48);
    list_init(&function->queue);
    list_init(&function->retrying);
    list_init(&function->slots);
    list_init(&function->builds);
    map_put(app->modal->functions, span_of(function->id), function);
    map_put(app->functions, span_of(function->id), function);
    return function;
}

void function_id_restore(struct function *function, const char *id) {
    struct app *app = function->app;
    map_remove(app->functions, span_of(function->id));
    id_restore(app->modal->functions, function->id, id, function);
    map_put(app->functions, span_of(function->id), function);
}

void function_free(struct function *function) {
    struct modal *modal = function->app->modal;
    calls_function_gone(function);
    char key[160];
    function_core_key(function, key, sizeof key);
    if (map_get(modal->core_functions, span_of(key)) == function)
        map_remove(modal->core_functions, span_of(key));
    map_remove(modal->functions, span_of(function->id));
    schedule_free(function->schedule);
    definition_unref(function->published);
    definition_unref(function->staged);
    stats_free(function->stats);
    char *const strings[] = {function->name, function->parameters, function->bind_key, function->label,
                             function->url,  function->core_app,   function->core_name};
    for (size_t i = 0; i < COUNT(strings); i++) free(strings[i]);
    if (function->options) modal__function_options__free_unpacked(function->options, NULL);
    free(function);
}

static void web_set(struct function *function, const char *name, const Modal__WebhookConfig *web) {
    const struct modal *modal = function->app->modal;
    if (!web || web->type == MODAL__WEBHOOK_TYPE__WEBHOOK_TYPE_UNSPECIFIED) return;
    free(function->label);
    free(function->url);
    function->label = web_label(modal, function->app, name, web);
    function->url = web_url_of(modal, function->label);
}

void function_web_of(struct function *function, const Modal__Function *said) {
    const char *method;
    const Modal__WebhookConfig *web = definition_web(said, &method);
    struct span class = span_of(function->name); /* "Class.*" */
    class = span_cut(&class, '.');
    scoped_string char *name = method ? mem_printf(SPAN_FORMAT "-%s", SPAN_ARGS(class), method) : NULL;
    web_set(function, name ? name : function->name, web);
}

void function_web_reset(struct function *function, const Modal__Function *said) {
    free(take(function->label));
    free(take(function->url));
    function_web_of(function, said);
}

/* ---- what a client keeps of a function ---- */

static void *copy_array(struct arena *arena, const void *from, size_t count, size_t size) {
    void *copy = arena_alloc(arena, count * size + 1);
    if (count > 0) memcpy(copy, from, count * size);
    return copy;
}

static Modal__FunctionHandleMetadataMethodHandleMetadataEntry *
method_metadata(const struct function *function, const Modal__Function *said,
                const Modal__FunctionMethodDefinitionsEntry *entry, struct arena *arena) {
    const Modal__MethodDefinition *method = entry->value;
    Modal__FunctionHandleMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    modal__function_handle_metadata__init(metadata);
    metadata->function_name = method->function_name ? method->function_name : entry->key;
    metadata->has_function_type = true;
    metadata->function_type = method->function_type;
    metadata->has_is_method = metadata->is_method = true;
    metadata->use_method_name = entry->key;
    metadata->definition_id = (char *)function_definition(function)->id;
    metadata->function_schema = method->function_schema;
    metadata->n_supported_input_formats = method->n_supported_input_formats;
    metadata->supported_input_formats = method->supported_input_formats;
    metadata->n_supported_output_formats = method->n_supported_output_formats;
    metadata->supported_output_formats = method->supported_output_formats;
    const char *web;
    (void)definition_web(said, &web);
    if (web && strcmp(web, entry->key) == 0) metadata->web_url = function->url;
    Modal__FunctionHandleMetadataMethodHandleMetadataEntry *out = arena_alloc(arena, sizeof *out);
    modal__function_handle_metadata_method_handle_metadata_entry__init(out);
    out->key = entry->key;
    out->value = metadata;
    return out;
}

Modal__FunctionHandleMetadata *function_metadata(const struct function *function, struct arena *arena) {
    Modal__FunctionHandleMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    modal__function_handle_metadata__init(metadata);
    metadata->function_name = function->name;
    metadata->web_url = function->url ? function->url : "";
    metadata->app_id = function->app->id;
    const struct function *source = function->base ? function->base : function;
    const struct definition *definition = source->staged ? source->staged : source->published;
    if (!definition) return metadata;
    const Modal__Function *said = definition->function;
    metadata->has_function_type = true;
    metadata->function_type = said->function_type;
    metadata->definition_id = (char *)definition->id;
    metadata->has_is_method = said->is_method;
    metadata->is_method = said->is_method;
    metadata->use_function_id = said->use_function_id;
    metadata->use_method_name = said->use_method_name ? said->use_method_name : "";
    metadata->class_parameter_info = said->class_parameter_info;
    metadata->function_schema = said->function_schema;
    metadata->n_supported_input_formats = said->n_supported_input_formats;
    metadata->supported_input_formats = copy_array(
        arena, said->supported_input_formats, said->n_supported_input_formats, sizeof(Modal__DataFormat));
    metadata->n_supported_output_formats = said->n_supported_output_formats;
    metadata->supported_output_formats = copy_array(
        arena, said->supported_output_formats, said->n_supported_output_formats, sizeof(Modal__DataFormat));
    metadata->n_method_handle_metadata = said->n_method_definitions;
    metadata->method_handle_metadata =
        arena_alloc(arena, (said->n_method_definitions + 1) * sizeof *metadata->method_handle_metadata);
    for (size_t i = 0; i < said->n_method_definitions; i++)
        metadata->method_handle_metadata[i] =
            method_metadata(function, said, said->method_definitions[i], arena);
    if (function->base) metadata->base_function_id = function->base->id;
    return metadata;
}

/* As a variant is: what its options say stands in the place of what its base says. */
static const Modal__Function *said_of(const struct function *function, struct arena *arena) {
    const Modal__Function *said = function_definition(function)->function;
    const Modal__FunctionOptions *options = function->options;
    if (!options) return said;
    Modal__Function *own = arena_alloc(arena, sizeof *own);
    *own = *said;
    own->retry_policy = (Modal__FunctionRetryPolicy *)function_retries(function);
    if (options->resources) own->resources = options->resources;
    if (options->has_timeout_secs) own->timeout_secs = options->timeout_secs;
    own->has_timeout_secs |= options->has_timeout_secs;
    return own;
}

/* What the new client reads of a function: one ranked function, which is the function. */
static Modal__FunctionData *function_data(const struct function *function, struct arena *arena) {
    Modal__FunctionData *data = arena_alloc(arena, sizeof *data);
    modal__function_data__init(data);
    data->function_name = function->name;
    data->web_url = function->url ? function->url : "";
    if (!function_definition(function)) return data;
    const Modal__Function *said = said_of(function, arena);
    data->module_name = said->module_name;
    data->has_function_type = true;
    data->function_type = said->function_type;
    data->webhook_config = said->webhook_config;
    data->has_is_class = said->has_is_class, data->is_class = said->is_class;
    data->class_parameter_info = said->class_parameter_info;
    data->schedule = said->schedule;
    data->autoscaler_settings = said->autoscaler_settings;
    data->has_timeout_secs = said->has_timeout_secs, data->timeout_secs = said->timeout_secs;
    data->has_startup_timeout_secs = said->has_startup_timeout_secs;
    data->startup_timeout_secs = said->startup_timeout_secs;
    data->has_method_definitions_set = said->has_method_definitions_set;
    data->method_definitions_set = said->method_definitions_set;
    data->n_method_definitions = said->n_method_definitions;
    data->method_definitions = (Modal__FunctionDataMethodDefinitionsEntry **)said->method_definitions;
    data->function_schema = said->function_schema;
    Modal__FunctionDataRankedFunction *ranked = arena_alloc(arena, sizeof *ranked);
    modal__function_data_ranked_function__init(ranked);
    ranked->function = (Modal__Function *)said;
    data->ranked_functions = arena_alloc(arena, sizeof *data->ranked_functions);
    data->ranked_functions[0] = ranked;
    data->n_ranked_functions = 1;
    return data;
}

/* ---- precreate, create ---- */

static struct function *existing(struct app *app, const char *id, const char *name) {
    struct function *function = id && *id ? map_get(app->functions, span_of(id)) : NULL;
    return function ? function : function_new(app, name);
}

static void function_precreate(struct rpc *rpc, const void *message) {
    const Modal__FunctionPrecreateRequest *request = message;
    struct app *app = app_of(rpc->modal, request->app_id);
    if (!app || !request->function_name) {
        rpc_fail(rpc, no_object("app", request->app_id));
        return;
    }
    struct function *function = existing(app, request->existing_function_id, request->function_name);
    if (!function->published) web_set(function, function->name, request->webhook_config);
    Modal__FunctionPrecreateResponse answer = MODAL__FUNCTION_PRECREATE_RESPONSE__INIT;
    answer.function_id = function->id;
    answer.handle_metadata = function_metadata(function, rpc_arena(rpc));
    answer.handle_metadata->has_function_type = true;
    answer.handle_metadata->function_type = request->function_type;
    if (request->use_method_name) answer.handle_metadata->use_method_name = request->use_method_name;
    rpc_answer(rpc, &answer);
}

/* The definition's own bytes in the request: its `function`, or the first of function_data's ranked ones. */
static struct span definition_bytes(struct rpc *rpc) {
    struct span bytes = wire_field(rpc->message, 1);
    if (bytes.data) return bytes;
    struct span ranked = wire_field(wire_field(rpc->message, 9), 18);
    return wire_field(ranked, 2);
}

/* The older client says it beside the function: there too it becomes a part of the definition. */
static const Modal__Schedule *schedule_beside(const Modal__FunctionCreateRequest *request,
                                              const Modal__Function *function) {
    if (schedule_is_told(function->schedule)) return NULL;
    if (schedule_is_told(request->schedule)) return request->schedule;
    return request->function_data && schedule_is_told(request->function_data->schedule)
               ? request->function_data->schedule
               : NULL;
}

static struct error *definition_made(struct rpc *rpc, const Modal__FunctionCreateRequest *request,
                                     struct span bytes, struct definition **ret) {
    enum { SCHEDULE = 72 };
    TRY_PLAIN(definition_new(bytes, rpc_client_version(rpc), NULL, ret));
    const Modal__Schedule *beside = schedule_beside(request, (*ret)->function);
    if (!beside) return NULL;
    definition_unref(take(*ret));
    scoped_text struct text schedule = message_pack(beside), whole = {0};
    text_add(&whole, bytes);
    wire_add(&whole, SCHEDULE, text_span(&schedule));
    return definition_new(text_span(&whole), rpc_client_version(rpc), NULL, ret);
}

/* What would be broken or open, were it left out without a word. */
static struct error *check_built(const Modal__Function *function, struct span bytes) {
    enum { SHARED_MOUNTS = 16, S3_MOUNTS = 47, BUCKET_MOUNTS = 51 };
    TRY_PLAIN(definition_mounts_check(bytes, SHARED_MOUNTS, S3_MOUNTS, BUCKET_MOUNTS));
    TRY_PLAIN(schedule_check(function->schedule));
    return NULL;
}

static struct error *create(struct rpc *rpc, const Modal__FunctionCreateRequest *request,
                            struct function **ret) {
    struct app *app = app_of(rpc->modal, request->app_id);
    if (!app) return no_object("app", request->app_id);
    struct span bytes = definition_bytes(rpc);
    if (!bytes.data) return error_new(ERROR_INVALID_ARGUMENT, "FunctionCreate without a function");
    struct definition *definition;
    TRY_PLAIN(definition_made(rpc, request, bytes, &definition));
    const char *name = definition->function->function_name;
    if (!name || !*name) {
        definition_unref(definition);
        return error_new(ERROR_INVALID_ARGUMENT, "the function has no name");
    }
    struct function *function = existing(app, request->existing_function_id, name);
    function_web_of(function, definition->function);
    scoped(core_function) struct core_function *core = NULL;
    struct error *error = check_built(definition->function, bytes);
    if (!error && definition->function->image_id) error = definition_core(function, definition, &core);
    if (!error && core) error = core_function_check(core);
    if (error) {
        error = error_wrap(error, "function %s", name); /* the name is the definition's */
        definition_unref(definition);
        return error;
    }
    definition_unref(function->staged);
    function->staged = definition;
    *ret = function;
    return NULL;
}

static void on_deps(void *owner, const char *directory, struct error *error) {
    (void)directory;
    struct rpc *rpc = owner;
    struct function *function = rpc->owner ? function_of(rpc->modal, rpc->owner) : NULL;
    if (!error && (!function || !function->staged))
        error = error_new(ERROR_ABORTED, "the app was stopped meanwhile");
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct arena *arena = rpc_arena(rpc);
    Modal__Function echo = *function->staged->function;
    echo.web_url = function->url ? function->url : "";
    Modal__WebUrlInfo info = MODAL__WEB_URL_INFO__INIT;
    echo.web_url_info = &info;
    Modal__FunctionCreateResponse answer = MODAL__FUNCTION_CREATE_RESPONSE__INIT;
    answer.function_id = function->id;
    answer.function = &echo;
    answer.handle_metadata = function_metadata(function, arena);
    function_warnings(&answer, function, arena);
    if (!version_before(rpc_client_version(rpc), 1, 0, 0))
        answer.function_data = function_data(function, arena);
    rpc_answer(rpc, &answer);
}

/* What its containers import is fetched before the answer: once, and not at the first request. */
static void function_create(struct rpc *rpc, const void *message) {
    struct function *function = NULL;
    struct error *error = create(rpc, message, &function);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    rpc->owner = arena_text(rpc_arena(rpc), function->id);
    scoped_string char *deps = definition_deps(rpc->modal, function->staged);
    if (deps)
        runtime_mount(rpc->modal, deps, on_deps, rpc);
    else
        on_deps(rpc, NULL, NULL);
}

/* ---- found by name ---- */

struct function *function_by_name(struct modal *modal, const char *environment, const char *app_name,
                                  const char *tag) {
    scoped_string char *key = object_key(environment_of(environment), app_name ? app_name : "");
    const struct app *app = map_get(modal->deployed, span_of(key));
    return app && tag ? map_get(app->layout, span_of(tag)) : NULL;
}

static void function_get(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetRequest *request = message;
    struct function *function =
        function_by_name(rpc->modal, request->environment_name, request->app_name, request->object_tag);
    if (!function) {
        rpc_fail(rpc,
                 error_new(ERROR_NOT_FOUND, "no function '%s' is deployed in an app '%s' (environment %s)",
                           request->object_tag ? request->object_tag : "",
                           request->app_name ? request->app_name : "",
                           environment_of(request->environment_name)));
        return;
    }
    Modal__FunctionGetResponse answer = MODAL__FUNCTION_GET_RESPONSE__INIT;
    answer.function_id = function->id;
    answer.handle_metadata = function_metadata(function, rpc_arena(rpc));
    answer.function = function_data(function, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

/* A container's: of its own app, or of one that is deployed. */
static void function_get_by_id(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetByIdRequest *request = message;
    const struct function *function = function_of(rpc->modal, request->function_id);
    const struct function *asking = rpc->task ? rpc->task->function : NULL;
    bool hidden = function && rpc->task && (!asking || asking->app != function->app) &&
                  function->app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED;
    if (!function || hidden || !function_definition(function)) {
        rpc_fail(rpc, no_object("function", request->function_id));
        return;
    }
    Modal__FunctionGetByIdResponse answer = MODAL__FUNCTION_GET_BY_ID_RESPONSE__INIT;
    answer.handle_metadata = function_metadata(function, rpc_arena(rpc));
    answer.function = function_data(function, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

/* ---- its code and its numbers ---- */

static void function_get_serialized(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetSerializedRequest *request = message;
    const struct function *function = function_of(rpc->modal, request->function_id);
    const struct definition *definition = function ? function_definition(function) : NULL;
    const struct function *asking = rpc->task ? rpc->task->function : NULL;
    if (!definition || (rpc->task && (!asking || asking->app != function->app))) {
        rpc_fail(rpc, no_object("function", request->function_id));
        return;
    }
    Modal__FunctionGetSerializedResponse answer = MODAL__FUNCTION_GET_SERIALIZED_RESPONSE__INIT;
    answer.has_function_serialized = definition->function->has_function_serialized;
    answer.function_serialized = definition->function->function_serialized;
    answer.has_class_serialized = definition->function->has_class_serialized;
    answer.class_serialized = definition->function->class_serialized;
    rpc_answer(rpc, &answer);
}

static uint32_t running_inputs(const struct function *function) {
    uint32_t count = 0;
    void *value;
    for (size_t i = 0; table_next(function->app->modal->tasks, &i, NULL, &value);) {
        const struct task *task = value;
        if (task->function != function) continue;
        LIST_EACH(node, &task->running) count++;
    }
    return count;
}

static void function_stats(struct rpc *rpc, const void *message) {
    const Modal__FunctionGetCurrentStatsRequest *request = message;
    const struct function *function = function_of(rpc->modal, request->function_id);
    if (!function) {
        rpc_fail(rpc, no_object("function", request->function_id));
        return;
    }
    Modal__FunctionStats answer = MODAL__FUNCTION_STATS__INIT;
    struct pool_function *there =
        pool_function_find(rpc->modal->pool, function->core_app, function->core_name);
    struct pool_container_view containers[64];
    size_t count = there ? pool_container_views(there, containers, COUNT(containers)) : 0;
    answer.has_backlog = answer.has_num_total_tasks = answer.has_num_active_tasks = true;
    answer.has_num_running_inputs = true;
    answer.backlog = (uint32_t)function->queued;
    answer.num_total_tasks = (uint32_t)count;
    answer.num_running_inputs = running_inputs(function);
    for (size_t i = 0; i < count; i++) answer.num_active_tasks += containers[i].working > 0;
    rpc_answer(rpc, &answer);
}

const struct rpc_method function_methods[] = {
    {"FunctionPrecreate", &modal__function_precreate_request__descriptor, function_precreate, RPC_ONCE},
    {"FunctionCreate", &modal__function_create_request__descriptor, function_create, RPC_ONCE},
    {"FunctionGet", &modal__function_get_request__descriptor, function_get, RPC_TASK},
    {"FunctionGetById", &modal__function_get_by_id_request__descriptor, function_get_by_id, RPC_TASK},
    {"FunctionGetSerialized", &modal__function_get_serialized_request__descriptor, function_get_serialized,
     RPC_TASK},
    {"FunctionGetCurrentStats", &modal__function_get_current_stats_request__descriptor, function_stats,
     RPC_TASK},
    {0},
};
