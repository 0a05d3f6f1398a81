/* A page of repositories, as GitHub's or GitLab's API gives it, with its Link field on the first line. The
 * first byte says whose. */
#include "forge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (size_bytes == 0) return 0;
    struct span rest = {(const char *)data + 1, size_bytes - 1}, link = span_cut(&rest, '\n');
    scoped_json json_t *list = json_array();
    size_t i;
    json_t *one;
    forge_link_goes_on(link);
    scoped(error) struct error *error = forge_page(data[0] == 'h' ? FORGE_GITHUB : FORGE_GITLAB, rest, list);
    json_array_foreach(list, i, one) {
        const char *url = json_string_value(json_object_get(one, "gitUrl"));
        if (!url || strncmp(url, "http", 4) != 0 || strchr(url, '@')) __builtin_trap();
    }
    return 0;
}
