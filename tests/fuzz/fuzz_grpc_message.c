/* Messages and what header fields carry. However a stream is cut into pieces, the same messages come out of
 * it, or the same error; what was read, written again and read again is the same; decoding undoes encoding.
 */
#include "codec.h"
#include "message.h"

#include <stdlib.h>

#define LIMIT 4096

/* Messages one behind the other as they would be sent unpacked, and the code of the error, or of an end
 * within. */
static int read_all(struct span stream, size_t piece, bool gzip, struct text *out) {
    struct message_reader reader = {.limit_bytes = LIMIT, .gzip = gzip};
    struct error *error = NULL;
    while (stream.size > 0 && !error) {
        struct span now = {stream.data, piece < stream.size ? piece : stream.size}, message;
        stream.data += now.size;
        stream.size -= now.size;
        char *exact = mem_string_n(now.data, now.size);
        now.data = exact;
        for (enum message_state state = MESSAGE_WHOLE; state == MESSAGE_WHOLE && now.size > 0;) {
            state = message_take(&reader, &now, &message, &error);
            if (state == MESSAGE_MORE && now.size > 0) abort();
            if (state != MESSAGE_WHOLE) continue;
            if (!message.data || message.size > LIMIT) abort();
            message_add(out, message, false);
        }
        free(exact);
    }
    int code = error ? (int)error->code : message_between(&reader) ? 0 : -1;
    error_free(error);
    message_done(&reader);
    return code;
}

static void try_messages(struct span stream, bool gzip) {
    static const size_t pieces[] = {1, 2, 5, 7, 64, 1000};
    struct text whole = {0}, again = {0}, packed = {0};
    int code = read_all(stream, SIZE_MAX, gzip, &whole);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        text_clear(&again);
        if (read_all(stream, pieces[i], gzip, &again) != code) abort();
        if (!span_equal(text_span(&whole), text_span(&again))) abort();
    }
    text_clear(&again);
    if (read_all(text_span(&whole), 3, false, &again) != 0) abort();
    if (!span_equal(text_span(&whole), text_span(&again))) abort();
    if (stream.size <= LIMIT) {
        message_add(&packed, stream, true);
        text_clear(&again);
        text_clear(&whole);
        message_add(&whole, stream, false);
        if (read_all(text_span(&packed), 11, true, &again) != 0) abort();
        if (!span_equal(text_span(&whole), text_span(&again))) abort();
    }
    text_done(&whole);
    text_done(&again);
    text_done(&packed);
}

static void try_fields(struct span text) {
    struct text bytes = {0}, encoded = {0}, again = {0};
    int64_t ms = -1;
    if (codec_timeout(text, &ms) && ms < 0) abort();
    codec_unbase64(text, &bytes);
    codec_base64(text, &encoded);
    if (!codec_unbase64(text_span(&encoded), &again) || !span_equal(text_span(&again), text)) abort();
    text_clear(&encoded);
    codec_message(text, 100, &encoded);
    if (encoded.size > 100) abort();
    codec_value(text, &encoded);
    for (size_t i = 0; i < encoded.size; i++)
        if (encoded.data[i] < ' ' || encoded.data[i] > '~') abort();
    text_done(&bytes);
    text_done(&encoded);
    text_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct span input = {(const char *)data, size_bytes};
    try_messages(input, false);
    try_messages(input, true);
    try_fields(input);
    return 0;
}
