/* volume: names and ids, for now. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

const char *volume_name_of(const struct modal *modal, const char *id) {
    return id ? map_get(modal->volumes, span_of(id)) : NULL;
}

void volumes_restore(struct modal *modal) {
    (void)modal;
}

void volumes_done(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->volumes, &i, NULL, &value);) free(value);
    map_free(modal->volumes);
    map_free(modal->volume_names);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__VolumeGetOrCreateRequest *request = message;
    struct modal *modal = rpc->modal;
    char *id = arena_printf(rpc_arena(rpc), "vo-%s", request->deployment_name);
    if (!map_get(modal->volumes, span_of(id)))
        map_put(modal->volumes, span_of(id), core_name_of(request->deployment_name, 60));
    Modal__VolumeMetadata metadata = MODAL__VOLUME_METADATA__INIT;
    metadata.name = request->deployment_name;
    Modal__VolumeGetOrCreateResponse answer = MODAL__VOLUME_GET_OR_CREATE_RESPONSE__INIT;
    answer.volume_id = id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void commit(struct rpc *rpc, const void *message) {
    (void)message;
    Modal__VolumeCommitResponse answer = MODAL__VOLUME_COMMIT_RESPONSE__INIT;
    answer.has_skip_reload = answer.skip_reload = true;
    rpc_answer(rpc, &answer);
}

const struct rpc_method volume_methods[] = {
    {"VolumeGetOrCreate", &modal__volume_get_or_create_request__descriptor, get_or_create, RPC_TASK},
    {"VolumeCommit", &modal__volume_commit_request__descriptor, commit, RPC_TASK},
    {0},
};
