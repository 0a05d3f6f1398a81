/* Messages out of bytes, and back: see message.h. A packed message is unpacked as it comes, so that the loop
 * never stands still for a large one and a bomb is noticed at the limit, not behind it. Ends: whole; too
 * large (RESOURCE_EXHAUSTED); not what it says it is (INTERNAL). */
#include "message.h"

#include <stdlib.h>
#include <zlib.h>

#define UNPACK_STEP 65536
#define GZIP_WINDOW (15 + 16) /* zlib: the gzip wrapper */

struct message_unpacker {
    z_stream zlib;
    bool ended; /* the packed data says that it is complete */
};

static struct error *too_large(const struct message_reader *reader, size_t size, const char *packed) {
    if (size > 0)
        return error_new(ERROR_RESOURCE_EXHAUSTED,
                         "the message has %zu bytes%s; at most %zu are taken: send it in parts", size, packed,
                         reader->limit_bytes);
    return error_new(
        ERROR_RESOURCE_EXHAUSTED,
        "the message has more than %zu bytes once unpacked, which is the limit: send it in parts",
        reader->limit_bytes);
}

static void unpacker_free(struct message_unpacker *unpacker) {
    if (!unpacker) return;
    inflateEnd(&unpacker->zlib);
    free(unpacker);
}

static struct error *unpack(struct message_reader *reader, struct span piece) {
    z_stream *zlib = &reader->unpacker->zlib;
    zlib->next_in = (unsigned char *)(uintptr_t)piece.data;
    zlib->avail_in = (uInt)piece.size; /* bounded: a piece is at most one read, or one window */
    while (!reader->unpacker->ended) {
        size_t room = reader->limit_bytes - reader->body.size + 1; /* one more, to see that it is too much */
        if (room > UNPACK_STEP) room = UNPACK_STEP;
        zlib->next_out = (unsigned char *)text_reserve(&reader->body, room);
        zlib->avail_out = (uInt)room;
        int result = inflate(zlib, Z_NO_FLUSH);
        reader->body.size += room - zlib->avail_out;
        reader->body.data[reader->body.size] = '\0';
        if (reader->body.size > reader->limit_bytes) return too_large(reader, 0, "");
        if (result == Z_STREAM_END)
            reader->unpacker->ended = true;
        else if (result == Z_BUF_ERROR || (result == Z_OK && zlib->avail_in == 0 && zlib->avail_out > 0))
            break;
        else if (result != Z_OK)
            return error_new(ERROR_INTERNAL, "the message is no gzip data: %s",
                             zlib->msg ? zlib->msg : "it is broken");
    }
    if (zlib->avail_in > 0) return error_new(ERROR_INTERNAL, "bytes follow the gzip data of the message");
    return NULL;
}

/* The prefix is complete. */
static struct error *begin(struct message_reader *reader) {
    const unsigned char *prefix = reader->prefix;
    reader->left = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
    if (prefix[0] > 1)
        return error_new(ERROR_INTERNAL, "a message begins with the byte %u instead of 0 or 1", prefix[0]);
    if (prefix[0] == 1 && !reader->gzip)
        return error_new(ERROR_INTERNAL,
                         "a message says that it is packed, but grpc-encoding does not say how");
    if (reader->left > reader->limit_bytes)
        return too_large(reader, reader->left, prefix[0] ? " packed" : "");
    if (prefix[0] == 0) return NULL;
    reader->unpacker = NEW(struct message_unpacker);
    if (inflateInit2(&reader->unpacker->zlib, GZIP_WINDOW) != Z_OK) {
        free(take(reader->unpacker));
        return error_new(ERROR_RESOURCE_EXHAUSTED, "no memory to unpack a message");
    }
    return NULL;
}

static enum message_state finish(struct message_reader *reader, struct span *ret_message,
                                 struct error **ret_error) {
    if (reader->unpacker && !reader->unpacker->ended) {
        *ret_error = error_new(ERROR_INTERNAL, "the gzip data of the message is cut off");
        return MESSAGE_BROKEN;
    }
    unpacker_free(take(reader->unpacker));
    reader->prefix_size = 0;
    reader->delivered = true;
    *ret_message = reader->body.data ? text_span(&reader->body) : (struct span){"", 0};
    return MESSAGE_WHOLE;
}

enum message_state message_take(struct message_reader *reader, struct span *bytes, struct span *ret_message,
                                struct error **ret_error) {
    if (reader->delivered) {
        text_done(&reader->body);
        reader->delivered = false;
    }
    bool begun = reader->prefix_size == 5;
    while (reader->prefix_size < 5) {
        if (bytes->size == 0) return MESSAGE_MORE;
        reader->prefix[reader->prefix_size++] = (unsigned char)*bytes->data;
        bytes->data++;
        bytes->size--;
    }
    if (!begun && (*ret_error = begin(reader))) return MESSAGE_BROKEN;

    struct span piece = {bytes->data, bytes->size < reader->left ? bytes->size : reader->left};
    bytes->data += piece.size;
    bytes->size -= piece.size;
    if (!begun && piece.size == reader->left && !reader->unpacker && piece.size > 0) {
        reader->left = 0;
        reader->prefix_size = 0;
        *ret_message = piece;
        return MESSAGE_WHOLE;
    }
    reader->left -= piece.size;
    if (reader->unpacker) {
        if ((*ret_error = unpack(reader, piece))) return MESSAGE_BROKEN;
    } else if (piece.size > 0) {
        text_add(&reader->body, piece);
    }
    return reader->left > 0 ? MESSAGE_MORE : finish(reader, ret_message, ret_error);
}

bool message_between(const struct message_reader *reader) {
    return reader->prefix_size == 0;
}

void message_done(struct message_reader *reader) {
    unpacker_free(take(reader->unpacker));
    text_done(&reader->body);
}

static void add_prefix(char *at, bool packed, size_t size) {
    const char prefix[5] = {packed, (char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
    memcpy(at, prefix, sizeof prefix);
}

static bool add_packed(struct text *out, struct span message) {
    z_stream zlib = {0};
    if (deflateInit2(&zlib, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    char *at = text_reserve(out, message.size + 5);
    zlib.next_in = (unsigned char *)(uintptr_t)message.data;
    zlib.avail_in = (uInt)message.size;
    zlib.next_out = (unsigned char *)at + 5;
    zlib.avail_out = (uInt)message.size - 1; /* else it did not get smaller */
    int result = deflate(&zlib, Z_FINISH);
    size_t size = zlib.total_out;
    deflateEnd(&zlib);
    if (result != Z_STREAM_END) return false;
    add_prefix(at, true, size);
    out->size += size + 5;
    return true;
}

void message_add(struct text *out, struct span message, bool gzip) {
    if (gzip && message.size > 1 && add_packed(out, message)) return;
    add_prefix(text_reserve(out, message.size + 5), false, message.size);
    out->size += 5;
    text_add(out, message);
}
