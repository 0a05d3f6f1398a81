/* Names of blobs, found in whatever clients wrote into arguments, results and records: what is missed would
 * be removed under somebody's hands. Each that stands in the bytes is found, also behind others and at the
 * end. */
#include "store.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static bool is_digest(const char *text) {
    return strspn(text, "0123456789abcdef") >= SHA256_HEX_SIZE - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct text bytes = {0}, names = {0}, more = {0};
    text_add(&bytes, (struct span){(const char *)data, size});
    store_names_add(&names, text_span(&bytes));
    if (names.size % (SHA256_HEX_SIZE - 1) != 0) __builtin_trap();
    for (size_t i = 0; i < names.size; i += SHA256_HEX_SIZE - 1) {
        char digest[SHA256_HEX_SIZE] = "";
        memcpy(digest, names.data + i, SHA256_HEX_SIZE - 1);
        char *name = mem_printf(STORE_BLOB_NAME "%s", digest);
        if (!is_digest(digest) || !memmem(bytes.data, bytes.size, name, strlen(name))) __builtin_trap();
        free(name);
    }
    text_add_string(&bytes, " " STORE_BLOB_NAME DIGEST);
    store_names_add(&more, text_span(&bytes));
    if (more.size != names.size + SHA256_HEX_SIZE - 1) __builtin_trap();
    if (memcmp(more.data + names.size, DIGEST, SHA256_HEX_SIZE - 1) != 0) __builtin_trap();
    text_done(&bytes), text_done(&names), text_done(&more);
    return 0;
}
