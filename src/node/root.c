/* root: what a container's root is made of, from a function's image and overlay.
 *
 * Layers are stacked by an overlay mount, top first. The host image has no layers: there the overlay's
 * directories are bound into it instead, each as high up as no other has something at the same place. */
#include "inside.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DEPTH_MAX 16

static void layer_add(struct image_layers *layers, char *taken_path) {
    layers->layer = mem_grow(layers->layer, layers->count + 1, sizeof *layers->layer);
    layers->layer[layers->count++] = taken_path;
}

static void mount_add(struct root *root, const char *source, const char *destination) {
    root->mounts = mem_grow(root->mounts, root->mount_count + 1, sizeof *root->mounts);
    root->mounts[root->mount_count++] =
        (struct container_mount){mem_string(source), mem_string(destination), true, NULL};
}

static bool is_directory(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* Whether another than `at` of the directories has `path`; the higher one wins where both are files. */
static bool shared(char *const *directories, size_t count, size_t at, const char *path, bool *ret_hidden) {
    bool found = false;
    *ret_hidden = false;
    for (size_t i = 0; i < count; i++) {
        scoped_string char *there = mem_printf("%s%s", directories[i], path);
        if (i == at || !file_exists(there)) continue;
        found = true;
        if (i < at && !is_directory(there)) *ret_hidden = true;
    }
    return found;
}

static void bind_below(struct root *root, char *const *directories, size_t count, size_t at, const char *path,
                       int depth) {
    scoped_string char *here = mem_printf("%s%s", directories[at], path);
    DIR *directory = opendir(here);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        scoped_string char *inside = mem_printf("%s/%s", path, entry->d_name);
        scoped_string char *source = mem_printf("%s%s", directories[at], inside);
        bool hidden, both = shared(directories, count, at, inside, &hidden);
        if (hidden) continue;
        if (both && is_directory(source) && depth < DEPTH_MAX)
            bind_below(root, directories, count, at, inside, depth + 1);
        else
            mount_add(root, source, inside);
    }
    closedir(directory);
}

/* What the function does not say, its image says; of the environment both count, the function's own last. */
static void defaults_take(struct core_function *function, const struct image_config *config) {
    struct core_env *own = function->env;
    size_t own_count = function->env_count;
    function->env = NULL;
    function->env_count = 0;
    for (char **variable = config->env; variable && *variable; variable++) {
        struct span value = span_of(*variable), name = span_cut(&value, '=');
        scoped_string char *name_text = span_string(name);
        core_function_env_add(function, name_text, value.data ? value.data : "");
    }
    for (size_t i = 0; i < own_count; i++) {
        core_function_env_add(function, own[i].name, own[i].value);
        free(own[i].name), free(own[i].value);
    }
    free(own);
    if (!function->workdir) function->workdir = mem_string(config->workdir);
    if (!function->user) function->user = mem_string(config->user);
    if (function->command[0]) return;
    size_t count = 0;
    char **const lists[] = {config->entrypoint, config->cmd};
    for (size_t i = 0; i < COUNT(lists); i++)
        for (char **word = lists[i]; word && *word; word++) {
            function->command = mem_grow(function->command, count + 2, sizeof *function->command);
            function->command[count++] = mem_string(*word);
            function->command[count] = NULL;
        }
}

struct error *root_make(struct image_store *images, struct core_function *function, struct root *ret_root) {
    *ret_root = (struct root){0};
    struct image_layers image, overlay = {0};
    TRY_PLAIN(image_resolve(images, function->image, &image));
    defaults_take(function, &image.config);
    ret_root->image_id = take(image.id);
    struct span rest = span_of(function->overlay);
    while (rest.data) {
        struct span one = span_cut(&rest, ':');
        if (one.size > 0) layer_add(&overlay, span_string(one));
    }
    if (image.count > 0) {
        for (size_t i = 0; i < image.count; i++) layer_add(&overlay, take(image.layer[i]));
        ret_root->layers = overlay;
        ret_root->layers.grafts = take(image.grafts);
    } else {
        for (size_t i = 0; i < overlay.count; i++)
            bind_below(ret_root, overlay.layer, overlay.count, i, "", 0);
        image_layers_done(&overlay);
    }
    image_layers_done(&image);
    return NULL;
}

void root_done(struct root *root) {
    image_layers_done(&root->layers);
    for (size_t i = 0; i < root->mount_count; i++) {
        free((char *)root->mounts[i].source);
        free((char *)root->mounts[i].destination);
        free((char *)root->mounts[i].below);
    }
    free(root->mounts);
    free(root->image_id);
    *root = (struct root){0};
}
