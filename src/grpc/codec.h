/* codec: how gRPC writes small things into header fields. Sources: PROTOCOL-HTTP2.md, RFC 4648. Pure. */
#pragma once
#include "grpc.h"

/* grpc-timeout: up to eight digits and one of H M S m u n, as milliseconds rounded up. False: it is none. */
bool codec_timeout(struct span text, int64_t *ret_ms);
/* Base64 with or without padding. False: it is none. Appends. */
bool codec_unbase64(struct span text, struct text *bytes);
void codec_base64(struct span bytes,
                  struct text *text); /* without padding, as other gRPC libraries send it */
/* Percent-encoded, at most `limit` bytes of it, cut between characters. */
void codec_message(struct span utf8, size_t limit, struct text *text);
/* Printable ASCII as it is, the rest percent-encoded. */
void codec_value(struct span bytes, struct text *text);
