/* volume: Modal's volumes as the volume room has them: made, named, listed, committed. What is in them:
 * volume_files.c.
 *
 * A container's commit makes its live tree the committed version; its reload has nothing to do, since all
 * containers see one live tree. Who asks for one that is another environment's, or of an app of its own, gets
 * NOT_FOUND. */
#include "inside.h"

#include <stdlib.h>

struct volume *volume_asked(struct rpc *rpc, const char *id) {
    struct volume *volume = id ? volume_by_id(rpc->modal->volumes_room, id) : NULL;
    if (!volume) rpc_fail(rpc, no_object("volume", id));
    return volume;
}

static Modal__VolumeMetadata *metadata_of(const struct volume *volume, struct arena *arena) {
    struct volume_view view;
    volume_view(volume, &view);
    Modal__VolumeMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    Modal__CreationInfo *creation = arena_alloc(arena, sizeof *creation);
    modal__volume_metadata__init(metadata);
    modal__creation_info__init(creation);
    creation->has_created_at = true;
    creation->created_at = (double)view.created_ms / 1000.0;
    metadata->has_version = true;
    metadata->version = (Modal__VolumeFsVersion)view.version;
    metadata->name = arena_text(arena, view.name ? view.name : "");
    metadata->creation_info = creation;
    return metadata;
}

static void answer_volume(struct rpc *rpc, const struct volume *volume) {
    struct volume_view view;
    volume_view(volume, &view);
    Modal__VolumeGetOrCreateResponse answer = MODAL__VOLUME_GET_OR_CREATE_RESPONSE__INIT;
    answer.volume_id = arena_text(rpc_arena(rpc), view.id);
    answer.has_version = true;
    answer.version = (Modal__VolumeFsVersion)view.version;
    answer.metadata = metadata_of(volume, rpc_arena(rpc));
    answer.metadata->creation_info->created_by = rpc->modal->user;
    rpc_answer(rpc, &answer);
}

static void on_created(void *owner, struct error *error, struct volume *volume) {
    if (error)
        rpc_fail(owner, error);
    else
        answer_volume(owner, volume);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__VolumeGetOrCreateRequest *request = message;
    struct volumes *volumes = rpc->modal->volumes_room;
    const char *environment = environment_of(request->environment_name);
    int creation = (int)request->object_creation_type;
    bool ephemeral = creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_EPHEMERAL;
    const char *name =
        request->deployment_name && *request->deployment_name ? request->deployment_name : NULL;
    struct volume *there = name ? volume_find(volumes, environment, name) : NULL;
    if (creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_UNSPECIFIED) {
        if (there)
            answer_volume(rpc, there);
        else
            rpc_fail(rpc,
                     error_new(ERROR_NOT_FOUND, "there is no volume '%s' (`modal volume create %s` makes it)",
                               name ? name : "", name ? name : "NAME"));
        return;
    }
    if (!environment_known(rpc->modal, environment)) {
        rpc_fail(rpc, no_object("environment", environment));
        return;
    }
    volume_create(
        volumes,
        &(struct volume_options){
            .environment = environment,
            .name = ephemeral ? NULL : name,
            .version = request->version == MODAL__VOLUME_FS_VERSION__VOLUME_FS_VERSION_V2 ? 2 : 1,
            .if_missing = creation != MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS,
        },
        on_created, rpc);
}

static void by_id(struct rpc *rpc, const void *message) {
    const Modal__VolumeGetByIdRequest *request = message;
    const struct volume *volume = volume_asked(rpc, request->volume_id);
    if (!volume) return;
    Modal__VolumeGetByIdResponse answer = MODAL__VOLUME_GET_BY_ID_RESPONSE__INIT;
    answer.volume_id = request->volume_id;
    answer.metadata = metadata_of(volume, rpc_arena(rpc));
    answer.metadata->creation_info->created_by = rpc->modal->user;
    rpc_answer(rpc, &answer);
}

static void on_committed(void *owner, struct error *error) {
    struct rpc *rpc = owner;
    Modal__VolumeCommitResponse answer = MODAL__VOLUME_COMMIT_RESPONSE__INIT;
    answer.has_skip_reload = answer.skip_reload = true;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

static void commit(struct rpc *rpc, const void *message) {
    const Modal__VolumeCommitRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume) volume_commit(volume, on_committed, rpc);
}

static void done_empty(void *owner, struct error *error) {
    if (error)
        rpc_fail(owner, error);
    else
        rpc_answer_empty(owner);
}

static void reload(struct rpc *rpc, const void *message) {
    const Modal__VolumeReloadRequest *request = message;
    if (volume_asked(rpc, request->volume_id)) rpc_answer_empty(rpc);
}

static void heartbeat(struct rpc *rpc, const void *message) {
    const Modal__VolumeHeartbeatRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (!volume) return;
    volume_heartbeat(volume);
    rpc_answer_empty(rpc);
}

static void delete (struct rpc *rpc, const void *message) {
    const Modal__VolumeDeleteRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume) volume_delete(volume, done_empty, rpc);
}

static void rename_asked(struct rpc *rpc, const void *message) {
    const Modal__VolumeRenameRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume) volume_rename(volume, request->name ? request->name : "", done_empty, rpc);
}

static void list(struct rpc *rpc, const void *message) {
    const Modal__VolumeListRequest *request = message;
    struct arena *arena = rpc_arena(rpc);
    const char *environment = environment_of(request->environment_name);
    double before = request->pagination ? request->pagination->created_before : 0;
    size_t count = 0;
    struct volume *volume;
    for (size_t i = 0; (volume = volumes_next(rpc->modal->volumes_room, &i));) count++;
    Modal__VolumeListResponse answer = MODAL__VOLUME_LIST_RESPONSE__INIT;
    answer.items = arena_alloc(arena, (count + 1) * sizeof *answer.items);
    answer.environment_name = (char *)environment;
    for (size_t i = 0; (volume = volumes_next(rpc->modal->volumes_room, &i));) {
        struct volume_view view;
        volume_view(volume, &view);
        if (!view.name || strcmp(view.environment, environment) != 0) continue;
        if (before > 0 && (double)view.created_ms / 1000.0 >= before) continue;
        Modal__VolumeListItem *item = arena_alloc(arena, sizeof *item);
        modal__volume_list_item__init(item);
        item->label = arena_text(arena, view.name);
        item->volume_id = arena_text(arena, view.id);
        item->has_created_at = true;
        item->created_at = (double)view.created_ms / 1000.0;
        item->metadata = metadata_of(volume, arena);
        item->metadata->creation_info->created_by = rpc->modal->user;
        answer.items[answer.n_items++] = item;
    }
    rpc_answer(rpc, &answer);
}

const struct rpc_method volume_methods[] = {
    {"VolumeGetOrCreate", &modal__volume_get_or_create_request__descriptor, get_or_create,
     RPC_TASK | RPC_ONCE},
    {"VolumeGetById", &modal__volume_get_by_id_request__descriptor, by_id, RPC_TASK},
    {"VolumeCommit", &modal__volume_commit_request__descriptor, commit, RPC_TASK},
    {"VolumeReload", &modal__volume_reload_request__descriptor, reload, RPC_TASK},
    {"VolumeHeartbeat", &modal__volume_heartbeat_request__descriptor, heartbeat, RPC_TASK},
    {"VolumeList", &modal__volume_list_request__descriptor, list, RPC_TASK},
    {"VolumeDelete", &modal__volume_delete_request__descriptor, delete, RPC_TASK},
    {"VolumeRename", &modal__volume_rename_request__descriptor, rename_asked, RPC_TASK},
    {0},
};
