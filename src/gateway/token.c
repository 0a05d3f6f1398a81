/* Functions that not everybody may ask: whoever does brings a proxy's token, as Modal's clients and their
 * users know it: Modal-Key and Modal-Secret, or both in one, Authorization: Bearer wk-....ws-.... Checked
 * before anything wakes; what the app gets of it is the key, so that it knows who asks, and no secret. */
#include "inside.h"

#define BEARER "Bearer "

/* "Bearer wk-1.ws-2": false where it is another kind of authorization, an app's own. */
static bool bearer(struct span value, struct span *ret_id, struct span *ret_secret) {
    if (value.size <= strlen(BEARER)) return false;
    struct span scheme = {value.data, strlen(BEARER)};
    struct span rest = {value.data + scheme.size, value.size - scheme.size};
    if (!span_equal_nocase(scheme, SPAN(BEARER)) || !span_starts(rest, "wk-")) return false;
    *ret_id = span_cut(&rest, '.');
    *ret_secret = rest;
    return rest.data != NULL;
}

bool gateway_keeps(struct span name, struct span value) {
    struct span id, secret;
    if (name.size == strlen("modal-secret")) return span_is_nocase(name, "modal-secret");
    return name.size == strlen("authorization") && span_is_nocase(name, "authorization") &&
           bearer(value, &id, &secret);
}

bool token_check(const struct gateway *gateway, struct http_exchange *exchange,
                 const struct core_function *function) {
    if (!function->proxy_auth) return true;
    struct span id = http_exchange_header(exchange, "modal-key");
    struct span secret = http_exchange_header(exchange, "modal-secret");
    bool told =
        (id.data && secret.data) || bearer(http_exchange_header(exchange, "authorization"), &id, &secret);
    if (told && gateway->token_good && gateway->token_good(gateway->token_owner, id, secret)) return true;
    answer_refusal(
        exchange,
        &(struct refusal){
            .status = 401,
            .code = "UNAUTHENTICATED",
            .reason = told ? "TOKEN_UNKNOWN" : "TOKEN_MISSING",
            .text = told ? "this token is not known here, or not any more: `catnap token new --proxy NAME` "
                           "makes another"
                         : "this function asks for a token in the headers Modal-Key and Modal-Secret: "
                           "`catnap token new --proxy NAME` makes one",
        });
    return false;
}
