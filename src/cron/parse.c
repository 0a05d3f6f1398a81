/* The five fields of a table. What is wrong is told with its column, counted from 1. */
#include "inside.h"

#include <string.h>

struct reader {
    struct span text;
    size_t at;
};

struct field {
    const char *what;
    int least, most;
    const char *names; /* of three letters each; NULL: none */
    int first_name;
};
static const struct field fields[] = {
    {"minute", 0, 59, NULL, 0},
    {"hour", 0, 23, NULL, 0},
    {"day of the month", 1, 31, NULL, 0},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec", 1},
    {"day of the week", 0, 7, "sunmontuewedthufrisat", 0},
};

static const struct {
    const char *name, *fields;
} nicknames[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static char lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}
static bool is_letter(char c) {
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool ended(const struct reader *reader) {
    return reader->at >= reader->text.size;
}
static char peek(const struct reader *reader) {
    return ended(reader) ? '\0' : reader->text.data[reader->at];
}
static bool skip(struct reader *reader, char c) {
    if (ended(reader) || peek(reader) != c) return false;
    reader->at++;
    return true;
}

static struct error *wrong(const struct reader *reader, size_t at, const char *what) {
    return error_new(ERROR_INVALID_ARGUMENT, "'%.*s', column %zu: %s",
                     (int)(reader->text.size < 100 ? reader->text.size : 100), reader->text.data, at + 1,
                     what);
}

static struct error *out_of_range(const struct reader *reader, size_t at, const struct field *field) {
    scoped_string char *what = mem_printf("the %s is %d to %d%s", field->what, field->least, field->most,
                                          field->names ? ", or a name of three letters" : "");
    return wrong(reader, at, what);
}

static struct error *read_number(struct reader *reader, const struct field *field, int most, int *ret) {
    size_t at = reader->at;
    int value = 0;
    while (is_digit(peek(reader))) {
        if (value < 1000) value = value * 10 + (peek(reader) - '0');
        reader->at++;
    }
    if (reader->at == at) return out_of_range(reader, at, field);
    *ret = value;
    return value < field->least || value > most ? out_of_range(reader, at, field) : NULL;
}

static struct error *read_value(struct reader *reader, const struct field *field, int *ret) {
    size_t at = reader->at;
    if (!field->names || !is_letter(peek(reader))) return read_number(reader, field, field->most, ret);
    char name[4] = "";
    while (is_letter(peek(reader))) {
        if (reader->at - at < 3) name[reader->at - at] = lower(peek(reader));
        reader->at++;
    }
    for (size_t i = 0; reader->at - at == 3 && i < strlen(field->names); i += 3) {
        if (memcmp(field->names + i, name, 3) != 0) continue;
        *ret = field->first_name + (int)(i / 3);
        return NULL;
    }
    return out_of_range(reader, at, field);
}

/* One of a list: *, 5, 1-5, each with /STEP. */
static struct error *read_item(struct reader *reader, const struct field *field, uint64_t *bits) {
    int from = field->least, to = field->names && field->most == 7 ? 6 : field->most, step = 1;
    size_t at = reader->at;
    bool star = skip(reader, '*');
    if (!star) {
        TRY_PLAIN(read_value(reader, field, &from));
        int last = to;
        to = from;
        if (skip(reader, '-')) {
            TRY_PLAIN(read_value(reader, field, &to));
            if (to < from) return wrong(reader, at, "a range goes from the lower to the higher");
        } else if (peek(reader) == '/') {
            to = from > last ? from : last; /* 5/15: from 5 on */
        }
    }
    size_t step_at = reader->at + 1;
    if (skip(reader, '/')) {
        const struct field steps = {"step", 1, 999, NULL, 0};
        TRY_PLAIN(read_number(reader, &steps, 999, &step));
        if (step > field->most + 1) return wrong(reader, step_at, "the step is longer than the whole range");
    }
    for (int value = from; value <= to; value += step)
        *bits |= UINT64_C(1) << (field->most == 7 && value == 7 ? 0 : value);
    return NULL;
}

static struct error *read_field(struct reader *reader, const struct field *field, uint64_t *bits,
                                bool *ret_star) {
    while (is_blank(peek(reader))) reader->at++;
    if (ended(reader)) {
        scoped_string char *what =
            mem_printf("the %s is missing: the five fields are minute, hour, day of the month, month, "
                       "day of the week",
                       field->what);
        return wrong(reader, reader->at, what);
    }
    *ret_star = peek(reader) == '*';
    do TRY_PLAIN(read_item(reader, field, bits));
    while (skip(reader, ','));
    if (!ended(reader) && !is_blank(peek(reader))) {
        scoped_string char *what = mem_printf("this can't stand in the %s", field->what);
        return wrong(reader, reader->at, what);
    }
    return NULL;
}

static struct error *read_all(struct reader *reader, struct cron_table *table) {
    uint64_t bits[COUNT(fields)] = {0};
    bool star[COUNT(fields)];
    for (size_t i = 0; i < COUNT(fields); i++) TRY_PLAIN(read_field(reader, &fields[i], &bits[i], &star[i]));
    while (is_blank(peek(reader))) reader->at++;
    if (!ended(reader)) return wrong(reader, reader->at, "there are five fields, and here begins a sixth");
    *table = (struct cron_table){
        .minutes = bits[0],
        .hours = (uint32_t)bits[1],
        .days = (uint32_t)bits[2],
        .months = (uint16_t)bits[3],
        .weekdays = (uint8_t)bits[4],
        .either_day = !star[2] && !star[4],
        .hours_passed = star[1],
    };
    return NULL;
}

struct error *cron_table_parse(struct span text, struct cron_table *ret_table) {
    struct reader reader = {text, 0};
    struct span trimmed = span_trim(text);
    if (memchr(text.data ? text.data : "", '\0', text.size))
        return error_new(ERROR_INVALID_ARGUMENT, "a table is text");
    if (span_starts(trimmed, "@")) {
        size_t i = 0;
        while (i < COUNT(nicknames) && !span_is_nocase(trimmed, nicknames[i].name)) i++;
        if (i == COUNT(nicknames))
            return wrong(&reader, (size_t)(trimmed.data - text.data),
                         "the names are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually");
        reader.text = span_of(nicknames[i].fields);
    }
    TRY_PLAIN(read_all(&reader, ret_table));
    scoped(cron_zone) struct cron_zone *utc = cron_zone_utc();
    if (cron_table_next(ret_table, utc, 0) == CRON_NEVER)
        return error_new(ERROR_INVALID_ARGUMENT, "'%.*s': such a day never comes", (int)text.size, text.data);
    return NULL;
}
