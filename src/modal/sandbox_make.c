/* sandbox_make: from what a client says a sandbox is to a container's description. What is not there is told
 * before anything is made. */
#include "sandbox.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_DEFAULT_S 300
#define SANDBOXES_MAX 1000

static struct error *refuse(const Modal__Sandbox *definition, struct span bytes) {
    enum { SHARED_MOUNTS = 9, S3_MOUNTS = 12, BUCKET_MOUNTS = 14 };
    TRY_PLAIN(definition_mounts_check(bytes, SHARED_MOUNTS, S3_MOUNTS, BUCKET_MOUNTS));
    if (definition->proxy_id && *definition->proxy_id)
        return error_new(ERROR_UNIMPLEMENTED, "catnap does not have Proxy");
    const Modal__NetworkAccess *access = definition->network_access;
    if (access && access->network_access_type ==
                      MODAL__NETWORK_ACCESS_NETWORK_ACCESS_TYPE__NetworkAccessNetworkAccessType_ALLOWLIST)
        return error_new(
            ERROR_UNIMPLEMENTED,
            "catnap does not have lists of what a sandbox may reach: block_network=True cuts it off");
    if (definition->experimental_outbound_policy || definition->outbound_policy)
        return error_new(ERROR_UNIMPLEMENTED, "catnap does not have outbound policies");
    if (definition->n_inbound_cidr_allowlist > 0)
        return error_new(ERROR_UNIMPLEMENTED, "catnap does not have inbound_cidr_allowlist");
    if (definition->custom_domain && *definition->custom_domain)
        return error_new(ERROR_UNIMPLEMENTED, "catnap does not have custom domains");
    if (definition->workdir && *definition->workdir && definition->workdir[0] != '/')
        return error_new(ERROR_INVALID_ARGUMENT, "workdir: '%.100s' is not absolute", definition->workdir);
    return NULL;
}

static struct error *name_free(const struct app *app, const char *name) {
    void *value;
    size_t running = 0;
    for (size_t i = 0; map_next(app->modal->sandboxes, &i, NULL, &value);) {
        const struct sandbox *sandbox = value;
        running += !sandbox->status;
        if (name && *name && sandbox->app == app && !sandbox->status && sandbox->name &&
            strcmp(sandbox->name, name) == 0)
            return error_new(ERROR_ALREADY_EXISTS, "the app %s has a running sandbox '%s' already", app->name,
                             name);
    }
    if (running >= SANDBOXES_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%d sandboxes run already", SANDBOXES_MAX);
    return NULL;
}

static struct error *fill(struct rpc *rpc, struct sandbox *sandbox, Modal__SecretSource **sources,
                          size_t source_count) {
    struct modal *modal = sandbox->modal;
    struct core_function *core = sandbox->core;
    const Modal__Sandbox *definition = sandbox->definition;
    const Modal__NetworkAccess *access = definition->network_access;
    bool blocked =
        definition->block_network ||
        (access && access->network_access_type ==
                       MODAL__NETWORK_ACCESS_NETWORK_ACCESS_TYPE__NetworkAccessNetworkAccessType_BLOCKED);
    core->network = blocked ? CORE_NETWORK_NONE : CORE_NETWORK_IF_THERE;
    core->writable_rootfs = true;
    core->workdir = mem_string(definition->workdir && *definition->workdir ? definition->workdir : "/root");
    TRY_PLAIN(
        exec_secrets(rpc, definition->secret_ids, definition->n_secret_ids, sources, source_count, core));
    Modal__Function files = MODAL__FUNCTION__INIT;
    files.image_id = definition->image_id;
    files.mount_ids = definition->mount_ids;
    files.n_mount_ids = definition->n_mount_ids;
    files.volume_mounts = definition->volume_mounts;
    files.n_volume_mounts = definition->n_volume_mounts;
    TRY_PLAIN(definition_files_set(core, modal, &files, NULL));
    definition_resources_set(core, definition->resources);
    scoped_string char *without = definition_gpu_words(core, modal);
    definition_gpu_or_none(core, modal);
    if (without && !core->gpu) log_info("modal", "%s", without);
    if (core->gpu) TRY_PLAIN(node_gpu_check(modal->node, core->gpu));
    const Modal__StringMap *map = definition->environment_variables;
    for (size_t i = 0; map && i < map->n_contents; i++)
        definition_env_set(core, map->contents[i]->key,
                           map->contents[i]->value ? map->contents[i]->value : "");
    definition_env_set(core, "MODAL_SANDBOX_ID", sandbox->id);
    definition_env_set(core, "MODAL_IMAGE_ID", definition->image_id ? definition->image_id : "");
    definition_env_set(core, "MODAL_ENVIRONMENT", sandbox->app->environment);
    return NULL;
}

static struct error *make(struct rpc *rpc, struct app *app, const Modal__Sandbox *definition,
                          struct sandbox **ret) {
    struct sandbox *sandbox = NEW(struct sandbox);
    scoped_string char *id = random_id("sb");
    id_set(sandbox->id, id);
    sandbox->modal = rpc->modal;
    sandbox->app = app;
    sandbox->arena = arena_new();
    sandbox->created_at = now_s();
    list_init(&sandbox->creators), list_init(&sandbox->waiters), list_init(&sandbox->ready_waiters);
    map_put(rpc->modal->sandboxes, span_of(sandbox->id), sandbox);
    scoped_text struct text bytes = message_pack(definition);
    ProtobufCAllocator allocator = arena_allocator(sandbox->arena);
    Modal__Sandbox *copy = modal__sandbox__unpack(&allocator, bytes.size, (const uint8_t *)bytes.data);
    *ret = sandbox;
    if (!copy) return error_new(ERROR_INVALID_ARGUMENT, "the sandbox's definition is no valid message");
    if (copy->timeout_secs == 0) copy->timeout_secs = TIMEOUT_DEFAULT_S;
    sandbox->definition = copy;
    sandbox->name = copy->name && *copy->name ? mem_string(copy->name) : NULL;
    scoped_string char *function = mem_printf("sb-%.16s", sandbox->id + 3);
    sandbox->core = core_function_new(app->core_name, function);
    free(sandbox->core->command);
    sandbox->core->command = mem_array(2, sizeof *sandbox->core->command);
    sandbox->core->command[0] = mem_string("/.catnap/init");
    return NULL;
}

void sandbox_tags_take(struct sandbox *sandbox, Modal__SandboxTag **tags, size_t count) {
    sandbox->tags = arena_alloc(sandbox->arena, (count + 1) * sizeof *sandbox->tags);
    for (size_t i = 0; i < count; i++) {
        Modal__SandboxTag *tag = arena_alloc(sandbox->arena, sizeof *tag);
        modal__sandbox_tag__init(tag);
        tag->tag_name = arena_text(sandbox->arena, tags[i]->tag_name ? tags[i]->tag_name : "");
        tag->tag_value = arena_text(sandbox->arena, tags[i]->tag_value ? tags[i]->tag_value : "");
        sandbox->tags[i] = tag;
    }
    sandbox->tag_count = count;
}

void sandbox_make(struct rpc *rpc, struct app *app, const Modal__Sandbox *definition, struct span bytes,
                  Modal__SandboxTag **tags, size_t tag_count, Modal__SecretSource **sources,
                  size_t source_count, void (*created)(struct rpc *rpc, struct sandbox *sandbox)) {
    struct sandbox *sandbox = NULL;
    struct error *error = refuse(definition, bytes);
    if (!error && app->state == MODAL__APP_STATE__APP_STATE_STOPPED)
        error = error_new(ERROR_FAILED_PRECONDITION, "the app %s was stopped", app->name);
    if (!error) error = name_free(app, definition->name);
    if (!error) error = make(rpc, app, definition, &sandbox);
    if (!error) error = fill(rpc, sandbox, sources, source_count);
    if (!error) error = node_function_check(rpc->modal->node, sandbox->core);
    if (error) {
        if (sandbox) sandbox_forget(sandbox);
        rpc_fail(rpc, error);
        return;
    }
    sandbox_tags_take(sandbox, tags, tag_count);
    sandbox->created = created;
    rpc_hold(rpc, &sandbox->creators, sandbox, 0, NULL);
    sandbox_begin(sandbox);
}
