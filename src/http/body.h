/* body: where a body ends, and what of the bytes is content. */
#pragma once
#include "head.h"

enum body_state { BODY_MORE, BODY_PIECE, BODY_WHOLE, BODY_BROKEN };
struct body {
    int64_t length_bytes; /* as in struct http_head */
    uint64_t left;        /* of the body or of the chunk */
    int phase;
    unsigned digits;
    bool whole;
    size_t line_bytes; /* of a chunk's extension */
    struct text trailer;
    struct head_scan trailer_scan;
};
void body_start(struct body *body, int64_t length_bytes);
/* Takes from the front of *bytes. BODY_PIECE: *ret_piece is content, ask again. BODY_WHOLE: the body ended.
 * BODY_MORE: all bytes are used. HTTP_UNTIL_CLOSE never ends by itself. */
enum body_state body_take(struct body *body, struct span *bytes, struct span *ret_piece);
void body_done(struct body *body);
void body_add_chunk_size(struct text *out, size_t size_bytes); /* the first line of a chunk that is sent */
