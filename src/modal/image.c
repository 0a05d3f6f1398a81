/* image: from Modal's layers to images of the image room. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

const struct modal_image *image_of(const struct modal *modal, const char *id) {
    return id ? map_get(modal->images, span_of(id)) : NULL;
}

static void image_free(struct modal_image *image) {
    free(image->key);
    free(image->name);
    free(image->builder_version);
    free(image->exception);
    free(image->python);
    free(image);
}

void images_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->images, &i, NULL, &value);) image_free(value);
    map_free(modal->images);
    map_free(modal->image_keys);
}

void image_restore(struct modal *modal, const Modal__ImageRecord *record) {
    struct modal_image *image = NEW(struct modal_image);
    id_set(image->id, record->id);
    image->key = mem_string(record->key);
    image->name = mem_string(record->name);
    image->builder_version = mem_string(record->builder_version);
    image->python = mem_string("311");
    list_init(&image->joined);
    image->status = MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS;
    map_put(modal->images, span_of(image->id), image);
    map_put(modal->image_keys, span_of(image->key), image);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__ImageGetOrCreateRequest *request = message;
    struct modal *modal = rpc->modal;
    struct modal_image *image = map_get(modal->image_keys, SPAN("host"));
    if (!image) {
        Modal__ImageRecord record = MODAL__IMAGE_RECORD__INIT;
        record.id = "im-host";
        record.key = record.name = "host";
        record.builder_version = request->builder_version;
        image_restore(modal, &record);
        image = map_get(modal->image_keys, SPAN("host"));
    }
    Modal__GenericResult result = MODAL__GENERIC_RESULT__INIT;
    result.has_status = true;
    result.status = (Modal__GenericResultGenericStatus)image->status;
    Modal__ImageGetOrCreateResponse answer = MODAL__IMAGE_GET_OR_CREATE_RESPONSE__INIT;
    answer.image_id = image->id;
    answer.result = &result;
    rpc_answer(rpc, &answer);
}

static void join(struct rpc *rpc, const void *message) {
    const Modal__ImageJoinStreamingRequest *request = message;
    const struct modal_image *image = image_of(rpc->modal, request->image_id);
    if (!image) {
        rpc_fail(rpc, no_object("image", request->image_id));
        return;
    }
    Modal__GenericResult result = MODAL__GENERIC_RESULT__INIT;
    result.has_status = true;
    result.status = (Modal__GenericResultGenericStatus)image->status;
    Modal__ImageJoinStreamingResponse answer = MODAL__IMAGE_JOIN_STREAMING_RESPONSE__INIT;
    answer.result = &result;
    rpc_send(rpc, &answer);
    rpc_end(rpc);
}

const struct rpc_method image_methods[] = {
    {"ImageGetOrCreate", &modal__image_get_or_create_request__descriptor, get_or_create, RPC_TASK},
    {"ImageJoinStreaming", &modal__image_join_streaming_request__descriptor, join, RPC_TASK},
    {0},
};
