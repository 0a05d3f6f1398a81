/* Passwords as argon2id hashes in PHC strings, with the parameters that Tabby writes (RFC 9106 has them as
 * OWASP's second choice); what is read may have others. */
#include "inside.h"

#include <argon2.h>
#include <stdlib.h>

#define MEMORY_KIB 19456
#define PASSES 2
#define LANES 1
#define SALT_BYTES 16
#define HASH_BYTES 32
#define ENCODED_SIZE 160

char *password_hash(const char *password) {
    char salt[SALT_BYTES], encoded[ENCODED_SIZE];
    random_bytes(salt, sizeof salt);
    int result = argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, password, strlen(password), salt,
                                       sizeof salt, HASH_BYTES, encoded, sizeof encoded);
    if (result != ARGON2_OK) abort(); /* out of memory: the parameters are constants */
    return mem_string(encoded);
}

bool password_fits(const char *password, const char *hash) {
    /* libargon2 reads the kind from the call, not from the text. */
    argon2_type type = strncmp(hash, "$argon2id$", 10) == 0 ? Argon2_id
                       : strncmp(hash, "$argon2i$", 9) == 0 ? Argon2_i
                                                            : Argon2_d;
    return argon2_verify(hash, password, strlen(password), type) == ARGON2_OK;
}

void password_waste(const char *password) {
    char salt[SALT_BYTES] = "no user is here";
    unsigned char hash[HASH_BYTES];
    argon2id_hash_raw(PASSES, MEMORY_KIB, LANES, password, strlen(password), salt, sizeof salt, hash,
                      sizeof hash);
}
