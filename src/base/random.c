/* Random bytes from the kernel, and ids made of them. */
#include "base.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *out, size_t size_bytes) {
    char *at = out;
    while (size_bytes) {
        ssize_t got = getrandom(at, size_bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) abort();
        at += got;
        size_bytes -= (size_t)got;
    }
}

char *random_id(const char *prefix) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char bytes[16];
    random_bytes(bytes, sizeof bytes);
    char id[sizeof bytes + 1] = "";
    for (size_t i = 0; i < sizeof bytes; i++) id[i] = letters[bytes[i] % (sizeof letters - 1)];
    return mem_printf("%s-%s", prefix, id);
}
