/* Environments, and what a client asks about itself: hello, who am I. `main` is always there. */
#include "inside.h"

#include <stdlib.h>

/* Images are built as the client's builder of that version would: the newest that the client knows. */
#define BUILDER_OLD "2024.04"
#define BUILDER_NEW "2025.06"

struct environment {
    char id[ID_MAX];
    char *suffix; /* in host names of its web functions */
};

bool environment_known(const struct modal *modal, const char *name) {
    return map_get(modal->environments, span_of(environment_of(name))) != NULL;
}

const char *environment_suffix(const struct modal *modal, const char *name) {
    const struct environment *environment = map_get(modal->environments, span_of(environment_of(name)));
    return environment ? environment->suffix : "";
}

static void environment_free(struct environment *environment) {
    if (environment) free(environment->suffix);
    free(environment);
}

void environments_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->environments, &i, NULL, &value);) environment_free(value);
    map_free(modal->environments);
}

static struct environment *environment_add(struct modal *modal, const char *name, const char *id,
                                           const char *suffix) {
    struct environment *environment = NEW(struct environment);
    id_set(environment->id, id);
    environment->suffix = mem_string(suffix);
    environment_free(map_put(modal->environments, span_of(name), environment));
    return environment;
}

/* ID, or ID SUFFIX; without one the suffix is the name, as it is for those of older records. */
void environment_restore(struct modal *modal, const char *name, struct span value) {
    struct span rest = value, id = span_cut(&rest, ' ');
    scoped_string char *text = span_string(id), *suffix = rest.data ? span_string(rest) : mem_string(name);
    environment_add(modal, name, text, strcmp(name, ENVIRONMENT_DEFAULT) == 0 && !rest.data ? "" : suffix);
}

static void keep(struct rpc *rpc, const char *name, void (*done)(struct rpc *rpc, struct error *error)) {
    const struct environment *environment = map_get(rpc->modal->environments, span_of(name));
    const char *value = arena_printf(rpc_arena(rpc), "%s %s", environment->id, environment->suffix);
    rpc->owner = arena_text(rpc_arena(rpc), name);
    rpc_commit(rpc, &(struct store_record){"modal-environment", name, span_of(value)}, 1, done);
}

static void client_hello(struct rpc *rpc, const void *request) {
    (void)request;
    Modal__ClientHelloResponse answer = MODAL__CLIENT_HELLO_RESPONSE__INIT;
    answer.image_builder_version =
        version_before(rpc_client_version(rpc), 1, 0, 0) ? BUILDER_OLD : BUILDER_NEW;
    rpc_answer(rpc, &answer);
}

static void container_hello(struct rpc *rpc, const void *request) {
    (void)request;
    rpc_answer_empty(rpc);
}

static struct error *exists(const char *name) {
    return error_new(ERROR_ALREADY_EXISTS, "there is an environment '%s' already", name);
}

static void make(struct rpc *rpc, const char *name, void (*done)(struct rpc *rpc, struct error *error)) {
    struct error *error = core_name_check("environment", name);
    if (!error && environment_known(rpc->modal, name)) error = exists(name);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    scoped_string char *id = random_id("en");
    environment_add(rpc->modal, name, id, name);
    keep(rpc, name, done);
}

static void environment_create(struct rpc *rpc, const void *message) {
    const Modal__EnvironmentCreateRequest *request = message;
    const char *name = request->name ? request->name : "";
    make(rpc, name, rpc_answer_kept);
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
    environment_free(map_remove(rpc->modal->environments, span_of(name)));
    const struct store_record record = {"modal-environment", name, {NULL, 0}};
    rpc_commit(rpc, &record, 1, rpc_answer_kept);
}

static void answer_environment(struct rpc *rpc, struct error *error) {
    const char *name = rpc->owner;
    struct environment *environment = map_get(rpc->modal->environments, span_of(name));
    if (!error && !environment) error = no_object("environment", name);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__EnvironmentSettings settings = MODAL__ENVIRONMENT_SETTINGS__INIT;
    settings.image_builder_version = BUILDER_NEW;
    settings.webhook_suffix = environment->suffix;
    Modal__EnvironmentMetadata metadata = MODAL__ENVIRONMENT_METADATA__INIT;
    metadata.name = (char *)name;
    metadata.settings = &settings;
    Modal__EnvironmentGetOrCreateResponse answer = MODAL__ENVIRONMENT_GET_OR_CREATE_RESPONSE__INIT;
    answer.environment_id = environment->id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void environment_get(struct rpc *rpc, const void *message) {
    const Modal__EnvironmentGetOrCreateRequest *request = message;
    const char *name = environment_of(request->deployment_name);
    int creation = (int)request->object_creation_type;
    rpc->owner = arena_text(rpc_arena(rpc), name);
    if (environment_known(rpc->modal, name))
        answer_environment(rpc,
                           creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
                               ? exists(name)
                               : NULL);
    else if (creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_UNSPECIFIED)
        rpc_fail(rpc, error_new(ERROR_NOT_FOUND,
                                "there is no environment '%s' (`modal environment create %s` makes it)", name,
                                name));
    else if (rpc->task)
        rpc_fail(rpc, error_new(ERROR_PERMISSION_DENIED, "environments are not made by containers"));
    else
        make(rpc, name, answer_environment);
}

static void on_updated(struct rpc *rpc, struct error *error) {
    const char *name = rpc->owner;
    struct environment *environment = map_get(rpc->modal->environments, span_of(name));
    if (!error && !environment) error = no_object("environment", name);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__EnvironmentListItem item = MODAL__ENVIRONMENT_LIST_ITEM__INIT;
    item.name = (char *)name;
    item.environment_id = environment->id;
    item.webhook_suffix = environment->suffix;
    rpc_answer(rpc, &item);
}

static bool suffix_taken(const struct modal *modal, const char *suffix, const struct environment *but) {
    void *value;
    for (size_t i = 0; map_next(modal->environments, &i, NULL, &value);) {
        const struct environment *other = value;
        if (other != but && strcmp(other->suffix, suffix) == 0) return true;
    }
    return false;
}

/* The suffix is in host names that are given at the next deploy; those given before stay until then. */
static void environment_update(struct rpc *rpc, const void *message) {
    const Modal__EnvironmentUpdateRequest *request = message;
    const char *name = environment_of(request->current_name);
    struct environment *environment = map_get(rpc->modal->environments, span_of(name));
    const char *suffix =
        request->web_suffix ? request->web_suffix->value ? request->web_suffix->value : "" : NULL;
    struct error *error = environment ? NULL : no_object("environment", name);
    if (!error && request->name && request->name->value && strcmp(request->name->value, name) != 0)
        error =
            error_new(ERROR_UNIMPLEMENTED,
                      "environments keep their names in catnap (docs/compat.md); `modal environment create "
                      "%s` makes another",
                      request->name->value);
    if (!error && suffix && *suffix) error = core_name_check("web suffix", suffix);
    if (!error && suffix && suffix_taken(rpc->modal, suffix, environment))
        error = error_new(ERROR_ALREADY_EXISTS, "another environment has the web suffix '%s'", suffix);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    if (suffix) {
        free(environment->suffix);
        environment->suffix = mem_string(suffix);
    }
    keep(rpc, name, on_updated);
}

static void environment_list(struct rpc *rpc, const void *request) {
    (void)request;
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    size_t count = 0;
    Modal__EnvironmentListItem **items = arena_alloc(arena, map_count(modal->environments) * sizeof *items);
    const char *name;
    void *value;
    for (size_t i = 0; map_next(modal->environments, &i, &name, &value);) {
        struct environment *environment = value;
        Modal__EnvironmentListItem *item = items[count++] = arena_alloc(arena, sizeof *item);
        modal__environment_list_item__init(item);
        item->name = (char *)name;
        item->environment_id = environment->id;
        item->webhook_suffix = environment->suffix;
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
    {"EnvironmentUpdate", &modal__environment_update_request__descriptor, environment_update, 0},
    {"EnvironmentDelete", &modal__environment_delete_request__descriptor, environment_delete, 0},
    {"EnvironmentList", &modal__empty__descriptor, environment_list, RPC_TASK},
    {"WorkspaceNameLookup", &modal__empty__descriptor, workspace, RPC_TASK},
    {"TokenInfoGet", &modal__token_info_get_request__descriptor, token_info, 0},
    {0},
};
