/* class: a name for a function "C.*" and, for old clients, for its methods "C.m". */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

void class_free(struct class *class) {
    map_remove(class->app->modal->classes, span_of(class->id));
    for (size_t i = 0; i < class->method_count; i++) {
        free(class->method_names[i]);
        free(class->method_ids[i]);
    }
    free(class->method_names);
    free(class->method_ids);
    free(class->name);
    free(class);
}

static void method_add(struct class *class, const char *name, const char *id) {
    class->method_names = mem_grow(class->method_names, class->method_count + 1, sizeof *class->method_names);
    class->method_ids = mem_grow(class->method_ids, class->method_count + 1, sizeof *class->method_ids);
    class->method_names[class->method_count] = mem_string(name);
    class->method_ids[class->method_count++] = mem_string(id);
}

static struct class *class_new(struct app *app, const char *id) {
    struct class *class = NEW(struct class);
    class->app = app;
    id_set(class->id, id);
    map_put(app->modal->classes, span_of(class->id), class);
    return class;
}

struct class *class_restore(struct app *app, const Modal__ClassRecord *record) {
    struct class *class = class_new(app, record->id);
    class->name = mem_string(record->name);
    for (size_t i = 0; i < record->n_method_names && i < record->n_method_ids; i++)
        method_add(class, record->method_names[i], record->method_ids[i]);
    return class;
}

static struct function *class_function(const struct class *class) {
    void *value;
    if (!class->name) return NULL;
    for (size_t i = 0; map_next(class->app->functions, &i, NULL, &value);) {
        struct function *function = value;
        size_t size = strlen(class->name);
        if (!function->base && strncmp(function->name, class->name, size) == 0 &&
            strcmp(function->name + size, ".*") == 0)
            return function;
    }
    return NULL;
}

Modal__ClassHandleMetadata *class_metadata(const struct class *class, struct arena *arena) {
    Modal__ClassHandleMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    modal__class_handle_metadata__init(metadata);
    const struct function *function = class_function(class);
    if (function) {
        metadata->class_function_id = (char *)function->id;
        metadata->class_function_metadata = function_metadata(function, arena);
    }
    metadata->methods = arena_alloc(arena, (class->method_count + 1) * sizeof *metadata->methods);
    for (size_t i = 0; i < class->method_count; i++) {
        Modal__ClassMethod *method = arena_alloc(arena, sizeof *method);
        modal__class_method__init(method);
        method->function_name = class->method_names[i];
        method->function_id = class->method_ids[i];
        const struct function *placeholder = function_of(class->app->modal, class->method_ids[i]);
        if (placeholder) method->function_handle_metadata = function_metadata(placeholder, arena);
        metadata->methods[metadata->n_methods++] = method;
    }
    return metadata;
}

/* New clients name no function: it is the newest "C.*" of the app that no class has yet. */
static char *name_without(struct app *app, const struct class *class) {
    char *found = NULL;
    void *value;
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) {
        const struct function *function = value;
        size_t size = strlen(function->name);
        if (function->base || size < 3 || strcmp(function->name + size - 2, ".*") != 0) continue;
        bool taken = false;
        void *other;
        for (size_t j = 0; map_next(app->modal->classes, &j, NULL, &other);) {
            const struct class *there = other;
            taken |= there != class && there->app == app && there->name && strlen(there->name) == size - 2 &&
                     strncmp(there->name, function->name, size - 2) == 0;
        }
        if (taken) continue;
        free(found);
        found = mem_string_n(function->name, size - 2);
    }
    return found;
}

static char *name_of_methods(struct app *app, const Modal__ClassCreateRequest *request) {
    for (size_t i = 0; i < request->n_methods; i++) {
        const struct function *placeholder = function_of(app->modal, request->methods[i]->function_id);
        const char *dot = placeholder ? strrchr(placeholder->name, '.') : NULL;
        if (dot) return mem_string_n(placeholder->name, (size_t)(dot - placeholder->name));
    }
    return NULL;
}

static void class_create(struct rpc *rpc, const void *message) {
    const Modal__ClassCreateRequest *request = message;
    struct app *app = app_of(rpc->modal, request->app_id);
    if (!app) {
        rpc_fail(rpc, no_object("app", request->app_id));
        return;
    }
    struct class *class = request->existing_class_id && *request->existing_class_id
                              ? map_get(rpc->modal->classes, span_of(request->existing_class_id))
                              : NULL;
    if (!class) {
        scoped_string char *id = random_id("cs");
        class = class_new(app, id);
    }
    if (!class->name) class->name = name_of_methods(app, request);
    if (!class->name) class->name = name_without(app, class);
    while (class->method_count > 0) {
        free(class->method_names[--class->method_count]);
        free(class->method_ids[class->method_count]);
    }
    for (size_t i = 0; i < request->n_methods; i++)
        method_add(class, request->methods[i]->function_name, request->methods[i]->function_id);
    Modal__ClassCreateResponse answer = MODAL__CLASS_CREATE_RESPONSE__INIT;
    answer.class_id = class->id;
    answer.handle_metadata = class_metadata(class, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

static void class_get(struct rpc *rpc, const void *message) {
    const Modal__ClassGetRequest *request = message;
    scoped_string char *key =
        object_key(environment_of(request->environment_name), request->app_name ? request->app_name : "");
    const struct app *app = map_get(rpc->modal->deployed, span_of(key));
    struct class *class =
        app && request->object_tag ? map_get(app->classes, span_of(request->object_tag)) : NULL;
    if (!class) {
        rpc_fail(rpc, error_new(ERROR_NOT_FOUND, "no class '%s' is deployed in an app '%s'",
                                request->object_tag ? request->object_tag : "",
                                request->app_name ? request->app_name : ""));
        return;
    }
    Modal__ClassGetResponse answer = MODAL__CLASS_GET_RESPONSE__INIT;
    answer.class_id = class->id;
    answer.handle_metadata = class_metadata(class, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

const struct rpc_method class_methods[] = {
    {"ClassCreate", &modal__class_create_request__descriptor, class_create, RPC_ONCE},
    {"ClassGet", &modal__class_get_request__descriptor, class_get, RPC_TASK},
    {0},
};
