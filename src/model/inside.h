/* The model room's own. */
#pragma once
#include "model.h"

#define REGISTRY_BYTES_MAX (8u << 20)

/* ---- http.c: GET by libcurl ---- */
/* Whole answer in memory, at most `limit_bytes`, within `timeout_ms`. */
must_check struct error *get_text(const char *url, size_t limit_bytes, int64_t timeout_ms,
                                  struct text *ret_text);
struct get_file {
    const char *url, *path; /* appended to, or begun anew where the server can't go on */
    void (*progress)(void *owner, uint64_t done_bytes, uint64_t total_bytes);
    void *owner;
};
/* One attempt. *ret_retry: another one may help. */
must_check struct error *get_file(const struct get_file *get, bool *ret_retry);

/* ---- registry.c ---- */
must_check struct error *registry_find(const struct model_source *source, const char *organisation,
                                       const char *name, json_t **ret_entry);
