/* Lines to instructions, as docker reads them: the `escape` directive, continued lines (comments and empty
 * lines in between drop out), here-documents, flags, and the JSON form. Source:
 * docs.docker.com/reference/dockerfile and BuildKit's parser for what that leaves open. */
#include "dockerfile.h"

#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

enum { TEXT_MAX = 4 << 20, INSTRUCTIONS_MAX = 10000, HEREDOCS_MAX = 32 };

static const char *const names[] = {
    [KEYWORD_ADD] = "ADD",
    [KEYWORD_ARG] = "ARG",
    [KEYWORD_CMD] = "CMD",
    [KEYWORD_COPY] = "COPY",
    [KEYWORD_ENTRYPOINT] = "ENTRYPOINT",
    [KEYWORD_ENV] = "ENV",
    [KEYWORD_EXPOSE] = "EXPOSE",
    [KEYWORD_FROM] = "FROM",
    [KEYWORD_HEALTHCHECK] = "HEALTHCHECK",
    [KEYWORD_LABEL] = "LABEL",
    [KEYWORD_MAINTAINER] = "MAINTAINER",
    [KEYWORD_ONBUILD] = "ONBUILD",
    [KEYWORD_RUN] = "RUN",
    [KEYWORD_SHELL] = "SHELL",
    [KEYWORD_STOPSIGNAL] = "STOPSIGNAL",
    [KEYWORD_USER] = "USER",
    [KEYWORD_VOLUME] = "VOLUME",
    [KEYWORD_WORKDIR] = "WORKDIR",
};

const char *keyword_name(enum keyword keyword) {
    return names[keyword];
}

struct reading {
    struct dockerfile *dockerfile;
    struct span rest;
    unsigned line; /* of what was read last */
};

static struct error *bad(const struct reading *reading, unsigned line, const char *format, ...)
    printf_like(3, 4);
static struct error *bad(const struct reading *reading, unsigned line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    return error_new(ERROR_INVALID_ARGUMENT, "%s:%u: %s", reading->dockerfile->name, line, text);
}

static bool next_line(struct reading *reading, struct span *ret_line) {
    if (!reading->rest.data || reading->rest.size == 0) return false;
    *ret_line = span_cut(&reading->rest, '\n');
    if (ret_line->size > 0 && ret_line->data[ret_line->size - 1] == '\r') ret_line->size--;
    reading->line++;
    return true;
}

/* ---- directives: comments of the form `# name=value`, before anything else ---- */

static void directives_read(struct reading *reading) {
    struct reading ahead = *reading;
    for (struct span line; next_line(&ahead, &line);) {
        struct span value = span_trim(line), name;
        if (value.size == 0 || value.data[0] != '#') return;
        value = (struct span){value.data + 1, value.size - 1};
        name = span_trim(span_cut(&value, '='));
        if (!value.data || memchr(name.data, ' ', name.size)) return;
        value = span_trim(value);
        if (span_is_nocase(name, "escape") && value.size == 1) reading->dockerfile->escape = value.data[0];
    }
}

/* ---- one instruction's text ---- */

/* "... \" with blanks behind it goes on; "\\" at the end is a backslash. */
static bool continues(struct span *line, char escape) {
    size_t size = line->size;
    while (size > 0 && (line->data[size - 1] == ' ' || line->data[size - 1] == '\t')) size--;
    if (size == 0 || line->data[size - 1] != escape || (size > 1 && line->data[size - 2] == escape))
        return false;
    line->size = size - 1;
    return true;
}

static bool is_comment(struct span line) {
    struct span trimmed = span_trim(line);
    return trimmed.size > 0 && trimmed.data[0] == '#';
}

/* The first line that is neither empty nor a comment, and those that it goes on with. False: the end. */
static bool logical_line(struct reading *reading, struct text *text, unsigned *ret_line) {
    struct span line;
    do
        if (!next_line(reading, &line)) return false;
    while (is_comment(line) || span_trim(line).size == 0);
    *ret_line = reading->line;
    while (line.size > 0 && isspace((unsigned char)line.data[0])) line.data++, line.size--;
    bool more = continues(&line, reading->dockerfile->escape);
    text_add(text, line);
    while (more && next_line(reading, &line)) {
        if (is_comment(line) || span_trim(line).size == 0) continue;
        more = continues(&line, reading->dockerfile->escape);
        text_add(text, line);
    }
    return true;
}

/* ---- here-documents ---- */

/* A word that is `<<NAME`, `<<-NAME`, `<<"NAME"`, with a descriptor's number before it. */
static bool heredoc_word(const char *word, bool *ret_chomp, bool *ret_expand, char **ret_name) {
    while (isdigit((unsigned char)*word)) word++;
    if (strncmp(word, "<<", 2) != 0) return false;
    word += 2;
    *ret_chomp = *word == '-';
    if (*ret_chomp) word++;
    char quote = *word == '"' || *word == '\'' ? *word : 0;
    if (quote) word++;
    size_t size = 0;
    while (isalnum((unsigned char)word[size]) || (word[size] && strchr("_.-", word[size]))) size++;
    if (size == 0 || (quote ? word[size] != quote || word[size + 1] : word[size])) return false;
    *ret_expand = !quote;
    *ret_name = mem_string_n(word, size);
    return true;
}

static struct error *heredoc_body(struct reading *reading, struct heredoc *heredoc, bool chomp,
                                  unsigned from) {
    struct text body = {0};
    for (struct span line; next_line(reading, &line);) {
        while (chomp && line.size > 0 && line.data[0] == '\t') line.data++, line.size--;
        if (span_is(line, heredoc->name)) {
            heredoc->body = text_take(&body);
            return NULL;
        }
        text_add(&body, line);
        text_add_char(&body, '\n');
    }
    text_done(&body);
    return bad(reading, from, "the here-document has no end: a line with nothing but %s", heredoc->name);
}

static struct error *heredocs_read(struct reading *reading, struct instruction *instruction) {
    if (instruction->json || !strstr(instruction->text, "<<")) return NULL;
    char **words = words_split(span_of(instruction->text), reading->dockerfile->escape);
    struct error *error = NULL;
    for (size_t i = 0; words[i] && !error; i++) {
        bool chomp, expand;
        char *name;
        if (!heredoc_word(words[i], &chomp, &expand, &name)) continue;
        if (instruction->heredoc_count == HEREDOCS_MAX) {
            free(name);
            error = bad(reading, instruction->line, "more than %d here-documents", HEREDOCS_MAX);
            break;
        }
        instruction->heredocs =
            mem_grow(instruction->heredocs, instruction->heredoc_count + 1, sizeof *instruction->heredocs);
        struct heredoc *heredoc = &instruction->heredocs[instruction->heredoc_count++];
        *heredoc = (struct heredoc){.name = name, .expand = expand};
        error = heredoc_body(reading, heredoc, chomp, instruction->line);
    }
    words_free(words);
    return error;
}

/* ---- flags and lists ---- */

static bool has_flags(enum keyword keyword) {
    return keyword == KEYWORD_ADD || keyword == KEYWORD_COPY || keyword == KEYWORD_FROM ||
           keyword == KEYWORD_RUN || keyword == KEYWORD_HEALTHCHECK;
}

/* Cuts "--name=value" words off the front of the text. */
static struct span flags_take(struct instruction *instruction, struct span text) {
    for (;;) {
        text = span_trim(text);
        if (!span_starts(text, "--")) return text;
        struct span rest = text;
        size_t size = 0;
        while (size < text.size && !isspace((unsigned char)text.data[size])) size++;
        rest = (struct span){text.data + size, text.size - size};
        if (size == 2) return span_trim(rest);
        scoped_string char *flag = mem_string_n(text.data, size);
        words_add(&instruction->flags, flag);
        text = rest;
    }
}

static bool may_be_list(enum keyword keyword) {
    static const enum keyword lists[] = {KEYWORD_ADD, KEYWORD_CMD,   KEYWORD_COPY,  KEYWORD_ENTRYPOINT,
                                         KEYWORD_RUN, KEYWORD_SHELL, KEYWORD_VOLUME};
    for (size_t i = 0; i < COUNT(lists); i++)
        if (lists[i] == keyword) return true;
    return false;
}

/* What looks like a list and is none is a shell's text: docker does the same. */
static void list_read(struct instruction *instruction) {
    json_error_t where;
    if (instruction->text[0] != '[') return;
    scoped_json json_t *json = json_loads(instruction->text, 0, &where);
    scoped(error) struct error *other = NULL;
    if (!json) return;
    other = words_from_json(json, "the list", &instruction->json);
    if (!other && !instruction->json) instruction->json = mem_array(1, sizeof *instruction->json);
}

static struct error *instruction_parse(struct reading *reading, struct span line,
                                       struct instruction *instruction) {
    size_t size = 0;
    while (size < line.size && !isspace((unsigned char)line.data[size])) size++;
    struct span word = {line.data, size}, text = span_trim((struct span){line.data + size, line.size - size});
    size_t keyword = 0;
    while (keyword < COUNT(names) && !span_is_nocase(word, names[keyword])) keyword++;
    if (keyword == COUNT(names))
        return bad(reading, instruction->line, "'" SPAN_FORMAT "' is no instruction (RUN, COPY, ENV, ...)",
                   (int)(word.size < 40 ? word.size : 40), word.data);
    instruction->keyword = (enum keyword)keyword;
    if (has_flags(instruction->keyword)) text = flags_take(instruction, text);
    instruction->text = span_string(text);
    if (strlen(instruction->text) != text.size)
        return bad(reading, instruction->line, "there is a NUL in it");
    if (may_be_list(instruction->keyword)) list_read(instruction);
    if (text.size == 0) return bad(reading, instruction->line, "%s: nothing follows it", names[keyword]);
    bool documents = keyword == KEYWORD_RUN || keyword == KEYWORD_COPY || keyword == KEYWORD_ADD;
    return documents ? heredocs_read(reading, instruction) : NULL;
}

/* ---- the whole ---- */

static struct error *parse(struct reading *reading) {
    struct dockerfile *dockerfile = reading->dockerfile;
    for (;;) {
        scoped_text struct text text = {0};
        unsigned line;
        if (!logical_line(reading, &text, &line)) return NULL;
        if (dockerfile->count == INSTRUCTIONS_MAX)
            return bad(reading, line, "more than %d instructions", INSTRUCTIONS_MAX);
        dockerfile->instructions =
            mem_grow(dockerfile->instructions, dockerfile->count + 1, sizeof *dockerfile->instructions);
        struct instruction *instruction = &dockerfile->instructions[dockerfile->count++];
        *instruction = (struct instruction){.line = line};
        TRY_PLAIN(instruction_parse(reading, text_span(&text), instruction));
    }
}

struct error *dockerfile_parse(struct span text, const char *name, struct dockerfile *ret_dockerfile) {
    *ret_dockerfile = (struct dockerfile){.name = mem_string(name), .escape = '\\'};
    struct reading reading = {.dockerfile = ret_dockerfile, .rest = text};
    if (span_starts(text, "\xef\xbb\xbf")) reading.rest = (struct span){text.data + 3, text.size - 3};
    directives_read(&reading);
    struct error *error = NULL;
    if (text.size > TEXT_MAX) error = bad(&reading, 1, "longer than %d bytes", TEXT_MAX);
    if (!error) error = parse(&reading);
    if (!error && ret_dockerfile->count == 0) error = bad(&reading, 1, "there is no instruction in it");
    if (error) dockerfile_done(ret_dockerfile);
    return error;
}

void dockerfile_done(struct dockerfile *dockerfile) {
    for (size_t i = 0; i < dockerfile->count; i++) {
        struct instruction *instruction = &dockerfile->instructions[i];
        words_free(instruction->flags), words_free(instruction->json);
        free(instruction->text);
        for (size_t k = 0; k < instruction->heredoc_count; k++)
            free(instruction->heredocs[k].name), free(instruction->heredocs[k].body);
        free(instruction->heredocs);
    }
    free(dockerfile->instructions);
    free(dockerfile->name);
    *dockerfile = (struct dockerfile){0};
}
