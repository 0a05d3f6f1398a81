/* image: Modal's layers, each an image of the image room: asked for, built or found, joined while it is
 * built.
 *
 * A layer is known by the hash of what it is made from: the keys of its bases (not their ids), commands,
 * files by content, the function that makes it. Of a function's globals nothing goes in: they hold the
 * deployer's environment, which differs from shell to shell and says nothing of the layer. The same key is
 * built once; who asks meanwhile joins. */
#include "inside.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define LINES_MAX (8 << 20)
#define SUCCESS MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS
#define FAILURE MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_FAILURE

const struct modal_image *image_of(const struct modal *modal, const char *id) {
    return id ? map_get(modal->images, span_of(id)) : NULL;
}

struct modal_image *image_find_key(const struct modal *modal, const char *key) {
    return map_get(modal->image_keys, span_of(key));
}

struct modal_image *image_new(struct modal *modal, const char *key, const char *builder_version) {
    struct modal_image *image = NEW(struct modal_image);
    scoped_string char *id = random_id("im");
    id_set(image->id, id);
    image->key = mem_string(key);
    image->builder_version = mem_string(builder_version && *builder_version ? builder_version : "2024.04");
    list_init(&image->joined);
    list_init(&image->asking);
    image->used_ms = clock_wall_ms();
    map_put(modal->images, span_of(image->id), image);
    map_put(modal->image_keys, span_of(key), image);
    return image;
}

static void image_free(struct modal_image *image) {
    free(image->key);
    free(image->name);
    free(image->builder_version);
    free(image->exception);
    free(image->python);
    text_done(&image->lines);
    free(image);
}

void images_free(struct modal *modal) {
    void *value;
    if (modal->images_room) image_keeper_set(modal->images_room, NULL);
    map_free(modal->images_needed);
    for (size_t i = 0; map_next(modal->images, &i, NULL, &value);) {
        struct modal_image *image = value;
        rpc_held_end(&image->joined, ERROR_UNAVAILABLE, "catnap is ending");
        image_free(image);
    }
    map_free(modal->images);
    map_free(modal->image_keys);
}

void image_restore(struct modal *modal, const Modal__ImageRecord *record) {
    struct modal_image *image = image_new(modal, record->key, record->builder_version);
    id_restore(modal->images, image->id, record->id, image);
    image->name = mem_string(record->name);
    image->status = SUCCESS;
    const struct image *made = image->name ? image_find(modal->images_room, image->name) : NULL;
    image->used_ms = record->has_used_ms ? record->used_ms : made ? made->made_wall_ms : 0;
    image_look(modal, image);
}

struct text image_record(const struct modal_image *image) {
    Modal__ImageRecord record = MODAL__IMAGE_RECORD__INIT;
    record.id = (char *)image->id;
    record.key = image->key;
    record.name = image->name;
    record.builder_version = image->builder_version;
    record.has_used_ms = true;
    record.used_ms = image->used_ms;
    return message_pack(&record);
}

void image_written(void *owner, struct error *error) {
    (void)owner;
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_warn("modal", "a note of an image is not kept: %s", text);
    error_free(error);
}

bool image_is_snapshot(const struct modal_image *image) {
    return strncmp(image->key, IMAGE_SNAPSHOT, strlen(IMAGE_SNAPSHOT)) == 0;
}

void image_forget(struct modal *modal, struct modal_image *image) {
    if (image_find_key(modal, image->key) == image) map_remove(modal->image_keys, span_of(image->key));
    map_remove(modal->images, span_of(image->id));
    image_free(image);
}

/* ---- which Python is in it, and whether the client's needs are ---- */

static unsigned newest_python(const char *directory) {
    DIR *entries = opendir(directory);
    unsigned newest = 0;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        uint64_t minor;
        if (strncmp(entry->d_name, "python3.", 8) == 0 && span_to_u64(span_of(entry->d_name + 8), &minor) &&
            minor > newest)
            newest = (unsigned)minor;
    }
    if (entries) closedir(entries);
    return newest;
}

static void look_into(struct modal_image *image, const char *root, unsigned *minor) {
    scoped_string char *local = mem_printf("%s/usr/local/bin", root), *usual = mem_printf("%s/usr/bin", root);
    if (*minor == 0) *minor = newest_python(local);
    if (*minor == 0) *minor = newest_python(usual);
    if (*minor == 0) return;
    scoped_string char *usual_site =
        mem_printf("%s/usr/local/lib/python3.%u/site-packages/grpclib", root, *minor);
    scoped_string char *debian_site =
        mem_printf("%s/usr/local/local/lib/python3.%u/dist-packages/grpclib", root, *minor);
    image->has_client = image->has_client || file_exists(usual_site) || file_exists(debian_site);
}

void image_look(struct modal *modal, struct modal_image *image) {
    struct image_layers layers;
    unsigned minor = 0;
    scoped(error) struct error *error = image_resolve(modal->images_room, image->name, &layers);
    if (error) return;
    for (size_t i = 0; i < layers.count; i++) look_into(image, layers.layer[i], &minor);
    if (layers.count == 0 || layers.grafts) look_into(image, "", &minor); /* this machine's lies below */
    image_layers_done(&layers);
    free(image->python);
    image->python = minor ? mem_printf("3%u", minor) : NULL;
}

/* ---- its key ---- */

static void add(struct sha256 *sum, const char *text) {
    sha256_add(sum, text ? text : "", text ? strlen(text) + 1 : 1);
}

static struct error *add_function(struct sha256 *sum, struct modal *modal,
                                  const Modal__ImageGetOrCreateRequest *request) {
    const Modal__BuildFunction *build = request->image->build_function;
    if (!build) return NULL;
    const struct function *function = function_of(modal, request->build_function_id);
    if (!function || !function->staged) return no_object("function", request->build_function_id);
    add(sum, build->definition);
    add(sum, function->name);
    if (build->input && build->input->has_args)
        sha256_add(sum, build->input->args.data, build->input->args.len);
    return NULL;
}

/* A name of an image that was made here means what it means now: built or imported anew, it is another one. A
 * registry's stays what it was when it came, as with Modal. */
static void add_made_here(struct sha256 *sum, struct modal *modal, const char *command) {
    struct span rest = span_of(command), word = span_cut(&rest, ' ');
    scoped_string char *name = span_is(word, "FROM") && rest.data ? span_string(span_cut(&rest, ' ')) : NULL;
    const struct image *image = name ? image_find(modal->images_room, name) : NULL;
    if (image && (strcmp(image->source, "built") == 0 || strncmp(image->source, "file ", 5) == 0))
        add(sum, image->id);
}

static struct error *key_of(struct modal *modal, const Modal__ImageGetOrCreateRequest *request,
                            char hex[SHA256_HEX_SIZE]) {
    const Modal__Image *asked = request->image;
    scoped(sha256) struct sha256 *sum = sha256_new();
    add(sum, "image 1");
    add(sum, request->builder_version);
    for (size_t i = 0; i < asked->n_base_images; i++) {
        const struct modal_image *base = image_of(modal, asked->base_images[i]->image_id);
        if (!base) return no_object("image", asked->base_images[i]->image_id);
        add(sum, asked->base_images[i]->docker_tag);
        add(sum, base->key);
    }
    for (size_t i = 0; i < asked->n_dockerfile_commands; i++) {
        add(sum, asked->dockerfile_commands[i]);
        add_made_here(sum, modal, asked->dockerfile_commands[i]);
    }
    for (size_t i = 0; i < asked->n_context_files; i++) {
        const ProtobufCBinaryData *data = &asked->context_files[i]->data;
        char content[SHA256_HEX_SIZE];
        sha256_of((struct span){(const char *)data->data, data->len}, content);
        add(sum, asked->context_files[i]->filename);
        add(sum, content);
    }
    for (size_t i = 0; i < asked->n_build_args; i++)
        add(sum, asked->build_args[i]->key), add(sum, asked->build_args[i]->value);
    if (asked->context_mount_id && *asked->context_mount_id) {
        const struct mount *mount = mount_of(modal, asked->context_mount_id);
        if (!mount) return no_object("mount", asked->context_mount_id);
        add(sum, mount->checksum);
    }
    TRY_PLAIN(add_function(sum, modal, request));
    sha256_hex(sum, hex);
    return NULL;
}

/* ---- joined ---- */

struct joiner { /* in the call's arena */
    struct modal_image *image;
    size_t given; /* bytes of its lines */
};

static void send_lines(struct rpc *rpc, struct joiner *joiner) {
    const struct text *lines = &joiner->image->lines;
    if (joiner->given >= lines->size) return;
    Modal__TaskLogs item = MODAL__TASK_LOGS__INIT;
    Modal__TaskLogs *items[] = {&item};
    scoped_string char *data = mem_string_n(lines->data + joiner->given, lines->size - joiner->given);
    joiner->given = lines->size;
    item.data = data;
    item.has_file_descriptor = item.has_timestamp = true;
    item.file_descriptor = MODAL__FILE_DESCRIPTOR__FILE_DESCRIPTOR_STDOUT;
    item.timestamp = now_s();
    Modal__ImageJoinStreamingResponse answer = MODAL__IMAGE_JOIN_STREAMING_RESPONSE__INIT;
    answer.task_logs = items;
    answer.n_task_logs = 1;
    answer.entry_id = arena_printf(rpc_arena(rpc), "%zu", joiner->given);
    rpc_send(rpc, &answer);
}

static Modal__ImageMetadata *metadata_of(const struct modal_image *image, struct arena *arena) {
    Modal__ImageMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    modal__image_metadata__init(metadata);
    metadata->image_builder_version = image->builder_version;
    if (image->python)
        metadata->python_version_info = arena_printf(arena, "%.1s.%s", image->python, image->python + 1);
    return metadata;
}

static void send_end(struct rpc *rpc, struct modal_image *image) {
    Modal__GenericResult result = MODAL__GENERIC_RESULT__INIT;
    result.has_status = true;
    result.status = (Modal__GenericResultGenericStatus)image->status;
    result.exception = image->exception ? image->exception : "";
    Modal__ImageJoinStreamingResponse answer = MODAL__IMAGE_JOIN_STREAMING_RESPONSE__INIT;
    answer.result = &result;
    answer.metadata = metadata_of(image, rpc_arena(rpc));
    rpc_send(rpc, &answer);
    rpc_end(rpc);
}

void image_say(struct modal_image *image, struct span line) {
    if (image->lines.size > LINES_MAX) return;
    text_add(&image->lines, line);
    text_add_char(&image->lines, '\n');
    LIST_EACH(node, &image->joined) {
        struct rpc *rpc = CONTAINER_OF(node, struct rpc, node);
        send_lines(rpc, rpc->owner);
    }
}

static void join_over(struct rpc *rpc) {
    rpc_end(rpc); /* the client joins again from where it is */
}

static void join(struct rpc *rpc, const void *message) {
    const Modal__ImageJoinStreamingRequest *request = message;
    struct modal_image *image = (struct modal_image *)image_of(rpc->modal, request->image_id);
    if (!image) {
        rpc_fail(rpc, no_object("image", request->image_id));
        return;
    }
    uint64_t given = 0;
    if (request->last_entry_id) (void)span_to_u64(span_of(request->last_entry_id), &given);
    struct joiner *joiner = arena_alloc(rpc_arena(rpc), sizeof *joiner);
    *joiner = (struct joiner){image, given < image->lines.size ? (size_t)given : image->lines.size};
    if (image->status) {
        if (request->include_logs_for_finished || image->status != SUCCESS) send_lines(rpc, joiner);
        send_end(rpc, image);
        return;
    }
    rpc_hold(rpc, &image->joined, joiner, (double)request->timeout * 1000, join_over);
    send_lines(rpc, joiner);
}

/* ---- its end ---- */

static void tell_joined(struct modal_image *image) {
    while (!list_empty(&image->joined)) {
        struct rpc *rpc = CONTAINER_OF(image->joined.next, struct rpc, node);
        send_lines(rpc, rpc->owner);
        send_end(rpc, image);
    }
}

struct keeping {
    struct modal *modal;
    char *id;
};

static void on_kept(void *owner, struct error *error) {
    struct keeping *keeping = owner;
    struct modal_image *image = (struct modal_image *)image_of(keeping->modal, keeping->id);
    if (image && error) {
        image->status = FAILURE;
        free(image->exception);
        image->exception = error_text(error);
    } else if (image) {
        image->status = SUCCESS;
    }
    error_free(error);
    if (image && !keeping->modal->closing) tell_joined(image);
    free(keeping->id);
    free(keeping);
}

void image_built(struct modal *modal, struct modal_image *image, const char *name, struct error *error) {
    if (!error && strncmp(name, "sha256:", 7) == 0)
        error = image_keep(modal->images_room, image->id, name + 7);
    if (error) {
        image->status = FAILURE;
        free(image->exception);
        image->exception = error_text(error);
        error_free(error);
        if (image_find_key(modal, image->key) == image) map_remove(modal->image_keys, span_of(image->key));
        tell_joined(image);
        return;
    }
    image->name = mem_string(name);
    image_look(modal, image);
    image->used_ms = clock_wall_ms();
    scoped_text struct text bytes = image_record(image);
    const struct store_record row = {"modal-image", image->id, text_span(&bytes)};
    struct keeping *keeping = NEW(struct keeping);
    *keeping = (struct keeping){modal, mem_string(image->id)};
    store_records_write(modal->store, &row, 1, on_kept, keeping);
}

/* ---- asked for ---- */

static bool still_there(struct modal *modal, const struct modal_image *image) {
    struct image_layers layers;
    scoped(error) struct error *error = image_resolve(modal->images_room, image->name, &layers);
    if (error) return false;
    image_layers_done(&layers);
    return true;
}

static void answer_image(struct rpc *rpc, struct modal_image *image) {
    Modal__GenericResult result = MODAL__GENERIC_RESULT__INIT;
    result.has_status = true;
    result.status = SUCCESS;
    Modal__ImageGetOrCreateResponse answer = MODAL__IMAGE_GET_OR_CREATE_RESPONSE__INIT;
    answer.image_id = image->id;
    if (image->status == SUCCESS) {
        answer.result = &result;
        answer.metadata = metadata_of(image, rpc_arena(rpc));
    }
    rpc_answer(rpc, &answer);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__ImageGetOrCreateRequest *request = message;
    struct modal *modal = rpc->modal;
    char key[SHA256_HEX_SIZE];
    struct error *error = request->image ? key_of(modal, request, key) : no_object("image", "");
    if (!error && request->image->build_function && rpc->task)
        error = error_new(ERROR_PERMISSION_DENIED, "a layer that a function makes is for clients only");
    if (!error) error = secrets_may_use(rpc, request->image->secret_ids, request->image->n_secret_ids);
    if (!error && request->image->image_registry_config && request->image->image_registry_config->secret_id &&
        *request->image->image_registry_config->secret_id)
        error = secrets_may_use(rpc, &request->image->image_registry_config->secret_id, 1);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct modal_image *image = image_find_key(modal, key);
    bool anew = request->force_build || request->ignore_cache;
    if (image && image->status == SUCCESS && !anew && still_there(modal, image)) {
        image_used(modal, image->id);
        answer_image(rpc, image);
        return;
    }
    if (image && image->status == 0) { /* two who ask at once share one build */
        answer_image(rpc, image);
        return;
    }
    image = image_new(modal, key, request->builder_version);
    build_start(modal, image, request);
    answer_image(rpc, image);
}

static void from_id(struct rpc *rpc, const void *message) {
    const Modal__ImageFromIdRequest *request = message;
    const struct modal_image *image = image_of(rpc->modal, request->image_id);
    if (!image || image->status != SUCCESS) {
        rpc_fail(rpc, no_object("image", request->image_id));
        return;
    }
    image_used(rpc->modal, image->id);
    Modal__ImageFromIdResponse answer = MODAL__IMAGE_FROM_ID_RESPONSE__INIT;
    answer.image_id = (char *)image->id;
    answer.metadata = metadata_of(image, rpc_arena(rpc));
    rpc_answer(rpc, &answer);
}

/* ---- deleted ---- */

static const struct app *app_with(const struct modal *modal, const char *image_id) {
    void *value;
    for (size_t i = 0; map_next(modal->functions, &i, NULL, &value);) {
        const struct function *function = value;
        const struct definition *definition = function_definition(function);
        const char *id = definition ? definition->function->image_id : NULL;
        if (id && strcmp(id, image_id) == 0 && function->app->state != MODAL__APP_STATE__APP_STATE_STOPPED)
            return function->app;
    }
    return NULL;
}

/* What is built on top of it keeps its layers; the rest goes with the next prune. */
static void delete (struct rpc *rpc, const void *message) {
    const Modal__ImageDeleteRequest *request = message;
    struct modal *modal = rpc->modal;
    struct modal_image *image = (struct modal_image *)image_of(modal, request->image_id);
    const struct app *user = image ? app_with(modal, image->id) : NULL;
    struct error *error = NULL;
    if (!image || image->status != SUCCESS)
        error = no_object("image", request->image_id);
    else if (user)
        error = error_new(ERROR_FAILED_PRECONDITION, "the app '%s' uses the image %s; stop it first",
                          user->name, image->id);
    else
        error = image_keep(modal->images_room, image->id, NULL);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    image_forget(modal, image);
    rpc_commit(rpc, &(struct store_record){"modal-image", request->image_id, {NULL, 0}}, 1, rpc_answer_kept);
}

const struct rpc_method image_methods[] = {
    {"ImageGetOrCreate", &modal__image_get_or_create_request__descriptor, get_or_create, RPC_TASK | RPC_ONCE},
    {"ImageJoinStreaming", &modal__image_join_streaming_request__descriptor, join, RPC_TASK},
    {"ImageDelete", &modal__image_delete_request__descriptor, delete, 0},
    {"ImageFromId", &modal__image_from_id_request__descriptor, from_id, RPC_TASK},
    {0},
};
