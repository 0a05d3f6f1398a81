/* What the files of tls share. */
#pragma once
#include "tls.h"

#include <openssl/ssl.h>

struct tls_stamp { /* which files they are: another one, or other bytes, tells itself here */
    uint64_t inode[2], size[2];
    int64_t changed_ns[2];
};
struct tls {
    SSL_CTX *context;
    char *path[2]; /* certificate, key */
    struct tls_stamp stamp;
    struct watching *watching; /* NULL: nobody wants to know */
};

/* files.c */
must_check struct error *files_load(const struct tls *tls, SSL_CTX *context);
void files_stamp(const struct tls *tls, struct tls_stamp *ret_stamp);

/* watch.c */
void watching_free(struct watching *watching);
