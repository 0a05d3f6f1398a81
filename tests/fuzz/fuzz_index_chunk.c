/* Files of a repository: any bytes are cut into chunks that are in the file, in order, of bounded length,
 * with the right line, and leave nothing but blanks between them. The first line is the ending of the file's
 * name, so that each grammar reads what is not its language, too. */
#include "index.h"

#include <ctype.h>
#include <stdio.h>

#define SYNTAX_MAX 2048 /* bytes: grammars are slow with some inputs, and are ended for that elsewhere */

static size_t characters(struct span text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return count;
}

static void check_blank(struct span content, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (!isspace((unsigned char)content.data[i])) __builtin_trap();
}

static void check(struct span content, const struct index_piece *pieces, size_t count) {
    size_t last = 0;
    for (size_t i = 0; i < count; i++) {
        struct span text = pieces[i].text;
        if (text.data < content.data + last || text.size == 0) __builtin_trap();
        size_t from = (size_t)(text.data - content.data);
        if (from + text.size > content.size || characters(text) > INDEX_CHUNK_CHARACTERS) __builtin_trap();
        check_blank(content, last, from);
        uint32_t line = 1;
        for (size_t at = 0; at < from; at++) line += content.data[at] == '\n';
        if (line != pieces[i].line) __builtin_trap();
        last = from + text.size;
    }
    check_blank(content, last, content.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct span rest = {(const char *)data, size_bytes}, name = span_cut(&rest, '\n');
    struct index_chunker *chunker = index_chunker_new(false);
    const struct index_piece *pieces;
    char path[16];
    snprintf(path, sizeof path, "file" SPAN_FORMAT, SPAN_ARGS(name));
    const char *language = index_language_of(path, NULL);
    struct span content = {rest.data ? rest.data : "", rest.size};
    index_is_code(content);
    size_t count;
    if (size_bytes <= SYNTAX_MAX) {
        count = index_chunker_cut(chunker, content, path, language ? language : "", &pieces);
        check(content, pieces, count);
    }
    count = index_chunker_cut(chunker, content, path, "", &pieces); /* by indentation */
    check(content, pieces, count);
    index_chunker_free(chunker);
    return 0;
}
