/* Bodies by length, in chunks, or until the end of the connection. The reader of chunks takes the canonical
 * form and nothing else: up to 15 hex digits, an extension of bounded length without control characters, CRLF
 * and no bare LF. */
#include "body.h"

#define EXTENSION_MAX 1024
#define TRAILER_MAX 16384
#define DIGITS_MAX 15

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER };

void body_start(struct body *body, int64_t length_bytes) {
    text_clear(&body->trailer);
    struct text trailer = body->trailer;
    *body = (struct body){.length_bytes = length_bytes, .trailer = trailer};
    if (length_bytes >= 0) body->left = (uint64_t)length_bytes;
    body->whole = length_bytes == 0;
}

void body_done(struct body *body) {
    text_done(&body->trailer);
}

void body_add_chunk_size(struct text *out, size_t size_bytes) {
    char line[2 * sizeof size_bytes + 2];
    size_t at = sizeof line;
    line[--at] = '\n';
    line[--at] = '\r';
    do line[--at] = "0123456789abcdef"[size_bytes % 16];
    while ((size_bytes /= 16) > 0);
    text_add(out, (struct span){line + at, sizeof line - at});
}

static struct span cut(struct span *bytes, uint64_t most) {
    struct span piece = {bytes->data, most < bytes->size ? (size_t)most : bytes->size};
    bytes->data += piece.size;
    bytes->size -= piece.size;
    return piece;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* One character of a chunk's first line, or of the line end behind its data. */
static bool step(struct body *body, char c) {
    switch (body->phase) {
    case CHUNK_SIZE:
        if (hex(c) >= 0) {
            body->left = body->left * 16 + (uint64_t)hex(c);
            return ++body->digits <= DIGITS_MAX;
        }
        if (body->digits == 0) return false;
        if (c == '\r') body->phase = CHUNK_SIZE_LF;
        if (c == ';') body->phase = CHUNK_EXTENSION;
        return c == '\r' || c == ';';
    case CHUNK_EXTENSION:
        if (c == '\r') body->phase = CHUNK_SIZE_LF;
        return c == '\r' ||
               (++body->line_bytes <= EXTENSION_MAX && ((unsigned char)c >= ' ' || c == '\t') && c != 127);
    case CHUNK_SIZE_LF: body->phase = body->left == 0 ? CHUNK_TRAILER : CHUNK_DATA; return c == '\n';
    case CHUNK_DATA_CR: body->phase = CHUNK_DATA_LF; return c == '\r';
    default: /* CHUNK_DATA_LF */
        body->phase = CHUNK_SIZE;
        body->digits = 0;
        body->line_bytes = 0;
        return c == '\n';
    }
}

/* The trailer is kept whole: it is small, and its end is found as that of a head is. */
static enum body_state take_trailer(struct body *body, struct span *bytes) {
    size_t before = body->trailer.size;
    text_add(&body->trailer, cut(bytes, TRAILER_MAX + 1 - before));
    size_t size = 0;
    const char *why;
    body->trailer_scan.lines += body->trailer_scan.lines == 0; /* a fold is one in its first line too */
    switch (head_scan(&body->trailer_scan, text_span(&body->trailer), &size, &why)) {
    case HEAD_BROKEN: return BODY_BROKEN;
    case HEAD_MORE: return body->trailer.size > TRAILER_MAX ? BODY_BROKEN : BODY_MORE;
    case HEAD_WHOLE: break;
    }
    size_t over = body->trailer.size - size;
    bytes->data -= over;
    bytes->size += over;
    body->trailer.size = size;
    body->whole = true;
    return BODY_WHOLE;
}

static enum body_state take_chunked(struct body *body, struct span *bytes, struct span *ret_piece) {
    while (bytes->size > 0) {
        if (body->phase == CHUNK_DATA) {
            *ret_piece = cut(bytes, body->left);
            body->left -= ret_piece->size;
            if (body->left == 0) body->phase = CHUNK_DATA_CR;
            return BODY_PIECE;
        }
        if (body->phase == CHUNK_TRAILER) return take_trailer(body, bytes);
        if (!step(body, *cut(bytes, 1).data)) return BODY_BROKEN;
    }
    return BODY_MORE;
}

enum body_state body_take(struct body *body, struct span *bytes, struct span *ret_piece) {
    if (body->whole) return BODY_WHOLE;
    if (body->length_bytes == HTTP_CHUNKED) return take_chunked(body, bytes, ret_piece);
    if (bytes->size == 0) return BODY_MORE;
    if (body->length_bytes == HTTP_UNTIL_CLOSE) {
        *ret_piece = cut(bytes, bytes->size);
        return BODY_PIECE;
    }
    *ret_piece = cut(bytes, body->left);
    body->left -= ret_piece->size;
    body->whole = body->left == 0;
    return BODY_PIECE;
}
