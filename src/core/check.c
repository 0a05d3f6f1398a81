/* What a function and an app may be.
 *
 * Every text that leaves here names the field as a manifest has it, what is wrong with it and what would be
 * right. The first thing that is wrong is told, in the order of the manifest. */
#include "core.h"

#include <stdlib.h>

#define MINUTE_MS INT64_C(60000)
#define DAY_MS (24 * 60 * MINUTE_MS)
#define COMMAND_BYTES_MAX 131072 /* far below the kernel's ARG_MAX, far above any command */
#define CONTAINERS_MAX 1000
#define INPUTS_MAX 10000
#define QUEUE_MAX 1000000
#define PIDS_MAX 4194304 /* the kernel's PID_MAX_LIMIT */
#define MEMORY_MIN (UINT64_C(4) << 20)
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

static bool is_lower_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

struct error *core_name_check(const char *what, const char *name) {
    if (!name || !*name) return BAD("%s: a name is missing; it may have a-z, 0-9, '-', '_' and '.'", what);
    if (strlen(name) > CORE_NAME_MAX)
        return BAD("%s: '%.20s...' has %zu characters; at most %d", what, name, strlen(name), CORE_NAME_MAX);
    bool good = is_lower_or_digit(name[0]);
    for (const char *c = name; *c; c++) good = good && (is_lower_or_digit(*c) || strchr("-_.", *c));
    if (!good)
        return BAD("%s: '%s' is no name; it begins with a-z or 0-9 and goes on with these, '-', '_' or '.'",
                   what, name);
    return NULL;
}

static struct error *check_path(const char *field, const char *path) {
    if (!path || path[0] != '/')
        return BAD("%s: '%s' is not absolute; it must begin with /", field, path ? path : "");
    if (strlen(path) >= 4096) return BAD("%s: the path is too long", field);
    struct span rest = span_of(path);
    while (rest.data)
        if (span_is(span_cut(&rest, '/'), ".."))
            return BAD("%s: '%s' has '..' in it; write the path out", field, path);
    return NULL;
}

static struct error *check_image(const char *image) {
    if (!image || !*image) return BAD("image: missing; `host`, an absolute directory or a registry's name");
    if (image[0] == '/') return check_path("image", image);
    bool good = is_lower_or_digit(image[0]) && strlen(image) <= 512;
    for (const char *c = image; *c && good; c++)
        good = is_lower_or_digit(*c) || (*c >= 'A' && *c <= 'Z') || strchr("-_./:@+", *c);
    if (!good)
        return BAD("image: '%.80s' is neither `host`, an absolute directory nor a registry's name", image);
    return NULL;
}

/* An image of a registry may name its program itself. */
static struct error *check_command(char *const *command, const char *image) {
    size_t size_bytes = 0;
    if (!command || !command[0]) {
        if (image[0] != '/' && strcmp(image, "host") != 0) return NULL;
        return BAD("command: missing; e.g. command: [python3, -m, http.server, \"8000\"]");
    }
    if (!command[0][0]) return BAD("command: its first word is empty; it names the program");
    for (size_t i = 0; command[i]; i++) size_bytes += strlen(command[i]) + 1;
    if (size_bytes > COMMAND_BYTES_MAX)
        return BAD("command: %zu bytes long; at most %d", size_bytes, COMMAND_BYTES_MAX);
    return NULL;
}

static struct error *check_env(const struct core_function *function) {
    for (size_t i = 0; i < function->env_count; i++) {
        const char *name = function->env[i].name, *value = function->env[i].value;
        if (!name || !*name || strchr(name, '='))
            return BAD("env: '%s' is no name of a variable", name ? name : "");
        if (!value) return BAD("env.%s: the value is missing", name);
        if (strlen(name) + strlen(value) > COMMAND_BYTES_MAX)
            return BAD("env.%.40s: longer than %d bytes", name, COMMAND_BYTES_MAX);
        for (size_t j = 0; j < i; j++)
            if (strcmp(function->env[j].name, name) == 0) return BAD("env.%s: told twice", name);
    }
    return NULL;
}

/* What it is joined to is a directory that its containers write to: each part is a name and nothing else. */
static struct error *check_sub_path(const char *sub_path) {
    struct span rest = span_of(sub_path);
    bool good = rest.size > 0 && rest.size < 4096;
    while (good && rest.data) {
        struct span part = span_cut(&rest, '/');
        good = part.size > 0 && part.size <= 255 && !span_is(part, ".") && !span_is(part, "..");
    }
    if (good) return NULL;
    return BAD("volumes: sub_path: '%.80s' is no directory below the volume's root; e.g. users/ann",
               sub_path);
}

static struct error *check_volumes(const struct core_function *function) {
    for (size_t i = 0; i < function->volume_count; i++) {
        const struct core_volume_mount *mount = &function->volumes[i];
        TRY_PLAIN(check_path("volumes", mount->path));
        if (strcmp(mount->path, "/") == 0) return BAD("volumes: / can't be a volume; name a directory");
        if (mount->volume && mount->volume[0] == '/')
            TRY_PLAIN(check_path("volumes", mount->volume));
        else
            TRY_PLAIN(core_name_check("volumes", mount->volume));
        if (mount->sub_path) TRY_PLAIN(check_sub_path(mount->sub_path));
        for (size_t j = 0; j < i; j++)
            if (strcmp(function->volumes[j].path, mount->path) == 0)
                return BAD("volumes: %s is told twice", mount->path);
    }
    return NULL;
}

static struct error *check_label(const char *label) {
    if (!label) return NULL;
    size_t size = strlen(label);
    bool good = size > 0 && size <= 63 && label[0] != '-' && label[size - 1] != '-';
    for (const char *c = label; *c; c++) good = good && (is_lower_or_digit(*c) || *c == '-');
    if (!good)
        return BAD("label: '%.80s' is no part of a host name; a-z, 0-9 and '-' within, at most 63 characters",
                   label);
    return NULL;
}

static struct error *check_user(const char *user) {
    if (!user) return NULL;
    if (!*user || strlen(user) > 64) return BAD("user: UID, UID:GID or a name of at most 64 characters");
    struct span rest = span_of(user), id = span_cut(&rest, ':');
    uint64_t number = 0;
    if (id.size > 0 && id.data[0] >= '0' && id.data[0] <= '9') {
        bool good = span_to_u64(id, &number) && number < UINT32_MAX;
        if (good && rest.data) good = span_to_u64(rest, &number) && number < UINT32_MAX;
        if (!good) return BAD("user: '%s' is not UID or UID:GID", user);
        return NULL;
    }
    for (const char *c = user; *c; c++)
        if (!is_lower_or_digit(*c) && !(*c >= 'A' && *c <= 'Z') && !strchr("-_.", *c))
            return BAD("user: '%s' is neither UID, UID:GID nor a name", user);
    return NULL;
}

static struct error *check_gpu(const char *gpu) {
    if (!gpu) return NULL;
    struct span rest = span_of(gpu), kind = span_cut(&rest, ':');
    uint64_t count = 1;
    if (kind.size > 1 && strchr("!+", kind.data[kind.size - 1]))
        kind.size--; /* just it; it or a better one */
    bool good = kind.size > 0 && kind.size <= 32;
    for (size_t i = 0; i < kind.size && good; i++)
        good = is_lower_or_digit(kind.data[i]) || (kind.data[i] >= 'A' && kind.data[i] <= 'Z') ||
               kind.data[i] == '-';
    if (rest.data) good = good && span_to_u64(rest, &count) && count >= 1 && count <= 16;
    if (!good) return BAD("gpu: '%.40s' is no GPU; e.g. any, T4, A100-80GB or H100:2", gpu);
    return NULL;
}

static struct error *check_number(const char *field, uint64_t value, uint64_t low, uint64_t high) {
    if (value >= low && value <= high) return NULL;
    return BAD("%s: %llu is out of range; from %llu to %llu", field, (unsigned long long)value,
               (unsigned long long)low, (unsigned long long)high);
}

static struct error *check_limits(const struct core_function *function) {
    if (function->memory_bytes)
        TRY_PLAIN(check_number("memory", function->memory_bytes, MEMORY_MIN, UINT64_C(1) << 50));
    if (function->cpu_milli && function->cpu_milli < 10)
        return BAD("cpu: %u thousandths of a processor are too few; at least 0.01", function->cpu_milli);
    if (function->pids_max) TRY_PLAIN(check_number("pids", function->pids_max, 4, PIDS_MAX));
    if (function->doze_signal < 0 || function->doze_signal > 64)
        return BAD("doze_signal: %d is no signal; 1 to 64, 0 for none", function->doze_signal);
    if (function->stop_signal < 1 || function->stop_signal > 64)
        return BAD("stop_signal: %d is no signal; 1 to 64", function->stop_signal);
    TRY_PLAIN(check_number("max_containers", function->max_containers, 1, CONTAINERS_MAX));
    TRY_PLAIN(check_number("min_containers", function->min_containers, 0, function->max_containers));
    TRY_PLAIN(check_number("buffer_containers", function->buffer_containers, 0, function->max_containers));
    TRY_PLAIN(check_number("max_inputs", function->max_inputs, 1, INPUTS_MAX));
    TRY_PLAIN(check_number("target_inputs", function->target_inputs, 0, function->max_inputs));
    TRY_PLAIN(check_number("queue", function->queue_max, 1, QUEUE_MAX));
    if (function->group) TRY_PLAIN(core_name_check("group", function->group));
    return NULL;
}

static struct error *check_duration(const char *field, int64_t value_ms, int64_t low_ms, int64_t high_ms) {
    if (value_ms >= low_ms && value_ms <= high_ms) return NULL;
    if (value_ms < low_ms) return BAD("%s: too short; at least %lld ms", field, (long long)low_ms);
    if (value_ms == CORE_NEVER)
        return BAD("%s: 'never' won't do, this must end; at most %lld days", field,
                   (long long)(high_ms / DAY_MS));
    return BAD("%s: too long; at most %lld days", field, (long long)(high_ms / DAY_MS));
}

static struct error *check_durations(const struct core_function *function) {
    if (function->doze_after_ms != CORE_NEVER)
        TRY_PLAIN(check_duration("doze_after", function->doze_after_ms, 0, 366 * DAY_MS));
    if (function->scaledown_window_ms != CORE_NEVER)
        TRY_PLAIN(check_duration("scaledown_window", function->scaledown_window_ms, 0, 366 * DAY_MS));
    TRY_PLAIN(check_duration("startup_timeout", function->startup_timeout_ms, 1, DAY_MS));
    TRY_PLAIN(check_duration("timeout", function->timeout_ms, 1, 30 * DAY_MS));
    return check_duration("stop_grace", function->stop_grace_ms, 0, DAY_MS);
}

struct error *core_function_check(const struct core_function *function) {
    TRY_PLAIN(core_name_check("app", function->app));
    TRY_PLAIN(core_name_check("functions", function->name));
    TRY_PLAIN(check_image(function->image));
    TRY_PLAIN(check_command(function->command, function->image));
    TRY_PLAIN(check_env(function));
    if (function->workdir) TRY_PLAIN(check_path("workdir", function->workdir));
    TRY_PLAIN(check_user(function->user));
    TRY_PLAIN(check_volumes(function));
    if (function->port == 0 && function->readiness != CORE_READY_RUNNER)
        return BAD("port: missing; the port that the command listens on, from 1 to 65535");
    TRY_PLAIN(check_label(function->label));
    TRY_PLAIN(check_gpu(function->gpu));
    TRY_PLAIN(check_limits(function));
    return check_durations(function);
}

struct error *core_app_check(const struct core_app *app) {
    TRY_PLAIN(core_name_check("app", app->name));
    if (app->function_count == 0) return BAD("functions: the app '%s' has none; at least one", app->name);
    for (size_t i = 0; i < app->function_count; i++) {
        const struct core_function *function = app->functions[i];
        TRY(core_function_check(function), "functions.%s", function->name ? function->name : "");
        if (strcmp(function->app, app->name) != 0)
            return BAD("functions.%s: it says that it belongs to '%s', not to '%s'", function->name,
                       function->app, app->name);
        for (size_t j = 0; j < i; j++) {
            const struct core_function *other = app->functions[j];
            if (strcmp(other->name, function->name) == 0)
                return BAD("functions.%s: told twice", function->name);
            if (function->publish && other->publish == function->publish)
                return BAD("functions.%s: publish: port %u is that of %s already", function->name,
                           function->publish, other->name);
            if (function->label && other->label && strcmp(function->label, other->label) == 0)
                return BAD("functions.%s: label: '%s' is that of %s already", function->name, function->label,
                           other->name);
        }
    }
    return NULL;
}
