/* cdi: devices as the Container Device Interface describes them: edits to config.json.
 *
 * Read from *.json and *.yaml in /etc/cdi and /var/run/cdi (`nvidia-ctk cdi generate`). A file's common edits
 * are applied once, then each chosen device's. Format: the CDI specification, containerEdits. */
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

static const char *text_in(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static must_check struct error *add_device(json_t *config, const json_t *node) {
    const char *path = text_in(node, "path"), *host_path = text_in(node, "hostPath");
    const char *permissions = text_in(node, "permissions");
    struct stat status;
    if (!path) return error_new(ERROR_FAILED_PRECONDITION, "deviceNodes: one without a path");
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

static must_check struct error *add_mount(json_t *config, const json_t *mount) {
    json_t *options = json_object_get(mount, "options");
    const char *from = text_in(mount, "hostPath"), *to = text_in(mount, "containerPath");
    const char *type = text_in(mount, "type");
    if (!from || !to)
        return error_new(ERROR_FAILED_PRECONDITION, "mounts: hostPath or containerPath is missing");
    json_array_append_new(array_in(config, "mounts"),
                          json_pack("{s:s, s:s, s:s, s:o}", "destination", to, "source", from, "type",
                                    type ? type : "bind", "options",
                                    json_is_array(options)
                                        ? json_deep_copy(options)
                                        : json_pack("[s,s,s,s]", "ro", "nosuid", "nodev", "rbind")));
    return NULL;
}

static must_check struct error *add_hook(json_t *config, const json_t *hook) {
    const char *name = text_in(hook, "hookName");
    if (!name || !text_in(hook, "path"))
        return error_new(ERROR_FAILED_PRECONDITION, "hooks: hookName or path is missing");
    json_t *copy = json_deep_copy(hook);
    json_array_append_new(array_in(object_in(config, "hooks"), name), copy);
    json_object_del(copy, "hookName");
    return NULL;
}

static must_check struct error *add_env(json_t *config, json_t *variable) {
    const char *text = json_string_value(variable);
    if (!text || !strchr(text, '='))
        return error_new(ERROR_FAILED_PRECONDITION, "env: one that is not NAME=VALUE");
    json_array_append(array_in(object_in(config, "process"), "env"), variable);
    return NULL;
}

static must_check struct error *apply(const json_t *edits, json_t *config) {
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(edits, "env"), i, one) TRY_PLAIN(add_env(config, one));
    json_array_foreach(json_object_get(edits, "mounts"), i, one) TRY_PLAIN(add_mount(config, one));
    json_array_foreach(json_object_get(edits, "hooks"), i, one) TRY_PLAIN(add_hook(config, one));
    json_array_foreach(json_object_get(edits, "deviceNodes"), i, one) TRY_PLAIN(add_device(config, one));
    return NULL;
}

/* "all" and long identifiers stand for the same cards as "0", "1", ...: only the numbers are counted. */
static bool is_card(const json_t *name) {
    if (json_is_integer(name)) return json_integer_value(name) >= 0;
    const char *text = json_string_value(name);
    return text && *text && strspn(text, "0123456789") == strlen(text);
}

static must_check struct error *apply_spec(const json_t *spec, uint64_t wanted, uint64_t *chosen,
                                           json_t *config) {
    const char *kind = text_in(spec, "kind");
    size_t i;
    json_t *device;
    bool common = false;
    if (!kind || !strstr(kind, "/gpu")) return NULL; /* somebody else's devices */
    json_array_foreach(json_object_get(spec, "devices"), i, device) {
        if (*chosen == wanted || !is_card(json_object_get(device, "name"))) continue;
        if (!common) TRY_PLAIN(apply(json_object_get(spec, "containerEdits"), config));
        common = true;
        TRY(apply(json_object_get(device, "containerEdits"), config), "devices[%zu]", i);
        ++*chosen;
    }
    return NULL;
}

struct error *cdi_apply_text(struct span text, bool yaml, uint64_t wanted, uint64_t *chosen, json_t *config) {
    scoped_json json_t *spec = NULL;
    json_error_t where;
    if (yaml)
        TRY_PLAIN(cdi_yaml(text, &spec));
    else if (!(spec = json_loadb(text.data ? text.data : "", text.size, 0, &where)))
        return error_new(ERROR_FAILED_PRECONDITION, "line %d: %s", where.line, where.text);
    return apply_spec(spec, wanted, chosen, config);
}

static must_check struct error *apply_file(const char *path, bool yaml, uint64_t wanted, uint64_t *chosen,
                                           json_t *config) {
    scoped_text struct text text = {0};
    TRY_PLAIN(file_read(path, SPEC_MAX, &text));
    TRY(cdi_apply_text(text_span(&text), yaml, wanted, chosen, config), "%s", path);
    return NULL;
}

static must_check struct error *apply_dir(const char *directory, uint64_t wanted, uint64_t *chosen,
                                          json_t *config) {
    DIR *open_dir = opendir(directory);
    struct error *failed = NULL;
    for (struct dirent *entry; open_dir && !failed && (entry = readdir(open_dir));) {
        struct span name = span_of(entry->d_name);
        bool yaml = span_ends(name, ".yaml") || span_ends(name, ".yml");
        if (!yaml && !span_ends(name, ".json")) continue;
        scoped_string char *path = path_join(directory, entry->d_name);
        failed = apply_file(path, yaml, wanted, chosen, config);
    }
    if (open_dir) closedir(open_dir);
    return failed;
}

struct error *cdi_apply_from(const char *const *dirs, const char *gpu, json_t *config) {
    struct span count = span_of(gpu);
    (void)span_cut(&count, ':'); /* the kind was the scheduler's business: here is what this machine has */
    uint64_t wanted = 1, chosen = 0;
    if (count.data && (!span_to_u64(count, &wanted) || wanted == 0 || wanted > DEVICES_MAX))
        return error_new(ERROR_INVALID_ARGUMENT, "a count from 1 to %d comes after the colon", DEVICES_MAX);
    for (; *dirs && chosen < wanted; dirs++) TRY_PLAIN(apply_dir(*dirs, wanted, &chosen, config));
    if (chosen == wanted) return NULL;
    if (chosen > 0)
        return error_new(ERROR_FAILED_PRECONDITION, "this machine describes %llu of %llu",
                         (unsigned long long)chosen, (unsigned long long)wanted);
    return error_new(ERROR_FAILED_PRECONDITION,
                     "no GPU is described in /etc/cdi or /var/run/cdi. With NVIDIA's container toolkit: "
                     "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
}

struct error *cdi_apply(const char *gpu, json_t *config) {
    static const char *const dirs[] = {"/etc/cdi", "/var/run/cdi", NULL};
    return cdi_apply_from(dirs, gpu, config);
}

struct error *container_gpu_check(const char *gpu) {
    scoped_json json_t *config = json_pack("{s:{s:[]}, s:[], s:{s:[], s:{s:[]}}}", "process", "env", "mounts",
                                           "linux", "devices", "resources", "devices");
    return cdi_apply(gpu, config);
}
