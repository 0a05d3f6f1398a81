/* Looking for files and lines in a repository's tree, as a person does: names by their letters, lines by a
 * regular expression. */
#include "inside.h"

#include <ctype.h>
#include <git2.h>
#include <regex.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (1u << 20)
#define LINES_A_FILE_MAX 100
#define TERMS_MAX 16
#define PATTERN_BYTES_MAX 256
#define SEARCHED_BYTES_MAX (256u << 20) /* then what was found is all */

/* ---- names ---- */

struct find {
    const char *pattern;
    json_t *found; /* with "cost" for the order */
};

/* The letters of the pattern in order, from the end of the path on, so that its name counts most. */
static bool match_letters(const char *path, const char *pattern, json_t *indices, long *ret_cost) {
    size_t at = strlen(path), left = strlen(pattern), *places = mem_array(left ? left : 1, sizeof *places);
    long cost = (long)at;
    size_t last = at;
    while (left > 0 && at > 0) {
        if (tolower((unsigned char)path[--at]) != tolower((unsigned char)pattern[left - 1])) continue;
        places[--left] = at;
        if (last - at > 1) cost += 10;
        last = at;
    }
    size_t count = strlen(pattern);
    for (size_t i = 0; left == 0 && i < count; i++)
        json_array_append_new(indices, json_integer((json_int_t)places[i]));
    free(places);
    *ret_cost = cost;
    return left == 0;
}

static struct error *on_name(void *owner, const struct tree_file *file) {
    struct find *find = owner;
    scoped_json json_t *indices = json_array();
    long cost;
    if (!match_letters(file->path, find->pattern, indices, &cost)) return NULL;
    json_t *one = json_pack("{s:s,s:s,s:O,s:I}", "type", "file", "path", file->path, "indices", indices,
                            "cost", (json_int_t)cost);
    if (one) json_array_append_new(find->found, one);
    return NULL;
}

static int by_cost(const void *a, const void *b) {
    const json_t *one = *(json_t *const *)a, *other = *(json_t *const *)b;
    json_int_t x = json_integer_value(json_object_get(one, "cost")),
               y = json_integer_value(json_object_get(other, "cost"));
    if (x != y) return x < y ? -1 : 1;
    return strcmp(json_string_value(json_object_get(one, "path")),
                  json_string_value(json_object_get(other, "path")));
}

struct error *repository_find(struct repository *repository, const char *rev, const char *pattern,
                              size_t limit, json_t **ret_entries) {
    struct git_tree *tree = NULL;
    char commit[48];
    scoped_json json_t *found = json_array();
    struct find find = {.pattern = pattern, .found = found};
    TRY_PLAIN(tree_of(repository, rev, &tree, commit));
    struct error *error = tree_walk(tree, on_name, &find);
    git_tree_free(tree);
    if (error) return error;
    size_t count = json_array_size(found);
    json_t **sorted = mem_array(count ? count : 1, sizeof *sorted), *entries = json_array();
    for (size_t i = 0; i < count; i++) sorted[i] = json_array_get(found, i);
    qsort(sorted, count, sizeof *sorted, by_cost);
    for (size_t i = 0; i < count && i < limit; i++) json_array_append(entries, sorted[i]);
    free(sorted);
    *ret_entries = entries;
    return NULL;
}

/* ---- lines ---- */

enum term_kind { TERM_TEXT, TERM_FILE, TERM_LANGUAGE };
struct term {
    enum term_kind kind;
    bool negated;
    char *text; /* of a language */
    regex_t regex;
    bool has_regex;
};

struct grep {
    struct repository *repository;
    struct term terms[TERMS_MAX];
    size_t count, limit, searched_bytes;
    json_t *files;
};

static void grep_done(struct grep *grep) {
    for (size_t i = 0; i < grep->count; i++) {
        if (grep->terms[i].has_regex) regfree(&grep->terms[i].regex);
        free(grep->terms[i].text);
    }
}

/* What can keep the library of regular expressions busy for hours, or make it take all memory. */
static bool is_costly(const char *pattern) {
    for (const char *c = pattern; *c; c++)
        if ((*c == '\\' || *c == '{') && isdigit((unsigned char)c[1])) return true;
    return strlen(pattern) > PATTERN_BYTES_MAX;
}

static struct error *read_term(struct grep *grep, struct span word) {
    struct term *term = &grep->terms[grep->count];
    *term = (struct term){.negated = word.size > 1 && word.data[0] == '-'};
    if (term->negated) word.data++, word.size--;
    size_t skip = span_starts(word, "f:") ? 2 : span_starts(word, "lang:") ? 5 : 0;
    term->kind = skip == 2 ? TERM_FILE : skip == 5 ? TERM_LANGUAGE : TERM_TEXT;
    term->text = mem_string_n(word.data + skip, word.size - skip);
    grep->count++;
    if (term->kind == TERM_LANGUAGE) return NULL;
    if (is_costly(term->text))
        return error_new(ERROR_INVALID_ARGUMENT,
                         "'%s': back references, counted repetitions and more than "
                         "%d bytes are not looked for",
                         term->text, PATTERN_BYTES_MAX);
    char why[128];
    int code = regcomp(&term->regex, term->text, REG_EXTENDED);
    if (code != 0) {
        regerror(code, &term->regex, why, sizeof why);
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is no regular expression: %s", term->text, why);
    }
    term->has_regex = true;
    return NULL;
}

static struct error *read_query(struct grep *grep, const char *query) {
    struct span rest = span_of(query);
    bool searches = false;
    while (rest.data) {
        struct span word = span_trim(span_cut(&rest, ' '));
        if (word.size == 0) continue;
        if (grep->count == TERMS_MAX)
            return error_new(ERROR_INVALID_ARGUMENT, "at most %d words can be looked for", TERMS_MAX);
        TRY_PLAIN(read_term(grep, word));
        searches |= !grep->terms[grep->count - 1].negated;
    }
    return searches ? NULL : error_new(ERROR_INVALID_ARGUMENT, "there is nothing to look for");
}

static bool is_wanted(const struct grep *grep, const char *path) {
    const char *language = index_language_of(path, NULL);
    for (size_t i = 0; i < grep->count; i++) {
        const struct term *term = &grep->terms[i];
        bool fits = true;
        if (term->kind == TERM_FILE) fits = regexec(&term->regex, path, 0, NULL, 0) == 0;
        if (term->kind == TERM_LANGUAGE)
            fits = language && span_equal(index_language_kind(span_of(term->text)), span_of(language));
        if (term->kind != TERM_TEXT && fits == term->negated) return false;
    }
    return true;
}

static json_t *text_json(struct span line) {
    json_t *text = json_stringn(line.data, line.size);
    return json_pack("{s:o,s:n}", "text", text ? text : json_string(""), "base64");
}

/* The matches in a line; NULL: it is none of those wanted. */
static json_t *matches_in(const struct grep *grep, const char *line) {
    scoped_json json_t *matches = json_array();
    bool asks = false;
    for (size_t i = 0; i < grep->count; i++) {
        const struct term *term = &grep->terms[i];
        regmatch_t match;
        if (term->kind != TERM_TEXT) continue;
        asks |= !term->negated;
        bool fits = regexec(&term->regex, line, 1, &match, 0) == 0;
        if (fits == term->negated) return NULL;
        if (fits)
            json_array_append_new(matches, json_pack("{s:I,s:I}", "bytesStart", (json_int_t)match.rm_so,
                                                     "bytesEnd", (json_int_t)match.rm_eo));
    }
    return asks ? json_incref(matches) : NULL;
}

static bool only_names(const struct grep *grep) {
    for (size_t i = 0; i < grep->count; i++)
        if (grep->terms[i].kind == TERM_TEXT) return false;
    return true;
}

static json_t *lines_of(const struct grep *grep, struct span content) {
    json_t *lines = json_array();
    struct span rest = content;
    json_int_t number = 0;
    while (rest.data && rest.size > 0 && json_array_size(lines) < LINES_A_FILE_MAX) {
        struct span line = span_cut(&rest, '\n');
        json_int_t offset = line.data - content.data;
        scoped_string char *copy = span_string(line);
        json_t *matches = matches_in(grep, copy);
        number++;
        if (matches)
            json_array_append_new(lines, json_pack("{s:o,s:I,s:I,s:o}", "line", text_json(line), "byteOffset",
                                                   offset, "lineNumber", number, "subMatches", matches));
    }
    return lines;
}

static struct error *on_content(void *owner, const struct tree_file *file) {
    struct grep *grep = owner;
    scoped_text struct text content = {0};
    if (json_array_size(grep->files) >= grep->limit || grep->searched_bytes > SEARCHED_BYTES_MAX ||
        !is_wanted(grep, file->path))
        return NULL;
    scoped_json json_t *lines = NULL;
    if (only_names(grep)) {
        lines = json_array();
    } else {
        error_free(tree_content(grep->repository, file->hash, FILE_BYTES_MAX, &content)); /* too long */
        grep->searched_bytes += content.size;
        if (content.size == 0 || memchr(content.data, 0, content.size)) return NULL;
        lines = lines_of(grep, text_span(&content));
        if (json_array_size(lines) == 0) return NULL;
    }
    json_t *one = json_pack("{s:s,s:O}", "path", file->path, "lines", lines);
    if (one) json_array_append_new(grep->files, one);
    return NULL;
}

struct error *repository_grep(struct repository *repository, const char *rev, const char *query, size_t limit,
                              json_t **ret_files) {
    struct git_tree *tree = NULL;
    char commit[48];
    scoped_json json_t *files = json_array();
    struct grep grep = {.repository = repository, .limit = limit, .files = files};
    struct error *error = read_query(&grep, query);
    if (!error) error = tree_of(repository, rev, &tree, commit);
    if (!error) error = tree_walk(tree, on_content, &grep);
    git_tree_free(tree);
    grep_done(&grep);
    if (error) return error;
    *ret_files = json_incref(files);
    return NULL;
}
