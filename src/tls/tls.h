/* tls: a certificate and its key, from their two files to connections of OpenSSL.
 *
 * Read as a whole and replaced as a whole: a renewed certificate serves what connects from then on, one that
 * can't be used leaves the old one in place. Never asks a terminal for a passphrase. What goes over a
 * connection is the business of http and grpc. */
#pragma once
#include "io.h"

struct ssl_st; /* OpenSSL's SSL */

struct tls;
/* PEM files: the chain in order, and the key. FAILED_PRECONDITION or NOT_FOUND, and the text says which file
 * and what to do: missing, unreadable, of another key, not valid any more or not yet, a key that everybody
 * may read. */
must_check struct error *tls_open(const char *certificate, const char *key, struct tls **ret_tls);
/* Reads both files anew; on an error all stays as it was. */
must_check struct error *tls_renew(struct tls *tls);
/* From now on the files are read again when they change. `renewed` comes after each try and owns the error.
 */
must_check struct error *tls_watch(struct tls *tls, struct io_loop *loop,
                                   void (*renewed)(void *owner, struct tls *tls, struct error *error),
                                   void *owner);
void tls_free(struct tls *tls); /* connections that are up stay so */
DEFINE_SCOPED(tls)

enum tls_protocol {
    TLS_HTTP1, /* http/1.1 */
    TLS_HTTP2  /* h2; who offers http/1.1 alone is let in, to be told in words */
};
/* The server's side of a new connection, without a socket yet. A client that offers other protocols only is
 * refused by alert. OpenSSL writes to sockets that are gone: a program with TLS ignores SIGPIPE. NULL: no
 * memory. */
struct ssl_st *tls_accept(struct tls *tls, enum tls_protocol protocol);

bool tls_names(const struct tls *tls,
               const char *host); /* a client that asks for it by that name is content */
/* The first name that is no pattern; owned by the caller, NULL: there is none. */
char *tls_first_name(const struct tls *tls);
int64_t tls_expires_ms(const struct tls *tls); /* wall clock */
const char *tls_certificate_path(const struct tls *tls);
