/* The two files: what may be wrong with them, told so that whoever reads it knows what to do. */
#include "inside.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

static const char *const kinds[2] = {"certificate", "key"};
static const char other_pair[] = "it belongs to another certificate; the two must have come together";

/* Not by OpenSSL, whose words for a file that is not there are of its own. */
static struct error *readable(const char *kind, const char *path) {
    FILE *file = fopen(path, "re");
    int why = errno;
    if (file) fclose(file);
    if (file) return NULL;
    const char *what = why == EACCES   ? ": catnap's user must be allowed to read it"
                       : why == ENOENT ? ": the configuration must name the PEM file"
                                       : "";
    return error_wrap(error_errno(why, "%s %s", kind, path), "%s can't be read%s", kind, what);
}

/* A group may read it (Debian's ssl-cert); everybody may not. */
static struct error *guarded(const char *path) {
    struct stat about;
    if (stat(path, &about) != 0 || (about.st_mode & 027) == 0) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION,
                     "key %s has the mode %04o: others than its owner may %s it; `chmod 600 %s`", path,
                     (unsigned)about.st_mode & 07777, about.st_mode & 022 ? "change" : "read", path);
}

/* What OpenSSL says, with what to do; clears its queue. */
static struct error *reason(const char *kind, const char *path, const char *hint) {
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return error_new(ERROR_FAILED_PRECONDITION, "%s %s: %s (%s)", kind, path,
                     text ? text : "it can't be used", hint);
}

static int no_passphrase(char *buffer, int size, int writing, void *owner) {
    (void)buffer;
    (void)size;
    (void)writing;
    (void)owner;
    return -1;
}

static void date_of(const ASN1_TIME *time, char *text, size_t size) {
    struct tm utc = {0};
    if (ASN1_TIME_to_tm(time, &utc) != 1 || strftime(text, size, "%Y-%m-%d %H:%M UTC", &utc) == 0)
        snprintf(text, size, "a time that can't be read");
}

static struct error *valid_now(const char *path, const X509 *certificate) {
    char date[40];
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
        date_of(X509_get0_notAfter(certificate), date, sizeof date);
        return error_new(
            ERROR_FAILED_PRECONDITION,
            "certificate %s expired on %s: no client takes it; renew it and put the new one there", path,
            date);
    }
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) <= 0) return NULL;
    date_of(X509_get0_notBefore(certificate), date, sizeof date);
    return error_new(ERROR_FAILED_PRECONDITION,
                     "certificate %s is not good before %s: is the clock of this machine right?", path, date);
}

struct error *files_load(const struct tls *tls, SSL_CTX *context) {
    const char *certificate = tls->path[0], *key = tls->path[1];
    for (int i = 0; i < 2; i++) TRY_PLAIN(readable(kinds[i], tls->path[i]));
    TRY_PLAIN(guarded(key));
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return reason("certificate", certificate,
                      "a chain of certificates in PEM is expected, the server's first");
    const X509 *ours = SSL_CTX_get0_certificate(context);
    bool taken = SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1;
    /* One of another kind (RSA, EC) is taken, and the certificate is put aside for it. */
    if (taken && SSL_CTX_get0_certificate(context) != ours)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "key %s: it is of another kind than the certificate's (%s)", key, other_pair);
    if (!taken && ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
        return reason("key", key, other_pair);
    if (!taken) return reason("key", key, "a private key in PEM without a passphrase is expected");
    return valid_now(certificate, ours);
}

void files_stamp(const struct tls *tls, struct tls_stamp *ret_stamp) {
    *ret_stamp = (struct tls_stamp){0};
    for (int i = 0; i < 2; i++) {
        struct stat about;
        if (stat(tls->path[i], &about) != 0) continue;
        ret_stamp->inode[i] = about.st_ino;
        ret_stamp->size[i] = (uint64_t)about.st_size;
        /* Also of a change of who may read it. */
        ret_stamp->changed_ns[i] = (int64_t)about.st_ctim.tv_sec * 1000000000 + about.st_ctim.tv_nsec;
    }
}
