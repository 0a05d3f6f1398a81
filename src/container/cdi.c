/* cdi: GPUs as the Container Device Interface describes them: which there are, and the edits to config.json
 * that give some of them to a container.
 *
 * Read from *.json and *.yaml (`nvidia-ctk cdi generate`). A description's common edits are applied once,
 * then each chosen device's. Format: the CDI specification, containerEdits. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "inside.h"

enum { SPEC_MAX = 8 << 20, LEFT_OUT_MAX = 4096 };

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
static bool is_card(const json_t *name, uint64_t *ret_number) {
    if (json_is_integer(name)) {
        *ret_number = (uint64_t)json_integer_value(name);
        return json_integer_value(name) >= 0;
    }
    return json_is_string(name) && span_to_u64(span_of(json_string_value(name)), ret_number);
}

static void leave_out(struct cdi *cdi, const char *path, struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    scoped_string char *why = error_text(error);
    if (cdi->left_out.size < LEFT_OUT_MAX)
        text_printf(&cdi->left_out, "%s%s: %s", cdi->left_out.size ? "\n" : "", path, why);
}

/* A description may have outlived its card, or its driver. */
static must_check struct error *card_check(const json_t *spec, const json_t *device, uint64_t number) {
    scoped_json json_t *config = json_object();
    TRY_PLAIN(apply(json_object_get(spec, "containerEdits"), config));
    TRY(apply(json_object_get(device, "containerEdits"), config), "devices: %llu",
        (unsigned long long)number);
    return NULL;
}

/* The same directory may be named twice, /var/run being /run: the first description of a number that is good
 * counts. */
static void add_cards(struct cdi *cdi, const char *path, json_t *spec) {
    const char *kind = text_in(spec, "kind");
    size_t i;
    json_t *device;
    uint64_t number;
    if (!kind || !strstr(kind, "/gpu")) return; /* somebody else's devices */
    json_array_foreach(json_object_get(spec, "devices"), i, device) {
        if (!is_card(json_object_get(device, "name"), &number) || number >= CDI_CARDS_MAX) continue;
        if (cdi->cards & (1ULL << number)) continue;
        struct error *bad = card_check(spec, device, number);
        if (bad) {
            leave_out(cdi, path, bad);
            continue;
        }
        cdi->cards |= 1ULL << number;
        cdi->of[number].spec = spec;
        cdi->of[number].device = device;
    }
}

static must_check struct error *parse(struct span text, bool yaml, json_t **ret_spec) {
    json_error_t where;
    if (yaml) return cdi_yaml(text, ret_spec);
    *ret_spec = json_loadb(text.data ? text.data : "", text.size, 0, &where);
    return *ret_spec ? NULL : error_new(ERROR_FAILED_PRECONDITION, "line %d: %s", where.line, where.text);
}

void cdi_add_text(struct cdi *cdi, const char *path, struct span text, bool yaml) {
    json_t *spec = NULL;
    struct error *failed = parse(text, yaml, &spec);
    if (failed) {
        leave_out(cdi, path, failed);
        return;
    }
    if (!cdi->specs) cdi->specs = json_array();
    json_array_append_new(cdi->specs, spec);
    add_cards(cdi, path, spec);
}

static void add_dir(struct cdi *cdi, const char *directory) {
    DIR *open_dir = opendir(directory);
    for (struct dirent *entry; open_dir && (entry = readdir(open_dir));) {
        struct span name = span_of(entry->d_name);
        bool yaml = span_ends(name, ".yaml") || span_ends(name, ".yml");
        if (!yaml && !span_ends(name, ".json")) continue;
        scoped_string char *path = path_join(directory, entry->d_name);
        scoped_text struct text text = {0};
        struct error *failed = file_read(path, SPEC_MAX, &text);
        if (failed)
            leave_out(cdi, path, failed);
        else
            cdi_add_text(cdi, path, text_span(&text), yaml);
    }
    if (open_dir) closedir(open_dir);
}

void cdi_read(const char *const *dirs, struct cdi *ret_cdi) {
    *ret_cdi = (struct cdi){0};
    for (; *dirs; dirs++) add_dir(ret_cdi, *dirs);
}

struct error *cdi_apply(const struct cdi *cdi, uint64_t cards, json_t *config) {
    const json_t *common = NULL;
    for (unsigned number = 0; number < CDI_CARDS_MAX; number++) {
        if (!(cards & cdi->cards & (1ULL << number))) continue;
        const json_t *spec = cdi->of[number].spec;
        if (spec != common) TRY_PLAIN(apply(json_object_get(spec, "containerEdits"), config));
        common = spec;
        TRY(apply(json_object_get(cdi->of[number].device, "containerEdits"), config), "devices: %u", number);
    }
    return NULL;
}

void cdi_done(struct cdi *cdi) {
    json_decref(cdi->specs);
    text_done(&cdi->left_out);
    *cdi = (struct cdi){0};
}
