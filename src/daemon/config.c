/* Configuration: defaults, then the file (flat YAML), then the command line, each over the one before.
 *
 * Knows where things lie by default: for root under /var/lib and /run, for others under the XDG directories.
 */
#include "config.h"

#include "core.h"
#include "io.h"

#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#define CONFIG_BYTES_MAX 65536
#define MODAL_ADDRESS "127.0.0.1:7071"

const char config_usage[] =
    "usage: catnap serve [--state DIR] [--gateway ADDR:PORT] [--api ADDR:PORT|PATH] [--modal ADDR:PORT]\n"
    "                    [--config FILE] [--up FILE]... [--leave-containers] [--no-auth]\n"
    "\n"
    "  --state DIR           all that it keeps lies here (default /var/lib/catnap, or "
    "$XDG_STATE_HOME/catnap)\n"
    "  --gateway ADDR:PORT   where apps answer by host name (default 127.0.0.1:7070)\n"
    "  --api ADDR:PORT|PATH  where the command line asks (default /run/catnap/api.sock, or\n"
    "                        $XDG_RUNTIME_DIR/catnap/api.sock)\n"
    "  --modal ADDR:PORT     where Modal's clients ask (default 127.0.0.1:7071); off: nowhere\n"
    "  --config FILE         default /etc/catnap/catnapd.yaml, or $XDG_CONFIG_HOME/catnap/catnapd.yaml, "
    "where it\n"
    "                        is there\n"
    "  --up FILE             a manifest to apply at the start; may be repeated\n"
    "  --leave-containers    at the end they go on serving nobody, and the next catnap takes them over\n"
    "  --no-auth             Modal's clients need no token (for experiments; refused on a public address)\n"
    "\n"
    "keys of the file: user domain runtime gateway api modal state containers_max primed starting launchers "
    "reclaim_after\n"
    "                  backoff_first backoff_max log_file_size leave_containers no_auth pythons "
    "gpu_fallback\n"
    "                  registry_auth image_disk image_cache image_cache_age pull_stall\n"
    "                  mirrors (a map, e.g. docker.io: http://127.0.0.1:5000)\n"
    "                  aliases (a map, e.g. tabbyml/tabby: host)\n"
    "                  certificate key (PEM files, for https) modal_certificate modal_key\n"
    "of the gateway:   head_size (64KiB) body_size (no limit) connections_max head_timeout (30s)\n"
    "                  idle_timeout (75s) body_timeout (60s) write_timeout (60s) comments_every (15s)\n"
    "example: catnap serve --state /srv/catnap --gateway 0.0.0.0:80\n";

static void replace(char **field, const char *value) {
    free(*field);
    *field = mem_string(value);
}

/* ---- the file ---- */

static struct error *number(const char *value, uint32_t *ret) {
    uint64_t wide;
    if (!span_to_u64(span_of(value), &wide) || wide > UINT32_MAX)
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is no whole number", value);
    *ret = (uint32_t)wide;
    return NULL;
}

static struct error *boolean(const char *value, bool *ret) {
    *ret = strcmp(value, "true") == 0 || strcmp(value, "yes") == 0;
    if (*ret || strcmp(value, "false") == 0 || strcmp(value, "no") == 0) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "'%s' is neither true nor false", value);
}

static struct error *set(struct config *config, const char *key, const char *value) {
    const struct {
        const char *key;
        char **field;
    } strings[] = {
        {"user", &config->user},
        {"domain", &config->domain},
        {"runtime", &config->runtime},
        {"gateway", &config->gateway},
        {"api", &config->api},
        {"state", &config->state_dir},
        {"modal", &config->modal},
        {"pythons", &config->pythons},
        {"registry_auth", &config->registry_auth},
        {"certificate", &config->certificate},
        {"key", &config->key},
        {"modal_certificate", &config->modal_certificate},
        {"modal_key", &config->modal_key},
    };
    for (size_t i = 0; i < COUNT(strings); i++) {
        if (strcmp(key, strings[i].key) != 0) continue;
        replace(strings[i].field, value);
        return NULL;
    }
    if (strcmp(key, "containers_max") == 0) return number(value, &config->nap.containers_max);
    if (strcmp(key, "primed") == 0) return number(value, &config->nap.primed_max);
    if (strcmp(key, "starting") == 0) return number(value, &config->nap.starting_max);
    if (strcmp(key, "launchers") == 0) return number(value, &config->launchers);
    if (strcmp(key, "reclaim_after") == 0) return core_duration_parse(value, &config->nap.reclaim_after_ms);
    if (strcmp(key, "backoff_first") == 0) return core_duration_parse(value, &config->nap.backoff_first_ms);
    if (strcmp(key, "backoff_max") == 0) return core_duration_parse(value, &config->nap.backoff_max_ms);
    if (strcmp(key, "log_file_size") == 0) return core_size_parse(value, &config->log_file_bytes);
    if (strcmp(key, "image_disk") == 0) return core_size_parse(value, &config->image_bytes);
    if (strcmp(key, "image_cache") == 0) return core_size_parse(value, &config->image_cache_bytes);
    if (strcmp(key, "image_cache_age") == 0) return core_duration_parse(value, &config->image_cache_ms);
    if (strcmp(key, "pull_stall") == 0) return core_duration_parse(value, &config->pull_stall_ms);
    if (strcmp(key, "leave_containers") == 0) return boolean(value, &config->leave_containers);
    if (strcmp(key, "gpu_fallback") == 0) {
        config->gpu_fallback = strcmp(value, "cpu") == 0;
        if (config->gpu_fallback || strcmp(value, "none") == 0) return NULL;
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is neither cpu nor none", value);
    }
    if (strcmp(key, "no_auth") == 0) return boolean(value, &config->no_auth);
    bool known = false;
    struct error *error = config_limit_set(config, key, value, &known);
    return known ? error
                 : error_new(ERROR_INVALID_ARGUMENT, "unknown key (known: see `catnap serve --help`)");
}

/* `mirrors` and `aliases`: a map each; several mirrors of one registry stand in one text, with blanks
 * between. */
static struct error *set_map(struct config *config, const char *key, yaml_document_t *document,
                             const yaml_node_t *map) {
    bool mirrors = strcmp(key, "mirrors") == 0;
    struct config_pair **pairs = mirrors ? &config->mirrors : &config->aliases;
    size_t *count = mirrors ? &config->mirror_count : &config->alias_count;
    if (!mirrors && strcmp(key, "aliases") != 0)
        return error_new(ERROR_INVALID_ARGUMENT, "expected one value");
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(document, pair->value);
        if (name->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE)
            return error_new(ERROR_INVALID_ARGUMENT, "expected `name: value`");
        struct span rest = span_of((const char *)value->data.scalar.value);
        while (rest.data) {
            struct span one = span_trim(mirrors ? span_cut(&rest, ' ') : rest);
            if (!mirrors) rest.data = NULL;
            if (one.size == 0) continue;
            *pairs = mem_grow(*pairs, *count + 1, sizeof **pairs);
            (*pairs)[(*count)++] =
                (struct config_pair){mem_string((const char *)name->data.scalar.value), span_string(one)};
        }
    }
    return NULL;
}

static struct error *set_pairs(struct config *config, const char *path, yaml_document_t *document) {
    yaml_node_t *root = yaml_document_get_root_node(document);
    if (!root) return NULL; /* an empty file */
    if (root->type != YAML_MAPPING_NODE)
        return error_new(ERROR_INVALID_ARGUMENT, "%s: expected `key: value` lines", path);
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *key = yaml_document_get_node(document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(document, pair->value);
        unsigned long line = key->start_mark.line + 1;
        if (key->type == YAML_SCALAR_NODE && value->type == YAML_MAPPING_NODE) {
            const char *name = (const char *)key->data.scalar.value;
            TRY(set_map(config, name, document, value), "%s:%lu: %s", path, line, name);
            continue;
        }
        if (key->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE)
            return error_new(ERROR_INVALID_ARGUMENT, "%s:%lu: expected `key: value`", path, line);
        TRY(set(config, (const char *)key->data.scalar.value, (const char *)value->data.scalar.value),
            "%s:%lu: %s", path, line, (const char *)key->data.scalar.value);
    }
    return NULL;
}

static struct error *file_apply(struct config *config, const char *path) {
    scoped_text struct text text = {0};
    TRY_PLAIN(file_read(path, CONFIG_BYTES_MAX, &text));
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.data ? text.data : ""), text.size);
    yaml_document_t document;
    struct error *error = NULL;
    if (yaml_parser_load(&parser, &document)) {
        error = set_pairs(config, path, &document);
        yaml_document_delete(&document);
    } else {
        error = error_new(ERROR_INVALID_ARGUMENT, "%s:%zu: %s", path, parser.problem_mark.line + 1,
                          parser.problem);
    }
    yaml_parser_delete(&parser);
    return error;
}

/* ---- defaults ---- */

static char *under(const char *variable, const char *home_relative) {
    const char *value = getenv(variable);
    if (value && value[0] == '/') return path_join(value, "catnap");
    const char *home = getenv("HOME");
    scoped_string char *base = path_join(home && home[0] ? home : "/", home_relative);
    return path_join(base, "catnap");
}

static char *login_name(void) {
    const struct passwd *entry = getpwuid(geteuid());
    const char *sudo = getenv("SUDO_USER");
    return mem_string(sudo && sudo[0] ? sudo : entry ? entry->pw_name : "user");
}

static void defaults(struct config *config) {
    bool root = geteuid() == 0;
    *config = (struct config){
        .state_dir = root ? mem_string("/var/lib/catnap") : under("XDG_STATE_HOME", ".local/state"),
        .gateway = mem_string("127.0.0.1:7070"),
        .api = root ? mem_string("/run/catnap/api.sock") : NULL,
        .user = login_name(),
        .domain = mem_string("localhost"),
        .runtime = mem_string("crun"),
        .nap.primed_max = 2,
        .nap.starting_max = 2 * (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
        .nap.reclaim_after_ms = 60000,
        .image_cache_bytes = UINT64_C(10) << 30,
        .image_cache_ms = 7 * 24 * INT64_C(3600000),
        .nap.backoff_first_ms = 1000,
        .nap.backoff_max_ms = 60000,
    };
    if (root) return;
    const char *runtime = dir_runtime();
    scoped_string char *run = runtime ? path_join(runtime, "catnap") : under("", ".cache");
    config->api = path_join(run, "api.sock");
}

static char *default_file(void) {
    if (geteuid() == 0) return mem_string("/etc/catnap/catnapd.yaml");
    scoped_string char *directory = under("XDG_CONFIG_HOME", ".config");
    return path_join(directory, "catnapd.yaml");
}

/* Bundles and sockets of a state directory have a place of their own, so that several daemons live side by
 * side. */
static struct error *places(struct config *config) {
    TRY(dir_make(config->state_dir, 0700), "state directory");
    char *real = realpath(config->state_dir, NULL);
    if (!real) return error_errno(errno, "state directory %s", config->state_dir);
    free(config->state_dir);
    config->state_dir = real;
    char hex[SHA256_HEX_SIZE];
    sha256_of(span_of(real), hex);
    const char *runtime = dir_runtime();
    const char *base = geteuid() == 0 ? "/run" : runtime ? runtime : "/tmp";
    config->run_dir = mem_printf("%s/catnap-%.8s", base, hex);
    if (config->init_path) return NULL;
    char self[4096];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0) return error_errno(errno, "find catnap's own directory");
    self[size] = '\0';
    char *slash = strrchr(self, '/');
    config->init_path = mem_printf("%.*s/catnap-init", (int)(slash - self), self);
    if (file_exists(config->init_path)) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION, "%s is missing: catnap-init must lie beside catnap",
                     config->init_path);
}

/* ---- the command line ---- */

static struct error *arguments_apply(int argc, char **argv, struct config *config) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--leave-containers") == 0) {
            config->leave_containers = true;
            continue;
        }
        if (strcmp(name, "--no-auth") == 0) {
            config->no_auth = true;
            continue;
        }
        char **field = strcmp(name, "--state") == 0     ? &config->state_dir
                       : strcmp(name, "--gateway") == 0 ? &config->gateway
                       : strcmp(name, "--api") == 0     ? &config->api
                       : strcmp(name, "--modal") == 0   ? &config->modal
                                                        : NULL;
        bool other = strcmp(name, "--config") == 0 || strcmp(name, "--up") == 0;
        if (!field && !other)
            return error_new(ERROR_INVALID_ARGUMENT, "unknown argument %s (see `catnap serve --help`)", name);
        if (++i >= argc) return error_new(ERROR_INVALID_ARGUMENT, "%s wants a value", name);
        if (field) replace(field, argv[i]);
        if (strcmp(name, "--up") != 0) continue;
        config->up = mem_grow(config->up, config->up_count + 2, sizeof *config->up);
        config->up[config->up_count++] = mem_string(argv[i]);
        config->up[config->up_count] = NULL;
    }
    return NULL;
}

bool config_is_loopback(const char *address) {
    struct sockaddr_storage parsed;
    uint32_t size;
    scoped(error) struct error *error = io_address_parse(address, &parsed, &size);
    if (error) return true; /* listening tells better what is wrong with it */
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&parsed;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&parsed;
    if (parsed.ss_family == AF_INET) return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    return parsed.ss_family != AF_INET6 || IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static struct error *auth_check(const struct config *config) {
    if (!config->no_auth || !config->modal || strcmp(config->modal, "off") == 0 ||
        config_is_loopback(config->modal))
        return NULL;
    return error_new(ERROR_INVALID_ARGUMENT,
                     "--no-auth with --modal %s: whoever reaches that address could run programs here. "
                     "Listen on 127.0.0.1, or leave --no-auth out and let `catnap login` make tokens",
                     config->modal);
}

struct error *config_door_set(struct config *config, const char *name, const char *address) {
    bool modal = strcmp(name, "modal") == 0;
    replace(modal ? &config->modal : strcmp(name, "api") == 0 ? &config->api : &config->gateway, address);
    config->modal_asked |= modal;
    return auth_check(config);
}

static const char *config_file(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--config") == 0) return argv[i + 1];
    return NULL;
}

struct error *config_read(int argc, char **argv, struct config *ret_config, bool *ret_help) {
    *ret_config = (struct config){0};
    *ret_help = false;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) *ret_help = true;
    if (*ret_help) return NULL;
    defaults(ret_config);
    const char *named = config_file(argc, argv);
    scoped_string char *fallback = default_file();
    if (named)
        TRY(file_apply(ret_config, named), "configuration");
    else if (file_exists(fallback))
        TRY(file_apply(ret_config, fallback), "configuration");
    ret_config->line_is_wrong = true;
    TRY_PLAIN(arguments_apply(argc, argv, ret_config));
    TRY_PLAIN(auth_check(ret_config));
    ret_config->line_is_wrong = false;
    ret_config->modal_asked = ret_config->modal != NULL;
    if (!ret_config->modal) ret_config->modal = mem_string(MODAL_ADDRESS);
    return places(ret_config);
}

void config_done(struct config *config) {
    char *strings[] = {config->state_dir,     config->run_dir,
                       config->gateway,       config->api,
                       config->user,          config->domain,
                       config->runtime,       config->init_path,
                       config->modal,         config->pythons,
                       config->registry_auth, config->certificate,
                       config->key,           config->modal_certificate,
                       config->modal_key};
    for (size_t i = 0; i < COUNT(strings); i++) free(strings[i]);
    for (size_t i = 0; i < config->mirror_count; i++)
        free(config->mirrors[i].name), free(config->mirrors[i].value);
    for (size_t i = 0; i < config->alias_count; i++)
        free(config->aliases[i].name), free(config->aliases[i].value);
    free(config->mirrors), free(config->aliases);
    for (size_t i = 0; i < config->up_count; i++) free(config->up[i]);
    free(config->up);
    *config = (struct config){0};
}
