/* Index, manifest and image configuration: the OCI image specification and docker's schema 2, which are alike
 * but for the names of media types. All of it comes from outside: every number and digest is checked before
 * anything relies on it. */
#include "oci.h"

#include <stdlib.h>

#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)
enum { INDEX_MAX = 1000 };

const char *oci_architecture(void) {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#else
    return "unknown";
#endif
}

static struct error *digest_parse(const json_t *value, const char *what, char ret_digest[SHA256_HEX_SIZE]) {
    const char *text = json_string_value(value), *hex = text ? strchr(text, ':') : NULL;
    if (!hex) return BAD("%s has no digest", what);
    if (strncmp(text, "sha256:", 7) != 0)
        return BAD("%s: its digest %.80s is not of the kind sha256", what, text);
    if (strlen(++hex) != SHA256_HEX_SIZE - 1 || strspn(hex, "0123456789abcdef") != SHA256_HEX_SIZE - 1)
        return BAD("%s: '%.80s' is no digest", what, text);
    memcpy(ret_digest, hex, SHA256_HEX_SIZE);
    return NULL;
}

static bool layer_readable(const char *media_type) {
    static const char *const known[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    };
    for (size_t i = 0; media_type && i < COUNT(known); i++)
        if (strcmp(media_type, known[i]) == 0) return true;
    return !media_type;
}

static struct error *blob_parse(const json_t *json, const char *what, struct oci_blob *ret_blob) {
    const json_t *size = json_object_get(json, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0) return BAD("%s has no size", what);
    ret_blob->size_bytes = (uint64_t)json_integer_value(size);
    ret_blob->unpackable = layer_readable(json_string_value(json_object_get(json, "mediaType")));
    return digest_parse(json_object_get(json, "digest"), what, ret_blob->digest);
}

/* ---- the index ---- */

static bool ours(const json_t *platform) {
    const char *os = json_string_value(json_object_get(platform, "os"));
    const char *architecture = json_string_value(json_object_get(platform, "architecture"));
    return os && architecture && strcmp(os, "linux") == 0 && strcmp(architecture, oci_architecture()) == 0;
}

/* A higher variant may need a newer processor: the plain one wins. */
static struct error *index_parse(const json_t *manifests, struct oci_manifest *manifest) {
    scoped_text struct text others = {0};
    const json_t *best = NULL;
    if (json_array_size(manifests) > INDEX_MAX) return BAD("the index has more than %d manifests", INDEX_MAX);
    for (size_t i = 0; i < json_array_size(manifests); i++) {
        const json_t *entry = json_array_get(manifests, i), *platform = json_object_get(entry, "platform");
        const char *architecture = json_string_value(json_object_get(platform, "architecture"));
        bool plain = !json_object_get(platform, "variant");
        if (!platform && json_array_size(manifests) == 1) best = entry;
        if (ours(platform) && (!best || plain)) best = entry;
        if (architecture && strcmp(architecture, "unknown") != 0)
            text_printf(&others, "%s%.40s", others.size ? ", " : "", architecture);
    }
    if (!best)
        return error_new(ERROR_FAILED_PRECONDITION, "there is none for this machine (linux/%s), only for: %s",
                         oci_architecture(), others.size ? others.data : "nothing that is named");
    manifest->is_index = true;
    return blob_parse(best, "the manifest in the index", &manifest->chosen);
}

/* ---- the manifest ---- */

static struct error *layers_parse(const json_t *layers, struct oci_manifest *manifest) {
    size_t count = json_array_size(layers);
    if (count > OCI_LAYERS_MAX) return BAD("the image has %zu layers; at most %d", count, OCI_LAYERS_MAX);
    manifest->layers = mem_array(count + 1, sizeof *manifest->layers);
    for (size_t i = 0; i < count; i++) {
        const json_t *layer = json_array_get(layers, i);
        TRY(blob_parse(layer, "it", &manifest->layers[i]), "layer %zu of the manifest", i + 1);
        if (!manifest->layers[i].unpackable)
            return BAD("layer %zu is of the kind '%.100s', which is no layer of files", i + 1,
                       json_string_value(json_object_get(layer, "mediaType")));
        manifest->layer_count = i + 1;
    }
    return NULL;
}

static struct error *parse(const json_t *json, struct oci_manifest *manifest) {
    const json_t *manifests = json_object_get(json, "manifests"), *layers = json_object_get(json, "layers");
    if (!json_is_object(json)) return BAD("the manifest is no object");
    if (json_is_array(manifests)) return index_parse(manifests, manifest);
    if (json_object_get(json, "fsLayers"))
        return error_new(
            ERROR_UNIMPLEMENTED,
            "the manifest is of docker's first kind (schema 1), which no registry should hold any "
            "more: push the image again with a docker or skopeo of this decade");
    if (!json_is_array(layers)) return BAD("the manifest has no layers: is it an image?");
    TRY_PLAIN(blob_parse(json_object_get(json, "config"), "the manifest's config", &manifest->config));
    return layers_parse(layers, manifest);
}

static struct error *load(struct span text, const char *what, json_t **ret_json) {
    json_error_t where;
    if (text.size > OCI_JSON_MAX) return BAD("the %s is longer than %d bytes", what, OCI_JSON_MAX);
    *ret_json = json_loadb(text.data ? text.data : "", text.size, 0, &where);
    return *ret_json ? NULL : BAD("the %s is no JSON: %s (line %d)", what, where.text, where.line);
}

struct error *oci_manifest_parse(struct span text, struct oci_manifest *ret_manifest) {
    scoped_json json_t *json = NULL;
    *ret_manifest = (struct oci_manifest){0};
    TRY_PLAIN(load(text, "manifest", &json));
    struct error *error = parse(json, ret_manifest);
    if (error) oci_manifest_done(ret_manifest);
    return error;
}

void oci_manifest_done(struct oci_manifest *manifest) {
    free(manifest->layers);
    *manifest = (struct oci_manifest){0};
}

/* ---- the image's configuration ---- */

static struct error *config_parse(const json_t *json, struct oci_config *config) {
    if (!json_is_object(json)) return BAD("the image's configuration is no object");
    const char *architecture = json_string_value(json_object_get(json, "architecture"));
    const char *os = json_string_value(json_object_get(json, "os"));
    if ((architecture && *architecture && strcmp(architecture, oci_architecture()) != 0) ||
        (os && *os && strcmp(os, "linux") != 0))
        return error_new(ERROR_FAILED_PRECONDITION, "the image is for %.40s/%.40s, this machine is linux/%s",
                         os ? os : "linux", architecture ? architecture : "?", oci_architecture());
    const json_t *ids = json_object_get(json_object_get(json, "rootfs"), "diff_ids");
    if (json_array_size(ids) > OCI_LAYERS_MAX)
        return BAD("the image has more than %d layers", OCI_LAYERS_MAX);
    config->diff_ids = mem_array(json_array_size(ids) + 1, sizeof *config->diff_ids);
    for (size_t i = 0; i < json_array_size(ids); i++, config->diff_count++)
        TRY_PLAIN(digest_parse(json_array_get(ids, i), "rootfs.diff_ids of the image's configuration",
                               config->diff_ids[i]));
    return image_config_from_json(json_object_get(json, "config"), &config->config);
}

struct error *oci_config_parse(struct span text, struct oci_config *ret_config) {
    scoped_json json_t *json = NULL;
    *ret_config = (struct oci_config){0};
    TRY_PLAIN(load(text, "image's configuration", &json));
    struct error *error = config_parse(json, ret_config);
    if (error) oci_config_done(ret_config);
    return error;
}

void oci_config_done(struct oci_config *config) {
    image_config_done(&config->config);
    free(config->diff_ids);
    *config = (struct oci_config){0};
}

struct error *oci_fit(const struct oci_manifest *manifest, const struct oci_config *config) {
    if (manifest->layer_count == config->diff_count) return NULL;
    return BAD("the manifest has %zu layers and the image's configuration %zu", manifest->layer_count,
               config->diff_count);
}
