/* What registries and archives say in JSON: index, manifest, image configuration. */
#pragma once
#include "config.h"

enum { OCI_LAYERS_MAX = 250, OCI_JSON_MAX = 4 << 20 };

struct oci_blob {
    char digest[SHA256_HEX_SIZE]; /* without "sha256:" */
    uint64_t size_bytes;
    bool unpackable; /* a kind of layer that we can read */
};
struct oci_manifest {
    bool is_index; /* then only `chosen` counts: the manifest of our kind of machine */
    struct oci_blob chosen;
    struct oci_blob config;
    struct oci_blob *layers; /* bottom first */
    size_t layer_count;
};
/* OCI's and docker's, both as index and manifest. FAILED_PRECONDITION: an index without our kind of machine;
 * it names those there. */
must_check struct error *oci_manifest_parse(struct span json, struct oci_manifest *ret_manifest);
void oci_manifest_done(struct oci_manifest *manifest);

struct oci_config {
    struct image_config config;
    char (*diff_ids)[SHA256_HEX_SIZE]; /* of the unpacked layers, bottom first */
    size_t diff_count;
};
must_check struct error *oci_config_parse(struct span json, struct oci_config *ret_config);
void oci_config_done(struct oci_config *config);
/* Whether both are of one image, as far as can be seen. */
must_check struct error *oci_fit(const struct oci_manifest *manifest, const struct oci_config *config);
const char *oci_architecture(void); /* of this machine, in Go's words: "amd64" */
