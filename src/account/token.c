/* Random texts that open doors. */
#include "inside.h"

#include <stdio.h>

void uuid_new(char out[UUID_SIZE]) {
    uint8_t b[16];
    random_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40), b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* version 4 */
    size_t at = 0;
    for (size_t i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out[at++] = '-';
        snprintf(out + at, 3, "%02x", b[i]);
        at += 2;
    }
}

/* Digits as 8-4-4-4-12 or all 32 together, as UUIDs are mostly written. */
bool uuid_is(const char *text) {
    size_t size = strlen(text), digits = 0;
    for (size_t i = 0; i < size; i++) {
        bool hyphen_place = size == UUID_SIZE - 1 && (i == 8 || i == 13 || i == 18 || i == 23);
        if (hyphen_place ? text[i] != '-' : !strchr("0123456789abcdefABCDEF", text[i])) return false;
        digits += !hyphen_place;
    }
    return digits == 32;
}

static void hex32(char out[33]) {
    uint8_t b[16];
    random_bytes(b, sizeof b);
    for (size_t i = 0; i < sizeof b; i++) snprintf(out + 2 * i, 3, "%02x", b[i]);
}

char *auth_token_new(void) {
    char hex[33];
    hex32(hex);
    return mem_printf("auth_%s", hex);
}

char *refresh_token_new(int64_t former_row) {
    char hex[33], id[ACCOUNT_ID_SIZE];
    hex32(hex);
    hashid_text("tabby-refresh-token", (uint64_t)former_row, id);
    return mem_printf("%s%s", id, hex);
}
