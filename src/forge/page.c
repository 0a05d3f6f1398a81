/* A page of the list, as another server wrote it. What is no repository that can be cloned over HTTP is
 * passed over: an answer must not name a file of this machine. */
#include "forge.h"

#include <stdlib.h>

static const char *text_of(const json_t *object, const char *first, const char *second) {
    const char *text = json_string_value(json_object_get(object, first));
    return text ? text : json_string_value(json_object_get(object, second));
}

static bool can_be_cloned(const char *url) {
    struct span text = span_of(url);
    if (!span_starts(text, "https://") && !span_starts(text, "http://")) return false;
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '@') return false;
    return true;
}

struct error *forge_page(enum forge_kind kind, struct span body, json_t *list) {
    json_error_t where;
    size_t i;
    json_t *one;
    scoped_json json_t *page = json_loadb(body.data ? body.data : "", body.size, 0, &where);
    if (!page)
        return error_new(ERROR_INVALID_ARGUMENT, "the answer is no JSON: %s at line %d", where.text,
                         where.line);
    if (!json_is_array(page))
        return error_new(ERROR_INVALID_ARGUMENT, "the answer is no list of repositories");
    json_array_foreach(page, i, one) {
        bool hub = kind == FORGE_GITHUB;
        json_t *id = json_object_get(one, "id");
        const char *name =
            hub ? text_of(one, "full_name", "name") : text_of(one, "path_with_namespace", "path");
        const char *url =
            hub ? text_of(one, "html_url", "clone_url") : text_of(one, "http_url_to_repo", "web_url");
        if (!json_is_integer(id) || !name || !url || !can_be_cloned(url)) continue;
        scoped_string char *number = mem_printf("%lld", (long long)json_integer_value(id));
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:s}", "vendorId", number, "name", name, "gitUrl", url));
    }
    return NULL;
}

bool forge_link_goes_on(struct span link) {
    while (link.data) {
        struct span one = span_cut(&link, ',');
        span_cut(&one, ';');
        while (one.data) {
            struct span parameter = span_trim(span_cut(&one, ';'));
            if (span_is_nocase(parameter, "rel=\"next\"") || span_is_nocase(parameter, "rel=next"))
                return true;
        }
    }
    return false;
}
