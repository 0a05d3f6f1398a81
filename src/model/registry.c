/* Registries: models.json of an organisation, asked for each time and kept, so that a start without a network
 * works. */
#include "inside.h"

#include <stdlib.h>

#define REGISTRY_URL "https://raw.githubusercontent.com"
#define REGISTRY_TIMEOUT_MS 5000

static struct error *parse(const struct text *content, const char *where, json_t **ret_list) {
    json_error_t fault;
    scoped_json json_t *list = json_loadb(content->data ? content->data : "", content->size, 0, &fault);
    if (!list) return error_new(ERROR_INVALID_ARGUMENT, "%s: line %d: %s", where, fault.line, fault.text);
    if (!json_is_array(list))
        return error_new(ERROR_INVALID_ARGUMENT, "%s: it holds no list of models", where);
    *ret_list = take(list);
    return NULL;
}

static struct error *ask(const struct model_source *source, const char *organisation, const char *cached,
                         json_t **ret_list) {
    const char *base = source->registry_url ? source->registry_url : REGISTRY_URL;
    scoped_string char *url = mem_printf("%s/%s/registry-tabby/main/models.json", base, organisation);
    scoped_text struct text content = {0};
    TRY_PLAIN(get_text(url, REGISTRY_BYTES_MAX, REGISTRY_TIMEOUT_MS, &content));
    TRY_PLAIN(parse(&content, url, ret_list));
    scoped_string char *kept = json_dumps(*ret_list, JSON_INDENT(2));
    struct error *error = file_replace(cached, span_of(kept), 0644);
    if (error) log_warn("model", "%s can't be kept: the next start needs the network", cached);
    error_free(error);
    return NULL;
}

static struct error *open_list(const struct model_source *source, const char *organisation,
                               json_t **ret_list) {
    scoped_string char *directory = path_join(source->models, organisation);
    scoped_string char *cached = path_join(directory, "models.json");
    TRY_PLAIN(dir_make(directory, 0755));
    scoped(error) struct error *error = ask(source, organisation, cached, ret_list);
    if (!error) return NULL;
    scoped_text struct text content = {0};
    scoped(error) struct error *absent = file_read(cached, REGISTRY_BYTES_MAX, &content);
    if (absent) return error_wrap(take(error), "Failed to fetch model organization <%s>", organisation);
    scoped_string char *why = error_text(error);
    log_warn("model", "the registry of %s can't be asked (%s); the list of last time is used", organisation,
             why);
    return parse(&content, cached, ret_list);
}

struct error *registry_find(const struct model_source *source, const char *organisation, const char *name,
                            json_t **ret_entry) {
    scoped_json json_t *list = NULL;
    TRY_PLAIN(open_list(source, organisation, &list));
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry) {
        const char *named = json_string_value(json_object_get(entry, "name"));
        if (!named || strcmp(named, name) != 0) continue;
        *ret_entry = json_incref((json_t *)entry);
        return NULL;
    }
    return error_new(ERROR_INVALID_ARGUMENT,
                     "Invalid `model_id` <%s/%s>; please consult https://github.com/%s/registry-tabby for "
                     "the correct `model_id`.",
                     organisation, name, organisation);
}
