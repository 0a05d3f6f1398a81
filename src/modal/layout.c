/* layout: what an app consists of, as its client and its containers read it.
 *
 * A container dies without a word where an object that its function depends on is missing here, images
 * included: those are listed with nothing but their id. */
#include "inside.h"

static Modal__Object *object_new(struct arena *arena, const char *id) {
    Modal__Object *object = arena_alloc(arena, sizeof *object);
    modal__object__init(object);
    object->object_id = arena_text(arena, id);
    return object;
}

static Modal__Object *object_of(struct modal *modal, const char *id, struct arena *arena) {
    Modal__Object *object = object_new(arena, id);
    const struct function *function = function_of(modal, id);
    const struct class *class = map_get(modal->classes, span_of(id));
    const struct mount *mount = mount_of(modal, id);
    if (function) object->function_handle_metadata = function_metadata(function, arena);
    if (class) object->class_handle_metadata = class_metadata(class, arena);
    if (mount) {
        object->mount_handle_metadata = arena_alloc(arena, sizeof *object->mount_handle_metadata);
        modal__mount_handle_metadata__init(object->mount_handle_metadata);
        object->mount_handle_metadata->content_checksum_sha256_hex = mount->checksum;
    }
    const struct volume *volume = volume_by_id(modal->volumes_room, id);
    if (volume) {
        struct volume_view view;
        volume_view(volume, &view);
        object->volume_metadata = arena_alloc(arena, sizeof *object->volume_metadata);
        modal__volume_metadata__init(object->volume_metadata);
        object->volume_metadata->name = arena_text(arena, view.name ? view.name : "");
        object->volume_metadata->has_version = true;
        object->volume_metadata->version = (Modal__VolumeFsVersion)view.version;
    }
    return object;
}

struct objects {
    Modal__Object **object;
    size_t count;
};

static void add(struct objects *objects, struct modal *modal, const char *id, struct arena *arena) {
    for (size_t i = 0; i < objects->count; i++)
        if (strcmp(objects->object[i]->object_id, id) == 0) return;
    Modal__Object **grown = arena_alloc(arena, (objects->count + 1) * sizeof *grown);
    if (objects->count > 0) memcpy(grown, objects->object, objects->count * sizeof *grown);
    grown[objects->count++] = object_of(modal, id, arena);
    objects->object = grown;
}

static void add_needs(struct objects *objects, struct modal *modal, const struct definition *definition,
                      struct arena *arena) {
    for (size_t i = 0; definition && i < definition->function->n_object_dependencies; i++) {
        const char *id = definition->function->object_dependencies[i]->object_id;
        if (id) add(objects, modal, id, arena);
    }
}

Modal__AppLayout *app_layout(const struct app *app, const struct definition *needs, struct arena *arena) {
    struct modal *modal = app->modal;
    Modal__AppLayout *layout = arena_alloc(arena, sizeof *layout);
    modal__app_layout__init(layout);
    struct objects objects = {0};
    layout->function_ids = arena_alloc(arena, (map_count(app->functions) + 1) * sizeof *layout->function_ids);
    layout->class_ids = arena_alloc(arena, (map_count(app->classes) + 1) * sizeof *layout->class_ids);
    const char *tag;
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, &tag, &value);) {
        const struct function *function = value;
        Modal__AppLayoutFunctionIdsEntry *entry = arena_alloc(arena, sizeof *entry);
        modal__app_layout_function_ids_entry__init(entry);
        entry->key = arena_text(arena, tag);
        entry->value = arena_text(arena, function->id);
        layout->function_ids[layout->n_function_ids++] = entry;
        add(&objects, modal, function->id, arena);
    }
    for (size_t i = 0; map_next(app->classes, &i, &tag, &value);) {
        const struct class *class = value;
        Modal__AppLayoutClassIdsEntry *entry = arena_alloc(arena, sizeof *entry);
        modal__app_layout_class_ids_entry__init(entry);
        entry->key = arena_text(arena, tag);
        entry->value = arena_text(arena, class->id);
        layout->class_ids[layout->n_class_ids++] = entry;
        add(&objects, modal, class->id, arena);
    }
    add_needs(&objects, modal, needs, arena);
    layout->objects = objects.object;
    layout->n_objects = objects.count;
    return layout;
}

static void get_layout(struct rpc *rpc, const void *message) {
    const Modal__AppGetLayoutRequest *request = message;
    const struct app *app = app_of(rpc->modal, request->app_id);
    if (!app) {
        rpc_fail(rpc, no_object("app", request->app_id));
        return;
    }
    Modal__AppGetLayoutResponse answer = MODAL__APP_GET_LAYOUT_RESPONSE__INIT;
    answer.app_layout = app_layout(app, rpc->task ? rpc->task->definition : NULL, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

/* The old client's form of the same: a list of tags and objects; those without a tag only when asked for. */
static void get_objects(struct rpc *rpc, const void *message) {
    const Modal__AppGetObjectsRequest *request = message;
    const struct app *app = app_of(rpc->modal, request->app_id);
    if (!app) {
        rpc_fail(rpc, no_object("app", request->app_id));
        return;
    }
    struct arena *arena = rpc_arena(rpc);
    const Modal__AppLayout *layout = app_layout(app, rpc->task ? rpc->task->definition : NULL, arena);
    Modal__AppGetObjectsResponse answer = MODAL__APP_GET_OBJECTS_RESPONSE__INIT;
    answer.items = arena_alloc(arena, (layout->n_objects + 1) * sizeof *answer.items);
    for (size_t i = 0; i < layout->n_objects; i++) {
        const char *id = layout->objects[i]->object_id, *tag = "";
        for (size_t f = 0; f < layout->n_function_ids; f++)
            if (strcmp(layout->function_ids[f]->value, id) == 0) tag = layout->function_ids[f]->key;
        for (size_t c = 0; c < layout->n_class_ids; c++)
            if (strcmp(layout->class_ids[c]->value, id) == 0) tag = layout->class_ids[c]->key;
        if (!*tag && !request->include_unindexed) continue;
        Modal__AppGetObjectsItem *item = arena_alloc(arena, sizeof *item);
        modal__app_get_objects_item__init(item);
        item->tag = (char *)tag;
        item->object = layout->objects[i];
        answer.items[answer.n_items++] = item;
    }
    rpc_answer(rpc, &answer);
}

const struct rpc_method layout_methods[] = {
    {"AppGetLayout", &modal__app_get_layout_request__descriptor, get_layout, RPC_TASK},
    {"AppGetObjects", &modal__app_get_objects_request__descriptor, get_objects, RPC_TASK},
    {0},
};
