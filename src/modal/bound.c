/* bound: a function with a class's parameters, or with options: equal ones are one function. They are kept
 * with their app, since calls of them may outlive the daemon. */
#include "journal.h"

#include <stdlib.h>

static struct function *bound_new(struct function *base, const char *key, struct span parameters,
                                  Modal__FunctionOptions *taken_options) {
    struct function *bound = function_new(base->app, base->name);
    bound->base = base;
    bound->options = taken_options;
    bound->bind_key = mem_string(key);
    bound->parameters = mem_string_n(parameters.data ? parameters.data : "", parameters.size);
    bound->parameters_size = parameters.size;
    free(bound->core_name);
    bound->core_name = mem_printf("%s-%.8s", base->core_name, key);
    return bound;
}

/* Its app goes into the pool when all are there. */
void function_bound_restore(struct modal *modal, const Modal__BoundRecord *record) {
    struct function *base = function_of(modal, record->base_id);
    if (!base || !record->id || !record->bind_key || function_of(modal, record->id)) return;
    Modal__FunctionOptions *options =
        record->has_options ? modal__function_options__unpack(NULL, record->options.len, record->options.data)
                            : NULL;
    struct function *bound =
        bound_new(base, record->bind_key,
                  (struct span){(const char *)record->parameters.data, record->parameters.len}, options);
    function_id_restore(bound, record->id);
}

static void answer_bound(struct rpc *rpc, struct error *error) {
    struct function *bound = function_of(rpc->modal, rpc->owner);
    if (error || !bound) {
        rpc_fail(rpc, error ? error : no_object("function", rpc->owner));
        return;
    }
    Modal__FunctionBindParamsResponse answer = MODAL__FUNCTION_BIND_PARAMS_RESPONSE__INIT;
    answer.bound_function_id = bound->id;
    answer.handle_metadata = function_metadata(bound, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

/* Calls of it may outlive the daemon. */
static void keep_bound(struct rpc *rpc, const struct function *bound, struct span options) {
    Modal__BoundRecord record = MODAL__BOUND_RECORD__INIT;
    record.id = (char *)bound->id;
    record.base_id = bound->base->id;
    record.bind_key = bound->bind_key;
    record.has_parameters = true;
    record.parameters = (ProtobufCBinaryData){bound->parameters_size, (uint8_t *)bound->parameters};
    record.has_options = options.size > 0;
    record.options = (ProtobufCBinaryData){options.size, (uint8_t *)options.data};
    scoped_text struct text bytes = message_pack(&record);
    char *key = arena_printf(rpc_arena(rpc), "%s/%s", bound->app->id, bound->id);
    rpc_commit_soon(rpc, &(struct store_record){JOURNAL_BOUND, key, text_span(&bytes)}, 1, answer_bound);
}

static void bind_key(const struct function *base, struct span parameters, struct span options,
                     char hex[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    sha256_add(sum, base->id, strlen(base->id));
    sha256_add(sum, parameters.data, parameters.size);
    sha256_add(sum, "|", 1);
    sha256_add(sum, options.data, options.size);
    sha256_hex(sum, hex);
}

static struct function *bound_of(const struct function *base, const char *key) {
    void *value;
    for (size_t i = 0; map_next(base->app->functions, &i, NULL, &value);) {
        struct function *other = value;
        if (other->bind_key && strcmp(other->bind_key, key) == 0) return other;
    }
    return NULL;
}

/* Whether it can be served: its secrets and volumes are there. */
static struct error *check(const struct function *bound) {
    const struct definition *definition = function_definition(bound);
    const char *image = definition->function->image_id;
    if (!image || !*image) return NULL; /* C.m */
    scoped(core_function) struct core_function *core = NULL;
    return definition_core(bound, definition, &core);
}

static struct error *bind(struct function *base, const char *key, struct span parameters, struct span options,
                          struct function **ret) {
    Modal__FunctionOptions *said = NULL;
    if (options.size > 0)
        said = modal__function_options__unpack(NULL, options.size, (const uint8_t *)options.data);
    if (options.size > 0 && !said)
        return error_new(ERROR_INVALID_ARGUMENT, "the options of %s are no valid message", base->name);
    struct function *bound = bound_new(base, key, parameters, said);
    struct error *error = check(bound);
    if (!error && base->app->in_pool) error = app_to_pool(base->app);
    if (!error) {
        *ret = bound;
        return NULL;
    }
    map_remove(base->app->functions, span_of(bound->id));
    function_free(bound);
    return error;
}

static void function_bind(struct rpc *rpc, const void *message) {
    const Modal__FunctionBindParamsRequest *request = message;
    struct function *base = function_of(rpc->modal, request->function_id);
    if (!base || !function_definition(base)) {
        rpc_fail(rpc, no_object("function", request->function_id));
        return;
    }
    if (base->base) {
        rpc_fail(rpc, error_new(ERROR_INVALID_ARGUMENT, "%s has its parameters already", base->id));
        return;
    }
    struct span parameters = {(const char *)request->serialized_params.data, request->serialized_params.len};
    struct span options = wire_field(rpc->message, 3);
    const Modal__FunctionOptions *asked = request->function_options;
    enum { BUCKET_MOUNTS = 20, NONE = 0 };
    char key[SHA256_HEX_SIZE];
    bind_key(base, parameters, options, key);
    struct function *bound = bound_of(base, key);
    bool made = !bound;
    struct error *error = asked ? secrets_may_use(rpc, asked->secret_ids, asked->n_secret_ids) : NULL;
    if (!error) error = definition_mounts_check(options, NONE, NONE, BUCKET_MOUNTS);
    if (!error && made) error = bind(base, key, parameters, options, &bound);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    rpc->owner = arena_text(rpc_arena(rpc), bound->id);
    if (made && base->app->deployment_count > 0)
        keep_bound(rpc, bound, options);
    else
        answer_bound(rpc, NULL);
}

/* ---- told ---- */

struct variant {
    const struct function *function;
    size_t tasks;
};

static int busiest_first(const void *a, const void *b) {
    const struct variant *one = a, *other = b;
    if (one->tasks != other->tasks) return one->tasks < other->tasks ? 1 : -1;
    return strcmp(one->function->id, other->function->id);
}

static size_t tasks_of(const struct function *function) {
    size_t count = 0;
    void *value;
    for (size_t i = 0; table_next(function->app->modal->tasks, &i, NULL, &value);)
        count += ((const struct task *)value)->function == function;
    return count;
}

static void list_variants(struct rpc *rpc, const void *message) {
    const Modal__FunctionListVariantsRequest *request = message;
    const struct function *base = function_of(rpc->modal, request->function_id);
    if (!base) {
        rpc_fail(rpc, no_object("function", request->function_id));
        return;
    }
    struct arena *arena = rpc_arena(rpc);
    struct variant *variants = arena_alloc(arena, (map_count(base->app->functions) + 1) * sizeof *variants);
    size_t count = 0;
    void *value;
    for (size_t i = 0; map_next(base->app->functions, &i, NULL, &value);) {
        const struct function *function = value;
        if (function->base == base) variants[count++] = (struct variant){function, tasks_of(function)};
    }
    qsort(variants, count, sizeof *variants, busiest_first);
    if (request->limit > 0 && count > request->limit) count = request->limit;
    Modal__FunctionListVariantsResponse answer = MODAL__FUNCTION_LIST_VARIANTS_RESPONSE__INIT;
    answer.infos = arena_alloc(arena, (count + 1) * sizeof *answer.infos);
    answer.has_ordered_by_task_count = answer.ordered_by_task_count = true;
    for (size_t i = 0; i < count; i++) {
        const struct function *function = variants[i].function;
        Modal__FunctionVariantInfo *info = answer.infos[answer.n_infos++] = arena_alloc(arena, sizeof *info);
        modal__function_variant_info__init(info);
        info->function_id = (char *)function->id;
        info->has_serialized_params = function->parameters_size > 0;
        info->serialized_params =
            (ProtobufCBinaryData){function->parameters_size, (uint8_t *)function->parameters};
        info->function_options = function->options;
    }
    rpc_answer(rpc, &answer);
}

const struct rpc_method bound_methods[] = {
    {"FunctionListVariants", &modal__function_list_variants_request__descriptor, list_variants, 0},
    {"FunctionBindParams", &modal__function_bind_params_request__descriptor, function_bind, RPC_TASK},
    {0},
};
