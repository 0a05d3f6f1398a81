/* The lines of a TOML file, one statement at a time. */
#include "toml.h"

#include <ctype.h>

struct cursor {
    const char *at, *end;
};

static bool starts(const struct cursor *cursor, const char *with) {
    size_t size = strlen(with);
    return (size_t)(cursor->end - cursor->at) >= size && memcmp(cursor->at, with, size) == 0;
}

static void skip_blanks(struct cursor *cursor) {
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t')) cursor->at++;
}

/* To the newline, which stays. */
static void skip_line(struct cursor *cursor) {
    const char *newline = memchr(cursor->at, '\n', (size_t)(cursor->end - cursor->at));
    cursor->at = newline ? newline : cursor->end;
}

/* At a quote: past the string. False: it does not end. */
static bool skip_string(struct cursor *cursor) {
    char quote = *cursor->at;
    const char three[] = {quote, quote, quote, 0};
    bool long_one = starts(cursor, three);
    cursor->at += long_one ? 3 : 1;
    for (; cursor->at < cursor->end; cursor->at++) {
        if (quote == '"' && *cursor->at == '\\' && cursor->at + 1 < cursor->end) {
            cursor->at++;
        } else if (long_one && starts(cursor, three)) {
            cursor->at += 3;
            for (int more = 0; more < 2 && cursor->at < cursor->end && *cursor->at == quote; more++)
                cursor->at++;
            return true;
        } else if (!long_one && *cursor->at == quote) {
            cursor->at++;
            return true;
        } else if (!long_one && *cursor->at == '\n') {
            return false;
        }
    }
    return false;
}

/* a, "a" or 'a', then perhaps .b and so on. False: there is none. */
static bool read_key(struct cursor *cursor, struct toml_line *line) {
    for (bool first = true;; first = false) {
        skip_blanks(cursor);
        struct span part = {cursor->at, 0};
        if (cursor->at < cursor->end && (*cursor->at == '"' || *cursor->at == '\'')) {
            if (!skip_string(cursor)) return false;
            part = (struct span){part.data + 1, (size_t)(cursor->at - part.data) - 2};
        } else {
            while (cursor->at < cursor->end &&
                   (isalnum((unsigned char)*cursor->at) || strchr("_-", *cursor->at)) && *cursor->at)
                cursor->at++;
            part.size = (size_t)(cursor->at - part.data);
            if (part.size == 0) return false;
        }
        if (first) line->key = part;
        skip_blanks(cursor);
        if (cursor->at == cursor->end || *cursor->at != '.') return true;
        line->dotted = true;
        cursor->at++;
    }
}

/* Over lines, while an array or a table is open. NULL: it ended at a newline or a comment. */
static const char *read_value(struct cursor *cursor, struct toml_line *line) {
    size_t depth = 0;
    line->value.data = cursor->at;
    for (; cursor->at < cursor->end; cursor->at++) {
        char c = *cursor->at;
        if (c == '"' || c == '\'') {
            if (!skip_string(cursor)) return "a text that does not end";
            cursor->at--; /* one byte a round */
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (c == ']' || c == '}') {
            if (depth-- == 0) return "a bracket that nothing opened";
        } else if (c == '#' && depth > 0) {
            skip_line(cursor);
            if (cursor->at == cursor->end) break;
        } else if (depth == 0 && (c == '#' || c == '\n')) {
            break;
        }
    }
    if (depth > 0) return "a bracket that nothing closes";
    line->value.size = (size_t)(cursor->at - line->value.data);
    line->value = span_trim(line->value);
    return line->value.size > 0 ? NULL : "a key without a value";
}

static const char *read_header(struct cursor *cursor, struct toml_line *line) {
    line->kind = TOML_HEADER;
    line->array = starts(cursor, "[[");
    cursor->at += line->array ? 2 : 1;
    if (!read_key(cursor, line)) return "a table without a name";
    const char *closing = line->array ? "]]" : "]";
    if (!starts(cursor, closing)) return "a table's name that is not closed";
    cursor->at += strlen(closing);
    return NULL;
}

static const char *read_pair(struct cursor *cursor, struct toml_line *line) {
    line->kind = TOML_PAIR;
    if (!read_key(cursor, line)) return "neither a key nor a table";
    if (cursor->at == cursor->end || *cursor->at != '=') return "a key without '='";
    cursor->at++;
    skip_blanks(cursor);
    return read_value(cursor, line);
}

/* The rest of the line: blanks and a comment. */
static const char *read_end(struct cursor *cursor, struct toml_line *line) {
    skip_blanks(cursor);
    if (starts(cursor, "\r\n")) cursor->at++;
    if (cursor->at < cursor->end && *cursor->at == '#') {
        line->comment.data = cursor->at;
        skip_line(cursor);
        line->comment.size = (size_t)(cursor->at - line->comment.data);
        if (span_ends(line->comment, "\r")) line->comment.size--;
    }
    if (cursor->at < cursor->end && *cursor->at != '\n') return "something behind what was said";
    if (cursor->at < cursor->end) cursor->at++;
    return NULL;
}

struct error *toml_next(struct toml *toml, struct toml_line *ret_line) {
    struct cursor cursor = {toml->rest.data, toml->rest.data + toml->rest.size};
    *ret_line = (struct toml_line){.number = toml->number + 1, .whole = {toml->rest.data, 0}};
    if (toml->rest.size == 0) return NULL;
    skip_blanks(&cursor);
    const char *wrong = NULL;
    bool blank = cursor.at == cursor.end || strchr("#\r\n", *cursor.at);
    if (!blank) wrong = *cursor.at == '[' ? read_header(&cursor, ret_line) : read_pair(&cursor, ret_line);
    if (!wrong) wrong = read_end(&cursor, ret_line);
    if (wrong) return error_new(ERROR_INVALID_ARGUMENT, "line %u has %s", ret_line->number, wrong);
    ret_line->whole.size = (size_t)(cursor.at - toml->rest.data);
    for (const char *at = toml->rest.data; at < cursor.at; at++) toml->number += *at == '\n';
    toml->rest = (struct span){cursor.at, toml->rest.size - ret_line->whole.size};
    return NULL;
}
