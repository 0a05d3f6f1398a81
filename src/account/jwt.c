/* Access tokens: JWT (RFC 7519) signed by HMAC-SHA-256, with {"exp", "iat", "sub"} and nothing else.
 *
 * The algorithm is ours to say, not the token's: "none" and all others are refused before anything is looked
 * at. */
#include "inside.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGNATURE_SIZE 32
#define TOKEN_BYTES_MAX 4096

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void add_base64url(struct text *out, struct span bytes) {
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        bits = bits << 8 | (uint8_t)bytes.data[i];
        for (count += 8; count >= 6; count -= 6) text_add_char(out, digits[bits >> (count - 6) & 63]);
    }
    if (count > 0) text_add_char(out, digits[bits << (6 - count) & 63]);
}

/* Without padding; bits behind the last byte must be 0, so that each token has one spelling. */
static bool base64url_read(struct span text, struct text *out) {
    uint32_t bits = 0;
    int count = 0;
    if (text.size % 4 == 1) return false;
    for (size_t i = 0; i < text.size; i++) {
        const char *place = text.data[i] ? strchr(digits, text.data[i]) : NULL;
        if (!place) return false;
        bits = bits << 6 | (uint32_t)(place - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            text_add_char(out, (char)(bits >> count & 255));
        }
    }
    return (bits & ((1u << count) - 1)) == 0;
}

static void sign(const char *secret, struct span text, unsigned char out[SIGNATURE_SIZE]) {
    unsigned size = SIGNATURE_SIZE;
    if (!HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text.data, text.size, out,
              &size))
        abort();
}

char *jwt_new(const char *secret, int64_t user, int64_t now_s) {
    struct text token = {0};
    char id[ACCOUNT_ID_SIZE];
    unsigned char signature[SIGNATURE_SIZE];
    account_id(user, id);
    long long now = now_s;
    scoped_string char *claims =
        mem_printf("{\"exp\":%lld,\"iat\":%lld,\"sub\":\"%s\"}", now + ACCESS_LIFE_S, now, id);
    add_base64url(&token, SPAN("{\"typ\":\"JWT\",\"alg\":\"HS256\"}"));
    text_add_char(&token, '.');
    add_base64url(&token, span_of(claims));
    sign(secret, text_span(&token), signature);
    text_add_char(&token, '.');
    add_base64url(&token, (struct span){(char *)signature, sizeof signature});
    return text_take(&token);
}

static json_t *part(struct span encoded) {
    scoped_text struct text text = {0};
    json_error_t unused;
    if (!base64url_read(encoded, &text)) return NULL;
    return json_loadb(text.data ? text.data : "", text.size, JSON_REJECT_DUPLICATES, &unused);
}

static bool is_signed(const char *secret, struct span signed_part, struct span encoded_signature) {
    scoped_text struct text given = {0};
    unsigned char wanted[SIGNATURE_SIZE];
    if (!base64url_read(encoded_signature, &given) || given.size != sizeof wanted) return false;
    sign(secret, signed_part, wanted);
    return CRYPTO_memcmp(given.data, wanted, sizeof wanted) == 0;
}

struct error *jwt_read(const char *secret, struct span token, int64_t now_s, int64_t *ret_user) {
    struct span rest = token, head = span_cut(&rest, '.'), claims_text = span_cut(&rest, '.');
    if (token.size > TOKEN_BYTES_MAX || !rest.data || memchr(rest.data, '.', rest.size))
        return error_new(ERROR_UNAUTHENTICATED, "no access token");
    scoped_json json_t *header = part(head);
    const char *algorithm = json_string_value(json_object_get(header, "alg"));
    if (!algorithm || strcmp(algorithm, "HS256") != 0)
        return error_new(ERROR_UNAUTHENTICATED, "an access token of another kind");
    struct span signed_part = {token.data, (size_t)(rest.data - token.data) - 1};
    if (!is_signed(secret, signed_part, rest))
        return error_new(ERROR_UNAUTHENTICATED, "the access token is not signed by this server");
    scoped_json json_t *claims = part(claims_text);
    const json_t *exp = json_object_get(claims, "exp"), *sub = json_object_get(claims, "sub");
    if (!json_is_integer(exp) || !json_is_string(sub))
        return error_new(ERROR_UNAUTHENTICATED, "the access token lacks exp or sub");
    if (json_integer_value(exp) <= now_s)
        return error_new(ERROR_UNAUTHENTICATED, "the access token has expired");
    if (!account_row((struct span){json_string_value(sub), json_string_length(sub)}, ret_user))
        return error_new(ERROR_UNAUTHENTICATED, "the access token names no user");
    return NULL;
}
