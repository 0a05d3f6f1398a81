/* Which door speaks TLS: the gateway with `certificate` and `key`; Modal's clients with these too where other
 * machines can reach them (no certificate names 127.0.0.1, and nothing of it leaves this machine), or with
 * `modal_certificate` and `modal_key` wherever they ask. Read again on SIGHUP, and when the files change; one
 * that can't be used leaves the old one in place. */
#include "certificate.h"

#include <signal.h>
#include <stdlib.h>

#define SOON_MS (14 * INT64_C(86400000))

struct door {
    struct tls *tls;
    char *name;
};
struct certificates {
    struct io_signal *hangup;
    struct door gateway, modal; /* with one and the same pair of files: the same tls */
};

static void tell(void *owner, struct tls *tls, struct error *taken_error) {
    (void)owner;
    scoped(error) struct error *error = taken_error;
    long long left_days = (tls_expires_ms(tls) - clock_wall_ms()) / 86400000;
    if (error) {
        scoped_string char *text = error_text(error);
        log_error("daemon", "the old certificate stays in use, good for %lld days: %s", left_days, text);
        return;
    }
    log_info("daemon", "certificate %s is in use, good for %lld days", tls_certificate_path(tls), left_days);
    if (tls_expires_ms(tls) - clock_wall_ms() < SOON_MS)
        log_warn("daemon", "certificate %s ends in %lld days: is it being renewed?",
                 tls_certificate_path(tls), left_days);
}

static void on_hangup(void *owner, int signo) {
    struct certificates *certificates = owner;
    struct tls *gateway = certificates->gateway.tls, *modal = certificates->modal.tls;
    (void)signo;
    if (!gateway && !modal) log_info("daemon", "SIGHUP: there is no certificate that could be read again");
    if (gateway) tell(NULL, gateway, tls_renew(gateway));
    if (modal && modal != gateway) tell(NULL, modal, tls_renew(modal));
}

static struct error *open_pair(struct io_loop *loop, const char *keys, const char *certificate,
                               const char *key, struct tls **ret_tls) {
    if (!certificate && !key) return NULL;
    if (!certificate || !key)
        return error_new(ERROR_INVALID_ARGUMENT, "%s in the configuration: only one of the two is there",
                         keys);
    TRY(tls_open(certificate, key, ret_tls), "%s in the configuration", keys);
    tell(NULL, *ret_tls, NULL);
    struct error *error = tls_watch(*ret_tls, loop, tell, NULL);
    if (!error) return NULL;
    scoped_string char *text = error_text(error);
    log_warn("daemon", "a new certificate is read by SIGHUP only: %s", text);
    error_free(error);
    return NULL;
}

/* What to call a door, so that who comes by that name is content. */
static char *name_of(const struct tls *tls, const char *address, const char *domain) {
    const char *colon = strrchr(address, ':');
    scoped_string char *host = span_string((struct span){address, colon ? (size_t)(colon - address) : 0});
    const char *const names[] = {host, domain, "localhost", "127.0.0.1"};
    bool here = config_is_loopback(address);
    for (size_t i = 0; i < (here ? COUNT(names) : 2); i++)
        if (*names[i] && tls_names(tls, names[i])) return mem_string(names[i]);
    char *first = tls_first_name(tls);
    if (first) return first;
    /* Patterns alone: a name that leads here as all functions' do. */
    scoped_string char *beside = mem_printf("catnap.%s", domain);
    return mem_string(tls_names(tls, beside) || !*host ? beside : host);
}

/* Who deploys would see nothing, and each browser complain. */
static void check_domain(const struct tls *tls, const char *domain) {
    scoped_string char *label = mem_printf("app.%s", domain);
    if (tls_names(tls, label)) return;
    log_warn(
        "daemon",
        "certificate %s is not good for *.%s, where functions are: clients will refuse it (`domain` in the "
        "configuration says where they are)",
        tls_certificate_path(tls), domain);
}

struct error *certificates_open(struct io_loop *loop, const struct config *config,
                                struct certificates **ret_certificates) {
    struct certificates *certificates = *ret_certificates = NEW(struct certificates);
    struct door *gateway = &certificates->gateway, *modal = &certificates->modal;
    certificates->hangup = io_signal_new(loop, SIGHUP, on_hangup, certificates);
    TRY_PLAIN(open_pair(loop, "certificate and key", config->certificate, config->key, &gateway->tls));
    TRY_PLAIN(open_pair(loop, "modal_certificate and modal_key", config->modal_certificate, config->modal_key,
                        &modal->tls));
    if (gateway->tls) {
        check_domain(gateway->tls, config->domain);
        gateway->name = name_of(gateway->tls, config->gateway, config->domain);
    }
    bool open = strcmp(config->modal, "off") != 0 && !config_is_loopback(config->modal);
    if (!modal->tls && open) modal->tls = gateway->tls;
    if (modal->tls) modal->name = name_of(modal->tls, config->modal, config->domain);
    return NULL;
}

void certificates_free(struct certificates *certificates) {
    if (!certificates) return;
    io_signal_free(certificates->hangup);
    if (certificates->modal.tls != certificates->gateway.tls) tls_free(certificates->modal.tls);
    tls_free(certificates->gateway.tls);
    free(certificates->gateway.name), free(certificates->modal.name);
    free(certificates);
}

struct tls *certificates_gateway(const struct certificates *certificates) {
    return certificates->gateway.tls;
}
struct tls *certificates_modal(const struct certificates *certificates) {
    return certificates->modal.tls;
}
const char *certificates_gateway_name(const struct certificates *certificates) {
    return certificates->gateway.name;
}
const char *certificates_modal_name(const struct certificates *certificates) {
    return certificates->modal.name;
}
