/* Text to tokens (GraphQL, section 2.1). Blanks, commas and comments fall away. */
#include "inside.h"

#include <stdio.h>

static bool is_name(char c, bool first) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The byte at that distance; 0 behind the end. */
static char at(const struct lexer *lexer, size_t distance) {
    return distance < lexer->rest.size ? lexer->rest.data[distance] : 0;
}

static void skip(struct lexer *lexer, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        char c = lexer->rest.data[i];
        bool in_pair = c == '\r' && i + 1 < lexer->rest.size && lexer->rest.data[i + 1] == '\n';
        if ((c == '\n' || c == '\r') && !in_pair)
            lexer->place = (struct place){lexer->place.line + 1, 1};
        else if ((c & 0xc0) != 0x80)
            lexer->place.column++;
    }
    lexer->rest.data += bytes;
    lexer->rest.size -= bytes;
}

static void skip_blanks(struct lexer *lexer) {
    for (;;) {
        size_t size = 0;
        if (at(lexer, 0) == '#')
            while (size < lexer->rest.size && at(lexer, size) != '\n' && at(lexer, size) != '\r') size++;
        else if (lexer->rest.size >= 3 && memcmp(lexer->rest.data, "\xef\xbb\xbf", 3) == 0)
            size = 3;
        else
            while (size < lexer->rest.size && at(lexer, size) && strchr(" \t\r\n,", at(lexer, size))) size++;
        if (size == 0) return;
        skip(lexer, size);
    }
}

static void wrong(struct lexer *lexer, struct token *out, const char *why) {
    lexer->wrong = why;
    out->kind = TOKEN_WRONG;
}

/* ---- strings ---- */

static void add_code_point(struct text *out, uint32_t point) {
    if (point < 0x80) {
        text_add_char(out, (char)point);
    } else if (point < 0x800) {
        text_add_char(out, (char)(0xc0 | point >> 6));
        text_add_char(out, (char)(0x80 | (point & 0x3f)));
    } else if (point < 0x10000) {
        text_add_char(out, (char)(0xe0 | point >> 12));
        text_add_char(out, (char)(0x80 | (point >> 6 & 0x3f)));
        text_add_char(out, (char)(0x80 | (point & 0x3f)));
    } else {
        text_add_char(out, (char)(0xf0 | point >> 18));
        text_add_char(out, (char)(0x80 | (point >> 12 & 0x3f)));
        text_add_char(out, (char)(0x80 | (point >> 6 & 0x3f)));
        text_add_char(out, (char)(0x80 | (point & 0x3f)));
    }
}

static bool hex4(const struct lexer *lexer, size_t from, uint32_t *ret) {
    *ret = 0;
    for (size_t i = from; i < from + 4; i++) {
        char c = at(lexer, i);
        int digit = is_digit(c)              ? c - '0'
                    : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                    : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                             : -1;
        if (digit < 0) return false;
        *ret = *ret << 4 | (uint32_t)digit;
    }
    return true;
}

/* At a backslash. Returns its bytes, 0 where it is wrong. */
static size_t escape(const struct lexer *lexer, size_t from, struct text *out) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = at(lexer, from + 1);
    const char *place = c ? strchr(letters, c) : NULL;
    uint32_t point, low;
    if (place) {
        text_add_char(out, meanings[place - letters]);
        return 2;
    }
    if (c != 'u' || !hex4(lexer, from + 2, &point)) return 0;
    size_t size = 6;
    if (point >= 0xd800 && point < 0xdc00) {
        if (at(lexer, from + 6) != '\\' || at(lexer, from + 7) != 'u' || !hex4(lexer, from + 8, &low))
            return 0;
        if (low < 0xdc00 || low > 0xdfff) return 0;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        size = 12;
    } else if (point >= 0xdc00 && point < 0xe000) {
        return 0;
    }
    if (point == 0) return 0; /* our strings end there */
    add_code_point(out, point);
    return size;
}

static size_t plain_string(struct lexer *lexer, struct token *out) {
    scoped_text struct text value = {0};
    size_t i = 1;
    while (at(lexer, i) != '"') {
        char c = at(lexer, i);
        size_t size = 1;
        if (c == '\\')
            size = escape(lexer, i, &value);
        else if (c == 0 || c == '\n' || c == '\r')
            return wrong(lexer, out, "Unterminated string literal"), i;
        else
            text_add_char(&value, c);
        if (size == 0) return wrong(lexer, out, "Unknown escape sequence in a string"), i;
        i += size;
    }
    out->value = (struct span){arena_string(lexer->arena, text_span(&value)), value.size};
    return i + 1;
}

/* What all lines but the first are indented by, at least. */
static size_t indent_of(struct span raw) {
    size_t least = SIZE_MAX;
    struct span rest = raw;
    span_cut(&rest, '\n');
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        size_t blanks = 0;
        while (blanks < line.size && (line.data[blanks] == ' ' || line.data[blanks] == '\t')) blanks++;
        if (blanks < line.size && blanks < least) least = blanks;
    }
    return least == SIZE_MAX ? 0 : least;
}

/* Without the common indent, and without blank lines at both ends. */
static struct span block_value(struct lexer *lexer, struct span raw) {
    scoped_text struct text value = {0};
    size_t indent = indent_of(raw), kept = 0;
    struct span rest = raw;
    bool first = true;
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (!first) {
            size_t cut = line.size < indent ? line.size : indent;
            line.data += cut;
            line.size -= cut;
        }
        first = false;
        bool blank = span_trim(line).size == 0;
        if (blank && kept == 0) continue;
        if (value.size > 0) text_add_char(&value, '\n');
        text_add(&value, line);
        if (!blank) kept = value.size;
    }
    return (struct span){arena_string(lexer->arena, (struct span){value.data ? value.data : "", kept}), kept};
}

static size_t block_string(struct lexer *lexer, struct token *out) {
    scoped_text struct text raw = {0};
    size_t i = 3;
    while (!(at(lexer, i) == '"' && at(lexer, i + 1) == '"' && at(lexer, i + 2) == '"')) {
        char c = at(lexer, i);
        if (c == 0) return wrong(lexer, out, "Unterminated string literal"), i;
        if (c == '\\' && at(lexer, i + 1) == '"' && at(lexer, i + 2) == '"' && at(lexer, i + 3) == '"') {
            text_add(&raw, SPAN("\"\"\""));
            i += 4;
        } else if (c == '\r') {
            text_add_char(&raw, '\n');
            i += at(lexer, i + 1) == '\n' ? 2 : 1;
        } else {
            text_add_char(&raw, c);
            i++;
        }
    }
    out->value = block_value(lexer, (struct span){raw.data ? raw.data : "", raw.size});
    return i + 3;
}

/* ---- numbers ---- */

static size_t digits(const struct lexer *lexer, size_t from) {
    size_t i = from;
    while (is_digit(at(lexer, i))) i++;
    return i;
}

static size_t number(struct lexer *lexer, struct token *out) {
    size_t i = at(lexer, 0) == '-', begin = i;
    i = digits(lexer, i);
    out->kind = TOKEN_INT;
    bool good = i > begin && (i == begin + 1 || at(lexer, begin) != '0');
    if (at(lexer, i) == '.') {
        size_t end = digits(lexer, i + 1);
        good &= end > i + 1;
        i = end;
        out->kind = TOKEN_FLOAT;
    }
    if (at(lexer, i) == 'e' || at(lexer, i) == 'E') {
        size_t from = i + 1 + (at(lexer, i + 1) == '+' || at(lexer, i + 1) == '-'), end = digits(lexer, from);
        good &= end > from;
        i = end;
        out->kind = TOKEN_FLOAT;
    }
    if (!good || is_name(at(lexer, i), true) || at(lexer, i) == '.')
        wrong(lexer, out, "Invalid number literal");
    return i;
}

/* ---- one token ---- */

static size_t read_token(struct lexer *lexer, struct token *out) {
    char c = at(lexer, 0);
    size_t size = 1;
    if (is_name(c, true)) {
        while (is_name(at(lexer, size), false)) size++;
        out->kind = TOKEN_NAME;
    } else if (c == '-' || is_digit(c)) {
        size = number(lexer, out);
    } else if (c == '"') {
        out->kind = TOKEN_STRING;
        bool block = at(lexer, 1) == '"' && at(lexer, 2) == '"';
        size = block ? block_string(lexer, out) : plain_string(lexer, out);
    } else if (c == '.' && at(lexer, 1) == '.' && at(lexer, 2) == '.') {
        out->kind = TOKEN_MARK;
        size = 3;
    } else if (c && strchr("!$&():=@[]{|}", c)) {
        out->kind = TOKEN_MARK;
    } else {
        wrong(lexer, out, "Unknown character");
    }
    return size < lexer->rest.size ? size : lexer->rest.size;
}

void lex_next(struct lexer *lexer, struct token *out) {
    skip_blanks(lexer);
    *out = (struct token){.kind = TOKEN_END, .place = lexer->place};
    if (lexer->rest.size == 0) return;
    if (++lexer->tokens > TOKENS_MAX) return wrong(lexer, out, "The document is too long");
    size_t size = read_token(lexer, out);
    out->text = (struct span){lexer->rest.data, size};
    skip(lexer, size);
}
