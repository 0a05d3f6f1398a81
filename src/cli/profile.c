/* One section of the file of profiles, put in or taken out; all other bytes stay. */
#include "profile.h"

#include <ctype.h>
#include <stdlib.h>

#include "toml.h"

#define MARK "# was active before `catnap login`"

bool profile_name_good(const char *name) {
    size_t size = 0;
    for (; name[size]; size++)
        if (!isalnum((unsigned char)name[size]) && name[size] != '-' && name[size] != '_') return false;
    return size > 0 && size <= 64;
}

/* ---- reading ---- */

struct reading {
    struct toml toml;
    struct toml_line line;
    struct span table; /* the profile that we are in; data NULL: none, or a table within one */
    bool ours;         /* it is the one that was asked for */
};

/* False: the end. */
static struct error *next(struct reading *reading, const char *name, bool *ret_more) {
    TRY_PLAIN(toml_next(&reading->toml, &reading->line));
    const struct toml_line *line = &reading->line;
    *ret_more = line->whole.size > 0;
    if (*ret_more && line->kind == TOML_HEADER) {
        reading->table = line->dotted || line->array ? (struct span){0} : line->key;
        reading->ours = reading->table.data && span_is(line->key, name);
    }
    return NULL;
}

static bool is_pair(const struct reading *reading, const char *key) {
    return reading->table.data && reading->line.kind == TOML_PAIR && !reading->line.dotted &&
           span_is(reading->line.key, key);
}

static bool is_active(const struct reading *reading) {
    return is_pair(reading, "active") && span_is(reading->line.value, "true");
}

static bool was_active(const struct reading *reading) {
    return is_pair(reading, "active") && span_is(reading->line.value, "false") &&
           span_ends(reading->line.comment, MARK);
}

/* A plain text; NULL where it is written in another way. */
static char *text_of(struct span value) {
    bool quoted = value.size >= 2 && (value.data[0] == '"' || value.data[0] == '\'') &&
                  value.data[value.size - 1] == value.data[0];
    if (!quoted || (value.data[0] == '"' && memchr(value.data, '\\', value.size))) return NULL;
    return span_string((struct span){value.data + 1, value.size - 2});
}

static void keep(char **field, struct span value) {
    free(*field);
    *field = text_of(value);
}

void profile_found_done(struct profile_found *found) {
    free(found->server_url), free(found->token_id), free(found->active);
    *found = (struct profile_found){0};
}

/* Profiles that are written as values of the top level, not as sections, would take more than lines to
 * change. */
static struct error *check_top(const struct toml_line *line, const char *name) {
    bool table = line->dotted || line->value.data[0] == '{';
    if (!table) return NULL;
    scoped_string char *told = span_string(line->key), *value = span_string(line->value);
    if (!span_is(line->key, name) && !strstr(value, "active") && !line->dotted) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT,
                     "line %u has the profile %s in one line; write it as a section, [%s], and try again",
                     line->number, told, told);
}

struct error *profile_find(struct span file, const char *name, struct profile_found *ret_found) {
    struct reading reading = {.toml = TOML_OF(file)};
    *ret_found = (struct profile_found){0};
    bool top = true;
    for (bool more = true;;) {
        struct error *error = next(&reading, name, &more);
        if (!error && !more) return NULL;
        const struct toml_line *line = &reading.line;
        bool header = !error && line->kind == TOML_HEADER;
        if (header) top = false;
        if (header && ((reading.ours && ret_found->there) || (line->array && span_is(line->key, name))))
            error = error_new(ERROR_INVALID_ARGUMENT, "line %u has the section [%s] once more", line->number,
                              name);
        if (!error && top && line->kind == TOML_PAIR) error = check_top(line, name);
        if (error) {
            profile_found_done(ret_found);
            return error;
        }
        if (header && reading.ours) ret_found->there = true;
        if (reading.ours && is_pair(&reading, "server_url")) keep(&ret_found->server_url, line->value);
        if (reading.ours && is_pair(&reading, "token_id")) keep(&ret_found->token_id, line->value);
        if (is_active(&reading) && !ret_found->active) ret_found->active = span_string(reading.table);
    }
}

/* ---- writing ---- */

static void add_between(struct text *out, const char *from, const char *to) {
    text_add(out, (struct span){from, (size_t)(to - from)});
}

/* The line with another value. `mark`: 1 adds the mark, -1 takes it away. */
static void add_changed(struct text *out, const struct toml_line *line, const char *value, int mark) {
    const char *end = line->whole.data + line->whole.size, *tail = end;
    while (tail > line->whole.data && (tail[-1] == '\n' || tail[-1] == '\r')) tail--;
    add_between(out, line->whole.data, line->value.data);
    text_add_string(out, value);
    const char *behind = line->value.data + line->value.size;
    if (mark < 0) {
        const char *before = tail - strlen(MARK);
        for (int i = 0; i < 2 && before > behind && before[-1] == ' '; i++)
            before--; /* as many as were added */
        add_between(out, behind, before);
    } else {
        add_between(out, behind, tail);
        if (mark > 0) text_add_string(out, "  " MARK);
    }
    add_between(out, tail, end);
}

enum { SERVER_URL, TOKEN_ID, TOKEN_SECRET, NO_PROXY, ACTIVE, KEYS };
static const char *const keys[KEYS] = {"server_url", "token_id", "token_secret", "disable_api_proxy",
                                       "active"};

static void values_of(const struct profile *profile, char *values[KEYS]) {
    const char *const texts[] = {profile->server_url, profile->token_id, profile->token_secret};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct text text = {0};
        text_add_json(&text, span_of(texts[i])); /* TOML's texts are written as JSON's are */
        values[i] = text_take(&text);
    }
    values[NO_PROXY] = mem_string("true"); /* a proxy of the environment knows no way to this machine */
    values[ACTIVE] = mem_string("true");
}

/* What the section lacks, at `at`. */
static void add_missing(struct text *out, size_t at, char *const values[KEYS], const bool written[KEYS]) {
    struct text more = {0};
    for (size_t i = 0; i < KEYS; i++)
        if (!written[i]) text_printf(&more, "%s = %s\n", keys[i], values[i]);
    scoped_text struct text tail = {0};
    text_add(&tail, (struct span){out->data + at, out->size - at});
    out->size = at;
    if (at > 0 && out->data[at - 1] != '\n') text_add_char(out, '\n');
    text_add(out, text_span(&more));
    text_add(out, text_span(&tail));
    text_done(&more);
}

struct error *profile_put(struct span file, const struct profile *profile, struct text *ret_file) {
    struct profile_found found;
    TRY_PLAIN(profile_find(file, profile->name, &found));
    bool takes_over = found.active && strcmp(found.active, profile->name) != 0;
    struct reading reading = {.toml = TOML_OF(file)};
    char *values[KEYS];
    bool written[KEYS] = {0};
    size_t end_of_ours = 0;
    values_of(profile, values);
    for (bool more = true;;) {
        error_free(next(&reading, profile->name, &more)); /* it was read once already */
        if (!more) break;
        const struct toml_line *line = &reading.line;
        size_t key = 0;
        while (key < KEYS && !(reading.ours && is_pair(&reading, keys[key]))) key++;
        if (key < KEYS) {
            add_changed(ret_file, line, values[key], 0);
            written[key] = true;
        } else if (!reading.ours && is_active(&reading)) {
            add_changed(ret_file, line, "false", 1);
        } else if (!reading.ours && takes_over && was_active(&reading)) {
            add_changed(ret_file, line, "false",
                        -1); /* of a login before; the one that counts is another now */
        } else {
            text_add(ret_file, line->whole);
        }
        if (reading.ours && line->kind != TOML_BLANK) end_of_ours = ret_file->size;
    }
    if (!found.there) {
        if (ret_file->size > 0 && ret_file->data[ret_file->size - 1] != '\n') text_add_char(ret_file, '\n');
        text_printf(ret_file, "%s[%s]\n", ret_file->size > 0 ? "\n" : "", profile->name);
        end_of_ours = ret_file->size;
    }
    add_missing(ret_file, end_of_ours, values, written);
    for (size_t i = 0; i < KEYS; i++) free(values[i]);
    profile_found_done(&found);
    return NULL;
}

/* The blank line that parts a section from the one before goes with it. */
static void drop_blank(struct text *out) {
    bool blank = out->size > 0 && out->data[out->size - 1] == '\n' &&
                 (out->size == 1 || out->data[out->size - 2] == '\n');
    if (blank) out->size--;
}

struct error *profile_remove(struct span file, const char *name, struct text *ret_file, char **ret_active) {
    struct profile_found found;
    TRY_PLAIN(profile_find(file, name, &found));
    bool was_ours = found.active && strcmp(found.active, name) == 0;
    *ret_active = was_ours ? NULL : take(found.active);
    profile_found_done(&found);
    struct reading reading = {.toml = TOML_OF(file)};
    scoped_text struct text blanks = {0}; /* behind our section: of the next one, unless more of ours comes */
    for (bool more = true;;) {
        error_free(next(&reading, name, &more));
        if (!more) break;
        const struct toml_line *line = &reading.line;
        if (reading.ours) {
            if (line->kind == TOML_HEADER) drop_blank(ret_file);
            if (line->kind == TOML_BLANK)
                text_add(&blanks, line->whole);
            else
                text_clear(&blanks);
            continue;
        }
        text_add(ret_file, text_span(&blanks));
        text_clear(&blanks);
        if (was_ours && was_active(&reading)) {
            add_changed(ret_file, line, "true", -1);
            if (!*ret_active) *ret_active = span_string(reading.table);
        } else {
            text_add(ret_file, line->whole);
        }
    }
    text_add(ret_file, text_span(&blanks));
    return NULL;
}
