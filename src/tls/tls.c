/* One context of OpenSSL at a time; connections hold theirs by a reference of their own. */
#include "inside.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

struct offer {
    const char *names; /* as ALPN writes them, the best first */
    unsigned size;
};
static const struct offer offers[] = {
    [TLS_HTTP1] = {"\x08http/1.1", 9},
    [TLS_HTTP2] = {"\x02h2\x08http/1.1", 12},
};

static int choose_protocol(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_size,
                           const unsigned char *offered, unsigned size, void *owner) {
    (void)owner;
    const struct offer *ours = SSL_get_app_data(ssl);
    unsigned char *chosen;
    int found = SSL_select_next_proto(&chosen, ret_size, (const unsigned char *)ours->names, ours->size,
                                      offered, size);
    *ret_chosen = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

struct error *tls_renew(struct tls *tls) {
    struct tls_stamp stamp;
    files_stamp(tls, &stamp); /* before the reading: what changes meanwhile is seen as a change */
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) {
        ERR_clear_error();
        return error_new(ERROR_RESOURCE_EXHAUSTED, "no memory for TLS");
    }
    struct error *error = files_load(tls, context);
    tls->stamp = stamp; /* a broken one is not tried again before it changes */
    if (error) {
        SSL_CTX_free(context);
        return error;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context,
                        SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS); /* an idle connection holds no buffers */
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_free(tls->context);
    tls->context = context;
    return NULL;
}

struct error *tls_open(const char *certificate, const char *key, struct tls **ret_tls) {
    scoped(tls) struct tls *tls = NEW(struct tls);
    tls->path[0] = mem_string(certificate);
    tls->path[1] = mem_string(key);
    TRY_PLAIN(tls_renew(tls));
    *ret_tls = take(tls);
    return NULL;
}

void tls_free(struct tls *tls) {
    if (!tls) return;
    watching_free(tls->watching);
    SSL_CTX_free(tls->context);
    free(tls->path[0]), free(tls->path[1]);
    free(tls);
}

struct ssl_st *tls_accept(struct tls *tls, enum tls_protocol protocol) {
    SSL *ssl = SSL_new(tls->context);
    if (!ssl) {
        ERR_clear_error();
        return NULL;
    }
    SSL_set_app_data(ssl, (void *)(uintptr_t)&offers[protocol]);
    SSL_set_accept_state(ssl);
    return ssl;
}

/* ---- what the certificate says ---- */

bool tls_names(const struct tls *tls, const char *host) {
    X509 *certificate = SSL_CTX_get0_certificate(tls->context);
    bool good =
        X509_check_host(certificate, host, 0, 0, NULL) == 1 || X509_check_ip_asc(certificate, host, 0) == 1;
    ERR_clear_error();
    return good;
}

char *tls_first_name(const struct tls *tls) {
    GENERAL_NAMES *names =
        X509_get_ext_d2i(SSL_CTX_get0_certificate(tls->context), NID_subject_alt_name, NULL, NULL);
    char *found = NULL;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        struct span text = {(const char *)ASN1_STRING_get0_data(name->d.dNSName),
                            (size_t)ASN1_STRING_length(name->d.dNSName)};
        if (text.size > 0 && !memchr(text.data, '*', text.size) && !memchr(text.data, '\0', text.size))
            found = span_string(text);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return found;
}

int64_t tls_expires_ms(const struct tls *tls) {
    struct tm utc = {0};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(tls->context)), &utc) != 1) return 0;
    return (int64_t)timegm(&utc) * 1000;
}

const char *tls_certificate_path(const struct tls *tls) {
    return tls->path[0];
}
