/* What a machine says of itself: its mounts and groups (up to the first NUL; then the own group), its name
 * servers, its users' ranges. Whatever comes in, what comes out are paths with our name at their end, and no
 * server of loopback. */
#include "inside.h"

#include <stdlib.h>

static void check_path(const char *path) {
    if (path && !span_ends(span_of(path), "/fuzz-name")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped_string char *text = mem_string_n((const char *)data, size_bytes);
    const char *second = text + strlen(text) < text + size_bytes ? text + strlen(text) + 1 : "";
    struct cgroup_host groups;
    uint64_t range[2];
    cgroup_find(text, second, "fuzz-name", &groups);
    check_path(groups.unified);
    check_path(groups.freezer);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) check_path(groups.controller[c]);
    if (groups.unified && groups.freezer) abort();
    cgroup_host_done(&groups);
    scoped_string char *servers = network_resolv_conf(text);
    struct span rest = span_of(servers);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (span_starts(line, "nameserver 127.") || span_starts(line, "nameserver\t127.")) abort();
    }
    if (userns_find_range(text, "user", 1000, range) && range[1] == 0) abort();
    return 0;
}
