/* build: one layer of Modal's as a build of the image room: its commands are a Dockerfile, its files a
 * context.
 *
 * On the `host` image the client's own set-up is left out: this machine's Python is not ours to install into,
 * and what the client imports is mounted when a container runs. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

struct build {
    struct list node; /* of modal->builds */
    struct modal *modal;
    struct modal_image *image;
    struct image_job *job;
};

static void build_free(struct build *build) {
    list_remove(&build->node);
    free(build);
}

void builds_cancel(struct modal *modal) {
    LIST_EACH_SAFE(node, next, &modal->builds) {
        struct build *build = CONTAINER_OF(node, struct build, node);
        image_job_cancel(build->job);
        build_free(build);
    }
}

static void on_line(void *owner, struct span text) {
    struct build *build = owner;
    image_say(build->image, text);
}

static void on_done(void *owner, struct error *error, const struct image *image) {
    struct build *build = owner;
    scoped_string char *name = image ? mem_printf("sha256:%s", image->id) : NULL;
    image_built(build->modal, build->image, name, error);
    build_free(build);
}

/* ---- the host image ---- */

static bool sets_up(const char *command) {
    static const char *const known[] = {
        "COPY /modal_requirements.txt", "RUN python -m pip install --upgrade pip",
        "RUN python -m pip install --no-cache --no-deps -r /modal_requirements.txt",
        "RUN rm /modal_requirements.txt", "ENV TERMINFO_DIRS="};
    if (!*command) return true;
    for (size_t i = 0; i < COUNT(known); i++)
        if (strncmp(command, known[i], strlen(known[i])) == 0) return true;
    return false;
}

static bool is_plain_host(const Modal__Image *asked) {
    if (asked->n_dockerfile_commands == 0 || strcmp(asked->dockerfile_commands[0], "FROM host") != 0)
        return false;
    for (size_t i = 1; i < asked->n_dockerfile_commands; i++)
        if (!sets_up(asked->dockerfile_commands[i])) return false;
    return true;
}

/* ---- what it is made from ---- */

struct recipe { /* in an arena */
    struct text commands;
    struct image_pair *bases, *args, *secrets;
    struct image_file *files;
    size_t base_count, arg_count, secret_count, file_count;
    const char *directory;
};

static struct error *bases_of(const struct modal *modal, const Modal__Image *asked, struct recipe *recipe,
                              struct arena *arena) {
    recipe->bases = arena_alloc(arena, (asked->n_base_images + 1) * sizeof *recipe->bases);
    for (size_t i = 0; i < asked->n_base_images; i++) {
        const struct modal_image *base = image_of(modal, asked->base_images[i]->image_id);
        if (!base || !base->name)
            return error_new(ERROR_FAILED_PRECONDITION, "the layer below, %s, is not built",
                             asked->base_images[i]->image_id);
        recipe->bases[recipe->base_count++] =
            (struct image_pair){asked->base_images[i]->docker_tag, base->name};
    }
    return NULL;
}

static struct error *files_of(struct modal *modal, const Modal__Image *asked, struct recipe *recipe,
                              struct arena *arena) {
    recipe->files = arena_alloc(arena, (asked->n_context_files + 1) * sizeof *recipe->files);
    for (size_t i = 0; i < asked->n_context_files; i++) {
        const Modal__ImageContextFile *file = asked->context_files[i];
        char *digest = arena_alloc(arena, SHA256_HEX_SIZE);
        struct span data = {file->data.data ? (const char *)file->data.data : "", file->data.len};
        TRY(store_blob_put(modal->store, data, digest), "the file %s", file->filename);
        recipe->files[recipe->file_count++] = (struct image_file){file->filename, digest, 0644};
    }
    if (!asked->context_mount_id || !*asked->context_mount_id) return NULL;
    const struct mount *mount = mount_of(modal, asked->context_mount_id);
    if (!mount) return no_object("mount", asked->context_mount_id);
    recipe->directory = mount->directory;
    return NULL;
}

static struct error *secrets_of(struct modal *modal, const Modal__Image *asked, struct recipe *recipe,
                                struct arena *arena) {
    scoped(core_function) struct core_function *all = core_function_new("build", "build");
    for (size_t i = 0; i < asked->n_secret_ids; i++)
        TRY_PLAIN(secret_apply(modal, asked->secret_ids[i], all));
    recipe->secrets = arena_alloc(arena, (all->env_count + 1) * sizeof *recipe->secrets);
    for (size_t i = 0; i < all->env_count; i++)
        recipe->secrets[recipe->secret_count++] =
            (struct image_pair){arena_text(arena, all->env[i].name), arena_text(arena, all->env[i].value)};
    return NULL;
}

static struct error *recipe_of(struct modal *modal, const Modal__Image *asked, struct recipe *recipe,
                               struct arena *arena) {
    TRY_PLAIN(bases_of(modal, asked, recipe, arena));
    TRY_PLAIN(files_of(modal, asked, recipe, arena));
    TRY_PLAIN(secrets_of(modal, asked, recipe, arena));
    recipe->args = arena_alloc(arena, (asked->n_build_args + 1) * sizeof *recipe->args);
    for (size_t i = 0; i < asked->n_build_args; i++)
        recipe->args[recipe->arg_count++] =
            (struct image_pair){asked->build_args[i]->key, asked->build_args[i]->value};
    for (size_t i = 0; i < asked->n_dockerfile_commands; i++) {
        text_add_string(&recipe->commands, asked->dockerfile_commands[i]);
        text_add_char(&recipe->commands, '\n');
    }
    return NULL;
}

/* Static credentials of a private registry lie in a secret, under these names. */
static bool credentials_of(const struct recipe *recipe, const Modal__Image *asked, struct modal *modal,
                           struct image_credentials *ret, struct arena *arena) {
    const Modal__ImageRegistryConfig *config = asked->image_registry_config;
    (void)recipe;
    if (!config || config->registry_auth_type != MODAL__REGISTRY_AUTH_TYPE__REGISTRY_AUTH_TYPE_STATIC_CREDS)
        return false;
    scoped(core_function) struct core_function *all = core_function_new("build", "build");
    scoped(error) struct error *error = secret_apply(modal, config->secret_id, all);
    *ret = (struct image_credentials){NULL, NULL};
    for (size_t i = 0; !error && i < all->env_count; i++) {
        if (strcmp(all->env[i].name, "REGISTRY_USERNAME") == 0)
            ret->user = arena_text(arena, all->env[i].value);
        if (strcmp(all->env[i].name, "REGISTRY_PASSWORD") == 0)
            ret->password = arena_text(arena, all->env[i].value);
    }
    return ret->user && ret->password;
}

/* ---- begin ---- */

static struct error *commands_start(struct modal *modal, struct modal_image *image,
                                    const Modal__ImageGetOrCreateRequest *request) {
    static const struct image_events events = {on_line, on_done};
    const Modal__Image *asked = request->image;
    scoped(arena) struct arena *arena = arena_new();
    struct recipe recipe = {0};
    struct image_credentials credentials;
    struct error *error = recipe_of(modal, asked, &recipe, arena);
    if (error) {
        text_done(&recipe.commands);
        return error;
    }
    struct build *build = NEW(struct build);
    *build = (struct build){.modal = modal, .image = image};
    list_append(&modal->builds, &build->node);
    bool private = credentials_of(&recipe, asked, modal, &credentials, arena);
    build->job = image_build(modal->images_room,
                             &(struct image_build){
                                 .commands = recipe.commands.data,
                                 .file_name = "image",
                                 .bases = recipe.bases,
                                 .base_count = recipe.base_count,
                                 .context = {recipe.directory, recipe.files, recipe.file_count},
                                 .args = recipe.args,
                                 .arg_count = recipe.arg_count,
                                 .secrets = recipe.secrets,
                                 .secret_count = recipe.secret_count,
                                 .credentials = private ? &credentials : NULL,
                                 .force = request->force_build || request->ignore_cache,
                             },
                             &events, build);
    text_done(&recipe.commands);
    return NULL;
}

static struct error *function_start(struct modal *modal, struct modal_image *image,
                                    const Modal__ImageGetOrCreateRequest *request) {
    const Modal__Image *asked = request->image;
    struct function *function = function_of(modal, request->build_function_id);
    const struct modal_image *base =
        asked->n_base_images ? image_of(modal, asked->base_images[0]->image_id) : NULL;
    if (!function || !function->staged) return no_object("function", request->build_function_id);
    if (!base || !base->name) return error_new(ERROR_FAILED_PRECONDITION, "the layer below is not built");
    Modal__FunctionInput empty = MODAL__FUNCTION_INPUT__INIT;
    scoped_text struct text input =
        message_pack(asked->build_function->input ? asked->build_function->input : &empty);
    buildrun_start(modal, image, base->name, function, text_span(&input));
    return NULL;
}

void build_start(struct modal *modal, struct modal_image *image,
                 const Modal__ImageGetOrCreateRequest *request) {
    struct error *error = NULL;
    if (is_plain_host(request->image))
        image_built(modal, image, "host", NULL);
    else if (request->image->build_function)
        error = function_start(modal, image, request);
    else
        error = commands_start(modal, image, request);
    if (error) image_built(modal, image, NULL, error);
}
