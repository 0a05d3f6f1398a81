/* The function: made with its defaults, copied, compared, freed.
 *
 * The table of plain fields is here; env, volumes and the command are lists and stand beside it. All strings
 * are owned copies. */
#include "inside.h"

#include <signal.h>
#include <stdlib.h>

#define SHAPES true
#define FIELD(NAME, KIND, SHAPES_IT) \
    { #NAME, CORE_FIELD_##KIND, offsetof(struct core_function, NAME), SHAPES_IT, NULL }
#define NAMED(NAME, MEMBER, KIND, SHAPES_IT) \
    { NAME, CORE_FIELD_##KIND, offsetof(struct core_function, MEMBER), SHAPES_IT, NULL }
#define CHOICE(NAME, CHOICES) \
    { #NAME, CORE_FIELD_CHOICE, offsetof(struct core_function, NAME), SHAPES, CHOICES }

const char *const core_readiness_names[] = {"port", "notify", "socket", "runner", NULL};
const char *const core_network_names[] = {"none", "outbound", "if-there", NULL};

const struct core_field core_fields[] = {
    FIELD(app, STRING, SHAPES),
    FIELD(name, STRING, SHAPES),
    FIELD(image, STRING, SHAPES),
    FIELD(overlay, STRING, SHAPES),
    FIELD(workdir, STRING, SHAPES),
    FIELD(user, STRING, SHAPES),
    FIELD(port, U16, SHAPES),
    FIELD(publish, U16, false),
    FIELD(label, STRING, false),
    FIELD(proxy_auth, BOOL, false),
    FIELD(example, STRING, false),
    CHOICE(readiness, core_readiness_names),
    CHOICE(network, core_network_names),
    FIELD(writable_rootfs, BOOL, SHAPES),
    FIELD(gpu, STRING, SHAPES),
    NAMED("memory", memory_bytes, U64, SHAPES),
    FIELD(cpu_milli, U32, SHAPES),
    NAMED("pids", pids_max, U32, SHAPES),
    FIELD(runner, BOOL, SHAPES),
    FIELD(stop_signal, INT, SHAPES),
    FIELD(doze_signal, INT, SHAPES),
    FIELD(max_containers, U32, false),
    FIELD(min_containers, U32, false),
    FIELD(buffer_containers, U32, false),
    FIELD(max_inputs, U32, false),
    FIELD(target_inputs, U32, false),
    NAMED("queue", queue_max, U32, false),
    NAMED("doze_after", doze_after_ms, MS, false),
    NAMED("scaledown_window", scaledown_window_ms, MS, false),
    NAMED("startup_timeout", startup_timeout_ms, MS, false),
    NAMED("timeout", timeout_ms, MS, false),
    NAMED("stop_grace", stop_grace_ms, MS, SHAPES), /* the runtime's own stop needs it too */
    FIELD(group, STRING, false),
    FIELD(pin, BOOL, false),
    FIELD(prime, BOOL, false),
};
const size_t core_field_count = COUNT(core_fields);

struct core_function *core_function_new(const char *app, const char *name) {
    struct core_function *function = NEW(struct core_function);
    *function = (struct core_function){
        .app = mem_string(app),
        .name = mem_string(name),
        .image = mem_string("host"),
        .command = mem_array(1, sizeof *function->command),
        .stop_signal = SIGTERM,
        .max_containers = 1,
        .max_inputs = 1,
        .queue_max = 1000,
        .doze_after_ms = 10 * 1000,
        .scaledown_window_ms = 2 * 60 * 1000,
        .startup_timeout_ms = 5 * 60 * 1000,
        .timeout_ms = 5 * 60 * 1000,
        .stop_grace_ms = 10 * 1000,
    };
    return function;
}

void core_function_free(struct core_function *function) {
    if (!function) return;
    for (size_t i = 0; i < core_field_count; i++)
        if (core_fields[i].kind == CORE_FIELD_STRING)
            free(*(char **)core_field_at(function, &core_fields[i]));
    for (size_t i = 0; function->command && function->command[i]; i++) free(function->command[i]);
    for (size_t i = 0; i < function->env_count; i++) {
        free(function->env[i].name);
        free(function->env[i].value);
    }
    for (size_t i = 0; i < function->volume_count; i++) {
        free(function->volumes[i].path);
        free(function->volumes[i].volume);
        free(function->volumes[i].sub_path);
    }
    free(function->command);
    free(function->env);
    free(function->volumes);
    free(function);
}

static char **command_copy(char *const *command) {
    size_t count = 0;
    while (command && command[count]) count++;
    char **copy = mem_array(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = mem_string(command[i]);
    return copy;
}

struct core_function *core_function_copy(const struct core_function *function) {
    struct core_function *copy = NEW(struct core_function);
    *copy = *function;
    for (size_t i = 0; i < core_field_count; i++) {
        if (core_fields[i].kind != CORE_FIELD_STRING) continue;
        char **string = core_field_at(copy, &core_fields[i]);
        *string = mem_string(*string);
    }
    copy->command = command_copy(function->command);
    copy->env = NULL;
    copy->volumes = NULL;
    copy->env_count = copy->volume_count = 0;
    for (size_t i = 0; i < function->env_count; i++)
        core_function_env_add(copy, function->env[i].name, function->env[i].value);
    for (size_t i = 0; i < function->volume_count; i++) {
        const struct core_volume_mount *mount = &function->volumes[i];
        core_function_volume_add(copy, mount->path, mount->volume, mount->read_only);
        core_function_volume_sub_path(copy, mount->sub_path);
    }
    return copy;
}

void core_function_env_add(struct core_function *function, const char *name, const char *value) {
    function->env = mem_grow(function->env, function->env_count + 1, sizeof *function->env);
    function->env[function->env_count++] = (struct core_env){mem_string(name), mem_string(value)};
}

void core_function_volume_add(struct core_function *function, const char *path, const char *volume,
                              bool read_only) {
    function->volumes = mem_grow(function->volumes, function->volume_count + 1, sizeof *function->volumes);
    function->volumes[function->volume_count++] =
        (struct core_volume_mount){mem_string(path), mem_string(volume), read_only, NULL};
}

void core_function_volume_sub_path(struct core_function *function, const char *sub_path) {
    function->volumes[function->volume_count - 1].sub_path = mem_string(sub_path);
}

static bool same_string(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_field(const struct core_function *a, const struct core_function *b,
                       const struct core_field *field) {
    const void *in_a = core_field_at(a, field), *in_b = core_field_at(b, field);
    switch (field->kind) {
    case CORE_FIELD_STRING: return same_string(*(char *const *)in_a, *(char *const *)in_b);
    case CORE_FIELD_BOOL: return *(const bool *)in_a == *(const bool *)in_b;
    case CORE_FIELD_U16: return *(const uint16_t *)in_a == *(const uint16_t *)in_b;
    case CORE_FIELD_U32: return *(const uint32_t *)in_a == *(const uint32_t *)in_b;
    case CORE_FIELD_U64: return *(const uint64_t *)in_a == *(const uint64_t *)in_b;
    case CORE_FIELD_MS: return *(const int64_t *)in_a == *(const int64_t *)in_b;
    case CORE_FIELD_INT:
    case CORE_FIELD_CHOICE: return *(const int *)in_a == *(const int *)in_b;
    }
    return false;
}

bool core_function_same_container(const struct core_function *a, const struct core_function *b) {
    for (size_t i = 0; i < core_field_count; i++)
        if (core_fields[i].shapes_container && !same_field(a, b, &core_fields[i])) return false;
    size_t word = 0;
    for (; a->command[word] && b->command[word]; word++)
        if (strcmp(a->command[word], b->command[word]) != 0) return false;
    if (a->command[word] || b->command[word]) return false;
    if (a->env_count != b->env_count || a->volume_count != b->volume_count) return false;
    for (size_t i = 0; i < a->env_count; i++)
        if (!same_string(a->env[i].name, b->env[i].name) || !same_string(a->env[i].value, b->env[i].value))
            return false;
    for (size_t i = 0; i < a->volume_count; i++) {
        const struct core_volume_mount *va = &a->volumes[i], *vb = &b->volumes[i];
        if (!same_string(va->path, vb->path) || !same_string(va->volume, vb->volume)) return false;
        if (va->read_only != vb->read_only || !same_string(va->sub_path, vb->sub_path)) return false;
    }
    return true;
}
