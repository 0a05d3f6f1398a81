/* A compressed file as its plain bytes, made on a thread beside the reader's. */
#pragma once
#include "base.h"

#include <sys/types.h>

struct stream;
/* `fd` is borrowed until stream_free. gzip, zstd, xz, bzip2 or plain, told by the first bytes. */
must_check struct error *stream_open(int fd, struct stream **ret_stream);
/* The next piece, valid until the next call; size 0: the end. */
must_check struct error *stream_next(struct stream *stream, struct span *ret_piece);
/* Reads what is left; then the SHA-256 of all plain bytes. */
must_check struct error *stream_end(struct stream *stream, char ret_sum[SHA256_HEX_SIZE]);
void stream_free(struct stream *stream);
DEFINE_SCOPED(stream)
