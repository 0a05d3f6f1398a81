/* Borrowed bytes: comparing, trimming, cutting, numbers. */
#include "base.h"

#include <ctype.h>
#include <strings.h>

bool span_equal(struct span a, struct span b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool span_equal_nocase(struct span a, struct span b) {
    return a.size == b.size && (a.size == 0 || strncasecmp(a.data, b.data, a.size) == 0);
}

bool span_is(struct span a, const char *string) {
    return span_equal(a, span_of(string));
}
bool span_is_nocase(struct span a, const char *string) {
    return span_equal_nocase(a, span_of(string));
}

bool span_starts(struct span a, const char *prefix) {
    size_t size = strlen(prefix);
    return a.size >= size && (size == 0 || memcmp(a.data, prefix, size) == 0);
}

bool span_ends(struct span a, const char *suffix) {
    size_t size = strlen(suffix);
    return a.size >= size && (size == 0 || memcmp(a.data + a.size - size, suffix, size) == 0);
}

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span a) {
    while (a.size && blank(a.data[0])) a = (struct span){a.data + 1, a.size - 1};
    while (a.size && blank(a.data[a.size - 1])) a.size--;
    return a;
}

struct span span_cut(struct span *rest, char separator) {
    const char *at = rest->size ? memchr(rest->data, separator, rest->size) : NULL;
    struct span before = *rest;
    if (!at) {
        *rest = (struct span){NULL, 0};
        return before;
    }
    before.size = (size_t)(at - rest->data);
    *rest = (struct span){at + 1, rest->size - before.size - 1};
    return before;
}

bool span_to_u64(struct span a, uint64_t *ret_value) {
    uint64_t value = 0;
    if (a.size == 0) return false;
    for (size_t i = 0; i < a.size; i++) {
        if (!isdigit((unsigned char)a.data[i])) return false;
        if (__builtin_mul_overflow(value, 10u, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(a.data[i] - '0'), &value)) return false;
    }
    *ret_value = value;
    return true;
}

bool span_to_i64(struct span a, int64_t *ret_value) {
    bool negative = a.size && a.data[0] == '-';
    if (negative) a = (struct span){a.data + 1, a.size - 1};
    uint64_t value;
    if (!span_to_u64(a, &value) || value > (uint64_t)INT64_MAX + negative) return false;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

char *span_string(struct span a) {
    return mem_string_n(a.data, a.size);
}
