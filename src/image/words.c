/* Words of a Dockerfile: quotes, escapes and variables, as docker's own lexer takes them.
 *
 * Single quotes keep all; double quotes keep all but variables and escapes of `"`, `$` and the escape itself;
 * outside of quotes the escape keeps the next character. ${x:-a}, ${x-a}, ${x:+a}, ${x+a}, ${x:?a}, ${x?a},
 * ${x#p}, ${x##p}, ${x%p}, ${x%%p} are known. Source: docs.docker.com/reference/dockerfile, "Environment
 * replacement". */
#include "dockerfile.h"

#include "config.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>

enum { DEPTH_MAX = 16, VALUE_MAX = 256 * 1024, CUT_MAX = 4096 };
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

struct word {
    const char *at, *end;
    char escape;
    bool raw; /* quotes mean nothing, an escape stays and keeps the next character */
    const struct variables *variables;
    int depth;
};

static bool name_character(char c, bool first) {
    return c == '_' || isalpha((unsigned char)c) || (!first && isdigit((unsigned char)c));
}

static char *take_name(struct word *word) {
    const char *from = word->at;
    if (word->at < word->end && (isdigit((unsigned char)*word->at) || strchr("@*#?-$!", *word->at))) {
        word->at++; /* what a shell has of its own: never set here */
    } else {
        while (word->at < word->end && name_character(*word->at, word->at == from)) word->at++;
    }
    return mem_string_n(from, (size_t)(word->at - from));
}

static struct error *expand(struct word *word, char until, struct text *text);

/* ${x#p} and its kin: the shortest or longest part that fits, cut off one end. */
static char *cut_pattern(const char *value, const char *pattern, bool front, bool longest) {
    size_t size = strlen(value);
    for (size_t i = 0; i <= size; i++) {
        size_t taken = longest ? size - i : i;
        scoped_string char *part = front ? mem_string_n(value, taken) : mem_string(value + size - taken);
        if (fnmatch(pattern, part, 0) != 0) continue;
        return front ? mem_string(value + taken) : mem_string_n(value, size - taken);
    }
    return mem_string(value);
}

static struct error *with_operator(struct word *word, const char *name, const char *value,
                                   struct text *text) {
    bool colon = word->at < word->end && *word->at == ':';
    if (colon) word->at++;
    char operator= word->at<word->end ? *word->at++ : 0;
    bool twice = (operator== '#' || operator== '%') && word->at < word->end && *word->at == operator;
    if (twice) word->at++;
    if (!operator|| !strchr(colon ? "-+?" : "-+?#%", operator))
        return BAD("${%s...}: only ${x}, ${x:-a}, ${x:+a}, ${x:?a}, ${x#a} and ${x%%a} are known", name);
    scoped_text struct text other = {0};
    TRY_PLAIN(expand(word, '}', &other));
    const char *instead = other.data ? other.data : "";
    bool set = value && (!colon || *value);
    if (operator== '?' && !set) return BAD("%s: %s", name, *instead ? instead : "not set");
    if (operator== '+') text_add_string(text, set ? instead : "");
    if (operator== '-') text_add_string(text, set ? value : instead);
    if (operator== '?') text_add_string(text, value);
    if (operator!= '#' && operator!= '%') return NULL;
    if (value && strlen(value) > CUT_MAX)
        return BAD("${%s%c...}: the value is longer than %d bytes", name, operator, CUT_MAX);
    scoped_string char *cut = cut_pattern(value ? value : "", instead, operator== '#', twice);
    text_add_string(text, cut);
    return NULL;
}

static struct error *dollar(struct word *word, struct text *text) {
    bool braces = word->at < word->end && *word->at == '{';
    if (braces) word->at++;
    scoped_string char *name = take_name(word);
    if (!*name && !braces) {
        text_add_char(text, '$');
        return NULL;
    }
    if (!*name) return BAD("${ without a name");
    const char *value = word->variables->get(word->variables->owner, name);
    if (!braces || (word->at < word->end && *word->at == '}')) {
        if (braces) word->at++;
        text_add_string(text, value ? value : "");
        return NULL;
    }
    if (word->at == word->end) return BAD("${%s without its }", name);
    return with_operator(word, name, value, text);
}

static struct error *single_quoted(struct word *word, struct text *text) {
    const char *end = memchr(word->at, '\'', (size_t)(word->end - word->at));
    if (!end) return BAD("a ' without its other");
    text_add(text, (struct span){word->at, (size_t)(end - word->at)});
    word->at = end + 1;
    return NULL;
}

static struct error *double_quoted(struct word *word, struct text *text) {
    while (word->at < word->end) {
        char c = *word->at++;
        if (c == '"') return NULL;
        if (c == '$') {
            TRY_PLAIN(dollar(word, text));
        } else if (c == word->escape && word->at < word->end) {
            if (*word->at != '"' && *word->at != '$' && *word->at != word->escape) text_add_char(text, c);
            text_add_char(text, *word->at++);
        } else {
            text_add_char(text, c);
        }
    }
    return BAD("a \" without its other");
}

/* To the end, or past the first `until` outside of quotes. */
static struct error *expand(struct word *word, char until, struct text *text) {
    if (++word->depth > DEPTH_MAX) return BAD("${...} nested too deep");
    while (word->at < word->end) {
        char c = *word->at++;
        if (until && c == until) {
            word->depth--;
            return NULL;
        }
        if (text->size > VALUE_MAX) return BAD("it grows beyond %d bytes", VALUE_MAX);
        if (c == '$') {
            TRY_PLAIN(dollar(word, text));
        } else if (c == word->escape && word->at < word->end) {
            if (word->raw) text_add_char(text, c);
            text_add_char(text, *word->at++);
        } else if (c == '\'' && !word->raw) {
            TRY_PLAIN(single_quoted(word, text));
        } else if (c == '"' && !word->raw) {
            TRY_PLAIN(double_quoted(word, text));
        } else {
            text_add_char(text, c);
        }
    }
    word->depth--;
    return until ? BAD("${ without its }") : NULL;
}

struct error *word_expand(struct span text, char escape, const struct variables *variables, char **ret_text) {
    struct word word = {
        .at = text.data, .end = text.data + text.size, .escape = escape, .variables = variables};
    scoped_text struct text result = {0};
    TRY(expand(&word, 0, &result), "'" SPAN_FORMAT "'", (int)(text.size < 80 ? text.size : 80), text.data);
    *ret_text = text_take(&result);
    return NULL;
}

struct error *body_expand(struct span text, char escape, const struct variables *variables, char **ret_text) {
    struct word word = {
        .at = text.data, .end = text.data + text.size, .escape = escape, .raw = true, .variables = variables};
    scoped_text struct text result = {0};
    TRY(expand(&word, 0, &result), "the here-document");
    *ret_text = text_take(&result);
    return NULL;
}

/* ---- parting ---- */

struct parts {
    char **words;
    size_t count, capacity;
};

static void push(struct parts *parts, const char *data, size_t size) {
    if (parts->count + 1 >= parts->capacity) {
        parts->capacity = parts->capacity ? parts->capacity * 2 : 8;
        parts->words = mem_grow(parts->words, parts->capacity, sizeof *parts->words);
    }
    parts->words[parts->count++] = mem_string_n(data, size);
    parts->words[parts->count] = NULL;
}

static char **end_of(struct parts *parts) {
    return parts->words ? parts->words : mem_array(1, sizeof *parts->words);
}

char **words_split(struct span text, char escape) {
    struct parts parts = {0};
    size_t from = 0;
    bool inside = false;
    char quote = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!quote && isspace((unsigned char)c)) {
            if (inside) push(&parts, text.data + from, i - from);
            inside = false;
            continue;
        }
        if (!inside) from = i;
        inside = true;
        if (c == escape && quote != '\'' && i + 1 < text.size)
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
    }
    if (inside) push(&parts, text.data + from, text.size - from);
    return end_of(&parts);
}

char **words_split_plain(struct span text) {
    struct parts parts = {0};
    for (size_t i = 0; i < text.size;) {
        while (i < text.size && isspace((unsigned char)text.data[i])) i++;
        size_t from = i;
        while (i < text.size && !isspace((unsigned char)text.data[i])) i++;
        if (i > from) push(&parts, text.data + from, i - from);
    }
    return end_of(&parts);
}
