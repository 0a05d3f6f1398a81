/* A build on this machine should reach what the machine reaches: its proxies, its certificates (a company's
 * own among them), its package indexes. They come in as variables and as files below /.catnap, which is no
 * part of the layer; what the image or the Dockerfile sets itself wins. A value that names a file or
 * directory of this machine gets it mounted, and names the mount. */
#include "machine.h"

#include <dirent.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

enum { CONFIG_BYTES_MAX = 1 << 20 };
#define INSIDE "/.catnap"

static void mount_add(struct machine *machine, const char *source, char *taken_destination) {
    machine->mounts = mem_grow(machine->mounts, machine->mount_count + 1, sizeof *machine->mounts);
    machine->mounts[machine->mount_count++] =
        (struct image_mount){mem_string(source), taken_destination, true, NULL};
}

/* ---- variables ---- */

static bool wanted(struct span name) {
    static const char *const proxies[] = {"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"};
    static const char *const prefixes[] = {"PIP_",    "UV_",     "npm_config_", "NPM_CONFIG_",
                                           "GOPROXY", "GOSUMDB", "GONOSUMDB",   "GOPRIVATE"};
    static const char *const not [] = {
        "PIP_CACHE_DIR",     "PIP_TARGET",           "PIP_PREFIX",       "PIP_USER",
        "UV_CACHE_DIR",      "npm_config_cache",     "NPM_CONFIG_CACHE", "npm_config_prefix",
        "NPM_CONFIG_PREFIX", "UV_PYTHON_INSTALL_DIR"};
    for (size_t i = 0; i < COUNT(proxies); i++)
        if (span_is_nocase(name, proxies[i])) return true;
    for (size_t i = 0; i < COUNT(not ); i++)
        if (span_is(name, not [i])) return false;
    for (size_t i = 0; i < COUNT(prefixes); i++)
        if (span_starts(name, prefixes[i])) return true;
    return false;
}

/* "/opt/wheels https://..." -> "/.catnap/m/0 https://..." */
static char *value_inside(struct machine *machine, const char *value) {
    struct text text = {0};
    struct span rest = span_of(value);
    struct stat at;
    while (rest.data) {
        scoped_string char *word = span_string(span_cut(&rest, ' '));
        if (text.size) text_add_char(&text, ' ');
        if (word[0] == '/' && stat(word, &at) == 0 && (S_ISREG(at.st_mode) || S_ISDIR(at.st_mode))) {
            char *inside = mem_printf(INSIDE "/m/%zu", machine->mount_count);
            text_add_string(&text, inside);
            mount_add(machine, word, inside);
        } else {
            text_add_string(&text, word);
        }
    }
    return text_take(&text);
}

static void variables_take(struct machine *machine) {
    for (char **variable = environ; *variable; variable++) {
        struct span value = span_of(*variable), name = span_cut(&value, '=');
        if (!value.data || !wanted(name)) continue;
        scoped_string char *name_text = span_string(name), *inside = value_inside(machine, value.data);
        words_set_env(&machine->env, name_text, inside);
    }
}

/* ---- certificates ---- */

static void certificates_take(struct machine *machine) {
    static const char *const bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                          "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    static const char *const variables[] = {"SSL_CERT_FILE",     "REQUESTS_CA_BUNDLE",  "CURL_CA_BUNDLE",
                                            "PIP_CERT",          "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO",
                                            "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE"};
    const char *own = getenv("SSL_CERT_FILE"), *found = own && file_exists(own) ? own : NULL;
    for (size_t i = 0; !found && i < COUNT(bundles); i++)
        if (file_exists(bundles[i])) found = bundles[i];
    if (!found) return;
    mount_add(machine, found, mem_string(INSIDE "/ca.crt"));
    for (size_t i = 0; i < COUNT(variables); i++)
        words_set_env(&machine->env, variables[i], INSIDE "/ca.crt");
}

/* ---- pip ---- */

static void pip_take(struct machine *machine) {
    const char *home = getenv("HOME");
    scoped_string char *own = mem_printf("%s/.config/pip/pip.conf", home ? home : "");
    const char *const files[] = {own, "/etc/pip.conf", "/etc/xdg/pip/pip.conf"};
    if (words_env(machine->env, "PIP_CONFIG_FILE")) return; /* named by a variable: taken with it */
    for (size_t i = 0; i < COUNT(files); i++) {
        if (!file_exists(files[i])) continue;
        mount_add(machine, files[i], mem_string(INSIDE "/pip.conf"));
        words_set_env(&machine->env, "PIP_CONFIG_FILE", INSIDE "/pip.conf");
        return;
    }
}

/* ---- apt: what says how to fetch, not what and where from, which is the image's own ---- */

static void apt_add(struct text *text, const char *path) {
    scoped_text struct text file = {0};
    scoped(error) struct error *unread = file_read(path, CONFIG_BYTES_MAX, &file);
    if (!unread && file.data && strstr(file.data, "Acquire")) text_printf(text, "%s\n", file.data);
}

static void apt_take(struct machine *machine, const char *dir) {
    scoped_text struct text text = {0};
    scoped_string char *path = path_join(dir, "apt.conf");
    struct dirent **entries;
    int count = scandir("/etc/apt/apt.conf.d", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        scoped_string char *file = path_join("/etc/apt/apt.conf.d", entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') apt_add(&text, file);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    apt_add(&text, "/etc/apt/apt.conf");
    text_add_string(&text, "Acquire::https::CAInfo \"" INSIDE "/ca.crt\";\n");
    scoped(error) struct error *unwritten = file_replace(path, text_span(&text), 0644);
    if (unwritten) return;
    mount_add(machine, path, mem_string(INSIDE "/apt.conf"));
    words_set_env(&machine->env, "APT_CONFIG", INSIDE "/apt.conf");
}

struct machine *machine_new(const char *dir) {
    struct machine *machine = NEW(struct machine);
    variables_take(machine);
    certificates_take(machine);
    pip_take(machine);
    apt_take(machine, dir);
    return machine;
}

void machine_free(struct machine *machine) {
    if (!machine) return;
    words_free(machine->env);
    for (size_t i = 0; i < machine->mount_count; i++)
        free((char *)machine->mounts[i].source), free((char *)machine->mounts[i].destination);
    free(machine->mounts);
    free(machine);
}
