/* A model's directory: tabby.json beside ggml/model-00001-of-*.gguf. */
#include "model.h"

#include <dirent.h>
#include <stdlib.h>

#define METADATA_BYTES_MAX (1 << 20)

void model_free(struct model *model) {
    if (!model) return;
    free(model->id);
    free(model->directory);
    free(model->file);
    free(model->prompt_template);
    free(model->chat_template);
    free(model);
}

static struct error *read_metadata(struct model *model) {
    scoped_string char *path = path_join(model->directory, "tabby.json");
    scoped_text struct text content = {0};
    TRY(file_read(path, METADATA_BYTES_MAX, &content), "Invalid metadata file");
    json_error_t where;
    scoped_json json_t *root = json_loadb(content.data ? content.data : "", content.size, 0, &where);
    if (!root)
        return error_new(ERROR_INVALID_ARGUMENT, "Invalid metadata file: %s: line %d: %s", path, where.line,
                         where.text);
    if (!json_is_object(root))
        return error_new(ERROR_INVALID_ARGUMENT, "Invalid metadata file: %s: it holds no object", path);
    const char *const fields[] = {"prompt_template", "chat_template"};
    char **const places[] = {&model->prompt_template, &model->chat_template};
    for (size_t i = 0; i < COUNT(fields); i++) {
        const json_t *value = json_object_get(root, fields[i]);
        if (!value || json_is_null(value)) continue;
        if (!json_is_string(value))
            return error_new(ERROR_INVALID_ARGUMENT, "Invalid metadata file: %s: %s is not a string", path,
                             fields[i]);
        *places[i] = mem_string(json_string_value(value));
    }
    return NULL;
}

static struct error *find_file(struct model *model) {
    scoped_string char *folder = path_join(model->directory, "ggml");
    DIR *directory = opendir(folder);
    char *first = NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct span name = span_of(entry->d_name);
        if (!span_starts(name, "model-00001-of-") || !span_ends(name, ".gguf")) continue;
        if (first && strcmp(first, entry->d_name) <= 0) continue;
        free(first);
        first = mem_string(entry->d_name);
    }
    if (directory) closedir(directory);
    if (!first) return error_new(ERROR_NOT_FOUND, "no model-00001-of-*.gguf in %s", folder);
    model->file = path_join(folder, first);
    free(first);
    return NULL;
}

struct error *model_open(const char *directory, const char *id, struct model **ret_model) {
    scoped(model) struct model *model = NEW(struct model);
    model->id = mem_string(id);
    model->directory = mem_string(directory);
    TRY_PLAIN(read_metadata(model));
    TRY_PLAIN(find_file(model));
    *ret_model = take(model);
    return NULL;
}
