/* The remote room's own. */
#pragma once
#include "remote.h"

#include <curl/curl.h>

#define LINE_BYTES_MAX (4u << 20)
#define FAULT_BYTES_MAX 4096

/* ---- kinds.c ---- */
struct kind {
    const char *name;
    enum remote_shape shape;
    const char *path;             /* behind the endpoint; %s: the model, escaped */
    const char *default_endpoint; /* NULL: it must be named */
    const char *default_model;
    bool takes_parts, needs_model;
    const char *key_header; /* before the key */
    const char *drops[4];   /* fields that it does not take; NULL-terminated */
};
const struct kind *kind_find(const char *name); /* NULL: there is none */
must_check json_t *kind_completion_body(const struct kind *kind, const char *model,
                                        const struct remote_completion *ask);
must_check json_t *kind_chat_body(const struct kind *kind, const char *model, const struct remote_chat *ask);

/* ---- transfers.c: libcurl on the loop ---- */
struct transfers;
struct transfers *transfers_new(struct io_loop *loop, void (*ended)(void *owner, CURL *easy, CURLcode code),
                                void *owner);
void transfers_free(struct transfers *transfers);
void transfers_add(struct transfers *transfers, CURL *easy);
void transfers_remove(struct transfers *transfers, CURL *easy);
