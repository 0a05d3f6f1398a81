/* Numbers as people read and write them, the nearest word to a wrong one, and texts made fit to be shown or
 * sent. */
#include <stdio.h>
#include <time.h>

#include "command.h"

char *words_bytes(uint64_t bytes, char out[WORDS_SIZE]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1000 && unit + 1 < COUNT(units); unit++) value /= 1024;
    snprintf(out, WORDS_SIZE, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

char *words_time_us(int64_t time_us, char out[WORDS_SIZE]) {
    double ms = (double)time_us / 1000, s = ms / 1000;
    if (ms < 9.95)
        snprintf(out, WORDS_SIZE, "%.1f ms", ms);
    else if (ms < 999.5)
        snprintf(out, WORDS_SIZE, "%.0f ms", ms);
    else if (s < 9.95)
        snprintf(out, WORDS_SIZE, "%.1f s", s);
    else if (s < 119.5)
        snprintf(out, WORDS_SIZE, "%.0f s", s);
    else if (s < 119.5 * 60)
        snprintf(out, WORDS_SIZE, "%.0f min", s / 60);
    else if (s < 47.5 * 3600)
        snprintf(out, WORDS_SIZE, "%.0f h", s / 3600);
    else
        snprintf(out, WORDS_SIZE, "%.0f d", s / 86400);
    return out;
}

bool words_to_ms(const char *text, int64_t *ret_ms) {
    static const struct {
        const char *name;
        int64_t unit_ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    static const int64_t longest_ms = INT64_C(86400000) * 36600;
    struct span rest = span_of(text);
    int64_t total_ms = 0, last_unit_ms = INT64_MAX; /* 1h30m, not 30m1h */
    for (bool first = true; rest.size > 0; first = false) {
        size_t digits = 0, letters = 0;
        uint64_t number = 0;
        while (digits < rest.size && rest.data[digits] >= '0' && rest.data[digits] <= '9') digits++;
        if (!span_to_u64((struct span){rest.data, digits}, &number)) return false;
        rest = (struct span){rest.data + digits, rest.size - digits};
        while (letters < rest.size && rest.data[letters] >= 'a' && rest.data[letters] <= 'z') letters++;
        int64_t unit_ms = letters == 0 && first && rest.size == 0 ? 1000 : 0;
        for (size_t i = 0; i < COUNT(units) && !unit_ms; i++)
            if (span_is((struct span){rest.data, letters}, units[i].name)) unit_ms = units[i].unit_ms;
        if (!unit_ms || unit_ms >= last_unit_ms || number > (uint64_t)(longest_ms / unit_ms)) return false;
        total_ms += (int64_t)number * unit_ms;
        last_unit_ms = unit_ms;
        rest = (struct span){rest.data + letters, rest.size - letters};
    }
    *ret_ms = total_ms;
    return *text != 0 && total_ms <= longest_ms;
}

bool words_to_wall_ms(const char *text, int64_t *ret_ms) {
    static const char *const forms[] = {
        "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
        "%Y-%m-%d",          "%H:%M:%S",          "%H:%M"};
    for (size_t i = 0; i < COUNT(forms); i++) {
        time_t now = (time_t)(clock_wall_ms() / 1000);
        struct tm parts;
        localtime_r(&now, &parts);
        if (forms[i][1] == 'Y') parts = (struct tm){0};
        parts.tm_sec = 0;
        const char *end = strptime(text, forms[i], &parts);
        if (!end) continue;
        bool utc = strcmp(end, "Z") == 0 && forms[i][1] == 'Y';
        if (*end && !utc) continue;
        parts.tm_isdst = -1;
        time_t when = utc ? timegm(&parts) : mktime(&parts);
        if (forms[i][1] != 'Y' && when > now) { /* the last 14:05 was yesterday's */
            parts.tm_mday--;
            parts.tm_isdst = -1;
            when = mktime(&parts);
        }
        *ret_ms = (int64_t)when * 1000;
        return when >= 0;
    }
    return false;
}

/* Edits from one word to the other; a longer word than this is near to nothing. */
static size_t distance(const char *a, const char *b) {
    enum { LONGEST = 64 };
    size_t row[LONGEST + 1], a_size = strlen(a), b_size = strlen(b);
    if (a_size > LONGEST || b_size > LONGEST) return LONGEST;
    for (size_t j = 0; j <= b_size; j++) row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_size];
}

const char *words_nearest(const char *word, const char *(*name)(size_t i), size_t count) {
    const char *best = NULL;
    size_t least = 3; /* farther is another word */
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(word, name(i));
        bool begins = strlen(word) > 1 && span_starts(span_of(name(i)), word);
        if (begins) far = far > 1 ? 1 : far;
        if (far >= least || 2 * far > strlen(name(i))) continue;
        least = far;
        best = name(i);
    }
    return best;
}

void words_add_url(struct text *text, const char *value) {
    for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                     strchr("-_.~", *c);
        if (plain)
            text_add_char(text, (char)*c);
        else
            text_printf(text, "%%%02X", *c);
    }
}

void words_add_clean(struct text *text, struct span bytes) {
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        if (c == '\t')
            text_add_char(text, ' ');
        else if (c >= ' ' && c != 0x7f)
            text_add_char(text, (char)c);
    }
}
