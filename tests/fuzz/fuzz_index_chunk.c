/* Files of a repository: any bytes are cut into chunks that are in the file, in order, of bounded length,
 * with the right line, and leave nothing but blanks between them. */
#include "index.h"

#include <ctype.h>

static size_t characters(struct span text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return count;
}

static void check_blank(struct span content, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (!isspace((unsigned char)content.data[i])) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct span content = {(const char *)data, size_bytes};
    struct index_cut cut = {0};
    struct index_piece piece;
    size_t last = 0;
    index_is_code(content);
    while (index_next_piece(content, &cut, &piece)) {
        if (piece.text.data < content.data + last || piece.text.size == 0) __builtin_trap();
        size_t from = (size_t)(piece.text.data - content.data);
        if (from + piece.text.size > content.size || characters(piece.text) > INDEX_CHUNK_CHARACTERS)
            __builtin_trap();
        check_blank(content, last, from);
        uint32_t line = 1;
        for (size_t i = 0; i < from; i++) line += content.data[i] == '\n';
        if (line != piece.line) __builtin_trap();
        last = from + piece.text.size;
    }
    check_blank(content, last, content.size);
    return 0;
}
