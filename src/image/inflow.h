/* A compressed file as its plain bytes, made on a thread beside the reader's. */
#pragma once
#include "base.h"

#include <sys/types.h>

struct inflow;
/* `fd` is borrowed until inflow_free. gzip, zstd, xz, bzip2 or plain, told by the first bytes. */
must_check struct error *inflow_open(int fd, struct inflow **ret_inflow);
/* The next piece, valid until the next call; size 0: the end. */
must_check struct error *inflow_next(struct inflow *inflow, struct span *ret_piece);
/* Reads what is left; then the SHA-256 of all plain bytes. */
must_check struct error *inflow_end(struct inflow *inflow, char ret_sum[SHA256_HEX_SIZE]);
void inflow_free(struct inflow *inflow);
DEFINE_SCOPED(inflow)
