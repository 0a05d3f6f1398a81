/* Time spans, base64 and percent-encoding: see codec.h. */
#include "codec.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool codec_timeout(struct span text, int64_t *ret_ms) {
    uint64_t value;
    if (text.size < 2 || text.size > 9) return false;
    if (!span_to_u64((struct span){text.data, text.size - 1}, &value)) return false;
    switch (text.data[text.size - 1]) {
    case 'H': *ret_ms = (int64_t)value * 3600 * 1000; return true;
    case 'M': *ret_ms = (int64_t)value * 60 * 1000; return true;
    case 'S': *ret_ms = (int64_t)value * 1000; return true;
    case 'm': *ret_ms = (int64_t)value; return true;
    case 'u': *ret_ms = (int64_t)(value + 999) / 1000; return true;
    case 'n': *ret_ms = (int64_t)(value + 999999) / 1000000; return true;
    default: return false;
    }
}

static int sextet(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool codec_unbase64(struct span text, struct text *bytes) {
    if (text.size % 4 == 0)
        for (int i = 0; i < 2 && text.size > 0 && text.data[text.size - 1] == '='; i++) text.size--;
    if (text.size % 4 == 1) return false;
    text_reserve(bytes, text.size / 4 * 3 + 3);
    unsigned held = 0, bits = 0;
    for (size_t i = 0; i < text.size; i++) {
        int value = sextet(text.data[i]);
        if (value < 0) return false;
        held = (held << 6 | (unsigned)value) & 0xffff;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        bytes->data[bytes->size++] = (char)(held >> bits);
    }
    bytes->data[bytes->size] = '\0';
    return true;
}

void codec_base64(struct span bytes, struct text *text) {
    unsigned held = 0, bits = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        held = (held << 8 | (unsigned char)bytes.data[i]) & 0xffff;
        for (bits += 8; bits >= 6;) {
            bits -= 6;
            text_add_char(text, digits[held >> bits & 63]);
        }
    }
    if (bits > 0) text_add_char(text, digits[held << (6 - bits) & 63]);
}

static void escape(struct text *text, char c) {
    static const char hex[] = "0123456789ABCDEF";
    char escaped[3] = {'%', hex[(unsigned char)c >> 4], hex[c & 15]};
    text_add(text, (struct span){escaped, 3});
}

static bool printable(char c) {
    return c >= ' ' && c <= '~';
}

void codec_message(struct span utf8, size_t limit, struct text *text) {
    size_t begun = text->size, whole = text->size; /* `whole`: up to the last character that is all there */
    for (size_t i = 0; i < utf8.size; i++) {
        char c = utf8.data[i];
        if (((unsigned char)c & 0xc0) != 0x80) whole = text->size;
        if (printable(c) && c != '%') {
            text_add_char(text, c);
        } else {
            escape(text, c);
        }
        if (text->size - begun <= limit) continue;
        text->size = whole;
        text->data[whole] = '\0';
        return;
    }
}

void grpc_percent_encode(struct span bytes, struct text *text) {
    codec_message(bytes, SIZE_MAX, text);
}

void codec_value(struct span bytes, struct text *text) {
    for (size_t i = 0; i < bytes.size; i++) {
        if (printable(bytes.data[i])) {
            text_add_char(text, bytes.data[i]);
        } else {
            escape(text, bytes.data[i]);
        }
    }
}
