/* pull, inside: asking for an image (pull.c), and its blobs' arrival (arrive.c). */
#pragma once
#include "ingest.h"
#include "skopeo.h"

struct place {               /* where to ask */
    char *host, *repository; /* HOST/PREFIX/path */
    bool plain;
};
struct pull {
    struct flight flight;
    struct reference reference;
    char *normal, *user, *password;
    struct place *places;
    size_t place_count, place;
    struct skopeo *skopeo;
    char *auth; /* a file, removed at the end; NULL: none of our own */
    char manifest_digest[SHA256_HEX_SIZE];
    struct oci_manifest manifest;
    struct ingest *ingest;
    char *dir, *blobs; /* pulls/MANIFEST, .../blobs/sha256 */
    int notify_fd;
    struct io_watch *notify;
    struct io_timer *look;
    uint64_t seen_bytes, total_bytes;
    int64_t changed_ms, said_ms;
    struct error *error; /* of the places that failed */
    bool cancelled;
};

/* ---- pull.c ---- */
void pull_stop_watching(struct pull *pull);
void pull_end(struct pull *pull, struct error *error, char *taken_id); /* the one way out */
void pull_name(struct pull *pull, char *taken_id);                     /* it is here: named, then the end */
void pull_place_failed(struct pull *pull, struct error *taken_error);
char *pull_address(const struct pull *pull, const char *digest);
void pull_add_common(const struct pull *pull, char ***words, bool source);

/* ---- arrive.c ---- */
/* Manifest and configuration are known: what is missing is copied and unpacked. `config` NULL: begun already,
 * another place goes on with it. */
void arrive(struct pull *pull, struct oci_config *config);
