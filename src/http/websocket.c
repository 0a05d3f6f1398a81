/* websocket: RFC 6455's frames, the server's side: a client's are masked and may come in pieces, ours are
 * whole and not masked. */
#include "http.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum { OP_MORE = 0, OP_TEXT = 1, OP_BYTES = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
#define CODE_PROTOCOL 1002
#define CODE_TOO_BIG 1009
#define CONTROL_MAX 125

struct http_socket_reader {
    size_t limit_bytes;
    void (*event)(void *owner, enum http_socket_event event, struct span data);
    void *owner;
    struct text pending; /* bytes of a frame that is not whole */
    struct text message; /* of frames before the last */
    int opcode;          /* of the message; 0: none is begun */
};

struct http_socket_reader *http_socket_reader_new(size_t limit_bytes,
                                                  void (*event)(void *owner, enum http_socket_event event,
                                                                struct span data),
                                                  void *owner) {
    struct http_socket_reader *reader = NEW(struct http_socket_reader);
    *reader = (struct http_socket_reader){.limit_bytes = limit_bytes, .event = event, .owner = owner};
    return reader;
}

void http_socket_reader_free(struct http_socket_reader *reader) {
    if (!reader) return;
    text_done(&reader->pending);
    text_done(&reader->message);
    free(reader);
}

struct frame {
    bool final;
    int opcode;
    const unsigned char *mask;
    struct span data;
    size_t size; /* of all of it */
};

/* False: more bytes are needed. */
static bool frame_read(struct span bytes, struct frame *ret, uint64_t *ret_length) {
    const unsigned char *b = (const unsigned char *)bytes.data;
    if (bytes.size < 2) return false;
    size_t head = 2;
    uint64_t length = b[1] & 0x7f;
    unsigned more = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (bytes.size < head + more) return false;
    if (more) length = 0;
    for (unsigned i = 0; i < more; i++) length = length << 8 | b[head + i];
    head += more;
    *ret_length = length;
    if (bytes.size < head + 4 || bytes.size - head - 4 < length) return false;
    *ret = (struct frame){.final = (b[0] & 0x80) != 0,
                          .opcode = b[0] & 0x0f,
                          .mask = b + head,
                          .data = {bytes.data + head + 4, (size_t)length},
                          .size = head + 4 + (size_t)length};
    return true;
}

static void unmask(const struct frame *frame, struct text *out) {
    char *to = text_reserve(out, frame->data.size);
    for (size_t i = 0; i < frame->data.size; i++) to[i] = (char)(frame->data.data[i] ^ frame->mask[i & 3]);
    out->size += frame->data.size;
}

static struct error *broken(unsigned *ret_code, unsigned code, const char *what) {
    *ret_code = code;
    return error_new(ERROR_INVALID_ARGUMENT, "WebSocket: %s", what);
}

static void control(struct http_socket_reader *reader, const struct frame *frame) {
    scoped_text struct text data = {0};
    unmask(frame, &data);
    enum http_socket_event event = frame->opcode == OP_CLOSE  ? HTTP_SOCKET_CLOSE
                                   : frame->opcode == OP_PING ? HTTP_SOCKET_PING
                                                              : HTTP_SOCKET_PONG;
    reader->event(reader->owner, event, text_span(&data));
}

static struct error *take_frame(struct http_socket_reader *reader, const struct frame *frame,
                                unsigned *ret_code) {
    if (frame->opcode >= OP_CLOSE) {
        if (frame->opcode > OP_PONG || !frame->final || frame->data.size > CONTROL_MAX)
            return broken(ret_code, CODE_PROTOCOL, "a broken control frame");
        control(reader, frame);
        return NULL;
    }
    bool begins = frame->opcode != OP_MORE;
    if (frame->opcode > OP_BYTES || begins == (reader->opcode != 0))
        return broken(ret_code, CODE_PROTOCOL, "a frame out of order");
    if (begins) reader->opcode = frame->opcode;
    unmask(frame, &reader->message);
    if (!frame->final) return NULL;
    struct text whole = reader->message;
    enum http_socket_event event = reader->opcode == OP_TEXT ? HTTP_SOCKET_TEXT : HTTP_SOCKET_BYTES;
    reader->message = (struct text){0};
    reader->opcode = 0;
    reader->event(reader->owner, event, text_span(&whole));
    text_done(&whole);
    return NULL;
}

struct error *http_socket_read(struct http_socket_reader *reader, struct span bytes, unsigned *ret_code) {
    text_add(&reader->pending, bytes);
    size_t used = 0;
    struct error *error = NULL;
    while (!error && used < reader->pending.size) {
        struct span rest = {reader->pending.data + used, reader->pending.size - used};
        struct frame frame;
        uint64_t length = 0;
        bool whole = frame_read(rest, &frame, &length);
        if (rest.size >= 2 && ((rest.data[0] & 0x70) || !(rest.data[1] & 0x80)))
            error = broken(ret_code, CODE_PROTOCOL, "a frame that is not masked, or of an extension");
        else if (length > reader->limit_bytes || reader->message.size + length > reader->limit_bytes)
            error = broken(ret_code, CODE_TOO_BIG, "a message over the limit");
        if (error || !whole) break;
        error = take_frame(reader, &frame, ret_code);
        used += frame.size;
    }
    text_remove_front(&reader->pending, used);
    return error;
}

void http_socket_frame(struct text *out, enum http_socket_event kind, struct span data) {
    static const int opcodes[] = {[HTTP_SOCKET_TEXT] = OP_TEXT,
                                  [HTTP_SOCKET_BYTES] = OP_BYTES,
                                  [HTTP_SOCKET_PING] = OP_PING,
                                  [HTTP_SOCKET_PONG] = OP_PONG,
                                  [HTTP_SOCKET_CLOSE] = OP_CLOSE};
    text_add_char(out, (char)(0x80 | opcodes[kind]));
    if (data.size < 126) {
        text_add_char(out, (char)data.size);
    } else {
        unsigned bytes = data.size < 65536 ? 2 : 8;
        text_add_char(out, bytes == 2 ? 126 : 127);
        for (unsigned i = bytes; i > 0; i--) text_add_char(out, (char)((uint64_t)data.size >> 8 * (i - 1)));
    }
    text_add(out, data);
}

char *http_socket_accept(struct span key) {
    scoped_string char *both = mem_printf(SPAN_FORMAT "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", SPAN_ARGS(key));
    unsigned char digest[EVP_MAX_MD_SIZE], text[64] = {0};
    unsigned size = 0;
    if (!EVP_Digest(both, strlen(both), digest, &size, EVP_sha1(), NULL)) abort();
    EVP_EncodeBlock(text, digest, (int)size);
    return mem_string((const char *)text);
}
