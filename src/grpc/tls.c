/* Certificates: one context a listener, read from its two files, replaced as a whole when they are renewed. A
 * client that offers protocols by ALPN must offer h2; one that offers http/1.1 alone is let in, to be told in
 * words. Never asks a terminal for a passphrase. */
#include "inside.h"

#include <openssl/err.h>
#include <stdlib.h>

struct tls {
    SSL_CTX *context;
    char *certificate, *key;
};

/* The reason that OpenSSL gives, with a code that fits; clears its queue. */
static struct error *reason(const char *what, const char *path) {
    unsigned long code = ERR_peek_last_error(), first = ERR_peek_error();
    bool system = ERR_SYSTEM_ERROR(first);
    int why = ERR_GET_REASON(first);
    const char *text = ERR_reason_error_string(code);
    ERR_clear_error();
    if (system) return error_errno(why, "%s %s", what, path);
    return error_new(ERROR_FAILED_PRECONDITION, "%s %s: %s", what, path, text ? text : "it cannot be used");
}

static int no_passphrase(char *buffer, int size, int writing, void *owner) {
    (void)buffer;
    (void)size;
    (void)writing;
    (void)owner;
    return -1;
}

static int choose_protocol(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_size,
                           const unsigned char *offered, unsigned size, void *owner) {
    (void)ssl;
    (void)owner;
    static const unsigned char known[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    int found = SSL_select_next_proto(&chosen, ret_size, known, sizeof known - 1, offered, size);
    *ret_chosen = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static struct error *load(SSL_CTX *context, const char *certificate, const char *key) {
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return reason("certificate", certificate);
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) return reason("key", key);
    return NULL;
}

struct error *tls_renew(struct tls *tls, SSL_CTX **ret_context) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) return reason("TLS for", tls->certificate);
    struct error *error = load(context, tls->certificate, tls->key);
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
    *ret_context = context;
    return NULL;
}

void tls_use(struct tls *tls, SSL_CTX *taken_context) {
    SSL_CTX_free(tls->context); /* connections hold it by reference of their own */
    tls->context = taken_context;
}

struct error *tls_new(const char *certificate, const char *key, struct tls **ret_tls) {
    struct tls *tls = NEW(struct tls);
    tls->certificate = mem_string(certificate);
    tls->key = mem_string(key);
    SSL_CTX *context;
    struct error *error = tls_renew(tls, &context);
    if (error) {
        tls_free(tls);
        return error;
    }
    tls_use(tls, context);
    *ret_tls = tls;
    return NULL;
}

SSL *tls_accept(struct tls *tls) {
    SSL *ssl = SSL_new(tls->context);
    if (!ssl) ERR_clear_error();
    return ssl;
}

void tls_free(struct tls *tls) {
    if (!tls) return;
    SSL_CTX_free(tls->context);
    free(tls->certificate);
    free(tls->key);
    free(tls);
}
