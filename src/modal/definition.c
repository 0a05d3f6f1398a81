/* definition: what a client said a function is, and what that is for the pool.
 *
 * The bytes are kept as they came: a container gets them again, and its client may know fields that we do
 * not. */
#include "inside.h"

#include "autoscaler.h"
#include "runtime.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_DEFAULT_S 300
#define STARTUP_LEAST_S 60
#define GRACE_MS 30000 /* exit hooks and the last commit of its volumes run in it */
#define DOZE_AFTER_MS 10000
#define QUEUE_MAX 100000
#define LINGER_MAX_MS 600000 /* the client's own limit of a batch's wait */

struct error *definition_new(struct span bytes, const char *client_version, const char *id_or_null,
                             struct definition **ret) {
    struct definition *definition = NEW(struct definition);
    definition->references = 1;
    definition->arena = arena_new();
    definition->client_version = mem_string(client_version);
    text_add(&definition->bytes, bytes);
    ProtobufCAllocator allocator = arena_allocator(definition->arena);
    definition->function = modal__function__unpack(&allocator, bytes.size, (const uint8_t *)bytes.data);
    scoped_string char *id = id_or_null ? mem_string(id_or_null) : random_id("de");
    id_set(definition->id, id);
    *ret = definition;
    if (definition->function) return NULL;
    definition_unref(definition);
    *ret = NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "the function's definition is no valid message");
}

struct definition *definition_ref(struct definition *definition) {
    definition->references++;
    return definition;
}

void definition_unref(struct definition *definition) {
    if (!definition || --definition->references > 0) return;
    text_done(&definition->bytes);
    arena_free(definition->arena);
    free(definition->client_version);
    free(definition);
}

/* "1.6.4" before 0.71? Parts that are no numbers (1.0.0.dev3) end it. */
bool version_before(const char *version, unsigned major, unsigned minor, unsigned patch) {
    unsigned wanted[] = {major, minor, patch};
    struct span rest = span_of(version);
    for (size_t i = 0; i < COUNT(wanted); i++) {
        uint64_t number = 0;
        struct span part = rest.data ? span_cut(&rest, '.') : (struct span){0};
        size_t digits = 0;
        while (digits < part.size && part.data[digits] >= '0' && part.data[digits] <= '9') digits++;
        (void)span_to_u64((struct span){part.data, digits}, &number);
        if (number != wanted[i]) return number < wanted[i];
    }
    return false;
}

static bool is_web(const Modal__WebhookConfig *web) {
    return web && web->type != MODAL__WEBHOOK_TYPE__WEBHOOK_TYPE_UNSPECIFIED;
}

bool definition_is_web(const struct definition *definition) {
    return is_web(definition->function->webhook_config);
}

/* Newer clients make one function of a class; older ones one of each method. */
const Modal__WebhookConfig *definition_web(const Modal__Function *said, const char **ret_method) {
    *ret_method = NULL;
    if (is_web(said->webhook_config)) return said->webhook_config;
    for (size_t i = 0; i < said->n_method_definitions; i++) {
        const Modal__FunctionMethodDefinitionsEntry *entry = said->method_definitions[i];
        if (!entry->value || !is_web(entry->value->webhook_config)) continue;
        *ret_method = entry->key;
        return entry->value->webhook_config;
    }
    return NULL;
}

/* ---- for the pool ---- */

static uint32_t first_of(uint32_t a, uint32_t b, uint32_t otherwise) {
    return a ? a : b ? b : otherwise;
}

static uint32_t at_most(uint32_t value, uint32_t limit) {
    return value < limit ? value : limit;
}

static void set_numbers(struct core_function *core, const Modal__Function *function) {
    core->max_inputs = first_of(function->max_concurrent_inputs, 0, 1);
    core->target_inputs = at_most(function->target_concurrent_inputs, core->max_inputs);
    core->doze_after_ms = DOZE_AFTER_MS;
    core->timeout_ms = (int64_t)first_of(function->timeout_secs, 0, TIMEOUT_DEFAULT_S) * 1000;
    uint32_t startup_s = first_of(function->startup_timeout_secs, function->timeout_secs, TIMEOUT_DEFAULT_S);
    /* Where nobody told another one it is the timeout; of a short one, which is meant for the work, a start
     * has no part. */
    if (startup_s == function->timeout_secs && startup_s < STARTUP_LEAST_S) startup_s = STARTUP_LEAST_S;
    core->startup_timeout_ms = (int64_t)startup_s * 1000;
    core->queue_max = QUEUE_MAX;
}

static const char *gpu_name(const Modal__GPUConfig *gpu) {
    if (gpu->gpu_type && *gpu->gpu_type) return gpu->gpu_type;
    switch (gpu->type) {
    case MODAL__GPUTYPE__GPU_TYPE_T4: return "T4";
    case MODAL__GPUTYPE__GPU_TYPE_A100: return gpu->memory == 80 ? "A100-80GB" : "A100";
    case MODAL__GPUTYPE__GPU_TYPE_A10G: return "A10G";
    case MODAL__GPUTYPE__GPU_TYPE_ANY: return "any";
    case MODAL__GPUTYPE__GPU_TYPE_A100_80GB: return "A100-80GB";
    case MODAL__GPUTYPE__GPU_TYPE_L4: return "L4";
    case MODAL__GPUTYPE__GPU_TYPE_H100: return "H100";
    default: return NULL;
    }
}

void definition_resources_set(struct core_function *core, const Modal__Resources *resources) {
    if (!resources) return;
    core->memory_bytes = (uint64_t)resources->memory_mb_max << 20;
    core->cpu_milli = resources->milli_cpu_max;
    const char *gpu = resources->gpu_config ? gpu_name(resources->gpu_config) : NULL;
    if (!gpu || !*gpu) return;
    uint32_t count = resources->gpu_config->count;
    core->gpu = count > 1 ? mem_printf("%s:%u", gpu, count) : mem_string(gpu);
}

char *definition_deps(const struct modal *modal, const struct definition *definition) {
    const struct modal_image *image = image_of(modal, definition->function->image_id);
    if (!image || image->has_client || !image->python) return NULL;
    return runtime_deps_name(definition->client_version, image->builder_version, image->python);
}

/* A later value of a name takes the place of an earlier one. */
void definition_env_set(struct core_function *core, const char *name, const char *value) {
    for (size_t i = 0; i < core->env_count; i++) {
        if (strcmp(core->env[i].name, name) != 0) continue;
        free(core->env[i].value);
        core->env[i].value = mem_string(value);
        return;
    }
    core_function_env_add(core, name, value);
}

char *definition_gpu_words(const struct core_function *core, const struct modal *modal) {
    if (!core->gpu) return NULL;
    scoped(error) struct error *error = node_gpu_check(modal->node, core->gpu);
    if (!error) return NULL;
    scoped_string char *text = error_text(error),
                       *who = mem_printf("%s.%s asks for a GPU (%s), which this machine has not", core->app,
                                         core->name, core->gpu);
    if (modal->gpu_fallback) return mem_printf("%s; it runs on the CPU (gpu_fallback)", who);
    return mem_printf(
        "%s, so that it can't start: %s. `gpu_fallback: cpu` in the configuration lets it run on the "
        "CPU",
        who, text);
}

/* A machine without such a GPU may be told to do without: the user's programs hear of it by a variable that
 * copycat knows. */
void definition_gpu_or_none(struct core_function *core, const struct modal *modal) {
    if (!core->gpu || !modal->gpu_fallback) return;
    scoped(error) struct error *error = node_gpu_check(modal->node, core->gpu);
    if (!error) return;
    free(take(core->gpu));
    definition_env_set(core, "COPYCAT_DEVICE_FALLBACK", "cpu");
}

static struct error *set_volumes(struct core_function *core, const struct modal *modal,
                                 Modal__VolumeMount *const *mounts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const Modal__VolumeMount *mount = mounts[i];
        if (!mount->volume_id || !volume_by_id(modal->volumes_room, mount->volume_id))
            return no_object("volume", mount->volume_id);
        scoped_string char *sub_path = NULL;
        if (mount->sub_path)
            TRY(volume_path_clean(mount->sub_path, &sub_path), "sub_path of the volume at %s",
                mount->mount_path);
        core_function_volume_add(core, mount->mount_path, mount->volume_id, mount->read_only);
        if (sub_path && *sub_path) core_function_volume_sub_path(core, sub_path);
    }
    return NULL;
}

struct error *definition_mounts_check(struct span bytes, uint32_t shared, uint32_t s3, uint32_t bucket) {
    if (wire_field(bytes, s3).data || wire_field(bytes, bucket).data)
        return error_new(
            ERROR_UNIMPLEMENTED,
            "catnap does not have CloudBucketMount: a Volume keeps files; docs/compat.md tells what "
            "there is");
    if (wire_field(bytes, shared).data)
        return error_new(ERROR_UNIMPLEMENTED,
                         "catnap does not have NetworkFileSystem: a Volume keeps files; docs/compat.md tells "
                         "what there is");
    return NULL;
}

struct error *definition_files_set(struct core_function *core, const struct modal *modal,
                                   const Modal__Function *function, const char *deps) {
    const struct modal_image *image = function->image_id ? image_of(modal, function->image_id) : NULL;
    if (!image) return no_object("image", function->image_id ? function->image_id : "");
    if (!image->name)
        return error_new(ERROR_FAILED_PRECONDITION, "the image %s of %s is not built", image->id, core->name);
    free(core->image);
    core->image = mem_string(image->name);
    image_used(modal, image->id);
    scoped_text struct text overlay = {0};
    for (size_t i = function->n_mount_ids; i > 0; i--) { /* later ones lie over earlier ones */
        const struct mount *mount = mount_of(modal, function->mount_ids[i - 1]);
        if (!mount) return no_object("mount", function->mount_ids[i - 1]);
        text_printf(&overlay, "%s%s", overlay.size ? ":" : "", mount->directory);
    }
    if (deps) {
        scoped_string char *directory = runtime_path(modal, deps);
        text_printf(&overlay, "%s%s", overlay.size ? ":" : "", directory);
    }
    if (overlay.size) core->overlay = text_take(&overlay);
    return set_volumes(core, modal, function->volume_mounts, function->n_volume_mounts);
}

static struct error *set_secrets(struct core_function *core, struct modal *modal, char **ids, size_t count) {
    for (size_t i = 0; i < count; i++) TRY_PLAIN(secret_apply(modal, ids[i], core));
    return NULL;
}

/* 0.64.0 tells the number of inputs where later clients tell the target. */
static uint32_t options_max_inputs(const Modal__FunctionOptions *options) {
    if (options->has_max_concurrent_inputs) return options->max_concurrent_inputs;
    return options->has_target_concurrent_inputs ? options->target_concurrent_inputs : 0;
}

struct text definition_for_container(const struct function *function, const struct definition *definition) {
    enum {
        MAX_CONCURRENT_INPUTS = 34,
        BATCH_MAX_SIZE = 60,
        BATCH_LINGER_MS = 61,
        TARGET_CONCURRENT_INPUTS = 64
    };
    struct text bytes = {0};
    text_add(&bytes, text_span(&definition->bytes));
    const Modal__FunctionOptions *options = function->options;
    if (!options) return bytes;
    uint32_t most = options_max_inputs(options);
    if (most) wire_add_number(&bytes, MAX_CONCURRENT_INPUTS, most);
    if (options->has_max_concurrent_inputs)
        wire_add_number(&bytes, TARGET_CONCURRENT_INPUTS, options->target_concurrent_inputs);
    if (options->has_batch_max_size) wire_add_number(&bytes, BATCH_MAX_SIZE, options->batch_max_size);
    if (options->has_batch_linger_ms) wire_add_number(&bytes, BATCH_LINGER_MS, options->batch_linger_ms);
    return bytes;
}

uint32_t function_batch_size(const struct function *function) {
    const struct definition *definition = function_definition(function);
    uint32_t size = definition ? definition->function->batch_max_size : 0;
    const Modal__FunctionOptions *options = function->options;
    if (options && options->has_batch_max_size) size = options->batch_max_size;
    return size > 1 ? size : 1;
}

uint32_t function_max_inputs(const struct function *function) {
    const struct definition *definition = function_definition(function);
    uint32_t most = definition ? definition->function->max_concurrent_inputs : 0;
    const Modal__FunctionOptions *options = function->options;
    if (options && options_max_inputs(options)) most = options_max_inputs(options);
    return most ? most : 1;
}

int64_t function_batch_linger_ms(const struct function *function) {
    const struct definition *definition = function_definition(function);
    uint64_t linger_ms = definition ? definition->function->batch_linger_ms : 0;
    const Modal__FunctionOptions *options = function->options;
    if (options && options->has_batch_linger_ms) linger_ms = options->batch_linger_ms;
    return linger_ms < LINGER_MAX_MS ? (int64_t)linger_ms : LINGER_MAX_MS;
}

const Modal__FunctionRetryPolicy *function_retries(const struct function *function) {
    const struct definition *definition = function_definition(function);
    if (function->options && function->options->retry_policy) return function->options->retry_policy;
    return definition ? definition->function->retry_policy : NULL;
}

/* `with_options`: what is set in it takes the place of the definition's. How many: autoscaler.c. */
static struct error *apply_options(struct core_function *core, struct modal *modal,
                                   const struct function *function) {
    const Modal__FunctionOptions *options = function->options;
    if (!options) return NULL;
    if (options->has_timeout_secs) core->timeout_ms = (int64_t)options->timeout_secs * 1000;
    if (options_max_inputs(options)) core->max_inputs = options_max_inputs(options);
    if (options->has_target_concurrent_inputs)
        core->target_inputs = at_most(options->target_concurrent_inputs, core->max_inputs);
    free(options->resources ? take(core->gpu) : NULL);
    definition_resources_set(core, options->resources);
    for (size_t i = 0; options->replace_volume_mounts && i < core->volume_count; i++)
        free(core->volumes[i].path), free(core->volumes[i].volume), free(core->volumes[i].sub_path);
    if (options->replace_volume_mounts) core->volume_count = 0;
    struct error *error = set_secrets(core, modal, options->secret_ids, options->n_secret_ids);
    if (!error) error = set_volumes(core, modal, options->volume_mounts, options->n_volume_mounts);
    return error;
}

struct error *definition_core(const struct function *function, const struct definition *definition,
                              struct core_function **ret) {
    struct modal *modal = function->app->modal;
    const Modal__Function *said = definition->function;
    const char *method;
    const Modal__WebhookConfig *web = definition_web(said, &method);
    scoped(core_function) struct core_function *core =
        core_function_new(function->core_app, function->core_name);
    free(core->command);
    core->command = mem_array(4, sizeof *core->command);
    core->command[0] = mem_string("python3");
    core->command[1] = mem_string("-m");
    core->command[2] = mem_string("modal._container_entrypoint");
    core->runner = true;
    core->readiness = CORE_READY_RUNNER;
    core->stop_signal = SIGINT; /* exit hooks run; SIGTERM would kill at once */
    core->stop_grace_ms = GRACE_MS;
    core->writable_rootfs = true;
    core->workdir = mem_string("/root");
    core->network = said->block_network ? CORE_NETWORK_NONE : CORE_NETWORK_IF_THERE;
    core->label = mem_string(function->label);
    core->proxy_auth = web && web->requires_proxy_auth;
    core->publish = port_of(function);
    set_numbers(core, said);
    definition_resources_set(core, said->resources);
    scoped_string char *deps = definition_deps(modal, definition);
    TRY_PLAIN(definition_files_set(core, modal, said, deps));
    TRY_PLAIN(set_secrets(core, modal, said->secret_ids, said->n_secret_ids));
    TRY_PLAIN(apply_options(core, modal, function));
    autoscaler_apply(core, function, definition);
    definition_gpu_or_none(core, modal);
    if (web && web->type == MODAL__WEBHOOK_TYPE__WEBHOOK_TYPE_WEB_SERVER) {
        core->port = (uint16_t)web->web_server_port; /* the gateway goes straight to it */
        core->readiness = CORE_READY_PORT;
    }
    definition_env_set(core, "PYTHONPATH", "/root:/pkg");
    definition_env_set(core, "PYTHONUNBUFFERED", "1");
    definition_env_set(core, "MODAL_IS_REMOTE", "1");
    definition_env_set(core, "MODAL_IMAGE_ID", said->image_id ? said->image_id : "");
    definition_env_set(core, "MODAL_ENVIRONMENT", function->app->environment);
    definition_env_set(core, "MODAL_CLOUD_PROVIDER", "CLOUD_PROVIDER_UNSPECIFIED");
    definition_env_set(core, "MODAL_REGION", "local");
    definition_env_set(core, "CATNAP_DEFINITION",
                       definition->id); /* another definition is another container */
    *ret = take(core);
    return NULL;
}
