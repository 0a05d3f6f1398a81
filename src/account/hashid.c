/* Hashids (hashids.org, version 1.0), for one number each: row numbers as short texts that don't count.
 *
 * All constants of the alphabet are worked out here from the salt each time: it is some hundred steps. The
 * texts are part of what clients keep, so neither the salt nor the length may ever change. */
#include "inside.h"

#include <stdio.h>

#define LENGTH_MIN 6
#define ALPHABET "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890"
#define SEPARATORS "cfhistuCFHISTU"

struct letters {
    char alphabet[64], separators[64], guards[64];
};

static void shuffle(char *letters, size_t count, const char *salt, size_t salt_size) {
    if (salt_size == 0) return;
    size_t sum = 0;
    for (size_t i = count - 1, v = 0; i > 0 && count > 0; i--, v++) {
        v %= salt_size;
        size_t value = (unsigned char)salt[v];
        sum += value;
        size_t j = (value + v + sum) % i;
        char other = letters[j];
        letters[j] = letters[i];
        letters[i] = other;
    }
}

static void move_front(char *from, size_t count, char *to) {
    size_t size = strlen(from), at = strlen(to);
    memcpy(to + at, from, count);
    to[at + count] = 0;
    memmove(from, from + count, size - count + 1);
}

static void prepare(const char *salt, struct letters *out) {
    *out = (struct letters){0};
    memcpy(out->separators, SEPARATORS, sizeof SEPARATORS);
    size_t size = 0;
    for (const char *c = ALPHABET; *c; c++)
        if (!strchr(SEPARATORS, *c)) out->alphabet[size++] = *c;
    shuffle(out->separators, strlen(out->separators), salt, strlen(salt));
    size_t wanted = (size * 2 + 6) / 7; /* one separator for 3.5 letters, rounded up */
    size_t have = strlen(out->separators);
    if (wanted > have) move_front(out->alphabet, wanted - have, out->separators);
    size = strlen(out->alphabet);
    shuffle(out->alphabet, size, salt, strlen(salt));
    move_front(out->alphabet, (size + 11) / 12, out->guards);
}

/* The alphabet that the number after this lottery letter is written in. */
static void alphabet_of(struct letters *letters, char lottery, const char *salt) {
    char buffer[192];
    int size = snprintf(buffer, sizeof buffer, "%c%s%s", lottery, salt, letters->alphabet);
    size_t count = strlen(letters->alphabet);
    if ((size_t)size > count) buffer[count] = 0;
    shuffle(letters->alphabet, count, buffer, strlen(buffer));
}

void hashid_text(const char *salt, uint64_t number, char out[ACCOUNT_ID_SIZE]) {
    struct letters letters;
    prepare(salt, &letters);
    size_t count = strlen(letters.alphabet);
    uint64_t sum = number % 100;
    char digits[24], text[96];
    char lottery = letters.alphabet[sum % count];
    alphabet_of(&letters, lottery, salt);
    size_t at = sizeof digits;
    uint64_t left = number;
    do digits[--at] = letters.alphabet[left % count];
    while ((left /= count) > 0);
    int size = snprintf(text, sizeof text, "%c%.*s", lottery, (int)(sizeof digits - at), digits + at);
    size_t guards = strlen(letters.guards);
    if (size < LENGTH_MIN) {
        char guarded[96];
        char guard = letters.guards[(sum + (unsigned char)text[0]) % guards];
        size = snprintf(guarded, sizeof guarded, "%c%s", guard, text);
        if (size < LENGTH_MIN) {
            guarded[size] = letters.guards[(sum + (unsigned char)guarded[2]) % guards];
            guarded[++size] = 0;
        }
        memcpy(text, guarded, (size_t)size + 1);
    }
    if (size < LENGTH_MIN) { /* half of the alphabet on each side, and the middle of all of it */
        char salt_of_all[64], padded[192];
        memcpy(salt_of_all, letters.alphabet, count + 1);
        shuffle(letters.alphabet, count, salt_of_all, count);
        size_t half = count / 2;
        int whole = snprintf(padded, sizeof padded, "%s%s%.*s", letters.alphabet + half, text, (int)half,
                             letters.alphabet);
        memcpy(text, padded + (whole - LENGTH_MIN) / 2, LENGTH_MIN);
        text[LENGTH_MIN] = 0;
    }
    memcpy(out, text, strnlen(text, ACCOUNT_ID_SIZE - 1) + 1); /* 64 bits take less than half of it */
}

bool hashid_number(const char *salt, struct span text, uint64_t *ret_number) {
    struct letters letters;
    if (text.size < LENGTH_MIN || text.size >= ACCOUNT_ID_SIZE || memchr(text.data, 0, text.size))
        return false;
    prepare(salt, &letters);
    char whole[ACCOUNT_ID_SIZE];
    memcpy(whole, text.data, text.size);
    whole[text.size] = 0;
    char *from = whole, *end = strpbrk(whole, letters.guards);
    if (end) { /* what stands between the guards, or behind the only one */
        from = end + 1;
        end = strpbrk(from, letters.guards);
        if (end) *end = 0;
    }
    if (!*from) return false;
    alphabet_of(&letters, *from, salt);
    size_t count = strlen(letters.alphabet);
    uint64_t number = 0;
    for (const char *c = from + 1; *c; c++) {
        const char *place = strchr(letters.alphabet, *c);
        if (!place || number > (UINT64_MAX - count) / count) return false;
        number = number * count + (uint64_t)(place - letters.alphabet);
    }
    char again[ACCOUNT_ID_SIZE];
    hashid_text(salt, number, again);
    if (!span_is(text, again)) return false; /* other spellings are not ours */
    *ret_number = number;
    return true;
}

#define ID_SALT "tabby-id-serializer"
#define CONFIG_SALT "tabby-config-id-serializer"

void account_config_id(size_t place, char out[ACCOUNT_ID_SIZE]) {
    hashid_text(CONFIG_SALT, place, out);
}

void account_id(int64_t row, char out[ACCOUNT_ID_SIZE]) {
    hashid_text(ID_SALT, (uint64_t)row, out);
}

bool account_row(struct span id, int64_t *ret_row) {
    uint64_t number = 0;
    if (!hashid_number(ID_SALT, id, &number) || number > INT64_MAX) return false;
    *ret_row = (int64_t)number;
    return true;
}
