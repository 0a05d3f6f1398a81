/* cdi: devices as the Container Device Interface describes them: edits to config.json.
 *
 * Read from *.json in /etc/cdi and /var/run/cdi (`nvidia-ctk cdi generate --format=json`). The file's common
 * edits are applied once, then each chosen device's. Format: the CDI specification, containerEdits. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "inside.h"

enum { SPEC_MAX = 8 << 20, DEVICES_MAX = 64 };

static json_t *array_in(json_t *object, const char *key) {
    json_t *array = json_object_get(object, key);
    if (array) return array;
    json_object_set_new(object, key, json_array());
    return json_object_get(object, key);
}
static json_t *object_in(json_t *object, const char *key) {
    json_t *inner = json_object_get(object, key);
    if (inner) return inner;
    json_object_set_new(object, key, json_object());
    return json_object_get(object, key);
}

static must_check struct error *add_device(json_t *config, const json_t *node) {
    const char *path = json_string_value(json_object_get(node, "path")),
               *host_path = json_string_value(json_object_get(node, "hostPath"));
    const char *permissions = json_string_value(json_object_get(node, "permissions"));
    struct stat status;
    if (!path) return error_new(ERROR_FAILED_PRECONDITION, "a device node without a path");
    if (stat(host_path ? host_path : path, &status))
        return error_errno(errno, "device %s", host_path ? host_path : path);
    json_int_t major_number = major(status.st_rdev), minor_number = minor(status.st_rdev);
    const char *type = S_ISBLK(status.st_mode) ? "b" : "c";
    json_t *linux_part = object_in(config, "linux");
    json_array_append_new(array_in(linux_part, "devices"),
                          json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:i}", "path", path, "type", type,
                                    "major", major_number, "minor", minor_number, "fileMode",
                                    (int)(status.st_mode & 0777), "uid", (int)status.st_uid, "gid",
                                    (int)status.st_gid));
    json_array_append_new(array_in(object_in(linux_part, "resources"), "devices"),
                          json_pack("{s:b, s:s, s:I, s:I, s:s}", "allow", 1, "type", type, "major",
                                    major_number, "minor", minor_number, "access",
                                    permissions ? permissions : "rwm"));
    return NULL;
}

static void add_mount(json_t *config, const json_t *mount) {
    json_t *options = json_object_get(mount, "options");
    const char *type = json_string_value(json_object_get(mount, "type"));
    json_array_append_new(
        array_in(config, "mounts"),
        json_pack("{s:O?, s:O?, s:s, s:o}", "destination", json_object_get(mount, "containerPath"), "source",
                  json_object_get(mount, "hostPath"), "type", type ? type : "bind", "options",
                  options ? json_deep_copy(options)
                          : json_pack("[s,s,s,s]", "ro", "nosuid", "nodev", "rbind")));
}

static void add_hook(json_t *config, const json_t *hook) {
    const char *name = json_string_value(json_object_get(hook, "hookName"));
    json_t *copy = json_deep_copy(hook);
    json_object_del(copy, "hookName");
    if (name)
        json_array_append_new(array_in(object_in(config, "hooks"), name), copy);
    else
        json_decref(copy);
}

static must_check struct error *apply(const json_t *edits, json_t *config) {
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(edits, "env"), i, one)
        json_array_append(array_in(object_in(config, "process"), "env"), one);
    json_array_foreach(json_object_get(edits, "mounts"), i, one) add_mount(config, one);
    json_array_foreach(json_object_get(edits, "hooks"), i, one) add_hook(config, one);
    json_array_foreach(json_object_get(edits, "deviceNodes"), i, one) TRY_PLAIN(add_device(config, one));
    return NULL;
}

/* "all" and long identifiers stand for the same cards as "0", "1", ...: only the numbers are counted. */
static bool is_card(const char *name) {
    return name && *name && strspn(name, "0123456789") == strlen(name);
}

static must_check struct error *apply_spec(const json_t *spec, uint64_t wanted, uint64_t *chosen,
                                           json_t *config) {
    size_t i;
    json_t *device;
    bool common = false;
    json_array_foreach(json_object_get(spec, "devices"), i, device) {
        const char *name = json_string_value(json_object_get(device, "name"));
        if (*chosen == wanted || !is_card(name)) continue;
        if (!common) TRY_PLAIN(apply(json_object_get(spec, "containerEdits"), config));
        common = true;
        TRY(apply(json_object_get(device, "containerEdits"), config), "device %s", name);
        ++*chosen;
    }
    return NULL;
}

static must_check struct error *read_spec(const char *directory, const char *name, json_t **ret_spec) {
    scoped_string char *path = path_join(directory, name);
    scoped_text struct text text = {0};
    json_error_t where;
    TRY_PLAIN(file_read(path, SPEC_MAX, &text));
    *ret_spec = json_loadb(text.data ? text.data : "", text.size, 0, &where);
    if (!*ret_spec) return error_new(ERROR_FAILED_PRECONDITION, "%s:%d: %s", path, where.line, where.text);
    return NULL;
}

static must_check struct error *apply_dir(const char *directory, uint64_t wanted, uint64_t *chosen,
                                          bool *yaml, json_t *config) {
    DIR *open_dir = opendir(directory);
    struct error *failed = NULL;
    for (struct dirent *entry; open_dir && !failed && (entry = readdir(open_dir));) {
        struct span name = span_of(entry->d_name);
        if (span_ends(name, ".yaml") || span_ends(name, ".yml")) *yaml = true;
        if (!span_ends(name, ".json")) continue;
        scoped_json json_t *spec = NULL;
        failed = read_spec(directory, entry->d_name, &spec);
        const char *kind = failed ? NULL : json_string_value(json_object_get(spec, "kind"));
        if (kind && strstr(kind, "/gpu")) failed = apply_spec(spec, wanted, chosen, config);
    }
    if (open_dir) closedir(open_dir);
    return failed;
}

struct error *cdi_apply_from(const char *const *dirs, const char *gpu, json_t *config) {
    struct span rest = span_of(gpu), count;
    (void)span_cut(&rest, ':'); /* the kind was the scheduler's business: here is what this machine has */
    count = rest;
    uint64_t wanted = 1, chosen = 0;
    bool yaml = false;
    if (count.data && (!span_to_u64(count, &wanted) || wanted == 0 || wanted > DEVICES_MAX))
        return error_new(ERROR_INVALID_ARGUMENT, "a count from 1 to %d comes after the colon", DEVICES_MAX);
    for (; *dirs && chosen < wanted; dirs++) TRY_PLAIN(apply_dir(*dirs, wanted, &chosen, &yaml, config));
    if (chosen == wanted) return NULL;
    if (chosen > 0)
        return error_new(ERROR_FAILED_PRECONDITION, "this machine describes %llu of %llu",
                         (unsigned long long)chosen, (unsigned long long)wanted);
    return error_new(ERROR_FAILED_PRECONDITION,
                     "no GPU is described in /etc/cdi%s. With NVIDIA's container toolkit: "
                     "nvidia-ctk cdi generate --format=json --output=/etc/cdi/nvidia.json",
                     yaml ? " as JSON (YAML is not read)" : "");
}

struct error *cdi_apply(const char *gpu, json_t *config) {
    static const char *const dirs[] = {"/etc/cdi", "/var/run/cdi", NULL};
    return cdi_apply_from(dirs, gpu, config);
}
