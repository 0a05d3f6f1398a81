/* Durations and sizes as people write them.
 *
 * Both are read by hand with a check at every digit: what does not fit is an error with an example of what
 * would. */
#include "core.h"

#define MS_MAX (INT64_C(366) * 24 * 3600 * 1000) /* longer than any of our timers; far from an overflow */

static bool take_digit(struct span *rest, unsigned *ret_digit) {
    if (rest->size == 0 || rest->data[0] < '0' || rest->data[0] > '9') return false;
    *ret_digit = (unsigned)(rest->data[0] - '0');
    rest->data++;
    rest->size--;
    return true;
}

/* A number with at most three decimals, in thousandths; false where there is none or it is beyond
 * `max_thousandths`. */
static bool take_number(struct span *rest, uint64_t max_thousandths, uint64_t *ret_thousandths) {
    uint64_t value = 0, scale = 1000;
    unsigned digit = 0, digits = 0;
    for (; take_digit(rest, &digit); digits++) {
        value = value * 10 + (uint64_t)digit * 1000;
        if (value > max_thousandths) return false;
    }
    if (digits == 0) return false;
    if (rest->size > 0 && rest->data[0] == '.') {
        rest->data++;
        rest->size--;
        for (digits = 0; take_digit(rest, &digit); digits++) {
            scale /= 10;
            value += digit * scale;
        }
        if (digits == 0 || digits > 3) return false;
    }
    *ret_thousandths = value;
    return value <= max_thousandths;
}

static bool take_word(struct span *rest, const char *word) {
    if (!span_starts(*rest, word)) return false;
    rest->data += strlen(word);
    rest->size -= strlen(word);
    return true;
}

static struct error *bad_duration(const char *string) {
    return error_new(ERROR_INVALID_ARGUMENT,
                     "'%.40s' is no duration; e.g. 250ms, 10s, 2m, 1h30m, never, or seconds", string);
}

struct error *core_duration_parse(const char *string, int64_t *ret_ms) {
    static const struct {
        const char *name;
        uint64_t unit_ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}};
    struct span rest = span_trim(span_of(string));
    if (span_is(rest, "never")) {
        *ret_ms = CORE_NEVER;
        return NULL;
    }
    uint64_t total_ms = 0, largest_ms = UINT64_MAX; /* 1h30m, not 30m1h and not 5s5s */
    if (rest.size == 0) return bad_duration(string);
    for (bool first = true; rest.size > 0; first = false) {
        uint64_t thousandths = 0, unit_ms = 0;
        if (!take_number(&rest, (uint64_t)MS_MAX * 1000, &thousandths)) return bad_duration(string);
        if (rest.size == 0 && first) unit_ms = 1000;
        for (size_t i = 0; i < COUNT(units) && unit_ms == 0; i++)
            if (take_word(&rest, units[i].name)) unit_ms = units[i].unit_ms;
        if (unit_ms == 0 || unit_ms >= largest_ms) return bad_duration(string);
        largest_ms = unit_ms;
        if (thousandths / 1000 > (uint64_t)MS_MAX / unit_ms) return bad_duration(string);
        total_ms += thousandths * unit_ms / 1000;
        if (total_ms > (uint64_t)MS_MAX) return bad_duration(string);
    }
    *ret_ms = (int64_t)total_ms;
    return NULL;
}

static struct error *bad_size(const char *string) {
    return error_new(ERROR_INVALID_ARGUMENT, "'%.40s' is no size; e.g. 512M, 2GiB, 1.5G, or bytes", string);
}

struct error *core_size_parse(const char *string, uint64_t *ret_bytes) {
    static const char letters[] = "KMGT";
    static const uint64_t bytes_max = UINT64_C(1) << 50; /* 1 PiB */
    struct span rest = span_trim(span_of(string));
    uint64_t thousandths = 0;
    unsigned shift = 0;
    if (!take_number(&rest, bytes_max * 1000, &thousandths)) return bad_size(string);
    while (rest.size > 0 && rest.data[0] == ' ') take_word(&rest, " ");
    for (unsigned i = 0; rest.size > 0 && i < 4 && shift == 0; i++)
        if ((rest.data[0] & ~0x20) == letters[i]) shift = 10 * (i + 1);
    if (shift > 0) {
        rest.data++;
        rest.size--;
        if (!span_is(rest, "") && !span_is_nocase(rest, "b") && !span_is_nocase(rest, "ib"))
            return bad_size(string);
    } else if (rest.size > 0 && !span_is_nocase(rest, "b")) {
        return bad_size(string);
    }
    uint64_t whole = thousandths / 1000, part = thousandths % 1000;
    if (whole > bytes_max >> shift) return bad_size(string);
    *ret_bytes = (whole << shift) + (part << shift) / 1000;
    return NULL;
}
