/* SHA-256 by libcrypto. */
#include "base.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct sha256 {
    EVP_MD_CTX *context;
};

struct sha256 *sha256_new(void) {
    struct sha256 *sum = NEW(struct sha256);
    sum->context = EVP_MD_CTX_new();
    if (!sum->context || !EVP_DigestInit_ex(sum->context, EVP_sha256(), NULL)) abort();
    return sum;
}

void sha256_add(struct sha256 *sum, const void *data, size_t size_bytes) {
    if (!EVP_DigestUpdate(sum->context, data, size_bytes)) abort();
}

void sha256_hex(struct sha256 *sum, char out[SHA256_HEX_SIZE]) {
    unsigned char digest[32];
    if (!EVP_DigestFinal_ex(sum->context, digest, NULL)) abort();
    for (size_t i = 0; i < sizeof digest; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void sha256_free(struct sha256 *sum) {
    if (!sum) return;
    EVP_MD_CTX_free(sum->context);
    free(sum);
}

void sha256_of(struct span bytes, char out[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    sha256_add(sum, bytes.data, bytes.size);
    sha256_hex(sum, out);
}
