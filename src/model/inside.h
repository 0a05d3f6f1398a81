/* The model room's own. */
#pragma once
#include "model.h"

#define REGISTRY_BYTES_MAX (8u << 20)
#define METADATA_BYTES_MAX (1u << 20)
#define PARTS_MAX 999

/* ---- http.c: GET by libcurl ---- */
/* Whole answer in memory, at most `limit_bytes`, within `timeout_ms`. */
must_check struct error *get_text(const char *url, size_t limit_bytes, int64_t timeout_ms,
                                  struct text *ret_text);
struct get_file {
    const char *url, *path; /* appended to, or begun anew where the server can't go on */
    void (*progress)(void *owner, uint64_t done_bytes, uint64_t total_bytes);
    void *owner;
};
/* One attempt. *ret_retry: another one may help. A file that is as long as the server's already is success.
 */
must_check struct error *get_file(const struct get_file *get, bool *ret_retry);

/* ---- part.c ---- */
struct part_fetch {
    const struct model_source *source;
    const char *url, *path, *name;
    const char *sum; /* NULL: not told */
    void (*progress)(void *owner, uint64_t done_bytes, uint64_t total_bytes);
    void *owner;
};
must_check struct error *part_get(const struct part_fetch *part);
must_check struct error *part_hash(const char *path, char out[SHA256_HEX_SIZE]);
bool part_same_sum(const char *a, const char *b);

/* ---- registry.c ---- */
must_check struct error *registry_find(const struct model_source *source, const char *organisation,
                                       const char *name, json_t **ret_entry);

/* ---- layout.c ---- */
must_check struct error *layout_metadata(const char *directory, json_t **ret_root);
/* The first file of the set that is whole. NOT_FOUND: there is none, or parts of it are missing. */
must_check struct error *layout_first_file(const char *folder, char **ret_path);
char *layout_part_name(uint32_t part, uint32_t parts); /* owned by the caller */
/* The other sets' files: an entry of the registry may come to have another number of parts. */
void layout_remove_others(const char *folder, uint32_t parts);
