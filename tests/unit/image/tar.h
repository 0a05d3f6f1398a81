/* Tars made byte by byte, so that a test can say what no well-meaning program would write. */
#pragma once
#include <stdio.h>

#include "base.h"

struct tar_entry {
    char kind; /* '0' file, '1' hard link, '2' symlink, '3' char device, '5' directory, '6' fifo */
    const char *name, *target, *content;
    unsigned mode, uid, gid;
    unsigned long mtime;
};

static inline void tar_octal(char *field, size_t digits, unsigned long value) {
    for (; digits > 0; value /= 8) field[--digits] = (char)('0' + value % 8);
}

static inline void tar_add(struct text *tar, const struct tar_entry *entry) {
    char head[512] = {0};
    size_t size = entry->content ? strlen(entry->content) : 0;
    snprintf(head, 100, "%s", entry->name);
    tar_octal(head + 100, 7, entry->mode ? entry->mode : 0644);
    tar_octal(head + 108, 7, entry->uid);
    tar_octal(head + 116, 7, entry->gid);
    tar_octal(head + 124, 11, size);
    tar_octal(head + 136, 11, entry->mtime ? entry->mtime : 1000000000UL);
    head[156] = entry->kind;
    if (entry->target) snprintf(head + 157, 100, "%s", entry->target);
    memcpy(head + 257, "ustar\00000", 8);
    memset(head + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof head; i++) sum += (unsigned char)head[i];
    tar_octal(head + 148, 6, sum);
    head[154] = 0;
    text_add(tar, (struct span){head, sizeof head});
    if (size) text_add(tar, (struct span){entry->content, size});
    static const char zeros[512];
    text_add(tar, (struct span){zeros, (512 - size % 512) % 512});
}

static inline void tar_end(struct text *tar) {
    static const char zeros[1024];
    text_add(tar, (struct span){zeros, sizeof zeros});
}
