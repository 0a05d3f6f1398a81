/* Frames of a client, in whatever pieces they come: the same bytes at once and one by one give the same
 * messages, and what we frame ourselves can be read back. */
#include "http.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *owner, enum http_socket_event event, struct span data) {
    struct text *seen = owner;
    text_printf(seen, "%d %zu ", (int)event, data.size);
    text_add(seen, data);
    struct text framed = {0};
    http_socket_frame(&framed, event, data);
    if (framed.size < data.size + 2) __builtin_trap();
    text_done(&framed);
}

static unsigned read_all(const uint8_t *data, size_t size, size_t step, struct text *seen) {
    struct http_socket_reader *reader = http_socket_reader_new(4096, on_event, seen);
    unsigned code = 0;
    for (size_t at = 0; at < size && !code; at += step) {
        size_t piece = size - at < step ? size - at : step;
        error_free(http_socket_read(reader, (struct span){(const char *)data + at, piece}, &code));
    }
    http_socket_reader_free(reader);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct text whole = {0}, pieces = {0};
    unsigned once = read_all(data, size, size ? size : 1, &whole),
             bytewise = read_all(data, size, 1, &pieces);
    if (once != bytewise || !span_equal(text_span(&whole), text_span(&pieces))) __builtin_trap();
    text_done(&whole);
    text_done(&pieces);
    return 0;
}
