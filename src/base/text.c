/* Bytes being built. The buffer doubles; one byte more than `size` is always there for the NUL. */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>

char *text_reserve(struct text *text, size_t more_bytes) {
    size_t need = text->size + more_bytes + 1;
    if (need > text->capacity) {
        size_t capacity = text->capacity ? text->capacity : 64;
        while (capacity < need) capacity *= 2;
        text->data = mem_grow(text->data, capacity, 1);
        text->capacity = capacity;
    }
    return text->data + text->size;
}

void text_add(struct text *text, struct span bytes) {
    char *at = text_reserve(text, bytes.size);
    if (bytes.size) memcpy(at, bytes.data, bytes.size);
    text->size += bytes.size;
    text->data[text->size] = '\0';
}

void text_add_string(struct text *text, const char *string) {
    text_add(text, span_of(string));
}
void text_add_char(struct text *text, char c) {
    text_add(text, (struct span){&c, 1});
}

void text_printf(struct text *text, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    char *at = text_reserve(text, 127);
    int size = vsnprintf(at, 128, format, args);
    va_end(args);
    if (size > 127) {
        at = text_reserve(text, (size_t)size);
        vsnprintf(at, (size_t)size + 1, format, again);
    }
    va_end(again);
    if (size > 0) text->size += (size_t)size;
}

size_t utf8_size(struct span rest) {
    const unsigned char *c = (const unsigned char *)rest.data;
    size_t size = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
    if (size > rest.size) return 0;
    for (size_t i = 1; i < size; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    if (c[0] == 0xe0 && c[1] < 0xa0) return 0;
    if (c[0] == 0xed && c[1] > 0x9f) return 0;
    if (c[0] == 0xf0 && c[1] < 0x90) return 0;
    if (c[0] == 0xf4 && c[1] > 0x8f) return 0;
    return size;
}

static void add_ascii(struct text *text, char c) {
    switch (c) {
    case '"': text_add_string(text, "\\\""); return;
    case '\\': text_add_string(text, "\\\\"); return;
    case '\n': text_add_string(text, "\\n"); return;
    case '\r': text_add_string(text, "\\r"); return;
    case '\t': text_add_string(text, "\\t"); return;
    default: break;
    }
    if ((unsigned char)c < 0x20)
        text_printf(text, "\\u%04x", c);
    else
        text_add_char(text, c);
}

void text_add_json(struct text *text, struct span utf8) {
    text_add_char(text, '"');
    while (utf8.size) {
        size_t size = utf8_size(utf8);
        if (size == 0) {
            text_add_string(text, "\xef\xbf\xbd");
            size = 1;
        } else if (size == 1) {
            add_ascii(text, utf8.data[0]);
        } else {
            text_add(text, (struct span){utf8.data, size});
        }
        utf8 = (struct span){utf8.data + size, utf8.size - size};
    }
    text_add_char(text, '"');
}

void text_remove_front(struct text *text, size_t bytes) {
    if (bytes >= text->size) {
        text_clear(text);
        return;
    }
    memmove(text->data, text->data + bytes, text->size - bytes + 1);
    text->size -= bytes;
}

void text_clear(struct text *text) {
    text->size = 0;
    if (text->data) text->data[0] = '\0';
}

void text_done(struct text *text) {
    free(text->data);
    *text = (struct text){0};
}

char *text_take(struct text *text) {
    char *data = text->data ? text->data : mem_string("");
    *text = (struct text){0};
    return data;
}
