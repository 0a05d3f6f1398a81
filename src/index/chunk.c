/* Texts cut into chunks: whole lines, up to 512 characters, parted where a person would part them.
 *
 * Where the language's grammar is at hand and reads the file, by its syntax (syntax.c, cut.c). Else a cut
 * falls before the line that is indented least in the second half of what fits, an empty line before it
 * counts in its favour: this finds the ends of functions and paragraphs in any language without knowing its
 * grammar. */
#include "inside.h"

#include <ctype.h>

#define LINE_MAX_BYTES 300
#define LINE_MEAN_MAX_BYTES 150
#define LINES_MAX 100000
#define ALPHANUMERIC_MIN 0.25
#define DIGITS_MAX 0.5

static bool is_tail(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

bool index_is_code(struct span content) {
    size_t lines = 0, line = 0, longest = 0, alphanumeric = 0, digits = 0;
    if (content.size == 0) return false;
    for (size_t i = 0, size; i < content.size; i += size) {
        size = utf8_size((struct span){content.data + i, content.size - i});
        char c = content.data[i];
        if (size == 0 || c == 0) return false;
        line = c == '\n' ? 0 : line + size;
        lines += c == '\n';
        if (line > longest) longest = line;
        bool digit = c >= '0' && c <= '9';
        digits += digit;
        alphanumeric += digit || size > 1 || isalpha((unsigned char)c);
    }
    lines += line > 0;
    double bytes = (double)content.size;
    return longest <= LINE_MAX_BYTES && lines <= LINES_MAX &&
           bytes / (double)(lines ? lines : 1) <= LINE_MEAN_MAX_BYTES &&
           (double)alphanumeric / bytes >= ALPHANUMERIC_MIN && (double)digits / bytes <= DIGITS_MAX;
}

/* ---- by indentation ---- */

struct line {
    size_t size, characters; /* with its end */
    bool blank;
    size_t indent;
};

static struct line line_at(struct span content, size_t at) {
    struct line line = {.blank = true};
    for (size_t i = at; i < content.size; i++) {
        char c = content.data[i];
        line.size++;
        if (!is_tail(c)) line.characters++;
        if (c == '\n') break;
        if (line.blank && (c == ' ' || c == '\t')) line.indent += c == '\t' ? 4 : 1;
        if (!isspace((unsigned char)c)) line.blank = false;
    }
    return line;
}

/* A single line that is too long: as much of it as fits. */
static size_t cut_line(struct span content, size_t at) {
    size_t characters = 0;
    for (size_t i = at; i < content.size; i++)
        if (!is_tail(content.data[i]) && ++characters > INDEX_CHUNK_CHARACTERS) return i - at;
    return content.size - at;
}

/* How many bytes from `at` on make the next chunk. */
static size_t chunk_size(struct span content, size_t at) {
    size_t end = at, characters = 0, best = 0;
    long best_cost = 0;
    bool after_blank = false;
    while (end < content.size) {
        struct line line = line_at(content, end);
        bool half = characters * 2 >= INDEX_CHUNK_CHARACTERS;
        long cost = 2 * (long)line.indent - (after_blank ? 5 : 0);
        if (half && !line.blank && (best == 0 || cost <= best_cost)) best = end - at, best_cost = cost;
        if (characters + line.characters > INDEX_CHUNK_CHARACTERS) {
            if (end == at) return cut_line(content, at);
            return best ? best : end - at;
        }
        characters += line.characters;
        after_blank = line.blank;
        end += line.size;
    }
    return end - at;
}

static uint32_t lines_in(struct span text) {
    uint32_t lines = 0;
    for (size_t i = 0; i < text.size; i++) lines += text.data[i] == '\n';
    return lines;
}

static void by_indentation(struct index_chunker *chunker, struct span content) {
    uint32_t number = 1;
    for (size_t at = 0; at < content.size;) {
        struct line line = line_at(content, at);
        struct span piece = {content.data + at, line.size};
        if (!line.blank) { /* blank lines between chunks belong to none */
            piece.size = chunk_size(content, at);
            pieces_add(chunker, piece, number);
        }
        number += lines_in(piece);
        at += piece.size;
    }
}

/* ---- either way ---- */

struct index_chunker *index_chunker_new(bool apart) {
    struct index_chunker *chunker = NEW(struct index_chunker);
    chunker->syntax = syntax_new(apart);
    return chunker;
}

void index_chunker_free(struct index_chunker *chunker) {
    if (!chunker) return;
    syntax_free(chunker->syntax);
    free(chunker->pieces);
    free(chunker);
}

void pieces_add(struct index_chunker *chunker, struct span text, uint32_t line) {
    if (chunker->count == chunker->capacity) {
        chunker->capacity = chunker->capacity ? 2 * chunker->capacity : 64;
        chunker->pieces = mem_grow(chunker->pieces, chunker->capacity, sizeof *chunker->pieces);
    }
    while (text.size > 0 && isspace((unsigned char)text.data[text.size - 1])) text.size--;
    chunker->pieces[chunker->count++] = (struct index_piece){text, line};
}

size_t index_chunker_cut(struct index_chunker *chunker, struct span content, const char *path,
                         const char *language, const struct index_piece **ret_pieces) {
    const struct grammar *grammar = grammar_of(path, language);
    chunker->count = 0;
    chunker->by_syntax = grammar && cut_by_syntax(chunker, content, grammar);
    if (!chunker->by_syntax) by_indentation(chunker, content);
    *ret_pieces = chunker->pieces;
    return chunker->count;
}

bool index_chunker_by_syntax(const struct index_chunker *chunker) {
    return chunker->by_syntax;
}
