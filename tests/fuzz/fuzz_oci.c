/* Manifests, indexes and image configurations: refused, or such that they survive being written and read
 * again. The first byte chooses. */
#include "oci.h"
#include "reference.h"

#include <stdlib.h>

static void check_digest(const char *digest) {
    if (strlen(digest) != SHA256_HEX_SIZE - 1 || strspn(digest, "0123456789abcdef") != SHA256_HEX_SIZE - 1)
        abort();
}

static void manifest(struct span text) {
    struct oci_manifest manifest;
    scoped(error) struct error *error = oci_manifest_parse(text, &manifest);
    if (error) return;
    if (manifest.layer_count > OCI_LAYERS_MAX) abort();
    if (manifest.is_index) check_digest(manifest.chosen.digest);
    for (size_t i = 0; i < manifest.layer_count; i++) check_digest(manifest.layers[i].digest);
    oci_manifest_done(&manifest);
}

static void config(struct span text) {
    struct oci_config config;
    struct image_config again;
    scoped(error) struct error *error = oci_config_parse(text, &config);
    if (error) return;
    for (size_t i = 0; i < config.diff_count; i++) check_digest(config.diff_ids[i]);
    scoped_json json_t *json = image_config_to_json(&config.config);
    struct error *lost = image_config_from_json(json, &again);
    if (lost) abort();
    scoped_json json_t *json_again = image_config_to_json(&again);
    if (!json_equal(json, json_again)) abort();
    image_config_done(&again);
    oci_config_done(&config);
}

static void name(struct span text) {
    struct reference reference;
    scoped(error) struct error *error = reference_parse(text, &reference);
    if (error) return;
    scoped_string char *whole = reference_name(&reference), *normal = NULL;
    reference_done(&reference);
    struct error *lost = reference_normal(whole, &normal);
    if (lost || strcmp(whole, normal) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (size_bytes == 0) return 0;
    struct span text = {(const char *)data + 1, size_bytes - 1};
    switch (data[0]) {
    case 'm': manifest(text); break;
    case 'c': config(text); break;
    default: name(text); break;
    }
    return 0;
}
