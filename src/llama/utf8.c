/* Where code points begin and end in bytes that come in pieces.
 *
 * A model's tokens are bytes, and one code point may span several of them. Text goes out only when it is
 * whole. */
#include "llama.h"

static bool continues(char c) {
    return ((unsigned char)c & 0xc0u) == 0x80u;
}

size_t utf8_whole(struct span bytes) {
    for (size_t back = 1; back <= 3 && back <= bytes.size; back++) {
        unsigned char c = (unsigned char)bytes.data[bytes.size - back];
        if (continues((char)c)) continue;
        size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return c < 0xf8 && length > back ? bytes.size - back : bytes.size;
    }
    return bytes.size;
}

size_t utf8_boundary(struct span bytes, size_t at) {
    size_t skipped = 0;
    while (at < bytes.size && skipped < 3 && continues(bytes.data[at])) at++, skipped++;
    return at < bytes.size ? at : bytes.size;
}
