/* From blobs on the disk to an image with a name: what pulls and imports have in common. */
#pragma once
#include "inside.h"
#include "oci.h"

struct ingest;
struct ingest_options {
    struct flight *flight;         /* says its lines through it */
    char *taken_blobs;             /* directory in which blobs lie by their hexadecimal digest */
    struct oci_manifest *manifest; /* both taken, emptied here */
    struct oci_config *config;
    char *taken_source;
    bool take_blobs; /* each is deleted when its layer is there */
    void (*done)(void *owner, struct error *error, char *taken_id);
    void *owner;
};
/* Layers that are here already are not looked for. */
struct ingest *ingest_new(const struct ingest_options *options);
struct oci_manifest *ingest_manifest(struct ingest *ingest);
/* How many layers are still wanted, of how many bytes (packed). */
size_t ingest_wanted(const struct ingest *ingest, uint64_t *ret_bytes);
bool ingest_wants(const struct ingest *ingest, size_t layer); /* of the manifest */
void ingest_blob_ready(struct ingest *ingest, const char *digest);
/* All blobs that come are there; the end follows. */
void ingest_finish(struct ingest *ingest);
/* `done` still comes, with this error, when what runs has ended. Takes it. */
void ingest_fail(struct ingest *ingest, struct error *taken_error);
void ingest_free(struct ingest *ingest); /* after done */
