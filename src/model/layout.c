/* A model's directory: tabby.json beside ggml/model-00001-of-*.gguf, whose parts lie side by side. */
#include "inside.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

void model_free(struct model *model) {
    if (!model) return;
    free(model->id);
    free(model->directory);
    free(model->file);
    free(model->prompt_template);
    free(model->chat_template);
    free(model);
}

struct error *layout_metadata(const char *directory, json_t **ret_root) {
    scoped_string char *path = path_join(directory, "tabby.json");
    scoped_text struct text content = {0};
    TRY(file_read(path, METADATA_BYTES_MAX, &content), "Invalid metadata file");
    json_error_t where;
    scoped_json json_t *root = json_loadb(content.data ? content.data : "", content.size, 0, &where);
    if (!root)
        return error_new(ERROR_INVALID_ARGUMENT, "Invalid metadata file: %s: line %d: %s", path, where.line,
                         where.text);
    if (!json_is_object(root))
        return error_new(ERROR_INVALID_ARGUMENT, "Invalid metadata file: %s: it holds no object", path);
    *ret_root = take(root);
    return NULL;
}

static struct error *read_metadata(struct model *model) {
    scoped_json json_t *root = NULL;
    TRY_PLAIN(layout_metadata(model->directory, &root));
    const char *const fields[] = {"prompt_template", "chat_template"};
    char **const places[] = {&model->prompt_template, &model->chat_template};
    for (size_t i = 0; i < COUNT(fields); i++) {
        const json_t *value = json_object_get(root, fields[i]);
        if (!value || json_is_null(value)) continue;
        if (!json_is_string(value))
            return error_new(ERROR_INVALID_ARGUMENT,
                             "Invalid metadata file: %s/tabby.json: %s is not a string", model->directory,
                             fields[i]);
        *places[i] = mem_string(json_string_value(value));
    }
    return NULL;
}

char *layout_part_name(uint32_t part, uint32_t parts) {
    return mem_printf("model-%05u-of-%05u.gguf", part, parts);
}

/* model-PPPPP-of-NNNNN.gguf, and nothing behind it. */
static bool read_part_name(const char *name, uint32_t *ret_part, uint32_t *ret_parts) {
    int end = 0;
    if (sscanf(name, "model-%5u-of-%5u.gguf%n", ret_part, ret_parts, &end) != 2) return false;
    return end > 0 && name[end] == 0 && *ret_part > 0 && *ret_part <= *ret_parts && *ret_parts <= PARTS_MAX;
}

static char *first_missing(const char *folder, uint32_t parts) {
    for (uint32_t part = 1; part <= parts; part++) {
        char *name = layout_part_name(part, parts);
        scoped_string char *path = path_join(folder, name);
        if (!file_exists(path)) return name;
        free(name);
    }
    return NULL;
}

struct error *layout_first_file(const char *folder, char **ret_path) {
    DIR *directory = opendir(folder);
    uint32_t whole = 0, part, parts;
    char *missing = NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (!read_part_name(entry->d_name, &part, &parts) || part != 1) continue;
        free(missing);
        missing = first_missing(folder, parts);
        if (!missing && (whole == 0 || parts < whole)) whole = parts;
    }
    if (directory) closedir(directory);
    scoped_string char *said = missing;
    if (!whole && said) return error_new(ERROR_NOT_FOUND, "%s is missing in %s", said, folder);
    if (!whole) return error_new(ERROR_NOT_FOUND, "no model-00001-of-*.gguf in %s", folder);
    scoped_string char *name = layout_part_name(1, whole);
    *ret_path = path_join(folder, name);
    return NULL;
}

void layout_remove_others(const char *folder, uint32_t kept) {
    DIR *directory = opendir(folder);
    uint32_t part, parts;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (!read_part_name(entry->d_name, &part, &parts) || parts == kept) continue;
        scoped_string char *path = path_join(folder, entry->d_name);
        if (unlink(path) != 0) log_warn("model", "%s can't be removed", path);
    }
    if (directory) closedir(directory);
}

struct error *model_open(const char *directory, const char *id, struct model **ret_model) {
    scoped(model) struct model *model = NEW(struct model);
    model->id = mem_string(id);
    model->directory = mem_string(directory);
    TRY_PLAIN(read_metadata(model));
    scoped_string char *folder = path_join(directory, "ggml");
    TRY_PLAIN(layout_first_file(folder, &model->file));
    *ret_model = take(model);
    return NULL;
}
