/* Environments, and what a client asks about itself: hello, who am I. `main` is always there. */
#include "inside.h"

#include <stdlib.h>

/* Images are built as the client's builder of that version would: the newest that the client knows. */
#define BUILDER_OLD "2024.04"
#define BUILDER_NEW "2025.06"

bool environment_known(const struct modal *modal, const char *name) {
    return map_get(modal->environments, span_of(environment_of(name))) != NULL;
}

static void client_hello(struct rpc *rpc, const void *request) {
    (void)request;
    Modal__ClientHelloResponse answer = MODAL__CLIENT_HELLO_RESPONSE__INIT;
    const char *version = rpc_client_version(rpc);
    if (*version && version_before(version, 0, 60, 0)) {
        rpc_fail(rpc, error_new(ERROR_FAILED_PRECONDITION,
                                "the modal client %s is too old for catnap; 0.64.0 and 1.x are known to work",
                                version));
        return;
    }
    answer.image_builder_version = version_before(version, 1, 0, 0) ? BUILDER_OLD : BUILDER_NEW;
    rpc_answer(rpc, &answer);
}

static void container_hello(struct rpc *rpc, const void *request) {
    (void)request;
    rpc_answer_empty(rpc);
}

static void added(struct rpc *rpc, struct error *error) {
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer_empty(rpc);
}

static void environment_create(struct rpc *rpc, const void *message) {
    const Modal__EnvironmentCreateRequest *request = message;
    const char *name = request->name ? request->name : "";
    struct error *error = core_name_check("environment", name);
    if (!error && environment_known(rpc->modal, name))
        error = error_new(ERROR_ALREADY_EXISTS, "there is an environment '%s' already", name);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    char *id = random_id("en");
    map_put(rpc->modal->environments, span_of(name), id);
    const struct store_record record = {"modal-environment", name, span_of(id)};
    rpc_commit(rpc, &record, 1, added);
}

static void environment_delete(struct rpc *rpc, const void *message) {
    const Modal__EnvironmentDeleteRequest *request = message;
    const char *name = environment_of(request->name);
    struct error *error = NULL;
    void *value;
    if (strcmp(name, ENVIRONMENT_DEFAULT) == 0)
        error = error_new(ERROR_FAILED_PRECONDITION, "the environment '%s' stays", name);
    else if (!environment_known(rpc->modal, name))
        error = error_new(ERROR_NOT_FOUND, "there is no environment '%s'", name);
    for (size_t i = 0; !error && map_next(rpc->modal->apps, &i, NULL, &value);) {
        const struct app *app = value;
        if (strcmp(app->environment, name) == 0 && app->state != MODAL__APP_STATE__APP_STATE_STOPPED)
            error = error_new(ERROR_FAILED_PRECONDITION,
                              "the environment '%s' has the app '%s'; stop it first", name, app->name);
    }
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    free(map_remove(rpc->modal->environments, span_of(name)));
    const struct store_record record = {"modal-environment", name, {NULL, 0}};
    rpc_commit(rpc, &record, 1, added);
}

static void environment_get(struct rpc *rpc, const void *message) {
    const Modal__EnvironmentGetOrCreateRequest *request = message;
    const char *name = environment_of(request->deployment_name);
    const char *id = map_get(rpc->modal->environments, span_of(name));
    if (!id) {
        rpc_fail(rpc, error_new(ERROR_NOT_FOUND,
                                "there is no environment '%s' (`modal environment create %s` makes it)", name,
                                name));
        return;
    }
    Modal__EnvironmentSettings settings = MODAL__ENVIRONMENT_SETTINGS__INIT;
    settings.image_builder_version = BUILDER_NEW;
    settings.webhook_suffix = strcmp(name, ENVIRONMENT_DEFAULT) == 0 ? "" : (char *)name;
    Modal__EnvironmentMetadata metadata = MODAL__ENVIRONMENT_METADATA__INIT;
    metadata.name = (char *)name;
    metadata.settings = &settings;
    Modal__EnvironmentGetOrCreateResponse answer = MODAL__ENVIRONMENT_GET_OR_CREATE_RESPONSE__INIT;
    answer.environment_id = (char *)id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void environment_list(struct rpc *rpc, const void *request) {
    (void)request;
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    size_t count = 0;
    Modal__EnvironmentListItem **items = arena_alloc(arena, map_count(modal->environments) * sizeof *items);
    const char *name;
    void *id;
    for (size_t i = 0; map_next(modal->environments, &i, &name, &id);) {
        Modal__EnvironmentListItem *item = items[count++] = arena_alloc(arena, sizeof *item);
        modal__environment_list_item__init(item);
        item->name = (char *)name;
        item->environment_id = id;
        item->webhook_suffix = strcmp(name, ENVIRONMENT_DEFAULT) == 0 ? "" : (char *)name;
        item->has_default_ = true;
        item->default_ = strcmp(name, ENVIRONMENT_DEFAULT) == 0;
    }
    Modal__EnvironmentListResponse answer = MODAL__ENVIRONMENT_LIST_RESPONSE__INIT;
    answer.n_items = count;
    answer.items = items;
    rpc_answer(rpc, &answer);
}

static void workspace(struct rpc *rpc, const void *request) {
    (void)request;
    Modal__WorkspaceNameLookupResponse answer = MODAL__WORKSPACE_NAME_LOOKUP_RESPONSE__INIT;
    answer.workspace_name = answer.username = rpc->modal->user;
    rpc_answer(rpc, &answer);
}

static void token_info(struct rpc *rpc, const void *request) {
    (void)request;
    Modal__UserIdentity identity = MODAL__USER_IDENTITY__INIT;
    identity.user_id = identity.username = rpc->modal->user;
    Modal__TokenInfoGetResponse answer = MODAL__TOKEN_INFO_GET_RESPONSE__INIT;
    struct span id = grpc_call_metadata(rpc->call, "x-modal-token-id");
    answer.token_id = arena_string(rpc_arena(rpc), id.data ? id : SPAN(""));
    answer.workspace_id = answer.workspace_name = rpc->modal->user;
    answer.user_identity = &identity;
    rpc_answer(rpc, &answer);
}

const struct rpc_method environment_methods[] = {
    {"ClientHello", &modal__empty__descriptor, client_hello, RPC_TASK},
    {"ContainerHello", &modal__empty__descriptor, container_hello, RPC_TASK_ONLY},
    {"EnvironmentGetOrCreate", &modal__environment_get_or_create_request__descriptor, environment_get,
     RPC_TASK},
    {"EnvironmentCreate", &modal__environment_create_request__descriptor, environment_create, RPC_ONCE},
    {"EnvironmentDelete", &modal__environment_delete_request__descriptor, environment_delete, 0},
    {"EnvironmentList", &modal__empty__descriptor, environment_list, RPC_TASK},
    {"WorkspaceNameLookup", &modal__empty__descriptor, workspace, RPC_TASK},
    {"TokenInfoGet", &modal__token_info_get_request__descriptor, token_info, 0},
    {0},
};
