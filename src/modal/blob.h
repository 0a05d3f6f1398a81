/* What the files share that bring blobs in, and let them go. */
#pragma once
#include "inside.h"

/* ---- keep.c ---- */
void blobs_keep(struct modal *modal);
void blobs_keep_end(struct modal *modal);

/* ---- multipart.c ---- */
bool multipart_wanted(int64_t length_bytes);
must_check struct error *multipart_begin(struct rpc *rpc, int64_t length_bytes, const char *digest,
                                         const char *base, Modal__MultiPartUpload **ret); /* in the arena */
bool multipart_request(struct modal *modal, struct http_exchange *exchange); /* false: none of its */
void multipart_sweep(const char *state_dir, bool all); /* blocks; all, or those that were given up */
