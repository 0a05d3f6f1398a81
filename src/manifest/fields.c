/* A function's keys: one table from a key to its place in core's record, and a reader for each kind of value.
 *
 * What is wrong here is wrong in type or spelling; what a value may be is core's to say
 * (core_function_check). A reader goes on after a complaint, so that one run tells several. */
#include "inside.h"

#include <signal.h>
#include <stdlib.h>

enum field_kind {
    FIELD_TEXT,
    FIELD_BOOL,
    FIELD_PORT,
    FIELD_COUNT,
    FIELD_SIZE,
    FIELD_DURATION,
    FIELD_CPU,
    FIELD_SIGNAL,
    FIELD_READY,
    FIELD_SOCKET,
    FIELD_NETWORK,
    FIELD_COMMAND,
    FIELD_ENV,
    FIELD_VOLUMES,
};
struct field {
    const char *key;
    enum field_kind kind;
    size_t offset;
};
#define AT(MEMBER) offsetof(struct core_function, MEMBER)
static const struct field fields[] = {
    {"image", FIELD_TEXT, AT(image)},
    {"command", FIELD_COMMAND, 0},
    {"env", FIELD_ENV, 0},
    {"workdir", FIELD_TEXT, AT(workdir)},
    {"user", FIELD_TEXT, AT(user)},
    {"volumes", FIELD_VOLUMES, 0},
    {"port", FIELD_PORT, AT(port)},
    {"publish", FIELD_PORT, AT(publish)},
    {"label", FIELD_TEXT, AT(label)},
    {"proxy_auth", FIELD_BOOL, AT(proxy_auth)},
    {"example", FIELD_TEXT, AT(example)},
    {"ready", FIELD_READY, 0},
    {"socket_activation", FIELD_SOCKET, 0},
    {"network", FIELD_NETWORK, 0},
    {"writable_rootfs", FIELD_BOOL, AT(writable_rootfs)},
    {"gpu", FIELD_TEXT, AT(gpu)},
    {"memory", FIELD_SIZE, AT(memory_bytes)},
    {"cpu", FIELD_CPU, AT(cpu_milli)},
    {"pids", FIELD_COUNT, AT(pids_max)},
    {"doze_signal", FIELD_SIGNAL, AT(doze_signal)},
    {"stop_signal", FIELD_SIGNAL, AT(stop_signal)},
    {"max_containers", FIELD_COUNT, AT(max_containers)},
    {"min_containers", FIELD_COUNT, AT(min_containers)},
    {"buffer_containers", FIELD_COUNT, AT(buffer_containers)},
    {"max_inputs", FIELD_COUNT, AT(max_inputs)},
    {"target_inputs", FIELD_COUNT, AT(target_inputs)},
    {"queue", FIELD_COUNT, AT(queue_max)},
    {"doze_after", FIELD_DURATION, AT(doze_after_ms)},
    {"scaledown_window", FIELD_DURATION, AT(scaledown_window_ms)},
    {"startup_timeout", FIELD_DURATION, AT(startup_timeout_ms)},
    {"timeout", FIELD_DURATION, AT(timeout_ms)},
    {"stop_grace", FIELD_DURATION, AT(stop_grace_ms)},
    {"group", FIELD_TEXT, AT(group)},
    {"pin", FIELD_BOOL, AT(pin)},
    {"prime", FIELD_BOOL, AT(prime)},
};

const char *scalar_text(struct reading *reading, const char *what, struct node *node) {
    if (node->kind != NODE_SCALAR) {
        complain(reading, node, "%s: a single value is expected, not %s", what, node_kind_text(node));
        return NULL;
    }
    bool nothing =
        node->plain && (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
    if (nothing) {
        complain(reading, node, "%s: the value is missing", what);
        return NULL;
    }
    return substitute(reading, node) ? node->text : NULL;
}

/* Complains in the words of core's parsers; takes the error. */
static bool complain_of(struct reading *reading, const struct node *at, const char *key,
                        struct error *taken_error) {
    if (!taken_error) return true;
    scoped(error) struct error *error = taken_error;
    scoped_string char *text = error_text(error);
    complain(reading, at, "%s: %s", key, text);
    return false;
}

static bool read_bool(struct reading *reading, const char *key, struct node *node, bool *ret) {
    const char *text = scalar_text(reading, key, node);
    if (!text) return false;
    bool yes = strcmp(text, "true") == 0, no = strcmp(text, "false") == 0;
    if (!yes && !no) complain(reading, node, "%s: true or false is expected, not '%.40s'", key, text);
    if (yes || no) *ret = yes;
    return yes || no;
}

static bool read_number(struct reading *reading, const char *key, struct node *node, uint64_t low,
                        uint64_t high, uint64_t *ret) {
    const char *text = scalar_text(reading, key, node);
    if (!text) return false;
    int64_t below = 0;
    bool digits = *text && strspn(text, "0123456789") == strlen(text);
    if (!digits && !(span_to_i64(span_of(text), &below) && below < 0)) {
        complain(reading, node, "%s: a whole number is expected, not '%.40s'", key, text);
        return false;
    }
    if (digits && span_to_u64(span_of(text), ret) && *ret >= low && *ret <= high) return true;
    complain(reading, node, "%s: %.40s is out of range; from %llu to %llu", key, text,
             (unsigned long long)low, (unsigned long long)high);
    return false;
}

/* "2", "0.5" or "1.25": in thousandths. */
static bool read_cpu(struct reading *reading, struct node *node, uint32_t *ret_milli) {
    const char *text = scalar_text(reading, "cpu", node);
    if (!text) return false;
    struct span rest = span_of(text), whole = span_cut(&rest, '.');
    uint64_t processors = 0, part = 0;
    bool good = span_to_u64(whole, &processors) && processors <= 4096;
    if (rest.data) {
        good = good && rest.size <= 3 && span_to_u64(rest, &part);
        for (size_t i = rest.size; i < 3; i++) part *= 10;
    }
    if (!good) {
        complain(reading, node, "cpu: a number of processors is expected, e.g. 2 or 0.5, not '%.40s'", text);
        return false;
    }
    *ret_milli = (uint32_t)(processors * 1000 + part);
    return true;
}

static bool read_signal(struct reading *reading, const char *key, struct node *node, int *ret_signal) {
    const char *text = scalar_text(reading, key, node);
    if (!text) return false;
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    uint64_t number = 0;
    bool good = span_to_u64(span_of(name), &number) && number >= 1 && number <= 64;
    for (int signo = 1; signo <= 31 && !good; signo++) {
        const char *known = sigabbrev_np(signo);
        if (!known || strcmp(known, name) != 0) continue;
        number = (uint64_t)signo;
        good = true;
    }
    if (good)
        *ret_signal = (int)number;
    else
        complain(reading, node, "%s: '%.40s' is no signal; e.g. USR1", key, text);
    return good;
}

static bool read_choice(struct reading *reading, const char *key, struct node *node,
                        const char *const *choices, int *ret) {
    const char *text = scalar_text(reading, key, node);
    if (!text) return false;
    scoped_text struct text all = {0};
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *ret = i;
            return true;
        }
        text_printf(&all, "%s%s", i == 0 ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
    }
    complain(reading, node, "%s: '%.40s' is not known; %s", key, text, all.data);
    return false;
}

static bool read_command(struct reading *reading, struct node *node, struct core_function *function) {
    if (node->kind != NODE_LIST) {
        complain(reading, node,
                 "command: a list is expected, e.g. [python3, -m, http.server, \"8000\"], not %s",
                 node_kind_text(node));
        return false;
    }
    free(function->command);
    function->command = mem_array(node->count + 1, sizeof *function->command);
    for (size_t i = 0; i < node->count; i++) {
        const char *word = scalar_text(reading, "command", node->items[i]);
        if (!word) return false;
        function->command[i] = mem_string(word);
    }
    return true;
}

static bool read_env(struct reading *reading, struct node *node, struct core_function *function) {
    if (node->kind != NODE_MAP) {
        complain(reading, node, "env: a map is expected, e.g. {NAME: value}, not %s", node_kind_text(node));
        return false;
    }
    complain_of_unknown(reading, node, NULL, 0);
    bool good = true;
    for (size_t i = 0; i < node->count; i++) {
        struct node *value = node->pairs[i].value;
        scoped_string char *what = mem_printf("env.%.60s", node->pairs[i].key->text);
        const char *text = scalar_text(reading, what, value);
        if (text) core_function_env_add(function, node->pairs[i].key->text, text);
        good = good && text;
    }
    return good;
}

static bool read_volume(struct reading *reading, const char *path, struct node *node,
                        struct core_function *function) {
    static const char *const known[] = {"volume", "read_only", "sub_path"};
    bool read_only = false;
    const char *part = NULL;
    scoped_string char *what = mem_printf("volumes.%.60s", path);
    if (node->kind == NODE_MAP) {
        complain_of_unknown(reading, node, known, COUNT(known));
        struct node *switch_node = tree_find(node, "read_only"), *volume = tree_find(node, "volume");
        struct node *sub_path = tree_find(node, "sub_path");
        if (switch_node && !read_bool(reading, "read_only", switch_node, &read_only)) return false;
        if (!volume)
            complain(reading, node,
                     "%s: `volume:` is missing, the volume's name or a directory of this machine", what);
        if (!volume) return false;
        if (sub_path && !(part = scalar_text(reading, "sub_path", sub_path))) return false;
        node = volume;
    }
    const char *name = scalar_text(reading, what, node);
    if (name) core_function_volume_add(function, path, name, read_only);
    if (name && part) core_function_volume_sub_path(function, part);
    return name != NULL;
}

static bool read_volumes(struct reading *reading, struct node *node, struct core_function *function) {
    if (node->kind != NODE_MAP) {
        complain(reading, node, "volumes: a map is expected, e.g. {/data: my-volume}, not %s",
                 node_kind_text(node));
        return false;
    }
    complain_of_unknown(reading, node, NULL, 0);
    bool good = true;
    for (size_t i = 0; i < node->count; i++)
        good = read_volume(reading, node->pairs[i].key->text, node->pairs[i].value, function) && good;
    return good;
}

static bool read_text(struct reading *reading, const char *key, struct node *node, char **ret) {
    const char *text = scalar_text(reading, key, node);
    if (!text) return false;
    free(*ret);
    *ret = mem_string(text);
    return true;
}

static bool read_field(struct reading *reading, const struct field *field, struct node *node,
                       struct core_function *function) {
    static const char *const readiness[] = {"port", "notify", "socket", NULL}, *const networks[] = {
                                                                                   "none", "outbound", NULL};
    void *at = (char *)function + field->offset;
    uint64_t number = 0;
    int choice = 0;
    bool yes = false;
    const char *text = NULL;
    switch (field->kind) {
    case FIELD_TEXT: return read_text(reading, field->key, node, at);
    case FIELD_BOOL: return read_bool(reading, field->key, node, at);
    case FIELD_CPU: return read_cpu(reading, node, at);
    case FIELD_SIGNAL: return read_signal(reading, field->key, node, at);
    case FIELD_COMMAND: return read_command(reading, node, function);
    case FIELD_ENV: return read_env(reading, node, function);
    case FIELD_VOLUMES: return read_volumes(reading, node, function);
    case FIELD_PORT:
        if (!read_number(reading, field->key, node, 1, UINT16_MAX, &number)) return false;
        *(uint16_t *)at = (uint16_t)number;
        return true;
    case FIELD_COUNT:
        if (!read_number(reading, field->key, node, 0, UINT32_MAX, &number)) return false;
        *(uint32_t *)at = (uint32_t)number;
        return true;
    case FIELD_SIZE:
        text = scalar_text(reading, field->key, node);
        return text && complain_of(reading, node, field->key, core_size_parse(text, at));
    case FIELD_DURATION:
        text = scalar_text(reading, field->key, node);
        return text && complain_of(reading, node, field->key, core_duration_parse(text, at));
    case FIELD_READY:
        if (!read_choice(reading, field->key, node, readiness, &choice)) return false;
        function->readiness = (enum core_readiness)choice;
        return true;
    case FIELD_SOCKET:
        if (!read_bool(reading, field->key, node, &yes)) return false;
        if (yes) function->readiness = CORE_READY_SOCKET;
        return true;
    case FIELD_NETWORK:
        if (!read_choice(reading, field->key, node, networks, &choice)) return false;
        function->network = (enum core_network)choice;
        return true;
    }
    return false;
}

bool function_read(struct reading *reading, const struct node *map, struct core_function *function) {
    const char *known[COUNT(fields)];
    for (size_t i = 0; i < COUNT(fields); i++) known[i] = fields[i].key;
    size_t complaints = reading->complaint_count;
    complain_of_unknown(reading, map, known, COUNT(fields));
    for (size_t i = 0; i < COUNT(fields);
         i++) { /* not in the file's order: socket_activation stands over ready */
        struct node *value = tree_find(map, fields[i].key);
        if (value) read_field(reading, &fields[i], value, function);
    }
    return reading->complaint_count == complaints;
}
