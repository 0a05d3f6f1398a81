/* message: the five bytes before each message, what follows them, and its unpacking. Bytes come in pieces of
 * any size; a message that lies whole in one piece is not copied. Source: PROTOCOL-HTTP2.md,
 * "Length-Prefixed-Message"; compression.md. Pure. */
#pragma once
#include "grpc.h"

struct message_unpacker;
struct message_reader {
    size_t limit_bytes; /* of one message, as sent and unpacked */
    bool gzip;          /* the request's grpc-encoding */
    unsigned char prefix[5];
    unsigned prefix_size;
    size_t left;      /* bytes of this message that have not come */
    struct text body; /* what came of it, unpacked */
    struct message_unpacker *unpacker;
    bool delivered; /* the body was given out: it goes with the next call */
};
enum message_state { MESSAGE_MORE, MESSAGE_WHOLE, MESSAGE_BROKEN };
/* Takes what it can off the front of *bytes. WHOLE: *ret_message is valid until the next call (it may lie in
 * *bytes); data is never NULL. BROKEN: *ret_error is owned by the caller; don't call it again. */
enum message_state message_take(struct message_reader *reader, struct span *bytes, struct span *ret_message,
                                struct error **ret_error);
bool message_between(const struct message_reader *reader); /* not in the middle of one */
void message_done(struct message_reader *reader);

/* Appends the prefix and the message, packed where `gzip` and it gets smaller by that. */
void message_add(struct text *out, struct span message, bool gzip);
